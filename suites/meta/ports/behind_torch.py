"""Norms called without weights, whose scale and shift are multiplied and added by hand."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Scaled(nn.Module):
    def __init__(self, first, head, norm, shape):
        super().__init__()
        self.first, self.head, self.norm = first, head, norm
        self.gain, self.shift = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return self.head(self.norm(self.first(x), self.gain, self.shift))


def _images(norm, shape=(1, 8, 1, 1)):
    return Scaled(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 1), norm, shape)


def _sequences(norm):
    return Scaled(nn.Linear(6, 8), nn.Linear(8, 3), norm, (8,))


class Roots(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.lift, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.gain = nn.Parameter(torch.ones(8))
        self.norm = norm

    def forward(self, x):
        return self.head(self.norm(self.lift(x), self.gain))


class Batches(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.Conv2d(8, 3, 1)
        self.gain, self.shift = nn.Parameter(torch.ones(1, 8, 1, 1)), nn.Parameter(torch.zeros(1, 8, 1, 1))

    def forward(self, x):
        return self.head(self.norm(self.conv(x)) * self.gain + self.shift)


def batch():
    return Batches()


def group():
    return _images(lambda x, gain, shift: F.group_norm(x, 4) * gain.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1), (8,))


def group_of_two():
    return _images(lambda x, gain, shift: F.group_norm(x, 2) * gain + shift)


def image():
    def norm(x, gain, shift):
        return (F.layer_norm(x.permute(0, 2, 3, 1), (8,)) * gain + shift).permute(0, 3, 1, 2)

    return _images(norm, (8,))


def image_as_a_whole():
    return _images(
        lambda x, gain, shift: F.layer_norm(x, x.shape[1:]) * gain[:, None, None] + shift[:, None, None], (8,)
    )


def layer():
    return _sequences(lambda x, gain, shift: shift + gain * F.layer_norm(x, (8,)))


def layer_at_once():
    return _sequences(lambda x, gain, shift: torch.addcmul(shift, gain, F.layer_norm(x, (8,))))


def layer_of_a_larger_eps():
    return _sequences(lambda x, gain, shift: F.layer_norm(x, (8,), eps=1e-3) * gain + shift)


def layer_of_places():
    return _sequences(lambda x, gain, shift: F.layer_norm(x, x.shape[1:]) * gain + shift)


def root():
    return Roots(lambda x, gain: F.rms_norm(x, (8,), eps=1e-6) * gain)


def root_by_length():
    return Roots(lambda x, gain: F.normalize(x, dim=-1) * 8**0.5 * gain)


def root_by_length_scaled_last():
    return Roots(lambda x, gain: F.normalize(x, dim=-1) * gain * 8**0.5)


class Lengths(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.lift, self.head, self.dim = nn.Linear(6, 8), nn.Linear(8, 3), dim

    def forward(self, x):
        x = self.lift(x)
        return self.head(x / x.norm(dim=self.dim, keepdim=True))


def length():
    return Lengths(2)


def length_of_columns():
    return Lengths(1)


def _of_channels(x, **words):
    return F.layer_norm(x.permute(0, 2, 3, 1), (8,), **words).permute(0, 3, 1, 2)


def image_scaled_after_its_return():
    return _images(lambda x, gain, shift: _of_channels(x) * gain[:, None, None] + shift[:, None, None], (8,))


def image_of_a_larger_eps():
    return _images(lambda x, gain, shift: _of_channels(x, eps=1e-3) * gain[:, None, None] + shift[:, None, None], (8,))


def _laid_out(norm):
    """Return a norm of groups that somebody makes of another one, on (batch, groups, all numbers of a group)."""
    return _images(lambda x, gain, shift: norm(x) * gain + shift)


def group_by_layer(groups=4, eps=1e-5):
    def norm(x):
        y = x.view(x.shape[0], groups, -1)
        return F.layer_norm(y, y.shape[2:], eps=eps).view_as(x)

    return _laid_out(norm)


def group_by_layer_of_two():
    return group_by_layer(2)


def group_by_layer_of_a_larger_eps():
    return group_by_layer(eps=1e-3)


def group_by_batch(eps=1e-5):
    def norm(x):
        y = F.batch_norm(x.reshape(1, x.shape[0] * 4, -1), None, None, training=True, eps=eps)
        return y.reshape(x.shape)

    return _laid_out(norm)


def group_by_batch_of_a_larger_eps():
    return group_by_batch(1e-3)


def group_by_instance(groups=4):
    return _laid_out(lambda x: F.instance_norm(x.view(x.shape[0], groups, -1)).view_as(x))


def group_by_instance_of_two():
    return group_by_instance(2)


def root_with_eps_beside_it():
    return Roots(lambda x, gain: x / (x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5 + 1e-6) * gain)


def root_of_at_least_eps():
    return Roots(lambda x, gain: x / (x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5).clamp(min=1e-6) * gain)


def root_divided_last():
    return Roots(lambda x, gain: gain * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6))


def root_of_a_sum(eps=1e-6):
    return Roots(lambda x, gain: gain * x / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + eps))


def root_of_a_sum_and_more():
    return root_of_a_sum(1e-5)
