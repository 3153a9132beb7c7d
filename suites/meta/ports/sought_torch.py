"""Ports of the models in `sought_tensorflow.py`, right and wrong."""

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
