"""Kernels that a model computes from its weights alone: a standardised one, an embedding transposed for its head.

TensorFlow's side never shows what is made of weights alone; here it stays out of a trace where a layer's kernel comes
of it, and the layer holds the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parity.adapters.torch_model_calls import Call, Par, Ref, leaves
from parity.adapters.torch_model_kinds import base_name
from parity.adapters.torch_model_signatures import bound
from parity.adapters.torch_model_tracing import Recording
from parity.model.trace import MADE, OPERATORS

_CONVOLUTIONS = frozenset({f"{name}{n}d" for name in ("conv", "conv_transpose") for n in (1, 2, 3)})
_PAIR = 2  # operands of an equation
_PRODUCTS = frozenset({"matmul", "mm"})
_TURNS = frozenset({"T", "t", "mT", "transpose", "swapaxes", "swapdims"})
_RESHAPES = frozenset({"flatten", "view", "reshape", "ravel", "squeeze", "unsqueeze", "contiguous"})


def absorb(recording: Recording) -> None:
    """Give layers the weights that their kernels are made of, and hide the calls that do nothing but make kernels."""
    makers = _of_weights(recording.calls)
    read: dict[int, set[int]] = {}
    for call in recording.calls:
        for tensor in call.inputs:
            read.setdefault(tensor, set()).add(call.index)
    kernels = [(call, kernel) for call in recording.calls if (kernel := _kernel(call, makers)) is not None]
    readers = {call.index for call, _ in kernels}
    for call, kernel in kernels:
        chain = _chain(kernel, makers)
        weights = _weights(chain)
        layered = base_name(call.name) in _PRODUCTS and any(_is_layer(one) for one in chain)
        if not weights or layered or (call.kind == "prelu" and not _one_reshaped(chain, weights)):
            continue
        if call.kind in OPERATORS and not _one_turned(chain, weights):
            continue
        _hold(call, makers[kernel], weights)
        if "weight" not in call.weights:
            call.config[MADE], call.made = [_said(one) for one in chain], kernel
        hidden = readers | {one.index for one in chain}
        for one in reversed(chain):
            made = [tensor for tensor in one.outputs if tensor not in recording.outputs]
            if len(made) == len(one.outputs) and all(read.get(tensor, set()) <= hidden for tensor in made):
                one.hidden = True
            else:
                hidden.discard(one.index)


def _of_weights(calls: Iterable[Call]) -> dict[int, Call]:
    """Return which call made each tensor that depends on weights and on nothing else."""
    makers: dict[int, Call] = {}
    for call in calls:
        if call.mutates is None and (call.parameters or call.inputs) and all(t in makers for t in call.inputs):
            makers |= dict.fromkeys(call.outputs, call)
    return makers


def _kernel(call: Call, makers: Mapping[int, Call]) -> int | None:
    """Return the tensor that a layer reads as its kernel, if it is made of weights and what the layer is fed is not."""
    name = base_name(call.name)
    if name in _CONVOLUTIONS or name in ("linear", "addmm", "prelu"):
        given = bound(call, name)
        fed, kernel = given.get("input"), given.get("weight")
    elif name in _PRODUCTS and len(call.args) > 1:
        fed, kernel = call.args[:_PAIR][:: -1 if _stands_first(call, makers) else 1]
    elif name == "einsum" and len(call.args) == 1 + _PAIR:
        fed, kernel = call.args[1:][:: -1 if _made(call.args[1], makers) else 1]
    elif call.kind in OPERATORS and len(call.args) == _PAIR:
        fed, kernel = call.args[:: -1 if _made(call.args[0], makers) else 1]
    else:
        return None
    if not isinstance(fed, Ref) or not isinstance(kernel, Ref) or fed.tensor in makers or kernel.tensor not in makers:
        return None
    return kernel.tensor


def _stands_first(call: Call, makers: Mapping[int, Call]) -> bool:
    """Return whether a product's kernel is its first operand: columns, such as patches, are what it is fed."""
    return _made(call.args[0], makers) and isinstance(call.args[1], Ref) and not _made(call.args[1], makers)


