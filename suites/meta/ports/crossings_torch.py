"""The same, and with the layers of one shape in one another's places."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Kernels(nn.Module):
    def __init__(self, order=(0, 1, 2)):
        super().__init__()
        self.kernels, self.head, self.order = nn.Parameter(torch.randn(3, 8, 8) * 0.3), nn.Linear(8, 3), order

    def forward(self, x):
        for number in self.order:
            x = F.relu(x @ self.kernels[number])
        return self.head(x)


def kernels():
    return Kernels()


def kernels_from_the_last():
    return Kernels((2, 1, 0))


def layers():
    hidden = [one for _ in range(3) for one in (nn.Linear(8, 8, bias=False), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(8, 3))


class Block(nn.Module):
    def __init__(self, crossed=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.crossed = crossed

    def forward(self, x):
        q, k = (self.k, self.q) if self.crossed else (self.q, self.k)
        scores = (q(x) @ k(x).transpose(1, 2) / 8**0.5).softmax(-1)
        return x + self.o(scores @ self.v(x))


def blocks():
    return nn.Sequential(Block(), Block())


def blocks_with_keys_as_queries():
    return nn.Sequential(Block(crossed=True), Block(crossed=True))


class Experts(nn.Module):
    def __init__(self, order):
        super().__init__()
        self.gate, self.head, self.order = nn.Linear(8, 3), nn.Linear(6, 3), order
        self.experts = nn.ModuleList(nn.Linear(8, 6) for _ in range(3))

    def forward(self, x):
        gate = self.gate(x).softmax(-1)
        return self.head(sum(gate[:, [i]] * F.relu(self.experts[j](x)) for i, j in enumerate(self.order)))


def experts_all_round():
    return Experts((1, 2, 0))


class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x):
        return self.score(x).squeeze(-1)


def score_of_no_axis():
    return Score()
