"""The same arithmetic as it is written by different people, in PyTorch: right ports, and ports with a fault."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class PixelNorm(nn.Module):
    """Divides by the root of the mean square of each pixel."""

    def __init__(self, eps=1e-8):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + self.eps)


def _pixel_norms(eps, *norms):
    first, second = norms or (PixelNorm(), PixelNorm())
    convs = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 1)
    return nn.Sequential(convs[0], nn.BatchNorm2d(8, eps=eps), first, nn.LeakyReLU(0.2), convs[1], second, convs[2])


def pixel_norms():
    return _pixel_norms(1e-3)


def pixel_norms_behind_a_fault():
    return _pixel_norms(1e-5)


def pixel_norms_of_which_one_is_wrong():
    return _pixel_norms(1e-5, PixelNorm(), PixelNorm(1e-2))


class Pixels(nn.Module):
    def __init__(self, means):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.register_buffer("mean", torch.tensor(means).view(1, 3, 1, 1))

    def forward(self, x):
        return torch.relu(self.conv((x - self.mean)[:, [2, 1, 0]] / 64))


def pixels():
    return Pixels((124.0, 117.0, 104.0))


def pixels_with_means_in_the_wrong_order():
    return Pixels((104.0, 117.0, 124.0))


class Picture(nn.Module):
    def __init__(self, eps, half=127.5):
        super().__init__()
        self.first, self.norm, self.last = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6, eps=eps),
            nn.Conv2d(6, 3, 3, padding=1),
        )
        self.half = half

    def forward(self, x):
        return self.half * (torch.tanh(self.last(F.relu(self.norm(self.first(x))))) + 1)


def picture():
    return Picture(1e-3)


def picture_behind_a_fault():
    return Picture(1e-5)


def picture_twice_as_bright():
    return Picture(1e-5, 255.0)


class PlacesOfMass(nn.Module):
    """Sums over rows and columns first, and multiplies by one axis of places afterwards."""

    def __init__(self, eps):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6, eps=eps), nn.Linear(12, 4)

    def forward(self, x):
        x = self.norm(self.conv(x))
        share = F.softmax(x.flatten(2), -1).view_as(x)
        columns = (share.sum(2) * torch.linspace(-1, 1, x.shape[3])).sum(-1)
        rows = (share.sum(3) * torch.linspace(-1, 1, x.shape[2])).sum(-1)
        return self.head(torch.cat([columns, rows], 1))


def places_of_mass():
    return PlacesOfMass(1e-3)


def places_of_mass_behind_a_fault():
    return PlacesOfMass(1e-5)


class Chomp(nn.Module):
    def __init__(self, size, end=True):
        super().__init__()
        self.size, self.end = size, end

    def forward(self, x):
        return x[:, :, : -self.size] if self.end else x[:, :, self.size :]


class Causal(nn.Module):
    """Pads both ends in the convolution, and cuts one off again."""

    def __init__(self, end=True):
        super().__init__()
        self.conv1, self.chomp1 = nn.Conv1d(5, 8, 3, padding=2), Chomp(2)
        self.conv2, self.chomp2 = nn.Conv1d(8, 8, 3, padding=4, dilation=2), Chomp(4, end)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.chomp1(self.conv1(x.transpose(1, 2))))
        return self.head(F.relu(self.chomp2(self.conv2(x)))[:, :, -1])


def causal():
    return Causal()


def cut_at_the_wrong_end():
    return Causal(end=False)


class Blur(nn.Module):
    """Has its kernel as a buffer, which a file of weights holds too."""

    def __init__(self, row):
        super().__init__()
        row = torch.tensor(row)
        self.register_buffer("kernel", (torch.outer(row, row) / row.sum() ** 2)[None, None].repeat(6, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.kernel, stride=2, groups=6)


def _blurred(row):
    return nn.Sequential(nn.Conv2d(3, 6, 3), Blur(row), nn.Conv2d(6, 4, 1))


def blurred():
    return _blurred([1.0, 2.0, 1.0])


def blurred_less():
    return _blurred([1.0, 3.0, 1.0])


class Unpooled(nn.Module):
    """Puts numbers back where they were the largest; places are counted within a channel."""

    def __init__(self, sign=1):
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.up, self.sign = nn.Conv2d(6, 4, 3, padding=1), sign

    def forward(self, x):
        x = F.relu(self.down(x))
        places = F.max_pool2d(self.sign * x, 2, return_indices=True)[1] if self.sign < 0 else None
        x, found = F.max_pool2d(x, 2, return_indices=True)
        return self.up(F.max_unpool2d(self.middle(x), found if places is None else places, 2))


def unpooled():
    return Unpooled()


def unpooled_to_the_smallest():
    return Unpooled(-1)


class Sparse(nn.Module):
    """The same, with the largest score taken away from all of them first."""

    def __init__(self, total):
        super().__init__()
        self.total, self.scores, self.head = total, nn.Linear(7, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.scores(x)
        x = x - x.max(dim=-1, keepdim=True)[0]
        ordered, _ = torch.sort(x, descending=True, dim=-1)
        sums = ordered.cumsum(-1) - self.total
        support = torch.arange(1, 7, dtype=x.dtype)[None] * ordered > sums
        count = support.sum(dim=-1).unsqueeze(-1)
        return self.head(torch.clamp(x - sums.gather(-1, count - 1) / count.to(x.dtype), min=0))


def sparse():
    return Sparse(1.0)


def sparse_to_a_half():
    return Sparse(0.5)


class BiasedParts(nn.Module):
    """BEiT's attention: one product, whose bias is that of the queries, zeros, and that of the values."""

    order = "q_bias k_bias v_bias"
    table = None

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(24, 72, bias=False), nn.Linear(24, 24)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(24)), nn.Parameter(torch.randn(24))
        self.register_buffer("k_bias", torch.zeros(24), persistent=False)

    def forward(self, x):
        n, places, _ = x.shape
        bias = torch.cat([getattr(self, name) for name in self.order.split()])
        q, k, v = F.linear(x, self.qkv.weight, bias).reshape(n, places, 3, 4, 6).permute(2, 0, 3, 1, 4).unbind(0)
        if self.table is not None:
            q, k = q * self.table, k * self.table
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, places, 24))


