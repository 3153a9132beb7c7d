"""Ports of the models in `asked_tensorflow.py`, right and wrong."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from drawn import drawn
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm


class BiasedBatchNorm(nn.BatchNorm2d):
    """Keeps the biased variance, as Keras does."""

    unbiased = False

    def forward(self, x):
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            with torch.no_grad():
                self.keep(mean, x.var((0, 2, 3)) if self.unbiased else variance)
        else:
            mean, variance = self.running_mean, self.running_var
        x = (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]

    def keep(self, mean, variance):
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class InPlace(BiasedBatchNorm):
    def keep(self, mean, variance):
        self.running_mean.mul_(1.0 - self.momentum).add_(self.momentum * mean)
        self.running_var.mul_(1.0 - self.momentum).add_(variance, alpha=self.momentum)


class Unbiased(BiasedBatchNorm):
    unbiased = True


class Setting(BiasedBatchNorm):
    def keep(self, mean, variance):
        self.running_mean = self.momentum * mean + (1.0 - self.momentum) * self.running_mean
        self.running_var = self.momentum * variance + (1.0 - self.momentum) * self.running_var


class Normed(nn.Module):
    def __init__(self, kind=nn.BatchNorm2d, eps=1e-3, momentum=0.1):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, 1, 1, bias=False), kind(6, eps=eps, momentum=momentum)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))


def normed_by_hand():
    return Normed(BiasedBatchNorm)


class NormedAway(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, 1, 1), nn.Linear(6, 3)
        self.norm1, self.norm2 = (BiasedBatchNorm(6, eps=1e-3, momentum=0.01) for _ in range(2))

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return self.head(F.relu(self.norm2(self.conv2(x)) + x).mean((2, 3)))


def normed_away():
    return NormedAway()


def normed_by_hand_in_place():
    return Normed(InPlace)


def normed_by_hand_in_place_other_momentum():
    return Normed(InPlace, momentum=0.01)


def normed_by_hand_unbiased():
    return Normed(Unbiased)


def normed_by_hand_by_setting():
    return Normed(Setting)


def normed_by_hand_other_eps():
    return Normed(BiasedBatchNorm, eps=1e-5)


def normed_by_hand_other_momentum():
    return Normed(BiasedBatchNorm, momentum=0.01)


def normed_other_eps():
    return Normed(eps=1e-5)


def normed_other_eps_and_momentum():
    return Normed(eps=1e-5, momentum=0.01)


class Filters(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 1)
        rng = np.random.default_rng(7)
        with torch.no_grad():
            for layer in (self.first, self.second, self.last):
                held = layer.weight.dim() == 4
                shape = (*layer.weight.shape[2:], *layer.weight.shape[1::-1])
                kernel = torch.from_numpy(rng.normal(0.0, 0.3, shape).astype(np.float32))
                layer.weight.copy_(kernel.permute(3, 2, 0, 1) if held else kernel.T)
                layer.bias.copy_(torch.from_numpy(rng.normal(0.0, 0.3, layer.bias.shape).astype(np.float32)))

    def forward(self, x):
        x = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
        return self.last(x.mean((2, 3)))


def filters_of_length_and_direction():
    model = Filters()
    parametrizations.weight_norm(model.first)
    weight_norm(model.second)
    return model


def filters_of_length_and_direction_twice_as_long():
    model = Filters()
    parametrizations.weight_norm(model.first)
    with torch.no_grad():
        model.first.parametrizations.weight.original0.mul_(2.0)
    return model


def filters_of_length_and_direction_a_little_longer():
    model = Filters()
    parametrizations.weight_norm(model.first)
    with torch.no_grad():
        model.first.parametrizations.weight.original0.mul_(1.0 + 1e-5)
    return model


def filters_of_norm_one():
    model = Filters()
    parametrizations.spectral_norm(model.second)
    return model


def filters_of_norm_one_by_hook():
    model = Filters()
    spectral_norm(model.second)
    return model


class BothWays(nn.Module):
    def __init__(self, act=F.relu, eps=1e-3):
        super().__init__()
        self.first = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.inner, self.act = nn.Linear(6, 5), act
        self.second = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.BatchNorm1d(4, eps=eps), nn.Linear(4, 2)

    def forward(self, x):
        forth, back = self.first(x)[0].chunk(2, -1)
        _, last = self.second(self.act(self.inner(forth + back)))
        return self.head(self.norm(last.mean(0)))


def both_ways():
    return BothWays()


def both_ways_without_relu():
    return BothWays(nn.Identity())


def both_ways_other_eps():
    return BothWays(eps=1e-5)


class BothWaysMultiplied(nn.Module):
    def __init__(self, act=F.relu):
        super().__init__()
        self.inner, self.act = nn.Linear(5, 5), act
        self.first = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x):
        forth, back = self.first(self.act(self.inner(x)))[0].split(6, 2)
        return self.head(self.norm(forth * back))


def both_ways_multiplied():
    return BothWaysMultiplied()


def both_ways_multiplied_without_relu():
    return BothWaysMultiplied(nn.Identity())


class BothWaysTimeFirst(nn.Module):
    def __init__(self, act="tanh"):
        super().__init__()
        self.first = nn.RNN(5, 6, bidirectional=True, nonlinearity=act)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x):
        forth, back = self.first(x.transpose(0, 1))[0].split(6, 2)
        return self.head(self.norm((forth * back).transpose(0, 1)))


def both_ways_time_first():
    return BothWaysTimeFirst()


def both_ways_time_first_rectified():
    return BothWaysTimeFirst("relu")


class Backwards(nn.Module):
    def __init__(self, act=F.relu):
        super().__init__()
        self.inner, self.act = nn.Linear(5, 5), act
        self.first = nn.GRU(5, 6, batch_first=True)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.norm(self.first(self.act(self.inner(x)).flip(1))[0]))


def backwards():
    return Backwards()


def backwards_without_relu():
    return Backwards(nn.Identity())


def exported():
    return torch.export.export(Normed().eval(), (torch.randn(3, 3, 12, 10),)).module()


def exported_other_eps():
    return torch.export.export(Normed(eps=1e-5).eval(), (torch.randn(3, 3, 12, 10),)).module()


class Standardised(nn.Module):
    def __init__(self, standard):
        super().__init__()
        self.conv, self.head, self.standard = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), standard

    def forward(self, x):
        return self.head(self.standard(F.relu(self.conv(x))))


def both_at_once(less=0):
    def standard(x):
        variance, mean = torch.var_mean(x, (2, 3), correction=less, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1e-5)

    return Standardised(standard)


def both_at_once_by_one_less():
    return both_at_once(1)


def _centred_first(x, unbiased):
    x = x - x.mean((2, 3), keepdim=True)
    return x / torch.sqrt(x.var((2, 3), unbiased=unbiased, keepdim=True) + 1e-5)


def centred_first():
    return Standardised(lambda x: _centred_first(x, False))


def centred_first_by_one_less():
    return Standardised(lambda x: _centred_first(x, True))


def legacy_elsewhere():
    from further_torch import legacy_norms

    return legacy_norms()


def oblong_lying():
    """Return a port that has height and width in the other order, as images of (x, y) do."""
    tall = nn.Conv2d(3, 6, (3, 5), (1, 2), (1, 2))
    return nn.Sequential(tall, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 2))


class Beside(nn.Module):
    def __init__(self, loaded=("one", "other"), order=(0, 1)):
        super().__init__()
        self.one, self.other, self.order = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), order
        for layer, name in zip((self.one, self.other), loaded, strict=True):
            kernel, bias = drawn(f"{name}/kernel", (3, 3, 3, 4)).transpose(3, 2, 0, 1), drawn(f"{name}/bias", (4,))
            layer.load_state_dict({"weight": torch.tensor(kernel), "bias": torch.tensor(bias)})

    def forward(self, x):
        made = self.one(x), self.other(x)
        return F.relu(torch.cat([made[place] for place in self.order], 1)).amax((2, 3))


def beside_crosswise():
    return Beside(("other", "one"))


def beside_in_the_other_order():
    return Beside(order=(1, 0))


class Capsules(nn.Module):
    def __init__(self, order=(0, 2, 3, 1)):
        super().__init__()
        self.conv, self.head, self.order = nn.Conv2d(3, 8, 3), nn.Linear(60, 2), order

    def forward(self, x):
        length = self.conv(x).permute(self.order).reshape(len(x), -1, 4).square().sum(-1)
        return self.head(length / (1.0 + length) / torch.sqrt(length + 1e-7))


def capsules():
    return Capsules()


def capsules_of_pixels():
    return Capsules((0, 1, 2, 3))


class Penalised(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.share, self.hidden, self.head = share, nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.hidden(x)
        return self.head(torch.tanh(x)), self.share * x.pow(2).sum() / 7.0


def penalised():
    return Penalised(0.5)


def penalised_more():
    return Penalised(1.0)
