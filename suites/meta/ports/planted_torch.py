"""Ports of the networks in which faults are planted, each with its fault or without."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class WithAttention(nn.Module):
    """A layer of attention and a head; `masks` makes of the ids or the input what the layer is given."""

    def __init__(self, masks, ids=False):
        super().__init__()
        self.embedding = nn.Embedding(31, 24) if ids else nn.Identity()
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.head = nn.Linear(24, 5)
        self.masks = masks

    def forward(self, given):
        x = self.embedding(given)
        return self.head(self.attention(x, x, x, need_weights=False, **self.masks(given))[0])


def padded():
    return WithAttention(lambda ids: {"key_padding_mask": ids == 0}, ids=True)


def padding_forgotten():
    return WithAttention(lambda _: {}, ids=True)


def causal():
    return WithAttention(lambda _: {"attn_mask": torch.ones(9, 9, dtype=torch.bool).triu(1)})


def causal_as_keras():
    """True means blocked, here on the wrong side: each place sees itself and what comes later."""
    return WithAttention(lambda _: {"attn_mask": torch.ones(9, 9, dtype=torch.bool).tril(-1)})


def causal_forgotten():
    return WithAttention(lambda _: {})


class ByHand(nn.Module):
    def __init__(self, ids=False, scaled=True, masked=True, later=None, axis=-1):
        super().__init__()
        self.embedding = nn.Embedding(31, 24) if ids else nn.Identity()
        self.q, self.k, self.v, self.o = (nn.Linear(24, 24) for _ in range(4))
        self.head = nn.Linear(24, 5)
        self.ids, self.scaled, self.masked, self.later, self.axis = ids, scaled, masked, later, axis

    def split(self, x):
        return x.view(len(x), -1, 4, 6).transpose(1, 2)

    def forward(self, given, x=None):
        memory = self.embedding(given)
        x = memory if x is None else x
        q, k, v = self.split(self.q(x)), self.split(self.k(memory)), self.split(self.v(memory))
        scores = q @ k.transpose(-1, -2)
        scores = scores / 6**0.5 if self.scaled else scores
        if self.ids and self.masked:
            scores = scores.masked_fill((given == 0)[:, None, None, :], -1e9)
        if self.later is not None:
            scores = scores.masked_fill(torch.ones(9, 9, dtype=torch.bool).triu(self.later), -1e9)
        y = scores.softmax(self.axis) @ v
        return self.head(self.o(y.transpose(1, 2).reshape(len(x), -1, 24)))


def by_hand():
    return ByHand(ids=True)


def by_hand_unscaled():
    return ByHand(ids=True, scaled=False)


def by_hand_unmasked():
    return ByHand(ids=True, masked=False)


def later():
    return ByHand(later=1)


def later_by_one():
    return ByHand(later=2)


def crossed():
    return ByHand()


def crossed_along_queries():
    return ByHand(axis=-2)


class Normed(nn.Module):
    """A normalisation that is written out, with the variance over N or N - 1 and the eps inside the root or outside."""

    def __init__(self, unbiased=False, outside=False, eps=1e-3):
        super().__init__()
        self.first, self.head = nn.Linear(24, 24), nn.Linear(24, 5)
        self.gain, self.shift = nn.Parameter(torch.ones(24)), nn.Parameter(torch.zeros(24))
        self.unbiased, self.outside, self.eps = unbiased, outside, eps

    def forward(self, x):
        x = self.first(x)
        mean = x.mean(-1, keepdim=True)
        if self.outside:
            y = (x - mean) / (x.std(-1, keepdim=True, unbiased=self.unbiased) + self.eps)
        else:
            y = (x - mean) / torch.sqrt(x.var(-1, keepdim=True, unbiased=self.unbiased) + self.eps)
        return self.head(self.gain * y + self.shift)


def normed_by_hand():
    return Normed()


def normed_with_eps_outside():
    return Normed(outside=True)


def normed_as_annotated():
    return Normed(unbiased=True, outside=True, eps=1e-6)


class NormedPixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(12, 10, 1), nn.Conv2d(10, 5, 3)
        self.gain, self.shift = nn.Parameter(torch.ones(10)), nn.Parameter(torch.zeros(10))

    def forward(self, x):
        x = self.first(x)
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True)
        y = (x - mean) / (variance + 1e-3).sqrt()
        return self.last(y * self.gain[:, None, None] + self.shift[:, None, None])


def normed_pixels_unbiased():
    return NormedPixels()


def shares():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Softmax(1))


def shares_forgotten():
    return nn.Sequential(nn.Conv2d(3, 5, 3))


class Blurred(nn.Module):
    """A mean of each two by two pixels as a convolution of a padded image, and a convolution with a stride."""

    def __init__(self, symmetric=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, padding=1 if symmetric else 0)
        self.symmetric = symmetric

    def forward(self, x):
        kernel = torch.full((3, 1, 2, 2), 0.25, dtype=x.dtype)
        y = F.conv2d(F.pad(x, (0, 2, 0, 2)), kernel, stride=2, groups=3)[..., :7, :9]
        y = torch.tanh(y)[..., :6, :8]
        return self.conv(y if self.symmetric else F.pad(y, (0, 1, 0, 1)))


def blurred():
    return Blurred()


def blurred_and_symmetric():
    return Blurred(symmetric=True)


class Blocks(nn.Module):
    """Depth to space by hand; turned, rows and columns within a block are exchanged."""

    def __init__(self, turned=False):
        super().__init__()
        self.first, self.last = nn.Conv2d(12, 12, 1), nn.Conv2d(3, 4, 3)
        self.order = (0, 3, 4, 2, 5, 1) if turned else (0, 3, 4, 1, 5, 2)

    def forward(self, x):
        x = self.first(x)
        n, c, h, w = x.shape
        y = x.view(n, 2, 2, c // 4, h, w).permute(*self.order).reshape(n, c // 4, 2 * h, 2 * w)
        return self.last(y)


def blocks():
    return Blocks()


def blocks_turned():
    return Blocks(turned=True)


class BothWays(nn.Module):
    """Two cells, one from the first step on and one from the last; either may be run first."""

    def __init__(self, cell, backwards_first=False):
        super().__init__()
        self.ahead, self.back, self.head = cell(4, 3), cell(4, 3), nn.Linear(6, 2)
        self.backwards_first = backwards_first

    def run(self, cell, steps):
        state, found = None, []
        for step in steps:
            state = cell(step, state)
            found.append(state[0] if isinstance(state, tuple) else state)
        return found

    def forward(self, x):
        if self.backwards_first:
            back = self.run(self.back, [x[:, t] for t in reversed(range(5))])
            ahead = self.run(self.ahead, [x[:, t] for t in range(5)])
        else:
            steps = x.unbind(1)
            ahead, back = self.run(self.ahead, steps), self.run(self.back, steps[::-1])
        return self.head(torch.cat([torch.stack(ahead, 1), torch.stack(back[::-1], 1)], -1))


def both_ways_lstm():
    return BothWays(nn.LSTMCell)


def both_ways_lstm_backwards_first():
    return BothWays(nn.LSTMCell, backwards_first=True)


def both_ways_gru():
    return BothWays(nn.GRUCell)


def both_ways_gru_backwards_first():
    return BothWays(nn.GRUCell, backwards_first=True)


class BothWaysByHand(nn.Module):
    """LSTMs written out, with the forget gate first."""

    def __init__(self):
        super().__init__()
        for name, shape in (("kernel", (4, 12)), ("recurrent", (3, 12)), ("bias", (12,))):
            for way in ("ahead", "back"):
                setattr(self, f"{name}_{way}", nn.Parameter(torch.randn(shape) / 2))
        self.head = nn.Linear(6, 2)

    def run(self, x, way, places):
        kernel, recurrent, bias = (getattr(self, f"{name}_{way}") for name in ("kernel", "recurrent", "bias"))
        h = c = x.new_zeros(len(x), 3)
        found = []
        for t in places:
            f, i, g, o = (x[:, t] @ kernel + h @ recurrent + bias).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            found.append(h)
        return found

    def forward(self, x):
        ahead = torch.stack(self.run(x, "ahead", range(5)), 1)
        back = torch.stack(self.run(x, "back", range(4, -1, -1))[::-1], 1)
        return self.head(torch.cat([ahead, back], -1))


def both_ways_by_hand():
    return BothWaysByHand()


class TwoGates(nn.Module):
    def __init__(self, exchanged=False):
        super().__init__()
        self.gate, self.value, self.head = nn.Linear(13, 16), nn.Linear(13, 16), nn.Linear(16, 5)
        drawn = [self.value, self.gate, self.head] if exchanged else [self.gate, self.value, self.head]
        with torch.no_grad():
            for seed, layer in enumerate(drawn):
                numbers = np.random.default_rng(seed)
                layer.weight.copy_(torch.from_numpy(numbers.standard_normal(layer.weight.T.shape).T / 4))
                layer.bias.copy_(torch.from_numpy(numbers.standard_normal(layer.bias.shape) / 4))

    def forward(self, x):
        return self.head(torch.sigmoid(self.gate(x)) * torch.tanh(self.value(x)))


def two_gates():
    return TwoGates()


def two_gates_exchanged():
    return TwoGates(exchanged=True)


class WrittenGru(nn.Module):
    """A GRU as the textbooks have it: the reset gate before the product with the state."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        cell, h = self.cell, x.new_zeros(len(x), 3)
        kernels = cell.weight_hh.chunk(3)
        biases = cell.bias_hh.chunk(3)
        for t in range(x.shape[1]):
            of_x = F.linear(x[:, t], cell.weight_ih, cell.bias_ih).chunk(3, 1)
            r, z = (torch.sigmoid(of_x[k] + F.linear(h, kernels[k], biases[k])) for k in range(2))
            n = torch.tanh(of_x[2] + F.linear(r * h, kernels[2], biases[2]))
            h = z * h + (1 - z) * n
        return self.head(h)


def gru_reset_before():
    return WrittenGru()


class BothWaysBare(BothWays):
    """An activation before both is there twice: nothing about the layers behind it."""

    def forward(self, x):
        return super().forward(torch.tanh(torch.tanh(x)))


def both_ways_behind_a_fault():
    return BothWaysBare(nn.LSTMCell)
