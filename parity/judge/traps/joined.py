"""Layers that torch keeps as one, such as the queries, keys and values of an attention, and loads wrongly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from parity.judge.traps import weights
from parity.judge.traps.remedy import UNKNOWN, Edit, Remedy, called
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import Op

IDS = ()
Weights = Mapping[str, Array]


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies for one of several layers that a linear layer of torch's holds below one another."""
    mine = [op for op in (scene.tensorflow, *scene.extra_tensorflow) if op is not None]
    for theirs in scene.extra_torch:
        held = scene.held.get(theirs.index, {})
        if theirs.kind != "dense" or "weight" not in held:
            continue
        for op in mine:
            right = _as_linear(scene.held_tensorflow.get(op.index, {}))
            if right and held["weight"].shape[1] == right["weight"].shape[1]:
                yield from _of_one(scene, op, theirs, held, right)


def _as_linear(given: Weights) -> dict[str, Array]:
    """Return TensorFlow's weights of a linear layer, its heads maybe an axis of their own, as torch has them."""
    kernel = given.get("kernel")
    if kernel is None or kernel.ndim not in (2, 3):
        return {}
    bias = {"bias": given["bias"].reshape(-1)} if "bias" in given else {}
    return {"weight": kernel.reshape(len(kernel), -1).T, **bias}


def _of_one(scene: Scene, mine: Op, theirs: Op, held: Weights, right: Weights) -> Iterator[Remedy]:
    rows = len(right["weight"])
    count = len(held["weight"]) // rows
    for start in range(0, count * rows if count > 1 else 0, rows):
        part = {role: array[start : start + rows] for role, array in held.items()}
        inner = dataclasses.replace(
            scene, tensorflow=mine, torch=theirs, torch_weights=part, carried=right,
            tensorflow_weights=scene.held_tensorflow[mine.index],
        )  # fmt: skip
        for remedy in weights.propose(inner):
            if remedy.trap != UNKNOWN:
                edits = tuple(_whole(edit, held, start) for edit in remedy.edits)
                layer = mine.name.rpartition("/")[0] or mine.name
                yield called(dataclasses.replace(remedy, edits=edits), layer, theirs.name)


def _whole(edit: Edit, held: Weights, start: int) -> Edit:
    """Return an edit of some rows as one of all that the layer holds."""
    found = dict(edit)
    for key in ("weights", "whole"):
        if key in edit:
            found[key] = {role: _put(held[role], array, start) for role, array in edit[key].items()}
    return found


def _put(whole: Array, part: Array, start: int) -> Array:
    made = np.array(whole)
    made[start : start + len(part)] = part
    return made
