"""The same in torch, and along another axis."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class OfSteps(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.first, self.head, self.operation = nn.Linear(6, 6), nn.Linear(6, 3), operation

    def forward(self, x):
        return self.head(self.operation(self.first(x)))


def sums_of_steps():
    return OfSteps(lambda x: torch.cumsum(x, 1))


def sums_of_features():
    return OfSteps(lambda x: torch.cumsum(x, 2))


def products_of_steps():
    return OfSteps(lambda x: x.cumprod(dim=1))


def products_of_features():
    return OfSteps(lambda x: x.cumprod(dim=-1))


def turned_of_steps():
    return OfSteps(lambda x: torch.flip(x, [1]))


def turned_of_features():
    return OfSteps(lambda x: torch.flip(x, dims=(2,)))


def shifted_of_steps():
    return OfSteps(lambda x: torch.roll(x, 2, 1))


def shifted_of_features():
    return OfSteps(lambda x: torch.roll(x, shifts=2, dims=2))


def logs_of_steps():
    return OfSteps(lambda x: x - torch.logsumexp(x, 1, keepdim=True))


def logs_of_features():
    return OfSteps(lambda x: x - torch.logsumexp(x, -1, keepdim=True))


def units_of_steps():
    return OfSteps(lambda x: F.normalize(x, eps=1e-7))


def units_of_features():
    return OfSteps(lambda x: F.normalize(x, dim=-1, eps=1e-7))


class OfImages(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(5, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 3)
        self.operation = operation

    def forward(self, x):
        return self.head(self.second(self.operation(self.first(x))).mean((2, 3)))


def sums_of_rows():
    return OfImages(lambda x: x.cumsum(2))


def sums_of_columns():
    return OfImages(lambda x: x.cumsum(3))


def turned_columns():
    return OfImages(lambda x: x.flip(3))


def turned_channels():
    return OfImages(lambda x: torch.flip(x, [1]))
