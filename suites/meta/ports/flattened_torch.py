"""The same, flattened channels first."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Picture(nn.Module):
    """An image, flattened; `layer` reads it."""

    def __init__(self, layer, width=48):
        super().__init__()
        self.conv, self.layer, self.head = nn.Conv2d(2, 4, 3), layer, nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.layer(F.relu(self.conv(x)).flatten(1)))


class Film(Picture):
    """The same of each frame."""

    def forward(self, x):
        x = x.permute(0, 1, 4, 2, 3)
        frames = F.relu(self.conv(x.reshape(-1, *x.shape[2:])))
        return self.head(self.layer(frames.reshape(*x.shape[:2], -1)))


def group_norm():
    return Picture(nn.GroupNorm(1, 48))


def group_norm_of_four():
    return Picture(nn.GroupNorm(4, 48))


class Centres(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.rand(5, 48))

    def forward(self, x):
        return torch.exp(-(x.unsqueeze(1) - self.centres).pow(2).sum(-1))


def centres():
    return Picture(Centres(), 5)


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(48, 5))

    def forward(self, x):
        return x.pow(2) @ self.kernel.pow(2)


def squares():
    return Picture(Squares(), 5)


class Pooled(nn.Module):
    def __init__(self, product=False, dim=1):
        super().__init__()
        self.hidden, self.score, self.product, self.dim = nn.Linear(48, 6), nn.Linear(6, 1), product, dim

    def forward(self, x):
        shares = self.score(torch.tanh(self.hidden(x))).softmax(self.dim)
        return torch.bmm(shares.transpose(1, 2), x).squeeze(1) if self.product else (shares * x).sum(1)


def pooled_by_attention():
    return Film(Pooled())


def pooled_by_a_product():
    return Film(Pooled(product=True))


def pooled_over_another_axis():
    return Film(Pooled(dim=-1))


class Attention(nn.Module):
    def __init__(self, added=False):
        super().__init__()
        self.attention, self.added = nn.MultiheadAttention(48, 2, batch_first=True), added
        self.norm = nn.LayerNorm(48) if added else nn.Identity()

    def forward(self, x):
        found = self.attention(x, x, x, need_weights=False)[0]
        return self.norm(x + found if self.added else found).mean(1)


def attention():
    return Film(Attention())


def attention_added():
    return Film(Attention(added=True))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.gru = nn.Linear(48, 48), nn.GRU(48, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x + torch.tanh(self.dense(x)))[0][:, -1]


def dense_added():
    return Film(Dense(), 4)


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.over = nn.Conv1d(48, 5, 2)

    def forward(self, x):
        return F.relu(self.over(x.transpose(1, 2))).mean(-1)


def convolved():
    return Film(Convolved(), 5)


class Normalised(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.norm, self.rnn = nn.BatchNorm1d(48, eps=eps), nn.RNN(48, 3, batch_first=True)

    def forward(self, x):
        return self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))[0][:, -1]


def normalised():
    return Film(Normalised(), 3)


def normalised_with_eps():
    return Film(Normalised(1e-3), 3)


class Shuffled(nn.Module):
    """Channels of a sequence, shuffled or not, before a dense layer, a convolution or an attention."""

    def __init__(self, over, shuffle=True):
        super().__init__()
        self.first, self.over, self.shuffle = nn.Linear(6, 8), over, shuffle
        self.head = nn.Linear(8 if isinstance(over, nn.MultiheadAttention) else 3, 2)

    def forward(self, x):
        x = self.first(x)
        if self.shuffle:
            x = x.unflatten(-1, (2, 4)).transpose(2, 3).flatten(2)
        if isinstance(self.over, nn.Conv1d):
            return self.head(self.over(x.transpose(1, 2)).transpose(1, 2))
        if isinstance(self.over, nn.Linear):
            return self.head(self.over(x))
        return self.head(self.over(x, x, x, need_weights=False)[0])


def shuffled_convolved():
    return Shuffled(nn.Conv1d(8, 3, 2))


def convolved_without_a_shuffle():
    return Shuffled(nn.Conv1d(8, 3, 2), shuffle=False)


def attention_without_a_shuffle():
    return Shuffled(nn.MultiheadAttention(8, 2, batch_first=True), shuffle=False)


def shuffled_dense():
    return Shuffled(nn.Linear(8, 3))


def dense_without_a_shuffle():
    return Shuffled(nn.Linear(8, 3), shuffle=False)
