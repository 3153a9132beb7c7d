"""Ports of the models in `gaps_tensorflow.py`, right and wrong."""

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
