"""Ports of the models in `gaps_tensorflow.py`, right and wrong."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.again(F.relu(self.first(x)))).mean((2, 3)))

    def again(self, x):
        return self.second(x)


def convolutions():
    return Convolutions()


def frozen_first():
    network = Convolutions()
    network.first.requires_grad_(False)
    return network


class Turned(Convolutions):
    def __init__(self, turn):
        super().__init__()
        self.turn = turn

    def again(self, x):
        return F.conv2d(x, self.turn(self.second.weight), self.second.bias)


def kernel_flipped():
    return Turned(lambda kernel: kernel.flip(2, 3))


def kernel_turned():
    return Turned(lambda kernel: kernel.transpose(2, 3))


class Directions(nn.Module):
    def __init__(self, dim=1, columns=False):
        super().__init__()
        self.first, self.dim, self.columns = nn.Conv2d(3, 7, 3), dim, columns
        self.kernel = nn.Parameter(0.3 * torch.randn((7, 5) if columns else (5, 7)))

    def forward(self, x):
        x = F.relu(self.first(x)).mean((2, 3))
        kernel = self.kernel if self.dim is None else F.normalize(self.kernel, dim=self.dim)
        return x @ kernel if self.columns else F.linear(x, kernel)


def directions():
    return Directions()


def other_directions():
    return Directions(0)


def other_directions_in_columns():
    return Directions(1, columns=True)


def no_directions():
    return Directions(None)
