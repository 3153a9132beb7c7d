"""Ports of the models in `accepted_tensorflow.py`, right and wrong, written with operations on tensors."""

import torch
from torch import nn


class LeakyByTheLarger(nn.Module):
    def __init__(self, slope=0.3):
        super().__init__()
        self.first, self.second, self.slope = nn.Linear(9, 7), nn.Linear(7, 2), slope

    def forward(self, x):
        x = self.first(x)
        return self.second(torch.maximum(x, self.slope * x))


leaky_by_the_larger = LeakyByTheLarger


class EachStep(nn.Module):
    """A dense layer at every step, its bias added to a product of its own."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        return torch.softmax(torch.einsum("...i,oi->...o", x, self.weight) + self.bias, -1)


each_step = EachStep


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.of_input, self.of_state = nn.Linear(5, 12), nn.Linear(4, 12)

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
