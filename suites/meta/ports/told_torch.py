"""The same without a residual connection, a norm, a mask; with another table, with the outputs the other way round."""

import torch
import torch.nn.functional as F  # noqa: N812
from told_tables import from_one, in_halves, in_turns
from torch import nn


class Blocks(nn.Module):
    def __init__(self, residuals=(True, True), norms=(True, True), from_norm=False):
        super().__init__()
        self.first, self.head = nn.Linear(12, 12), nn.Linear(12, 3)
        self.norms = nn.ModuleList(nn.LayerNorm(12) if wanted else nn.Identity() for wanted in norms)
        self.up = nn.ModuleList(nn.Linear(12, 24) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(24, 12) for _ in range(2))
        self.residuals, self.from_norm = residuals, from_norm

    def forward(self, x):
        x = self.first(x)
        for number in range(2):
            normal = self.norms[number](x)
            y = self.down[number](F.relu(self.up[number](normal)))
            x = (normal if self.from_norm else x) + y if self.residuals[number] else y
        return self.head(x)


def blocks():
    return Blocks()


def blocks_without_a_residual():
    return Blocks(residuals=(True, False))


def blocks_without_a_norm():
    return Blocks(norms=(True, False))


def blocks_from_the_norm():
    return Blocks(from_norm=True)


class Places(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(12, 12), nn.LayerNorm(12), nn.Linear(12, 3)
        self.register_buffer("places", torch.tensor(table(7, 12)))

    def forward(self, x):
        return self.head(self.norm(self.first(x) + self.places))


def places():
    return Places(in_turns)


def places_in_halves():
    return Places(in_halves)


def places_from_one():
    return Places(from_one)


def places_negative():
    return Places(lambda rows, columns: -in_turns(rows, columns))


def places_of_noise():
    return Places(lambda rows, columns: in_turns(rows, columns) + 0.1 * in_halves(rows, columns))


class Heads(nn.Module):
    def __init__(self, crossed):
        super().__init__()
        self.body, self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 3), nn.Linear(8, 4)
        self.crossed = crossed

    def forward(self, x):
        x = F.relu(self.body(x))
        made = self.a(x), torch.sigmoid(self.b(x))
        return made[::-1] if self.crossed else made


def heads():
    return Heads(crossed=False)


def heads_crossed():
    return Heads(crossed=True)


class Masked(nn.Module):
    def __init__(self, width, over=None):
        super().__init__()
        self.words, self.over, self.head = nn.Embedding(9, 6), over, nn.Linear(width, 3)

    def forward(self, ids):
        x = self.words(ids)
        return self.head(x.mean(1) if self.over is None else self.over(x)[0][:, -1])


def lstm_of_all():
    return Masked(5, nn.LSTM(6, 5, batch_first=True))


def mean_of_all():
    return Masked(6)


class Pictures(nn.Module):
    def __init__(self, filters=8, kernel=3, hidden=16, places=None, features=924):
        super().__init__()
        self.first = nn.Conv2d(3, filters, kernel)
        self.second = nn.Conv2d(filters, 12, 3)
        self.hidden = nn.Linear(features, hidden)
        self.head = nn.Linear(hidden, 5)
        self.places = places

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.relu(self.second(x))
        if self.places is not None:
            x = F.adaptive_avg_pool2d(x, self.places)
        return self.head(F.relu(self.hidden(torch.flatten(x, 1))))


def pictures():
    return Pictures()


def more_filters():
    return Pictures(filters=10)


def a_larger_kernel():
    return Pictures(kernel=5, features=720)


def more_units():
    return Pictures(hidden=20)


def fewer_places():
    return Pictures(places=(7, 7), features=588)


class Tokens(nn.Module):
    def __init__(self, rows=9, width=6, hidden=10):
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.over = nn.GRU(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 3)

    def forward(self, ids):
        return self.head(self.over(self.table(ids))[0][:, -1])


def more_rows():
    return Tokens(rows=12)


def wider_table():
    return Tokens(width=8)


def wider_state():
    return Tokens(hidden=11)


class OneToken(nn.Module):
    def __init__(self, one_before=False, one_after=False):
        super().__init__()
        self.first, self.norm = nn.Linear(12, 12), nn.LayerNorm(12)
        self.one_before, self.one_after = one_before, one_after

    def forward(self, x):
        x = self.first(x)
        x = self.norm(x[:, 0] if self.one_before else x)
        return x[:, 0] if self.one_after else x


def every_token():
    return OneToken()


def first_token():
    return OneToken(one_before=True)


def every_token_but_one():
    return OneToken(one_after=True)


class Stepped(nn.Module):
    def __init__(self, number=0):
        super().__init__()
        self.cell, self.head, self.number = nn.LSTMCell(4, 5), nn.Linear(5, 3), number

    def forward(self, x):
        states = tuple(x.new_zeros(len(x), 5) for _ in range(2))
        for step in x.unbind(1):
            states = self.cell(step, states)
        return self.head(states[self.number])


def stepped():
    return Stepped()


def stepped_by_the_state():
    return Stepped(1)


class Waves(nn.Module):
    def __init__(self, kernel=5):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, kernel)

    def forward(self, x):
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


def waves():
    return Waves()


def waves_of_seven():
    return Waves(7)
