"""Calls that mean one thing together, for a comparison of settings: a gate that is a SiLU, a result that is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.adapters.torch_model_calls import Call, Ref
from parity.adapters.torch_model_tracing import Recording
from parity.model.trace import AFTER

_GATED = {"sigmoid": "silu", "hard_sigmoid": "hard_silu"}  # x * f(x)


def taken_together(recording: Recording) -> None:
    """Describe, in place, what calls mean together; those that say nothing by themselves are left out."""
    makers = {tensor: call for call in recording.calls for tensor in call.outputs}
    readers: dict[int, list[Call]] = {}
    for call in recording.calls:
        for tensor in dict.fromkeys(call.inputs):
            readers.setdefault(tensor, []).append(call)
    gone: set[int] = set()
    for call in recording.calls:
        gone |= _as_gate(call, makers, readers) | _as_cut(call, makers, readers)
    recording.calls = [call for call in recording.calls if call.index not in gone]


def depends(recording: Recording) -> None:
    """Say of every layer, in place, on which others it depends: two that do not may stand in either order.

    As its place, and a bit for each place on which it depends, in hexadecimal digits.
    """
    before: dict[int, int] = {}
    for place, call in enumerate(recording.calls):
        read = 0
        for tensor in call.inputs:
            read |= before.get(tensor, 0)
        call.config[AFTER] = [place, f"{read:x}"]
        before |= dict.fromkeys(call.outputs, read | 1 << place)


def _as_gate(call: Call, makers: Mapping[int, Call], readers: Mapping[int, list[Call]]) -> set[int]:
    if call.kind != "multiply" or len(call.inputs) != 2:
        return set()
    for x, gate in (call.inputs, call.inputs[::-1]):
        made = makers.get(gate)
        function = _GATED.get(str(made.config.get("function"))) if made is not None else None
        if made is None or function is None or made.inputs != (x,) or len(readers[gate]) > 1:
            continue
        call.kind, call.config, call.title = "activation", {"function": function}, made.title
        return {made.index}
    return set()


def _as_cut(call: Call, makers: Mapping[int, Call], readers: Mapping[int, list[Call]]) -> set[int]:
    made = makers.get(call.inputs[0]) if len(call.inputs) == 1 else None
    if made is None or made.kind != "conv_transpose" or len(readers[call.inputs[0]]) > 1:
        return set()
    own, more = made.config.get("crops"), _crops(call)
    if not own or more is None or len(own) != len(more):
        return set()
    made.config["crops"] = [
        [a + b for a, b in zip(one, other, strict=True)] for one, other in zip(own, more, strict=True)
    ]
    return {call.index}


def _crops(call: Call) -> list[list[int]] | None:
    """Return how much a call cuts off the start and the end of each spatial axis; None if it does something else."""
    if call.kind in ("cropping", "zero_pad"):
        sign = 1 if call.kind == "cropping" else -1
        pairs = call.config.get("crops") or call.config.get("pads") or []
        return [[sign * int(low), sign * int(high)] for low, high in pairs]
    if call.kind != "slice" or len(call.args) != 2 or not isinstance(call.args[0], Ref):
        return None
    shape, index = call.args[0].shape, call.args[1]
    parts: list[Any] = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    if len(parts) > len(shape) or any(not isinstance(part, slice) or part.step not in (None, 1) for part in parts):
        return None
    parts += [slice(None)] * (len(shape) - len(parts))
    ends = [part.indices(size) for part, size in zip(parts, shape, strict=True)]
    found = [[low, size - high] for (low, high, _), size in zip(ends, shape, strict=True)]
    return found[2:] if found[:2] == [[0, 0], [0, 0]] else None
