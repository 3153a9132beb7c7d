"""Pairs that a user names himself: a layer with a module, or everything below one with everything below the other.

A weight may stand for the layer that uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from parity.errors import UsageError
from parity.model.trace import Op, Trace, used_weights, weight_names
from parity.pairing.families import family
from parity.pairing.fitting import role_pairs


@dataclass(frozen=True)
class ByHand:
    """What must pair (operations), and what may only pair within itself (sets of operations)."""

    pairs: tuple[tuple[int, int], ...]
    groups: tuple[tuple[frozenset[int], frozenset[int]], ...]


def resolve(tensorflow: Trace, torch: Trace, by_hand: Mapping[str, str]) -> ByHand:
    """Return what the names given by hand mean.

    Raises
        UsageError: no operation has such a name, or what was said before takes it already.
    """
    pairs: dict[tuple[int, int], str] = {}
    groups: list[tuple[frozenset[int], frozenset[int]]] = []
    for mine, other in by_hand.items():
        said = f"`{mine}` = `{other}`"
        here, there = _named(tensorflow, mine, "/:"), _named(torch, other, ".")
        if not here and not there and mine in tensorflow.weights and other in torch.weights:
            here, there = _reading(tensorflow, mine), _reading(torch, other)
            _same_role(here, there, mine, other)
        below = _below(tensorflow, mine, "/"), _below(torch, other, ".")
        for side, name, found, trace in (
            ("tensorflow", mine, [*here, *below[0]], tensorflow),
            ("torch", other, [*there, *below[1]], torch),
        ):
            if not found:
                raise UsageError(f"--map: {side} has no layer `{name}`{_near(name, trace.ops)}")
        if here and there:
            _take(pairs, here, there, said)
        else:
            groups.append((_indices(*here, *below[0]), _indices(*there, *below[1])))
    return ByHand(tuple(pairs), tuple(groups))


def _reading(trace: Trace, weight: str) -> list[Op]:
    """Return the operations that use a weight."""
    return [op for op, _, name in used_weights(trace.ops) if name == weight]


def _same_role(here: Sequence[Op], there: Sequence[Op], mine: str, other: str) -> None:
    """Refuse a weight with another one than its partner's: within two layers their roles tell which is which."""
    for first, second in product(here, there):
        pairs = [(first.weights[a], second.weights[b]) for a, b, _ in role_pairs(first, second)]
        partner = next((theirs for ours, theirs in pairs if mine in weight_names(ours)), None)
        known = {name for _, theirs in pairs for name in weight_names(theirs)}
        if partner is not None and other in known - {*weight_names(partner)}:
            raise UsageError(f"--map: `{mine}` = `{other}`: in these two layers `{mine}` is what `{partner}` is")


def _take(pairs: dict[tuple[int, int], str], here: Sequence[Op], there: Sequence[Op], said: str) -> None:
    """Pair, in place, what no line before this one has paired; one layer that runs at several places may have several.

    Raises
        UsageError: an earlier line says otherwise, or the two can have nothing to do with each other.
    """
    found = list(_in_order(here, there))
    if found and all(pair in pairs for pair in found):  # by another of their weights
        return
    taken = [{pair[side]: line for pair, line in pairs.items()} for side in (0, 1)]
    free = [[op for op in side if op.index not in known] for side, known in zip((here, there), taken, strict=True)]
    new = list(_in_order(*free))
    if not new and any(taken[side].keys() & _indices(*ops) for side, ops in enumerate((here, there))):
        earlier = next(known[op.index] for side, known in zip((here, there), taken, strict=True) for op in side
                       if op.index in known)  # fmt: skip
        raise UsageError(f"--map: {said} contradicts {earlier}: a layer has one partner for each time that it runs")
    if not new and not {family(op) for op in here} & {family(op) for op in there}:
        kinds = " and ".join(", ".join(dict.fromkeys(op.kind for op in ops)) for ops in (here, there))
        raise UsageError(f"--map: {said} cannot be paired: they have nothing in common ({kinds})")
    pairs.update(dict.fromkeys(new, said))


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
