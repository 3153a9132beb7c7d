"""Which units of a layer that is several in the other framework belong to which of these, told by following numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from parity.errors import ParityError
from parity.model.trace import MOVES, Op, Trace
from parity.pairing import attending
from parity.pairing.skeleton import Palette, Skeleton, colours, skeleton
from parity.pairing.stacked import PICKING, Stacked
from parity.porting.options import Array
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal

_RADII = (1, 2, 3, 4)  # of the surroundings that tell one reader of some units from another


def units(models: Models, one: Stacked) -> Sequence[Array] | None:
    """Return the units of the stacked layer for each of the layers apart; None where they cannot be told."""
    if one.join is not None:  # their results stand side by side, in the order of the units
        return None
    return _of_roles(models, one) or _of_readers(models, one)


def _of_roles(models: Models, one: Stacked) -> Sequence[Array] | None:
    """Return the units by the queries, keys and values that an attention gets of them."""
    mine, theirs = (TENSORFLOW, TORCH) if one.whole_side == 0 else (TORCH, TENSORFLOW)
    trace = models[mine]
    whole = next(op for op in trace.ops if op.index == one.whole)
    roles = attending.roles(models[theirs])
    wanted = [roles.get(index) for index in one.apart]
    if None in wanted or len(set(wanted)) < len(wanted):
        return None
    found = _units_of_roles(models, TWIN_TENSORFLOW if one.whole_side == 0 else TWIN_TORCH, trace, whole)
    parts = [part for role in wanted if role is not None and (part := found.get(role)) is not None]
    everything = [unit for part in parts for unit in part]
    sizes = _sizes(models[theirs], one.apart, trace, whole)
    fits = [part.size for part in parts] == sizes  # queries may be more than keys and values
    return parts if fits and len(set(everything)) == len(everything) else None


def _sizes(apart: Trace, layers: Sequence[int], trace: Trace, whole: Op) -> list[int]:
    """Return how many units of the stacked layer each of the layers apart has."""
    total, units_ = prod(trace.shapes[whole.outputs[0]]), trace.shapes[whole.outputs[0]][_axis(trace, whole)]
    made = {op.index: op.outputs[0] for op in apart.ops if op.index in layers}
    return [prod(apart.shapes[made[index]]) * units_ // total for index in layers]


def _units_of_roles(models: Models, side: str, trace: Trace, whole: Op) -> dict[int, Array]:
    """Return which units of a layer become queries, keys and values."""
    makers, start = trace.producers(), _made_by(trace, whole)
    found: dict[int, Array] = {}
    for core in attending.cores(trace):
        for tensor, role in core:
            end = _last_moved(tensor, start, makers)
            if end is not None and role not in found:
                numbers = _followed(models, side, trace, start, end)
                if numbers is not None:
                    found[role] = numbers
    return found


def _made_by(trace: Trace, whole: Op) -> int:
    """Return what a layer makes, with its bias, should that be added in a step of its own."""
    readers = trace.consumers().get(whole.outputs[0], [])
    adds = len(readers) == 1 and readers[0].kind == "add" and bool(readers[0].weights) and len(readers[0].inputs) == 1
    return readers[0].outputs[0] if adds else whole.outputs[0]


def _last_moved(tensor: int, start: int, makers: dict[int, Op]) -> int | None:
    """Return the last tensor on the way from `start` to `tensor` that only holds some of its numbers."""
    moved, at, seen = tensor, tensor, 0
    while at != start:
        maker = makers.get(at)
        seen += 1
        if maker is None or not maker.inputs or seen > len(makers):
            return None
        at = maker.inputs[0]
        if maker.effect != MOVES and maker.kind not in PICKING:
            moved = at
    return moved


def _of_readers(models: Models, one: Stacked) -> Sequence[Array] | None:
    """Return the units by what is done with them: a filter goes through a tanh, its gate through a sigmoid."""
    sides = (TENSORFLOW, TORCH) if one.whole_side == 0 else (TORCH, TENSORFLOW)
    traces = models[sides[0]], models[sides[1]]
    whole = next(op for op in traces[0].ops if op.index == one.whole)
    apart = [next(op for op in traces[1].ops if op.index == index) for index in one.apart]
    twin = TWIN_TENSORFLOW if one.whole_side == 0 else TWIN_TORCH
    parts = _parts(models, twin, traces[0], whole, len(apart))
    if parts is None:
        return None
    read = [_read(traces[1], op.outputs[0]) for op in apart]
    sizes = _sizes(traces[1], one.apart, traces[0], whole)
    keys: list[tuple[Sequence[Hashable], Sequence[Hashable]]] = [([len(numbers) for numbers, _ in parts], sizes)]
    graphs, palette = [skeleton(trace, light=True) for trace in traces], Palette()
    for looks in zip(*(colours(graph, palette, _RADII, False, True, fine=True) for graph in graphs), strict=True):
        there = [(len(numbers), _look(looks[0], graphs[0], part), part.ends) for numbers, part in parts]
        here = [(size, _look(looks[1], graphs[1], part), part.ends) for size, part in zip(sizes, read, strict=True)]
        keys.append((there, here))
    for among, wanted in keys:
        order = _told_apart(among, wanted)
        if order is not None and [len(parts[place][0]) for place in order] == sizes:
            return [parts[place][0] for place in order]
    return None


def _told_apart(among: Sequence[Hashable], wanted: Sequence[Hashable]) -> list[int] | None:
    """Return the place of each wanted key among others, if all of them, or all but one, are there once.

    What reads one part may look otherwise, as where a filter and a gate are one layer as well: it is what is left.
    """
    found = {key: among.index(key) for key in wanted if among.count(key) == wanted.count(key) == 1}
    left = [place for place in range(len(among)) if place not in found.values()]
    if len(among) != len(wanted) or len(left) > 1:
        return None
    return [found.get(key, left[0] if left else -1) for key in wanted]


@dataclass
class _Readers:
    """What computes with a tensor, as it is or moved, and which of the model's outputs it is."""

    ops: list[Op] = field(default_factory=list)
    ends: tuple[int, ...] = ()


