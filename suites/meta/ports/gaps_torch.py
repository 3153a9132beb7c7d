"""Ports of the models in `gaps_tensorflow.py`, right and wrong."""

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.again(F.relu(self.first(x)))).mean((2, 3)))

    def again(self, x):
        return self.second(x)


def convolutions():
    return Convolutions()


def frozen_first():
    network = Convolutions()
    network.first.requires_grad_(False)
    return network


class Turned(Convolutions):
    def __init__(self, turn):
        super().__init__()
        self.turn = turn

    def again(self, x):
        return F.conv2d(x, self.turn(self.second.weight), self.second.bias)


def kernel_flipped():
    return Turned(lambda kernel: kernel.flip(2, 3))


class TurnedAlone(Turned):
    def again(self, x):
        return F.conv2d(x, self.turn(self.second.weight))


def kernel_flipped_without_bias():
    return TurnedAlone(lambda kernel: kernel.flip(2, 3))


def kernel_turned():
    return Turned(lambda kernel: kernel.transpose(2, 3))


class Directions(nn.Module):
    def __init__(self, dim=1, columns=False):
        super().__init__()
        self.first, self.dim, self.columns = nn.Conv2d(3, 7, 3), dim, columns
        self.kernel = nn.Parameter(0.3 * torch.randn((7, 5) if columns else (5, 7)))

    def forward(self, x):
        x = F.relu(self.first(x)).mean((2, 3))
        kernel = self.kernel if self.dim is None else F.normalize(self.kernel, dim=self.dim)
        return x @ kernel if self.columns else F.linear(x, kernel)


def directions():
    return Directions()


def other_directions():
    return Directions(0)


def other_directions_in_columns():
    return Directions(1, columns=True)


def no_directions():
    return Directions(None)


class Residual(nn.Module):
    def __init__(self, before=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head, self.before = nn.BatchNorm2d(6), nn.Linear(6, 4), before

    def forward(self, x):
        x = F.relu(self.first(x))
        y = self.norm(self.second(x))
        return self.head((F.relu(y) + x if self.before else F.relu(y + x)).mean((2, 3)))


def residual():
    return Residual()


def rectified_before():
    return Residual(before=True)


class Gate(nn.Module):
    def __init__(self, shift=3.0, divisor=6.0):
        super().__init__()
        self.shift, self.divisor = shift, divisor

    def forward(self, x):
        return x * F.relu6(x + self.shift if self.shift else x) / self.divisor


class Gated(nn.Module):
    def __init__(self, gate):
        super().__init__()
        self.first, self.gate, self.head = nn.Conv2d(3, 6, 3), gate, nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.gate(self.first(x)).mean((2, 3)))


def gated():
    return Gated(Gate())


def gated_unshifted():
    return Gated(Gate(0.0))


def gated_further():
    return Gated(Gate(2.0))


def gated_by_fifths():
    return Gated(Gate(3.0, 5.0))


class Pools(nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.head, self.pools = nn.Conv2d(3, 6, 3), nn.Linear(12, 4), (first, second)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.head(torch.cat([pool(x, 1).flatten(1) for pool in self.pools], 1))


def two_pools():
    return Pools(F.adaptive_avg_pool2d, F.adaptive_max_pool2d)


def one_pool_twice():
    return Pools(F.adaptive_max_pool2d, F.adaptive_max_pool2d)


class Units(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.function, self.head = nn.Conv2d(3, 6, 3), function, nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.function(self.first(x).mean((2, 3))))


def beyond_the_root():
    return Units(lambda x: x / (x.norm(dim=-1, keepdim=True) + 1e-3))


def within_the_root():
    return Units(lambda x: x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-3))


def within_an_inverse_root():
    return Units(lambda x: x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-3))


class Normalised(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 6, 3), norm, nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.first(x))).mean((2, 3)))


def without_statistics():
    return Normalised(nn.BatchNorm2d(6, track_running_stats=False))


class OfTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


def without_buffers():
    return Normalised(OfTheBatch())


class Spectrum(nn.Module):
    """Mixes a sequence by a transform over two axes, or but one, and shows the size of another one."""

    def __init__(self, axes=(1, 2)):
        super().__init__()
        self.first, self.last, self.axes = nn.Linear(4, 5), nn.Linear(8, 3), axes

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([torch.fft.fftn(x, dim=self.axes).real, torch.fft.rfft(x).abs()], -1))


def spectrum():
    return Spectrum()


def spectrum_of_one_axis():
    return Spectrum((2,))


class Drops(nn.Module):
    """Drops numbers between two convolutions, in training or always."""

    def __init__(self, drop):
        super().__init__()
        self.first, self.second, self.head, self.drop = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3), nn.Linear(5, 4), drop

    def forward(self, x):
        return self.head(self.second(self.drop(self.first(x))).mean((2, 3)))


def drops():
    return Drops(nn.Dropout(0.4))


def drops_always():
    return Drops(lambda x: F.dropout(x, 0.4))


def drops_channels():
    return Drops(lambda x: F.dropout2d(x, 0.4))


