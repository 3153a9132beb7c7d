"""Sums in an order of their own, and normalisations that are written out step by step, in PyTorch: right and wrong."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class SumOfThree(nn.Module):
    def __init__(self, part=1.0):
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(40, 16), nn.Embedding(12, 16), nn.Embedding(2, 16)
        self.head, self.part = nn.Linear(16, 4), part

    def forward(self, words, places, kinds):
        return self.head(self.words(words) + self.part * self.kinds(kinds) + self.places(places))


class AnotherOrder(SumOfThree):
    def forward(self, words, places, kinds):
        return self.head(self.words(words) + (self.kinds(kinds) + self.places(places)))


class InPlaceSum(SumOfThree):
    def forward(self, words, places, kinds):
        x = self.kinds(kinds)
        x += self.places(places)
        x += self.words(words)
        return self.head(x)


def sum_of_three():
    return AnotherOrder()


def sum_of_three_in_place():
    return InPlaceSum()


def sum_of_three_scaled():
    return SumOfThree(1.0001)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.branches = nn.ModuleList(nn.Conv2d(6, 6, size, padding=size // 2) for size in (1, 3, 5))
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        one, two, three = (branch(x) for branch in self.branches)
        return self.head(one + (two + three))


def three_branches():
    return Branches()


def _between_convolutions(make):
    first, second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
    return nn.Sequential(first, make(), nn.ReLU(), second, make(), nn.Conv2d(6, 2, 1))


class Affine(nn.Module):
    def __init__(self, channels=6, eps=1e-5):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps


class LayerNorm2d(Affine):
    """As ConvNeXt has it."""

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def layer_norms():
    return _between_convolutions(lambda: LayerNorm2d(eps=1e-6))


def layer_norms_other_eps():
    return _between_convolutions(lambda: LayerNorm2d(eps=1e-2))


class Unbiased(Affine):
    def forward(self, x):
        x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def layer_norms_unbiased():
    return _between_convolutions(lambda: Unbiased(eps=1e-6))


class Uncentred(Affine):
    """Forgets to subtract the mean from what is divided."""

    def forward(self, x):
        s = x.var(1, keepdim=True, correction=0)
        return self.weight[:, None, None] * (x / torch.sqrt(s + self.eps)) + self.bias[:, None, None]


def layer_norms_uncentred():
    return _between_convolutions(lambda: Uncentred(eps=1e-6))


class Permuted(Affine):
    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def layer_norms_permuted():
    return _between_convolutions(lambda: Permuted(eps=1e-6))


class Moments(Affine):
    """The variance and the mean by one call."""

    def forward(self, x):
        variance, mean = torch.var_mean(x, 1, keepdim=True, correction=0)
        x = (x - mean) * torch.rsqrt(variance + self.eps)
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def layer_norms_by_moments():
    return _between_convolutions(lambda: Moments(eps=1e-6))


def channel_norms():
    return _between_convolutions(LayerNorm2d)


def instance_norms():
    return _between_convolutions(lambda: nn.InstanceNorm2d(6, affine=True))


def instance_norms_other_eps():
    return _between_convolutions(lambda: nn.InstanceNorm2d(6, eps=1e-3, affine=True))


class InstanceNorm(Affine):
    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True)
        variance = x.var((2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (variance + self.eps).sqrt()
        return x * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


def instance_norms_by_hand():
    return _between_convolutions(InstanceNorm)


def instance_norms_by_hand_other_eps():
    return _between_convolutions(lambda: InstanceNorm(eps=1e-3))


def group_norms():
    return _between_convolutions(lambda: nn.GroupNorm(3, 6))


def group_norms_of_two():
    return _between_convolutions(lambda: nn.GroupNorm(2, 6))


class GroupNorm(Affine):
    def forward(self, x):
        groups = x.view(len(x), 3, -1)
        mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, unbiased=False)
        x = ((groups - mean) / torch.sqrt(variance + self.eps)).view_as(x)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def group_norm_layers():
    return _between_convolutions(GroupNorm)


def group_norm_layers_other_eps():
    return _between_convolutions(lambda: GroupNorm(eps=1e-3))


def batch_norms():
    return _between_convolutions(lambda: nn.BatchNorm2d(6, track_running_stats=False))


def batch_norms_other_eps():
    return _between_convolutions(lambda: nn.BatchNorm2d(6, 1e-3, track_running_stats=False))


def _of_sequence(norm):
    return nn.Sequential(nn.Linear(12, 12), norm, nn.Linear(12, 3))


def sequence_norm():
    return _of_sequence(nn.LayerNorm(12))


def sequence_norm_other_eps():
    return _of_sequence(nn.LayerNorm(12, eps=1e-3))


class RootMeanSquare(nn.Module):
    def __init__(self, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(12)), eps

    def forward(self, x):
        return self.weight * (x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def root_mean_square():
    return _of_sequence(nn.RMSNorm(12, eps=1e-6))


def root_mean_square_other_eps():
    return _of_sequence(nn.RMSNorm(12, eps=1e-5))


def root_mean_square_by_hand():
    return _of_sequence(RootMeanSquare())


def root_mean_square_layer():
    return _of_sequence(RootMeanSquare())


def root_mean_square_layer_other_eps():
    return _of_sequence(RootMeanSquare(1e-5))


class Patches(nn.Module):
    def __init__(self, stride=4, turned=False):
        super().__init__()
        self.project, self.head, self.stride, self.turned = nn.Linear(48, 8), nn.Linear(8, 5), stride, turned

    def forward(self, x):
        x = x.transpose(2, 3) if self.turned else x
        return self.head(self.project(F.unfold(x, 4, stride=self.stride).transpose(1, 2)))


def patches():
    return Patches()


def patches_turned():
    return Patches(turned=True)


def overlapping_patches():
    return Patches(3)


class Windows(nn.Module):
    """Cuts one axis after the other."""

    def __init__(self):
        super().__init__()
        self.project, self.head = nn.Linear(48, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1)
        return self.head(self.project(x.reshape(len(x), -1, 48)))


def patches_by_windows():
    return Windows()
