"""The same, with dropout of another share, by a call, or without."""

import torch.nn.functional as F  # noqa: N812
from torch import nn


class Dense(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.hidden, self.drop, self.head = nn.Linear(8, 6), drop, nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.drop(F.relu(self.hidden(x))))


class Called(Dense):
    def forward(self, x):
        return self.head(F.dropout(F.relu(self.hidden(x)), 0.3, training=self.training))


def dense():
    return Dense(nn.Dropout(0.3))


def dense_called():
    return Called(nn.Identity())


def dense_by_half():
    return Dense(nn.Dropout(0.5))


def dense_undropped():
    return Dense(nn.Identity())


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        q, k, v = (one(x).view(len(x), 6, 2, 4).transpose(1, 2) for one in (self.q, self.k, self.v))
        weights = self.drop((q @ k.transpose(2, 3) / 2).softmax(-1))
        return self.out((weights @ v).transpose(1, 2).reshape(len(x), 6, 8))


def attention():
    return Attention()
