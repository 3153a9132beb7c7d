"""Linear layers of joined tensors against sums of one layer for each: right ports, and faults in and behind them."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_GRAPH, _ATTENTION, _TOWERS = "10x6 10x10", "9x12 12", "6 10"


_TRAIN = ("--train",)
_port = partial(paired, family="addends")

ADDENDS = (
    _port("graph", "graph", _GRAPH),
    _port("graph", "graph", _GRAPH, options=_TRAIN),
    _port("graph", "graph_added_the_other_way", _GRAPH),
    _port("graph", "graph_of_two_biases", _GRAPH),
    _port("graph", "graph_of_two_biases", _GRAPH, "bias-missing-or-doubled", ("mix", "own"), options=_TRAIN),
    _port("attention", "attention", _ATTENTION),
    _port("towers", "towers", _TOWERS),
    _port("towers", "towers_of_gelu", _TOWERS, "activation-missing", ("*", "gelu")),
    _port("towers", "towers_of_tanh", _TOWERS, "activation-missing", ("second", "tanh")),
    _port("towers", "towers_without_bias", _TOWERS, "bias-missing-or-doubled", ("mix", "one")),
    _port("towers_without_bias", "towers", _TOWERS, "bias-missing-or-doubled", ("mix", "one")),
    _port("towers_added", "towers_joined", _TOWERS),
    _port("either_way", "either_way", _TOWERS),
    _port("duel", "duel", "7"),
    _port("duel", "duel_over_the_batch", "7", "axis-mismatch", ("mean", "mean")),
    _port("duel_of_advantage_first", "duel_over_the_batch", "7", "axis-mismatch", ("mean", "mean")),
    _port("duel", "duel_without_bias", "7", "bias-missing-or-doubled", ("value", "value")),
)
