"""Which way along time a recurrent layer goes: the halves of a bidirectional one are alike in all other respects.

One side says so in its settings, or is fed the sequence turned round; the other may be a cell in a loop, of which only
the order tells in which it reads the steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from parity.model.trace import MOVES, Op, Trace
from parity.pairing.skeleton import Skeleton
from parity.pairing.unrolled import RECURRENT

_TURNS = frozenset({"flip", "reverse", "ReverseV2", "Reverse", "reverse_v2"})
_A_FEW = 8  # moves before a layer
Weights = tuple[str, ...]


def alike(a: Skeleton, b: Skeleton, traces: tuple[Trace, Trace]) -> Iterator[tuple[int, int, bool]]:
    """Yield pairs of recurrent layers, or cells, of both sides, and whether they go the same way.

    Nothing where layers of one side all go one way, for then the direction tells none from another.
    """
    mine, theirs = (dict(_directions(graph, trace)) for graph, trace in zip((a, b), traces, strict=True))
    if any(len(set(side.values())) < 2 for side in (mine, theirs)):
        return
    yield from ((i, j, way == other) for i, way in mine.items() for j, other in theirs.items())


def _directions(graph: Skeleton, trace: Trace) -> Iterator[tuple[int, bool]]:
    """Yield each node that is a recurrent layer or a step of one, and whether it goes backwards, where that is told."""
    makers, cells = trace.producers(), dict[Weights, list[Op]]()
    for op in trace.ops:
        if op.kind in RECURRENT and op.config.get("cell"):
            cells.setdefault(_weights(op), []).append(op)
    of_cells = {key: _reads_backwards(steps, makers) for key, steps in cells.items()}
    for node, one in enumerate(graph.ops):
        if one is None or one.kind not in RECURRENT or one.config.get("bidirectional"):
            continue
        way = of_cells.get(_weights(one)) if one.config.get("cell") else _goes_backwards(one, makers)
        if way is not None:
            yield node, way


def _weights(op: Op) -> Weights:
    return tuple(sorted(op.weights.values()))


def _goes_backwards(op: Op, makers: Mapping[int, Op]) -> bool:
    return bool(op.config.get("go_backwards")) != _turned(op.inputs[0] if op.inputs else -1, makers)


def _turned(tensor: int, makers: Mapping[int, Op]) -> bool:
    """Return whether a sequence was turned round before a layer reads it."""
    turns = 0
    for _ in range(_A_FEW):
        maker = makers.get(tensor)
        turn = maker is not None and maker.kind.removeprefix("op:") in _TURNS
        if maker is None or not maker.inputs or not (turn or maker.effect == MOVES):
            break
        turns += turn
        tensor = maker.inputs[0]
    return turns % 2 == 1


def _reads_backwards(steps: list[Op], makers: Mapping[int, Op]) -> bool | None:
    """Return whether a cell is fed the last steps first; None where their places are not told."""
    places = [_place(step.inputs[0], makers) for step in steps if step.inputs]
    known = [place for place in places if place is not None]
    if len(known) < 2 or len({whole for whole, _ in known}) > 1:
        return None
    (whole, first), (_, second) = known[0], known[1]
    return None if first == second else (second < first) != _turned(whole, makers)


def _place(tensor: int, makers: Mapping[int, Op]) -> tuple[int, int] | None:
    """Return which sequence, and which step of it, a tensor is: one of several pieces, or cut out by a number."""
    maker = makers.get(tensor)
    for _ in range(_A_FEW):
        if maker is None or not maker.inputs:
            return None
        if len(maker.outputs) > 1:
            return maker.inputs[0], maker.outputs.index(tensor)
        numbers = [int(one) for one in re.findall(r"(?<![\w:])-?\d+(?![\w:])", str(maker.config.get("text", "")))]
        if len(numbers) == 1:
            return maker.inputs[0], numbers[0]
        if maker.effect != MOVES:
            return None
        tensor = maker.inputs[0]
        maker = makers.get(tensor)
    return None
