"""Layers that one side keeps apart and the other has as one: query, key and value, filter and gate, groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any

from parity.model.trace import Op, read_first
from parity.pairing.families import family, main_size
from parity.pairing.references import Shape
from parity.pairing.skeleton import Skeleton

_PARTS = (2, 3)  # filter and gate, key and value; query, key and value
_SAID = (r"(^|[^a-z])q(uery)?([^a-z]|$)", r"(^|[^a-z])k(ey)?([^a-z]|$)", r"(^|[^a-z])v(alue)?([^a-z]|$)")
_PRODUCTS = frozenset({"dense", "einsum", "matmul"})
PICKING = frozenset({"slice", "split", "gather"})
Size = tuple[int, int]  # how many features a linear layer reads, and how many units it has
Roles = Mapping[int, frozenset[int]]  # by the indices of operations


@dataclass(frozen=True)
class Stacked:
    """Operations (their indices) that one side keeps apart, in the order of the rows of the one that the other has."""

    tensorflow: tuple[int, ...]
    torch: tuple[int, ...]
    join: int | None = None  # what puts their results side by side, as the one operation of the other side has them

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


@dataclass(frozen=True)
class Group:
    """Nodes that may be one layer of the other side, in the order of its rows."""

    nodes: tuple[int, ...]
    between: tuple[int, ...] = ()  # what cuts their input into parts, and what joins their results
    join: int | None = None
    of_all: bool = True  # that read their tensor, not of some among more


@dataclass(frozen=True)
class Side:
    """One model's graph, the queries, keys or values that come of its operations, and its tensors' sizes."""

    graph: Skeleton
    roles: Roles
    sizes: Mapping[int, Sequence[int]]


def groups(a: Side, b: Side) -> list[Group]:
    """Return the nodes of `a` whose weights together are as large as those of one layer of `b`.

    Layers that read the same tensor, or convolutions of parts of one tensor against one convolution in groups.
    """
    convolutions = _convolution_groups(a.graph, b.graph)
    taken = {node for group in convolutions for node in group.nodes}
    return [*(group for group in _linear_groups(a, b) if not taken & set(group.nodes)), *convolutions]


def _linear_groups(a: Side, b: Side) -> list[Group]:
    """Return groups of dense layers that read the same tensor.

    Only as many as `b` has more layers of that size. Of three layers those two go together whose results are, in `b`,
    parts of one.
    """
    sizes = _linear_sizes(a), _linear_sizes(b)
    wanted = Counter(sizes[1].values()) - Counter(sizes[0].values())
    siblings: dict[tuple[tuple[tuple[int, int], ...], Size], list[int]] = {}
    for node, size in sizes[0].items():
        siblings.setdefault((a.graph.before[node], size), []).append(node)
    found: dict[tuple[Size, int], list[Group]] = {}
    alone = {index: next(iter(some)) for index, some in a.roles.items() if len(some) == 1}
    for (_, (features, units)), nodes in siblings.items():
        for count in _PARTS:
            whole, some = (features, units * count), nodes
            if len(nodes) != count:
                some = _of_roles(a.graph, nodes, alone, _roles_of(b, sizes[1], whole))
            if len(some) == count and whole in wanted:
                found.setdefault((whole, count), []).append(Group(_in_rows(a.graph, some, alone), of_all=some is nodes))
    even = [
        group
        for (whole, count), some in found.items()
        for group in _as_many(some, wanted[whole], _as_they_run(b.graph, sizes[1], whole, count))
    ]
    return [*even, *_uneven_groups(a.graph, sizes, {node for group in even for node in group.nodes}, alone)]


def _as_many(found: list[Group], count: int, ways: Sequence[bool]) -> list[Group]:
    """Return as many groups as the other side has layers for them: rather of all layers that read a tensor.

    Of more that are alike, those in whose place the other side has one layer too: `ways` says of each, as they run.
    """
    if len(found) == count:
        return found
    whole = [group for group in found if group.of_all]
    if len(whole) == count:
        return whole
    return [group for group, one in zip(whole, ways, strict=True) if one] if len(whole) == len(ways) else []


def _as_they_run(graph: Skeleton, sizes: Mapping[int, Size], whole: Size, count: int) -> list[bool]:
    """Return what runs: True for one layer of a size, False for as many that are of that size together."""
    siblings: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for node, size in sizes.items():
        if size == (whole[0], whole[1] // count):
            siblings.setdefault(graph.before[node], []).append(node)
    apart = [(nodes[0], False) for nodes in siblings.values() if len(nodes) == count]
    return [one for _, one in sorted([*apart, *((node, True) for node, size in sizes.items() if size == whole)])]


def _uneven_groups(
    a: Skeleton, sizes: Sequence[Mapping[int, Size]], taken: Container[int], alone: Mapping[int, int]
) -> list[Group]:
    """Return groups of layers of several sizes that read one tensor: more queries than keys, boxes and classes.

    Only those of sizes that `b` has no layers of, and only where one group is as large as a layer that `a` lacks.
    """
    lacking, wanted = (Counter(one.values()) - Counter(two.values()) for one, two in (sizes, sizes[::-1]))
    siblings: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for node, size in sizes[0].items():
        if size in lacking and node not in taken:
            siblings.setdefault(a.before[node], []).append(node)
    found: dict[Size, list[Group]] = {}
    for nodes in siblings.values():
        own = [sizes[0][node] for node in nodes]
        together = own[0][0], sum(units for _, units in own)
        alike = len({features for features, _ in own}) == 1
        if len(nodes) in _PARTS and alike and len(set(own)) > 1 and together in wanted:
            found.setdefault(together, []).append(Group(_in_rows(a, nodes, alone)))
    return [group for size, some in found.items() if len(some) == wanted[size] for group in some]


def _roles_of(side: Side, sizes: Mapping[int, Size], size: Size) -> frozenset[int]:
    """Return what the layers of one size make for attentions, if that is the same."""
    ops = [op for node, own in sizes.items() if own == size and (op := side.graph.ops[node]) is not None]
    made = {side.roles[op.index] for op in ops if op.index in side.roles}
    return made.pop() if len(made) == 1 else frozenset()


def _of_roles(graph: Skeleton, nodes: Sequence[int], alone: Mapping[int, int], wanted: frozenset[int]) -> list[int]:
    """Return those of a few layers that make the wanted queries, keys or values."""
    return [node for node in nodes if (op := graph.ops[node]) is not None and alone.get(op.index) in wanted]


def _convolution_groups(a: Skeleton, b: Skeleton) -> list[Group]:
    """Return groups of convolutions: of one tensor, or of the parts of one whose results are joined again.

    Only as many as `b` has more of the large ones, and `a` of the small ones.
    """
    counts = [Counter(_convolutions(graph).values()) for graph in (a, b)]
    more, spare = counts[1] - counts[0], counts[0] - counts[1]
    siblings: dict[Any, list[int]] = {}
    for node, key in _convolutions(a).items():
        siblings.setdefault((_source(a, node), key, _geometry(a.ops[node])), []).append(node)
    found: dict[tuple[tuple[int, int], tuple[int, int]], list[Group]] = {}
    for ((_, cut), (size, channel_groups), _), nodes in siblings.items():
        count = len(nodes)
        wanted = size * count, channel_groups * (count if cut else 1)
        if count > 1 and wanted in more and (cut or count in _PARTS):
            group = _joined(a, nodes) if cut else Group(tuple(nodes))
            found.setdefault((wanted, (size, channel_groups)), []).append(group)
    return [
        group
        for (wanted, part), some in found.items()
        if len(some) == more[wanted] and sum(len(group.nodes) for group in some) <= spare[part]
        for group in some
    ]


def _convolutions(graph: Skeleton) -> dict[int, tuple[int, int]]:
    """Return the number of elements of each convolution's kernel, and its groups of channels."""
    return {
        node: (main_size(graph.shapes[node]), int(op.config.get("groups") or 1))
        for node, op in enumerate(graph.ops)
        if op is not None and op.kind == "conv" and op.weights
    }


