"""Calls of one layer, such as the steps of a cell: two layers of the other side do not share them while one is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parity.pairing.assign import assign
from parity.pairing.evidence import NO_WAY, Scores
from parity.pairing.skeleton import Skeleton

_ROUNDS = 8
_Holder = frozenset[str]


def one_layer_each(
    a: Skeleton, b: Skeleton, scores: Scores, chosen: dict[int, int], certain: Mapping[int, int]
) -> dict[int, int]:
    """Return pairs in which no two layers have calls of one as partners while another of its shapes has none.

    The pairs that are given up are ruled out in `scores`.
    """
    for _ in range(_ROUNDS):
        lost = [*_lost(a, b, scores, chosen, certain)]
        turned = {j: i for i, j in chosen.items()}
        lost += [(i, j) for j, i in _lost(b, a, scores.T, turned, {j: i for i, j in certain.items()})]
        if not lost:
            break
        for i, j in lost:
            scores[i, j] = NO_WAY
        chosen = {int(i): int(j) for i, j in zip(*assign(a, b, scores), strict=True)}
    return chosen


def _lost(
    a: Skeleton, b: Skeleton, scores: Scores, chosen: Mapping[int, int], certain: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield the nodes of each layer of `a` that shares a layer of `b` with a likelier one, with all calls of that."""
    calls: dict[_Holder, list[int]] = {}
    for node in range(b.size):
        if _holder(b, node):
            calls.setdefault(_holder(b, node), []).append(node)
    sharing: dict[_Holder, dict[_Holder, list[int]]] = {}
    for i, j in chosen.items():
        if _holder(a, i) and _holder(b, j):
            sharing.setdefault(_holder(b, j), {}).setdefault(_holder(a, i), []).append(i)
    for theirs, mine in sharing.items():
        shapes = b.shapes[calls[theirs][0]]
        free = [one for one, nodes in calls.items() if one not in sharing and b.shapes[nodes[0]] == shapes]
        if len(mine) < 2 or not free:
            continue
        _, *others = sorted(mine.values(), key=lambda nodes: -max(float(scores[i, chosen[i]]) for i in nodes))
        for i in (i for nodes in others for i in nodes if i not in certain):
            yield from ((i, j) for j in calls[theirs])


def _holder(graph: Skeleton, node: int) -> _Holder:
    op = graph.ops[node]
    return frozenset(op.weights.values()) if op is not None else frozenset()
