"""A model as a graph of its operations, with those contracted that only move numbers or are easily left out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.model.trace import OPERATORS, Op, Trace
from parity.pairing.families import COMMUTES, coarse_label, counts, is_light, settings, weight_shapes
from parity.pairing.moving import SHAPING
from parity.pairing.references import Shape, shapes_of

Colours = NDArray[np.int64]


@dataclass(frozen=True)
class Skeleton:
    """Nodes 0.. are the model's inputs, then the kept operations as they ran, then its outputs.

    An edge (node, position) leads from what made a value to what reads it; the position is that of the argument where
    its place matters, else -1. `shapes` are the sorted shapes of each node's weights.
    """

    ops: tuple[Op | None, ...]
    labels: tuple[tuple[Any, ...], ...]
    fine: tuple[tuple[Any, ...], ...]
    shapes: tuple[tuple[Shape, ...], ...]
    before: tuple[tuple[tuple[int, int], ...], ...]
    after: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def size(self) -> int:
        return len(self.ops)

    def node_of(self) -> dict[int, int]:
        """Return the node of each kept operation's index."""
        return {op.index: node for node, op in enumerate(self.ops) if op is not None}


def skeleton(trace: Trace, light: bool = False) -> Skeleton:
    """Return the graph of a trace; with `light`, only what moves numbers is contracted."""
    shapes = shapes_of(trace)
    kept = [op for op in _holding(trace) if counts(op) and (light or not is_light(op))]
    nodes: list[Op | None] = [*[None] * len(trace.inputs), *kept, *[None] * len(trace.outputs)]
    before = _wired(trace, nodes)
    own = [weight_shapes(op, shapes) if op else () for op in nodes]
    ends = [("input", place) for place in range(len(trace.inputs))]
    coarse = [coarse_label(op, shape) for op, shape in zip(nodes, own, strict=True) if op is not None]
    exact = [(op.kind, shape, tuple(sorted(settings(op).items()))) for op, shape in zip(nodes, own, strict=True) if op]
    final = [("output", place) for place in range(len(trace.outputs))]
    return Skeleton(
        tuple(nodes), (*ends, *coarse, *final), (*ends, *exact, *final), tuple(own), tuple(before), _reversed(before)
    )


def _holding(trace: Trace) -> list[Op]:
    """Return the operations; one that reads a weight in another shape holds it, as TensorFlow's do."""
    consumers, producers = trace.consumers(), trace.producers()
    found: list[Op] = []
    taken: set[int] = set()
    for op in trace.ops:
        makers = [producers.get(tensor) for tensor in op.inputs] if op.kind in OPERATORS and not op.weights else []
        shaped = [maker for maker in makers if maker is not None and _only_shapes(maker)]
        if len(makers) == 2 and len(shaped) == 1 and len(consumers[shaped[0].outputs[0]]) == 1:
            taken.add(shaped[0].index)
            op = replace(op, weights={"other": next(iter(shaped[0].weights.values()))})
        found.append(op)
    return [op for op in found if op.index not in taken]


def _only_shapes(op: Op) -> bool:
    return op.kind == "op:weight" and not op.inputs and len(op.weights) == 1 and op.config.get("function") in SHAPING


def _wired(trace: Trace, nodes: Sequence[Op | None]) -> list[tuple[tuple[int, int], ...]]:
    """Return the edges into each node; a concat of concats reads what those read, however deeply a model nests them."""
    numbers = {op.index: node for node, op in enumerate(nodes) if op is not None}
    origins: dict[int, tuple[int, ...]] = {tensor: (place,) for place, tensor in enumerate(trace.inputs)}
    before: list[tuple[tuple[int, int], ...]] = [() for _ in nodes]
    joined: dict[int, list[tuple[int, ...]]] = {}
    for op in trace.ops:
        sources = [origins.get(tensor, ()) for tensor in op.inputs]
        made = tuple(dict.fromkeys(node for source in sources for node in source))
        if op.index in numbers:
            node = numbers[op.index]
            if op.kind == "concat":
                sources = joined[node] = [
                    part for source in sources for part in (joined.get(source[0], [source]) if source else [])
                ]
            before[node] = _edges(sources, op.kind not in COMMUTES and len(sources) > 1)
            made = (node,)
        origins |= dict.fromkeys(op.outputs, made)
    first = len(nodes) - len(trace.outputs)
    for place, tensor in enumerate(trace.outputs):
        before[first + place] = _edges([origins.get(tensor, ())], False)
    if not any(before):  # layers as they were defined, and nobody ran them: their order is all there is
        return [((node - 1, -1),) if node else () for node in range(len(nodes))]
    return before


