"""Where weights are held: fusion weights, a learned start, a token, groups by depthwise layers; in PyTorch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Fusion(nn.Module):
    def __init__(self, mean=False):
        super().__init__()
        self.share1, self.share2 = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
        self.conv1, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
        self.side, self.other, self.mean = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), mean

    def fused(self, share, *inputs, mean=False):
        share = F.relu(share)
        share = share / ((share.mean() if mean else share.sum()) + 1e-4)
        return F.silu(sum(share[index] * one for index, one in enumerate(inputs)))

    def forward(self, wide, small):
        first = self.conv1(self.fused(self.share1, wide, F.interpolate(small, scale_factor=2)))
        return self.out(self.fused(self.share2, first, self.side(wide), self.other(wide), mean=self.mean))


def fusion():
    return Fusion()


def fusion_by_mean():
    return Fusion(mean=True)


class LearnedStart(nn.Module):
    def __init__(self, dilation=1):
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 6, 5, 4))
        self.style, self.out = nn.Linear(8, 7), nn.Conv2d(7, 3, 1)
        self.grow = nn.Conv2d(6, 7, 3, padding=dilation, dilation=dilation)

    def forward(self, z):
        picture = self.start.repeat(z.size(0), 1, 1, 1)
        return self.out(F.relu(self.grow(picture)) * self.style(z)[..., None, None])


def learned_start():
    return LearnedStart()


def learned_start_dilated():
    return LearnedStart(2)


class Block(nn.Module):
    def __init__(self, behind=False):
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(8, eps=1e-6), nn.Linear(8, 16), nn.Linear(16, 8)
        self.behind = behind

    def forward(self, x):
        if self.behind:
            return self.norm(x + self.narrow(F.gelu(self.wide(x))))
        return x + self.narrow(F.gelu(self.wide(self.norm(x))))


class Token(nn.Module):
    def __init__(self, behind=False):
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 7, 8))
        self.block0, self.block1, self.out = Block(), Block(behind), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x], 1) + self.place
        return self.out(self.block1(self.block0(x))[:, 0])


def token():
    return Token()


def token_norm_behind():
    return Token(behind=True)


def _groups(eps=1e-3):
    return nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(6, eps=eps), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip


def groups_by_depthwise():
    return _groups()


def groups_by_depthwise_other_eps():
    return _groups(eps=1e-5)


class Positions(nn.Module):
    def __init__(self, places=tuple(range(7))):
        super().__init__()
        self.order = places
        self.words, self.places = nn.Embedding(20, 6), nn.Embedding(7, 6)
        self.norm, self.out = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, ids):
        return self.out(self.norm(self.words(ids) + self.places(torch.tensor(self.order, device=ids.device))))


def baked_positions():
    return Positions()


def baked_positions_backwards():
    return Positions(places=(6, 5, 4, 3, 2, 1, 0))


class Queries(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.queries, self.scale = nn.Parameter(torch.randn(1, 3, 8)), scale
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        queries = self.queries.repeat(x.size(0), 1, 1)
        keys = x if self.scale == 1.0 else self.scale * x
        return self.out(self.attention(queries, keys, x)[0])


def learned_queries():
    return Queries()


def learned_queries_halved():
    return Queries(0.5)


class Factors(nn.Module):
    """The factors of the matrix as torch has it: (units, rank) and (rank, inputs)."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(5, 2)), nn.Parameter(torch.randn(2, 8))
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        return self.out(torch.tanh(F.linear(x, self.left @ self.right)))


def factors():
    return Factors()
