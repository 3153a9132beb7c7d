"""Ports of the models in `published_tensorflow.py`, right and wrong."""

import torch
from torch import nn
from torch.nn import functional


class Tables(nn.Module):
    def __init__(self, first=0, kind=0):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(20, 8), nn.Embedding(11, 8), nn.Embedding(2, 8)
        self.norm, self.out = nn.LayerNorm(8, eps=1e-12), nn.Linear(8, 5)
        self.register_buffer("steps", torch.arange(11)[None] + first, persistent=False)
        self.kind = kind

    def forward(self, ids):
        types = self.types(torch.full_like(ids, self.kind))
        return self.out(self.norm(self.words(ids) + types + self.places(self.steps[:, : ids.shape[1]])))


def looked_up():
    return Tables()


class Rows(Tables):
    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.randn(11, 8))

    def forward(self, ids):
        places = self.places[self.steps[0, : ids.shape[1]]]
        return self.out(self.norm(self.words(ids) + self.types(torch.zeros_like(ids)) + places))


def looked_up_by_rows():
    return Rows()


def looked_up_from_one():
    return Tables(first=1)


def looked_up_as_the_other_kind():
    return Tables(kind=1)


class Narrowing(nn.Module):
    def __init__(self, exact=False):
        super().__init__()
        self.widen, self.narrow, self.exact = nn.Linear(8, 12), nn.Linear(12, 8), exact

    def forward(self, x):
        x = self.widen(x)
        if self.exact:
            return self.narrow(functional.gelu(x))
        return self.narrow(0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3.0)))))


def row_biases():
    return Narrowing()


def row_biases_with_the_exact_gelu():
    return Narrowing(exact=True)


class Window(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 2))
        steps = torch.arange(4)
        index = steps[:, None] - steps[None] + 3
        self.register_buffer("index", index.T.contiguous() if turned else index)
        self.query, self.key, self.value = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 5)

    def forward(self, x):
        q, k, v = (layer(x).view(-1, 4, 2, 3).permute(0, 2, 1, 3) for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / 3**0.5
        bias = self.table[self.index.view(-1)].view(4, 4, 2).permute(2, 0, 1).contiguous()
        mixed = (scores + bias.unsqueeze(0)).softmax(-1) @ v
        return self.out(mixed.permute(0, 2, 1, 3).reshape(-1, 4, 6))


def window():
    return Window()


def window_turned():
    return Window(turned=True)


class Headed(nn.Module):
    def __init__(self, scale=0.5):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Parameter(torch.randn(8, 2, 4)) for _ in range(4))
        self.scale = scale

    def forward(self, x):
        query, key, value = (torch.einsum("bih,hnd->bind", x, kernel) for kernel in (self.q, self.k, self.v))
        scores = torch.einsum("bind,bjnd->bnij", query, key) * self.scale
        mixed = torch.einsum("bnij,bjnd->bind", scores.softmax(-1), value)
        return torch.einsum("bind,hnd->bih", mixed, self.o)


def headed():
    return Headed()


def headed_by_all():
    return Headed(8**-0.5)


class Relative(nn.Module):
    def __init__(self, eps=1e-7):
        super().__init__()
        self.table, self.norm, self.out = nn.Embedding(5, 8), nn.LayerNorm(8, eps=eps), nn.Linear(5, 4)

    def forward(self, x):
        return self.out(x @ self.norm(self.table.weight).T)


def relative():
    return Relative()


def relative_with_another_eps():
    return Relative(1e-3)


class Rooted(nn.Module):
    def __init__(self, width=8.0, fill=-3.4028234663852886e38):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.fill = fill
        self.root = torch.sqrt(torch.tensor(width, dtype=torch.float32))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-1, -2)
        blocked = torch.ones(6, 6, dtype=torch.bool).tril().logical_not()
        scores = scores.masked_fill(blocked, self.fill) / self.root
        return scores.softmax(-1) @ self.value(x)


def rooted():
    return Rooted()


def rooted_by_another():
    return Rooted(8.001, -1e9)


class Grouped(nn.Module):
    def __init__(self, order=(0, 1, 2)):
        super().__init__()
        self.qkv, self.out, self.order = nn.Linear(10, 48, bias=False), nn.Linear(24, 10, bias=False), order

    def forward(self, x):
        rows = self.qkv(x)
        parts = [rows[..., :24], rows[..., 24:36], rows[..., 36:]]
        query, key, value = (parts[place].unflatten(-1, (-1, 6)) for place in self.order)
        key, value = key.repeat_interleave(2, 2), value.repeat_interleave(2, 2)
        scores = (torch.einsum("bqhd,bkhd->bhqk", query, key) / 6**0.5).softmax(-1)
        return self.out(torch.einsum("bhqk,bkhd->bqhd", scores, value).flatten(2))


def grouped():
    return Grouped()


def grouped_values_first():
    return Grouped((0, 2, 1))


class Tiled(Grouped):
    def forward(self, x):
        rows = self.qkv(x)
        query, key, value = (one.unflatten(-1, (-1, 6)) for one in rows.split([24, 12, 12], -1))
        key, value = key.repeat(1, 1, 2, 1), value.repeat(1, 1, 2, 1)
        scores = (torch.einsum("bqhd,bkhd->bhqk", query, key) / 6**0.5).softmax(-1)
        return self.out(torch.einsum("bhqk,bkhd->bqhd", scores, value).flatten(2))


def grouped_tiled():
    return Tiled()


