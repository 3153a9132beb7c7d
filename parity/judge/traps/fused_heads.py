"""Queries, keys and values of one layer that torch's code divides among heads in another order of the axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from parity.judge.traps.parts import PARTING
from parity.judge.traps.remedy import Remedy, called
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import MOVES, Op

TRAP = "attention-scale-or-heads"
THREE = 3  # queries, keys and values
Axes = tuple[int, int, int]  # of places, heads and size


def propose(scene: Scene, theirs: Op, axes: Sequence[Axes]) -> Iterator[Remedy]:
    """Yield the remedies that divide one layer's result as TensorFlow's may.

    `axes` are those of what `theirs` reads, as of queries and keys.
    """
    found = [(tensor, at, _whole(scene, tensor)) for tensor, at in zip(theirs.inputs, axes, strict=False)]
    read = [(tensor, at, whole) for tensor, at, whole in found if whole is not None]
    if not read or len({fed for *_, (fed, _) in read}) != 1:
        return
    first = 0
    if len(read) == 1:  # values, which are summed over their places
        (tensor, (places, heads, size), whole), first = read[0], THREE - 1
        read = [(tensor, (size, heads, places), whole)]
    for by_thirds in (True, False):
        feed = {}
        for number, (tensor, at, (fed, _)) in enumerate(read, start=first):
            made = _part(scene.fed[fed], scene.shapes.get(tensor, ()), at, number, by_thirds)
            if made is None:
                return
            feed[tensor] = made
        heads, size = (scene.shapes[read[0][0]][axis] for axis in read[0][1][1:])
        order = (
            f"3, {heads}, {size}).permute(2, 0, 3, 1, 4)"
            if by_thirds
            else f"{heads}, 3, {size}).permute(3, 0, 2, 1, 4)"
        )
        divider = read[0][2][1]
        says = "with queries, keys and values divided among heads as TensorFlow divides them"
        fix = f"reshape(n, places, {order} and its three parts, in place of `{divider.name}` and of what follows it"
        one = Remedy(TRAP, (), says, fix, 1.2, frozenset(f"feed:{tensor}" for tensor in feed), feed)
        yield called(one, scene.owner(), divider.name)


def _whole(scene: Scene, tensor: int) -> tuple[int, Op] | None:
    """Return what a tensor is a moved part of, and the first operation behind that; None if nothing that is fed."""
    makers = {made: op for op in scene.torch_ops for made in op.outputs}
    divider, parted = None, False
    while tensor not in scene.fed:
        op = makers.get(tensor)
        if op is None or not op.inputs or not (op.effect == MOVES or op.kind in PARTING):
            return None
        divider, parted, tensor = op, parted or op.kind in PARTING, op.inputs[0]
    return (tensor, divider) if divider is not None and parted else None


def _part(whole: Array, shape: Sequence[int], at: Axes, number: int, by_thirds: bool) -> Array | None:
    """Return the queries (0), keys (1) or values (2) of all heads in the order of axes in which they are read."""
    if whole.ndim != len(("batch", "places", "numbers")) or len(shape) <= max(at):
        return None
    places, heads, size = (shape[axis] for axis in at)
    n, steps, numbers = whole.shape
    if (steps, numbers) != (places, THREE * heads * size):
        return None
    apart = whole.reshape((n, places, THREE, heads, size) if by_thirds else (n, places, heads, THREE, size))
    order = np.argsort((0, *at))
    return np.transpose(np.take(apart, number, 2 if by_thirds else 3), order)
