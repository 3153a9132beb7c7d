"""How a script would write a recorded call: the function by its public name, data as literals, places for tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from types import EllipsisType
from typing import Any

import torch
from torch.overrides import resolve_name

from parity.adapters.torch_model_calls import Call, Par, Ref

LIMIT = 1024  # numbers of a constant that is written out
_PRECISION = (torch.float32, torch.float64)
_CARRIED = (*_PRECISION, torch.int64, torch.int32, torch.bool)
_SEQUENCES = frozenset({"chunk", "split", "split_with_sizes", "unbind", "tensor_split", "unsafe_chunk", "unsafe_split"})


class _Unspeakable(Exception):
    """An argument that is no data."""


def spelt(call: Call, inputs: Sequence[int]) -> str:
    """Return a call as Python, with places as `trace.Op` tells of; "" for one without a form.

    `inputs` are the tensors that its operation is said to read, in order; `dtype` names the script's precision.
    """
    return _written(call, _Speller(call, inputs))


def operands(call: Call, inputs: Sequence[int]) -> list[Any]:
    """Return what the places for many numbers stand for, in order: constants, or tensors that are made of weights."""
    speller = _Speller(call, inputs)
    _written(call, speller)
    return speller.held


def _written(call: Call, speller: _Speller) -> str:
    function = _named(call)
    if not function or call.name == "__setitem__":
        return ""
    try:
        given = [speller.text(one) for one in call.args]
        given += [f"{key}={speller.text(one)}" for key, one in call.kwargs.items()]
    except _Unspeakable:
        return ""
    first = "[0]" if len(call.outputs) == 1 and call.name in _SEQUENCES else ""
    return f"{function}({', '.join(given)}){first}"


def _named(call: Call) -> str:
    """Return an expression whose value is the function, if there is one."""
    function = call.function
    if isinstance(function, torch._ops.OpOverload):
        return f"torch.ops.{function}"
    for name in (resolve_name(function) or "", f"torch._VF.{call.name}"):
        first, *rest = name.split(".")
        if first == "torch" and reduce(lambda held, part: getattr(held, part, None), rest, torch) == function:
            return name
    return ""


class _Speller:
    """Writes the arguments of one call."""

    def __init__(self, call: Call, inputs: Sequence[int]) -> None:
        self.inputs = list(inputs)
        self.roles: Mapping[str, str] = {reference: role for role, reference in call.weights.items()}
        self.mutates, self.leaf = call.mutates, -1
        self.held: list[Any] = []

    def text(self, value: Any) -> str:
        """Return one argument."""
        if isinstance(value, (tuple, list)):
            inner = ", ".join(map(self.text, value))
            if isinstance(value, list):
                return f"[{inner}]"
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, Mapping):
            return "{{" + ", ".join(f"{key!r}: {self.text(one)}" for key, one in value.items()) + "}}"
        self.leaf += 1
        found = self._leaf(value)
        return f"{found}.clone()" if self.leaf == self.mutates else found

    def _leaf(self, value: Any) -> str:
        if isinstance(value, Ref):
            if value.tensor not in self.inputs:  # the trace leaves out what makes it of weights
                return self._kept(value)
            return f"{{x[{self.inputs.index(value.tensor)}]}}"
        if isinstance(value, Par):
            if value.reference not in self.roles:
                raise _Unspeakable
            return f"{{w[{self.roles[value.reference]}]}}"
        if isinstance(value, torch.Tensor) and value.numel() > LIMIT and value.dtype in _CARRIED:
            return self._kept(value)
        return _constant(value) if isinstance(value, torch.Tensor) else _data(value)

    def _kept(self, value: Any) -> str:
        self.held.append(value)
        return f"{{k[{len(self.held) - 1}]}}"


def _constant(value: torch.Tensor) -> str:
    if value.numel() > LIMIT or value.is_complex():
        raise _Unspeakable
    return f"torch.tensor({_data(value.detach().cpu().tolist())}, dtype={_data(value.dtype)})"


def _data(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_data, value))}]"
    if isinstance(value, slice):
        return f"slice({', '.join(map(_data, (value.start, value.stop, value.step)))})"
    if isinstance(value, float):
        return repr(value) if abs(value) < float("inf") else f'float("{value}")'
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, str):
        return repr(value).replace("{", "{{").replace("}", "}}")
    if isinstance(value, EllipsisType):
        return "..."
    if isinstance(value, torch.device):
        return '"cpu"'
    if isinstance(value, torch.dtype):
        return "getattr(torch, dtype)" if value in _PRECISION else str(value)
    if isinstance(value, (torch.layout, torch.memory_format)):
        return str(value)
    raise _Unspeakable
