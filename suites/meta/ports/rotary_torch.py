"""The same in PyTorch, as GPT-NeoX and LLaMA are written: halves by chunks, pairs by strides or complex numbers."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def angles(places, size):
    frequencies = 1.0 / (10000.0 ** (torch.arange(0, size, 2).float() / size))
    return torch.outer(torch.arange(places).float(), frequencies)


def halves(x, turned):
    cos, sin = turned.cos().repeat(1, 2), turned.sin().repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], -1) * sin


def halves_apart(x, turned):
    cos, sin = turned.cos(), turned.sin()
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def pairs(x, turned):
    cos, sin = turned.cos(), turned.sin()
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)


def pairs_repeated(x, turned):
    cos, sin = (table.repeat_interleave(2, -1) for table in (turned.cos(), turned.sin()))
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-second, first], -1).flatten(-2) * sin


def complex_pairs(x, turned):
    numbers = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(numbers * torch.polar(torch.ones_like(turned), turned)).flatten(-2).type_as(x)


class Attention(nn.Module):
    def __init__(self, turn, turned):
        super().__init__()
        self.turn, self.turned = turn, turned
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16, bias=False) for _ in range(4))

    def rotated(self, x):
        first = self.turn(x[..., : self.turned], angles(x.shape[-2], self.turned))
        return first if self.turned == x.shape[-1] else torch.cat([first, x[..., self.turned :]], -1)

    def forward(self, x):
        q, k, v = (layer(x).view(*x.shape[:2], 2, 8).transpose(1, 2) for layer in (self.query, self.key, self.value))
        read = F.scaled_dot_product_attention(self.rotated(q), self.rotated(k), v)
        return self.out(read.transpose(1, 2).flatten(2))


class Model(nn.Module):
    def __init__(self, turn, turned=8):
        super().__init__()
        self.norm1, self.norm2, self.last = (nn.LayerNorm(16) for _ in range(3))
        self.attention1, self.attention2 = Attention(turn, turned), Attention(turn, turned)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = x + self.attention1(self.norm1(x))
        return self.head(self.last(x + self.attention2(self.norm2(x))))


def turning_halves():
    return Model(halves)


def turning_halves_apart():
    return Model(halves_apart)


def turning_halves_of_some():
    return Model(halves_apart, 4)


def turning_pairs():
    return Model(pairs)


def turning_pairs_repeated():
    return Model(pairs_repeated)


def turning_complex_pairs():
    return Model(complex_pairs)


def turning_pairs_of_some():
    return Model(pairs, 4)
