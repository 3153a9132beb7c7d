"""Recurrent networks and text, in torch."""

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import lstm_weights, tensor
from torch import nn


class Recurrent(nn.Module):
    """A recurrent layer, something taken of what it returns, dense."""

    def __init__(self, layer, take, width):
        super().__init__()
        self.rnn = layer
        self.head = nn.Linear(width, 3)
        self.take = take

    def forward(self, x):
        return self.head(self.take(*self.rnn(x)))


def last_step(sequence, _):
    return sequence[:, -1]


def lstm_last():
    return Recurrent(nn.LSTM(5, 7, batch_first=True), last_step, 7)


def lstm_hidden():
    return Recurrent(nn.LSTM(5, 7, batch_first=True), lambda _, states: states[0][-1], 7)


class TimeFirst(nn.Module):
    """The time axis comes first, as is the default."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        sequence, _ = self.lstm(x.transpose(0, 1))
        return self.head(sequence[-1])


def lstm_time_first():
    return TimeFirst()


def lstm_sequence():
    return Recurrent(nn.LSTM(5, 7, batch_first=True), lambda sequence, _: sequence, 7)


def lstm_both_ways():
    return Recurrent(nn.LSTM(5, 4, batch_first=True, bidirectional=True), lambda sequence, _: sequence, 8)


def lstm_both_ways_last():
    """Return the last step of the way there and the first of the way back: both have seen everything."""

    def ends(_, states):
        hidden, _ = states
        return torch.cat([hidden[0], hidden[1]], dim=1)

    return Recurrent(nn.LSTM(5, 4, batch_first=True, bidirectional=True), ends, 8)


class Stacked(nn.Module):
    """Two layers of other sizes."""

    def __init__(self):
        super().__init__()
        self.lstm1 = nn.LSTM(5, 6, batch_first=True)
        self.lstm2 = nn.LSTM(6, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x, _ = self.lstm1(x)
        _, (hidden, _) = self.lstm2(x)
        return self.head(hidden.squeeze(0))


def lstm_stacked():
    return Stacked()


def lstm_two_layers():
    return Recurrent(nn.LSTM(5, 6, num_layers=2, batch_first=True, dropout=0.1), lambda sequence, _: sequence, 6)


def lstm_states():
    return Recurrent(nn.LSTM(5, 6, batch_first=True), lambda _, states: torch.cat([states[0][0], states[1][0]], -1), 12)


def gru_last():
    return Recurrent(nn.GRU(5, 7, batch_first=True), last_step, 7)


def gru_both_ways():
    return Recurrent(nn.GRU(5, 4, batch_first=True, bidirectional=True), lambda sequence, _: sequence, 8)


def simple_rnn():
    return Recurrent(nn.RNN(5, 7, batch_first=True), last_step, 7)


def simple_rnn_relu():
    return Recurrent(nn.RNN(5, 7, batch_first=True, nonlinearity="relu"), last_step, 7)


class CellLoop(nn.Module):
    """An LSTMCell in a loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(5, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        hidden = cell = x.new_zeros(x.shape[0], 7)
        for step in range(x.shape[1]):
            hidden, cell = self.cell(x[:, step], (hidden, cell))
        return self.head(hidden)


def lstm_cell_loop():
    """Return the loop with the weights that TensorFlow's file draws."""
    network = CellLoop()
    network.cell.load_state_dict({name.removesuffix("_l0"): w for name, w in lstm_weights("rnn", 7, 5).items()})
    network.head.load_state_dict({"weight": tensor("head/kernel", (7, 3), 1, 0), "bias": tensor("head/bias", (3,))})
    return network


class TextLstm(nn.Module):
    """Embedding and LSTM."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.dropout = nn.Dropout(0.2)
        self.lstm = nn.LSTM(6, 7, batch_first=True)
        self.fc = nn.Linear(7, 3)

    def forward(self, ids):
        _, (hidden, _) = self.lstm(self.dropout(self.embedding(ids)))
        return self.fc(hidden[-1])


def text_lstm():
    return TextLstm()


class TextAverage(nn.Module):
    """The mean of the embeddings."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, ids):
        return self.fc(self.embedding(ids).mean(dim=1))


def text_average():
    return TextAverage()


def text_bag():
    return nn.Sequential(nn.EmbeddingBag(30, 6, mode="mean"), nn.Linear(6, 3))


class TextConvolutions(nn.Module):
    """Kim's network."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.convs = nn.ModuleList(nn.Conv1d(6, 4, size) for size in (2, 3, 4))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(12, 3)

    def forward(self, ids):
        x = self.embedding(ids).permute(0, 2, 1)
        found = [F.max_pool1d(F.relu(conv(x)), conv(x).shape[2]).squeeze(2) for conv in self.convs]
        return self.fc(self.dropout(torch.cat(found, dim=1)))


class TextConvolutionsOnce(TextConvolutions):
    """Runs every convolution once."""

    def forward(self, ids):
        x = self.embedding(ids).permute(0, 2, 1)
        return self.fc(self.dropout(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], dim=1)))


def text_convolutions():
    return TextConvolutionsOnce()


def text_convolutions_twice():
    return TextConvolutions()


class Tied(nn.Module):
    """The last layer's weight is the embedding's."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 6)
        self.mix = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 30, bias=False)
        self.decoder.weight = self.table.weight

    def forward(self, ids):
        return self.decoder(torch.tanh(self.mix(self.table(ids))))


def tied():
    return Tied()


class Frames(nn.Module):
    """Takes (batch, time, height, width, channels); the frames of all videos in one batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, video):
        batch, time = video.shape[:2]
        x = video.flatten(0, 1).permute(0, 3, 1, 2)
        x = F.relu(self.conv(x)).mean((2, 3)).reshape(batch, time, -1)
        sequence, _ = self.lstm(x)
        return self.head(sequence[:, -1, :])


def frames():
    return Frames()
