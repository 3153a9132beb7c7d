"""Small networks as people publish them whole, in PyTorch."""

import math

import torch
from torch import nn
from torch.nn import functional


class GraphHead(nn.Module):
    def __init__(self, given, units):
        super().__init__()
        self.units = units
        self.W = nn.Parameter(torch.randn(given, units))
        self.a = nn.Parameter(torch.randn(2 * units, 1))

    def forward(self, x, edges):
        h = torch.matmul(x, self.W)
        own, others = torch.matmul(h, self.a[: self.units]), torch.matmul(h, self.a[self.units :])
        scores = functional.leaky_relu(own + others.transpose(-1, -2), 0.2)
        scores = torch.where(edges > 0.3, scores, torch.full_like(scores, -9e15))
        return functional.softmax(scores, dim=2) @ h


class GraphAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attentions = nn.ModuleList([GraphHead(5, 4), GraphHead(5, 4)])
        self.out_att = GraphHead(8, 3)

    def forward(self, x, edges):
        return self.out_att(torch.cat([functional.elu(head(x, edges)) for head in self.attentions], -1), edges)


def graph_attention():
    return GraphAttention()


class HeadsBehindSamples(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in "qkv")
        self.first, self.last = (nn.LayerNorm(8, eps=1e-3) for _ in range(2))

    def forward(self, ids):
        x = self.first(self.words(ids))
        q, k, v = (layer(x).view(len(x), -1, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.last(y.transpose(1, 2).reshape(x.shape) + x)


def heads_behind_samples():
    return HeadsBehindSamples()


class MaskedByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3, bias=False)

    def forward(self, x, mask):
        shares = mask.to(x.dtype).unsqueeze(-1)
        return self.out((x * shares).sum(1) / (1 + shares.sum(1)))


def masked_by_hand():
    return MaskedByHand()


class PaddedQueries(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in "qkvo")
        self.norm, self.head = nn.LayerNorm(8, eps=1e-3), nn.Linear(8, 3)

    def forward(self, ids):
        there = ids != 0
        x = self.words(ids)
        q, k, v = (layer(x).view(len(x), -1, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-2, -1) / 2.0).masked_fill(~there[:, None, None, :], -1e9)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = self.norm(x + self.o(y))
        return self.head(x.masked_fill(~there[:, :, None], -1e9).max(dim=1).values)


def padded_queries():
    return PaddedQueries()


def sparsemax(z):
    falling, _ = torch.sort(z, dim=-1, descending=True)
    sums = falling.cumsum(-1)
    held = 1 + torch.arange(1, z.size(-1) + 1, dtype=z.dtype) * falling > sums
    count = held.sum(-1, keepdim=True)
    return torch.clamp(z - (sums.gather(-1, count - 1) - 1) / count.to(z.dtype), min=0)


class SparseShares(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(sparsemax(self.scores(x)) * x)


def sparse_shares():
    return SparseShares()


class TimeSteps(nn.Module):
    def __init__(self, less=0):
        super().__init__()
        self.less = less
        self.layers = nn.Sequential(nn.Linear(16, 6), nn.SiLU(), nn.Linear(6, 5))

    def forward(self, steps):
        rates = torch.exp(-math.log(10000) * torch.arange(8, dtype=torch.float32) / (8 - self.less))
        turns = steps[:, 0].float()[:, None] * rates[None]
        made = torch.cat([turns.sin(), turns.cos()], -1)
        return self.layers(made.to(self.layers[0].weight.dtype))


def time_steps():
    return TimeSteps()


def time_steps_one_less():
    return TimeSteps(1)


class TextLines(nn.Module):
    def __init__(self, viewed=False):
        super().__init__()
        self.viewed = viewed
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.first, self.steps, self.head = nn.Linear(24, 9), nn.LSTM(9, 7, batch_first=True), nn.Linear(7, 5)

    def forward(self, x):
        x = self.features(x)
        x = x.view(len(x), 10, 24) if self.viewed else x.permute(0, 3, 2, 1).reshape(len(x), 10, 24)
        return self.head(self.steps(self.first(x).relu())[0][:, -1])


def text_lines():
    return TextLines()


def text_lines_viewed():
    return TextLines(viewed=True)


def borders_reflected():
    return nn.Sequential(nn.ReflectionPad2d((1, 1, 1, 2)), nn.Conv2d(3, 4, 3))


def borders_of_zeros():
    return nn.Sequential(nn.ZeroPad2d((1, 1, 1, 2)), nn.Conv2d(3, 4, 3))


def tensordots_exact():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 5))
