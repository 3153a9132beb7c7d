"""Ports of the models in `examined_tensorflow.py`, right and wrong."""

import math
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attended(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(12, 3, batch_first=True), nn.LayerNorm(12, eps=eps)

    def forward(self, x):
        return self.norm(x + self.attention(x, x, x)[0])


def keys_first():
    return Attended()


def keys_first_with_another_eps():
    return Attended(1e-3)


def drawn_heads():
    """Take the weights of the three heads as if their units stood side by side: kernels and biases."""
    attention, rng = nn.MultiheadAttention(12, 3, batch_first=True), np.random.default_rng(5)
    kernels, biases = [], []
    for _ in range(3):
        kernels.append(rng.normal(size=(12, 3, 4)).transpose(0, 2, 1).reshape(12, 12).T)
        biases.append(rng.normal(size=(3, 4)).T.reshape(12))
    last = rng.normal(size=(3, 4, 12)).reshape(12, 12).T, rng.normal(size=12)
    with torch.no_grad():
        for weight, value in zip(
            (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias),
            (np.concatenate(kernels), np.concatenate(biases), *last),
            strict=True,
        ):
            weight.copy_(torch.from_numpy(value * 0.3))
    return OfItself(attention)


class OneLayer(nn.Module):
    """Queries, keys and values of one linear layer, as timm has them."""

    def __init__(self, attention):
        super().__init__()
        self.qkv, self.out = nn.Linear(12, 36), attention.out_proj
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias

    def forward(self, x):
        n, places, size = x.shape
        q, k, v = self.parted(self.qkv(x))
        shares = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(n, places, size))

    def parted(self, x):
        return x.reshape(*x.shape[:2], 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)


class EverySoMany(OneLayer):
    def parted(self, x):
        return x.reshape(*x.shape[:2], 3, 4, 3).permute(2, 0, 4, 1, 3).unbind(0)


def every_so_many():
    return EverySoMany(drawn_heads().attention)


def drawn_heads_of_one_layer():
    return OneLayer(drawn_heads().attention)


class OfItself(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x):
        return self.attention(x, x, x)[0]


def through_numpy():
    return nn.Sequential(nn.Linear(9, 4), nn.Tanh())


