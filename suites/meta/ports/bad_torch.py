"""Builders that go wrong, in torch; `good` is the one that does not."""

import os
import sys
import time

import torch
from torch import nn


def good():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 6, 3))


def diverged():
    """Two weights that training made NaN and infinite."""
    model = good()
    with torch.no_grad():
        model[3].weight[1, :2] = torch.tensor([float("nan"), float("inf")])
    return model


def raises():
    return nn.Sequential(nn.Conv2d(3, 4, kernel=3))


def needs_arguments(width, *, depth):
    return nn.Linear(width, depth)


def returns_nothing():
    good()


def returns_state():
    return good().state_dict()


def returns_pair():
    return good(), "a comment"


def returns_class():
    return nn.Linear


def exits():
    sys.exit(3)


def hangs():
    time.sleep(3600)


def dies():
    os.abort()


def talks():
    for line in range(20_000):
        print("loading shard", line)
    return good()


def too_narrow():
    """Return a network for images of another size."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 5, 3))


class Volumes(nn.Module):
    """Takes (batch, depth, height, width, channels)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 3, 2)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        x = nn.functional.max_pool3d(self.conv(x.permute(0, 4, 1, 2, 3)), 2)
        return self.head(x.mean((2, 3, 4)))


def volumes():
    return Volumes()


def scripted():
    """Return a module that no hook looks into."""
    return torch.jit.script(two_dense())


def traced():
    return torch.jit.trace(two_dense(), torch.zeros(1, 8))


def two_dense():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))


def one_dense():
    return nn.Linear(8, 3)


class Counting(nn.Module):
    """Changes a weight whenever it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        self.calls += 1
        return self.dense(x) + self.calls


def counting():
    return Counting()


class Remembering(nn.Module):
    """Counts its calls where nobody can see it."""

    def __init__(self):
        super().__init__()
        self.dense, self.calls = nn.Linear(8, 3), 0

    def forward(self, x):
        self.calls += 1
        return self.dense(x) * self.calls


def remembering():
    return Remembering()


class Growing(nn.Module):
    """Gets a further layer at every call."""

    def __init__(self):
        super().__init__()
        self.dense, self.more = nn.Linear(8, 3), nn.ModuleList()

    def forward(self, x):
        x = self.dense(x)
        for layer in self.more:
            x = layer(x)
        self.more.append(nn.Linear(3, 3))
        return x


def growing():
    return Growing()


class Branching(nn.Module):
    """Takes another way for other numbers."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        x = self.dense(x)
        return x if x.sum() > 0 else x.clone()


def branching():
    return Branching()


class Drawing(nn.Module):
    """Adds other noise at every call."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        return self.dense(x) + torch.randn(3)


def drawing():
    return Drawing()


class NotFinite(nn.Module):
    """The logarithm of numbers that may be negative."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        return torch.log(self.dense(x))


def not_finite():
    return NotFinite()


class InPlace(nn.Module):
    """Overwrites its input, and what other layers have read."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 4)
        self.b = nn.Linear(4, 3)

    def forward(self, x):
        x *= 1.0
        y = self.a(x)
        y.relu_()
        return self.b(y)


def in_place():
    return InPlace()


class Unseen(InPlace):
    """Rectifies where torch functions do not see it."""

    def forward(self, x):
        y = self.a(x)
        y.data.clamp_(min=0)
        return self.b(y)


def unseen():
    return Unseen()


class Summed(nn.Module):
    """Multiplies and adds in one call, with kernels as they are in Keras and, transposed, as in a linear layer."""

    def __init__(self):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.randn(4))
        self.b = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.addmm(self.bias, x, self.kernel).relu()
        return torch.addmm(self.b.bias, mat1=x, mat2=self.b.weight.T)


def summed():
    return Summed()


def halved():
    """Return a module in half precision."""
    return two_dense().half()


def compiled():
    """Return a module behind torch.compile, which is not compiled before it is first called."""
    return torch.compile(two_dense(), backend="eager")


class RowByRow(nn.Module):
    """Takes a batch row by row within a transform of functions."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 3)

    def forward(self, x):
        return torch.func.vmap(self.dense)(x)


def row_by_row():
    return RowByRow()


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn, self.dense = nn.Parameter(torch.ones(8, dtype=torch.cfloat)), nn.Linear(8, 3)

    def forward(self, x):
        return self.dense((x * self.turn).real)


def complex_weights():
    return Complex()


class Thin(nn.Module):
    """Returns what is not zero alone."""

    def forward(self, x):
        return x.to_sparse()


def thin():
    return Thin()


@torch.inference_mode()
def for_inference():
    return one_dense()


class Leaving(nn.Module):
    """Ends the program as it runs."""

    def forward(self, x):
        sys.exit(len(x) - 3)


def leaving():
    return Leaving()


class Idle(nn.Module):
    """A layer of which nobody reads the result."""

    def __init__(self):
        super().__init__()
        self.dense, self.spare = one_dense(), nn.Linear(8, 3)

    def forward(self, x):
        self.spare(x)
        return self.dense(x)


def idle():
    return Idle()


class Strided(nn.Module):
    """Pads its second convolution otherwise than the model it ports, and cannot run its head for that."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2)
        self.head = nn.Linear(10 * 9 * 8, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().flatten(1))


def strided():
    return Strided()


class Through(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 6), nn.Linear(6, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.second(nn.functional.gelu(self.first(x))))


def through():
    return Through()
