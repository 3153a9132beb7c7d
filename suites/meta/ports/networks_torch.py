"""Ports of the parts in `networks_tensorflow.py`, right and wrong."""

import torch.nn.functional as F  # noqa: N812
from torch import nn


class Patches(nn.Module):
    """Cuts an image into squares of four by itself; `order` tells how each goes: row, column and channel by default."""

    def __init__(self, order=(0, 2, 4, 3, 5, 1)):
        super().__init__()
        self.embed, self.norm, self.order = nn.Linear(48, 8), nn.LayerNorm(8, eps=1e-6), order

    def forward(self, x):
        n, c, h, w = x.shape
        squares = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(self.order)
        return self.norm(self.embed(squares.reshape(n, -1, 48)))


class Unfolded(Patches):
    def forward(self, x):
        return self.norm(self.embed(F.unfold(x, 4, stride=4).transpose(1, 2)))


def patches_by_rows():
    return Patches()


def patches_by_columns():
    return Patches((0, 2, 4, 5, 3, 1))


def patches_by_channels():
    return Patches((0, 2, 4, 1, 3, 5))


def patches_unfolded():
    return Unfolded()
