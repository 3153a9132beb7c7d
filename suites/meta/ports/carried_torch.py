"""How weights are carried: one bias of two products, layers that are one elsewhere, tables; in PyTorch."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Tied(nn.Module):
    def __init__(self, words, head, bias=True):
        super().__init__()
        self.words, self.dense, self.head = nn.Embedding(words, 12), nn.Linear(12, 12), head
        if head == "layer":
            self.out = nn.Linear(12, words, bias=bias)
            self.out.weight = self.words.weight
        else:
            self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, ids):
        x = F.gelu(self.dense(self.words(ids)))
        if self.head == "layer":
            return self.out(x)
        if self.head == "product":
            return x @ self.words.weight.T + self.bias
        return F.linear(x, self.words.weight, self.bias)


def tied():
    return Tied(21, "layer")


def tied_function():
    return Tied(21, "function")


def tied_product():
    return Tied(21, "product")


def tied_square():
    return Tied(12, "layer")


def tied_square_without_bias():
    return Tied(12, "layer", bias=False)


def tied_square_product():
    return Tied(12, "product")


class Products(nn.Module):
    def __init__(self, biases=(True, False), sign=1.0):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6, bias=biases[0]), nn.Linear(7, 6, bias=biases[1])
        self.head, self.sign = nn.Linear(6, 3), sign

    def forward(self, x, h):
        second = self.second(h)
        return self.head(torch.tanh(self.first(x) + (second if self.sign == 1.0 else self.sign * second)))


def products():
    return Products()


def products_second():
    return Products((False, True))


def products_both():
    return Products((True, True))


def products_halved():
    return Products(sign=0.5)


class ProductsByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(7, 6))
        self.bias, self.head = nn.Parameter(torch.zeros(6)), nn.Linear(6, 3)

    def forward(self, x, h):
        return self.head(torch.tanh(x @ self.first + h @ self.second + self.bias))


def products_of_layers():
    return ProductsByHand()


class Recurrence(nn.Module):
    def __init__(self, swapped=False):
        super().__init__()
        self.update_x, self.new_x = nn.Linear(5, 6), nn.Linear(5, 6)
        self.update_h, self.new_h = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.head, self.swapped = nn.Linear(6, 3), swapped

    def forward(self, x):
        h = x.new_zeros(len(x), 6)
        for step in range(x.shape[1]):
            z = torch.sigmoid(self.update_x(x[:, step]) + self.update_h(h))
            n = torch.tanh(self.new_x(x[:, step]) + self.new_h(h))
            h = (1 - z) * h + z * n if self.swapped else (1 - z) * n + z * h
        return self.head(h)


def recurrence():
    return Recurrence()


def recurrence_swapped():
    return Recurrence(swapped=True)


class Fused(nn.Module):
    def __init__(self, how, dilation=2):
        super().__init__()
        self.conv, self.how, self.pad = nn.Conv1d(5, 8, 2, dilation=dilation), how, dilation

    def forward(self, x):
        x = self.conv(F.pad(x, (self.pad, 0)))
        if self.how == "glu":
            return F.glu(x, 1)
        values, gate = x.chunk(2, 1)
        return (values if self.how == "linear" else torch.tanh(values)) * torch.sigmoid(gate)


class Gated(nn.Module):
    def __init__(self, gate=torch.sigmoid):
        super().__init__()
        self.filter, self.gate = nn.Conv1d(5, 4, 2, dilation=2), nn.Conv1d(5, 4, 2, dilation=2)
        self.act = gate

    def forward(self, x):
        x = F.pad(x, (2, 0))
        return torch.tanh(self.filter(x)) * self.act(self.gate(x))


class Waves(nn.Module):
    def __init__(self, *gated):
        super().__init__()
        self.first, self.head = nn.Conv1d(3, 5, 1), nn.Linear(5, 2)
        self.gated = nn.ModuleList(gated)
        self.mixed = nn.ModuleList([nn.Conv1d(4, 5, 1) for _ in gated])

    def forward(self, x):
        x = self.first(x.transpose(1, 2))
        for gated, mixed in zip(self.gated, self.mixed, strict=True):
            x = x + mixed(gated(x))
        return self.head(x.transpose(1, 2))


def waves():
    return Waves(Fused("tanh"), Fused("tanh"))


def waves_other_dilation():
    return Waves(Fused("tanh"), Fused("tanh", dilation=1))


def waves_linear():
    return Waves(Fused("linear"), Fused("linear"))


def waves_glu():
    return Waves(Fused("glu"), Fused("glu"))


def waves_apart():
    return Waves(Gated(), Gated())


def waves_hard_gate():
    return Waves(Gated(), Gated(F.hardsigmoid))


PLACES = torch.tensor([[q - p + 4 for q in range(5)] for p in range(5)])


class Tables(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.scores = nn.ModuleList([nn.Linear(6, 10) for _ in range(2)])
        self.mixed = nn.ModuleList([nn.Linear(10, 6) for _ in range(2)])
        self.again = nn.ParameterList([nn.Parameter(torch.randn(9, 2)) for _ in range(2)])
        self.tables = nn.ParameterList([nn.Parameter(torch.randn(9, 2)) for _ in range(2)])
        self.turned = turned

    def forward(self, x):
        for block in range(2):
            places = PLACES.T if self.turned and block else PLACES
            scores = self.scores[block](x).view(-1, 5, 2, 5).transpose(1, 2)
            scores = (scores + _chosen(self.tables[block], places)).softmax(-1)
            scores = (scores + _chosen(self.again[block], PLACES)).softmax(-1)
            x = self.mixed[block](scores.transpose(1, 2).reshape(-1, 5, 10))
        return x


def _chosen(table, places):
    return table[places.reshape(-1)].view(5, 5, 2).permute(2, 0, 1)[None]


def tables():
    return Tables()


def tables_turned():
    return Tables(turned=True)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.places = nn.Parameter(torch.randn(1, 7, 8))
        self.cls, self.extra = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        extra, cls = self.extra.expand(len(x), -1, -1), self.cls.expand(len(x), -1, -1)
        return self.head(torch.tanh(torch.cat([cls, extra, self.dense(x)], 1) + self.places))


def tokens():
    return Tokens()


class Next(nn.Module):
    def __init__(self, *made):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
        self.made, self.norms = nn.ModuleList(made), nn.ModuleList([nn.BatchNorm2d(8) for _ in made])
        self.mixed = nn.ModuleList([nn.Conv2d(8, 8, 1, bias=False) for _ in made])

    def forward(self, x):
        x = self.first(x)
        for made, norm, mixed in zip(self.made, self.norms, self.mixed, strict=True):
            x = x + mixed(norm(made(x)).relu())
        return self.head(x.mean((2, 3)))


def _together(groups=4, bias=False, dilation=1):
    return nn.Conv2d(8, 8, 3, padding=dilation, groups=groups, bias=bias, dilation=dilation)


def groups_together():
    return Next(_together(), _together())


def groups_dilated():
    return Next(_together(), _together(dilation=2))


def groups_of_two():
    return Next(_together(2, bias=True), _together(2, bias=True))


class Apart(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(8 // groups, 8 // groups, 3, padding=1) for _ in range(groups)])

    def forward(self, x):
        return torch.cat([part(some) for part, some in zip(self.parts, x.chunk(len(self.parts), 1), strict=True)], 1)


def groups_apart():
    return Next(Apart(4), Apart(4))


class Standardised(nn.Conv2d):
    unbiased = False

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=self.unbiased)
        return F.conv2d(x, (self.weight - mean) / torch.sqrt(variance + 1e-6), self.bias, padding=self.padding)


def _standardised(unbiased):
    first, second = Standardised(3, 3, 3, padding=1), Standardised(3, 6, 3, padding=1)
    second.unbiased = unbiased
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(6, 2, 1))


def standardised():
    return _standardised(False)


def standardised_by_one_less():
    return _standardised(True)


class Mixture(nn.Module):
    """Mixes the kernels where Keras's layer mixes results."""

    def __init__(self):
        super().__init__()
        self.route, self.weight = nn.Linear(8, 3), nn.Parameter(torch.randn(3, 8, 8, 3, 3) * 0.1)

    def forward(self, x):
        batch, channels, *size = x.shape
        shares = torch.sigmoid(self.route(x.mean((2, 3))))
        kernels = torch.einsum("be,eoikl->boikl", shares, self.weight).reshape(-1, channels, 3, 3)
        made = F.conv2d(x.reshape(1, batch * channels, *size), kernels, padding=1, groups=batch)
        return made.view(batch, -1, *size)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mixture, self.head = nn.Conv2d(3, 8, 3), Mixture(), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.mixture(F.relu(self.conv(x)))).mean((2, 3)))


