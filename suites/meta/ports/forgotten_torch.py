"""The same in torch: padded as SAME pads, or by the convolution itself; with the skip connection, or without."""

import torch.nn.functional as F  # noqa: N812
from torch import nn


class Block(nn.Module):
    def __init__(self, symmetric=False, skip=True):
        super().__init__()
        self.symmetric, self.skip = symmetric, skip
        self.inner = nn.Conv2d(6, 6, 3, padding=1)
        self.project = nn.Conv2d(6, 6, 1)
        self.after = nn.Conv2d(6, 5, 3, stride=2, padding=1 if symmetric else 0)

    def forward(self, x):
        y = self.project(F.relu(self.inner(x)))
        x = x + y if self.skip else y
        x = self.after(x if self.symmetric else F.pad(x, (0, 1, 0, 1)))
        return x.mean((2, 3))


def padded():
    return Block()


def symmetric():
    return Block(symmetric=True)


def padded_without_skip():
    return Block(skip=False)


def symmetric_without_skip():
    return Block(symmetric=True, skip=False)
