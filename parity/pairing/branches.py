"""Branches side by side that differ in a setting, an activation or their size alone: each belongs to its like.

Such are the rates of an ASPP, the gate of a highway beside what it lets through, the rows beside the columns.
What joins them may take them in another order: that is one fault, where pairs by place would be a fault in each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import product

from parity.model.trace import Op, Trace
from parity.pairing.families import is_light, settings
from parity.pairing.skeleton import Skeleton

Branches = dict[Hashable, list[int]]  # the nodes of each setting
_BY_SIZE = 3  # of the ways to tell them apart


def alike(
    a: Skeleton, b: Skeleton, whole: tuple[Skeleton, Skeleton], traces: tuple[Trace, Trace]
) -> Iterator[tuple[int, int, bool]]:
    """Yield the nodes of both sides that belong together for their settings, as few beside them have the same.

    Where the settings are the same, the activations behind them may tell, which are in `whole`, or their sizes. With
    each pair comes whether its sizes tell, which those of others can be by no means.
    """
    theirs = list(_side_by_side(b, whole[1], traces[1]))
    for label, mine in _side_by_side(a, whole[0], traces[0]):
        for other_label, others in theirs:
            if label != other_label:
                continue
            for way in _telling(mine, others)[:1]:
                for key, nodes in mine[way].items():
                    for node, other in product(nodes, others[way][key]):
                        yield from ((i, j, way == _BY_SIZE) for i, j in _along(a, b, node, other))


def _telling(mine: Sequence[Branches], others: Sequence[Branches]) -> list[int]:
    """Return the ways that tell the same apart on both sides: those that tell all branches first, else some of them."""
    counts = [[{key: len(nodes) for key, nodes in way.items()} for way in side] for side in (mine, others)]
    alike = [way for way, (here, there) in enumerate(zip(*counts, strict=True)) if here == there and len(here) > 1]
    return sorted(alike, key=lambda way: max(counts[0][way].values()) > 1)


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


def _side_by_side(graph: Skeleton, whole: Skeleton, trace: Trace) -> Iterator[tuple[Hashable, Sequence[Branches]]]:
    """Yield layers of one size that read one tensor, several of them, by each way to tell them apart, if it does."""
    groups: dict[Hashable, list[int]] = {}
    for node, op in enumerate(graph.ops):
        if op is not None and op.weights and op.inputs:
            groups.setdefault((graph.before[node], graph.labels[node], graph.shapes[node]), []).append(node)
    places = whole.node_of()
    for (_, *label), nodes in ((key, some) for key, some in groups.items() if isinstance(key, tuple)):
        ops = {node: op for node in nodes if (op := graph.ops[node])}
        if len(nodes) > 1:
            yield (
                tuple(label),
                [
                    _by(ops, _settings),
                    _by(ops, lambda op: (_settings(op), _activations(whole, places[op.index]))),
                    _by(ops, lambda op: (_settings(op), _further(whole, places[op.index]))),
                    _by(ops, lambda op: (_settings(op), _sizes(trace, op))),
                ],
            )


def _by(ops: Mapping[int, Op], look: Callable[[Op], Hashable]) -> Branches:
    """Return the nodes by what their operations look like."""
    found: Branches = {}
    for node, op in ops.items():
        found.setdefault(look(op), []).append(node)
    return found


def _settings(op: Op) -> Hashable:
    return tuple(sorted(settings(op).items()))


def _activations(whole: Skeleton, node: int) -> Hashable:
    """Return what bends a layer's result right behind it."""
    readers = [whole.ops[reader] for reader, _ in whole.after[node]]
    return tuple(sorted((op.kind, repr(_settings(op))) for op in readers if op is not None and is_light(op)))


def _further(whole: Skeleton, node: int) -> Hashable:
    """Return what bends a layer's result, and the layers between, until its branch divides or is joined with others."""
    found: list[Hashable] = []
    while len(whole.after[node]) == 1:
        node = whole.after[node][0][0]
        op = whole.ops[node]
        if op is None or len(whole.before[node]) != 1 or not (op.weights or op.kind == "activation"):
            break
        found.append(whole.labels[node] if op.weights else (op.kind, repr(_settings(op))))
    return tuple(found)


def _sizes(trace: Trace, op: Op) -> Hashable:
    """Return how long the axes of a layer's result are, in whatever order."""
    return tuple(sorted(trace.shapes.get(op.outputs[0], ())))
