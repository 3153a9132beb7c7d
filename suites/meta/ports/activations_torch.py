"""Activations and normalisations, in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Chain(nn.Module):
    """Convolutions, each followed by one of the modules or functions given."""

    def __init__(self, *made):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(5 if index else 3, 5, 1 if index else 3) for index in range(len(made)))
        self.modules_between = nn.ModuleList(layer for layer in made if isinstance(layer, nn.Module))
        self.functions = made
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        for conv, function in zip(self.convs, self.functions, strict=True):
            x = function(conv(x))
        return self.head(x.mean((2, 3)))


class Modules(nn.Sequential):
    """The same out of modules alone."""

    def __init__(self, *made):
        parts = []
        for index, layer in enumerate(made):
            parts += [nn.Conv2d(5 if index else 3, 5, 1 if index else 3), layer]
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))


def rectifiers():
    return Modules(nn.LeakyReLU(), nn.ReLU(), nn.ReLU6(), nn.ELU(), nn.SELU(), nn.CELU(alpha=1.3))


def rectifying_functions():
    return Chain(
        F.leaky_relu, torch.relu, lambda x: torch.clamp(x, 0, 6), F.elu, torch.selu, lambda x: F.celu(x, alpha=1.3)
    )


def smooth():
    return Modules(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Softsign(), nn.Tanh(), nn.Sigmoid())


def smooth_functions():
    return Chain(
        F.gelu,
        lambda x: x * torch.sigmoid(x),
        lambda x: x * torch.tanh(F.softplus(x)),
        F.softplus,
        lambda x: x / (1 + x.abs()),
        lambda x: x.tanh(),
        lambda x: x.sigmoid(),
    )


def hard():
    return Modules(nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(), nn.Tanhshrink(), nn.LogSigmoid(), nn.ReLU6())


def functions():
    return Chain(
        F.relu,
        torch.sigmoid,
        F.silu,
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: F.leaky_relu(x, negative_slope=0.2),
        F.softplus,
    )


def learned():
    return Modules(nn.PReLU(num_parameters=5), nn.PReLU())


class ChannelNorm(nn.LayerNorm):
    """Over the channels of a channels-first map."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def norms():
    return Chain(
        nn.GroupNorm(5, 5),
        ChannelNorm(5, eps=1e-6),
        nn.BatchNorm2d(5, affine=False),
        lambda x: F.normalize(x, dim=1),
        nn.GroupNorm(1, 5),
        nn.BatchNorm2d(5, eps=1e-3, momentum=0.01),
    )


class WholeMapNorm(nn.Module):
    """The weights of the norm are maps: channels first here, last in TensorFlow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1)
        self.norm = nn.LayerNorm([4, 6, 5])
        self.second = nn.Conv2d(4, 2, 3)

    def forward(self, x):
        return self.second(self.norm(self.first(x)))


def whole_map_norm():
    return WholeMapNorm()


def root_mean_square():
    return nn.Sequential(nn.Linear(6, 6), nn.RMSNorm(6, eps=1e-5), nn.Linear(6, 3))


def log_softmax():
    return nn.Sequential(nn.Linear(7, 6), nn.Softmax(dim=1), nn.Linear(6, 4), nn.LogSoftmax(dim=-1))