class Boxes(nn.Module):
    def __init__(self, first=4):
        super().__init__()
        self.body, self.head, self.first = nn.Linear(10, 16), nn.Linear(16, 7), first

    def forward(self, x):
        found = self.head(self.body(x).relu())
        return (found[:, :4], found[:, 4:]) if self.first == 4 else (found[:, 3:], found[:, :3])


def boxes():
    return Boxes()


def boxes_behind():
    return Boxes(3)


class Conv1D(nn.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, units)), nn.Parameter(torch.zeros(units))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class RowsOfThree(nn.Module):
    def __init__(self, scale=None):
        super().__init__()
        self.c_attn, self.c_proj, self.scale = Conv1D(8, 24), Conv1D(8, 8), scale

    def forward(self, x):
        query, key, value = (
            one.view(*x.shape[:2], 2, 4).transpose(1, 2) for one in self.c_attn(x).split([8, 8, 8], dim=2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.c_proj(mixed.transpose(1, 2).reshape(x.shape))


def rows_of_three():
    return RowsOfThree()


def rows_of_three_scaled_by_all():
    return RowsOfThree(8**-0.5)


class Reversible(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.words, self.inner, self.factor = nn.Embedding(20, 8), nn.Linear(8, 8), factor

    def forward(self, ids):
        return functional.linear(torch.tanh(self.inner(self.words(ids))) * self.factor, self.words.weight)


def reversible():
    return Reversible()


def reversible_scaled():
    return Reversible(8**-0.5)


class Biased(nn.Module):
    def __init__(self, diagonal=1):
        super().__init__()
        self.bias, self.out = nn.Embedding(11, 2), nn.Linear(8, 5)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.diagonal = diagonal

    def forward(self, x):
        query, key, value = (layer(x).view(-1, 6, 2, 4).transpose(1, 2) for layer in (self.query, self.key, self.value))
        blocked = torch.full((6, 6), torch.finfo(x.dtype).min).triu(self.diagonal).expand(len(x), 1, -1, -1)
        scores = query @ key.transpose(-1, -2)
        steps = torch.arange(6)
        scores = scores + (self.bias(steps[:, None] - steps[None] + 5).permute(2, 0, 1)[None] + blocked)
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, 6, 8))


def biased():
    return Biased()


def biased_but_one():
    return Biased(2)


class Kept(nn.Module):
    """Its biases are looked up once, when it is put into evaluation mode."""

    def __init__(self):
        super().__init__()
        self.distances = nn.Parameter(torch.zeros(6))
        self.query, self.key, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        steps = torch.arange(6)
        self.register_buffer("places", self.between(steps[:, None], steps[None]))

    def between(self, one, other):
        return (one - other).abs()

    @torch.no_grad()
    def train(self, mode=True):
        super().train(mode)
        if mode and hasattr(self, "looked_up"):
            del self.looked_up
        else:
            self.looked_up = self.distances[self.places]
        return self

    def bias(self):
        return self.distances[self.places] if self.training else self.looked_up

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-1, -2) * 8**-0.5 + self.bias()
        return self.out(scores.softmax(-1) @ x)


def kept():
    return Kept()


class KeptWhenFirstUsed(Kept):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def train(self, mode=True):
        nn.Module.train(self, mode)
        if mode and getattr(self, "cache", None):
            self.cache = {}
        return self

    def bias(self):
        if "bias" not in self.cache:
            self.cache["bias"] = self.distances[self.places]
        return self.cache["bias"]


def kept_when_first_used():
    return KeptWhenFirstUsed()


class KeptFromBehind(Kept):
    """The biases are those of 5 minus the distance."""

    def between(self, one, other):
        return 5 - (one - other).abs()


def kept_from_behind():
    return KeptFromBehind()


class Crossed(nn.Module):
    def __init__(self, as_one=True, last=2):
        super().__init__()
        drawn = torch.randn(2, 3, 9, 1) * 0.3
        self.kernels, self.biases = map(
            nn.Parameter if as_one else nn.ParameterList, drawn if as_one else map(list, drawn)
        )
        self.out, self.last = nn.Linear(9, 4), last

    def forward(self, x):
        first = given = x.unsqueeze(2)
        for step in range(3):
            product = torch.tensordot(given, self.kernels[step], dims=([1], [0]))
            given = first @ product + self.biases[min(step, self.last)] + given
        return self.out(given.squeeze(2))


def crossed():
    return Crossed(as_one=False)


def crossed_as_one():
    return Crossed()


def crossed_short():
    """Return a port whose last step adds the bias of the one before."""
    return Crossed(last=1)


class Rotated(nn.Module):
    """Turns pairs by a product of complex numbers, which a buffer holds."""

    def __init__(self, base=10000.0):
        super().__init__()
        self.query, self.key, self.value, self.mix = (nn.Linear(16, 16, bias=False) for _ in range(4))
        self.last = nn.Linear(16, 5)
        angles = torch.outer(torch.arange(6).float(), 1.0 / base ** (torch.arange(0, 8, 2).float() / 8))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def turned(self, x):
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * self.turns.view(1, 6, 1, 4)
        return torch.view_as_real(pairs).flatten(3).type_as(x)

    def forward(self, x):
        query, key, value = (layer(x).view(-1, 6, 2, 8) for layer in (self.query, self.key, self.value))
        query, key, value = (one.transpose(1, 2) for one in (self.turned(query), self.turned(key), value))
        scores = query @ key.transpose(2, 3) / 8**0.5 + torch.full((6, 6), float("-inf")).triu(1)
        mixed = scores.softmax(-1) @ value
        return self.last(x + self.mix(mixed.transpose(1, 2).reshape(-1, 6, 16)))


def rotated():
    return Rotated()


def rotated_on_another_base():
    return Rotated(1000.0)
