"""The same in torch, skips before residuals where they are apart: one convolution for two, and two for one."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Stack(nn.Module):
    def __init__(self, residual=5, skip=7, way="split", relu=True, narrow=None):
        super().__init__()
        self.sizes, self.way, self.relu = [residual, skip], way, relu
        self.enter, self.leave = nn.Conv1d(3, residual, 1), nn.Conv1d(skip, 4, 1)
        self.wide = nn.ModuleList(nn.Conv1d(residual, residual, 3, padding=1) for _ in range(3))
        outputs = [residual + skip] if way != "apart" else [skip, residual]
        self.behind = nn.ModuleList(nn.ModuleList(nn.Conv1d(residual, size, 1) for size in outputs) for _ in range(3))
        self.narrow = narrow

    def parts(self, made, place):
        if self.way == "apart":
            skip, residual = (layer(made) for layer in self.behind[place])
            return residual, skip
        made = self.behind[place][0](made)
        if self.way == "slices":
            return made[:, : self.sizes[0]], made[:, self.sizes[0] :]
        return made.chunk(2, 1) if self.way == "chunk" else made.split(self.sizes, 1)

    def forward(self, x):
        x, total = self.enter(x.mT), 0
        for place, wide in enumerate(self.wide):
            made = wide(x)
            residual, skip = self.parts(made if place == self.narrow else torch.tanh(made), place)
            x, total = x + residual, total + skip
        return self.leave(F.relu(total) if self.relu else total).mT


def split():
    return Stack()


def slices():
    return Stack(way="slices")


def chunks():
    return Stack(6, 6, way="chunk")


def apart():
    return Stack(way="apart")


def slices_without_relu():
    return Stack(way="slices", relu=False)


def slices_without_the_first_tanh():
    return Stack(way="slices", narrow=0)
