"""The ports of `fed_tensorflow.py`, right and with a layer that reads something else."""

from __future__ import annotations

import torch
from torch import nn


class MeanAndSpread(nn.Module):
    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.swapped = swapped
        self.hidden, self.mean, self.spread = nn.Linear(9, 7), nn.Linear(7, 3), nn.Linear(7, 3)
        self.decoded = nn.Linear(3, 9)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.hidden(x).relu()
        mean, spread = self.mean(x), self.spread(x)
        return self.decoded(spread if self.swapped else mean), spread


def mean_and_spread() -> nn.Module:
    return MeanAndSpread()


def mean_and_spread_swapped() -> nn.Module:
    return MeanAndSpread(swapped=True)


class Crossed(nn.Module):
    def __init__(self, first: bool = True) -> None:
        super().__init__()
        self.first = first
        self.weights, self.head = nn.ModuleList([nn.Linear(9, 1), nn.Linear(9, 1)]), nn.Linear(9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = x
        for weight in self.weights:
            x = (given if self.first else x) * weight(x) + x
        return self.head(x)


def crossed() -> nn.Module:
    return Crossed()


def crossed_with_the_last() -> nn.Module:
    return Crossed(first=False)


class Latents(nn.Module):
    def __init__(self, normed: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12) if normed else nn.Identity()
        self.attention, self.head = nn.MultiheadAttention(12, 2, batch_first=True), nn.Linear(12, 4)

    def forward(self, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        context = self.norm(context)
        return self.head(queries + self.attention(queries, context, context)[0])


def latents() -> nn.Module:
    return Latents()


def latents_of_what_is_not_normed() -> nn.Module:
    return Latents(normed=False)


class TwoTexts(nn.Module):
    def __init__(self, shared: bool = False, mean: bool = False) -> None:
        super().__init__()
        self.title, self.body, self.head = nn.Embedding(20, 5), nn.Embedding(20, 5), nn.Linear(10, 3)
        self.shared, self.pool = shared, nn.functional.avg_pool1d if mean else nn.functional.max_pool1d

    def most(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        return self.pool(x, x.size(2)).squeeze(2)

    def forward(self, title: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
        words = self.title(title), (self.title if self.shared else self.body)(body)
        return self.head(torch.cat([self.most(one) for one in words], 1))


def two_texts() -> nn.Module:
    return TwoTexts()


def two_texts_of_one_table() -> nn.Module:
    return TwoTexts(shared=True)


def two_texts_on_average() -> nn.Module:
    return TwoTexts(mean=True)


class Stars(nn.Module):
    def __init__(self, low: float = 0.5, high: float = 5.0) -> None:
        super().__init__()
        self.liked, self.low, self.high = nn.Linear(9, 1), low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.liked(x).sigmoid() * (self.high - self.low) + self.low


def stars() -> nn.Module:
    return Stars()


def stars_of_another_scale() -> nn.Module:
    return Stars(0.0, 5.5)
