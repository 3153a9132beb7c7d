"""The same with the weights kept as somebody's code has them: channels last, turned in passing, read by `F.unfold`."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Between(nn.Module):
    """A weight for each element between two convolutions; `how` says what is done with it."""

    def __init__(self, how, shape=(8, 8, 8)):
        super().__init__()
        self.before, self.after = nn.Conv2d(6, 8, 3), nn.Conv2d(8, 4, 1)
        self.table, self.how = nn.Parameter(torch.rand(*shape)), how

    def forward(self, x):
        return self.after(torch.tanh(self.how(self.before(x), self.table)))


def slopes_permuted():
    return Between(lambda x, a: torch.where(x > 0, x, a.permute(2, 0, 1) * x), (7, 5, 8))


def slopes_of_two_relus():
    return Between(lambda x, a: F.relu(x) - a.permute(2, 0, 1) * F.relu(-x), (7, 5, 8))


def slopes_of_a_cube():
    return Between(lambda x, a: F.relu(x) - a * F.relu(-x))


def slopes_of_a_cube_permuted():
    return Between(lambda x, a: F.relu(x) - a.permute(2, 0, 1) * F.relu(-x))


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.norm, self.after = nn.Conv2d(6, 8, 3), nn.LayerNorm([8, 8, 8]), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.after(torch.tanh(self.norm(self.before(x))))


def norm_of_a_cube():
    return Norm()


def added():
    return Between(lambda x, a: x + a)


def added_permuted():
    return Between(lambda x, a: x + a.permute(2, 0, 1))


def added_to_the_last():
    return Between(lambda x, a: (x.permute(0, 2, 3, 1) + a).permute(0, 3, 1, 2))


def taken_from():
    return Between(lambda x, a: a - x)


def taken_from_permuted():
    return Between(lambda x, a: a.permute(2, 0, 1) - x)


def taken_away():
    return Between(lambda x, a: x - a.permute(2, 0, 1))


def multiplied():
    return Between(lambda x, a: a * x)


def multiplied_turned():
    return Between(lambda x, a: a.permute(2, 1, 0) * x)


class Unfolded(nn.Module):
    """A convolution as a product of its kernel with patches; `rows` gives the kernel its other shape."""

    def __init__(self, rows=lambda kernel: kernel.view(6, -1), fold=False):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(6, 3, 3, 3)), nn.Parameter(torch.zeros(6))
        self.head, self.rows, self.fold = nn.Conv2d(6, 4, 1), rows, fold

    def forward(self, x):
        size = x.shape[2:]
        y = self.rows(self.kernel) @ F.unfold(x, 3, padding=1) + self.bias[:, None]
        y = F.fold(y, size, 1) if self.fold else y.view(-1, 6, *size)
        return self.head(F.relu(y))


def unfolded():
    return Unfolded()


def unfolded_and_folded():
    return Unfolded(fold=True)


def unfolded_channels_last():
    return Unfolded(lambda kernel: kernel.permute(0, 2, 3, 1).reshape(6, -1))


class Patches(nn.Module):
    def __init__(self, dilation=1):
        super().__init__()
        self.dense, self.head, self.dilation = nn.Linear(27, 6), nn.Conv2d(6, 4, 1), dilation

    def forward(self, x):
        patches = F.unfold(x, 3, padding=self.dilation, dilation=self.dilation)
        y = F.relu(self.dense(patches.transpose(1, 2))).transpose(1, 2)
        return self.head(y.reshape(-1, 6, *x.shape[2:]))


def patches():
    return Patches()


def patches_dilated():
    return Patches(2)


class Modulated(nn.Module):
    """StyleGAN2's convolution as its PyTorch ports have it: a kernel for each sample, in groups."""

    def __init__(self, filters, size=3, eps=1e-8):
        super().__init__()
        self.modulation, self.weight = nn.Linear(8, 8), nn.Parameter(torch.randn(1, filters, 8, size, size))
        self.filters, self.size, self.eps = filters, size, eps

    def forward(self, x, style):
        batch, channels, height, width = x.shape
        kernel = self.weight * self.modulation(style).view(batch, 1, channels, 1, 1)
        if self.size > 1:
            kernel = kernel * torch.rsqrt(kernel.pow(2).sum([2, 3, 4]) + self.eps).view(batch, self.filters, 1, 1, 1)
        kernel = kernel.view(batch * self.filters, channels, self.size, self.size)
        made = F.conv2d(x.view(1, -1, height, width), kernel, padding=self.size // 2, groups=batch)
        return made.view(batch, self.filters, height, width)


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return F.leaky_relu(x + self.bias[None, :, None, None], 0.2)


class Generator(nn.Module):
    def __init__(self, corners=False, eps=1e-8):
        super().__init__()
        self.map, self.corners = nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2)), corners
        self.images = nn.ModuleList(Modulated(3, 1) for _ in range(2))
        self.convs = nn.ModuleList(Modulated(8, eps=eps if number == 1 else 1e-8) for number in range(3))
        self.biases = nn.ModuleList(Biased() for _ in range(3))

    def up(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.corners)

    def forward(self, x, style):
        style = self.map(style)
        x = self.biases[0](self.convs[0](x, style))
        image = self.images[0](x, style)
        x = self.biases[1](self.convs[1](self.up(x), style))
        x = self.biases[2](self.convs[2](x, style))
        return self.up(image) + self.images[1](x, style)


def generator():
    return Generator()


def generator_of_corners():
    return Generator(corners=True)


def generator_of_eps():
    return Generator(eps=1e-2)
