"""Whether two operations stand in the same place: between the same paired ones, and in the same order as others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from parity.pairing.evidence import Scores
from parity.pairing.skeleton import Skeleton, reachable


def between(a: Skeleton, b: Skeleton, anchors: Mapping[int, int]) -> tuple[Scores, Scores]:
    """Return for all pairs how far the nearest anchors above agree, and those below: common ones over all, 0 to 1.

    `anchors` maps nodes of `a` to their partners in `b`; nodes that are none are looked through.
    """
    numbers_a = {node: number for number, node in enumerate(anchors)}
    numbers_b = {node: number for number, node in enumerate(anchors.values())}
    above = _shared(_nearest(a, numbers_a, True), _nearest(b, numbers_b, True))
    below = _shared(_nearest(a, numbers_a, False), _nearest(b, numbers_b, False))
    return above, below


def _nearest(graph: Skeleton, numbers: Mapping[int, int], up: bool) -> NDArray[np.float32]:
    """Return a row for each node that marks its nearest anchors."""
    table = np.zeros((graph.size, max(len(numbers), 1)), np.float32)
    for node in range(graph.size) if up else reversed(range(graph.size)):
        for source, _ in graph.before[node] if up else graph.after[node]:
            if source in numbers:
                table[node, numbers[source]] = 1
            else:
                np.maximum(table[node], table[source], out=table[node])
    return table


def _shared(mine: NDArray[np.float32], other: NDArray[np.float32]) -> Scores:
    common = mine @ other.T
    either = mine.sum(axis=1)[:, None] + other.sum(axis=1)[None, :] - common
    return np.asarray(np.where(either > 0, common / np.maximum(either, 1), 1.0), np.float64)


def without_crossings(
    a: Skeleton, b: Skeleton, pairs: Mapping[int, int], strength: Mapping[int, float]
) -> dict[int, int]:
    """Return the pairs without those that another pair contradicts: before it on one side and behind it on the other.

    Of two that contradict each other the weaker goes; pairs of infinite strength stay in any case.
    """
    here, there = (np.asarray(list(side), np.intp) for side in (pairs.keys(), pairs.values()))
    if not here.size:
        return {}
    crossing = reachable(a)[np.ix_(here, here)] & reachable(b)[np.ix_(there, there)].T
    crossing |= crossing.T
    power = np.asarray([strength[node] for node in here])
    alive = np.ones(here.size, bool)
    while True:
        conflicts = (crossing & alive[None, :]).sum(axis=1) * alive * np.isfinite(power)
        if not conflicts.any():
            break
        # The one that contradicts most goes first; of equals, the weakest.
        worst = int(np.lexsort((power, -conflicts))[0])
        alive[worst] = False
    return {int(node): int(pairs[int(node)]) for node in here[alive]}
