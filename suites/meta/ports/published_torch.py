"""Ports of the models in `published_tensorflow.py`, right and wrong."""

import torch
from torch import nn
from torch.nn import functional


class Tables(nn.Module):
    def __init__(self, first=0, kind=0):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(20, 8), nn.Embedding(11, 8), nn.Embedding(2, 8)
        self.norm, self.out = nn.LayerNorm(8, eps=1e-12), nn.Linear(8, 5)
        self.register_buffer("steps", torch.arange(11)[None] + first, persistent=False)
        self.kind = kind

    def forward(self, ids):
        types = self.types(torch.full_like(ids, self.kind))
        return self.out(self.norm(self.words(ids) + types + self.places(self.steps[:, : ids.shape[1]])))


def looked_up():
    return Tables()


class Rows(Tables):
    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.randn(11, 8))

    def forward(self, ids):
        places = self.places[self.steps[0, : ids.shape[1]]]
        return self.out(self.norm(self.words(ids) + self.types(torch.zeros_like(ids)) + places))


def looked_up_by_rows():
    return Rows()


def looked_up_from_one():
    return Tables(first=1)


def looked_up_as_the_other_kind():
    return Tables(kind=1)


class Narrowing(nn.Module):
    def __init__(self, exact=False):
        super().__init__()
        self.widen, self.narrow, self.exact = nn.Linear(8, 12), nn.Linear(12, 8), exact

    def forward(self, x):
        x = self.widen(x)
        if self.exact:
            return self.narrow(functional.gelu(x))
        return self.narrow(0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3.0)))))


def row_biases():
    return Narrowing()


def row_biases_with_the_exact_gelu():
    return Narrowing(exact=True)


class Window(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 2))
        steps = torch.arange(4)
        index = steps[:, None] - steps[None] + 3
        self.register_buffer("index", index.T.contiguous() if turned else index)
        self.query, self.key, self.value = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 5)

    def forward(self, x):
        q, k, v = (layer(x).view(-1, 4, 2, 3).permute(0, 2, 1, 3) for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / 3**0.5
        bias = self.table[self.index.view(-1)].view(4, 4, 2).permute(2, 0, 1).contiguous()
        mixed = (scores + bias.unsqueeze(0)).softmax(-1) @ v
        return self.out(mixed.permute(0, 2, 1, 3).reshape(-1, 4, 6))


def window():
    return Window()


def window_turned():
    return Window(turned=True)


class Headed(nn.Module):
    def __init__(self, scale=0.5):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Parameter(torch.randn(8, 2, 4)) for _ in range(4))
        self.scale = scale

    def forward(self, x):
        query, key, value = (torch.einsum("bih,hnd->bind", x, kernel) for kernel in (self.q, self.k, self.v))
        scores = torch.einsum("bind,bjnd->bnij", query, key) * self.scale
        mixed = torch.einsum("bnij,bjnd->bind", scores.softmax(-1), value)
        return torch.einsum("bind,hnd->bih", mixed, self.o)


def headed():
    return Headed()


def headed_by_all():
    return Headed(8**-0.5)


class Relative(nn.Module):
    def __init__(self, eps=1e-7):
        super().__init__()
        self.table, self.norm, self.out = nn.Embedding(5, 8), nn.LayerNorm(8, eps=eps), nn.Linear(5, 4)

    def forward(self, x):
        return self.out(x @ self.norm(self.table.weight).T)


def relative():
    return Relative()


def relative_with_another_eps():
    return Relative(1e-3)


class Rooted(nn.Module):
    def __init__(self, width=8.0, fill=-3.4028234663852886e38):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.fill = fill
        self.root = torch.sqrt(torch.tensor(width, dtype=torch.float32))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-1, -2)
        blocked = torch.ones(6, 6, dtype=torch.bool).tril().logical_not()
        scores = scores.masked_fill(blocked, self.fill) / self.root
        return scores.softmax(-1) @ self.value(x)


def rooted():
    return Rooted()


def rooted_by_another():
    return Rooted(8.001, -1e9)
