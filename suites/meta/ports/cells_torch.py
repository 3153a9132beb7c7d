"""Recurrence in its other forms, in torch: right ports of Keras's cells, stacks, lengths, columns, and wrong ones."""

import torch
from hosts_torch import gru_weights, tensor
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Loop(nn.Module):
    """Calls cells in a loop of its own, from zeros on; `take` makes one tensor of all steps and the last states."""

    def __init__(self, cells, take, width=6):
        super().__init__()
        self.cells, self.take, self.head = nn.ModuleList(cells), take, nn.Linear(width, 3)

    def forward(self, x):
        states, steps = [None] * len(self.cells), []
        for time in range(x.shape[1]):
            y = x[:, time]
            for number, cell in enumerate(self.cells):
                states[number] = self.step(cell, y, states[number])
                y = states[number][0] if isinstance(states[number], tuple) else states[number]
            steps.append(y)
        return self.head(self.take(steps, states))

    def step(self, cell, x, state):
        return cell(x, state)


class Layer(nn.Module):
    """A recurrent layer in the place of a loop; `take` makes one tensor of what it returns."""

    def __init__(self, layer, take, width=6):
        super().__init__()
        self.rnn, self.take, self.head = layer, take, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.take(*self.rnn(x)))


class OneStep(nn.Module):
    """A recurrent layer that a loop calls for one step at a time."""

    def __init__(self, layer):
        super().__init__()
        self.rnn, self.head = layer, nn.Linear(6, 3)

    def forward(self, x):
        state, steps = None, []
        for time in range(x.shape[1]):
            y, state = self.rnn(x[:, time : time + 1], state)
            steps.append(y)
        return self.head(torch.cat(steps, 1))


def _all(steps, _):
    return torch.stack(steps, 1)


def _sequence(y, _):
    return y


def gru_loop():
    return Loop([nn.GRUCell(5, 6)], _all)


def _drawn(order):
    network = gru_loop()
    weights = {name.removesuffix("_l0"): order(weight) for name, weight in gru_weights("rnn", 6, 5).items()}
    network.cells[0].load_state_dict(weights)
    head = {"weight": tensor("rnn/head/kernel", (6, 3), 1, 0), "bias": tensor("rnn/head/bias", (3,))}
    network.head.load_state_dict(head)
    return network


def gru_drawn():
    return _drawn(lambda weight: weight)


def gru_gates_as_in_keras():
    return _drawn(lambda weight: torch.cat([weight[6:12], weight[:6], weight[12:]]))


def gru_layer():
    return Layer(nn.GRU(5, 6, batch_first=True), _sequence)


def gru_one_step():
    return OneStep(nn.GRU(5, 6, batch_first=True))


def gru_mean():
    return Layer(nn.GRU(5, 6, batch_first=True), lambda y, _: y.mean(1))


def lstm_loop():
    return Loop([nn.LSTMCell(5, 6)], lambda _, states: torch.cat(states[0], -1), 12)


def lstm_layer():
    return Layer(nn.LSTM(5, 6, batch_first=True), lambda _, states: torch.cat([s[-1] for s in states], -1), 12)


def rnn_loop():
    return Loop([nn.RNNCell(5, 6)], lambda steps, _: steps[-1])


def rnn_layer():
    return Layer(nn.RNN(5, 6, batch_first=True), lambda y, _: y[:, -1])


def rnn_rectified():
    return Loop([nn.RNNCell(5, 6, nonlinearity="relu")], lambda steps, _: steps[-1])


class Forgetful(Loop):
    """The state that a cell keeps to itself is lost between the steps."""

    def step(self, cell, x, state):
        return cell(x, None if state is None else (state[0], torch.zeros_like(state[1])))


def lstm_forgetful():
    return Forgetful([nn.LSTMCell(5, 6)], lambda _, states: torch.cat(states[0], -1), 12)


def two_cells():
    return Loop([nn.LSTMCell(5, 6), nn.LSTMCell(6, 5)], _all, 5)


def two_layers():
    return Layer(nn.GRU(5, 6, 2, batch_first=True), _sequence)


def two_alike():
    return Loop([nn.GRUCell(5, 6), nn.GRUCell(6, 6)], _all)


class Both(nn.Module):
    """Uses the sequence and the last state."""

    def __init__(self):
        super().__init__()
        self.gru, self.head, self.end = nn.GRU(5, 6, batch_first=True), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x):
        y, state = self.gru(x)
        return self.head(y), self.end(state[0])


def around_gru():
    return Both()


class Two(nn.Module):
    def __init__(self, take=-1):
        super().__init__()
        self.first, self.second = nn.LSTM(5, 6, batch_first=True), nn.LSTM(6, 4, batch_first=True)
        self.head, self.take = nn.Linear(4, 3), take

    def forward(self, x):
        return self.head(self.second(self.first(x)[0])[0][:, self.take])


def around_lstm():
    return Two()


def around_lstm_first_step():
    return Two(0)


def around_both_ways():
    return Layer(nn.GRU(5, 6, batch_first=True, bidirectional=True), _sequence, 12)


def stack():
    return Layer(nn.LSTM(5, 6, 3, batch_first=True), _sequence)


def stack_of_gru():
    return Layer(nn.GRU(5, 6, 2, batch_first=True), lambda y, _: y[:, -1])


