"""Two attentions in one model: modules, and written out, with one projection for all three or three of them."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def _divided(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, 4).transpose(1, 2)


class Written(nn.Module):
    def __init__(self, fused=False, scale=0.5):
        super().__init__()
        self.scale = scale
        if fused:
            self.qkv = nn.Linear(8, 24)
        else:
            self.q_proj, self.k_proj, self.v_proj = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out_proj = nn.Linear(8, 8)

    def forward(self, x):
        if hasattr(self, "qkv"):
            parts = self.qkv(x).chunk(3, dim=-1)
        else:
            parts = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (_divided(part, 2) for part in parts)
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))


class Decoder(nn.Module):
    def __init__(self, scale=0.5, need_weights=True):
        super().__init__()
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)
        self.own = Written(scale=scale)
        self.need_weights = need_weights

    def forward(self, memory, x):
        x = x + self.own(x)
        return x + self.cross(x, memory, memory, need_weights=self.need_weights)[0]


def decoder():
    return Decoder()


def decoder_without_weights():
    return Decoder(need_weights=False)


def decoder_unscaled():
    return Decoder(scale=1.0)


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, 8))
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)
        self.own = Written()

    def forward(self, x):
        x = x + self.own(x)
        return self.cross(self.probe.repeat(x.shape[0], 1, 1), x, x)[0][:, 0]


def pooled():
    return Pooled()


class Two(nn.Module):
    def __init__(self, first, second, eps=1e-5):
        super().__init__()
        self.one, self.other = Written(first), Written(second)
        self.norm = nn.LayerNorm(8, eps=eps)

    def forward(self, x):
        x = self.norm(x + self.one(x))
        return x + self.other(x)


def first_fused():
    return Two(True, False)


def second_fused():
    return Two(False, True)


def both_fused():
    return Two(True, True)


def second_fused_eps():
    return Two(False, True, eps=1e-3)


class Grouped(nn.Module):
    """The projection of all three has as many numbers as `down`: 8 to 16, and 16 to 8."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out_proj = nn.Linear(8, 16), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).split([8, 4, 4], dim=-1)
        q, k, v = _divided(q, 2), *(_divided(part, 1).repeat_interleave(2, dim=1) for part in (k, v))
        x = x + self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
        return self.down(F.relu(self.up(x)))


def grouped_fused():
    return Grouped()


def seeded():
    return Written(True)


class Cloned(nn.Module):
    """Two layers of one, as `nn.TransformerEncoder` copies them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).layers

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def cloned():
    return Cloned()


class Additive(nn.Module):
    def __init__(self, bend=None):
        super().__init__()
        self.W1, self.W2, self.V = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.encoder, self.step, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(12, 6), nn.Linear(6, 3)
        self.bend = bend

    def forward(self, x):
        made, state = self.encoder(x)
        state = state[-1]
        for _ in range(2):
            scores = self.V(torch.tanh(self.W1(made) + self.W2(state).unsqueeze(1)))
            context = (scores.softmax(dim=1) * made).sum(dim=1)
            state = torch.tanh(self.step(torch.cat([context, state], dim=-1)))
        return self.head(state if self.bend is None else self.bend(state))


def additive():
    return Additive()


def additive_with_relu():
    return Additive(F.relu)


class BiasApart(nn.Linear):
    """A product and a sum, as Falcon has them."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


class ByHeads(nn.Module):
    """One projection whose units are those of the first head's query, key and value, then those of the second's."""

    def __init__(self, kind=nn.Linear):
        super().__init__()
        self.qkv, self.out_proj = kind(8, 24), kind(8, 8)

    def forward(self, x):
        heads = self.qkv(x).view(x.shape[0], x.shape[1], 2, 3, 4)
        q, k, v = (heads[..., part, :].transpose(1, 2) for part in range(3))
        weights = torch.softmax(q @ k.transpose(-2, -1) * 0.5, dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))


def by_heads():
    return ByHeads()


def by_heads_with_biases_apart():
    return ByHeads(BiasApart)
