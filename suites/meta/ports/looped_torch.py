"""An LSTM written out in a loop, in PyTorch: the whole of it, without its last output, and with a step too few."""

from __future__ import annotations

import torch
from torch import nn


class Loop(nn.Module):
    def __init__(self, steps: int = 5, state: bool = False) -> None:
        super().__init__()
        self.steps, self.state = steps, state
        self.gates, self.head = nn.Linear(10, 24), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(x.size(0), 6).to(x)
        for step in range(self.steps):
            i, f, g, o = self.gates(torch.cat([x[:, step], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(c if self.state else h)


def lstm() -> nn.Module:
    return Loop()


def lstm_handing_on_its_state() -> nn.Module:
    return Loop(state=True)


def lstm_of_a_step_too_few() -> nn.Module:
    return Loop(steps=4)