class JoinedHeads(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.r, self.v, self.k, self.q = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.head, self.scale = nn.Linear(56, 3), scale

    def forward(self, x):
        queries, keys, values = (torch.stack(torch.split(layer(x), 4, -1)) for layer in (self.q, self.k, self.v))
        scores = torch.einsum("hbid,hbjd->hbij", queries, keys)
        if self.scale != 1.0:
            scores = scores * self.scale
        mixed = torch.softmax(scores, -1) @ values
        mixed = torch.cat(torch.split(mixed, 1), -1).squeeze(0)
        return self.head(F.relu(mixed + self.r(x)).flatten(1))


def joined_heads():
    return JoinedHeads()


def joined_heads_scaled():
    return JoinedHeads(0.5)


class NormedMap(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(shape), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        x = F.relu(self.conv(x))
        whole = len(self.norm.normalized_shape) > 1
        x = self.norm(x) if whole else self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.last(x)


def normed_map():
    return NormedMap(6)


def normed_map_as_a_whole():
    return NormedMap([6, 8, 12])


class Halved(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.first, self.second, self.head, self.factor = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3), factor

    def forward(self, x):
        first = self.first(x)
        return self.head(F.relu((first + self.second(first)) * self.factor))


def halved():
    return Halved(math.sqrt(0.5))


def halved_not_at_all():
    return Halved(1.0)


class Responding(nn.Module):
    def __init__(self, alpha=1e-4):
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.LocalResponseNorm(5, alpha)

    def forward(self, x):
        return self.second(self.norm(F.relu(self.first(x))))


def responding():
    return Responding()


def responding_by_a_fifth():
    return Responding(2e-5)


class Rotating(nn.Module):
    def __init__(self, causal=(True, True), eps=(1e-5, 1e-5)):
        super().__init__()
        self.words, self.head, self.causal = nn.Embedding(20, 12), nn.Linear(12, 5), causal
        self.norm = nn.ModuleList([nn.LayerNorm(12, eps=one) for one in eps])
        self.q, self.k, self.v, self.out = (
            nn.ModuleList([nn.Linear(12, 12, bias=False) for _ in range(2)]) for _ in range(4)
        )

    def forward(self, words):
        x = self.words(words)
        angles = torch.outer(torch.arange(7, dtype=torch.float64), 1.0 / torch.tensor([1.0, 10.0], dtype=torch.float64))
        angles = torch.cat((angles, angles), -1)
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)

        def turned(vectors):
            first, second = vectors.chunk(2, -1)
            return vectors * cosine + torch.cat((-second, first), -1) * sine

        for number, causal in enumerate(self.causal):
            y = self.norm[number](x)
            q, k, v = (layer[number](y).view(-1, 7, 3, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
            mixed = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=causal)
            x = x + self.out[number](mixed.transpose(1, 2).reshape(-1, 7, 12))
        return self.head(x)


def rotating():
    return Rotating()


def rotating_first_sees_all():
    return Rotating((False, True))


def rotating_first_sees_all_behind_an_eps():
    return Rotating((False, True), (1e-3, 1e-5))


class Pyramid(nn.Module):
    def __init__(self, rates=(1, 2, 3, 4, 5)):
        super().__init__()
        self.branches = nn.ModuleList([
            nn.Sequential(nn.Conv2d(3, 6, 3, padding=rate, dilation=rate, bias=False), nn.BatchNorm2d(6), nn.ReLU())
            for rate in rates
        ])  # fmt: skip
        self.last = nn.Conv2d(30, 4, 1)

    def forward(self, x):
        return self.last(torch.cat([branch(x) for branch in self.branches], 1))


def pyramid():
    return Pyramid()


def pyramid_from_the_last():
    return Pyramid((5, 4, 3, 2, 1))


def pyramid_of_four():
    return Pyramid((1, 2, 3, 4, 4))


class Asked(nn.Module):
    def __init__(self, dim=-1, scale=1.0):
        super().__init__()
        self.texts, self.questions = nn.LSTM(6, 8, batch_first=True), nn.LSTM(6, 8, batch_first=True)
        self.head, self.dim, self.scale = nn.Linear(16, 3), dim, scale

    def forward(self, questions, texts):
        queries, values = self.questions(questions)[0], self.texts(texts)[0]
        scores = torch.bmm(queries, values.transpose(1, 2))
        if self.scale != 1.0:
            scores = scores * self.scale
        found = torch.bmm(F.softmax(scores, self.dim), values)
        return self.head(torch.cat([queries, found], 2))


def asked():
    return Asked()


def asked_along_the_queries():
    return Asked(1)


def asked_by_a_quarter():
    return Asked(scale=0.25)


class Fading(nn.Module):
    def forward(self, x):
        return F.relu(x) + F.gelu(8.0 * x)


def fading():
    return Fading()


class NormedByEachBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3)

    def forward(self, x):
        kept = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(self.conv(x), *kept, self.norm.weight, self.norm.bias, training=True, eps=1e-3)


def normed_by_each_batch():
    return NormedByEachBatch()


class Remembering(nn.Module):
    def __init__(self, of_gru=True, of_lstm=True):
        super().__init__()
        self.gru = nn.GRU(5, 6, batch_first=True, bias=of_gru)
        self.lstm = nn.LSTM(6, 4, batch_first=True, bias=of_lstm)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(self.gru(x)[0])[0][:, -1])


def remembering_without_biases():
    return Remembering(False, False)


class Rooted(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 8) for _ in range(3))

    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 8, -1) @ self.v(x)


def rooted_not_at_all():
    return Rooted()