def _geometry(op: Op | None) -> str:
    return repr([list(op.config.get(key) or ()) for key in ("kernel", "strides", "dilation")]) if op else ""


def _source(graph: Skeleton, node: int) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Return what a node reads, seen through what cuts a part out of it, and whether something does."""
    before = graph.before[node]
    cutter = graph.ops[before[0][0]] if len(before) == 1 else None
    if cutter is None or cutter.kind not in PICKING:
        return before, False
    return graph.before[before[0][0]], True


def _joined(graph: Skeleton, nodes: Sequence[int]) -> Group:
    """Return convolutions of parts of a tensor in the order in which their results are joined, if they are at once."""
    readers = [{reader for reader, _ in graph.after[node]} for node in nodes]
    cutters = {source for node in nodes for source, _ in graph.before[node]}
    between = [cutter for cutter in cutters if {reader for reader, _ in graph.after[cutter]} <= set(nodes)]
    join = next(iter(readers[0])) if len(set.union(*readers)) == 1 and readers[0] else None
    op = graph.ops[join] if join is not None else None
    if join is None or op is None or op.kind != "concat" or {source for source, _ in graph.before[join]} != set(nodes):
        return Group(tuple(nodes), tuple(between))
    placed = sorted((place, source) for source, place in graph.before[join])
    return Group(tuple(source for _, source in placed), (*between, join), join)


def merged(graph: Skeleton, together: Sequence[Group]) -> Skeleton:
    """Return the graph with the first node of each group in place of all, and the others of it cut off."""
    lead = {node: group.nodes[0] for group in together for node in (*group.nodes, *group.between)}
    labels, fine, shapes = list(graph.labels), list(graph.fine), list(graph.shapes)
    for group in together:
        first, *others = group.nodes
        size = sum(main_size(graph.shapes[node]) for node in group.nodes)
        labels[first] = (*graph.labels[first][:1], size)
        shapes[first] = _together(graph, group.nodes, size)
        fine[first] = ("stacked", shapes[first])
        for node in (*others, *group.between):
            labels[node] = fine[node] = ("stacked into", first, node)
    before = _contracted(graph, lead)
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


def _together(graph: Skeleton, nodes: Sequence[int], size: int) -> tuple[Shape, ...]:
    """Return the sorted shapes of a layer's weights that are those of several layers."""
    first = graph.ops[nodes[0]]
    largest = max(graph.shapes[nodes[0]], key=prod)
    if first is not None and first.kind == "conv":
        filters = int(first.config["filters"])
        rest = list(largest)
        if filters in rest:
            rest.remove(filters)
        units = filters * len(nodes)
        return tuple(sorted([tuple(sorted((*rest, units))), *([(units,)] if len(graph.shapes[nodes[0]]) > 1 else [])]))
    units = size // min(largest)
    return tuple(sorted([tuple(sorted((min(largest), units))), (units,)]))


