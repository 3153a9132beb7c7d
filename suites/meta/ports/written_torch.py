"""Ports of the models in `written_tensorflow.py`, right and wrong."""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

MASKS = [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
# A normalisation's scale, shift, mean and variance.
STATISTICS = [
    [1.5, 0.5, 0.8, 1.2, 0.9],
    [0.1, -0.2, 0.3, 0.0, 0.4],
    [0.3, -0.5, 0.2, -0.1, 0.6],
    [0.4, 1.2, 0.7, 0.2, 2.0],
]


def _network(*more):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), *more)


class Flow(nn.Module):
    def __init__(self, masks=MASKS):
        super().__init__()
        self.mask = nn.Parameter(torch.tensor(masks), requires_grad=False)
        self.shift = nn.ModuleList(_network() for _ in masks)
        self.scale = nn.ModuleList(_network(nn.Tanh()) for _ in masks)

    def forward(self, x):
        total = 0.0
        for i in reversed(range(len(self.scale))):
            kept = self.mask[i] * x
            scaled, shifted = self.both(i, kept)
            x = (1 - self.mask[i]) * (x - shifted) * torch.exp(-scaled) + kept
            total -= scaled.sum(1)
        return x, total

    def both(self, i, kept):
        return self.scale[i](kept) * (1 - self.mask[i]), self.shift[i](kept) * (1 - self.mask[i])


def uncoupled():
    return Flow()


class MaskedTwice(Flow):
    def forward(self, x):
        for i in range(len(self.scale)):
            kept = x * self.mask[i]
            scaled, shifted = self.both(i, kept)
            x = kept + (1 - self.mask[i]) * (x * torch.exp(scaled) + shifted)
        return x


def masked_twice():
    return MaskedTwice()


def gelu():
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(8, 12, bias=False), nn.Linear(4, 2)
        self.own = nn.ModuleList(nn.Linear(6, 12, bias=False) for _ in range(3))
        self.masks = nn.ModuleList(nn.Linear(2, 8, bias=False) for _ in range(2))

    def step(self, x, own):
        x = F.glu(self.shared(x))
        return (x + F.glu(own(x))) * math.sqrt(0.5)

    def forward(self, x):
        made, found = self.step(x, self.own[0]), []
        for mask, own in zip(self.masks, self.own[1:], strict=True):
            made = self.step(torch.softmax(mask(made[:, 4:]), -1) * x, own)
            found.append(F.relu(made[:, :4]))
        return self.head(torch.stack(found).sum(0))


def steps():
    return Steps()


class MaskedSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x, *, mask):
        return self.head((F.relu(self.first(x)) * mask.unsqueeze(-1)).sum(1))


def masked_sum():
    return MaskedSum()


class Labelled(torch.Tensor):
    """A tensor that carries something more, as libraries for pictures have them."""


class Shares(nn.Module):
    def __init__(self, kind=torch.Tensor):
        super().__init__()
        self.first, self.head, self.kind = nn.Linear(6, 5), nn.Linear(5, 3), kind

    def forward(self, x):
        x = F.relu(self.first(x.as_subclass(self.kind)))
        return self.head(x / (1 + x.sum(-1, keepdim=True)))


def shares():
    return Shares()


def labelled_shares():
    return Shares(Labelled)


class Additive(nn.Module):
    def __init__(self):
        super().__init__()
        self.queries, self.values, self.head = nn.Linear(3, 6), nn.Linear(4, 6), nn.Linear(6, 2)
        self.score = nn.Linear(6, 1, bias=False)

    def forward(self, x, asking):
        queries, values = self.queries(asking), self.values(x)
        scores = self.score(torch.tanh(queries.unsqueeze(2) + values.unsqueeze(1))).squeeze(-1)
        return self.head(scores.softmax(-1) @ values)


def additive():
    return Additive()


