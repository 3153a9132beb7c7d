"""Branches side by side that differ in a setting alone, such as the rates of an ASPP: each belongs to its like.

What joins them may take them in another order: that is one fault, where pairs by place would be a fault in each.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from parity.pairing.families import settings
from parity.pairing.skeleton import Skeleton

Branches = dict[Hashable, int]  # the node of each setting


def alike(a: Skeleton, b: Skeleton) -> Iterator[tuple[int, int]]:
    """Yield the nodes of both sides that belong together for their settings, as no two beside them have the same."""
    theirs = list(_side_by_side(b))
    for label, mine in _side_by_side(a):
        for other_label, others in theirs:
            if label == other_label and mine.keys() == others.keys():
                for key, node in mine.items():
                    yield from _along(a, b, node, others[key])


def _along(a: Skeleton, b: Skeleton, node: int, other: int) -> Iterator[tuple[int, int]]:
    """Yield two nodes, and those behind them until their branches are joined with others or look otherwise."""
    while True:
        yield node, other
        further = [graph.after[at] for graph, at in ((a, node), (b, other))]
        if not all(len(some) == 1 for some in further):
            return
        (node, _), (other, _) = (some[0] for some in further)
        if len(a.before[node]) > 1 or len(b.before[other]) > 1 or a.labels[node] != b.labels[other]:
            return


def _side_by_side(graph: Skeleton) -> Iterator[tuple[Hashable, Branches]]:
    """Yield layers of one size that read one tensor, several of them, by what sets each apart."""
    groups: dict[Hashable, list[int]] = {}
    for node, op in enumerate(graph.ops):
        if op is not None and op.weights and op.inputs:
            groups.setdefault((graph.before[node], graph.labels[node], graph.shapes[node]), []).append(node)
    for (_, *label), nodes in ((key, some) for key, some in groups.items() if isinstance(key, tuple)):
        found: Branches = {tuple(sorted(settings(op).items())): node for node in nodes if (op := graph.ops[node])}
        if len(found) == len(nodes) > 1:
            yield tuple(label), found
