"""Layers that one side keeps apart and the other stacks into one: query, key and value as a single layer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from parity.pairing.families import family, main_size
from parity.pairing.skeleton import Skeleton

_PARTS = (2, 3)  # key and value; query, key and value
_SAID = (r"(^|[^a-z])q(uery)?([^a-z]|$)", r"(^|[^a-z])k(ey)?([^a-z]|$)", r"(^|[^a-z])v(alue)?([^a-z]|$)")


@dataclass(frozen=True)
class Stacked:
    """Operations (their indices) that one side keeps apart, in the order of the rows of the one that the other has."""

    tensorflow: tuple[int, ...]
    torch: tuple[int, ...]

    @property
    def whole_side(self) -> int:
        """Which side has one operation: 0 is TensorFlow."""
        return 0 if len(self.tensorflow) == 1 else 1

    @property
    def whole(self) -> int:
        """The one operation."""
        return (self.tensorflow, self.torch)[self.whole_side][0]

    @property
    def apart(self) -> tuple[int, ...]:
        """The several operations."""
        return (self.tensorflow, self.torch)[1 - self.whole_side]


def groups(a: Skeleton, b: Skeleton, roles: Mapping[int, int] | None = None) -> list[tuple[int, ...]]:
    """Return the nodes of `a` that read the same tensor and whose weights together are as large as one layer's of `b`.

    Only where `a` has no layer of that size itself, and as many groups as `b` has such layers. `roles` says which
    operations make queries, keys or values.
    """
    sizes = [_linear_sizes(graph) for graph in (a, b)]
    wanted = Counter(sizes[1].values())
    for size in set(sizes[0].values()):
        wanted.pop(size, None)
    siblings: dict[tuple[tuple[tuple[int, int], ...], int], list[int]] = {}
    for node, size in sizes[0].items():
        siblings.setdefault((a.before[node], size), []).append(node)
    found: dict[int, list[tuple[int, ...]]] = {}
    for (_, size), nodes in siblings.items():
        if len(nodes) in _PARTS and size * len(nodes) in wanted:
            found.setdefault(size * len(nodes), []).append(_in_rows(a, nodes, roles or {}))
    return [group for size, some in found.items() if len(some) == wanted[size] for group in some]


def merged(graph: Skeleton, together: Sequence[tuple[int, ...]]) -> Skeleton:
    """Return the graph with the first node of each group in place of all, and the others of it cut off."""
    lead = {node: group[0] for group in together for node in group}
    labels, fine, shapes = list(graph.labels), list(graph.fine), list(graph.shapes)
    for group in together:
        first, *others = group
        size = sum(main_size(graph.shapes[node]) for node in group)
        largest = max(graph.shapes[first], key=prod)
        units = size // min(largest)
        labels[first] = (*graph.labels[first][:1], size)
        shapes[first] = tuple(sorted([tuple(sorted((min(largest), units))), (units,)]))
        fine[first] = ("stacked", shapes[first])
        for node in others:
            labels[node] = fine[node] = ("stacked into", first, node)
    before = [
        () if lead.get(node, node) != node else tuple(dict.fromkeys((lead.get(s, s), place) for s, place in edges))
        for node, edges in enumerate(graph.before)
    ]
    after: list[list[tuple[int, int]]] = [[] for _ in before]
    for node, edges in enumerate(before):
        for source, place in edges:
            after[source].append((node, place))
    ops = tuple(None if lead.get(node, node) != node else op for node, op in enumerate(graph.ops))
    return replace(
        graph,
        ops=ops,
        labels=tuple(labels),
        fine=tuple(fine),
        shapes=tuple(shapes),
        before=tuple(before),
        after=tuple(tuple(edges) for edges in after),
    )


def _linear_sizes(graph: Skeleton) -> dict[int, int]:
    """Return the number of elements of each linear layer's matrix."""
    return {
        node: main_size(graph.shapes[node])
        for node, op in enumerate(graph.ops)
        if op is not None and op.kind in ("dense", "einsum", "matmul") and op.weights and family(op) == "linear"
    }


def _in_rows(graph: Skeleton, nodes: Sequence[int], roles: Mapping[int, int]) -> tuple[int, ...]:
    """Return the nodes in the order of the stacked rows: query, key, value by what they do or say, else as they ran."""
    ops = [op for node in nodes if (op := graph.ops[node]) is not None]
    tails = [re.split(r"[/.]", op.name.lower())[-1] for op in ops]
    used = [roles.get(op.index) for op in ops]
    said = [next((rank for rank, word in enumerate(_SAID) if re.search(word, tail)), None) for tail in tails]
    for ranks in (used, said):
        if None not in ranks and len(set(ranks)) == len(ranks):
            return tuple(node for _, node in sorted(zip(ranks, nodes, strict=True)))
    return tuple(nodes)