class Codebook(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.codes, self.head = nn.Linear(6, 4), nn.Embedding(7, 4), nn.Linear(4, 6)

    def forward(self, x):
        x = self.first(x)
        chosen = self.codes(torch.cdist(x, self.codes.weight).argmin(1))
        return self.head(x + (chosen - x).detach())


def codebook():
    return Codebook()


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.queries, self.keys, self.values = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        queries, keys = F.elu(self.queries(x)) + 1, F.elu(self.keys(x)) + 1
        scores = (queries @ keys.transpose(1, 2)).tril()
        return self.head(scores @ self.values(x) / (scores.sum(-1, keepdim=True) + 1e-6))


def linear_attention():
    return Linear()


class Powers(nn.Module):
    def __init__(self):
        super().__init__()
        self.powers = nn.ModuleList(nn.Linear(4, 6, bias=False) for _ in range(3))
        self.head = nn.Linear(6, 2)

    def forward(self, x, graph):
        terms = [x, graph @ x]
        terms.append(2 * graph @ terms[1] - terms[0])
        made = sum(linear(term) for linear, term in zip(self.powers, terms, strict=True))
        return self.head(F.relu(made).sum(1))


def powers():
    return Powers()


class Bent(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.body, self.bend = nn.Linear(6, 400), bend

    def forward(self, x):
        return self.bend(self.body(x))


def elu_by_expm1():
    return Bent(lambda x: torch.where(x > 0, x, torch.expm1(x)))


def tanh_by_sigmoid():
    return Bent(lambda x: 2 * torch.sigmoid(2 * x) - 1)


class Leaking(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.body, self.bend, self.head = nn.Linear(6, 5), bend, nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.bend(self.body(x)))


def leaking_less():
    return Leaking(F.leaky_relu)


def leaking_not_at_all():
    return Leaking(F.relu)


class Lines(nn.Module):
    def __init__(self, line):
        super().__init__()
        self.body, self.head, self.line = nn.Linear(6, 5), nn.Linear(5, 2), line

    def forward(self, x):
        return self.head(F.relu(self.line(x, self.body.weight, self.body.bias)))


def lines_without_bias():
    return Lines(lambda x, weight, _: torch.einsum("...i,oi->...o", x, weight))


def lines_of_half_a_weight():
    return Lines(lambda x, weight, bias: torch.einsum("...i,oi->...o", x, weight * 0.5) + bias)


def lines_of_a_double_bias():
    return Lines(lambda x, weight, bias: F.linear(x, weight, 2 * bias))


def lines_with_the_bias_again():
    return Lines(lambda x, weight, bias: bias[None] + F.linear(x, weight, bias))


class NormedByTheRoot(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        norm = self.norm
        root = norm.running_var.sqrt()
        return F.batch_norm(self.body(x), norm.running_mean, root, norm.weight, norm.bias, eps=1e-3)


def normed_by_the_root():
    return NormedByTheRoot()


def normed_exchanged():
    body, norm = nn.Linear(6, 5), nn.BatchNorm1d(5, eps=1e-3)
    kernel = torch.tensor([[0.1 * ((3 * i + 7 * j) % 11) - 0.4 for j in range(5)] for i in range(6)])
    scale, shift, mean, variance = torch.tensor(STATISTICS)
    body.load_state_dict({"weight": kernel.T, "bias": torch.full((5,), 0.1)})
    told = {"weight": scale, "bias": shift, "running_mean": variance, "running_var": mean.abs()}
    norm.load_state_dict(told, strict=False)
    return nn.Sequential(body, norm)


class Last(nn.Module):
    def __init__(self, gru):
        super().__init__()
        self.gru = gru

    def forward(self, x):
        return self.gru(x)[0][:, -1]


def gated_in_its_order_with_one_bias():
    gru, rng = nn.GRU(4, 3, batch_first=True), np.random.default_rng(5)
    kernel, recurrent, bias = (rng.normal(size=size) for size in ((4, 9), (3, 9), (2, 9)))
    for name, value in (("weight_ih", kernel.T), ("weight_hh", recurrent.T), ("bias_ih", bias[0]), ("bias_hh", 0.0)):
        held = getattr(gru, f"{name}_l0")
        held.data = torch.zeros_like(held) + torch.tensor(value, dtype=torch.float32)
    return Last(gru)


class Sloped(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.slopes, self.bend = nn.Parameter(torch.full((4,), 0.25)), bend

    def forward(self, x):
        return self.head(self.bend(self.body(x), self.slopes.view(1, -1, 1, 1)))


def sloped_where():
    return Sloped(lambda x, slopes: torch.where(x > 0, x, slopes * x))


def sloped_by_two():
    return Sloped(lambda x, slopes: F.relu(x) - slopes * F.relu(-x))


class AllAtOnce(nn.Module):
    """A dense layer of each place, with its bias added where the channels stand."""

    def __init__(self):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.rand(3, 4)), nn.Parameter(torch.rand(4))

    def forward(self, x):
        x = torch.tensordot(x, self.kernel, ([1], [0])).permute(0, 3, 1, 2)
        return x + self.bias.view(1, -1, 1, 1)


def places_by_tensordot():
    return AllAtOnce()


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.head = nn.Bilinear(6, 5, 4), nn.Linear(4, 3)

    def forward(self, first, second):
        return self.head(self.both(first, second))


def bilinear():
    return Bilinear()


class Directed(nn.Module):
    def __init__(self, normed):
        super().__init__()
        self.conv, self.head = normed(nn.Conv1d(6, 8, 3)), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.conv(x.transpose(1, 2)).transpose(1, 2))


def directed():
    return Directed(nn.utils.parametrizations.weight_norm)


def directed_by_a_hook():
    return Directed(nn.utils.weight_norm)
