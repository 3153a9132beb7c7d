"""Pictures whose height and width change places, or not, before something reads them place by place."""

import torch.nn.functional as F  # noqa: N812
from torch import nn

TURNED = (0, 3, 2, 1)


class Flattened(nn.Module):
    """A convolution, maybe a picture with its axes in another order, and what reads it flattened."""

    def __init__(self, order=None, size=30, channels=4, norm=False):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm1d(channels * size) if norm else nn.ReLU()
        self.head, self.order, self.plain = nn.Linear(channels * size, 3), order, not norm

    def forward(self, x):
        x = F.relu(self.conv(x)) if self.plain else self.conv(x)
        if self.order == "turned":
            x = x.transpose(2, 3)
        elif self.order == "shuffled":
            x = F.channel_shuffle(x, 2)
        elif self.order is not None:
            x = x.permute(*self.order)
        x = x.flatten(1)
        return self.head(x if self.plain else self.norm(x))


def flattened():
    return Flattened()


def flattened_turned():
    return Flattened("turned")


def flattened_turned_channels_last():
    return Flattened(TURNED)


def flattened_square_turned():
    return Flattened("turned", size=36)


def flattened_square_turned_channels_last():
    return Flattened(TURNED, size=36)


def flattened_shuffled():
    return Flattened("shuffled")


def normalised_shuffled():
    return Flattened("shuffled", size=36, channels=8, norm=True)


def normalised():
    return Flattened(size=36, channels=8, norm=True)


def normalised_turned():
    return Flattened((0, 1, 3, 2), size=36, channels=8, norm=True)


class Convolved(nn.Module):
    """Two convolutions, with the picture transposed between them, or behind the second."""

    def __init__(self, between):
        super().__init__()
        self.conv, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3)
        self.head, self.between = nn.Linear(5, 3), between

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = self.second(x.transpose(2, 3)) if self.between else self.second(x).transpose(2, 3)
        return self.head(x.mean((2, 3)))


def convolved_turned():
    return Convolved(True)


def averaged_turned():
    return Convolved(False)


class ReadByColumns(nn.Module):
    """Columns of a picture, one after another."""

    def __init__(self, order):
        super().__init__()
        self.conv, self.rnn = nn.Conv2d(3, 4, 3, padding=1), nn.LSTM(24, 5, batch_first=True)
        self.head, self.order = nn.Linear(5, 3), order

    def forward(self, x):
        return self.head(self.rnn(self.conv(x).permute(*self.order).flatten(2))[0][:, -1])


def read_by_columns():
    return ReadByColumns((0, 3, 1, 2))


def read_by_columns_channels_last():
    return ReadByColumns(TURNED)


def read_by_rows():
    return ReadByColumns((0, 2, 3, 1))


class Attended(nn.Module):
    """Places of a picture that attend to each other."""

    def __init__(self, order):
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, 8, 3, padding=1), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head, self.order = nn.Linear(288, 3), order

    def forward(self, x):
        x = self.conv(x).permute(*self.order).flatten(1, 2)
        return self.head(self.attention(x, x, x, need_weights=False)[0].flatten(1))


def attended():
    return Attended((0, 2, 3, 1))


def attended_turned():
    return Attended(TURNED)


class Film(nn.Module):
    """A convolution over time, height and width, flattened."""

    def __init__(self, order):
        super().__init__()
        self.conv, self.head, self.order = nn.Conv3d(2, 4, 3, padding=1), nn.Linear(192, 3), order

    def forward(self, x):
        return self.head(self.conv(x.permute(0, 4, 1, 2, 3)).permute(*self.order).flatten(1))


def film():
    return Film((0, 1, 2, 3, 4))


def film_turned():
    return Film((0, 1, 2, 4, 3))


def film_turned_channels_last():
    return Film((0, 3, 4, 2, 1))


class Steps(nn.Module):
    """All steps of a sequence, maybe each of them one place later."""

    def __init__(self, rolled):
        super().__init__()
        self.rnn, self.head, self.rolled = nn.LSTM(6, 4, batch_first=True), nn.Linear(20, 3), rolled

    def forward(self, x):
        x = self.rnn(x)[0]
        return self.head((x.roll(1, 1) if self.rolled else x).flatten(1))


def steps():
    return Steps(False)


def steps_rolled():
    return Steps(True)
