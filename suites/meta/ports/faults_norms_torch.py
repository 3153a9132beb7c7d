"""Normalisations and scales, in torch with one fault each."""

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import Deep, Shallow, Tokens, fill, hosted
from torch import nn


def batch_norm(channels, *_):
    return nn.BatchNorm2d(channels)


class BatchStatistics(nn.BatchNorm2d):
    """Uses the statistics of the batch, in evaluation too."""

    def __init__(self, channels, *_):
        super().__init__(channels)

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


def layer_norm(channels, *_):
    return Tokens(nn.LayerNorm(channels))


def map_norm(channels, height, width):
    return Tokens(nn.LayerNorm((height * width, channels), elementwise_affine=False))


def group_norm(channels, *_):
    return nn.GroupNorm(3, channels)


class TinyNormalised(nn.Module):
    """Unit vectors of very small numbers."""

    def __init__(self, *_):
        super().__init__()

    def forward(self, x):
        return F.normalize(x * 1e-8, dim=1)


class Residual(nn.Module):
    """The branch should count a fifth."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + F.relu(self.conv(x))


class Frozen(nn.BatchNorm2d):
    """Its weights do not train, but its statistics still move."""

    def __init__(self, channels, *_):
        super().__init__(channels)
        self.requires_grad_(False)


class MeanAndDeviation(nn.Module):
    """A network behind the means and deviations of ImageNet."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x):
        return self.network((x - self.mean) / self.deviation)


class ZeroToOne(nn.Module):
    """A network that expects bytes, scaled to [0, 1] where it should be [-1, 1]."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x / 255)


def nothing(*_):
    return nn.Identity()


def input_scale_shallow():
    return fill(Shallow(nothing))


def input_mean_shallow():
    return MeanAndDeviation(fill(Shallow(nothing)))


def input_scale_deep():
    return ZeroToOne(fill(Deep(nothing)))


def channel_order_shallow():
    return fill(Shallow(nothing))


def channel_order_deep():
    return fill(Deep(nothing))


def bias_and_weight_exchanged(network):
    norm = network.slot
    weight, bias = norm.weight.clone(), norm.bias.clone()
    norm.weight.copy_(bias)
    norm.bias.copy_(weight)


def mean_and_variance_exchanged(network):
    norm = network.slot
    mean, variance = norm.running_mean.abs() + 0.2, norm.running_var.clone()
    norm.running_mean.copy_(variance)
    norm.running_var.copy_(mean)


def root_of_variance(network):
    network.slot.running_var.sqrt_()


batchnorm_eps_shallow, batchnorm_eps_deep = hosted(batch_norm)
batchnorm_mode_shallow, batchnorm_mode_deep = hosted(BatchStatistics)
batchnorm_stats_swap_shallow, batchnorm_stats_swap_deep = hosted(batch_norm, spoil=bias_and_weight_exchanged)
mean_variance_swap_shallow, mean_variance_swap_deep = hosted(batch_norm, spoil=mean_and_variance_exchanged)
variance_root_shallow, variance_root_deep = hosted(batch_norm, spoil=root_of_variance)
layernorm_eps_shallow, layernorm_eps_deep = hosted(layer_norm)
groupnorm_groups_shallow, groupnorm_groups_deep = hosted(group_norm)
norm_axes_shallow, norm_axes_deep = hosted(map_norm)
l2_normalize_eps_shallow, l2_normalize_eps_deep = hosted(TinyNormalised)
residual_scale_shallow, residual_scale_deep = hosted(Residual)
batchnorm_momentum_shallow, batchnorm_momentum_deep = hosted(lambda channels, *_: nn.BatchNorm2d(channels, eps=1e-3))
batchnorm_running_variance_shallow, batchnorm_running_variance_deep = hosted(batch_norm)
batchnorm_frozen_shallow, batchnorm_frozen_deep = hosted(Frozen)
