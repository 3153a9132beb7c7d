"""The same weights, and the same with one number of the second layer changed."""

import numpy as np
import torch
from torch import nn


class Two(nn.Module):
    def __init__(self, shift=0.0, more=0.0):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        draws = np.random.RandomState(0)
        with torch.no_grad():
            for weight in self.parameters():
                drawn = draws.randn(*weight.shape[::-1]).astype("float32") * np.float32(0.4)
                weight.copy_(torch.tensor(drawn.T))
            self.first.bias[4] -= shift
            self.second.weight[3, 4] += more

    def forward(self, x):
        return self.second(self.first(x).relu())


def hidden():
    return Two()


def hidden_but_one():
    return Two(more=1e-4)


def dead_but_one():
    return Two(1e4, 1e-4)
