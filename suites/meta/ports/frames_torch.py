"""The same in PyTorch, in a loop over the frames."""

import torch
from torch import nn


class Frames(nn.Module):
    """The frames in `order`, each flattened as `how` leaves it."""

    def __init__(self, how, order=(0, 1, 2)):
        super().__init__()
        self.conv, self.features = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(96, 5)
        self.head = nn.Linear(15, 2)
        self.how, self.order = how, order

    def forward(self, x):
        x = x.permute(0, 1, 4, 2, 3)
        found = [self.features(self.how(self.conv(x[:, at])).flatten(1)) for at in self.order]
        return self.head(torch.stack(found, 1).flatten(1))


def flattened():
    return Frames(lambda x: x)


def flattened_channels_last():
    return Frames(lambda x: x.permute(0, 2, 3, 1))


def flattened_with_relu():
    return Frames(torch.relu)


def flattened_back_to_front():
    return Frames(lambda x: x, (2, 1, 0))
