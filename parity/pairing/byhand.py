"""Pairs that a user names himself: a layer with a module, or everything below one with everything below the other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.errors import UsageError
from parity.model.trace import Op, Trace
from parity.pairing.families import family


@dataclass(frozen=True)
class ByHand:
    """What must pair (operations), and what may only pair within itself (sets of operations)."""

    pairs: tuple[tuple[int, int], ...]
    groups: tuple[tuple[frozenset[int], frozenset[int]], ...]


def resolve(tensorflow: Trace, torch: Trace, by_hand: Mapping[str, str]) -> ByHand:
    """Return what the names given by hand mean.

    Raises
        UsageError: no operation has such a name.
    """
    pairs: list[tuple[int, int]] = []
    groups: list[tuple[frozenset[int], frozenset[int]]] = []
    for mine, other in by_hand.items():
        here, there = _named(tensorflow, mine, "/:"), _named(torch, other, ".")
        below = _below(tensorflow, mine, "/"), _below(torch, other, ".")
        for side, name, found, trace in (
            ("tensorflow", mine, [*here, *below[0]], tensorflow),
            ("torch", other, [*there, *below[1]], torch),
        ):
            if not found:
                raise UsageError(f"--map: {side} has no layer `{name}`{_near(name, trace.ops)}")
        if here and there:
            pairs.extend(_in_order(here, there))
        else:
            groups.append((_indices(*here, *below[0]), _indices(*there, *below[1])))
    return ByHand(tuple(dict.fromkeys(pairs)), tuple(groups))


def _indices(*ops: Op) -> frozenset[int]:
    return frozenset(op.index for op in ops)


def _named(trace: Trace, name: str, separators: str) -> list[Op]:
    """Return the operations of one layer: that name itself, and the parts that the adapter split from it."""
    exact = [op for op in trace.ops if op.name == name]
    parts = [op for op in trace.ops if ":" in separators and op.name.startswith(f"{name}:")]
    return sorted([*exact, *parts], key=lambda op: op.index) if exact else parts


def _below(trace: Trace, name: str, separator: str) -> list[Op]:
    return [op for op in trace.ops if op.name.startswith(f"{name}{separator}")]


def _in_order(here: Sequence[Op], there: Sequence[Op]) -> Iterable[tuple[int, int]]:
    """Pair those with weights in the order in which they ran, and the others of each family likewise."""
    weighted = [[op for op in side if op.weights] for side in (here, there)]
    yield from ((a.index, b.index) for a, b in zip(*weighted, strict=False))
    rest = [[op for op in side if not op.weights] for side in (here, there)]
    if not any(weighted) and len(rest[0]) == len(rest[1]) == 1:
        yield rest[0][0].index, rest[1][0].index
        return
    for kind in dict.fromkeys(family(op) for op in rest[0]):
        alike = [[op for op in side if family(op) == kind] for side in rest]
        yield from ((a.index, b.index) for a, b in zip(*alike, strict=False))


def _near(name: str, ops: Iterable[Op]) -> str:
    close = difflib.get_close_matches(name, {op.name for op in ops}, n=3, cutoff=0.5)
    return f"; near names: {', '.join(f'`{found}`' for found in close)}" if close else ""