def mixture():
    return Mixed()


class ImageCell(nn.Module):
    def __init__(self, channels, units):
        super().__init__()
        self.conv = nn.Conv2d(channels + units, 4 * units, 3, padding=1)

    def forward(self, x, h, c):
        i, f, g, o = self.conv(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class RecurrentImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = ImageCell(2, 5), ImageCell(5, 6), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        x = x.permute(0, 1, 4, 2, 3)
        first, second = ((x.new_zeros(len(x), units, *x.shape[3:]),) * 2 for units in (5, 6))
        for step in range(x.shape[1]):
            first = self.first(x[:, step], *first)
            second = self.second(first[0], *second)
        return self.head(second[0]).permute(0, 2, 3, 1)


def recurrent_images():
    return RecurrentImages()


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.ModuleList([nn.LSTMCell(4, 6), nn.LSTMCell(6, 5)]), nn.Linear(5, 3)

    def forward(self, x):
        states = [(x.new_zeros(len(x), cell.hidden_size),) * 2 for cell in self.cells]
        for step in range(x.shape[1]):
            at = x[:, step]
            for number, cell in enumerate(self.cells):
                states[number] = cell(at, states[number])
                at = states[number][0]
        return self.head(at)


def cells():
    return Cells()


def _sized(kernel, units):
    first, second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, kernel, padding=kernel // 2)
    mean = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    head = nn.Linear(8, units), nn.ReLU(), nn.Linear(units, 3)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *mean, *head)


