"""Modules that are recorded as a whole, as one call: attention, and each layer of a recurrent network."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def attention(module: nn.MultiheadAttention, weights: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Run `nn.MultiheadAttention` with other weights, which it does not keep."""
    inner = nn.attention
    with inner.sdpa_kernel(inner.SDPBackend.MATH):
        return torch.func.functional_call(module, dict(weights), tuple(args), dict(kwargs))


def recurrent(
    x: Tensor, states: Any, weights: list[Tensor], mode: str, bidirectional: bool, batch_first: bool,
    hidden: int, bias: bool, sizes: Tensor | None = None,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Run one layer of an LSTM, GRU or RNN; the results are the sequence and the last states.

    Of both directions, the states given and returned are apart, as Keras has them: forward's, then backward's. `sizes`
    are those of the batches of packed sequences, whose steps stand behind one another.
    """
    function = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[mode]
    training, lstm = torch.is_grad_enabled(), mode == "LSTM"
    if bidirectional:
        count = len(states) // 2
        joined = tuple(torch.stack((states[part], states[count + part])) for part in range(count))
        states = joined if lstm else joined[0]
    how = (weights, bias, 1, 0.0, training, bidirectional)
    y, *last = function(x, states, *how, batch_first) if sizes is None else function(x, sizes, states, *how)
    return (y, *(state[way] for way in (0, 1) for state in last)) if bidirectional else (y, *last)


def leaf(module: nn.Module, expand: frozenset[str], record: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the forward function that takes the module's own place while it is recorded; None to look into it."""
    if type(module) is nn.MultiheadAttention and "attention" not in expand:
        return _attention_forward(module, record)
    return None


def _attention_forward(module: Any, record: Callable[..., Any]) -> Callable[..., Any]:
    bare = copy.copy(module)  # shares everything but its hooks and what takes `forward`'s place
    bare._forward_hooks, bare._forward_pre_hooks = OrderedDict(), OrderedDict()

    def forward(*args: Any, **kwargs: Any) -> Any:
        weights = dict(module.named_parameters())
        return record(attention, (bare, weights, args, kwargs), {})

    return forward


RECURRENT = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}


@dataclass(frozen=True)
class Packing:
    """How sequences of several lengths were packed: what `PackedSequence` holds, and how long the padded ones were."""

    sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None
    length: int


def packing_of(x: Any) -> Packing | None:
    """Return how a layer's argument was packed; None for what is not packed, or not by `pack_padded_sequence`."""
    length = getattr(x.batch_sizes, "_parity_length", None) if isinstance(x, PackedSequence) else None
    if length is None:
        return None
    return Packing(x.batch_sizes, x.sorted_indices, x.unsorted_indices, length)


def keep_length(name: str, args: Any, made: Sequence[Tensor]) -> None:
    """Let packed sequences know how long the padded ones were; their batch sizes are handed on with them."""
    if name == "_pack_padded_sequence" and len(args) > 2 and len(made) > 1:
        made[1]._parity_length = int(args[0].shape[1 if args[2] else 0])


def unpacked(x: Tensor, sizes: Tensor, order: Tensor | None, length: int, goes_on: bool) -> Tensor:
    """Return packed sequences as padded ones, the batch first and in its first order.

    Behind the end of each its last step goes on, as where a layer keeps its state, or there are zeros.
    """
    steps, samples = torch.arange(length)[None], torch.arange(int(sizes[0]))[:, None]
    lengths = (sizes[None] > samples).sum(1, keepdim=True)
    starts = sizes.cumsum(0) - sizes
    place = starts[torch.minimum(steps, lengths - 1)] + samples
    if not goes_on:
        place = torch.where(steps < lengths, place, len(x))
        x = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    return x[place.to(x.device) if order is None else place.to(x.device)[order]]


