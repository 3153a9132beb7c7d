"""The same, flattened channels first, and repeated in the ways that people write."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def _by_repeat(x):
    return x.unsqueeze(1).repeat(1, 6, 1)


def _by_expand(x):
    return x[:, None].expand(-1, 6, -1)


class Decoder(nn.Module):
    def __init__(self, kind=nn.LSTM, again=_by_repeat):
        super().__init__()
        self.conv, self.decoder, self.head = nn.Conv1d(3, 5, 2), kind(40, 4, batch_first=True), nn.Linear(4, 2)
        self.again = again

    def forward(self, x):
        x = F.relu(self.conv(x.transpose(1, 2)))
        return self.head(self.decoder(self.again(x.flatten(1)))[0])


def lstm_repeated():
    return Decoder()


def lstm_expanded():
    return Decoder(again=_by_expand)


def lstm_stacked():
    return Decoder(again=lambda x: torch.stack([x] * 6, 1))


def lstm_interleaved():
    return Decoder(again=lambda x: torch.repeat_interleave(x.unsqueeze(1), 6, dim=1))


def lstm_repeated_within():
    return Decoder(again=lambda x: x.repeat_interleave(6, 1).view(-1, 6, 40))


def gru_expanded():
    return Decoder(nn.GRU, _by_expand)


class Dense(Decoder):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(40, 4)

    def forward(self, x):
        x = F.relu(self.conv(x.transpose(1, 2)))
        return self.head(torch.tanh(self.decoder(_by_expand(x.flatten(1)))))


def dense_expanded():
    return Dense()


class Image(Decoder):
    def __init__(self):
        super().__init__()
        self.conv, self.decoder = nn.Conv2d(2, 5, 3), nn.LSTM(20, 4, batch_first=True)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.head(self.decoder(_by_repeat(x.flatten(1)))[0])


def image_repeated():
    return Image()


class Joined(Decoder):
    def __init__(self):
        super().__init__()
        self.decoder = nn.LSTM(47, 4, batch_first=True)

    def forward(self, x, beside):
        x = F.relu(self.conv(x.transpose(1, 2)))
        return self.head(self.decoder(torch.cat([_by_expand(x.flatten(1)), beside], -1))[0][:, -1])


def joined_expanded():
    return Joined()
