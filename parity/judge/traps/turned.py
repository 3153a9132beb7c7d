"""Pictures that one side alone transposes: height and width change places before something reads them by place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from parity.judge.traps import keras_places
from parity.judge.traps.activation import place
from parity.judge.traps.keras_words import named
from parity.judge.traps.remedy import Remedy, called, change, insert, numbers, skip
from parity.judge.traps.scene import Scene
from parity.model.trace import Op, read_first

IDS = ()
TURNED = "axis-mismatch"
IMAGE_RANK = 4  # with its batch axis: what has fewer has one place axis, or none
PERMUTE = "permute"


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    mine = list(_of_tensorflow(scene))
    for op in scene.torch_ops:
        order = _order(op, len(scene.shapes.get(read_first(op), ())))
        kept = _with_places_in_order(order, channels=1)
        if kept != order:
            yield _in_order(scene, op, kept)
        elif mine and len(order) == IMAGE_RANK:
            swapped = [{2: 3, 3: 2}.get(axis, axis) for axis in order]
            says = f"with height and width exchanged, as `{mine[0][0].name}` does"
            one = change(op, TURNED, says, _in_place_of(op, swapped), {"order": swapped}, cost=1.2)
            yield called(_mended_by(one, _unturned(*mine[0])), mine[0][0].name, op.name)
    for op, order in mine:
        where = place(scene, op)
        if where is None:
            continue
        moved = [0, 1, *(axis + 1 for axis in order if axis not in (0, len(order) - 1))]
        text = f"x = x.permute({', '.join(map(str, moved))}) {where[1]}"
        says = f"with `{op.name}`, which exchanges places"
        one = insert(where[0], TURNED, says, text, PERMUTE, {"order": moved}, cost=1.2, order=op.index)
        yield called(_mended_by(one, _unturned(op, order)), op.name, scene.maker(where[0]))


def _of_tensorflow(scene: Scene) -> Iterator[tuple[Op, list[int]]]:
    for op in scene.tensorflow_ops:
        rank = len(scene.tensorflow_trace.shapes.get(read_first(op), ()))
        order = _order(op, rank)
        if _with_places_in_order(order, channels=rank - 1) != order:
            yield op, order


def _in_order(scene: Scene, op: Op, kept: list[int]) -> Remedy:
    says = "with the places in the order that they had"
    if kept == sorted(kept):
        one = skip(op, TURNED, says, f"remove `{op.name}`: TensorFlow exchanges no axes there", cost=1.2)
    else:
        one = change(op, TURNED, says, _in_place_of(op, kept), {"order": kept}, cost=1.2)
    places = [axis - 1 for axis in _order(op, len(kept)) if axis not in (0, 1)]
    line = keras_places.put(
        scene, f"layers.Permute({numbers((*places, len(kept) - 1))})",
        f"keras.ops.transpose(x, {numbers((0, *places, len(kept) - 1))})", keras_places.at(scene, op),
    )  # fmt: skip
    return called(_mended_by(one, line), scene.neighbour(op), op.name)


def _unturned(op: Op, order: list[int]) -> str:
    """Return the line that leaves places in their order in Keras's code."""
    kept = _with_places_in_order(order, channels=len(order) - 1)
    if kept == sorted(kept):
        return f"remove {named(op)}"
    return f"x = keras.ops.transpose(x, {numbers(kept)}) in place of {named(op)}"


def _mended_by(remedy: Remedy, line: str | None) -> Remedy:
    return replace(remedy, in_keras=lambda _: line)


def _in_place_of(op: Op, order: Sequence[int]) -> str:
    return f"x = x.permute({', '.join(map(str, order))}) in place of `{op.name}`"


def _order(op: Op, rank: int) -> list[int]:
    """Return the order in which an operation takes the axes of a picture; none where it is no such operation."""
    order = op.config.get("order") if op.kind == PERMUTE else None
    return [int(axis) for axis in order] if order is not None and len(order) == rank >= IMAGE_RANK else []


def _with_places_in_order(order: Sequence[int], channels: int) -> list[int]:
    """Return an order of axes with those of places, all but the batch and the channels, as they stood before."""
    places = iter(sorted(axis for axis in order if axis not in (0, channels)))
    return [axis if axis in (0, channels) else next(places) for axis in order]
