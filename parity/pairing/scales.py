"""Products that one side scales before and the other behind: only behind both do they hold the same numbers.

One attention scales its queries, another one the scores. Where no values tell, the two products would pair, each beside
a scale that seems to be missing on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, prod

from parity.pairing.families import family
from parity.pairing.fingerprints import Equal
from parity.pairing.skeleton import Skeleton

_CLOSE = 1e-6


@dataclass(frozen=True)
class _Scaled:
    """The operations that scale what a product reads, those that scale what it makes, in order, and by what in all."""

    before: tuple[int, ...]
    behind: tuple[int, ...]
    number: float


def paired_behind(a: Skeleton, b: Skeleton, pairs: Mapping[int, int], equal: Equal) -> dict[int, int]:
    """Return the pairs with those of such products moved to where both are scaled, by one number in all."""
    found = dict(pairs)
    for i, j in pairs.items():
        mine, theirs = _scaled(a, i), _scaled(b, j)
        if mine is None or theirs is None or equal[i, j] or not isclose(mine.number, theirs.number, rel_tol=_CLOSE):
            continue
        if bool(mine.behind) == bool(theirs.behind) or bool(mine.before) == bool(theirs.before):
            continue
        taken = {*theirs.before, j, *theirs.behind}
        for node in (*mine.before, i, *mine.behind):
            found.pop(node, None)
        found = {one: other for one, other in found.items() if other not in taken}
        found[(i, *mine.behind)[-1]] = (j, *theirs.behind)[-1]
    return dict(sorted(found.items()))


def _scaled(graph: Skeleton, node: int) -> _Scaled | None:
    op = graph.ops[node]
    if op is None or family(op) != "product":
        return None
    before = [source for source, _ in graph.before[node] if _scales(graph, source)]
    behind, at = list[int](), node
    while len(graph.after[at]) == 1 and _is_scale(graph, graph.after[at][0][0]):
        at = graph.after[at][0][0]
        behind.append(at)
    steps = [one for node in (*before, *behind) if (one := graph.ops[node]) is not None]
    return _Scaled(tuple(before), tuple(behind), prod(float(one.config["scale"]) for one in steps))


def _scales(graph: Skeleton, node: int) -> bool:
    return _is_scale(graph, node) and len(graph.after[node]) == 1


def _is_scale(graph: Skeleton, node: int) -> bool:
    op = graph.ops[node]
    if op is None or op.kind != "rescale" or op.weights or op.config.get("offset"):
        return False
    return isinstance(op.config.get("scale"), float)
