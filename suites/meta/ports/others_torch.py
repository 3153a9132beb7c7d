"""Modules that are unlike most: weights as parameters, normed weights, files, layers of one's own."""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import tensor
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations


class Strided(nn.Module):
    """Convolution, mean, linear."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


def module():
    return Strided()


class Parameters(nn.Module):
    """Parameters and functions alone."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(5, 3, 3, 3))
        self.bias = nn.Parameter(torch.randn(5))
        self.dense = nn.ParameterList([torch.randn(4, 5), torch.randn(4)])

    def forward(self, x):
        x = F.conv2d(x, self.kernel, self.bias, stride=2).relu()
        return F.linear(x.mean((2, 3)), *self.dense)


def parameters():
    return Parameters()


def module_as_is():
    """Return the module with the weights of TensorFlow's file."""
    module = Strided()
    with torch.no_grad():
        module.conv.weight.copy_(tensor("module/kernel", (3, 3, 3, 5), 3, 2, 0, 1))
        module.conv.bias.copy_(tensor("module/bias", (5,)))
        module.fc.weight.copy_(tensor("module/dense", (5, 4), 1, 0))
        module.fc.bias.copy_(tensor("module/offset/bias", (4,)))
    return module


def legacy_sequential():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.BatchNorm2d(5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(125, 4)
    )


class LegacyFunctional(nn.Module):
    """A residual depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.leaky_relu(self.conv(x), 0.2)
        x = x + self.depthwise(x)
        return self.head(x.mean((2, 3))).softmax(1)


def legacy_functional():
    return LegacyFunctional()


class LegacyRecurrent(nn.Module):
    """An LSTM both ways, then a GRU."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        _, hidden = self.gru(self.lstm(x)[0])
        return self.fc(hidden[0])


def legacy_recurrent():
    return LegacyRecurrent()


class Scaled01(nn.Module):
    """Scales its images to [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x / 127.5 - 1)).mean((2, 3)))


def lambdas():
    return Scaled01()


class Functions(nn.Module):
    """Joins a map and its tanh; takes the mean over the rows, and keeps TensorFlow's order of what is left."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(72, 4)

    def forward(self, x):
        x = self.conv(x)
        x = F.max_pool2d(torch.cat([F.relu(x), torch.tanh(x)], dim=1), 2)
        return self.fc(x.mean(2).transpose(1, 2).reshape(-1, 72))


def functions():
    return Functions()


class Scaled(nn.Module):
    """Linear with one more weight: a factor for every unit."""

    def __init__(self, before, after):
        super().__init__()
        self.factor = nn.Parameter(torch.randn(after))
        self.linear = nn.Linear(before, after)

    def forward(self, x):
        return self.factor * torch.tanh(self.linear(x))


def own_layers():
    return nn.Sequential(Scaled(7, 6), Scaled(6, 5), nn.Linear(5, 3))


class Trained(nn.Module):
    """Convolution, norm, linear."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5 * 11 * 10, 4)

    def forward(self, x):
        return self.head(self.norm(F.relu(self.conv(x))).flatten(1))


def trained():
    """Return the module with what TensorFlow's file draws; the rows of the linear layer in torch's order."""
    module = Trained()
    rows = tensor("head/kernel", (11 * 10 * 5, 4)).reshape(11, 10, 5, 4)
    module.load_state_dict(
        {
            "conv.weight": tensor("conv/kernel", (3, 3, 3, 5), 3, 2, 0, 1),
            "conv.bias": tensor("conv/bias", (5,)),
            "norm.weight": tensor("norm/gamma", (5,)),
            "norm.bias": tensor("norm/beta", (5,)),
            "norm.running_mean": tensor("norm/moving_mean", (5,)),
            "norm.running_var": tensor("norm/moving_variance", (5,)),
            "norm.num_batches_tracked": torch.tensor(1),
            "head.weight": rows.permute(3, 2, 0, 1).reshape(4, -1),
            "head.bias": tensor("head/bias", (4,)),
        }
    )
    return module


def from_state_dict():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        torch.save(trained().state_dict(), path)
        module = Trained()
        module.load_state_dict(torch.load(path, weights_only=True))
    return module


def from_whole_module():
    """Return a module that was saved whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        torch.save(trained(), path)
        return torch.load(path, weights_only=False)


def from_safetensors():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({name: value.contiguous() for name, value in trained().state_dict().items()}, path)
        module = Trained()
        module.load_state_dict(load_file(path))
    return module


def compiled():
    return Trained()


def built_late():
    return nn.Sequential(nn.Linear(7, 5, bias=False), nn.ReLU(), nn.Linear(5, 3))


def lazy():
    """Return modules that learn the number of their inputs from the first batch."""
    return nn.Sequential(nn.LazyLinear(5, bias=False), nn.ReLU(), nn.LazyLinear(3))


class NormedWeights(nn.Module):
    """Convolution and linear layer with weights split into length and direction."""

    def __init__(self, normed):
        super().__init__()
        self.conv = normed(nn.Conv2d(3, 5, 3, stride=2))
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


def weight_norm():
    return NormedWeights(parametrizations.weight_norm)


def weight_norm_as_is():
    """Return the normed module with the weights of TensorFlow's file: length and direction give the same kernel."""
    module = module_as_is()
    module.conv = parametrizations.weight_norm(module.conv)
    return module


def half_frozen():
    """Return a module some of whose weights do not train."""
    module = Strided()
    module.conv.requires_grad_(False)
    return module
