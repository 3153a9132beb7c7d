"""Networks as they stand in tutorials and papers' repositories, in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Generator(nn.Module):
    """Noise to images."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 192, bias=False)
        self.bn = nn.BatchNorm1d(192)
        self.main = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, noise):
        x = F.leaky_relu(self.bn(self.fc(noise)), 0.2)
        return self.main(x.view(-1, 16, 4, 3))


def generator():
    return Generator()


class GeneratorLast(Generator):
    """The same with TensorFlow's order of units."""

    def forward(self, noise):
        x = F.leaky_relu(self.bn(self.fc(noise)), 0.2)
        return self.main(x.view(-1, 4, 3, 16).permute(0, 3, 1, 2))


def generator_last():
    return GeneratorLast()


def signal_generator():
    return nn.Sequential(
        nn.Linear(11, 30), nn.ReLU(), nn.Unflatten(1, (5, 6)), nn.Upsample(scale_factor=2), nn.Conv1d(5, 4, 3), Last()
    )


class Last(nn.Module):
    """Channels last, as TensorFlow has them."""

    def forward(self, x):
        return x.transpose(1, 2)


class Coded(nn.Module):
    """SAME of a stride of two is padded, and cut, at the end."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, 2), nn.Conv2d(8, 4, 3, 2)
        self.code, self.decode = nn.Linear(140, 10), nn.Linear(10, 140)
        self.up1 = nn.ConvTranspose2d(4, 8, 3, 2)
        self.up2 = nn.ConvTranspose2d(8, 1, 3, 2)

    def forward(self, x):
        x = F.relu(self.conv1(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.conv2(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.decode(self.code(x.flatten(1))))
        x = F.relu(self.cut(self.up1(x.view(-1, 4, 7, 5))))
        return torch.sigmoid(self.up2(x)[..., :28, :20])

    def cut(self, x):
        return x[:, :, :-1, :-1]


def coded():
    return Coded()


class CutAtTheStart(Coded):
    """The wrong end is cut off."""

    def cut(self, x):
        return x[:, :, 1:, 1:]


def cut_at_the_start():
    return CutAtTheStart()


class PaddedInstead(Coded):
    """Symmetric padding gives the right size, one pixel off."""

    def __init__(self):
        super().__init__()
        self.up1 = nn.ConvTranspose2d(4, 8, 3, 2, padding=1, output_padding=1)

    def cut(self, x):
        return x


def padded_instead():
    return PaddedInstead()


class ConvNorm(nn.Module):
    """As in torchvision's Inception: the norms have a scale of ones."""

    def __init__(self, channels, filters, size):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Branches(nn.Module):
    """Defined in another order than they run."""

    def __init__(self):
        super().__init__()
        self.pooled = ConvNorm(6, 4, 1)
        self.wide = nn.Sequential(ConvNorm(6, 4, 1), ConvNorm(4, 6, 5))
        self.plain = ConvNorm(6, 4, 1)
        self.fc = nn.Linear(14, 3)

    def forward(self, x):
        pooled = self.pooled(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        return self.fc(torch.cat([self.plain(x), self.wide(x), pooled], 1).mean((2, 3)))


def unscaled_norms():
    return Branches()


def other_scales():
    """Return the same with a scale that was not left at one."""
    made = Branches()
    nn.init.constant_(made.wide[0].bn.weight, 0.5)
    return made
