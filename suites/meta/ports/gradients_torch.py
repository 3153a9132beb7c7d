"""Ports of a small classifier that are right forwards alone."""

from torch import nn


class Classifier(nn.Module):
    """Trains its last layer, and nothing before it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(7 * 6 * 5, 4)

    def forward(self, x):
        return self.head(self.conv(x).detach().relu().flatten(1))


def cut_off():
    return Classifier()
