"""What testers who did not know the tool brought, reduced to what matters, in PyTorch: right ports, and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def _flat():
    return [nn.Conv2d(3, 4, 3), nn.Flatten()]


def flat_norm():
    return nn.Sequential(*_flat(), nn.BatchNorm1d(120), nn.Linear(120, 5))


def flat_layer_norm():
    return nn.Sequential(*_flat(), nn.LayerNorm(120), nn.Linear(120, 5))


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(120, 5)

    def forward(self, x):
        return self.head(self.first(x).flatten(1) * self.second(x).flatten(1))


def flat_product():
    return Product()


class BesideNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(125, 4)

    def forward(self, image, numbers):
        return self.head(torch.cat([self.conv(image).flatten(1), numbers], 1))


def flat_beside_numbers():
    return BesideNumbers()


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm1d(84), nn.Linear(84, 4)

    def forward(self, x):
        x = self.conv(x)
        return self.head(self.norm(torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (4, 2, 1)], 1)))


def flat_pyramid():
    return Pyramid()


def flat_result():
    return nn.Sequential(*_flat(), nn.BatchNorm1d(120))


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def flat_result_in_order():
    conv, flatten = _flat()
    return nn.Sequential(conv, ChannelsLast(), flatten, nn.BatchNorm1d(120))


class Boxes(nn.Module):
    def __init__(self, heap=False):
        super().__init__()
        self.first, self.heads = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ModuleList(nn.Conv2d(6, 8, 3, padding=1) for _ in range(2)),
        )
        self.heap = heap

    def forward(self, x):
        x = F.relu(self.first(x))
        levels = [head(level) for head, level in zip(self.heads, (x, F.max_pool2d(x, 2)), strict=True)]
        if not self.heap:
            levels = [level.permute(0, 2, 3, 1) for level in levels]
        return torch.cat([level.reshape(len(x), -1, 4) for level in levels], 1)


def boxes():
    return Boxes()


def boxes_in_a_heap():
    return Boxes(heap=True)


class Patches(nn.Module):
    """The convolution cuts the image itself."""

    def __init__(self):
        super().__init__()
        self.project, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8, eps=1e-6)

    def forward(self, x):
        return self.norm(self.project(x).flatten(2).transpose(1, 2))


def patches():
    return Patches()


def _capped(activation):
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), activation, *ends)


def capped():
    return _capped(nn.ReLU6())


def not_capped():
    return _capped(nn.ReLU())


def neighbours():
    # torch divides alpha by the number of channels it looks at.
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.LocalResponseNorm(5, 0.5, 0.75, 1.0))


class Rms(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.scale, self.eps = nn.Parameter(torch.ones(16)), eps
        self.dense, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        x = self.dense(x)
        return self.head(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.scale)


def root_mean_square():
    return Rms(1e-6)


def other_eps():
    return Rms(5e-6)


class Places(nn.Module):
    def __init__(self):
        super().__init__()
        angles = np.arange(11)[:, None] / 10000 ** (np.arange(8)[None] // 2 * 2 / 8)
        table = np.where(np.arange(8) % 2, np.cos(angles), np.sin(angles))
        self.register_buffer("table", torch.from_numpy(table).float())
        self.words, self.head = nn.Embedding(40, 8), nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.words(ids) + self.table)


def places():
    return Places()


class Named(nn.Module):
    """Returns a dictionary in another order."""

    def __init__(self):
        super().__init__()
        self.conv, self.mask, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return {"mask": torch.sigmoid(self.mask(x)), "logits": self.head(x.mean((2, 3)))}


def named():
    return Named()


class Complement(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.second(1.3 - F.softmax(self.first(x), dim=-1))


def complement():
    return Complement()


def _thrice(corners):
    larger = nn.Upsample((12, 18), mode="bilinear", align_corners=corners)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), larger, nn.Conv2d(4, 2, 1))


def thrice():
    return _thrice(False)


def thrice_by_corners():
    return _thrice(True)


class Value(nn.Module):
    def __init__(self, mean=None, least=-20.0, largest=2.0):
        super().__init__()
        self.conv, self.value, self.spread = nn.Conv2d(3, 6, 3), nn.Linear(6, 1), nn.Linear(6, 2)
        self.mean, self.least, self.largest = mean or nn.Identity(), least, largest

    def forward(self, x):
        x = self.mean(F.relu(self.conv(x)).mean((2, 3)))
        return self.value(x), self.spread(x).clamp(self.least, self.largest)


def value():
    return Value()


def value_of_a_positive_mean():
    return Value(nn.ReLU())  # of what is never negative


def value_of_a_capped_mean():
    return Value(nn.ReLU6())


def value_clipped_elsewhere():
    return Value(least=-5.0)


class Steps(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.lstm, self.turned = nn.LSTM(3, 8, batch_first=True), turned

    def forward(self, x):
        made = self.lstm(x)[0]
        return made.transpose(1, 2) if self.turned else made


def steps():
    return Steps()


def steps_turned():
    return Steps(turned=True)


class Duel(nn.Module):
    """Adds the value to the advantages before their mean is taken away."""

    def __init__(self, middle=torch.mean):
        super().__init__()
        self.first, self.value, self.advantage = nn.Linear(9, 12), nn.Linear(12, 1), nn.Linear(12, 4)
        self.middle = middle

    def forward(self, x):
        x = F.relu(self.first(x))
        advantage = self.advantage(x)
        return self.value(x) + advantage - self.middle(advantage, dim=1, keepdim=True)


def duel():
    return Duel()


def duel_of_the_largest():
    return Duel(torch.amax)


class Residual(nn.Module):
    def __init__(self, without=None, norm=True):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(6) if norm else nn.Identity(), nn.Linear(6, 3)
        self.without = without

    def forward(self, x):
        x = F.relu(self.first(x))
        for place, conv in enumerate(self.convs):
            y = torch.tanh(conv(x))
            x = F.silu(y if place == self.without else x + y)
        return self.head(self.norm(x.mean((2, 3))))


def residual():
    return Residual()


def residual_forgotten():
    return Residual(without=1)
