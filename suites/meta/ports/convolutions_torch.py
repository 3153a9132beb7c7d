"""Every kind of convolution, in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def _ends(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))


def depthwise():
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=False),
        nn.Conv2d(8, 5, 1),
        nn.ReLU(),
        *_ends(5),
    )


class Separable(nn.Module):
    """A depthwise and a pointwise convolution."""

    def __init__(self, before, after, kernel, padding=0):
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, kernel, padding=padding, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


def separable():
    return nn.Sequential(Separable(4, 6, 3, padding=1), nn.ReLU(), Separable(6, 7, (3, 2)), *_ends(7))


class ActiveBetween(Separable):
    """An activation after each of the two convolutions, as in MobileNet."""

    def forward(self, x):
        return self.pointwise(F.relu(self.depthwise(x)))


def separable_active_between():
    return nn.Sequential(ActiveBetween(4, 6, 3, padding=1), nn.ReLU(), Separable(6, 7, (3, 2)), *_ends(7))


class Transposed(nn.Module):
    """Cuts off the last row and column of the second enlargement."""

    def __init__(self):
        super().__init__()
        self.up1 = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(5, 3, 3, stride=2)

    def forward(self, x):
        return self.up2(F.relu(self.up1(x)))[..., :-1, :-1]


def transposed():
    return Transposed()


def transposed_wide():
    return nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)


class Signals(nn.Module):
    """Takes (batch, time, features), as Keras does, and works on (batch, features, time)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 6, 5, stride=2)
        self.pool = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(6, 8, 3, padding=2, dilation=2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x.transpose(1, 2))))
        return self.fc(F.relu(self.conv2(x)).mean(dim=2))


def signals():
    return Signals()


class Causal(nn.Module):
    """Zeros before the first step, none behind the last."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 6, 3)
        self.conv2 = nn.Conv1d(6, 6, 3, dilation=2)
        self.out = nn.Conv1d(6, 2, 1)

    def forward(self, x):
        x = x.transpose(1, 2)
        x = F.relu(self.conv1(F.pad(x, (2, 0))))
        x = F.relu(self.conv2(F.pad(x, (4, 0))))
        return self.out(x).transpose(1, 2)


def causal():
    return Causal()


class Volumes(nn.Module):
    """Takes (batch, depth, height, width, channels)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(2, 4, (3, 2, 3))
        self.down = nn.Conv3d(4, 4, (2, 2, 1), stride=(2, 2, 1))
        self.conv2 = nn.Conv3d(4, 5, 2)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = self.down(F.relu(self.conv1(x.permute(0, 4, 1, 2, 3))))
        x = F.relu(self.conv2(F.pad(x, (0, 1, 0, 1, 0, 1))))
        return self.fc(x.mean(dim=(2, 3, 4)))


def volumes():
    return Volumes()


def dilated():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, dilation=2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=(1, 3), dilation=(1, 3)),
        nn.ReLU(),
        *_ends(6),
    )


def grouped():
    return nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 9, 3, groups=3), *_ends(9))


class PaddedPools(nn.Module):
    """Pads the maximum with minus infinity, and leaves the padding out of the average."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.average = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.ends = _ends(5)

    def forward(self, x):
        x = F.pad(self.conv(x), (1, 1, 0, 1), value=float("-inf"))
        return self.ends(self.average(F.max_pool2d(x, 3, stride=2)))


def padded_pools():
    return PaddedPools()


def reflected():
    return nn.Sequential(nn.Conv2d(3, 5, (3, 5), padding=(1, 2), padding_mode="reflect"), nn.ReLU(), *_ends(5))


def enlarged():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(5, 5, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=(2, 3), mode="bilinear", align_corners=False),
        nn.Conv2d(5, 2, 1),
    )


class Cropped(nn.Module):
    """Slices."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.ends = _ends(5)

    def forward(self, x):
        return self.ends(torch.relu(self.conv(x))[:, :, 1:-2, :-3])


def cropped():
    return Cropped()


def tall_and_wide():
    return nn.Sequential(
        nn.Conv2d(3, 5, (1, 7), padding=(0, 3)),
        nn.ReLU(),
        nn.Conv2d(5, 5, (7, 1), padding=(3, 0), stride=(1, 2)),
        nn.ReLU(),
        *_ends(5),
    )
