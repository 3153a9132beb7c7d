"""The same in torch, whose layer makes queries, keys and values at once."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    def __init__(self, keys, apart=False, scale=None, tiled=False):
        super().__init__()
        self.sizes = [24, 6 * keys, 6 * keys]
        if apart:
            self.q, self.k, self.v = (nn.Linear(16, size, bias=False) for size in self.sizes)
        else:
            self.qkv = nn.Linear(16, sum(self.sizes), bias=False)
        self.out = nn.Linear(24, 16, bias=False)
        self.keys, self.apart, self.scale, self.tiled = keys, apart, scale, tiled

    def forward(self, x):
        n = x.shape[0]
        parts = (self.q(x), self.k(x), self.v(x)) if self.apart else self.qkv(x).split(self.sizes, -1)
        q, k, v = (part.view(n, 7, -1, 6).transpose(1, 2) for part in parts)
        speeds = 1.0 / (10000.0 ** (torch.arange(0, 6, 2, dtype=x.dtype) / 6))
        angles = torch.outer(torch.arange(7, dtype=x.dtype), speeds)
        cosine, sine = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
        q, k = (u * cosine + torch.cat([-u[..., 3:], u[..., :3]], -1) * sine for u in (q, k))
        if self.tiled:
            k, v = (one.repeat(1, 4 // self.keys, 1, 1) for one in (k, v))
        elif self.keys < 4:
            k, v = (one.repeat_interleave(4 // self.keys, 1) for one in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.out(y.transpose(1, 2).reshape(n, 7, 24))


def as_many_keys():
    return Attention(4)


def fewer_keys():
    return Attention(2)


def fewer_keys_apart():
    return Attention(2, apart=True)


def fewer_keys_scaled():
    return Attention(2, scale=0.5)


def fewer_keys_apart_scaled():
    return Attention(2, apart=True, scale=0.5)


def as_many_keys_scaled():
    return Attention(4, scale=0.5)


def fewer_keys_tiled():
    return Attention(2, tiled=True)
