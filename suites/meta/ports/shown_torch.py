"""Ports of `shown_tensorflow.py`, each with one fault that no single layer of torch computes."""

import numpy as np
import torch
from torch import nn


class LastCell(nn.Module):
    """Reads the state of the cell, where the last step was meant."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens):
        _, (_, cell) = self.lstm(self.embedding(tokens))
        return self.head(cell[-1])


def last_cell():
    return LastCell()


class BothEnds(nn.Module):
    """Joins both directions' last steps the wrong way round, over packed sequences."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.lstm = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, tokens):
        sizes = (tokens != 0).sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), sizes, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        return self.head(torch.cat([last[1], last[0]], 1))


def ends_exchanged():
    return BothEnds()


class Attending(nn.Module):
    """Leaves out what should be attended to."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, tokens):
        x = self.embedding(tokens)
        blocked = torch.zeros(tokens.shape, dtype=torch.bool).masked_fill_(tokens != 0, True)
        return self.head(self.attention(x, x, x, key_padding_mask=blocked, need_weights=False)[0][:, 0])


def attending_to_padding():
    return Attending()


class Picking(nn.Module):
    """Picks two elements in the other order."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 12), nn.Linear(6, 6), nn.Linear(4, 3)

    def forward(self, x):
        value, gate = self.first(x).chunk(2, -1)
        return self.head(self.second(value * torch.sigmoid(gate))[:, [4, 0, 1, 2]])


def picking_otherwise():
    return Picking()


class Smallest(nn.Module):
    """Takes the smallest scores."""

    def __init__(self):
        super().__init__()
        self.scores, self.head = nn.Linear(5, 12), nn.Linear(3, 3)

    def forward(self, x):
        values, _ = torch.topk(self.scores(x), 3, -1, largest=False)
        return self.head(values)


def smallest():
    return Smallest()


class OverChannels(nn.Module):
    """A normalisation over channels by hand, with another eps; its parameters are reshaped."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        x = self.conv(x)
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-3)
        return self.head(self.weight.view(1, -1, 1, 1) * x + self.bias.view(1, -1, 1, 1))


def over_channels_eps():
    return OverChannels()


class Shares(nn.Module):
    """Multiplies with the shares that its weights have of their row."""

    def __init__(self):
        super().__init__()
        self.scores, self.head = nn.Parameter(torch.randn(5, 4)), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x @ self.scores.softmax(1))


def shares_of_rows():
    return Shares()


class Projected(nn.Module):
    """Multiplies with a table that nobody trains, drawn from another seed."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(40, 3)
        self.table = np.random.default_rng(4).normal(size=(30, 40)).astype("float32")

    def forward(self, x):
        return self.head(x @ torch.from_numpy(self.table).to(x.dtype))


def projected_otherwise():
    return Projected()
