"""What models do to pictures before their first layer, in PyTorch."""

import numpy as np
import torch
from drawn import drawn
from torch import nn
from torch.nn import functional


class Behind(nn.Module):
    """A small network behind prepared pictures."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 6, 3), nn.Linear(6, 3)

    def prepared(self, x):
        return x

    def forward(self, x):
        return self.head(functional.relu(self.conv(self.prepared(x))).mean((2, 3)))


class Grey(Behind):
    """Weighs the colours by numbers in the code."""

    red = 0.2989

    def __init__(self):
        super().__init__(1)

    def prepared(self, x):
        red, green, blue = x.unbind(-3)
        return (self.red * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def grey():
    return Grey()


class GreyOfAnotherRed(Grey):
    """Pillow's red."""

    red = 0.299


def grey_of_another_red():
    return GreyOfAnotherRed()


class GreyByBuffer(Grey):
    """Holds the weights in float32."""

    def __init__(self):
        super().__init__()
        self.register_buffer("colours", torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1))

    def prepared(self, x):
        return (x * self.colours).sum(1, keepdim=True)


def grey_by_buffer():
    return GreyByBuffer()


class GreyByKernel(GreyByBuffer):
    """Takes the weights for a kernel."""

    def prepared(self, x):
        return functional.conv2d(x, self.colours)


def grey_by_kernel():
    return GreyByKernel()


class WholeNumbers(Behind):
    """Divides bytes."""

    by = 255

    def __init__(self):
        super().__init__(3)

    def prepared(self, x):
        return x.float() / self.by if self.conv.weight.dtype == torch.float32 else x.double() / self.by


def whole_numbers():
    return WholeNumbers()


class WholeNumbersByMore(WholeNumbers):
    """Divides by one more."""

    by = 256


def whole_numbers_by_more():
    return WholeNumbersByMore()


class Smoothed(Behind):
    """Makes pictures smaller with a wide kernel."""

    wide = True

    def __init__(self):
        super().__init__(3)

    def prepared(self, x):
        return functional.interpolate(x, (9, 7), mode="bilinear", antialias=self.wide)


def smoothed():
    return Smoothed()


class Unsmoothed(Smoothed):
    """Forgot the wide kernel."""

    wide = False


def unsmoothed():
    return Unsmoothed()


class Norms(Behind):
    """Norms as torch has them."""

    def __init__(self):
        super().__init__(5)
        self.unshifted, self.unscaled = nn.BatchNorm2d(4, eps=1e-3), nn.BatchNorm2d(5, eps=1e-3)
        self.middle = nn.Conv2d(4, 5, 3)

    def prepared(self, x):
        return self.unscaled(self.middle(self.unshifted(x)))


def norms():
    return Norms()


class Words(nn.Module):
    """Takes sentences for pictures of one channel."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 6)
        self.widths = nn.ModuleList([nn.Conv2d(1, 5, (width, 6)) for width in (2, 3, 4)])
        self.head = nn.Linear(15, 2)

    def ends(self, x):
        return x.amax(-1)

    def forward(self, tokens):
        x = self.words(tokens).unsqueeze(1)
        return self.head(torch.cat([self.ends(functional.relu(conv(x)).squeeze(3)) for conv in self.widths], 1))


def words():
    return Words()


class WordsByMean(Words):
    """Averages where the largest counts."""

    def ends(self, x):
        return x.mean(-1)


def words_by_mean():
    return WordsByMean()


class WordsAsSignals(nn.Module):
    """Takes sentences for signals."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 6)
        self.widths = nn.ModuleList([nn.Conv1d(6, 5, width) for width in (2, 3, 4)])
        self.head = nn.Linear(15, 2)

    def forward(self, tokens):
        x = self.words(tokens).mT
        return self.head(torch.cat([functional.relu(conv(x)).amax(-1) for conv in self.widths], 1))


def words_as_signals():
    return WordsAsSignals()


class Generator(nn.Module):
    """Makes a picture of eight numbers, its weights drawn from their names."""

    def __init__(self, ordered=True, first="first", second="second"):
        super().__init__()
        self.start = nn.Linear(8, 72)
        self.first, self.second = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        order = np.arange(72).reshape(4, 3, 6).transpose(2, 0, 1).reshape(-1) if ordered else np.arange(72)
        kernels = {name: drawn(f"{name}/kernel", (3, 3, 6, 6)).transpose(3, 2, 0, 1) for name in ("first", "second")}
        held = {
            "start.weight": drawn("start/kernel", (8, 72)).T[order],
            "start.bias": drawn("start/bias", (72,))[order],
            "first.weight": kernels[first],
            "first.bias": drawn("first/bias", (6,)),
            "second.weight": kernels[second],
        }
        self.load_state_dict({name: torch.tensor(array) for name, array in held.items()})

    def forward(self, x):
        x = functional.relu(self.start(x)).view(-1, 6, 4, 3)
        return self.second(functional.relu(self.first(x)))


def drawn_generator():
    return Generator()


def generator_as_keras_has_it():
    return Generator(ordered=False)


def generator_with_kernels_exchanged():
    return Generator(first="second", second="first")


class Selected(nn.Module):
    """Chooses between kernels, whose pictures it stacks in front of their channels before it adds them up."""

    def __init__(self, across=-1):
        super().__init__()
        self.sizes = nn.ModuleList(nn.Conv2d(3, 6, size, padding="same") for size in (3, 5))
        self.gate, self.head, self.across = nn.Linear(6, 12), nn.Conv2d(6, 3, 1), across

    def forward(self, x):
        both = torch.stack([size(x) for size in self.sizes], 1)
        gates = self.gate(both.sum(1).mean((2, self.across))).view(-1, 2, 6, 1, 1).softmax(1)
        return self.head((both * gates).sum(1))


def selected():
    return Selected()


def selected_by_columns():
    return Selected(across=1)
