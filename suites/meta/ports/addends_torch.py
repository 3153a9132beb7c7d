"""The same with a linear layer for each tensor, or one for all of them."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Graph(nn.Module):
    def __init__(self, biases=False, turned=False):
        super().__init__()
        self.own, self.beside, self.head = nn.Linear(6, 8, bias=biases), nn.Linear(6, 8), nn.Linear(8, 3)
        self.turned = turned

    def forward(self, x, edges):
        own, beside = self.own(x), self.beside(edges @ x)
        return self.head(F.relu(beside + own if self.turned else own + beside))


def graph():
    return Graph()


def graph_added_the_other_way():
    return Graph(turned=True)


def graph_of_two_biases():
    return Graph(biases=True)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.states, self.query = nn.Linear(12, 7), nn.Linear(12, 7, bias=False)
        self.score = nn.Linear(7, 1)

    def forward(self, states, query):
        scores = self.score(torch.tanh(self.query(query).unsqueeze(1) + self.states(states)))
        return (scores.softmax(1) * states).sum(1, keepdim=True)


def attention():
    return Attention()


class Towers(nn.Module):
    def __init__(self, between=F.relu, behind=F.silu, bias=True):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(10, 5)
        self.one, self.other = nn.Linear(8, 7, bias=bias), nn.Linear(5, 7, bias=False)
        self.head, self.between, self.behind = nn.Linear(7, 2), between, behind

    def forward(self, a, b):
        mixed = self.one(F.relu(self.first(a))) + self.other(self.between(self.second(b)))
        return self.head(self.behind(mixed))


def towers():
    return Towers()


def towers_of_gelu():
    return Towers(behind=F.gelu)


def towers_of_tanh():
    return Towers(between=torch.tanh)


def towers_without_bias():
    return Towers(bias=False)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.mix, self.head = (nn.Linear(*s) for s in ((6, 8), (10, 5), (13, 7), (7, 2)))

    def forward(self, a, b):
        return self.head(F.silu(self.mix(torch.cat([F.relu(self.second(b)), F.relu(self.first(a))], -1))))


def towers_joined():
    return Joined()


class EitherWay(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.mix = nn.Linear(6, 7), nn.Linear(10, 7, bias=False), nn.Linear(16, 7)
        self.head = nn.Linear(7, 2)

    def forward(self, a, b):
        added = torch.tanh(self.one(a) + self.other(b))
        return self.head(added * F.relu(self.mix(torch.cat([a, b], -1))))


def either_way():
    return EitherWay()


class Duel(nn.Module):
    def __init__(self, axis=1, bias=True):
        super().__init__()
        self.body, self.value, self.advantage = nn.Linear(7, 12), nn.Linear(12, 1, bias=bias), nn.Linear(12, 4)
        self.axis = axis

    def forward(self, x):
        x = F.relu(self.body(x))
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=self.axis, keepdim=True)


def duel():
    return Duel()


def duel_over_the_batch():
    return Duel(0)


def duel_without_bias():
    return Duel(bias=False)