def packed_again(x: Tensor, sizes: Tensor, order: Tensor | None) -> Tensor:
    """Return the steps of padded sequences as `unpacked` found them."""
    samples = torch.arange(len(x), device=x.device) if order is None else order
    rows = [samples[: int(size)] * x.shape[1] + step for step, size in enumerate(sizes)]
    return x.flatten(0, 1)[torch.cat(rows)]


def is_layered(name: str, args: Any) -> bool:
    """Whether a call is of a recurrent network without projections, over padded sequences or packed ones.

    That can be taken apart.
    """
    if name not in RECURRENT or len(args) < 9:
        return False
    packed = isinstance(args[1], torch.Tensor) and isinstance(args[3], (list, tuple))
    weights = args[3 if packed else 2]
    if not isinstance(weights, (list, tuple)) or not isinstance(args[0], torch.Tensor):
        return False
    biased, layers, both = args[4:6] + args[8:9] if packed else args[3:5] + args[7:8]
    return len(weights) == int(layers) * (2 if both else 1) * (4 if biased else 2)


def layered(
    name: str, args: Any, record: Callable[..., Any], packing: Packing | None = None, apart: bool = False
) -> Any:
    """Run a recurrent network layer by layer, each recorded as one call; torch's own arguments and results.

    With `apart`, each direction of a layer over padded sequences is a call of its own.

    Between layers over packed sequences, and behind the last, these are unpacked and packed again, which changes
    nothing but leaves a tensor that padded sequences can be compared with.
    """
    sizes: tuple[Tensor, ...] = ()
    if isinstance(args[3], (list, tuple)):
        x, *of_batches, states, weights, biased, layers, _, _, bidirectional = args[:9]
        sizes, batch_first = tuple(of_batches), False
    else:
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
        if apart and bidirectional and not sizes:
            ways = [tuple(state[layer * 2 + way : layer * 2 + way + 1] for state in whole) for way in (0, 1)]
            x, last = _each_way(x, ways, own, (RECURRENT[name], False, bool(batch_first), hidden, bool(biased)), record)
            ends.append(last)
            continue
        how = (RECURRENT[name], bool(bidirectional), bool(batch_first), hidden, bool(biased), *sizes)
        given = part if lstm or bidirectional else part[0]
        x, *last = record(recurrent, (x, given, own, *how), {}, layer if layers > 1 else None)
        if packing is not None and sizes:
            there = (*sizes, packing.unsorted_indices, packing.length, not bidirectional)
            x = record(packed_again, (record(unpacked, (x, *there), {}), *sizes, packing.sorted_indices), {})
        ends.append(last)
    return (x, *(_joined(ends, number, len(whole), bool(bidirectional)) for number in range(len(whole))))


def _each_way(
    x: Tensor, states: Sequence[Any], weights: list[Tensor], how: tuple[Any, ...], record: Callable[..., Any]
) -> tuple[Tensor, list[Tensor]]:
    """Run both directions of a layer, one after the other; the second reads and makes its sequence backwards."""
    time, made, last = 1 if how[2] else 0, list[Tensor](), list[Tensor]()
    for way, given in enumerate(states):
        own = weights[way * len(weights) // 2 : (way + 1) * len(weights) // 2]
        fed = x.flip(time) if way else x
        y, *ends = record(recurrent, (fed, given if how[0] == "LSTM" else given[0], own, *how), {})
        made.append(y.flip(time) if way else y)
        last += [state.squeeze(0) for state in ends]
    return torch.cat(made, -1), last


def _joined(ends: Sequence[Sequence[Tensor]], number: int, count: int, bidirectional: bool) -> Tensor:
    """Return one of a network's last states as torch has it: all layers and directions along the first axis."""
    if bidirectional:
        return torch.stack([last[way * count + number] for last in ends for way in (0, 1)])
    return ends[0][number] if len(ends) == 1 else torch.cat([last[number] for last in ends])


def stands_alone(module: nn.Module) -> bool:
    """Whether a module is a leaf: it has no modules inside, or is recorded as a whole."""
    return isinstance(module, nn.MultiheadAttention) or not any(True for _ in module.children())
