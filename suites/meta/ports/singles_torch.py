"""The same in torch, and with another number."""

import numpy as np
import torch
from torch import nn


class Scaled(nn.Module):
    def __init__(self, divisor=None):
        super().__init__()
        self.first, self.head, self.divisor = nn.Linear(12, 6), nn.Linear(6, 3), divisor
        if divisor is None:
            self.register_buffer("root", torch.sqrt(torch.tensor(6.0)))

    def forward(self, x):
        divisor = self.root if self.divisor is None else self.divisor
        return self.head(torch.softmax(self.first(x) / divisor, -1))


def number():
    return Scaled(6**0.5)


def single():
    return Scaled(np.float32(np.sqrt(6)))


def buffer():
    return Scaled()


def tensor():
    return Scaled(torch.sqrt(torch.FloatTensor([6])))


def another_number():
    return Scaled(7**0.5)


def another_single():
    return Scaled(np.float32(np.sqrt(7)))


class Bent(nn.Module):
    """The approximate GELU of language models, its constant copied out with so many digits."""

    def __init__(self, root):
        super().__init__()
        self.first, self.head, self.root = nn.Linear(12, 6), nn.Linear(6, 3), root

    def forward(self, x):
        x = self.first(x)
        x = x * 0.5 * (1.0 + torch.tanh(self.root * x * (1 + 0.044715 * x * x)))
        return self.head(x)


def bent_by_eight_digits():
    return Bent(0.79788456)


def bent_by_ten_digits():
    return Bent(0.7978845608)


def bent_by_four_digits():
    return Bent(0.7978)
