"""Ports of the parts in `networks_tensorflow.py`, right and wrong."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Patches(nn.Module):
    """Cuts an image into squares of four by itself; `order` tells how each goes: row, column and channel by default."""

    def __init__(self, order=(0, 2, 4, 3, 5, 1)):
        super().__init__()
        self.embed, self.norm, self.order = nn.Linear(48, 8), nn.LayerNorm(8, eps=1e-6), order

    def forward(self, x):
        n, c, h, w = x.shape
        squares = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(self.order)
        return self.norm(self.embed(squares.reshape(n, -1, 48)))


class Unfolded(Patches):
    def forward(self, x):
        return self.norm(self.embed(F.unfold(x, 4, stride=4).transpose(1, 2)))


def patches_by_rows():
    return Patches()


def patches_by_columns():
    return Patches((0, 2, 4, 5, 3, 1))


def patches_by_channels():
    return Patches((0, 2, 4, 1, 3, 5))


def patches_unfolded():
    return Unfolded()


class MeanShift(nn.Conv2d):
    """Takes the mean colour away, or gives it back, as a convolution that nobody trains."""

    def __init__(self, back=False, mean=(0.4488, 0.4371, 0.4040), deviation=127.5):
        super().__init__(3, 3, 1)
        shift, scale = 255 * torch.tensor(mean), torch.eye(3).view(3, 3, 1, 1)
        self.weight.data = scale * deviation if back else scale / deviation
        self.bias.data = shift if back else -shift / deviation
        self.requires_grad_(False)


class Enlarged(nn.Module):
    def __init__(self):
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(), MeanShift(back=True)
        self.head, self.tail = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        return self.add_mean(self.tail(F.relu(self.head(self.sub_mean(x)))))


def enlarged():
    return Enlarged()


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Bent(nn.Module):
    def __init__(self, first=nn.SiLU, last=nn.SiLU):
        super().__init__()
        self.conv1, self.bn1, self.first = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, eps=1e-3), first()
        self.conv2, self.bn2, self.last = nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5, eps=1e-3), last()
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        x = self.first(self.bn1(self.conv1(x)))
        return self.fc(self.last(self.bn2(self.conv2(x))).mean((2, 3)))


def bent():
    return Bent()


def bent_by_hand():
    return Bent(Swish, Swish)


def bent_by_relu():
    return Bent(last=nn.ReLU)


def bent_not_at_all():
    return Bent(last=nn.Identity)


def bent_by_hand_last():
    return Bent(last=Swish)


class Near(nn.Module):
    """Attention with biases by distance, a row for each head."""

    def __init__(self, more=0):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.biases = nn.Parameter(torch.randn(2, 6))
        places = torch.arange(6)
        self.register_buffer("apart", ((places[:, None] - places).abs() + more) % 6, persistent=False)

    def forward(self, x):
        q, k, v = (layer(x).view(len(x), 6, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-2, -1) / 2 + self.biases[:, self.apart]).softmax(-1)
        return x + self.out((scores @ v).transpose(1, 2).reshape(len(x), 6, 8))


def near():
    return nn.Sequential(Near(), Near())


def near_by_one_more():
    return nn.Sequential(Near(), Near(more=1))


class Blocks(nn.Module):
    """Makes pixels of channels by hand; `shape` and `order` tell what a channel is."""

    def __init__(self, shape=(2, 2, 3), order=(0, 3, 4, 1, 5, 2)):
        super().__init__()
        self.shape, self.order = shape, order

    def forward(self, x):
        h, w = x.shape[2:]
        return x.view(-1, *self.shape, h, w).permute(self.order).reshape(-1, 3, 2 * h, 2 * w)


def _shuffled(blocks):
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), blocks, nn.Conv2d(3, 4, 3))


def shuffled():
    return _shuffled(Blocks())


def shuffled_by_torch():
    return _shuffled(nn.PixelShuffle(2))


def shuffled_by_channels():
    return _shuffled(Blocks((3, 2, 2), (0, 1, 4, 2, 5, 3)))