class Graded(nn.Module):
    def __init__(self, times=1.0, order=(0, 1, 2, 3)):
        super().__init__()
        self.body, self.head, self.times, self.order = nn.Linear(9, 7), nn.Linear(7, 4), times, list(order)

    def forward(self, x):
        weight = self.body.weight if self.times == 1.0 else self.times * self.body.weight
        return self.head(F.relu(F.linear(x, weight, self.body.bias)))[:, self.order]


def graded_twice_as_steep():
    return Graded(2.0)


def graded_otherwise():
    return Graded(order=(1, 0, 3, 2))


class TurnedByHalves(nn.Module):
    def __init__(self):
        super().__init__()
        self.made, self.head = nn.Linear(6, 12), nn.Linear(12, 4)
        angles = torch.arange(5.0, dtype=torch.float64)[:, None] / torch.tensor([1.0, 10.0], dtype=torch.float64)
        self.register_buffer("cosine", angles.repeat(1, 2).cos().float())
        self.register_buffer("sine", angles.repeat(1, 2).sin().float())

    def forward(self, x):
        x = self.made(x).view(-1, 5, 3, 4).transpose(1, 2)
        first, second = x.chunk(2, -1)
        x = x * self.cosine + torch.cat([-second, first], -1) * self.sine
        return self.head(x.transpose(1, 2).reshape(-1, 5, 12))


def turned_by_halves():
    return TurnedByHalves()


class Biased(nn.BatchNorm2d):
    """Torch's own, whose variance is then made the biased one that Keras keeps."""

    def __init__(self, size, turned):
        super().__init__(size, eps=1e-3, momentum=0.1)
        self.turned = turned

    def forward(self, x):
        before = self.running_var.clone()
        y = super().forward(x)
        if self.training:
            count = x.numel() // x.shape[1]
            share = count / (count - 1) if self.turned else (count - 1) / count
            self.running_var.data.copy_(0.9 * before + (self.running_var - 0.9 * before) * share)
        return y


def kept(turned=False):
    return nn.Sequential(nn.Conv2d(3, 4, 3), Biased(4, turned), nn.ReLU())


def kept_the_other_way():
    return kept(True)


class TanhGELU(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def bent(act=TanhGELU):
    return nn.Sequential(OrderedDict(wide=nn.Linear(6, 9), act=act(), narrow=nn.Linear(9, 4)))


def bent_exactly():
    return bent(nn.GELU)


class Tagging(nn.Module):
    """A word's shares of the tags; with `axis` 1 a tag's shares of the words."""

    def __init__(self, axis=-1):
        super().__init__()
        self.gru, self.tag, self.axis = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 4), axis

    def forward(self, x):
        return torch.softmax(self.tag(self.gru(x)[0]), dim=self.axis)


tagging = Tagging


def tagging_words():
    return Tagging(1)


class Spectrum(nn.Module):
    def __init__(self, periodic=True):
        super().__init__()
        self.register_buffer("window", torch.hann_window(32, periodic=periodic))
        self.out = nn.Linear(17, 3)

    def forward(self, x):
        found = torch.stft(x, 32, 16, window=self.window, center=False, return_complex=True)
        return self.out(found.abs().transpose(1, 2))


spectrum = Spectrum


def spectrum_through_another_window():
    return Spectrum(periodic=False)


class Scored(nn.Module):
    """Queries are scaled before their product with the keys; Keras scales the product."""

    def __init__(self, scale=0.5):
        super().__init__()
        self.qkv, self.proj, self.head, self.scale = nn.Linear(12, 36), nn.Linear(12, 12), nn.Linear(12, 5), scale

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(-1, 7, 3, 3, 4).permute(2, 0, 3, 1, 4)
        shares = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
        return self.head(x + self.proj((shares @ v).transpose(1, 2).reshape(-1, 7, 12)))


scored = Scored


def scored_by_all_heads():
    return Scored(12**-0.5)
