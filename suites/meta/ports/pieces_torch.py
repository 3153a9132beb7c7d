"""The same in torch, and with other pieces."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Of(nn.Module):
    def __init__(self, operation, width=4):
        super().__init__()
        self.first, self.head, self.operation = nn.Linear(8, 8), nn.Linear(width, 3), operation

    def forward(self, x):
        return self.head(self.operation(self.first(x)))


def _gate(value, weight):
    return value * torch.sigmoid(weight)


def gate_of_halves():
    return Of(lambda x: _gate(*x.chunk(2, -1)))


def gate_of_rows():
    return Of(lambda x: _gate(*x.view(-1, 7, 2, 4).unbind(2)))


def gate_in_turns():
    return Of(lambda x: _gate(x[..., 0::2], x[..., 1::2]))


def gate_of_pairs():
    def gate(x):
        pairs = x.view(-1, 7, 4, 2)
        return _gate(pairs[..., 0], pairs[..., 1])

    return Of(gate)


def product_in_turns():
    return Of(lambda x: x[..., 0::2] * x[..., 1::2])


def padded_before():
    return Of(lambda x: F.pad(x, (0, 0, 2, 0)), width=8)


def padded_behind():
    return Of(lambda x: F.pad(x, (0, 0, 0, 2)), width=8)


def later():
    return Of(lambda x: x[:, 2:6], width=8)
