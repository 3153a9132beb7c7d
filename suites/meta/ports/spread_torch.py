"""The same in PyTorch, the blocks by hand."""

import torch
from torch import nn


def larger(x):
    b, c, h, w = x.shape
    return x.view(b, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // 4, 2 * h, 2 * w)


def larger_by_channel(x):
    b, c, h, w = x.shape
    return x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)


def smaller(x):
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


def smaller_by_channel(x):
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


class Rows(nn.Module):
    """A recurrent layer over the rows of an image, whose numbers follow one another in the order `axes`."""

    def __init__(self, moved, axes, head=False):
        super().__init__()
        self.conv, self.gru = nn.Conv2d(3, 8, 3, padding=1), nn.GRU(24, 5, batch_first=True)
        self.out = nn.Linear(40, 3) if head else None
        self.moved, self.axes = moved, axes

    def forward(self, x):
        x = self.gru(self.moved(self.conv(x)).permute(self.axes).reshape(-1, 8, 24))[0]
        return self.out(x.flatten(1)) if self.out else x[:, -1]


def rows():
    return Rows(larger, (0, 2, 3, 1))


def rows_by_channel():
    return Rows(larger, (0, 2, 1, 3))


def rows_of_other_blocks():
    return Rows(larger_by_channel, (0, 2, 3, 1))


def row_by_row():
    return Rows(larger, (0, 2, 1, 3), head=True)


class Flattened(nn.Module):
    """A linear layer of an image whose numbers were moved, or repeated, before."""

    def __init__(self, moved, features, gate=None):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(features, 4)
        self.gate = nn.Parameter(torch.randn(*gate)) if gate else None
        self.moved = moved

    def forward(self, x):
        x = self.moved(self.conv(x))
        return self.out(torch.tanh(x if self.gate is None else x * torch.sigmoid(self.gate)).flatten(1))


def flattened():
    return Flattened(smaller, 192)


def flattened_of_other_blocks():
    return Flattened(smaller_by_channel, 192)


def gated():
    return Flattened(lambda x: x.repeat_interleave(2, 1), 384, (16, 4, 6))


def gated_in_turn():
    return Flattened(lambda x: x.repeat(1, 2, 1, 1), 384, (16, 4, 6))


def repeated():
    return Flattened(lambda x: x.repeat_interleave(2, 1), 384)


def repeated_in_turn():
    return Flattened(lambda x: x.repeat(1, 2, 1, 1), 384)


class Convolved(nn.Module):
    """A convolution of an image in blocks."""

    def __init__(self, moved):
        super().__init__()
        self.conv, self.out, self.moved = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(32, 3, 1), moved

    def forward(self, x):
        return self.out(self.moved(self.conv(x)))


def convolved():
    return Convolved(smaller)


def convolved_of_other_blocks():
    return Convolved(smaller_by_channel)
