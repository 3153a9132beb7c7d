"""Modules that are recorded as a whole, as one call: attention, and each layer of a recurrent network."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def attention(module: nn.MultiheadAttention, weights: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Run `nn.MultiheadAttention` with other weights, which it does not keep."""
    inner = nn.attention
    with inner.sdpa_kernel(inner.SDPBackend.MATH):
        return torch.func.functional_call(module, dict(weights), tuple(args), dict(kwargs))


def recurrent(
    x: Tensor, states: Any, weights: list[Tensor], mode: str, bidirectional: bool, batch_first: bool,
    hidden: int, bias: bool,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Run one layer of an LSTM, GRU or RNN; the results are the sequence and the last states.

    Of both directions, the states given and returned are apart, as Keras has them: forward's, then backward's.
    """
    function = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[mode]
    training, lstm = torch.is_grad_enabled(), mode == "LSTM"
    if bidirectional:
        count = len(states) // 2
        joined = tuple(torch.stack((states[part], states[count + part])) for part in range(count))
        states = joined if lstm else joined[0]
    y, *last = function(x, states, weights, bias, 1, 0.0, training, bidirectional, batch_first)
    return (y, *(state[way] for way in (0, 1) for state in last)) if bidirectional else (y, *last)


def leaf(module: nn.Module, expand: frozenset[str], record: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the forward function that takes the module's own place while it is recorded; None to look into it."""
    if type(module) is nn.MultiheadAttention and "attention" not in expand:
        return _attention_forward(module, record)
    if type(module).__name__ == "FrozenBatchNorm2d" and hasattr(module, "eps"):
        return _frozen_forward(module, record)
    return None


def _attention_forward(module: Any, record: Callable[..., Any]) -> Callable[..., Any]:
    bare = copy.copy(module)  # shares everything but its hooks and what takes `forward`'s place
    bare._forward_hooks, bare._forward_pre_hooks = OrderedDict(), OrderedDict()

    def forward(*args: Any, **kwargs: Any) -> Any:
        weights = dict(module.named_parameters())
        return record(attention, (bare, weights, args, kwargs), {})

    return forward


def _frozen_forward(module: Any, record: Callable[..., Any]) -> Callable[..., Any]:
    def forward(x: Tensor) -> Any:
        given = (x, module.running_mean, module.running_var, module.weight, module.bias, False, 0.0, module.eps)
        return record(nn.functional.batch_norm, given, {})

    return forward


RECURRENT = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}


def is_layered(name: str, args: Any) -> bool:
    """Whether a call is of a recurrent network over padded sequences, without projections: what can be taken apart."""
    if name not in RECURRENT or len(args) < 9 or not isinstance(args[2], (list, tuple)):
        return False
    biased, layers, both = bool(args[3]), int(args[4]), 2 if args[7] else 1
    return len(args[2]) == layers * both * (4 if biased else 2) and isinstance(args[0], torch.Tensor)


def layered(name: str, args: Any, record: Callable[..., Any]) -> Any:
    """Run a recurrent network layer by layer, each recorded as one call; torch's own arguments and results."""
    x, states, weights, biased, layers, _, _, bidirectional, batch_first = args[:9]
    both, lstm = 2 if bidirectional else 1, name == "lstm"
    each, ends = both * (4 if biased else 2), []
    whole = tuple(states) if lstm else (states,)
    for layer in range(layers):
        part = whole
        if bidirectional:
            part = tuple(state[layer * 2 + way] for way in (0, 1) for state in whole)
        elif layers > 1:
            part = tuple(state[layer : layer + 1] for state in whole)
        own = list(weights[layer * each : (layer + 1) * each])
        hidden = int(own[1].shape[-1])
        how = (RECURRENT[name], bool(bidirectional), bool(batch_first), hidden, bool(biased))
        given = part if lstm or bidirectional else part[0]
        x, *last = record(recurrent, (x, given, own, *how), {}, layer if layers > 1 else None)
        ends.append(last)
    return (x, *(_joined(ends, number, len(whole), bool(bidirectional)) for number in range(len(whole))))


def _joined(ends: Sequence[Sequence[Tensor]], number: int, count: int, bidirectional: bool) -> Tensor:
    """Return one of a network's last states as torch has it: all layers and directions along the first axis."""
    if bidirectional:
        return torch.stack([last[way * count + number] for last in ends for way in (0, 1)])
    return ends[0][number] if len(ends) == 1 else torch.cat([last[number] for last in ends])


def stands_alone(module: nn.Module) -> bool:
    """Whether a module is a leaf: it has no modules inside, or is recorded as a whole."""
    return isinstance(module, nn.MultiheadAttention) or not any(True for _ in module.children())
