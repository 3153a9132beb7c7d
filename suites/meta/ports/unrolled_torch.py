"""Recurrent cells as people write them by hand in torch, and torch's own layers."""

import torch
from torch import nn


class Reader(nn.Module):
    """Calls a cell step by step, from zeros on, and uses the last state or all of them."""

    def __init__(self, cell, steps=False):
        super().__init__()
        self.cell, self.steps, self.head = cell, steps, nn.Linear(6, 3)

    def forward(self, x):
        states, found = self.cell.start(x), []
        for time in range(x.size(1)):
            states = self.cell(x[:, time], *states)
            found.append(states[0])
        return self.head(torch.stack(found, 1) if self.steps else found[-1])


class Cell(nn.Module):
    """An LSTM's step; `order` is that of its gates."""

    def __init__(self, inputs=5, units=6, order="ifgo", bias=False):
        super().__init__()
        self.i2h, self.h2h = nn.Linear(inputs, 4 * units), nn.Linear(units, 4 * units, bias=bias)
        self.order, self.units = order, units

    def start(self, x):
        return [x.new_zeros(len(x), self.units) for _ in range(2)]

    def gates(self, x, state):
        return self.i2h(x) + self.h2h(state)

    def forward(self, x, state, memory):
        gates = dict(zip(self.order, self.gates(x, state).chunk(4, 1), strict=True))
        new = torch.sigmoid(gates["i"]) * torch.tanh(gates["g"])
        memory = torch.sigmoid(gates["f"]) * memory + new
        return torch.sigmoid(gates["o"]) * self.shown(memory), memory

    def shown(self, memory):
        return torch.tanh(memory)


class Joined(Cell):
    """One matrix for what is read and the state."""

    def __init__(self, **options):
        super().__init__(5 + 6, **options)
        del self.h2h

    def gates(self, x, state):
        return self.i2h(torch.cat([state, x], 1))


class Matrices(Cell):
    """Matrices of its own, the gates cut out by their places."""

    def __init__(self):
        super().__init__()
        del self.i2h, self.h2h
        self.w, self.u = nn.Parameter(torch.randn(5, 24) * 0.3), nn.Parameter(torch.randn(6, 24) * 0.3)
        self.b = nn.Parameter(torch.zeros(24))

    def forward(self, x, state, memory):
        gates = x @ self.w + state @ self.u + self.b
        entrance, forget = torch.sigmoid(gates[:, :6]), torch.sigmoid(gates[:, 6:12])
        new, exit_ = torch.tanh(gates[:, 12:18]), torch.sigmoid(gates[:, 18:])
        memory = forget * memory + entrance * new
        return exit_ * torch.tanh(memory), memory


class Unsquashed(Cell):
    """Shows its memory as it is."""

    def shown(self, memory):
        return memory


class Gated(Cell):
    """A GRU's step, as torch has it."""

    def __init__(self):
        super().__init__()
        self.i2h, self.h2h = nn.Linear(5, 18), nn.Linear(6, 18)

    def start(self, x):
        return (x.new_zeros(len(x), 6),)

    def forward(self, x, state):
        fed, past = self.i2h(x).chunk(3, 1), self.h2h(state).chunk(3, 1)
        reset, update = torch.sigmoid(fed[0] + past[0]), torch.sigmoid(fed[1] + past[1])
        new = torch.tanh(fed[2] + reset * past[2])
        return (self.blended(state, new, update),)

    def blended(self, state, new, update):
        return new + update * (state - new)


class Blended(Gated):
    def blended(self, state, new, update):
        return (1 - update) * new + update * state


class SharesExchanged(Gated):
    def blended(self, state, new, update):
        return (1 - update) * state + update * new


class Squares(Gated):
    """Matrices of its own, one of them as high as wide."""

    def __init__(self):
        super().__init__()
        del self.i2h, self.h2h
        self.w, self.u = nn.Parameter(torch.randn(5, 6) * 0.3), nn.Parameter(torch.randn(6, 6) * 0.3)
        self.b = nn.Parameter(torch.zeros(6))

    def forward(self, x, state):
        return (torch.tanh(x @ self.w + state @ self.u + self.b),)


class Plain(Gated):
    def __init__(self):
        super().__init__()
        self.i2h, self.h2h = nn.Linear(5, 6), nn.Linear(6, 6, bias=False)

    def forward(self, x, state):
        return (torch.tanh(self.i2h(x) + self.h2h(state)),)


