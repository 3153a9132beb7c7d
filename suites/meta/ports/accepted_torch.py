"""Ports of the models in `accepted_tensorflow.py`, right and wrong, written with operations on tensors."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class LeakyByTheLarger(nn.Module):
    def __init__(self, slope=0.3):
        super().__init__()
        self.first, self.second, self.slope = nn.Linear(9, 7), nn.Linear(7, 2), slope

    def forward(self, x):
        x = self.first(x)
        return self.second(torch.maximum(x, self.slope * x))


leaky_by_the_larger = LeakyByTheLarger


def leaky_by_the_larger_of_torch():
    return LeakyByTheLarger(0.01)


class EluInParts(nn.Module):
    """An ELU as its two parts, the lower one scaled."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.first, self.second, self.alpha = nn.Linear(9, 7), nn.Linear(7, 2), alpha

    def forward(self, x):
        x = self.first(x)
        return self.second(torch.where(x > 0, x, self.alpha * (torch.exp(x) - 1)))


elu_in_parts = EluInParts


def elu_in_parts_halved():
    return EluInParts(0.5)


class EachStep(nn.Module):
    """A dense layer at every step, its bias added to a product of its own."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        return torch.softmax(torch.einsum("...i,oi->...o", x, self.weight) + self.bias, -1)


each_step = EachStep


class Gru(nn.Module):
    def __init__(self, inputs=5):
        super().__init__()
        self.of_input, self.of_state = nn.Linear(inputs, 12), nn.Linear(4, 12)

    def forward(self, x):
        state, found = x.new_zeros(len(x), 4), []
        for time in range(x.shape[1]):
            reset, update, new = self.of_input(x[:, time]).chunk(3, -1)
            reset_state, update_state, new_state = self.of_state(state).chunk(3, -1)
            update = torch.sigmoid(update + update_state)
            new = torch.tanh(new + torch.sigmoid(reset + reset_state) * new_state)
            state = (1 - update) * new + update * state
            found.append(state)
        return torch.stack(found, 1)


class BothWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.forwards, self.backwards = Gru(), Gru()

    def forward(self, x):
        return torch.cat([self.forwards(x), self.backwards(x.flip(1)).flip(1)], -1)


both_ways = BothWays


class Square(nn.Module):
    """Its first layer reads a square kernel by the wrong axis."""

    def __init__(self):
        super().__init__()
        self.square, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(F.linear(x, self.square.weight.T, self.square.bias))


square_turned = Square


class Multiplied(nn.Module):
    """Its channels are m * C + c, not c * M + m."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, groups=3)

    def forward(self, x):
        kernel = self.depthwise.weight.reshape(2, 3, 1, 3, 3).transpose(0, 1).reshape(6, 1, 3, 3)
        return F.conv2d(x, kernel, self.depthwise.bias, groups=3)


multiplied_the_other_way = Multiplied


class Heads(nn.Module):
    """Queries, keys and values of one matrix, and one vector that is added behind."""

    def __init__(self):
        super().__init__()
        self.matrix, self.added = nn.Parameter(torch.randn(24, 8)), nn.Parameter(torch.randn(24))
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        parts = (x @ self.matrix.T + self.added).chunk(3, -1)
        queries, keys, values = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in parts)
        shares = torch.softmax(queries @ keys.transpose(-1, -2) / 2, -1)
        return self.out((shares @ values).transpose(1, 2).flatten(2))


heads_of_one_matrix = Heads


class BentTwiceByEquations(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = ((7, 9), (9, 9), (9, 9), (9, 3))
        self.kernels = nn.ParameterList(nn.Parameter(torch.randn(units, inputs)) for inputs, units in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.randn(units)) for _, units in sizes)
        self.norm = nn.LayerNorm(9, 1e-3)

    def product(self, x, number):
        return torch.einsum("...i,oi->...o", x, self.kernels[number]) + self.biases[number]

    def forward(self, x):
        x = F.gelu(self.product(x, 0))
        bent = self.product(x, 1)
        bent = self.norm(torch.maximum(bent, 0.2 * bent))
        x = x + 0.5 * (bent @ self.kernels[2].T) + self.biases[2]
        return F.softmax(self.product(x, 3), -1)


bent_twice_by_equations = BentTwiceByEquations


