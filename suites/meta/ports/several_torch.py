"""Networks with more than one fault, in torch."""

import torch.nn.functional as F  # noqa: N812
from hosts_torch import fill, hosted
from torch import nn


class SmallImage(nn.Module):
    """Symmetric padding twice, torch's eps, torch's slope and tanh's GELU: five faults in ten layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 7, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(7, 9, (3, 2))
        self.dense1 = nn.Linear(9, 8)
        self.dense2 = nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm1(F.relu(self.conv1(x)))
        x = self.pool(F.leaky_relu(self.conv2(x)))
        x = F.gelu(self.conv3(x), approximate="tanh")
        return self.dense2(F.relu(self.dense1(x.mean((2, 3)))))


def small_image():
    return fill(SmallImage())


class StridedWithoutBias(nn.Module):
    """No bias, and symmetric padding."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)

    def forward(self, x):
        return self.conv(x)


def batch_norm(channels, *_):
    return nn.BatchNorm2d(channels)


def square_conv(channels, *_):
    return nn.Conv2d(channels, channels, 3, padding=1)


class Wide(nn.Module):
    """No dilation, torch's eps, torch's slope, one after the other."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.a(x)))


class NormAndLstm(nn.Module):
    """torch's eps before an LSTM whose gates are in another order."""

    def __init__(self, channels, *_):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.lstm = nn.LSTM(channels, channels, batch_first=True)

    def forward(self, x):
        made, _ = self.lstm(self.norm(x.mean(3).transpose(1, 2)))
        return x + made.transpose(1, 2).unsqueeze(3)


def exchanged_scale(network):
    norm = network.slot
    weight = norm.weight.clone()
    norm.weight.copy_(norm.bias)
    norm.bias.copy_(weight)


def flipped_and_swapped(network):
    """Exchange inputs and outputs of the kernel, and flip it."""
    weight = network.slot.weight
    weight.copy_(weight.transpose(0, 1).flip(2, 3).clone())


def exchanged_gates(network):
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weight = getattr(network.slot.lstm, name)
        i, f, g, o = weight.reshape(4, -1, *weight.shape[1:]).clone()
        for gate, value in enumerate((f, i, g, o)):
            weight[gate * len(i) : (gate + 1) * len(i)] = value


no_bias_and_padding_shallow, no_bias_and_padding_deep = hosted(StridedWithoutBias, stride=2)
eps_and_swap_shallow, eps_and_swap_deep = hosted(batch_norm, spoil=exchanged_scale)
flip_and_swap_shallow, flip_and_swap_deep = hosted(square_conv, spoil=flipped_and_swapped)
three_in_a_row_shallow, three_in_a_row_deep = hosted(Wide)
eps_and_gates_shallow, eps_and_gates_deep = hosted(NormAndLstm, spoil=exchanged_gates)
