"""Nested and shared networks, several inputs and outputs, in torch."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def encoder(channels=3):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU()
    )


class Features(nn.Module):
    """Convolutions, one number per channel."""

    def __init__(self):
        super().__init__()
        self.stages = encoder()

    def forward(self, image):
        return self.stages(image).mean((2, 3))


class Nested(nn.Module):
    """A module in a module in a module."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        self.classifier = nn.Linear(8, 3)

    def forward(self, image):
        return self.classifier(self.features(image))


def nested():
    return Nested()


class SharedLayer(nn.Module):
    """Runs one convolution three times."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 1)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            x = torch.tanh(self.again(x))
        return self.head(x.mean((2, 3)))


def shared_layer():
    return SharedLayer()


class Siamese(nn.Module):
    """One tower for both images."""

    def __init__(self):
        super().__init__()
        self.tower = Features()
        self.score = nn.Linear(8, 1)

    def forward(self, left, right):
        difference = torch.abs(self.tower(left) - self.tower(right))
        return torch.sigmoid(self.score(difference))


def siamese():
    return Siamese()


class SiameseAtOnce(Siamese):
    """Joins both images to one batch."""

    def forward(self, left, right):
        a, b = self.tower(torch.cat([left, right])).chunk(2)
        return torch.sigmoid(self.score(torch.abs(a - b)))


def siamese_at_once():
    return SiameseAtOnce()


class SiameseWithoutItsEnd(SiameseAtOnce):
    """Lost the distance's absolute value."""

    def forward(self, left, right):
        a, b = self.tower(torch.cat([left, right])).chunk(2)
        return torch.sigmoid(self.score(a - b))


def siamese_without_its_end():
    return SiameseWithoutItsEnd()


class TwoTowers(nn.Module):
    """The second image's tower runs first."""

    def __init__(self):
        super().__init__()
        self.two = encoder()
        self.one = encoder()
        self.score = nn.Linear(16, 2)

    def forward(self, left, right):
        b = self.two(right).mean((2, 3))
        a = self.one(left).amax((2, 3))
        return self.score(torch.cat([a, b], dim=1))


def two_towers():
    return TwoTowers()


class ImageAndFeatures(nn.Module):
    """An image and a vector."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
        self.encoder = encoder()
        self.head = nn.Linear(14, 2)

    def forward(self, image, features):
        return self.head(torch.cat([self.encoder(image).mean((2, 3)), self.mlp(features)], 1))


def image_and_features():
    return ImageAndFeatures()


class TwoOutputs(nn.Module):
    """A vector and a map."""

    def __init__(self):
        super().__init__()
        self.trunk = encoder()
        self.classes = nn.Linear(8, 4)
        self.mask = nn.Conv2d(8, 1, 1)

    def forward(self, image):
        x = self.trunk(image)
        return self.classes(x.mean((2, 3))), self.mask(x)


def two_outputs():
    return TwoOutputs()


@dataclass
class Answer:
    """What a network says."""

    age: torch.Tensor
    kind: torch.Tensor


class Pair(NamedTuple):
    """What a network says."""

    age: torch.Tensor
    kind: torch.Tensor


class NamedOutputs(nn.Module):
    """Returns its two answers in what `kind` is."""

    def __init__(self, kind):
        super().__init__()
        self.trunk = encoder()
        self.age = nn.Linear(8, 1)
        self.kind = nn.Linear(8, 4)
        self.made = kind

    def forward(self, image):
        v = self.trunk(image).mean((2, 3))
        return self.made(age=self.age(v), kind=F.softmax(self.kind(v), dim=-1))


def dict_outputs():
    return NamedOutputs(dict)


def dataclass_outputs():
    return NamedOutputs(Answer)


def namedtuple_outputs():
    return NamedOutputs(Pair)


class Tupled(nn.Module):
    """Returns a tuple that holds a list."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 6, 3)
        self.b = nn.Linear(6, 3)
        self.a = nn.Linear(6, 2)

    def forward(self, image):
        x = F.relu(self.trunk(image)).mean((2, 3))
        return self.a(x), [self.b(x), x]


def tupled_outputs():
    return Tupled()


class Autoencoder(nn.Module):
    """Flattens channels first, where TensorFlow flattens them last, and unfolds likewise."""

    def __init__(self):
        super().__init__()
        self.enc1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.enc2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.code = nn.Linear(8 * 4 * 3, 5)
        self.uncode = nn.Linear(5, 8 * 4 * 3)
        self.dec1 = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.dec2 = nn.ConvTranspose2d(6, 3, 2, stride=2)

    def forward(self, image):
        x = F.relu(self.enc2(F.relu(self.enc1(image))))
        x = F.relu(self.uncode(self.code(x.flatten(1))))
        x = x.reshape(-1, 4, 3, 8).permute(0, 3, 1, 2)
        return torch.sigmoid(self.dec2(F.relu(self.dec1(x))))


def autoencoder():
    return Autoencoder()


class Twice(nn.Sequential):
    """Two convolutions."""

    def __init__(self, before, after):
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()
        )


class UNet(nn.Module):
    """Two levels down, two up."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([Twice(3, 4), Twice(4, 6)])
        self.bottom = Twice(6, 8)
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ConvTranspose2d(6, 4, 2, stride=2)])
        self.right = nn.ModuleList([Twice(12, 6), Twice(8, 4)])
        self.mask = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, stage in zip(self.up, self.right, strict=True):
            x = stage(torch.cat([kept.pop(), up(x)], dim=1))
        return self.mask(x)


def unet():
    return UNet()


class Parallel(nn.Module):
    """Four branches of one shape in a dictionary, in alphabetical order."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleDict({kind: nn.Linear(7, 6) for kind in ("elu", "relu", "silu", "tanh")})
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        made = {kind: getattr(F, kind)(branch(x)) for kind, branch in self.branches.items()}
        return self.head(torch.cat([made["relu"] * made["tanh"], made["elu"] + made["silu"]], dim=-1))


def parallel():
    return Parallel()


class Arithmetic(nn.Module):
    """Operators between tensors and numbers."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(7, 6)
        self.b = nn.Linear(7, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, features):
        a, b = self.a(features), self.b(features)
        x = 0.5 * (a - b) + 1
        x = torch.maximum(x, a * b) / 3
        return self.head(x**2 - x)


def arithmetic():
    return Arithmetic()


class IdentityLike(nn.Module):
    """Returns one tensor twice."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(7, 6)

    def forward(self, features):
        x = self.a(features)
        return x, x


def identity_like():
    return IdentityLike()
