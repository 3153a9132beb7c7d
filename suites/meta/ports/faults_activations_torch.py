"""Activations, biases and weights, in torch with one fault each."""

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import Deep, Gating, Shallow, fill, hosted
from torch import nn


def then(activation):
    """Return a slot: a convolution, then this module."""

    def slot(channels, *_):
        parts = nn.Sequential()
        parts.add_module("conv", nn.Conv2d(channels, channels, 3, padding=1))
        parts.add_module("act", activation())
        return parts

    return slot


class ThenFunction(nn.Module):
    """A convolution, then a function."""

    def __init__(self, channels, function, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


def then_function(function, bias=True):
    return lambda channels, *_: ThenFunction(channels, function, bias)


class SixAtMost(nn.Module):
    """Should stop at six."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv(x) * 7.0)


class Residual(nn.Module):
    """An activation after the sum that should not be there."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.tanh(x + self.b(F.relu(self.a(x))))


class Bottleneck(nn.Module):
    """Two convolutions of one shape."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class TwoGates(nn.Module):
    """Two dense layers of one shape."""

    def __init__(self, channels):
        super().__init__()
        self.a = nn.Linear(channels, channels)
        self.b = nn.Linear(channels, channels)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


def nothing(*_):
    return nn.Identity()


def exchanged(network):
    a, b = (
        (network.slot.inner.a, network.slot.inner.b)
        if hasattr(network.slot, "inner")
        else (
            network.slot.a,
            network.slot.b,
        )
    )
    first = {name: value.clone() for name, value in a.state_dict().items()}
    a.load_state_dict(b.state_dict())
    b.load_state_dict(first)


def scaled(network):
    network.slot.conv.weight.mul_(1.25)


def divided_by_norm(network):
    """Divide the kernel by its spectral norm, once more than the trained network does."""
    weight = network.slot.conv.weight
    weight.div_(torch.linalg.matrix_norm(weight.flatten(1), ord=2))


def forgotten(network):
    """Leave the kernel as torch draws it, as if the file had been loaded with strict=False."""
    torch.manual_seed(0)
    nn.init.kaiming_uniform_(network.slot.conv.weight, a=5**0.5)


def permuted_rows(layer, order):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[order].clone())
        layer.bias.copy_(layer.bias[order].clone())


def output_permutation_shallow():
    network = fill(Shallow(nothing))
    permuted_rows(network.last, [1, 0, 2, 3])
    return network


class Classes(Deep):
    """The deep network with a head of another name."""

    def __init__(self):
        super().__init__(nothing)
        del self.head
        self.classes = nn.Linear(16, 5)

    @property
    def head(self):
        return self.classes


def output_permutation_deep():
    network = fill(Classes())
    permuted_rows(network.classes, [3, 0, 4, 1, 2])
    return network


def old_hard_sigmoid(x):
    return torch.clamp(0.2 * x + 0.5, 0.0, 1.0)


gelu_approximation_shallow = hosted(then(lambda: nn.GELU(approximate="tanh")))[0]
gelu_approximation_deep = hosted(then_function(F.gelu))[1]
leaky_slope_shallow = hosted(then(nn.LeakyReLU))[0]
leaky_slope_deep = hosted(then_function(F.leaky_relu))[1]
prelu_sharing_shallow, prelu_sharing_deep = hosted(then(nn.PReLU))
elu_alpha_shallow, elu_alpha_deep = hosted(then(lambda: nn.ELU(alpha=0.5)))
softplus_threshold_shallow, softplus_threshold_deep = hosted(then(lambda: nn.Softplus(threshold=1.0)))
hard_sigmoid_slope_shallow = hosted(then(nn.Hardsigmoid))[0]
hard_sigmoid_slope_deep = hosted(then_function(old_hard_sigmoid))[1]
relu6_missing_shallow, relu6_missing_deep = hosted(SixAtMost)
activation_missing_shallow, activation_missing_deep = hosted(then(nn.Identity))
activation_extra_shallow, activation_extra_deep = hosted(Residual)
bias_missing_shallow, bias_missing_deep = hosted(then_function(lambda x: x, bias=False))
weight_wrong_layer_shallow, weight_wrong_layer_deep = hosted(Bottleneck, spoil=exchanged)
dense_wrong_layer_shallow, dense_wrong_layer_deep = hosted(
    lambda channels, *_: Gating(TwoGates(channels)), spoil=exchanged
)
weight_scale_shallow, weight_scale_deep = hosted(then(nn.Identity), spoil=scaled)
spectral_norm_shallow, spectral_norm_deep = hosted(then(nn.Identity), spoil=divided_by_norm)
never_loaded_shallow, never_loaded_deep = hosted(then(nn.Identity), spoil=forgotten)
dropout_active_shallow, dropout_active_deep = hosted(then_function(lambda x: F.dropout(x, 0.3)))