def numbers(*shape):
    return torch.from_numpy(np.random.RandomState(sum(shape)).normal(size=shape).astype("float32"))


class Gated(nn.Module):
    """Its gates stand as in Keras: the update's before the reset's."""

    def __init__(self):
        super().__init__()
        self.gru = Gru(3)
        for layer, kernel, bias in zip(
            (self.gru.of_input, self.gru.of_state), (numbers(3, 12), numbers(4, 12)), numbers(2, 12), strict=True
        ):
            layer.weight.data, layer.bias.data = kernel.T.contiguous(), bias

    def forward(self, x):
        return self.gru(x)


gated_in_another_order = Gated


class TurnedNotAtAll(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(numbers(5, 5)), nn.Parameter(numbers(5))

    def forward(self, x):
        return torch.einsum("bi,oi->bo", x, self.weight) + self.bias


turned_not_at_all = TurnedNotAtAll


class Norm(nn.Module):
    """Over all words at once, with a scale and a shift for each number of a word."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(5) + 0.5), nn.Parameter(torch.randn(5))

    def forward(self, x):
        mean, variance = x.mean((1, 2), keepdim=True), x.var((1, 2), unbiased=False, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-3) * self.weight + self.bias


class NormedAsAWhole(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = Norm(), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.norm(x))


normed_as_a_whole = NormedAsAWhole


class Tokens(nn.Module):
    """Reshapes images and tokens in a way: well, or as if the channels stood last."""

    def __init__(self, to_tokens=True, to_image=True):
        super().__init__()
        self.patches, self.norm, self.mix = nn.Conv2d(3, 8, 3, 2), nn.LayerNorm(8), nn.Linear(8, 8)
        self.batch, self.conv, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.to_tokens, self.to_image = to_tokens, to_image

    def forward(self, x):
        x = self.patches(x).relu()
        x = (x.permute(0, 2, 3, 1) if self.to_tokens else x).reshape(len(x), -1, 8)
        x = x + self.mix(self.norm(x)).relu()
        x = (x.transpose(1, 2) if self.to_image else x).reshape(len(x), 8, 7, 5)
        return self.head((x + self.conv(self.batch(x))).mean((2, 3)))


tokens = Tokens


def tokens_of_channels():
    return Tokens(to_tokens=False)


def tokens_as_channels():
    return Tokens(to_image=False)


class Narrow(nn.Module):
    """A linear layer by an equation, whose bias is added behind."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 12)), nn.Parameter(torch.randn(8))

    def forward(self, x):
        return torch.einsum("bni,oi->bno", x, self.weight) + self.bias


class MixedByTanh(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 12), Narrow()

    def forward(self, x):
        x = self.wide(x)
        return self.narrow(0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))))


mixed_by_tanh = MixedByTanh


