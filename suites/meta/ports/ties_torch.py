"""Maxima over equal numbers, and one attention for all steps, in torch: right ports, and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

PLACES = 12


def largest(x):
    return x.max(2).values


class Words(nn.Module):
    def __init__(self, take):
        super().__init__()
        self.words, self.take = nn.Embedding(30, 8), take
        self.convs, self.head = nn.ModuleList([nn.Conv1d(8, 6, size) for size in (3, 4)]), nn.Linear(12, 2)

    def forward(self, ids):
        x = self.words(ids).transpose(1, 2)
        return self.head(torch.cat([self.take(F.relu(conv(x))) for conv in self.convs], 1))


def words():
    return Words(largest)


def words_shared():
    return Words(lambda x: x.amax(2))


def words_pooled():
    return Words(lambda x: F.max_pool1d(x, x.shape[2]).squeeze(2))


def words_half_detached():
    return Words(lambda x: largest(0.5 * x + 0.5 * x.detach()))


class Padded(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.first, self.pool, self.second, self.head = nn.Conv2d(3, 6, 3), pool, nn.Conv2d(6, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.second(self.pool(F.relu(self.first(x))))).mean((2, 3)))


def padded():
    return Padded(nn.MaxPool2d(3, 2, padding=1))


class HalfDetached(nn.Module):
    def forward(self, x):
        return F.max_pool2d(0.5 * x + 0.5 * x.detach(), 3, 2, 1)


def padded_half_detached():
    return Padded(HalfDetached())


def padded_smaller():
    return Padded(nn.MaxPool2d(2, 2, padding=1))


class FromZero(nn.Module):
    def __init__(self, take):
        super().__init__()
        self.tokens, self.places, self.head = nn.Embedding(3, 8), nn.Parameter(torch.zeros(PLACES, 8)), nn.Linear(8, 2)
        self.take = take
        with torch.no_grad():
            self.tokens.weight.copy_(drawn(3, 8))
            self.head.weight.copy_(drawn(8, 2).T)
            self.head.bias.copy_(drawn(2))

    def forward(self, ids):
        return self.head(self.take(self.tokens(ids) + self.places))


def drawn(*shape):
    return torch.from_numpy(np.random.default_rng(sum(shape)).normal(size=shape).astype("float32"))


def from_zero():
    return FromZero(lambda x: x.amax(1))


def from_zero_one_place():
    return FromZero(lambda x: x.max(1).values)


class Attention(nn.Module):
    def __init__(self, width, units, axis):
        super().__init__()
        self.asked, self.known, self.score = nn.Linear(width, units), nn.Linear(width, units), nn.Linear(units, 1)
        self.axis = axis

    def forward(self, state, steps):
        scores = self.score(torch.tanh(self.asked(state.unsqueeze(1)) + self.known(steps)))
        return (torch.softmax(scores, self.axis) * steps).sum(1)


class Reader(nn.Module):
    def __init__(self, axis):
        super().__init__()
        self.attention, self.mix, self.head = Attention(4, 5, axis), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        state = x[:, 0]
        for _ in range(3):
            state = torch.tanh(self.mix(self.attention(state, x)))
        return self.head(state)


def reader():
    return Reader(1)


def reader_along_one():
    return Reader(2)