def noisy_always():
    return Drops(lambda x: x + 0.4 * torch.randn_like(x))


class Slopes(nn.Module):
    """A slope for each element, in the shape of an image."""

    def __init__(self, *shape):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(120, 3)
        self.slopes = nn.Parameter(torch.rand(*shape) * 0.3)

    def forward(self, x):
        x = self.first(x)
        x = F.prelu(x.flatten(1), self.slopes.flatten()).view_as(x)
        return self.last(x.permute(0, 2, 3, 1).flatten(1))


def slopes_in_a_row():
    return Slopes(4, 6, 5)


def one_slope():
    return Slopes(1, 1)


class Depthwise(nn.Module):
    """Channels in the order that `turn` gives them, behind a depthwise convolution."""

    def __init__(self, turn):
        super().__init__()
        self.inner, self.norm = nn.Conv2d(4, 12, 3, padding=1, groups=4), nn.BatchNorm2d(12, eps=1e-3)
        self.last, self.turn = nn.Conv2d(12, 6, 1), turn

    def forward(self, x):
        return self.last(F.relu(self.norm(self.turn(self.inner(x))))).mean((2, 3))


def _turned(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def channels_turned():
    return Depthwise(lambda x: _turned(x, 4))


def channels_shuffled():
    return Depthwise(lambda x: F.channel_shuffle(x, 4))


class CutToSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.beside = nn.ConvTranspose2d(3, 5, 3, 2, bias=False), nn.Conv2d(3, 5, 1)

    def forward(self, x):
        beside = self.beside(F.interpolate(x, scale_factor=2)[..., :13, :11])
        return (self.up(x)[..., :13, :11] + beside).mean((2, 3))


def cut_to_size_unbiased():
    return CutToSize()


class Centred(nn.Module):
    """Means of the colours in the other order, without the colours in it."""

    def __init__(self):
        super().__init__()
        self.first, self.means = nn.Conv2d(3, 4, 3), torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

    def forward(self, x):
        return self.first(x - self.means).mean((2, 3))


def centred():
    return Centred()


class Rectified(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(9, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def rectified():
    return Rectified()


class Distance(nn.Module):
    def __init__(self, measure):
        super().__init__()
        self.shared, self.last, self.measure = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), measure

    def forward(self, first, second):
        first, second = F.relu(self.shared(first)), F.relu(self.shared(second))
        return self.last(self.measure(first.amax((2, 3)) - second.mean((2, 3))))


def distance():
    return Distance(torch.abs)


def difference():
    return Distance(lambda x: x)


class InOrder(nn.Module):
    def __init__(self, rectified_first):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, eps=1e-3), nn.Linear(6, 4)
        self.rectified_first = rectified_first

    def forward(self, x):
        x = self.first(x)
        x = self.norm(F.relu(x)) if self.rectified_first else F.relu(self.norm(x))
        return self.last(x.mean((2, 3)))


def normalised_first():
    return InOrder(False)


def rectified_first():
    return InOrder(True)


class Attends(nn.Module):
    """Four heads of three numbers, where TensorFlow has three of four."""

    def __init__(self, attend, heads=4, size=3):
        super().__init__()
        self.heads, units = heads, heads * size
        self.query, self.key, self.value, self.out = (nn.Linear(units, units) for _ in range(4))
        self.norm, self.last, self.attend = nn.LayerNorm(units, eps=1e-3), nn.Linear(units, 5), attend

    def forward(self, x):
        layers = self.query, self.key, self.value
        query, key, value = (one(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in layers)
        return self.last(self.norm(self.out(self.attend(query, key, value).transpose(1, 2).flatten(2))))


class Equations(nn.Module):
    """Attention whose weights and biases have the heads as an axis."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(torch.randn(12, 3, 4) * 0.3) for _ in range(3)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(3, 4)) for _ in range(3)])
        self.out, self.bias = nn.Parameter(torch.randn(3, 4, 7) * 0.3), nn.Parameter(torch.zeros(7))

    def forward(self, x):
        layers = zip(self.layers, self.biases, strict=True)
        query, key, value = (torch.einsum("bte,ehd->bthd", x, weight) + bias for weight, bias in layers)
        shares = (torch.einsum("bthd,bshd->bhts", query, key) / 2).softmax(-1)
        return torch.einsum("bthd,hde->bte", torch.einsum("bhts,bshd->bthd", shares, value), self.out) + self.bias


def equations():
    return Equations()


def _by_hand(query, key, value):
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value


def four_heads():
    return Attends(_by_hand)


def five_heads():
    return Attends(_by_hand, 5, 2)


def four_heads_of_the_library():
    return Attends(F.scaled_dot_product_attention)


class Shuffled(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 12, 3, padding=1, groups=2), nn.Conv2d(12, 6, 1, groups=3)
        self.groups = groups

    def forward(self, x):
        return self.last(_turned(F.relu(self.first(x)), self.groups)).mean((2, 3))


def shuffled_by_threes():
    return Shuffled(3)


def shuffled_by_fours():
    return Shuffled(4)


def _around(norm):
    return nn.Sequential(OrderedDict(first=nn.Linear(6, 5), norm=norm, head=nn.Linear(5, 3)))


def layer_norm():
    return _around(nn.LayerNorm(5))


def layer_norm_eps():
    return _around(nn.LayerNorm(5, eps=1e-3))


class ScaleFirst(nn.Module):
    """Normalises by a scale that was divided by the deviation."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))

    def forward(self, x):
        scale = self.scale / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
        return (x - x.mean(-1, keepdim=True)) * scale + self.shift


def norm_scale_first():
    return _around(ScaleFirst())


class AttentionBiased(nn.Module):
    """Attends with biases, which are zeros as long as nobody trains them."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0])


def attention_biased():
    return AttentionBiased()


class NamedAsInKeras(nn.Module):
    """Normalises by statistics that are called as in Keras."""

    def __init__(self):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.register_buffer("moving_mean", torch.zeros(6))
        self.register_buffer("moving_variance", torch.ones(6))

    def forward(self, x):
        mean, variance, gamma, beta = (
            one[None, :, None, None] for one in (self.moving_mean, self.moving_variance, self.gamma, self.beta)
        )
        return gamma * (x - mean) / torch.sqrt(variance + 1e-3) + beta


def named_as_in_keras():
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(
        OrderedDict(first=nn.Conv2d(3, 6, 3), norm=NamedAsInKeras(), pool=pooled, head=nn.Linear(6, 4))
    )


class ListedAndSummed(nn.Module):
    """Takes a list of two inputs, and returns the mean of what it computes beside it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(4, 5)

    def forward(self, inputs):
        left, right = inputs
        made = F.relu(self.first(left) + self.second(right))
        return made, made.mean()


def listed_and_summed():
    return ListedAndSummed()


class RowsKept(nn.Module):
    """Keeps the rows that begin with a positive number, however many these are."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.first, self.head, self.sign = nn.Linear(6, 5), nn.Linear(5, 3), sign

    def forward(self, x):
        x = self.first(x)
        return self.head(x[x[:, 0] * self.sign > 0])


def rows_kept():
    return RowsKept()


def rows_left_out():
    return RowsKept(-1.0)


class Fused(nn.Module):
    """Multiplies and adds in one call."""

    def __init__(self, share):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(6, 4) for _ in range(3))
        self.head, self.share = nn.Linear(4, 3), share

    def forward(self, x):
        gate = torch.sigmoid(self.second(x))
        return self.head(torch.addcmul(self.first(x), gate, self.third(x), value=self.share))


def fused():
    return Fused(0.5)


def fused_by_another():
    return Fused(0.7)


class Repeated(nn.Module):
    """Repeats each number of a vector, or all of it."""

    def __init__(self, each=True):
        super().__init__()
        self.first, self.head, self.each = nn.Linear(6, 5), nn.Linear(10, 3), each

    def forward(self, x):
        x = self.first(x)
        return self.head(x.repeat_interleave(2, -1) if self.each else x.repeat(1, 2))


def repeated():
    return Repeated()


def tiled():
    return Repeated(each=False)


class Highway(nn.Module):
    """Computes what its gates let through before the gates."""

    def __init__(self):
        super().__init__()
        self.plain, self.transform = (nn.ModuleList(nn.Linear(6, 6) for _ in range(2)) for _ in range(2))

    def forward(self, x):
        for plain, transform in zip(self.plain, self.transform, strict=True):
            x = torch.lerp(x, F.relu(plain(x)), torch.sigmoid(transform(x)))
        return x


def highway():
    return Highway()


class TurnedHighway(Highway):
    """Lets through what the gate should keep back."""

    def forward(self, x):
        for plain, transform in zip(self.plain, self.transform, strict=True):
            gate = torch.sigmoid(transform(x))
            x = gate * x + (1 - gate) * F.relu(plain(x))
        return x


def highway_turned():
    return TurnedHighway()


class LerpedHighway(Highway):
    def forward(self, x):
        for plain, transform in zip(self.plain, self.transform, strict=True):
            x = torch.lerp(F.relu(plain(x)), x, torch.sigmoid(transform(x)))
        return x


def highway_lerped():
    return LerpedHighway()


class Crossed(nn.Module):
    """Gates rows and columns, of which it computes the columns first."""

    def __init__(self):
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.columns, self.rows = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        both = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)], 2)
        rows, columns = torch.split(F.relu(self.shared(both)), list(x.shape[2:]), 2)
        gates = self.columns(columns.permute(0, 1, 3, 2)).sigmoid(), self.rows(rows).sigmoid()
        return x * gates[0] * gates[1]


def crossed():
    return Crossed()


class Involved(nn.Module):
    """Weighs the pixels around each by a kernel that was made of it."""

    def __init__(self):
        super().__init__()
        self.stem, self.kernels, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 9, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        patches = F.unfold(x, 3, padding=1).view(-1, 4, 9, *x.shape[2:])
        return self.head(F.relu((patches * self.kernels(x).unsqueeze(1)).sum(2)))


def involved():
    return Involved()