def _made(given: Any, makers: Mapping[int, Call]) -> bool:
    return isinstance(given, Ref) and given.tensor in makers


def _chain(tensor: int, makers: Mapping[int, Call]) -> list[Call]:
    """Return the calls that make a tensor out of weights, in order."""
    found: dict[int, Call] = {}
    open_ = [tensor]
    while open_:
        call = makers[open_.pop()]
        if call.index not in found:
            found[call.index] = call
            open_ += call.inputs
    return [found[index] for index in sorted(found)]


def _is_layer(call: Call) -> bool:
    """Return whether a call is that of a layer with weights of its own, which TensorFlow's side shows, too."""
    return bool(call.weights) and call.module is not None and type(call.module).__module__.startswith("torch.nn.")


def _weights(chain: Iterable[Call]) -> list[str]:
    """Return the weights that calls read, in order."""
    held = [leaf.reference for call in chain for leaf in leaves((call.args, call.kwargs)) if isinstance(leaf, Par)]
    return list(dict.fromkeys(held))


def _one_turned(chain: Sequence[Call], weights: list[str]) -> bool:
    """Return whether calls exchange axes of one weight, such as slopes kept as (h, w, c), besides giving it a shape."""
    plain = [base_name(one.name) for one in chain if base_name(one.name) not in _RESHAPES]
    return len(weights) == 1 and plain == ["permute"]


def _one_reshaped(chain: Iterable[Call], weights: list[str]) -> bool:
    """Return whether calls do nothing but give one weight another shape."""
    return len(weights) == 1 and all(base_name(one.name) in _RESHAPES for one in chain)


def _turns(call: Call) -> bool:
    """Return whether a call exchanges the two axes of a matrix."""
    if base_name(call.name) == "permute":
        return [leaf for leaf in leaves((call.args, call.kwargs)) if isinstance(leaf, int)] in ([1, 0], [-1, -2])
    return base_name(call.name) in _TURNS


def _said(call: Call) -> str:
    """Return a call's name and, where it exchanges axes, those that it moves: `transpose:0,1`."""
    name = base_name(call.name)
    given = [leaf for leaf in leaves((call.args, call.kwargs)) if isinstance(leaf, int)]
    rank = next((len(leaf.shape) for leaf in leaves((call.args, call.kwargs)) if isinstance(leaf, Par | Ref)), 0)
    if not rank or name not in (*_TURNS, "permute"):
        return name
    if name in ("T", "t", "mT"):
        given = [-1, -2]
    elif name == "permute":
        given = [place for place, axis in enumerate(given) if axis % rank != place]
    return f"{name}:{','.join(str(axis) for axis in sorted(axis % rank for axis in given))}"


def _hold(call: Call, maker: Call, weights: list[str]) -> None:
    name = base_name(call.name)
    if call.kind == "prelu":
        call.weights = {"weight": weights[0]}
        return
    first = isinstance(call.args[0], Ref) and call.args[0].tensor in maker.outputs
    if first and (name in _PRODUCTS or call.kind in OPERATORS):
        call.config["reversed"] = True
    turned = _turns(maker) and not maker.inputs and len(weights) == 1 and "reversed" not in call.config
    given: dict[str, Any] = bound(call, name)
    if (name in _PRODUCTS or name == "addmm") and turned:
        shape = next(leaf.shape for leaf in leaves((maker.args, maker.kwargs)) if isinstance(leaf, Par))
        if len(shape) == 2:  # x @ weight.T is what a linear layer computes
            call.kind, call.config = "dense", {"units": shape[0], "bias": given.get("bias") is not None}
            call.weights = {"weight": weights[0]}
            if isinstance(given.get("bias"), Par):
                call.weights["bias"] = given["bias"].reference
            return
    if name == "linear":
        call.kind = "dense"
        call.config = {"units": given["weight"].shape[0], "bias": given.get("bias") is not None}
        if isinstance(given.get("bias"), Par):
            call.weights = {"bias": given["bias"].reference}
    told = set(call.weights.values())
    for number, reference in enumerate(one for one in weights if one not in told):
        call.weights[f"other_{number + 1}" if number else "other"] = reference
