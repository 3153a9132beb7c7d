"""Which units of a layer that makes queries, keys and values at once belong to which, told by following numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.errors import ParityError
from parity.model.trace import MOVES, Op, Trace
from parity.pairing import attending
from parity.pairing.stacked import Stacked
from parity.porting.options import Array
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal

_PICKING = frozenset({"slice", "split", "gather"})


def units(models: Models, one: Stacked) -> Sequence[Array] | None:
    """Return the units of the stacked layer for each of the layers apart; None where they cannot be told."""
    mine, theirs = (TENSORFLOW, TORCH) if one.whole_side == 0 else (TORCH, TENSORFLOW)
    trace = models[mine]
    whole = next(op for op in trace.ops if op.index == one.whole)
    roles = attending.roles(models[theirs])
    wanted = [roles.get(index) for index in one.apart]
    if None in wanted or len(set(wanted)) < len(wanted):
        return None
    found = _units_of_roles(models, TWIN_TENSORFLOW if one.whole_side == 0 else TWIN_TORCH, trace, whole)
    parts = [found.get(role) for role in wanted if role is not None]
    sizes = {part.size for part in parts if part is not None}
    everything = [unit for part in parts if part is not None for unit in part]
    if None in [part if part is None else 1 for part in parts] or len(sizes) != 1:
        return None
    return [part for part in parts if part is not None] if len(set(everything)) == len(everything) else None


def _units_of_roles(models: Models, side: str, trace: Trace, whole: Op) -> dict[int, Array]:
    """Return which units of a layer become queries, keys and values."""
    makers, start = trace.producers(), whole.outputs[0]
    found: dict[int, Array] = {}
    for core in attending.cores(trace):
        for tensor, role in core:
            end = _last_moved(tensor, start, makers)
            if end is not None and role not in found:
                numbers = _followed(models, side, trace, start, end)
                if numbers is not None:
                    found[role] = numbers
    return found


def _last_moved(tensor: int, start: int, makers: dict[int, Op]) -> int | None:
    """Return the last tensor on the way from `start` to `tensor` that only holds some of its numbers."""
    moved, at, seen = tensor, tensor, 0
    while at != start:
        maker = makers.get(at)
        seen += 1
        if maker is None or not maker.inputs or seen > len(makers):
            return None
        at = maker.inputs[0]
        if maker.effect != MOVES and maker.kind not in _PICKING:
            moved = at
    return moved


def _followed(models: Models, side: str, trace: Trace, start: int, end: int) -> Array | None:
    """Return which units of the last axis of `start` are in `end`, in rising order."""
    shape = trace.shapes[start]
    probe = np.broadcast_to(np.arange(shape[-1], dtype=np.float64), shape)
    try:
        answer = models.segment(side, {start: np.ascontiguousarray(probe)}, end) if start != end else {"value": probe}
    except ParityError as error:
        if is_fatal(error):
            raise
        return None
    return np.unique(np.rint(np.asarray(answer["value"])).astype(np.int64))
