"""Ports of layers that are given the states of another, or masks made of the model's inputs: right, and wrong."""

import torch
from torch import nn


class Translator(nn.Module):
    """Hands both states over as they are."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.LSTM(6, 8, batch_first=True), nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, source, target):
        _, states = self.encoder(source)
        return self.head(self.decoder(target, self.handed(states))[0])

    def handed(self, states):
        return states


def translator():
    return Translator()


class Swapped(Translator):
    """The cell's state starts the output's, and the other way round."""

    def handed(self, states):
        return states[1], states[0]


def states_swapped():
    return Swapped()


class BothWays(Translator):
    def __init__(self, kind=nn.GRU):
        super().__init__()
        self.encoder, self.decoder = (kind(6, 4, batch_first=True, bidirectional=True) for _ in range(2))


def both_ways():
    return BothWays()


def both_ways_lstm():
    return BothWays(nn.LSTM)


class Crossed(BothWays):
    """The backward states start the forward direction."""

    def handed(self, states):
        return states.flip(0)


def states_crossed():
    return Crossed()


class Joined(Translator):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(6, 4, batch_first=True, bidirectional=True)

    def handed(self, states):
        return tuple(torch.cat([state[0], state[1]], -1)[None] for state in states)


def joined():
    return Joined()


class JoinedBackFirst(Joined):
    """The backward half comes first."""

    def handed(self, states):
        return tuple(torch.cat([state[1], state[0]], -1)[None] for state in states)


def joined_back_first():
    return JoinedBackFirst()


class Tokens(nn.Module):
    """Reads the padding, too."""

    def __init__(self):
        super().__init__()
        self.words, self.reader, self.head = nn.Embedding(20, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, ids):
        return self.head(self.reader(self.words(ids))[0][:, -1])


def padding_read():
    return Tokens()


class Attention(nn.Module):
    """Hides what is padding."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True, **options)

    def forward(self, x, places=None):
        hidden = None if places is None else self.hidden(places)
        return self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]

    def hidden(self, places):
        return places <= -1.0


def padded():
    return Attention()


class Seen(Attention):
    """True would be `seen` to Keras."""

    def hidden(self, places):
        return places > -1.0


def padding_seen():
    return Seen()


def a_key_more():
    torch.manual_seed(0)
    return Attention(add_bias_kv=True)


class Reader(nn.Module):
    """A recurrent layer of whose answer `take` is what the last layer reads."""

    def __init__(self, take, first=None, reader=None):
        super().__init__()
        self.first, self.reader = first or nn.Identity(), reader or nn.LSTM(5, 6, batch_first=True)
        self.take = take
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.take(self.reader(self.first(x))))


def one_way():
    return Reader(lambda found: found[1][0][-1])


def one_way_mean():
    return Reader(lambda found: found[0].mean(1))


def one_way_cell():
    return Reader(lambda found: found[1][1][-1])


def ends(take=lambda found: torch.cat([found[1][0], found[1][1]], -1), size=12):
    first, reader = nn.Sequential(nn.Linear(5, 8), nn.ReLU()), nn.GRU(8, 6, batch_first=True, bidirectional=True)
    model = Reader(take, first, reader)
    model.head = nn.Linear(size, 3)
    return model


def ends_last_step():
    """Return a port of which the backward direction has read one step where it is taken."""
    return ends(lambda found: found[0][:, -1])


def ends_last_step_summed():
    return ends(lambda found: found[0][:, -1, :6] + found[0][:, -1, 6:], 6)
