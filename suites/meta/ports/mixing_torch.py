"""The same in torch: a layer of what the graph has mixed, or the graph's product with what a kernel makes."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Modules(nn.Module):
    def __init__(self, units=(8, 6), bias=True, turned=False, last=True, one_bias=False):
        super().__init__()
        sizes = zip((5, *units), units, strict=False)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs, bias=bias) for inputs, outputs in sizes)
        self.out = nn.Linear(units[-1], 2)
        self.turned, self.last, self.one_bias = turned, last, one_bias

    def forward(self, x, graph):
        graph = graph.mT if self.turned else graph
        for place, layer in enumerate(self.layers):
            x = F.linear(graph @ x, layer.weight, self.layers[0].bias if self.one_bias else layer.bias)
            x = F.relu(x) if self.last or place == 0 else x
        return self.out(x.mean(1))


class Kernels(nn.Module):
    def __init__(self, kernel_first, last=True):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(8, 6))
        self.first_bias, self.second_bias = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(6))
        self.out = nn.Linear(6, 2)
        self.kernel_first, self.last = kernel_first, last

    def mixed(self, x, graph, kernel):
        return torch.bmm(graph, x @ kernel) if self.kernel_first else torch.bmm(graph, x) @ kernel

    def forward(self, x, graph):
        x = F.relu(self.mixed(x, graph, self.first) + self.first_bias)
        x = self.mixed(x, graph, self.second) + self.second_bias
        return self.out((F.relu(x) if self.last else x).mean(1))


def modules():
    return Modules()


def modules_of_one_size():
    return Modules((5, 5))


def modules_without_bias():
    return Modules(bias=False)


def modules_turned():
    return Modules(turned=True)


def modules_without_the_last_relu():
    return Modules(last=False)


def modules_with_one_bias():
    return Modules((5, 5), one_bias=True)


def kernel_first():
    return Kernels(kernel_first=True)


def kernel_first_without_the_last_relu():
    return Kernels(kernel_first=True, last=False)


def kernel_last():
    return Kernels(kernel_first=False)
