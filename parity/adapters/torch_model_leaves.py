"""Modules that are recorded as a whole, as one call: attention, and each layer of a recurrent network."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
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
    """Run one layer of an LSTM, GRU or RNN; the results are the sequence and the last states."""
    function = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[mode]
    training = torch.is_grad_enabled()
    return function(x, states, weights, bias, 1, 0.0, training, bidirectional, batch_first)


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
    for layer in range(layers):
        part = tuple(states) if lstm else states
        if layers > 1:
            rows = slice(layer * both, (layer + 1) * both)
            part = tuple(state[rows] for state in states) if lstm else states[rows]
        own = list(weights[layer * each : (layer + 1) * each])
        hidden = int(own[1].shape[-1])
        how = (RECURRENT[name], bool(bidirectional), bool(batch_first), hidden, bool(biased))
        x, *last = record(recurrent, (x, part, own, *how), {}, layer if layers > 1 else None)
        ends.append(last)
    return (x, *(of_all[0] if layers == 1 else torch.cat(of_all) for of_all in zip(*ends, strict=True)))


def stands_alone(module: nn.Module) -> bool:
    """Whether a module is a leaf: it has no modules inside, or is recorded as a whole."""
    return isinstance(module, nn.MultiheadAttention) or not any(True for _ in module.children())
