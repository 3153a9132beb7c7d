"""What is cut into patches by hand, in PyTorch: right and wrong."""

import torch.nn.functional as F  # noqa: N812
from torch import nn


class Patches(nn.Module):
    def __init__(self, stride=4, turned=False):
        super().__init__()
        self.project, self.head, self.stride, self.turned = nn.Linear(48, 8), nn.Linear(8, 5), stride, turned

    def forward(self, x):
        x = x.transpose(2, 3) if self.turned else x
        return self.head(self.project(F.unfold(x, 4, stride=self.stride).transpose(1, 2)))


def patches():
    return Patches()


def patches_turned():
    return Patches(turned=True)


def overlapping_patches():
    return Patches(3)


class Windows(nn.Module):
    """Cuts one axis after the other."""

    def __init__(self):
        super().__init__()
        self.project, self.head = nn.Linear(48, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1)
        return self.head(self.project(x.reshape(len(x), -1, 48)))


def patches_by_windows():
    return Windows()