def _contracted(graph: Skeleton, lead: Mapping[int, int]) -> list[tuple[tuple[int, int], ...]]:
    """Return the edges into each node when groups of nodes are one node each."""
    members: dict[int, list[int]] = {}
    for node, first in lead.items():
        members.setdefault(first, []).append(node)

    def edges(nodes: Iterable[int], own: int) -> tuple[tuple[int, int], ...]:
        found = ((lead.get(source, source), place) for node in sorted(nodes) for source, place in graph.before[node])
        return tuple(dict.fromkeys((source, place) for source, place in found if source != own))

    return [
        () if lead.get(node, node) != node else edges(members.get(node, [node]), node) for node in range(graph.size)
    ]


def _linear_sizes(side: Side) -> dict[int, Size]:
    """Return how many features each linear layer reads and how many units it has; in one where that is not known."""
    found = {}
    for node, op in enumerate(side.graph.ops):
        if op is not None and op.weights and is_matrix(op):
            elements = main_size(side.graph.shapes[node])
            known = applied(op, elements, side.sizes)
            found[node] = known[1] if known is not None else (1, elements)
    return found


def is_matrix(op: Op) -> bool:
    """Return whether an operation multiplies the features of each place by one matrix."""
    return family(op) == "linear" and (op.kind in _PRODUCTS or _of_one_pixel(op))


def applied(op: Op, elements: int, sizes: Mapping[int, Sequence[int]]) -> tuple[int, Size] | None:
    """Return at how many places a matrix of so many elements is applied, and its features and units.

    By how many numbers it reads and makes; None where these are no whole multiples.
    """
    read, made = (prod(sizes.get(tensor, (0,))) for tensor in (read_first(op), op.outputs[0]))
    places = isqrt(read * made // elements) if elements else 0
    features, units = (read // places, made // places) if places else (0, 0)
    whole = (places * features, places * units, features * units) == (read, made, elements)
    return (places, (features, units)) if whole and places else None


def _of_one_pixel(op: Op) -> bool:
    """Return whether a convolution is a dense layer over each pixel."""
    sizes = [*(op.config.get("kernel") or (0,)), *(op.config.get("strides") or (1,)), op.config.get("groups") or 1]
    return op.kind == "conv" and all(size == 1 for size in sizes)


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
