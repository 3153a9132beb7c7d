"""Operations that computed the same numbers, known by six figures of each tensor, whatever the order of its axes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from parity.pairing.families import family
from parity.pairing.skeleton import Skeleton, reachable

Prints = Mapping[int, Sequence[float]]  # size, sum, sum of sizes, of squares, largest, smallest
Equal = NDArray[np.bool_]

_CLOSE = 1e-9
# What was computed from a table of sines that float32 rounded on one side alone is so far apart.
_NEAR = 2.0**-17


def equal_outputs(a: Skeleton, b: Skeleton, mine: Prints | None, other: Prints | None) -> Equal:
    """Return which nodes' first outputs hold the same numbers; none do where nothing is known.

    Those that have no equal may be near to one other, and to no more.
    """
    tables = [_table(graph, prints or {}) for graph, prints in ((a, mine), (b, other))]
    x, y = tables[0][:, None, :], tables[1][None, :, :]
    with np.errstate(invalid="ignore"):
        # A sum may be nearly zero; what was summed says how exact it can be.
        total = np.maximum(x[..., 2], y[..., 2])
        peak = np.maximum(np.abs(x[..., 4:]).max(axis=-1), np.abs(y[..., 4:]).max(axis=-1))
        scales = np.stack([total, total, np.maximum(x[..., 3], y[..., 3]), peak, peak], axis=-1)
        apart = np.abs(x[..., 1:] - y[..., 1:])
        something = (total > 0) & (x[..., 0] == y[..., 0])  # nothing but zeros says nothing
        close, near = (np.asarray((apart <= far * scales).all(axis=-1) & something, bool) for far in (_CLOSE, _NEAR))
    alone = ~np.asarray(close.any(axis=1))[:, None] & ~np.asarray(close.any(axis=0))[None, :]
    return np.asarray(close | unique(near & alone), bool)


def same_figures(mine: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two tensors of these figures hold the same numbers."""
    x, y = np.asarray(mine, np.float64), np.asarray(other, np.float64)
    largest = np.maximum(np.abs(x), np.abs(y))
    peak = largest[4:].max()
    scales = np.asarray([largest[2], largest[2], largest[3], peak, peak])
    return bool(x[0] == y[0] and largest[2] > 0 and (np.abs(x[1:] - y[1:]) <= _CLOSE * scales).all())


def unique(equal: Equal) -> Equal:
    """Return the pairs whose values are equal to one another's only."""
    ones = np.asarray(equal.sum(axis=1) == 1)[:, None] & np.asarray(equal.sum(axis=0) == 1)[None, :]
    return np.asarray(equal & ones, bool)


def _table(graph: Skeleton, prints: Prints) -> NDArray[np.float64]:
    table = np.full((graph.size, 6), np.nan)
    for node, op in enumerate(graph.ops):
        if op is not None and op.outputs and op.outputs[0] in prints:
            table[node] = prints[op.outputs[0]]
    return table


def exchanged(
    a: Skeleton, b: Skeleton, pairs: Mapping[int, int], equal: Equal, fixed: Container[int]
) -> dict[int, int]:
    """Return pairs of nodes with partners exchanged where a node's values are those of another one, and of no other's.

    Who lost his partner gets the one that was left over, if both are of one family; else none. Where what reads the
    results says the reverse, such as a sigmoid here and a tanh there, it is the weights that are in the wrong places.
    """
    after = dict(pairs)
    owner = {j: i for i, j in after.items()}
    one = unique(equal)
    for i, j in pairs.items():
        right = np.flatnonzero(one[i])
        if i in fixed or not right.size or int(right[0]) == after.get(i):
            continue
        new = int(right[0])
        holder = owner.get(new)
        if not _related(a, i, b, new) or holder in fixed or _is_read_otherwise(a, i, b, (j, new)):
            continue
        left = after.pop(i, j)
        after[i], owner[new] = new, i
        if holder is not None:
            del after[holder]
            owner.pop(left, None)
            if _related(a, holder, b, left) and left not in after.values():
                after[holder], owner[left] = left, holder
    return after


