"""Modules that are recorded as a whole, as one call: attention, and each layer of a recurrent network."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def attention(module: nn.MultiheadAttention, weights: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Run `nn.MultiheadAttention` with other weights, which it does not keep."""
    inner = nn.attention
    with inner.sdpa_kernel(inner.SDPBackend.MATH):
        return torch.func.functional_call(module, dict(weights), tuple(args), dict(kwargs))


def recurrent(
    x: Tensor, states: Any, weights: list[Tensor], mode: str, bidirectional: bool, batch_first: bool,
    hidden: int, bias: bool,
) -> Any:  # fmt: skip
    """Run one layer of an LSTM, GRU or RNN; the results are the sequence and the last states."""
    directions = 2 if bidirectional else 1
    batch = x.shape[0] if batch_first else x.shape[1]
    if states is None:
        first = torch.zeros(directions, batch, hidden, dtype=x.dtype, device=x.device)
        states = (first, torch.zeros_like(first)) if mode == "LSTM" else first
    function = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[mode]
    training = torch.is_grad_enabled()
    return function(x, states, weights, bias, 1, 0.0, training, bidirectional, batch_first)


def leaf(module: nn.Module, expand: frozenset[str], record: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the forward function that takes the module's own place while it is recorded; None to look into it."""
    if type(module) in _RECURRENT and not module.proj_size:
        return _recurrent_forward(module, record)
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


def _recurrent_forward(module: Any, record: Callable[..., Any]) -> Callable[..., Any]:
    own, lstm, both = module.forward, module.mode == "LSTM", 2 if module.bidirectional else 1

    def forward(x: Any, hx: Any = None) -> Any:
        if isinstance(x, PackedSequence) or x.dim() != 3:
            return own(x, hx)
        ends = []
        for layer in range(module.num_layers):
            part = None
            if hx is not None:
                rows = slice(layer * both, (layer + 1) * both)
                if module.num_layers == 1:
                    part = tuple(hx) if lstm else hx
                else:
                    part = tuple(state[rows] for state in hx) if lstm else hx[rows]
            weights = layer_weights(module, layer)
            how = (module.mode, module.bidirectional, module.batch_first, module.hidden_size, module.bias)
            x, *states = record(recurrent, (x, part, weights, *how), {}, layer)
            ends.append(states)
        joined = [of_all[0] if len(of_all) == 1 else torch.cat(of_all) for of_all in zip(*ends, strict=True)]
        return x, (tuple(joined) if lstm else joined[0])

    return forward


def layer_weights(module: Any, layer: int) -> list[Tensor]:
    """Return the weights of one layer in the order in which torch's functions take them."""
    found = []
    for suffix in ("", "_reverse") if module.bidirectional else ("",):
        names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
        found += [getattr(module, f"{name}_l{layer}{suffix}") for name in names]
    return found


def stands_alone(module: nn.Module) -> bool:
    """Whether a module is a leaf: it has no modules inside, or is recorded as a whole."""
    return isinstance(module, nn.MultiheadAttention) or not any(True for _ in module.children())