def _edges(sources: Sequence[tuple[int, ...]], placed: bool) -> tuple[tuple[int, int], ...]:
    return tuple(
        dict.fromkeys((node, place if placed else -1) for place, source in enumerate(sources) for node in source)
    )


def _reversed(before: Sequence[tuple[tuple[int, int], ...]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    after: list[list[tuple[int, int]]] = [[] for _ in before]
    for node, edges in enumerate(before):
        for source, place in edges:
            after[source].append((node, place))
    return tuple(tuple(edges) for edges in after)


# Colours: two nodes get the same number if their surroundings look the same, up to some distance.


class Palette:
    """Numbers for descriptions, the same on both sides, so that colours can be compared."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def number(self, description: Hashable) -> int:
        """Return the number of a description, a new one if it was never seen."""
        return self._numbers.setdefault(description, len(self._numbers))


def colours(
    graph: Skeleton, palette: Palette, radii: Iterable[int], up: bool, down: bool, fine: bool = False
) -> list[Colours]:
    """Return each node's colour at growing distances, looking at what feeds it, what it feeds, or both."""
    wanted = sorted(set(radii))
    labels = graph.fine if fine else graph.labels
    current = [palette.number(("label", fine, label)) for label in labels]
    found = []
    for radius in range(1, wanted[-1] + 1):
        current = [
            palette.number(
                (
                    current[node],
                    _around(current, graph.before[node]) if up else (),
                    _around(current, graph.after[node]) if down else (),
                )
            )
            for node in range(graph.size)
        ]
        if radius in wanted:
            found.append(np.asarray(current, np.int64))
    return found


def ancestry(graph: Skeleton, palette: Palette, up: bool, fine: bool = False) -> Colours:
    """Return each node's colour by everything that leads to it (`up`), or by everything that it leads to."""
    labels = graph.fine if fine else graph.labels
    current = [0] * graph.size
    for node in range(graph.size) if up else reversed(range(graph.size)):
        edges = graph.before[node] if up else graph.after[node]
        current[node] = palette.number(("all", up, fine, labels[node], _around(current, edges)))
    return np.asarray(current, np.int64)


def classes(graph: Skeleton, palette: Palette, rounds: int = 12) -> Colours:
    """Return each node's colour by its whole surroundings: structure does not tell nodes of one colour apart."""
    up, down = (ancestry(graph, palette, direction, fine=True) for direction in (True, False))
    current = [palette.number(("class", int(a), int(b))) for a, b in zip(up, down, strict=True)]
    for _ in range(rounds):
        current = [
            palette.number(
                (current[node], _around(current, graph.before[node]), _around(current, graph.after[node]), "class")
            )
            for node in range(graph.size)
        ]
    return np.asarray(current, np.int64)


def _around(current: Sequence[int], edges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if len(edges) == 1:
        return ((current[edges[0][0]], edges[0][1]),)
    return tuple(sorted((current[node], place) for node, place in edges))


def branch_order(graph: Skeleton) -> list[int]:
    """Return the nodes in an order in which they could run that depends on the graph only where it can.

    Whole branches come one after another, the longest first, whatever order the framework ran them in; of equal ones
    that are joined, the first that is joined comes first.
    """
    depth = depths(graph)
    done = [False] * graph.size
    order: list[int] = []
    ends = [node for node in range(graph.size) if not graph.after[node]]
    key: Callable[[tuple[int, int]], tuple[int, str, int, int]] = lambda edge: (  # noqa: E731
        depth[edge[0]], repr(graph.labels[edge[0]]), -edge[1], -edge[0]
    )  # fmt: skip
    # A node stands on the stack twice: to open what feeds it, and to take its own place behind that.
    stack = [(node, False) for node in reversed(ends)]
    while stack:
        node, opened = stack.pop()
        if done[node]:
            continue
        if opened:
            done[node] = True
            order.append(node)
            continue
        stack.append((node, True))
        feeding = sorted((edge for edge in graph.before[node] if not done[edge[0]]), key=key)
        stack.extend((source, False) for source, _ in feeding)  # the deepest is opened first
    return order


def depths(graph: Skeleton) -> list[int]:
    """Return the length of the longest path from an input to each node; nodes are numbered as they ran."""
    found = [0] * graph.size
    for node in range(graph.size):
        found[node] = max((found[source] + 1 for source, _ in graph.before[node]), default=0)
    return found


def reachable(graph: Skeleton) -> NDArray[np.bool_]:
    """Return, for each pair of nodes, whether a path leads from the first to the second."""
    found = np.zeros((graph.size, graph.size), bool)
    for node in range(graph.size):
        for source, _ in graph.before[node]:
            found[:, node] |= found[:, source]
            found[source, node] = True
    return found