class Gates(Cell):
    """Layers of its own for each gate, as formulas are copied; `added` goes to what the forget gate squashes.

    With `inverted`, it forgets what it should keep.
    """

    def __init__(self, added=0.0, inverted=False):
        super().__init__()
        del self.i2h, self.h2h
        self.added, self.inverted = added, inverted
        self.fed = nn.ModuleDict({gate: nn.Linear(5, 6) for gate in "ogif"})
        self.past = nn.ModuleDict({gate: nn.Linear(6, 6) for gate in "ogif"})

    def forward(self, x, state, memory):
        gates = {gate: self.fed[gate](x) + self.past[gate](state) for gate in "ifgo"}
        forget = torch.sigmoid(gates["f"] + self.added) if self.added else torch.sigmoid(gates["f"])
        forget = 1 - forget if self.inverted else forget
        memory = forget * memory + torch.sigmoid(gates["i"]) * torch.tanh(gates["g"])
        return torch.sigmoid(gates["o"]) * torch.tanh(memory), memory


class Opened(nn.Module):
    """A GRU's step whose reset gate opens the state before it is multiplied; one matrix for it and what is read."""

    def __init__(self):
        super().__init__()
        self.gates, self.new = nn.Linear(5 + 6, 12), nn.Linear(5 + 6, 6)

    def start(self, x):
        return (x.new_zeros(len(x), 6),)

    def forward(self, x, state):
        update, reset = torch.sigmoid(self.gates(torch.cat([x, state], 1))).chunk(2, 1)
        new = torch.tanh(self.new(torch.cat([x, reset * state], 1)))
        return (torch.lerp(new, state, update),)


def apart():
    return Reader(Cell())


def gates():
    return Reader(Gates())


def gates_shifted():
    return Reader(Gates(1.0))


def gates_inverted():
    return Reader(Gates(inverted=True))


def opened():
    return Reader(Opened())


def apart_steps():
    return Reader(Cell(), steps=True)


def apart_in_another_order():
    return Reader(Cell(order="ofig", bias=True))


def joined():
    return Reader(Joined())


def matrices():
    return Reader(Matrices())


def unsquashed():
    return Reader(Unsquashed())


def gated():
    return Reader(Gated())


def blended():
    return Reader(Blended())


def shares_exchanged():
    return Reader(SharesExchanged())


def squares():
    return Reader(Squares())


def plain():
    return Reader(Plain())


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.reader, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.reader(x)[0][:, -1])


def layer():
    return Layer()


class BothWays(nn.Module):
    """A layer for each direction, or torch's own of both."""

    def __init__(self, apart):
        super().__init__()
        self.apart, self.head = apart, nn.Linear(12, 3)
        if apart:
            self.forth, self.back = nn.LSTM(5, 6, batch_first=True), nn.LSTM(5, 6, batch_first=True)
        else:
            self.reader = nn.LSTM(5, 6, batch_first=True, bidirectional=True)

    def forward(self, x):
        if not self.apart:
            return self.head(torch.cat(tuple(self.reader(x)[1][0]), 1))
        return self.head(torch.cat([self.forth(x)[0][:, -1], self.back(x.flip(1))[0][:, -1]], 1))


def both_ways():
    return BothWays(apart=False)


def each_way():
    return BothWays(apart=True)


class Words(nn.Module):
    """Two cells, one on the other, within one loop."""

    def __init__(self):
        super().__init__()
        self.words, self.cells = nn.Embedding(20, 5), nn.ModuleList([Cell(5), Cell(6)])
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        x = self.words(ids)
        states = [cell.start(x) for cell in self.cells]
        for time in range(x.size(1)):
            y = x[:, time]
            for number, cell in enumerate(self.cells):
                states[number] = cell(y, *states[number])
                y = states[number][0]
        return self.head(y)


def words():
    return Words()


class Convolved(Cell):
    """One convolution of what is read and the state side by side; its gates in the order of a known repository."""

    def __init__(self, channels, units):
        super().__init__(1, units, order="ifog")
        del self.i2h, self.h2h
        self.conv = nn.Conv2d(channels + units, 4 * units, 3, padding=1)

    def start(self, x):
        return [x.new_zeros(len(x), self.units, *x.shape[3:]) for _ in range(2)]

    def gates(self, x, state):
        return self.conv(torch.cat([x, state], 1))

    def forward(self, x, state, memory):
        gates = torch.split(self.gates(x, state), self.units, 1)
        entrance, forget, exit_ = (torch.sigmoid(gate) for gate in gates[:3])
        memory = forget * memory + entrance * torch.tanh(gates[3])
        return exit_ * self.shown(memory), memory


class Film(nn.Module):
    def __init__(self, eps=1e-3, second=Convolved):
        super().__init__()
        self.first, self.second = Convolved(3, 5), second(5, 4)
        self.norm, self.head = nn.BatchNorm3d(5, eps), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.all(self.first, x.permute(0, 1, 4, 2, 3))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.all(self.second, x)[:, -1])

    def all(self, cell, x):
        states, found = cell.start(x), []
        for time in range(x.size(1)):
            states = cell(x[:, time], *states)
            found.append(states[0])
        return torch.stack(found, 1)


def film():
    return Film()


def film_other_eps():
    return Film(1e-5)


class ConvolvedUnsquashed(Convolved):
    def shown(self, memory):
        return memory


def film_unsquashed():
    return Film(second=ConvolvedUnsquashed)
