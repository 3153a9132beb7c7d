"""Layers that normalise alone, whose scale and shift somebody multiplies and adds behind them.

`F.layer_norm(x, (64,)) * weight + bias` is one layer in the mind of its author, and one with a scale and a shift in the
other framework: taken together, both sides say the same, and the weights have a layer that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isclose, sqrt
from typing import Protocol

from parity.model.trace import MOVES, Op, Trace

BARE = frozenset({"layer_norm", "group_norm", "instance_norm", "rms_norm", "batch_norm"})
_ROLES = {"multiply": "gamma", "add": "beta"}  # in the order in which they follow
_WORDS = {"gamma": "scale", "beta": "center"}  # of the configuration
_SCALES = frozenset({"gamma", "beta", "scale", "weight", "bias"})


class Graph(Protocol):
    """What must be known of a trace."""

    @property
    def trace(self) -> Trace: ...
    @property
    def makers(self) -> Mapping[int, Op]: ...
    @property
    def readers(self) -> Mapping[int, Sequence[Op]]: ...
    @property
    def channels_last(self) -> bool: ...
    @property
    def plain(self) -> frozenset[int]:
        """Tensors that are nothing but one weight's numbers."""

    def weight_of(self, op: Op) -> str | None:
        """Return the one weight that an operation multiplies by or adds."""


def scaled_behind(graph: Graph, names: Callable[[str], Mapping[str, str]]) -> Iterator[tuple[Op, tuple[Op, ...]]]:
    """Yield every norm without a scale and a shift of its own, with those that follow, as one operation; and its steps.

    `names` says what the framework calls `gamma` and `beta` of a kind of norm.
    """
    for norm in graph.trace.ops:
        if norm.kind not in BARE or _SCALES & set(norm.weights):
            continue
        after = _moved_on(norm, graph)
        last = after[-1] if after else norm
        way = list(_behind(last, graph))
        shaping = _shaping(way, last.outputs[0], graph)
        before = _moved_to(norm, last, graph) if after else ()
        if not way or shaping is None or before is None:
            continue
        if not after:
            yield _as_one(norm, way, graph, names(norm.kind)), (*shaping, norm, *way)
        elif not norm.weights:
            whole = _over_groups(norm, before, after, graph) or _over_places(norm, before, after)
            yield _as_one(whole, way, graph, names(whole.kind)), (*shaping, *before, norm, *after, *way)


def _moved_on(norm: Op, graph: Graph) -> list[Op]:
    """Return the operations that bring what a norm returns into another shape, or order, before anything reads it."""
    found: list[Op] = []
    op = norm
    while True:
        read = graph.readers.get(op.outputs[0], ())
        if len(read) != 1 or op.outputs[0] in graph.trace.outputs or not _moves_one(read[0]):
            return found
        op = read[0]
        found.append(op)


def _moved_to(norm: Op, last: Op, graph: Graph) -> tuple[Op, ...] | None:
    """Return the operations that brought a tensor of the shape of `last`'s result to a norm; None if there is none."""
    shapes = graph.trace.shapes
    found: list[Op] = []
    tensor = norm.inputs[0]
    while not found or shapes.get(tensor) != shapes.get(last.outputs[0]):
        maker = graph.makers.get(tensor)
        if maker is None or not _moves_one(maker) or len(graph.readers.get(tensor, ())) != 1:
            return None
        found.append(maker)
        tensor = maker.inputs[0]
    return tuple(reversed(found))


def _over_places(norm: Op, before: Sequence[Op], after: Sequence[Op]) -> Op:
    """Return a norm with the moves around it as one: one of its kind over other axes, if they only permute and undo."""
    whole = replace(norm, kind="norm", inputs=before[0].inputs, config={})
    orders = [op.config.get("order") for op in (*before, *after)]
    axes = norm.config.get("axes")
    if len(orders) != 2 or None in orders or axes is None or norm.kind not in ("layer_norm", "rms_norm"):
        return whole
    there, back = (list(map(int, order or ())) for order in orders)
    if [there[axis] for axis in back] != sorted(there):
        return whole
    return replace(whole, kind=norm.kind, config={**norm.config, "axes": sorted(there[int(axis)] for axis in axes)})


