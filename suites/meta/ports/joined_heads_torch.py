"""The same in torch, with views in the place of transpositions."""

import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    def __init__(self, turned=True, turned_back=True, ready_made=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, 3)
        self.turned, self.turned_back, self.ready_made = turned, turned_back, ready_made

    def _heads(self, x):
        return x.view(-1, 7, 2, 4).transpose(1, 2) if self.turned else x.view(-1, 2, 7, 4)

    def forward(self, x):
        q, k, v = (self._heads(layer(x)) for layer in (self.q, self.k, self.v))
        if self.ready_made:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = F.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        y = y.transpose(1, 2) if self.turned_back else y
        return self.head(self.o(y.reshape(-1, 7, 8)))


def by_hand():
    return Attention()


def ready_made():
    return Attention(ready_made=True)


def viewed():
    return Attention(turned=False)  # joined as they should be: the division alone is wrong


def viewed_ready_made():
    return Attention(turned=False, ready_made=True)


def joined():
    return Attention(turned_back=False)


def joined_ready_made():
    return Attention(turned_back=False, ready_made=True)


class Fused(nn.Module):
    def __init__(self, divide, ready_made=False):
        super().__init__()
        self.qkv, self.o, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)
        self.divide, self.ready_made = divide, ready_made

    def forward(self, x):
        q, k, v = self.divide(self.qkv(x))
        if self.ready_made:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = F.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        return self.head(self.o(y.transpose(1, 2).reshape(-1, 7, 8)))


def _by_thirds(x):
    return x.reshape(-1, 7, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)


def _by_heads(x):
    return x.reshape(-1, 7, 2, 3, 4).permute(3, 0, 2, 1, 4).unbind(0)


def _by_view(x):
    return x.reshape(-1, 3, 2, 7, 4).unbind(1)


def fused():
    return Fused(_by_thirds)


def fused_by_heads():
    return Fused(_by_heads)


def fused_by_view():
    return Fused(_by_view)


def fused_by_heads_ready_made():
    return Fused(_by_heads, ready_made=True)
