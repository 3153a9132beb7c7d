"""The blocks of well-known networks, in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Normed(nn.Sequential):
    """Convolution, batch normalisation, activation."""

    def __init__(self, before, after, kernel, stride=1, activation=nn.ReLU):
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            activation() if activation else nn.Identity(),
        )


class Head(nn.Module):
    """One number per channel, then classes."""

    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, 5)

    def forward(self, x):
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Basic(nn.Module):
    """As torchvision writes it: the projection is registered last."""

    def __init__(self, before, after, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1."""

    def __init__(self, channels, inner):
        super().__init__()
        self.body = nn.Sequential(
            Normed(channels, inner, 1), Normed(inner, inner, 3), Normed(inner, channels, 1, activation=None)
        )

    def forward(self, x):
        return F.relu(x + self.body(x))


def resnet_v1():
    return nn.Sequential(Normed(3, 8, 3), Basic(8, 8), Basic(8, 12, 2), Bottleneck(12, 6), Head(12))


class PreActivated(nn.Module):
    """Normalisation and activation come first."""

    def __init__(self, channels):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


def resnet_v2():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), PreActivated(8), PreActivated(8), nn.BatchNorm2d(8), nn.ReLU(), Head(8)
    )


class DenseLayer(nn.Module):
    """Appends four channels."""

    def __init__(self, before):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, 8, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(F.relu(self.norm2(y)))), 1)


def densenet():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        *(DenseLayer(channels) for channels in (6, 10, 14)),
        nn.BatchNorm2d(18),
        nn.ReLU(),
        nn.Conv2d(18, 9, 1, bias=False),
        nn.AvgPool2d(2, 2),
        Head(9),
    )


class Inception(nn.Module):
    """Registers and runs its branches in another order than it joins them."""

    def __init__(self, before):
        super().__init__()
        self.pool_branch = Normed(before, 4, 1)
        self.long = nn.Sequential(Normed(before, 4, 1), Normed(4, 5, 3), Normed(5, 5, 3))
        self.middle = nn.Sequential(Normed(before, 4, 1), Normed(4, 6, 3))
        self.short = Normed(before, 4, 1)

    def forward(self, x):
        d = self.pool_branch(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))
        c, b, a = self.long(x), self.middle(x), self.short(x)
        return torch.cat([a, b, c, d], dim=1)


def inception():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), Inception(6), Inception(19), Head(19))


class InvertedResidual(nn.Module):
    """Expand, depthwise, project."""

    def __init__(self, before, after, stride):
        super().__init__()
        wide = 4 * before
        self.use_skip = stride == 1 and before == after
        self.conv = nn.Sequential(
            Normed(before, wide, 1, activation=nn.ReLU6),
            nn.Sequential(
                nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU6(inplace=True),
            ),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x):
        return x + self.conv(x) if self.use_skip else self.conv(x)


def inverted_residual():
    return nn.Sequential(
        Normed(3, 6, 3, 2, activation=nn.ReLU6),
        InvertedResidual(6, 6, 1),
        InvertedResidual(6, 8, 2),
        InvertedResidual(8, 8, 1),
        Head(8),
    )


class SqueezeAndExcite(nn.Module):
    """Once with convolutions, once with linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = Normed(3, 8, 3, activation=nn.SiLU)
        self.fc1 = nn.Conv2d(8, 3, 1)
        self.fc2 = nn.Conv2d(3, 8, 1)
        self.linear1 = nn.Linear(8, 2)
        self.linear2 = nn.Linear(2, 8)
        self.head = Head(8)

    def forward(self, x):
        x = self.stem(x)
        gate = F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))
        x = torch.sigmoid(self.fc2(gate)) * x
        gate = F.hardsigmoid(self.linear2(F.relu(self.linear1(x.mean((2, 3))))))
        return self.head(x * gate.unsqueeze(-1).unsqueeze(-1))


def squeeze_and_excite():
    return SqueezeAndExcite()


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of a channels-first map."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, norm, two linear layers on the channels, a factor for every channel."""

    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 0.1))
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """A stem, two blocks, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), LayerNorm2d(6, eps=1e-6))
        self.blocks = nn.Sequential(ConvNextBlock(6), ConvNextBlock(6))
        self.norm = nn.LayerNorm(6, eps=1e-6)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x)).mean([-2, -1])))


def convnext():
    return ConvNext()


class HighwayLayer(nn.Module):
    """What is let through first, then the gate, and one operation for both."""

    def __init__(self, width):
        super().__init__()
        self.plain = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x):
        return torch.lerp(x, F.relu(self.plain(x)), torch.sigmoid(self.gate(x)))


def highway():
    return nn.Sequential(HighwayLayer(7), HighwayLayer(7), nn.Linear(7, 3))


class SpatialGate(nn.Module):
    """The places are a convolution's channels."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(4, 10)
        self.places = nn.Conv1d(6, 6, 1)
        self.narrow = nn.Linear(5, 3)

    def forward(self, x):
        kept, mixed = F.gelu(self.wide(x)).chunk(2, dim=-1)
        return self.narrow(kept * self.places(mixed))


def spatial_gate():
    return SpatialGate()


class MaskedLinear(nn.Linear):
    """A Linear that holds a mask as a buffer."""

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())

    def forward(self, x):
        return F.linear(x, self.mask * self.weight, self.bias)


def masked():
    places, degrees = torch.arange(4), torch.arange(9) % 3
    first, last = degrees[:, None] >= places, places[:, None] > degrees
    return nn.Sequential(MaskedLinear(first), nn.ReLU(), MaskedLinear(last))


class SteppedHead(nn.Module):
    """A cell stepped by hand, and the head called once for all the steps."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        state, states = x.new_zeros(len(x), 6), []
        for given in x.unbind(1):
            state = self.cell(given, state)
            states.append(state)
        return self.head(torch.stack(states, dim=1))


def stepped_head():
    return SteppedHead()


class Coupling(nn.Module):
    """Two couplings, the shifts made before the scales."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]))
        ends = ((), (nn.Tanh(),))
        self.shift, self.scale = (
            nn.ModuleList(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), *last) for _ in range(2))
            for last in ends
        )

    def forward(self, x):
        volume = x.new_zeros(len(x))
        for kept, shift, scale in zip(self.kept, self.shift, self.scale, strict=True):
            free, read = 1 - kept, kept * x
            t, s = shift(read) * free, scale(read) * free
            x = free * (x - t) * torch.exp(-s) + read
            volume = volume - s.sum(dim=1)
        return x, volume


def coupling():
    return Coupling()