def stack_first_layer():
    """Return the state of the first layer, where that of the last is meant."""
    return Layer(nn.GRU(5, 6, 2, batch_first=True), lambda _, state: state[0])


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.reader, self.writer = (nn.LSTM(5, 6, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(6, 4)

    def forward(self, given, told):
        return self.head(self.writer(told, self.reader(given)[1])[0])


def stack_translator():
    return Translator()


class Attending(nn.Module):
    """Writes step by step; a layer called for one step, or a cell."""

    def __init__(self, cell=False):
        super().__init__()
        self.words, self.read = nn.Embedding(20, 8), nn.GRU(8, 10, batch_first=True)
        self.query, self.key, self.score = nn.Linear(10, 10, bias=False), nn.Linear(10, 10), nn.Linear(10, 1)
        self.told, self.head = nn.Embedding(15, 7), nn.Linear(10, 15)
        self.write = nn.GRUCell(17, 10) if cell else nn.GRU(17, 10, batch_first=True)

    def forward(self, given, told):
        read, state = self.read(self.words(given))
        told, steps = self.told(told), []
        for time in range(told.shape[1]):
            seen = self.score(torch.tanh(self.query(state[-1].unsqueeze(1)) + self.key(read))).squeeze(2)
            seen = torch.bmm(torch.softmax(seen, -1).unsqueeze(1), read)
            y, state = self.step(torch.cat([told[:, time : time + 1], seen], 2), state)
            steps.append(self.head(y))
        return torch.cat(steps, 1)

    def step(self, x, state):
        if isinstance(self.write, nn.GRU):
            return self.write(x, state)
        state = self.write(x[:, 0], state[0])
        return state[:, None], state[None]


def attending():
    return Attending()


def attending_cell():
    return Attending(cell=True)


class Stale(Attending):
    """Every step starts from the first state."""

    def step(self, x, state):
        return self.write(x, state)[0], state


def attending_stale():
    return Stale()


class Columns(nn.Module):
    """Reads an image column by column, with time as the first axis."""

    def __init__(self, rnn, project=True, eps=1e-5, last=None):
        super().__init__()
        self.first, self.second, self.norm = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.BatchNorm2d(5, eps),
        )
        self.project = nn.Sequential(nn.Linear(20, 7), nn.ReLU()) if project else nn.Identity()
        self.rnn, self.head, self.last = rnn, nn.Linear(12, 5), last or nn.LogSoftmax(2)

    def columns(self, x):
        return x.flatten(1, 2).permute(2, 0, 1)

    def forward(self, x):
        x = self.norm(self.second(torch.max_pool2d(torch.relu(self.first(x)), 2)))
        y, _ = self.rnn(self.project(self.columns(x)))
        return self.last(self.head(y)).transpose(0, 1)


def _both_ways(inputs):
    return nn.LSTM(inputs, 6, bidirectional=True)


def columns():
    return Columns(_both_ways(7))


def columns_at_once():
    return Columns(nn.GRU(20, 6, bidirectional=True), project=False, last=nn.Softmax(2))


def columns_other_eps():
    return Columns(_both_ways(7), eps=1e-3)


class CutAnyhow(Columns):
    """The image is cut into steps without moving its axes."""

    def columns(self, x):
        return x.reshape(len(x), 9, 20).transpose(0, 1)


def columns_cut_anyhow():
    return CutAnyhow(_both_ways(7))


class TimeFirst(Columns):
    def forward(self, x):
        return super().forward(x).transpose(0, 1)


def columns_time_first():
    return TimeFirst(_both_ways(7))


class Lengths(nn.Module):
    """Packs sequences of several lengths once, for both layers."""

    def __init__(self, first, second, width=7):
        super().__init__()
        self.project, self.first, self.second, self.head = nn.Linear(4, 6), first, second, nn.Linear(width, 3)

    def forward(self, x, lengths):
        lengths = lengths.squeeze(1).cpu()
        packed = pack_padded_sequence(self.project(x), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.last(self.second(self.between(self.first(packed)[0], x, lengths))))

    def between(self, packed, *_):
        return packed

    def last(self, results):
        states = results[1][0] if isinstance(results[1], tuple) else results[1]
        return torch.cat(tuple(states[-2:] if self.second.bidirectional else states[-1:]), -1)


def _layers():
    return nn.LSTM(6, 5, batch_first=True, bidirectional=True), nn.GRU(10, 7, batch_first=True)


def lengths():
    return Lengths(*_layers())


def lengths_one_way():
    return Lengths(nn.GRU(6, 5, batch_first=True), nn.LSTM(5, 7, batch_first=True))


class Layers(nn.Module):
    """Both layers are one module."""

    def __init__(self):
        super().__init__()
        self.project, self.head = nn.Linear(4, 6), nn.Linear(10, 3)
        self.rnn = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        lengths = lengths.squeeze(1).cpu()
        packed = pack_padded_sequence(self.project(x), lengths, batch_first=True, enforce_sorted=False)
        return self.head(torch.cat(tuple(self.rnn(packed)[1][0][-2:]), -1))


def lengths_two_layers():
    return Layers()


class PackedAgain(Lengths):
    def between(self, packed, x, lengths):
        padded, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)


def lengths_packed_again():
    return PackedAgain(*_layers())


def lengths_one_way_packed_again():
    return PackedAgain(nn.GRU(6, 5, batch_first=True), nn.LSTM(5, 7, batch_first=True))


class PaddingRead(Lengths):
    """The second layer goes on through the padding."""

    def between(self, packed, x, _):
        return pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]


def lengths_padding_read():
    return PaddingRead(*_layers())


def sharpened():
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LocalResponseNorm(5, 0.5, 0.75, 1.0), *ends)


def sharpened_narrower():
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LocalResponseNorm(3, 0.3, 0.75, 1.0), *ends)