def _over_groups(norm: Op, before: Sequence[Op], after: Sequence[Op], graph: Graph) -> Op | None:
    """Return a norm of an image's channels that were laid out as (batch, groups, all numbers of a group), as one."""
    if graph.channels_last or [op.kind for op in (*before, *after)] != ["reshape", "reshape"]:
        return None
    shapes = graph.trace.shapes
    image, laid_out = shapes[before[0].inputs[0]], shapes[norm.inputs[0]]
    groups = laid_out[1] if len(laid_out) > 2 and laid_out[0] == image[0] else 0
    if norm.kind == "layer_norm" and norm.config.get("axes") != list(range(2, len(laid_out))):
        return None
    if norm.kind == "batch_norm" and laid_out[0] == 1 and norm.config.get("training"):
        groups = laid_out[1] // image[0]  # each group of each image is a channel of its own
    elif norm.kind not in ("layer_norm", "instance_norm"):
        return None
    if not groups or image[1] % groups:
        return None
    config = {"groups": groups, "eps": norm.config["eps"], "axis": 1}
    return replace(norm, kind="group_norm", inputs=before[0].inputs, config=config)


def _moves_one(op: Op) -> bool:
    return op.effect == MOVES and len(op.inputs) == 1 and not op.weights


def lengths_as_roots(graph: Graph, names: Callable[[str], Mapping[str, str]]) -> Iterator[tuple[Op, tuple[Op, ...]]]:
    """Yield every vector that is brought to the length of the root of its size, and scaled, as one; and its steps.

    It is a root mean square norm without an eps, for a side whose partner is a layer of that kind.
    """
    for norm in graph.trace.ops:
        axis = norm.config.get("axis") if norm.kind == "l2_normalize" else None
        if not isinstance(axis, int):
            continue
        orders = ("rescale", "multiply"), ("multiply", "rescale")
        way = max((list(_behind(norm, graph, order)) for order in orders), key=len)
        shaping = _shaping(way, norm.outputs[0], graph)
        size = graph.trace.shapes[norm.outputs[0]][axis]
        scales = [op.config["scale"] for op in way if op.kind == "rescale" and not op.config.get("offset")]
        if len(way) == 2 and shaping is not None and scales and isclose(scales[0], sqrt(size), rel_tol=1e-6):
            root = replace(norm, kind="rms_norm", config={"eps": 0.0, "axes": [axis]})
            scale = [op for op in way if op.kind == "multiply"]
            one = replace(_as_one(root, scale, graph, names("rms_norm")), index=way[-1].index, outputs=way[-1].outputs)
            yield one, (*shaping, norm, *way)


def _behind(norm: Op, graph: Graph, kinds: Sequence[str] = tuple(_ROLES)) -> Iterator[Op]:
    """Yield the scale and the shift that follow a norm, in this order, each the only one that reads what is there."""
    tensor, left = norm.outputs[0], list(kinds)
    shape = graph.trace.shapes.get(tensor)
    while left:
        read = graph.readers.get(tensor, ())
        op = read[0] if len(read) == 1 and tensor not in graph.trace.outputs else None
        if op is None or op.kind not in left or "alpha" in op.config:
            return
        if op.kind in _ROLES and graph.weight_of(op) is None:
            return
        if graph.trace.shapes.get(op.outputs[0]) != shape:
            return
        del left[: left.index(op.kind) + 1]
        tensor = op.outputs[0]
        yield op


def _shaping(way: Sequence[Op], entry: int, graph: Graph) -> tuple[Op, ...] | None:
    """Return what brings the weights into shape for these steps alone; None where it is more than their numbers."""
    made = {entry, *(tensor for op in way for tensor in op.outputs)}
    found: dict[int, Op] = {}
    open_ = [tensor for op in way for tensor in op.inputs if tensor not in made]
    while open_:
        tensor = open_.pop()
        if tensor not in graph.plain:
            return None
        maker = graph.makers[tensor]
        found[maker.index] = maker
        open_ += maker.inputs
    own = {*found, *(op.index for op in way)}
    read = {op.index for step in found.values() for tensor in step.outputs for op in graph.readers.get(tensor, ())}
    return tuple(found[index] for index in sorted(found)) if read <= own else None


def _as_one(norm: Op, way: Sequence[Op], graph: Graph, names: Mapping[str, str]) -> Op:
    held = {_ROLES[op.kind]: str(graph.weight_of(op)) for op in way}
    config = {**norm.config, **{_WORDS[role]: role in held for role in _WORDS}}
    weights = {**norm.weights, **{names[role]: reference for role, reference in held.items()}}
    return replace(norm, index=way[-1].index, outputs=way[-1].outputs, config=config, weights=weights, spelt="")