def _related(a: Skeleton, i: int, b: Skeleton, j: int) -> bool:
    mine, other = a.ops[i], b.ops[j]
    return mine is not None and other is not None and family(mine) == family(other) and bool(other.weights)


def _is_read_otherwise(a: Skeleton, i: int, b: Skeleton, candidates: tuple[int, int]) -> bool:
    """Return whether what reads the results speaks for the first candidate, and against the second.

    Where one operation reads both, such as a concatenation, it says nothing: its inputs may be in another order.
    """
    now, new = ({at for at, _ in b.after[node]} for node in candidates)
    return now != new and _read_alike(a, i, b, candidates[0]) and not _read_alike(a, i, b, candidates[1])


def _read_alike(a: Skeleton, i: int, b: Skeleton, j: int) -> bool:
    """Return whether what two nodes make is read by the same kinds of operations, settings and places included."""
    readers = [
        sorted(repr((graph.fine[at], place)) for at, place in graph.after[node]) for graph, node in ((a, i), (b, j))
    ]
    return readers[0] == readers[1]


def not_healed(a: Skeleton, pairs: Mapping[int, int], equal: Equal, certain: Container[int]) -> dict[int, int]:
    """Return the pairs without those of unequal values behind which all values are equal again.

    Two operations that were exchanged (a ReLU and a pooling) make the same function, and are not each other's partners.
    What a mask multiplies with zeros, one side may have masked before, too: all between is no other function then.
    Nor is what adds to scores, by which each side blocks some in its own way: 1e9 and all that float32 holds.
    """
    found = _without_healed(a, pairs, equal, certain, masked=False)
    while True:
        fewer = _without_healed(a, found, equal, certain, masked=True)
        if len(fewer) == len(found):
            return found
        found = fewer


def _without_healed(
    a: Skeleton, pairs: Mapping[int, int], equal: Equal, certain: Container[int], masked: bool
) -> dict[int, int]:
    """Return the pairs without those behind which all values are equal, with `masked` those of products alone."""
    found = {}
    for i, j in pairs.items():
        behind = set() if a.ops[i] is None or i in certain or equal[i, j] else _next(a, i, pairs)
        healed = behind and all(equal[node, pairs[node]] for node in behind)
        if not healed or (masked and not all(_takes_away(a, i, node) for node in behind)):
            found[i] = j
    return found


def _takes_away(graph: Skeleton, node: int, behind: int) -> bool:
    """Whether the operation behind may undo what the one before did: zeros of a mask, or scores far below others."""
    first, op = graph.ops[node], graph.ops[behind]
    kinds = (getattr(first, "kind", ""), getattr(op, "kind", ""))
    return kinds[1] == "multiply" or kinds == ("add", "softmax")


def _next(graph: Skeleton, node: int, pairs: Mapping[int, int]) -> set[int]:
    """Return the nearest paired nodes behind a node."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [reader for reader, _ in graph.after[node]]
    while waiting:
        reader = waiting.pop()
        if reader in seen:
            continue
        seen.add(reader)
        if reader in pairs:
            found.add(reader)
        else:
            waiting.extend(after for after, _ in graph.after[reader])
    return found


def of_equal_value(a: Skeleton, b: Skeleton, pairs: Mapping[int, int], equal: Equal) -> dict[int, int]:
    """Return further pairs of whatever families whose values are equal, and no other's are."""
    rest_a = [n for n, op in enumerate(a.ops) if op is not None and n not in pairs]
    taken = set(pairs.values())
    rest_b = {n for n, op in enumerate(b.ops) if op is not None and n not in taken}
    one = unique(equal)
    found = {i: int(np.flatnonzero(one[i])[0]) for i in rest_a if one[i].any()}
    found = {i: j for i, j in found.items() if j in rest_b}
    if not found:
        return {}
    all_pairs = {**pairs, **found}
    here, there = (np.asarray(list(side), np.intp) for side in (all_pairs.keys(), all_pairs.values()))
    crossing = reachable(a)[np.ix_(here, here)] & reachable(b)[np.ix_(there, there)].T
    crosses = dict(zip(all_pairs, np.asarray((crossing | crossing.T).any(axis=1)), strict=True))
    return {i: j for i, j in found.items() if not crosses[i]}