class Largest(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.scores, self.factor = nn.Conv2d(3, 4, 3), factor

    def forward(self, x):
        return (self.factor * self.scores(x)).argmax(1)


largest = Largest


def largest_of_the_negative():
    return Largest(-1.0)


class Columns(nn.Module):
    """Samples are columns, as in a textbook: kernels stand before what they are multiplied with."""

    def __init__(self, turned):
        super().__init__()
        self.first, self.shift = nn.Parameter(0.3 * torch.randn(7, 9)), nn.Parameter(torch.randn(7))
        self.second, self.last = nn.Parameter(0.3 * torch.randn(5, 7)), nn.Parameter(torch.randn(5))
        self.turned = turned

    def forward(self, x):
        if self.turned:
            return (self.second @ torch.relu((self.first @ x.T).T + self.shift).T + self.last[:, None]).T
        return (self.second @ torch.relu(self.first @ x.t() + self.shift.unsqueeze(1)) + self.last.view(-1, 1)).t()


def columns():
    return Columns(turned=False)


def columns_turned():
    return Columns(turned=True)


class Doubled(nn.Module):
    """What it doubles in front it halves behind."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3, bias=False)

    def forward(self, x):
        return (self.second(torch.relu(2 * self.first(x))) / 2).mean((2, 3))


doubled = Doubled


class EachNormed(nn.Module):
    """A norm of each channel by itself takes away whatever bias there was."""

    def __init__(self):
        super().__init__()
        self.conv, self.each, self.last = nn.Conv2d(3, 5, 3, bias=False), nn.GroupNorm(5, 5), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        return self.last(self.each(self.conv(x)))


each_normed = EachNormed


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)

    def forward(self, x):
        grey = 0.2989 * x[:, :1] + 0.5870 * x[:, 1:2] + 0.1140 * x[:, 2:]
        every = (1, 2, 3)
        spread = grey.std(every, unbiased=False, keepdim=True).clamp(min=grey[0].numel() ** -0.5)
        return self.conv((grey - grey.mean(every, keepdim=True)) / spread)


pictures = Pictures


class Powers(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(9, 5)

    def forward(self, x):
        return torch.exp2(self.scores(x))


powers = Powers


class Stepped(nn.Module):
    """Somebody's own cell, whose kernels are as Keras has them."""

    def __init__(self, gates):
        super().__init__()
        self.fed, self.state, self.bias = (nn.Parameter(numbers(*shape)) for shape in ((3, 16), (4, 16), (16,)))
        self.gates = gates

    def forward(self, x):
        h = c = x.new_zeros(len(x), 4)
        for step in x.unbind(1):
            parts = (step @ self.fed + h @ self.state + self.bias).chunk(4, -1)
            gate = dict(zip(self.gates, parts, strict=True))
            c = torch.sigmoid(gate["f"]) * c + torch.sigmoid(gate["i"]) * torch.tanh(gate["g"])
            h = torch.sigmoid(gate["o"]) * torch.tanh(c)
        return h


class OfSteps(nn.Module):
    def __init__(self, gates):
        super().__init__()
        self.cell = Stepped(gates)

    def forward(self, x):
        return self.cell(x)


def stepped():
    return OfSteps("ifgo")


def stepped_in_another_order():
    return OfSteps("ifog")


class Opened(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.fed, self.state = nn.Parameter(torch.randn(3, 12)), nn.Parameter(torch.randn(4, 12))
        self.biases, self.function = nn.Parameter(torch.randn(2, 12)), function

    def forward(self, x):
        h = x.new_zeros(len(x), 4)
        for step in x.unbind(1):
            z, r, new = (step @ self.fed + self.biases[0]).chunk(3, -1)
            of_z, of_r, of_new = (h @ self.state + self.biases[1]).chunk(3, -1)
            z, r = torch.sigmoid(z + of_z), torch.sigmoid(r + of_r)
            h = z * h + (1 - z) * self.function(new + r * of_new)
        return h


def opened():
    return Opened(torch.tanh)


def opened_by_relu():
    return Opened(torch.relu)


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, groups=4, bias=False)

    def forward(self, x):
        return torch.celu(self.conv(x), 0.7)


apart = Apart


class Placed(nn.Module):
    """The table of places is an image of a batch of one, its channels first as everything here."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        self.table = nn.Parameter(torch.randn(1, 4, 6, 4))

    def forward(self, x):
        return self.last(self.first(x) + self.table)


placed = Placed


class Frozen(nn.Module):
    """Uses what a batch normalisation keeps in a formula of its own."""

    def __init__(self, spread):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3), nn.Conv2d(4, 2, 3)
        self.spread = spread

    def forward(self, x):
        kept = (self.norm.running_mean, self.spread(self.norm.running_var, self.norm.eps))
        mean, spread, weight, bias = (one[:, None, None] for one in (*kept, self.norm.weight, self.norm.bias))
        return self.last(torch.relu((self.first(x) - mean) / spread * weight + bias))


def frozen():
    return Frozen(lambda variance, eps: torch.sqrt(variance + eps))


def frozen_without_a_root():
    return Frozen(lambda variance, eps: variance + eps)


def frozen_with_two_roots():
    return Frozen(lambda variance, eps: torch.sqrt(torch.sqrt(variance) + eps))


def frozen_with_eps_outside():
    return Frozen(lambda variance, eps: torch.sqrt(variance) + eps)


class Spare(nn.Module):
    def __init__(self, mask=(1, 8)):
        super().__init__()
        self.mask_token, self.class_token = nn.Parameter(torch.randn(mask)), nn.Parameter(torch.randn(1, 1, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(x + self.class_token)


def spare():
    return Spare()


def spare_of_another_size():
    return Spare(mask=(1, 6))
