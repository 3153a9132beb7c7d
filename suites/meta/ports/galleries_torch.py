"""Models as public galleries of examples write them in Keras, ported to PyTorch."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Decoder(nn.Module):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 5, 3, stride=2)
        self.out = nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.up(F.relu(self.first(x))))
        return self.out(x[..., self.kept, self.kept])


def decoder():
    return Decoder(slice(None, -1))


def decoder_cut_in_front():
    return Decoder(slice(1, None))


class Gated(nn.Module):
    def __init__(self, swapped=False, sliced=False):
        super().__init__()
        self.swapped, self.sliced = swapped, sliced
        self.wide, self.narrow = nn.Linear(6, 16), nn.Linear(8, 6)
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.mix = nn.Conv1d(9, 9, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        wide = F.gelu(self.wide(x))
        u, v = (wide[..., :8], wide[..., 8:]) if self.sliced else wide.chunk(2, dim=-1)
        if self.swapped:
            u, v = v, u
        return self.head(x + self.narrow(u * self.mix(self.norm(v))))


def gated():
    return Gated()


def gated_by_slices():
    return Gated(sliced=True)


def gated_by_the_first_half():
    return Gated(swapped=True)


def gated_by_the_first_slice():
    return Gated(swapped=True, sliced=True)


class Graph(nn.Module):
    """The adjacency is normalised once for both convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6, bias=False), nn.Linear(6, 3, bias=False)
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(3))])

    def forward(self, x, adjacency):
        adjacency = F.relu(adjacency) + torch.eye(7, dtype=x.dtype)
        root = torch.diag_embed(adjacency.sum(2).pow(-0.5))
        normed = root @ adjacency @ root
        x = F.relu(torch.bmm(normed, self.first(x)) + self.biases[0])
        return torch.bmm(normed, self.second(x)) + self.biases[1]


def graph():
    return Graph()


class TwoEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Embedding(9, 4), nn.Embedding(9, 4)
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, ids):
        return self.lstm(self.one(ids) + self.other(ids))[1][0][0]


def two_embeddings():
    return TwoEmbeddings()


class Decoding(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = (part(x).unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.q, self.k, self.v))
        joined = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(joined.transpose(1, 2).flatten(2))


def decoding_twice():
    return nn.Sequential(nn.Embedding(9, 8), Decoding(), Decoding())


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.s = nn.ModuleList(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2), nn.Tanh()) for _ in range(4))
        self.t = nn.ModuleList(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(4))
        self.register_buffer("mask", torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 2))

    def forward(self, x):
        volume = x.new_zeros(len(x))
        for i in reversed(range(4)):
            mask = self.mask[i]
            kept = mask * x
            scale, shift = self.s[i](kept) * (1 - mask), self.t[i](kept) * (1 - mask)
            x = (1 - mask) * (x - shift) * torch.exp(-scale) + kept
            volume = volume - scale.sum(1)
        return x, volume


def flow():
    return Flow()


class AttendingToPatches(nn.Module):
    """Keras attends to all that lies between the samples and their features."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        flat = x.flatten(1, 2)
        q, k, v = (part(flat).unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / 2, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)).reshape(x.shape)


def attending_to_patches():
    return AttendingToPatches()


class Unfolded(nn.Module):
    """Tokens by patches of two by two, which attention does not tell from rows; put back behind it."""

    def __init__(self, back):
        super().__init__()
        self.up, self.norm, self.head = nn.Linear(5, 7), nn.LayerNorm(7), nn.Conv2d(7, 3, 3)
        self.query, self.key, self.value = nn.Linear(7, 7), nn.Linear(7, 7), nn.Linear(7, 7)
        self.back = back

    def forward(self, x):
        batch = x.shape[0]
        tokens = x.view(batch, 5, 2, 2, 3, 2).permute(0, 2, 4, 3, 5, 1).reshape(batch, 24, 5)
        tokens = F.gelu(self.up(tokens))
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2) / 3.0
        tokens = self.norm(tokens + scores.softmax(-1) @ self.value(tokens))
        if self.back:
            image = tokens.view(batch, 2, 3, 2, 2, 7).permute(0, 5, 1, 3, 2, 4).reshape(batch, 7, 4, 6)
        else:
            image = tokens.transpose(1, 2).reshape(batch, 7, 4, 6)
        return self.head(image)


def unfolded():
    return Unfolded(True)


def unfolded_for_good():
    return Unfolded(False)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
        self.scale, self.head = nn.Parameter(torch.ones(())), nn.Linear(8, 3)

    def forward(self, x, others):
        scores = torch.bmm(self.query(x), self.key(others).transpose(1, 2)) * self.scale
        return self.head(torch.bmm(F.softmax(scores, -1), self.value(others)))


def scaled():
    return Scaled()
