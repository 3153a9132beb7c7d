"""Small models of sequences and volumes, as people write them in torch: right ones beside those with one fault."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Scores(nn.Module):
    """A volume's classes at each place, channels last again at the end."""

    def __init__(self, shares: bool = True) -> None:
        super().__init__()
        self.inner, self.head, self.shares = nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 3, 1), shares

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(F.relu(self.inner(x.movedim(-1, 1))))
        return (F.softmax(x, 1) if self.shares else x).movedim(1, -1)


class Rooted(nn.Module):
    """The scale is written out, as many do who had no RMSNorm yet."""

    def __init__(self, axis: int = -1, inside: bool = True) -> None:
        super().__init__()
        self.inner, self.head, self.scale = nn.Linear(5, 6), nn.Linear(6, 3), nn.Parameter(torch.ones(6))
        self.axis, self.inside = axis, inside

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inner(x))
        square = x.pow(2).mean(self.axis, keepdim=True)
        x = x * torch.rsqrt(square + 1e-6) if self.inside else x / (square.sqrt() + 1e-6)
        return self.head(x * self.scale)


class Whole(nn.Module):
    """A sequence that is normalised as a whole, or each step alone."""

    def __init__(self, over: tuple[int, ...] = (7, 6)) -> None:
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(5, 6), nn.LayerNorm(over), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.tanh(self.inner(x))))


class Shortened(nn.Module):
    """A sequence that is convolved, then pooled."""

    def __init__(self, padding: int = 0, pooled: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv, self.head, self.pooled = nn.Conv1d(3, 6, 4, padding=padding), nn.Linear(6, 4), pooled

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x.transpose(1, 2)))
        x = F.max_pool1d(F.pad(x, self.pooled, value=float("-inf")), 3, 2)
        return self.head(x.mean(2))


class Handed(nn.Module):
    """One sequence is read on from what another left, or from less, or from the two states exchanged."""

    def __init__(self, states: str = "hc") -> None:
        super().__init__()
        self.reader, self.writer = nn.LSTM(3, 7, batch_first=True), nn.LSTM(2, 7, batch_first=True)
        self.head, self.states = nn.Linear(7, 4), states

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, (h, c) = self.reader(source)
        if not self.states:
            return self.head(self.writer(target)[0])
        given = {"h": h, "c": c, "0": torch.zeros_like(h)}
        return self.head(self.writer(target, (given[self.states[0]], given[self.states[1]]))[0])


class Attended(nn.Module):
    """A sequence that attends to itself."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=batch_first)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


class Unscaled(nn.Module):
    """Queries beside what they find; torch scales the products unless it is told not to."""

    def __init__(self, scale: float | None = 1.0) -> None:
        super().__init__()
        self.q, self.v, self.head, self.scale = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(12, 2), scale

    def forward(self, queries: Tensor, values: Tensor) -> Tensor:
        v = self.v(values)
        found = F.scaled_dot_product_attention(self.q(queries), v, v, scale=self.scale)
        return self.head(torch.cat([found, queries], -1))


class BothWays(nn.Module):
    """Two directions, put together at each step and at the end."""

    def __init__(self, each: str = "mean", ends: str = "product") -> None:
        super().__init__()
        self.each = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.ends = nn.RNN(4, 4, batch_first=True, bidirectional=True)
        self.head, self.ways = nn.Linear(4, 2), (each, ends)

    def forward(self, x: Tensor) -> Tensor:
        forth, back = self.each(x)[0].chunk(2, -1)
        x = (forth + back) / 2 if self.ways[0] == "mean" else forth + back
        first, second = self.ends(x)[1]
        return self.head(first * second if self.ways[1] == "product" else first + second)


class Pooled(nn.Module):
    """All tokens, or the first of them."""

    def __init__(self, first: bool = False) -> None:
        super().__init__()
        self.inner, self.norm, self.head, self.first = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3), first

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.inner(x))
        return self.head(x[:, 0] if self.first else x.mean(1))


class Rows(nn.Module):
    """A convolutional LSTM along rows, written out, as torch has none."""

    def __init__(self, gates: str = "ifco") -> None:
        super().__init__()
        self.x, self.h = nn.Conv1d(2, 16, 3, padding=1), nn.Conv1d(4, 16, 3, padding=1, bias=False)
        self.head, self.gates = nn.Linear(36, 2), gates

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 1, 3, 2)
        h = c = x.new_zeros(len(x), 4, x.shape[3])
        for step in x.unbind(1):
            gates = dict(zip(self.gates, (self.x(step) + self.h(h)).chunk(4, 1), strict=True))
            c = torch.sigmoid(gates["f"]) * c + torch.sigmoid(gates["i"]) * torch.tanh(gates["c"])
            h = torch.sigmoid(gates["o"]) * torch.tanh(c)
        return self.head(h.transpose(1, 2).flatten(1))


scores, scores_without_shares = Scores, partial(Scores, shares=False)
rooted, rooted_over_time, rooted_eps_outside = Rooted, partial(Rooted, 1), partial(Rooted, inside=False)
whole, whole_each_step = Whole, partial(Whole, (6,))
shortened, shortened_padded = Shortened, partial(Shortened, 1)
shortened_pooled_less = partial(Shortened, pooled=(0, 1))
handed, handed_exchanged, handed_half, handed_nothing = (partial(Handed, s) for s in ("hc", "ch", "h0", ""))
attended, attended_steps_first = Attended, partial(Attended, batch_first=False)
unscaled, unscaled_scaled = Unscaled, partial(Unscaled, None)
both_ways, both_ways_each_sum = BothWays, partial(BothWays, each="sum")
both_ways_ends_sum = partial(BothWays, ends="sum")
pooled, pooled_first = Pooled, partial(Pooled, True)
rows, rows_in_another_order = Rows, partial(Rows, "foic")
