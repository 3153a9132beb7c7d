"""Networks whose ports have one fault that is easily called another, in torch: right, and with that fault."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class MaskedAttention(nn.Module):
    def __init__(self, inverted=False, weights=False):
        super().__init__()
        self.table, self.attention = nn.Embedding(6, 12), nn.MultiheadAttention(12, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 3)
        self.inverted, self.weights = inverted, weights

    def forward(self, ids):
        x = self.table(ids)
        blocked = ids != 0 if self.inverted else ids == 0
        y, _ = self.attention(x, x, x, key_padding_mask=blocked, need_weights=self.weights)
        return self.head(self.norm(x + y).amax(1))


def masked_attention():
    return MaskedAttention()


def masked_attention_inverted():
    return MaskedAttention(inverted=True)


def masked_attention_inverted_with_weights():
    return MaskedAttention(inverted=True, weights=True)


class Preprocessed(nn.Module):
    """Keeps the numbers of the data set in buffers, as many do."""

    def __init__(self, mean, deviation=(1.0, 1.0, 1.0), divisor=1.0, turned=False):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))
        self.divisor, self.turned = divisor, turned

    def forward(self, x):
        x = x.flip(1) if self.turned else x
        x = (x / self.divisor if self.divisor != 1.0 else x) - self.mean
        x = x / self.deviation if self.divisor != 1.0 or self.deviation[0, 0, 0, 0] != 1.0 else x
        return self.head(F.relu(self.first(x)).mean((2, 3)))


BLUE, RED = (103.939, 116.779, 123.68), (123.68, 116.779, 103.939)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def blue_first():
    return Preprocessed(BLUE, turned=True)


def blue_first_not_turned():
    return Preprocessed(BLUE)


def blue_first_red_first():
    return Preprocessed(RED)


def standardised():
    return Preprocessed(MEAN, DEVIATION, 255.0)


def standardised_from_bytes():
    return Preprocessed(MEAN, DEVIATION)


class Grouped(nn.Module):
    def __init__(self, groups, width=8):
        super().__init__()
        self.wide, self.grouped = nn.Conv2d(3, width, 1), nn.Conv2d(width, 8, 3, padding=1, groups=groups)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.head(F.relu(self.grouped(F.relu(self.wide(x)))))


def grouped():
    return Grouped(4)


def grouped_by_two():
    return Grouped(2)


def grouped_no_more():
    return Grouped(1)


def depthwise():
    return Grouped(4, 4)


def depthwise_no_more():
    return Grouped(1, 4)


class UnitVectors(nn.Module):
    def __init__(self, bias=False, floor=None):
        super().__init__()
        self.project, self.floor = nn.Linear(7, 5, bias=bias), floor

    def forward(self, x):
        y = self.project(x)
        return F.normalize(y, dim=1) if self.floor is None else F.normalize(y, dim=1, eps=self.floor)


def unit_vectors():
    return UnitVectors()


def unit_vectors_with_its_floor():
    return UnitVectors(floor=1e-6)


def unit_vectors_behind_a_bias():
    return UnitVectors(bias=True)


class Pixels(nn.Module):
    def __init__(self, scale=None):
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(8, 8, 1) for _ in range(3))
        self.head, self.scale = nn.Conv2d(8, 3, 1), scale

    def forward(self, x):
        q, k, v = (part(x).flatten(2).mT for part in (self.q, self.k, self.v))
        return self.head(F.scaled_dot_product_attention(q, k, v, scale=self.scale).mT.reshape(x.shape))


def pixels():
    return Pixels()


def pixels_unscaled():
    return Pixels(1.0)


class Blocks(nn.Module):
    def __init__(self, heads=3, seen=True):
        super().__init__()
        self.table = nn.Embedding(17, 12)
        self.joint = nn.ParameterList([nn.Parameter(torch.randn(12, 36)) for _ in range(2)])
        self.bias = nn.ParameterList([nn.Parameter(torch.randn(36)) for _ in range(2)])
        self.norm = nn.ModuleList([nn.LayerNorm(12) for _ in range(2)])
        self.out = nn.ModuleList([nn.Linear(12, 12) for _ in range(2)])
        self.heads, self.causal = heads, seen

    def forward(self, ids):
        x = self.table(ids)
        for number in range(2):
            parts = (self.norm[number](x) @ self.joint[number] + self.bias[number]).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            causal = self.causal or number > 0
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
            x = x + self.out[number](y.transpose(1, 2).flatten(2))
        return F.linear(x, self.table.weight)


def blocks():
    return Blocks()


def blocks_of_four_heads():
    return Blocks(heads=4)


def blocks_that_see_ahead():
    return Blocks(seen=False)


class EachChannel(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.norm = nn.InstanceNorm2d(6, eps=eps, affine=True)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))))


def each_channel():
    return EachChannel(1e-5)


def each_channel_by_another_eps():
    return EachChannel(1e-3)


class Recurrence(nn.Module):
    """Loaded from the numbers that are drawn on the other side, in its order: kernel, recurrent kernel, bias."""

    def __init__(self, kind, gates, turned=(), last=False):
        super().__init__()
        self.recurrence, self.last = kind(4, 5, batch_first=True), last
        draw = np.random.default_rng(3)
        kernel, recurrent, bias = (
            draw.standard_normal(shape).astype(np.float32) / 2.0
            for shape in ((4, 5 * gates), (5, 5 * gates), 5 * gates)
        )
        blocks = [block.T for block in np.split(recurrent, gates, 1)]
        blocks = [block.T if number in turned else block for number, block in enumerate(blocks)]
        with torch.no_grad():
            self.recurrence.weight_ih_l0.copy_(torch.from_numpy(kernel.T))
            self.recurrence.weight_hh_l0.copy_(torch.from_numpy(np.concatenate(blocks)))
            self.recurrence.bias_ih_l0.copy_(torch.from_numpy(bias))
            self.recurrence.bias_hh_l0.zero_()

    def forward(self, x):
        y = self.recurrence(x)[0]
        return y[:, -1] if self.last else y


def simple_recurrence():
    return Recurrence(nn.RNN, 1, last=True)


def simple_recurrence_not_transposed():
    return Recurrence(nn.RNN, 1, (0,), last=True)


def long_memory():
    return Recurrence(nn.LSTM, 4)


def long_memory_not_transposed():
    return Recurrence(nn.LSTM, 4, (0, 1, 2, 3))


def long_memory_not_transposed_in_one():
    return Recurrence(nn.LSTM, 4, (1,))


class Square(nn.Module):
    def __init__(self, axis):
        super().__init__()
        self.inner, self.head, self.axis = nn.Linear(6, 6), nn.Linear(6, 2), axis

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)).mean(self.axis))


def square():
    return Square(1)


def square_over_the_channels():
    return Square(2)
