"""The same networks in PyTorch, each with the activation as one layer."""

from torch import nn


class Network(nn.Module):
    def __init__(self, bend, norm, bias=True):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(7, 9), nn.Linear(9, 8, bias=bias), nn.Linear(8, 3)
        self.norm, self.bend = norm, bend

    def forward(self, x):
        x = self.norm(self.two(self.bend(self.one(x))))
        return self.three(self.bend(x))


def _norm(eps=1e-3):
    return nn.LayerNorm(8, eps=eps)


def elu():
    return Network(nn.ELU(0.5), _norm())


def elu_of_another_eps():
    return Network(nn.ELU(0.5), _norm(1e-5))


def elu_without_bias():
    return Network(nn.ELU(0.5), _norm(), bias=False)


def elu_of_another_alpha():
    return Network(nn.ELU(), _norm())


def selu():
    return Network(nn.SELU(), _norm())


def selu_of_another_eps():
    return Network(nn.SELU(), _norm(1e-5))