def _parts(models: Models, side: str, trace: Trace, whole: Op, count: int) -> list[tuple[Array, _Readers]] | None:
    """Return the units of each of `count` parts that a layer's result is taken apart into, and who reads them."""
    start = _made_by(trace, whole)
    readers, open_, found = _readers(trace), [start], dict[tuple[int, ...], tuple[Array, _Readers]]()
    for tensor in open_:
        reading = readers.get(tensor, [])
        moving = [op for op in reading if op.effect == MOVES or op.kind in PICKING]
        open_.extend(made for op in moving for made in op.outputs)
        others = [op for op in reading if op not in moving]
        ends = _ends(trace, tensor)
        numbers = _followed(models, side, trace, start, tensor, _axis(trace, whole)) if others or ends else None
        if numbers is not None:
            part = found.setdefault(tuple(numbers), (numbers, _Readers()))[1]
            part.ops.extend(others)
            part.ends = (*part.ends, *ends)
    total = trace.shapes[start][_axis(trace, whole)]
    taken = {unit for part in found for unit in part}
    if len(found) == count - 1 and len(taken) < total:  # nothing reads the last part
        rest = np.asarray([unit for unit in range(total) if unit not in taken])
        found[tuple(rest)] = rest, _Readers()
    whole_ = len(found) == count and sum(len(numbers) for numbers in found) == total
    return list(found.values()) if whole_ and len({unit for part in found for unit in part}) == total else None


def _read(trace: Trace, tensor: int) -> _Readers:
    """Return what computes with a tensor, as it is or moved."""
    readers, open_, found = _readers(trace), [tensor], _Readers()
    for at in open_:
        found.ends = (*found.ends, *_ends(trace, at))
        for op in readers.get(at, []):
            if op.effect == MOVES:
                open_.extend(op.outputs)
            else:
                found.ops.append(op)
    return found


def _readers(trace: Trace) -> dict[int, list[Op]]:
    """Return what reads each tensor, without that of which nothing comes: the last residual of a stack is unused."""
    needed, kept = set(trace.outputs), set[int]()
    for op in reversed(trace.ops):
        if needed & set(op.outputs):
            needed.update(op.inputs)
            kept.add(op.index)
    consumers = trace.consumers()
    return {tensor: [op for op in some if op.index in kept] for tensor, some in consumers.items()}


def _ends(trace: Trace, tensor: int) -> tuple[int, ...]:
    """Return which of the model's outputs a tensor is."""
    return tuple(place for place, one in enumerate(trace.outputs) if one == tensor)


def _look(colour: Array, graph: Skeleton, part: _Readers) -> tuple[int, ...]:
    there = graph.node_of()
    return tuple(sorted(int(colour[there[op.index]]) for op in part.ops if op.index in there))


def _axis(trace: Trace, op: Op) -> int:
    """Return the axis of a layer's units: channels come after the batch in torch, and where TensorFlow is told so."""
    first = "weight" in op.weights or op.config.get("data_format") == "channels_first"
    return 1 if op.kind == "conv" and first else len(trace.shapes[op.outputs[0]]) - 1


def _followed(models: Models, side: str, trace: Trace, start: int, end: int, axis: int | None = None) -> Array | None:
    """Return which units along an axis of `start`, by default the last, are in `end`, in rising order."""
    shape = trace.shapes[start]
    axis = len(shape) - 1 if axis is None else axis
    units = np.arange(shape[axis], dtype=np.float64)
    probe = np.moveaxis(np.broadcast_to(units, (*shape[:axis], *shape[axis + 1 :], shape[axis])), -1, axis)
    try:
        answer = models.segment(side, {start: np.ascontiguousarray(probe)}, end) if start != end else {"value": probe}
    except ParityError as error:
        if is_fatal(error):
            raise
        return None
    return np.unique(np.rint(np.asarray(answer["value"])).astype(np.int64))
