"""Reshapes of tensors whose channels come first in torch, as if they stood last: other numbers come together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from parity.judge.traps.remedy import Remedy, called, insert, numbers
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

IDS = ()
TRAP = "flatten-order"
KINDS = frozenset({"reshape", "flatten"})
SHORTEST = 3  # axes: the batch, the channels, and at least one more
Shape = tuple[int, ...]


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    mine, theirs = ([op for op in ops if op.kind in KINDS] for ops in (scene.tensorflow_ops, scene.torch_ops))
    if scene.expected_tensorflow is None or len(mine) != len(theirs):
        return
    for ours, held in zip(mine, theirs, strict=True):
        before, after = (
            (scene.tensorflow_trace.shapes.get(one, ()), scene.torch_trace.shapes.get(other, ()))
            for one, other in ((ours.inputs[0], held.inputs[0]), (ours.outputs[0], held.outputs[0]))
        )
        if _moved(*before) and after[0] == after[1]:
            yield _channels_last(scene, ours, held, len(before[1]))
        elif _moved(*after) and before[0] == before[1]:
            yield _channels_first(scene, ours, held, after[0])


def _moved(mine: Shape, theirs: Shape) -> bool:
    """Return whether one shape has its channels last, and the other the same ones first."""
    return len(theirs) >= SHORTEST and mine == (theirs[0], *theirs[2:], theirs[1]) and mine != theirs


def _channels_last(scene: Scene, mine: Op, theirs: Op, rank: int) -> Remedy:
    order = (0, *range(2, rank), 1)
    says = f"with the channels last before `{theirs.name}`"
    fix = f"x = x.permute{numbers(order)} before `{theirs.name}`, as TensorFlow's `{mine.name}` reads them"
    one = insert(theirs.inputs[0], TRAP, says, fix, "permute", {"order": list(order)}, order=theirs.index)
    at = mine.outputs[0], theirs.outputs[0], "same"
    fits = scene.expected_tensorflow is not None and scene.expected_tensorflow.shape == scene.got.shape
    expects = scene.expected_tensorflow if fits else None
    return called(dataclasses.replace(one, expects=expects, settles=at), mine.name, theirs.name)


def _channels_first(scene: Scene, mine: Op, theirs: Op, shape: Shape) -> Remedy:
    order, sizes = (0, len(shape) - 1, *range(1, len(shape) - 1)), ", ".join(map(str, shape[1:]))
    says = f"with the channels last in `{theirs.name}`, and first behind it"
    fix = f"x = x.reshape(len(x), {sizes}).permute{numbers(order)} in place of `{theirs.name}`"
    steps = [
        {"kind": "reshape", "config": {"shape": [-1, *shape[1:]]}},
        {"kind": "permute", "config": {"order": list(order)}},
    ]
    one = insert(theirs.outputs[0], TRAP, says, fix, "chain", {"steps": steps}, order=theirs.index)
    at, want = (mine.outputs[0], theirs.outputs[0], "channels"), scene.expected_tensorflow
    expects = np.moveaxis(want, -1, 1) if want is not None and _moved(want.shape, scene.got.shape) else None
    return called(dataclasses.replace(one, expects=expects, settles=at), mine.name, theirs.name)
