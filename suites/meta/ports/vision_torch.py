"""Ports of the models in `vision_tensorflow.py`, right and wrong."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Gated(nn.Module):
    def __init__(self, averaged=True):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
        self.mlp = nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 6, bias=False))
        self.averaged = averaged

    def forward(self, x):
        x = F.relu(self.conv(x))
        average, largest = self.mlp(x.mean((2, 3))), self.mlp(x.amax((2, 3)))
        gate = torch.sigmoid(average + largest if self.averaged else largest)
        return self.last(x * gate[:, :, None, None])


def gated():
    return Gated()


def gated_by_the_largest_alone():
    return Gated(averaged=False)


class Bottleneck(nn.Module):
    def __init__(self, after=None):
        super().__init__()
        self.first, self.linear = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, eps=1e-3)
        self.expand, self.project = nn.Conv2d(6, 12, 1), nn.Conv2d(12, 6, 1)
        self.after = after or nn.Identity()

    def forward(self, x):
        x = self.after(self.linear(self.first(x)))
        return x + self.project(F.relu6(self.expand(x)))


def bottleneck():
    return Bottleneck()


def bottleneck_not_linear():
    return Bottleneck(nn.ReLU6())


class Stem(nn.Module):
    def __init__(self, pool, padding=1, activation=F.relu):
        super().__init__()
        self.conv, self.last, self.pool = nn.Conv2d(3, 6, 3, padding=padding), nn.Conv2d(6, 4, 3), pool
        self.activation = activation

    def forward(self, x):
        return self.last(self.pool(self.activation(self.conv(x))))


def stem():
    return Stem(nn.MaxPool2d(3, 2, padding=1))


def negative_stem():
    return Stem(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)), activation=nn.Identity())


def negative_stem_padded_in_the_pool():
    return Stem(nn.MaxPool2d(3, 2, padding=1), activation=nn.Identity())


def _same_stem(value, *pads):
    return Stem(nn.Sequential(nn.ConstantPad2d(pads, value), nn.MaxPool2d(3, 2)), 0, nn.Identity())


def same_stem():
    return _same_stem(-math.inf, 1, 1, 1, 1)


def same_stem_padded_with_zeros():
    return _same_stem(0.0, 1, 1, 1, 1)


def same_stem_padded_after():
    return _same_stem(-math.inf, 0, 2, 0, 2)


def stem_rounded_up():
    return Stem(nn.MaxPool2d(3, 2, ceil_mode=True))


class Patches(nn.Module):
    def __init__(self, placed=True):
        super().__init__()
        self.places = nn.Parameter(torch.randn(1, 12, 8)) if placed else None
        self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8, eps=1e-6)
        self.mlp, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        if self.places is not None:
            x = x + self.places
        return self.head((x + F.gelu(self.mlp(self.norm(x)))).mean(1))


def patches():
    return Patches()


def patches_without_places():
    return Patches(placed=False)


class Towers(nn.Module):
    def __init__(self, bent=True):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.embed, self.head = nn.Linear(6, 5), nn.Linear(5, 1)
        self.bent = bent

    def tower(self, x):
        x = self.second(F.relu(self.first(x)))
        return self.embed((F.relu(x) if self.bent else x).mean((2, 3)))

    def forward(self, left, right):
        left, right = self.tower(left), self.tower(right)
        return self.head((right - left).abs())


def towers():
    return Towers()


def towers_without_a_relu():
    return Towers(bent=False)


class Grouped(nn.Module):
    def __init__(self, groups=8):
        super().__init__()
        self.first, self.each = nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3, 2, groups=groups, bias=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.each(F.relu(self.first(x))).mean((2, 3)))


def grouped():
    return Grouped()


def grouped_by_two():
    return Grouped(4)


class Averaged(nn.Module):
    """SAME pads an even window at its end; what is padded there is not counted."""

    def __init__(self, pads=(1, 2, 1, 2), counting=False):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 4), nn.Conv2d(6, 4, 3)
        self.pads, self.counting = pads, counting

    def average(self, x):
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1)

    def forward(self, x):
        x = F.relu(self.conv(F.pad(x, self.pads)))
        x = self.average(x) if self.counting else self.average(x) / self.average(torch.ones_like(x))
        return self.last(x)


def averaged():
    return Averaged()


def averaged_behind_a_fault():
    return Averaged((2, 1, 2, 1))


def averaged_with_its_padding():
    return Averaged(counting=True)


class Prepared(nn.Module):
    def __init__(self, mean=(0.485, 0.456, 0.406)):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor((0.229, 0.224, 0.225))[:, None, None], persistent=False)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=False)
        return self.conv((x / 255 - self.mean) / self.deviation)


def prepared():
    return Prepared()


def prepared_with_other_means():
    return Prepared((0.5, 0.5, 0.5))


class Sampled(nn.Module):
    def __init__(self, half=0.5, sampling=True):
        super().__init__()
        self.conv, self.decoder = nn.Conv2d(1, 4, 3, 2), nn.Linear(5, 6)
        self.mean, self.log_variance = nn.Linear(192, 5), nn.Linear(192, 5)
        self.half, self.sampling = half, sampling

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        mean, log_variance = self.mean(x), self.log_variance(x)
        deviation = torch.exp(self.half * log_variance)
        if self.sampling:
            mean = mean + deviation * torch.randn_like(deviation)
        return torch.sigmoid(self.decoder(mean))


def sampled():
    return Sampled()


def sampled_by_the_variance():
    return Sampled(half=1.0)


def sampled_not_at_all():
    return Sampled(sampling=False)


class Block(nn.Module):
    def __init__(self, kept, eps):
        super().__init__()
        self.norm, self.dense, self.kept = nn.LayerNorm(6, eps=eps), nn.Linear(6, 6), kept

    def forward(self, x):
        y = F.gelu(self.dense(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        if self.training:
            y = y / self.kept * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(self.kept)
        return x + y


class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        if not self.training or not self.drop_prob:
            return x
        kept = 1.0 - self.drop_prob
        return x * (kept + torch.rand(x.shape[0], 1, 1, 1)).floor() / kept


class Dropping(nn.Module):
    def __init__(self, kept=0.9, eps=1e-6):
        super().__init__()
        self.conv, self.first, self.branch = nn.Conv2d(3, 6, 3), Block(kept, eps), nn.Conv2d(6, 6, 1)
        self.drop, self.head = DropPath(0.2), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(self.conv(x))
        return self.head((x + self.drop(self.branch(x))).mean((2, 3)))


def dropping():
    return Dropping()


def dropping_behind_another_eps():
    return Dropping(eps=1e-5)


def dropping_more():
    return Dropping(kept=0.7)


class Attended(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.conv, self.last, self.dim = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), dim
        self.query, self.key, self.value = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 2, 1), nn.Conv2d(6, 6, 1)

    def forward(self, x):
        x = self.conv(x)
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        shares = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=self.dim)
        return self.last(x + torch.bmm(v, shares.transpose(1, 2)).view_as(x))


def attended():
    return Attended()


def attended_along_the_queries():
    return Attended(dim=1)
