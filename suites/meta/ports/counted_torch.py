"""The same in PyTorch: positions are counted from elsewhere, numbers are kept in one half precision or the other."""

import torch
from torch import nn


class Tokens(nn.Module):
    def __init__(self, first=0, buffer=False, rows=14):
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, 8), nn.Embedding(rows, 8)
        self.norm, self.head, self.first, self.kept = nn.LayerNorm(8), nn.Linear(8, 3), first, buffer
        self.register_buffer("all_places", torch.arange(14).expand((1, -1)), persistent=False)

    def forward(self, ids):
        ends = self.first, self.first + ids.shape[1]
        places = self.all_places[:, ends[0] : ends[1]] if self.kept else torch.arange(*ends, device=ids.device)
        return self.head(self.norm(self.tokens(ids) + self.places(places)))


def counted():
    return Tokens()


def counted_from_one():
    return Tokens(1)


def counted_from_two_in_a_buffer():
    return Tokens(2, buffer=True)


def counted_behind_two_rows():
    return Tokens(2, rows=16)


def counted_behind_two_rows_from_one():
    return Tokens(1, rows=16)


def counted_with_two_rows_more():
    return Tokens(0, rows=16)


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.again, self.places = nn.Embedding(20, 8), nn.Embedding(16, 8), nn.Embedding(16, 8)
        self.norm, self.between, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids):
        places = torch.arange(2, 2 + ids.shape[1]).expand(len(ids), -1)
        x = self.between(self.norm(self.tokens(ids) + self.places(places))).tanh()
        return self.head(x + self.again(places))


def counted_as_rows_of_weights():
    return Rows()


class Dense(nn.Module):
    def __init__(self, keep=lambda x: x):
        super().__init__()
        self.one, self.two, self.keep = nn.Linear(8, 9), nn.Linear(9, 3), keep

    def forward(self, x):
        return self.two(self.keep(torch.relu(self.one(x))))


def dense():
    return Dense()


def dense_in_half():
    return Dense(lambda x: x.half().float())


def dense_in_bfloat16():
    return Dense(lambda x: x.to(torch.bfloat16).to(torch.float32))


def dense_of_half_tensors():
    return Dense(lambda x: x.type(torch.float16).type_as(x))


class ToHalf(Dense):
    def forward(self, x):
        return super().forward(x).half()


def dense_to_half():
    return ToHalf()
