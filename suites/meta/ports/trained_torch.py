"""Ports of small networks that are right forwards and train otherwise, in torch."""

import torch
from torch import nn
from torch.nn import functional


class AlongTime(nn.Module):
    """A normalisation of each step of a sequence."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 5, 3)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x.transpose(1, 2)).transpose(1, 2)).mean(1))


def along_time():
    return AlongTime()


class Normalised(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = norm
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def averaging_all():
    return Normalised(nn.BatchNorm2d(6, momentum=None))


class Detached(nn.BatchNorm2d):
    """Lets no gradient through to what stands before it."""

    def forward(self, x):
        return super().forward(x.detach())


def detached_before_the_norm():
    return Normalised(Detached(6))


class AsKeras(nn.BatchNorm2d):
    """Keeps the biased variance, as Keras does."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            self.running_mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
            self.running_var.mul_(0.9).add_(0.1 * x.var((0, 2, 3), unbiased=False))
        return functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)


def as_keras():
    return Normalised(AsKeras(6))


class BothWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


def both_ways():
    return BothWays()


class AveragedWords(nn.Module):
    def __init__(self, **words):
        super().__init__()
        self.words = nn.Embedding(10, 5, **words)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.words(x).mean(1))


def sparse_words():
    return AveragedWords(sparse=True)


def words_by_frequency():
    return AveragedWords(scale_grad_by_freq=True)


class Dense(nn.Module):
    def __init__(self, between=None):
        super().__init__()
        self.first = nn.Linear(7, 8)
        self.second = nn.Linear(8, 6)
        self.head = nn.Linear(6, 3)
        self.between = between

    def forward(self, x):
        x = torch.tanh(self.first(x))
        if self.between is not None:
            x = self.between(x)
        return self.head(torch.tanh(self.second(x)))


def dense():
    return Dense()


def detached():
    return Dense(torch.detach)


def scaled_back():
    return Dense(lambda x: 0.1 * x + (0.9 * x).detach())


def halved():
    module = Dense()
    module.second.weight.register_hook(lambda gradient: 0.5 * gradient)
    return module


class WithoutGradients(Dense):
    """Runs its first layer as a frozen backbone is often run."""

    def forward(self, x):
        with torch.no_grad():
            x = torch.tanh(self.first(x))
        return self.head(torch.tanh(self.second(x)))


def without_gradients():
    return WithoutGradients()


def frozen():
    model = dense()
    model.first.requires_grad_(False)
    return model
