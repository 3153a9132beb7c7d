"""Flattened vectors that meet others, kept statistics, and more that once could not be told: right ports, and wrong."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class FlatResidual(nn.Module):
    def __init__(self, share=1.0):
        super().__init__()
        self.conv, self.inner, self.head = nn.Conv2d(3, 4, 3), nn.Linear(120, 120), nn.Linear(120, 5)
        self.share = share

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        y = F.relu(self.inner(x))
        return self.head(x + y if self.share == 1.0 else x + self.share * y)


def flat_residual():
    return FlatResidual()


def flat_residual_halved():
    return FlatResidual(0.5)


class FlatGate(nn.Module):
    def __init__(self, gate=torch.sigmoid):
        super().__init__()
        self.conv, self.drop, self.squeeze = nn.Conv2d(3, 4, 3), nn.Dropout(0.3), nn.Linear(120, 16)
        self.gate, self.head, self.act = nn.Linear(16, 120), nn.Linear(120, 5), gate

    def forward(self, x):
        x = self.drop(F.relu(self.conv(x)).flatten(1))
        return self.head(self.act(self.gate(F.relu(self.squeeze(x)))) * x)


def flat_gate():
    return FlatGate()


def flat_gate_without_sigmoid():
    return FlatGate(nn.Identity())


class FlatHighway(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(120, 5)
        self.gates = nn.ModuleList(nn.Linear(120, 120) for _ in range(2))
        self.changes = nn.ModuleList(nn.Linear(120, 120) for _ in range(2))

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        for gate, change in zip(self.gates, self.changes, strict=True):
            share = torch.sigmoid(gate(x))
            x = share * torch.tanh(change(x)) + (1 - share) * x
        return self.head(x)


def flat_highway():
    return FlatHighway()


class FlatBlocks(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.conv, self.head, self.side = nn.Conv2d(3, 4, 3), nn.Linear(120, 5), nn.Linear(120, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(120), nn.Linear(120, 16), nn.ReLU(), nn.Linear(16, 120), nn.BatchNorm1d(120, eps=one)
            )
            for one in (1e-5, eps)
        )

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        for block in self.blocks:
            x = block(x) + x
        return self.head(x), self.side(torch.tanh(x))


def flat_blocks():
    return FlatBlocks()


def flat_blocks_other_eps():
    return FlatBlocks(eps=1e-2)


class FlatModulated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.ln = nn.Conv2d(3, 4, 3), nn.BatchNorm1d(120), nn.LayerNorm(120)
        self.scale, self.shift, self.head = nn.Linear(5, 120), nn.Linear(5, 120), nn.Linear(120, 4)

    def forward(self, image, numbers):
        x = self.bn(F.relu(self.conv(image)).flatten(1))
        return self.head(self.ln(x * self.scale(numbers) + self.shift(numbers)))


def flat_modulated():
    return FlatModulated()


class Unchanging(nn.Module):
    """As in torchvision and DETR, under another name."""

    def __init__(self, n, eps=1e-5):
        super().__init__()
        self.register_buffer("weight", torch.ones(n))
        self.register_buffer("bias", torch.zeros(n))
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))
        self.eps = eps

    def forward(self, x):
        w = self.weight.reshape(1, -1, 1, 1)
        b = self.bias.reshape(1, -1, 1, 1)
        rv = self.running_var.reshape(1, -1, 1, 1)
        rm = self.running_mean.reshape(1, -1, 1, 1)
        scale = w * (rv + self.eps).rsqrt()
        bias = b - rm * scale
        return x * scale + bias


class RootForgotten(Unchanging):
    def forward(self, x):
        scale = self.weight / (self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class Unshifted(nn.Module):
    """As in training code that keeps the statistics beside a learned scale."""

    def __init__(self, n, eps=1e-5):
        super().__init__()
        self.scale, self.eps = nn.Parameter(torch.ones(n)), eps
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x):
        mean, var = (s.view(1, -1, 1, 1) for s in (self.running_mean, self.running_var))
        return self.scale.view(1, -1, 1, 1) * (x - mean) * torch.rsqrt(var + self.eps)


class Detector(nn.Module):
    def __init__(self, norm=Unchanging, odd=None):
        super().__init__()
        self.conv0, self.norm0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), norm(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 4, 1, bias=False), norm(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), (odd or norm)(4)
        self.conv3, self.norm3 = nn.Conv2d(4, 8, 1, bias=False), norm(8)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = F.relu(self.norm0(self.conv0(x)))
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return self.head(F.relu(x + self.norm3(self.conv3(y))))


def frozen_norms():
    return Detector()


def frozen_norms_one_eps():
    return Detector(odd=lambda n: Unchanging(n, eps=1e-2))


def frozen_norms_without_root():
    return Detector(odd=RootForgotten)


def frozen_norms_without_shift():
    return Detector(Unshifted)


def frozen_norms_without_shift_one_eps():
    return Detector(Unshifted, odd=lambda n: Unshifted(n, eps=1e-2))


def plain_norms():
    return Detector(nn.BatchNorm2d)


def plain_norms_one_eps():
    return Detector(nn.BatchNorm2d, odd=lambda n: nn.BatchNorm2d(n, eps=1e-2))


class Statistics(nn.Module):
    """A batch normalisation of vectors, written as its formula."""

    def __init__(self, n, eps=1e-5):
        super().__init__()
        self.gamma, self.beta, self.eps = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n)), eps
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x):
        return (x - self.running_mean) / torch.sqrt(self.running_var + self.eps) * self.gamma + self.beta


class KeptStatistics(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.first, self.norm1, self.second = nn.Linear(9, 12), Statistics(12), nn.Linear(12, 7)
        self.norm2, self.head = Statistics(7, eps), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.norm2(torch.tanh(self.second(self.norm1(self.first(x))))))


def kept_statistics():
    return KeptStatistics()


def kept_statistics_other_eps():
    return KeptStatistics(eps=1e-3)


def normed_vectors():
    return nn.Sequential(nn.Linear(9, 12), nn.BatchNorm1d(12), nn.Linear(12, 7), nn.Tanh(), nn.BatchNorm1d(7),
                         nn.Linear(7, 3))  # fmt: skip


MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BACKWARDS, TURNED = (103.939, 116.779, 123.68), [2, 1, 0]
SCALE, OFFSET = [1 / one for one in SPREAD], [-mean / one for mean, one in zip(MEAN, SPREAD, strict=True)]


class OfPixels(nn.Module):
    def __init__(self, prepare, **held):
        super().__init__()
        self.conv1, self.conv2, self.prepare = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), prepare
        for name, numbers in held.items():
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1))

    def forward(self, x):
        return self.conv2(F.relu(self.conv1(self.prepare(self, x))))


def _turned_first(own, x):
    return x[:, TURNED] - own.mean


def _turned_last(own, x):
    return (x - own.mean)[:, TURNED]


def _standard(own, x):
    return (x - own.mean) / own.std


def _rescaled(own, x):
    return x * own.scale + own.offset


def colours():
    return OfPixels(_turned_first, mean=BACKWARDS)


def colours_turned_last():
    return OfPixels(_turned_last, mean=BACKWARDS[::-1])


def colours_not_turned():
    return OfPixels(lambda own, x: x - own.mean, mean=BACKWARDS)


def colours_turned_first_with_means_turned():
    return OfPixels(_turned_first, mean=BACKWARDS[::-1])


def colours_turned_last_with_means_as_they_are():
    return OfPixels(_turned_last, mean=BACKWARDS)


def standard_pixels():
    return OfPixels(_standard, mean=MEAN, std=SPREAD)


def standard_pixels_other_means():
    return OfPixels(_standard, mean=(0.5, 0.5, 0.5), std=SPREAD)


def rescaled_pixels():
    return OfPixels(_rescaled, scale=SCALE, offset=OFFSET)


def rescaled_pixels_other_offset():
    return OfPixels(_rescaled, scale=SCALE, offset=[-0.5 / one for one in SPREAD])


def _picture(unbiased, floor=None):
    def standard(_, x):
        spread = x.std((1, 2, 3), keepdim=True, unbiased=unbiased)
        return (x - x.mean((1, 2, 3), keepdim=True)) / (spread.clamp(min=floor) if floor else spread + 1e-5)

    return OfPixels(standard)


def standardised_picture():
    return _picture(False)


def standardised_picture_by_one_less():
    return _picture(True)


def standardised_picture_by_tensorflow():
    return _picture(False, 360**-0.5)


def standardised_picture_by_tensorflow_by_one_less():
    return _picture(True, 360**-0.5)


class PooledStatistics(nn.Module):
    def __init__(self, unbiased=False):
        super().__init__()
        self.conv, self.head, self.unbiased = nn.Conv1d(6, 8, 3), nn.Linear(16, 3), unbiased

    def forward(self, x):
        x = self.conv(x.transpose(1, 2))
        return self.head(torch.cat([x.mean(2), x.std(2, unbiased=self.unbiased)], 1))


def pooled_statistics():
    return PooledStatistics()


def pooled_statistics_by_one_less():
    return PooledStatistics(unbiased=True)


class Restyled(nn.Module):
    """Gives an image the mean and deviation of another one."""

    def __init__(self, unbiased=(False, False)):
        super().__init__()
        self.conv, self.unbiased = nn.Conv2d(4, 4, 3), unbiased

    def statistics(self, x, unbiased):
        flat = x.view(*x.shape[:2], -1)
        deviation = (flat.var(2, unbiased=unbiased) + 1e-5).sqrt()
        return flat.mean(2)[:, :, None, None], deviation[:, :, None, None]

    def forward(self, content, style):
        mean, deviation = self.statistics(content, self.unbiased[0])
        other_mean, other_deviation = self.statistics(style, self.unbiased[1])
        return self.conv((content - mean) / deviation * other_deviation + other_mean)


def restyled():
    return Restyled()


def restyled_by_one_less():
    return Restyled((False, True))


class Positions(nn.Module):
    def __init__(self, how, most=9):
        super().__init__()
        self.words, self.places, self.head, self.how = nn.Embedding(20, 8), nn.Embedding(most, 8), nn.Linear(8, 3), how
        self.register_buffer("numbers", torch.arange(9)[None])

    def forward(self, words):
        return self.head(self.words(words) + self.how(self))


def positions():
    return Positions(lambda own: own.places(torch.arange(9)))


def positions_by_buffer():
    return Positions(lambda own: own.places(own.numbers[:, :9]))


def positions_as_they_are():
    return Positions(lambda own: own.places.weight)


def positions_of_longer_texts():
    return Positions(lambda own: own.places(torch.arange(9)), most=16)


def positions_of_longer_texts_from_one():
    return Positions(lambda own: own.places(torch.arange(1, 10)), most=16)


def positions_backwards():
    return Positions(lambda own: own.places(own.numbers.flip(1)))


def _waves(count, width):
    table, places = torch.zeros(count, width), torch.arange(count).float()[:, None]
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table[:, 0::2], table[:, 1::2] = torch.sin(places * rates), torch.cos(places * rates)
    return table


class Waves(nn.Module):
    def __init__(self, frozen=None, first=0):
        super().__init__()
        self.words, self.head, self.first = nn.Embedding(20, 8), nn.Linear(8, 3), first
        self.register_buffer("table", _waves(50, 8)[None])
        self.places = None if frozen is None else nn.Embedding.from_pretrained(_waves(9, 8), freeze=frozen)

    def forward(self, words):
        x = self.words(words) * math.sqrt(8)
        last = self.first + words.shape[1]
        return self.head(
            x + (self.table[:, self.first : last] if self.places is None else self.places(torch.arange(9)))
        )


def waves_in_a_buffer():
    return Waves()


def waves_one_further():
    return Waves(first=1)


def waves_that_are_frozen():
    return Waves(frozen=True)


def waves_that_train():
    return Waves(frozen=False)


class Chomp(nn.Module):
    def __init__(self, count, end=True):
        super().__init__()
        self.count, self.end = count, end

    def forward(self, x):
        return x[:, :, : -self.count].contiguous() if self.end else x[:, :, self.count :].contiguous()


def _chomped(rate, end=True):
    return nn.Sequential(nn.Conv1d(6, 6, 3, padding=2 * rate, dilation=rate), Chomp(2 * rate, end))


def _padded(rate, behind=0):
    pads = (0, behind) if behind else (2 * rate, 0)
    return nn.Sequential(nn.ConstantPad1d(pads, 0.0), nn.Conv1d(6, 6, 3, dilation=rate))


class Temporal(nn.Module):
    def __init__(self, make=_chomped, last=None):
        super().__init__()
        self.widen, self.head, self.blocks = nn.Conv1d(5, 6, 1), nn.Linear(6, 2), nn.ModuleList()
        for rate in (1, 2):
            second = last if last is not None and rate == 2 else make(rate)
            self.blocks.append(nn.ModuleDict({"first": make(rate), "second": second}))

    def forward(self, x):
        x = self.widen(x.transpose(1, 2))
        for block in self.blocks:
            x = F.relu(x + F.relu(block["second"](F.relu(block["first"](x)))))
        return self.head(x[:, :, -1])


def temporal():
    return Temporal()


def temporal_padded_before():
    return Temporal(_padded)


def temporal_cut_at_the_start():
    return Temporal(last=_chomped(2, end=False))


def temporal_padded_behind():
    return Temporal(last=_padded(2, behind=4))
