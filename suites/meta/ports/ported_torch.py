"""PyTorch code as it is published, from which ports to Keras are made."""

import math

import torch
from torch import nn
from torch.nn import functional


class ByHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.shortcut = (nn.Parameter(torch.randn(5, 6) * 0.3) for _ in range(4))
        self.head = nn.Linear(24, 1)

    def forward(self, x):
        parts = [torch.tensordot(x, one, dims=([-1], [0])) for one in (self.query, self.key, self.value)]
        query, key, value = (torch.stack(torch.split(part, 3, dim=2)) for part in parts)
        shares = functional.softmax(torch.einsum("bnik,bnjk->bnij", query, key), dim=-1)
        mixed = torch.cat(torch.split(torch.matmul(shares, value), 1), dim=-1).squeeze(0)
        return self.head(torch.flatten(functional.relu(mixed + torch.tensordot(x, self.shortcut, dims=([-1], [0]))), 1))


def fields_by_heads():
    return ByHeads()


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(5, 6)
        self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, ids):
        mask = (ids > 0).unsqueeze(1).repeat(1, ids.size(1), 1).unsqueeze(1)
        x = self.tokens(ids)
        parts = [layer(x).view(*ids.shape, 2, 3).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        scores = torch.matmul(parts[0], parts[1].transpose(-2, -1)) / math.sqrt(3)
        mixed = torch.matmul(functional.softmax(scores.masked_fill(mask == 0, -1e9), dim=-1), parts[2])
        return mixed.transpose(1, 2).contiguous().view(*ids.shape, 6)


def padded():
    return Padded()


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(9, 4)

    def forward(self, x):
        return self.head(torch.cat([x, *(torch.sin(x * 2.0**power) for power in (0, 1))], -1))


def waves():
    return Waves()


class OneWrittenOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.MultiheadAttention(8, 2, batch_first=True)
        self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)
        self.left, self.right = nn.Linear(8, 3), nn.Linear(12, 3)

    def forward(self, first, second):
        samples, places, width = second.shape
        query, key, value = self.qkv(second).reshape(samples, places, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        two = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(samples, places, width)
        return self.left(self.one(first, first, first, need_weights=False)[0]), self.right(self.proj(two))


def one_tower_written_out():
    return OneWrittenOut()
