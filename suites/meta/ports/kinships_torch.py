"""The same in torch: two heads as one layer, heads first, modules in a list; and two whose line names the call."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class TwoHeads(nn.Module):
    def __init__(self, channels_last=False):
        super().__init__()
        self.heads, self.back, self.channels_last = nn.Linear(24, 10), nn.Linear(5, 6), channels_last

    def forward(self, x):
        x = x.permute(0, 2, 3, 1) if self.channels_last else x
        mean, spread = self.heads(x.flatten(1)).chunk(2, -1)
        return {"back": self.back(mean), "mean": mean, "spread": spread}


def two_heads():
    return TwoHeads()


def two_heads_channels_last():
    return TwoHeads(channels_last=True)


class FourOfFour(nn.Module):
    def __init__(self, scale=None):
        super().__init__()
        self.k, self.q, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.scale = scale

    def forward(self, x):
        query, key, value = (layer(x).view(-1, 7, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        made = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self.scale)
        return self.o(made.transpose(1, 2).reshape(-1, 7, 16))


def four_of_four():
    return FourOfFour()


def four_of_four_unscaled():
    return FourOfFour(scale=1.0)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(8, 3, bias=False), nn.Linear(6, 8)
        self.layers = nn.ModuleList([nn.ModuleDict({"gate": nn.Linear(8, 8), "new": nn.Linear(8, 8)})])

    def forward(self, x):
        x = F.relu(self.first(x))
        for layer in self.layers:
            x = torch.lerp(x, torch.tanh(layer["new"](x)), torch.sigmoid(layer["gate"](x)))
        return self.last(x)


def gated():
    return Gated()


class Mirrored(nn.Module):
    def __init__(self, mode="reflect", bias=False):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode)
        self.second = nn.Conv2d(4, 2, 3, bias=bias)

    def forward(self, x):
        return F.conv2d(F.relu(self.first(x)), self.second.weight, self.second.bias)


def mirrored():
    return Mirrored()


def mirrored_by_edges():
    return Mirrored("replicate")


def mirrored_with_a_bias():
    return Mirrored(bias=True)


class Centred(nn.Module):
    def __init__(self, whole=False):
        super().__init__()
        self.first, self.whole = nn.Linear(6, 4), whole

    def forward(self, x):
        x = self.first(x)
        return x - (x.mean() if self.whole else x.mean(1, keepdim=True))


def centred():
    return Centred()


def centred_by_the_batch():
    return Centred(whole=True)
