"""Ports of the models in `sought_tensorflow.py`, right and wrong."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Cosine(nn.Module):
    def __init__(self, function, bias=False):
        super().__init__()
        self.queries, self.keys = nn.Linear(6, 5, bias=bias), nn.Linear(6, 5, bias=bias)
        self.function = function

    def forward(self, first, second):
        return self.function(self.queries(first), self.keys(second))[:, None]


def cosine():
    return Cosine(F.cosine_similarity)


def cosine_behind_a_bias():
    return Cosine(F.cosine_similarity, True)


def cosine_of_units():
    return Cosine(lambda x, y: (F.normalize(x) * F.normalize(y)).sum(1))


def cosine_with_its_floor():
    return Cosine(lambda x, y: (F.normalize(x, eps=1e-7) * F.normalize(y, eps=1e-7)).sum(1))


class Unit(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 5, bias=False), nn.Linear(5, 3)
        self.function = function

    def forward(self, x):
        return self.outer(self.function(self.inner(x)))


def above_a_floor():
    return Unit(lambda x: x / x.norm(dim=-1, keepdim=True).clamp(min=0.01))


def above_a_root():
    return Unit(lambda x: x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-4))


def above_a_small_root():
    return Unit(lambda x: x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-8))


def with_an_addend():
    return Unit(lambda x: x / (x.norm(dim=-1, keepdim=True) + 0.01))


def normalised():
    return Unit(lambda x: F.normalize(x, dim=-1))


class Attention(nn.Module):
    """Two heads, written out; `lay` lays the mask over the scores."""

    def __init__(self, lay):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(8, 8) for _ in range(4))
        self.lay = lay

    def forward(self, x, mask):
        query, key, value = (
            one(x).view(*x.shape[:2], 2, 4).transpose(1, 2) for one in (self.query, self.key, self.value)
        )
        scores = self.lay(query @ key.transpose(-1, -2) / 2.0, mask)
        return self.output((torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(x.shape))


def adding(scores, mask):
    return scores + mask


def filling(scores, mask):
    return scores.masked_fill(mask, -1e9)


class Padded(nn.Module):
    def __init__(self, lay, mask):
        super().__init__()
        self.embedding, self.attention, self.last = nn.Embedding(9, 8), Attention(lay), nn.Linear(8, 3)
        self.mask = mask

    def forward(self, ids):
        return self.last(self.attention(self.embedding(ids), self.mask(ids)[:, None, None]))


def padded_and_filled():
    return Padded(filling, lambda ids: ids == 0)


def padded_and_filled_in_reverse():
    return Padded(filling, lambda ids: ids != 0)


def padded_in_reverse():
    return Padded(adding, lambda ids: (ids != 0).float() * -1e9)


class Causal(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.attention, self.last = Attention(adding), nn.Linear(8, 3)
        self.mask = mask

    def forward(self, x):
        return self.last(self.attention(x, self.mask(torch.ones(x.shape[1], x.shape[1])) * -1e9))


def causal():
    return Causal(lambda ones: torch.triu(ones, 1))


def causal_in_reverse():
    return Causal(torch.tril)


def causal_upside_down():
    return Causal(lambda ones: torch.tril(ones, -1))


class Coloured(nn.Module):
    def __init__(self, prepare):
        super().__init__()
        self.conv, self.prepare = nn.Conv2d(3, 4, 3), prepare
        self.register_buffer("mean", torch.tensor([103.9, 116.8, 123.7]).view(1, 3, 1, 1))

    def forward(self, x):
        return self.conv(self.prepare(x, self.mean))


def coloured():
    return Coloured(lambda x, mean: x[:, [2, 1, 0]] - mean)


def coloured_forwards():
    return Coloured(lambda x, mean: x - mean)


def coloured_with_means_forwards():
    return Coloured(lambda x, mean: x[:, [2, 1, 0]] - mean.flip(1))


def coloured_too_late():
    return Coloured(lambda x, mean: (x - mean)[:, [2, 1, 0]])


def coloured_to_one():
    return Coloured(lambda x, mean: (x[:, [2, 1, 0]] - mean) / 255)


class Image(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 6, 3), norm, nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.last(self.norm(self.conv(x)))


def layer_norm_as_instance_norm():
    return Image(nn.InstanceNorm2d(6, affine=True))


def layer_norm_as_group_norm():
    return Image(nn.GroupNorm(1, 6, eps=1e-3))


def group_norm_as_instance_norm():
    return Image(nn.InstanceNorm2d(6, eps=1e-3, affine=True))


class Deviations(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.first, self.second, self.last = nn.Conv1d(4, 6, 3), nn.Conv1d(6, 6, 3), nn.Linear(12, 3)
        self.activation = activation

    def forward(self, x):
        y = self.activation(self.second(F.relu(self.first(x.transpose(1, 2)))))
        return self.last(torch.cat([y.mean(2), y.std(2, unbiased=False)], 1))


def deviations():
    return Deviations(F.elu)


def deviations_without_elu():
    return Deviations(lambda x: x)


def deviations_of_waves():
    return Deviations(lambda x: F.elu(x) + 0.1 * torch.sin(x))


class TwoViews(nn.Module):
    """Both images go through the tower as one batch."""

    def __init__(self, pads=(0, 1, 0, 1), eps=1e-3, activation=F.elu):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=eps), nn.Conv2d(4, 6, 3, 2)
        self.code, self.score = nn.Linear(6, 5), nn.Linear(5, 1)
        self.pads, self.activation = pads, activation

    def forward(self, first, second):
        x = F.max_pool2d(F.relu(self.norm(self.first(torch.cat([first, second])))), 2)
        x = self.activation(self.second(F.pad(x, self.pads))).mean((2, 3))
        first, second = self.code(x).chunk(2)
        return self.score((first - second).abs())


def two_views():
    return TwoViews((1, 1, 1, 1))


def two_views_padded_after():
    return TwoViews((0, 2, 0, 2))


def two_views_other_eps():
    return TwoViews((1, 1, 1, 1), eps=1e-5)


def two_views_without_elu():
    return TwoViews((1, 1, 1, 1), activation=lambda x: x)


class Bordered(nn.Module):
    """Holds the drawn weights, the first kernel flipped or not."""

    def __init__(self, flipped, border, **settings):
        super().__init__()
        rng = np.random.default_rng(5)
        self.border, self.conv, self.last = border, nn.Conv2d(3, 5, 3, **settings), nn.Conv2d(5, 2, 1)
        for layer in (self.conv, self.last):
            size = layer.weight.shape
            kernel = rng.normal(0.0, 0.4, (*size[2:], size[1], size[0])).astype(np.float32).transpose(3, 2, 0, 1)
            bias = rng.normal(0.0, 0.4, size[0]).astype(np.float32)
            if flipped and layer is self.conv:
                kernel = kernel[:, :, ::-1, ::-1]
            layer.weight.data, layer.bias.data = torch.tensor(kernel.copy()), torch.tensor(bias)

    def forward(self, x):
        return self.last(self.conv(self.border(x)))


def bordered():
    return Bordered(False, nn.ZeroPad2d(1))


def bordered_by_a_mirror():
    return Bordered(False, nn.ReflectionPad2d(1))


def bordered_by_a_mirror_and_flipped():
    return Bordered(True, nn.ReflectionPad2d(1))


def mirrored_by_zeros_and_flipped():
    return Bordered(True, nn.Identity(), padding=1)