class BiasedPartsTurned(BiasedParts):
    def __init__(self):
        super().__init__()
        table = torch.cos(torch.arange(7.0)[:, None] / 10 ** torch.linspace(0, 2, 24))  # rounded at every step
        self.register_buffer("turned", table.reshape(7, 4, 6).transpose(0, 1), persistent=False)

    @property
    def table(self):
        return self.turned


class BiasedKeys(BiasedParts):
    order = "k_bias q_bias v_bias"


biased_parts, biased_parts_turned, biased_keys = BiasedParts, BiasedPartsTurned, BiasedKeys


class Factored(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x):
        n, places, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, places, 3, 4, 6).permute(2, 0, 3, 1, 4)
        y = 6**-0.5 * (q @ (k.softmax(dim=2).transpose(-1, -2) @ v)) + q * v
        return self.proj(y.transpose(1, 2).reshape(n, places, 24))


factored = Factored


class Correlated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        first, second = (torch.fft.rfft(one(x).transpose(1, 2), dim=-1) for one in (self.first, self.second))
        return self.head(torch.fft.irfft(first * torch.conj(second), dim=-1).transpose(1, 2))


def correlated():
    return Correlated()


class Delayed(nn.Module):
    """The same with the shift as a number of Python's."""

    def __init__(self, sign):
        super().__init__()
        self.sign, self.before, self.head = sign, nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.before(x)
        shift = self.sign * int(x.mean(-1).mean(0).argmax())
        return self.head(torch.roll(x, shift, 1) * torch.arange(1.0, 13.0).to(x.dtype)[:, None])


def delayed():
    return Delayed(-1)


def delayed_backwards():
    return Delayed(1)


def _eps(number):
    first = nn.Linear(7, 6), nn.BatchNorm1d(6, eps=number)
    return nn.Sequential(*first, nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5, eps=number), nn.Linear(5, 2))


def eps():
    return _eps(0.001)


def eps_out_of_float32():
    return _eps(0.0010000000474974513)


def eps_a_millionth_more():
    return _eps(0.001000001)


class Located(nn.Module):
    step = 1.0

    def __init__(self):
        super().__init__()
        self.conv, self.token, self.mixed = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(2, 6), nn.Linear(6, 4)

    def forward(self, x):
        rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(5.0), indexing="ij")
        places = torch.stack([torch.sin(self.step * rows), torch.cos(columns)], -1).flatten(0, 1)
        x = self.conv(x).flatten(2).permute(0, 2, 1)
        return self.mixed(x + self.for_all(places[None], len(x)))

    def for_all(self, places, count):
        return self.token(places).repeat(count, 1, 1)


located = Located


class LocatedForEach(Located):
    """The places are repeated before the layer reads them."""

    def for_all(self, places, count):
        return self.token(places.repeat(count, 1, 1))


located_for_each = LocatedForEach


def located_elsewhere():
    model = Located()
    model.step = 1.001
    return model