def other_kernel():
    return _sized(5, 10)


def other_units():
    return _sized(3, 12)


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(5, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.conv(x.transpose(1, 2))).transpose(1, 2))


def signal():
    return Signal()


class Squares(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.kernels = nn.ParameterList([nn.Parameter(torch.randn(5, 5)) for _ in range(2)])
        self.dims, self.head = dims, nn.Linear(5, 3)

    def forward(self, x):
        for kernel in self.kernels:
            x = torch.tanh(torch.tensordot(x, kernel, dims=self.dims))
        return self.head(x)


def squares():
    return Squares(([-1], [0]))


def squares_turned():
    return Squares(([2], [1]))


class BiasesInRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.fed, self.recurrent, self.head = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        state = x.new_zeros(len(x), 4)
        for step in range(x.shape[1]):
            state = torch.tanh(self.fed(x[:, step])) * torch.sigmoid(self.recurrent(state))
        return self.head(state)


def biases_in_rows():
    return BiasesInRows()


class Neighbours(nn.Module):
    """The same with vectors by head, of which every node takes the product's sum."""

    def __init__(self):
        super().__init__()
        self.linear, self.head = nn.Linear(4, 10, bias=False), nn.Linear(10, 2)
        self.source, self.target = (nn.Parameter(torch.randn(1, 1, 2, 5)) for _ in range(2))

    def forward(self, x):
        x = self.linear(x).view(*x.shape[:2], 2, 5)
        source, target = (x * self.source).sum(-1), (x * self.target).sum(-1)
        scores = F.leaky_relu(target.unsqueeze(2) + source.unsqueeze(1), 0.2).softmax(dim=2)
        found = torch.matmul(scores.movedim(3, 1), x.movedim(2, 1)).movedim(1, 2)
        return self.head(found.reshape(*x.shape[:2], 10))


def neighbours():
    return Neighbours()
