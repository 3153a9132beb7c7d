"""Small image classifiers in torch, written in the ways that people write them."""

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(5 * 9 * 8, 7),
        nn.ReLU(inplace=True),
        nn.Linear(7, 4),
    )


def ordered():
    """Return the same with names."""
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(
                OrderedDict(conv=nn.Conv2d(3, 5, 3), relu=nn.ReLU(inplace=True), pool=nn.MaxPool2d(2))
            ),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(nn.Linear(5 * 9 * 8, 7), nn.ReLU(), nn.Linear(7, 4)),
        )
    )


class Functional(nn.Module):
    """Layers as attributes, the rest as functions; `how` is how the map becomes a vector."""

    def __init__(self, how):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, kernel_size=3)
        self.conv2 = nn.Conv2d(5, 6, kernel_size=(3, 2))
        self.fc1 = nn.Linear(6 * 7 * 7, 9)
        self.fc2 = nn.Linear(9, 4)
        self.how = how

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.how(F.relu(self.conv2(x)))
        return self.fc2(torch.tanh(self.fc1(x)))


def functional_flatten():
    return Functional(lambda x: torch.flatten(x, 1))


def functional_view():
    return Functional(lambda x: x.view(x.size(0), -1))


def functional_reshape():
    return Functional(lambda x: x.reshape(-1, 6 * 7 * 7))


def functional_channels_last():
    """Return the network that flattens in TensorFlow's order."""
    return Functional(lambda x: x.permute(0, 2, 3, 1).flatten(1))


def functional_contiguous():
    return Functional(lambda x: x.permute(0, 2, 3, 1).contiguous().view(x.shape[0], -1))


class Subclassed(nn.Module):
    """The strided convolution drops the last row by itself, as in TensorFlow."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 6, 3, stride=2), nn.ReLU())
        self.classifier = nn.Linear(6 * 9 * 7, 4)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(start_dim=1))


def subclassed():
    return Subclassed()


class Unordered(nn.Module):
    """Two convolutions of one shape, registered in another order than in Keras's file and than they run."""

    def __init__(self):
        super().__init__()
        self.b = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)
        self.c = nn.Conv2d(8, 8, 3)
        self.a = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        x = F.relu(self.c(self.a(x)))
        x = F.relu(self.b(x))
        return self.head(x.mean(dim=(2, 3)))


def unordered():
    return Unordered()


def regularised():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(6, 7, 3, padding="same"),
        nn.BatchNorm2d(7),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(7 * 8 * 10, 3),
    )


def left_in_training():
    """Return a network in training mode, as every new module is; the check puts it into evaluation mode."""
    return regularised().train()


def zero_padded():
    return nn.Sequential(
        nn.Conv2d(3, 6, 7, stride=2, padding=3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),  # after a ReLU, zeros and minus infinity are the same padding
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


class SameStrided(nn.Module):
    """Pads by hand what TensorFlow's SAME pads, more after than before."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2)
        self.conv2 = nn.Conv2d(6, 8, 5, stride=2)
        self.conv3 = nn.Conv2d(8, 8, 2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.conv1(F.pad(x, (1, 1, 0, 1))))
        x = F.relu(self.conv2(F.pad(x, (1, 2, 1, 2))))
        x = F.relu(self.conv3(F.pad(x, (0, 1, 0, 1))))
        return self.fc(x.mean((2, 3)))


def same_strided():
    return SameStrided()


class Pooled(nn.Module):
    """Convolution, one number per channel, dense."""

    def __init__(self, pool):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 4)
        self.pool = pool

    def forward(self, x):
        return self.fc(self.pool(F.relu(self.conv(x))))


def pooled_mean():
    return Pooled(lambda x: x.mean((2, 3)))


def pooled_mean_negative():
    return Pooled(lambda x: x.mean([-1, -2]))


def pooled_adaptive():
    return Pooled(lambda x: F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


def pooled_module():
    return Pooled(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def pooled_kernel():
    """Return the network whose average pooling is as large as the map."""
    return Pooled(lambda x: F.avg_pool2d(x, kernel_size=x.shape[2:]).squeeze(-1).squeeze(-1))


def pooled_twice():
    return Pooled(lambda x: x.mean(3).mean(2))


class PooledKeeping(nn.Module):
    """The largest number per channel, then a 1x1 convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        x = F.relu(self.conv(x)).amax(dim=(2, 3), keepdim=True)
        return self.head(x).squeeze(3).squeeze(2)


def pooled_keeping():
    return PooledKeeping()


class Before(nn.Module):
    """The pooled network behind a function of its image."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.network = pooled_mean()

    def forward(self, x):
        return self.network(self.function(x))


def rescaled():
    return Before(lambda x: x / 255.0)


class Standardised(nn.Module):
    """Means and deviations as buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.backbone = pooled_module()

    def forward(self, x):
        return self.backbone((x - self.mean) / self.std)


def standardised():
    return Standardised()


class SigmoidOutput(nn.Module):
    """One probability."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.pool = nn.MaxPool2d(3)
        self.fc = nn.Linear(6 * 5 * 6, 1)

    def forward(self, x):
        x = self.pool(F.relu(self.conv(x)))
        return torch.sigmoid(self.fc(x.flatten(1)))


def sigmoid_output():
    return SigmoidOutput()


def map_output():
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.Softmax(dim=1))


class ChannelsLast(nn.Module):
    """Takes and flattens channels-last images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(7 * 6 * 6, 5)

    def forward(self, image):
        x = F.relu(self.conv(image.permute(0, 3, 1, 2)))
        return self.fc(x.permute(0, 2, 3, 1).reshape(len(image), -1))


def unpadded_channels_last():
    return ChannelsLast()


def per_pixel_conv():
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.GELU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class PerPixelLinear(nn.Module):
    """Linear layers on the last axis."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(3, 6)
        self.narrow = nn.Linear(6, 4)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        return self.narrow(F.gelu(self.wide(x))).mean((1, 2))


def per_pixel_linear():
    return PerPixelLinear()


def mlp():
    return nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
