"""What only moves numbers, joins or reduces them, as Keras's code has it: orders of channels and of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.judge.traps.keras_places import at, put
from parity.judge.traps.keras_words import (
    MERGES,
    REDUCES,
    arguments,
    axes_there,
    exact,
    is_layer,
    layer_class,
    named,
    of_layers,
)
from parity.judge.traps.kinds import matching_order
from parity.judge.traps.remedy import Edit, Remedy, numbers
from parity.judge.traps.scene import SELECTS, Scene
from parity.model.trace import Op, read_first

SUMS = frozenset({"add", "subtract"})
NEARLY = 1e-6
POOLS = {"global_avg_pool": ("GlobalAveragePooling", "mean"), "global_max_pool": ("GlobalMaxPooling", "max")}
WINDOWS = {"max_pool": "MaxPooling", "avg_pool": "AveragePooling"}
IMAGE_RANK = 3
IN_A_CALL = ", in a call() of your own: a functional model says training=False"


def shuffle(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that gives a block's channels torch's order: TensorFlow knows one, block by block."""
    b, made = int(theirs.config.get("block") or 2), mine.kind == "depth_to_space"
    shape = scene.tensorflow_trace.shapes.get(mine.inputs[0] if made else mine.outputs[0], ())
    if len(shape) != 4 or shape[-1] % (b * b):
        return None
    h, w, c = shape[1:]
    sizes = (c // (b * b), b * b) if made else (b * b, c // (b * b))
    inner = f"keras.ops.reshape(x, (-1, {h}, {w}, {sizes[0]}, {sizes[1]}))"
    text = f"keras.ops.reshape(keras.ops.swapaxes({inner}, -1, -2), (-1, {h}, {w}, {c}))"
    return f"x = {text} {'before' if made else 'after'} {named(mine)}"


def inputs(mine: Op, order: Any) -> str:
    """Return the line that takes what is joined in torch's order."""
    return f"take the inputs of {named(mine)} in the order {numbers(int(one) for one in np.argsort(list(order)))}"


def alpha(mine: Op, theirs: Op) -> str:
    """Return the line of a sum whose second part torch multiplies."""
    return f"{float(theirs.config['alpha']):g} times the second input of {named(mine)}"


def dropped(scene: Scene, theirs: Op) -> str | None:
    """Return the line of a dropout that works in evaluation, too."""
    rate = float(theirs.config.get("rate") or theirs.config.get("p") or 0.5)
    beside = [op for op in scene.tensorflow_ops if op.kind == "dropout"]
    if beside:
        return f"training=True in the call of {named(beside[0])}{IN_A_CALL}"
    where = at(scene, theirs)
    return None if where is None else f"layers.Dropout({exact(rate)})(x, training=True) {where}{IN_A_CALL}"


def chosen(scene: Scene, theirs: Op) -> str | None:
    """Return the line that puts numbers into the order into which only torch's code puts them."""
    if "flip" in theirs.kind or "reverse" in theirs.kind:
        return _flipped(scene, theirs)
    found = _found_order(scene, theirs)
    before = at(scene, theirs)
    if found is None or before is None:
        return None
    axis, order = found
    text = f"keras.ops.take(x, {order}, axis={axis})"
    return put(scene, None, text, before) if of_layers(scene) else f"x = tf.gather(x, {order}, axis={axis}) {before}"


def _flipped(scene: Scene, theirs: Op) -> str | None:
    keys = ("dims", "axis", "axes", "arg1")
    given = next((theirs.config[key] for key in keys if theirs.config.get(key) is not None), None)
    many: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    rank, where = len(scene.shapes.get(theirs.outputs[0], ())), at(scene, theirs)
    if given is None or where is None or None in many:
        return None
    if rank > IMAGE_RANK:
        places = {0: 0, 1: rank - 1, **{n: n - 1 for n in range(2, rank)}}
        many = [places[int(one) % rank] for one in many]
    axis = int(many[0]) if len(many) == 1 else tuple(sorted(int(one) for one in many))
    return f"x = keras.ops.flip(x, axis={axis}) {where}"


def _found_order(scene: Scene, theirs: Op) -> tuple[int, list[int]] | None:
    """Return along which axis of TensorFlow's, and in which order, torch's code has what TensorFlow's leaves alone.

    It is read off the numbers: those that the two return, or the text of what picks them.
    """
    rank = len(scene.shapes.get(theirs.outputs[0], ()))
    order = _written_order(theirs)
    if order is not None:
        axis, places = order
        axis %= max(rank, 1)
        if rank > IMAGE_RANK:
            axis = -1 if axis == 1 else axis - 1 if axis > 1 else axis
        return (-1 if axis == rank - 1 and rank <= IMAGE_RANK else axis), places
    for axis in dict.fromkeys((1, scene.got.ndim - 1)):
        if scene.got.shape == scene.expected.shape and scene.got.ndim > 1:
            held, given = (np.moveaxis(one, axis, 0) for one in (scene.expected, scene.got))
            found = matching_order(held, given, NEARLY)
            if found is not None:
                return -1, found
    return None


def _written_order(op: Op) -> tuple[int, list[int]] | None:
    """Return the axis and the places that an operation picks, if its configuration says so."""
    places = op.config.get("indices")
    if isinstance(places, list) and isinstance(op.config.get("axis"), int):
        return int(op.config["axis"]), [int(one) for one in places]
    parts = str(op.config.get("text", "")).replace(" ", "")
    if not parts.endswith("]") or "[" not in parts:
        return None
    lead, _, inner = parts.partition("[")
    if lead not in (":,", "...,", ":,:,") or not all(one.isdigit() for one in inner.rstrip("]").split(",")):
        return None
    return (-1 if lead == "...," else lead.count(":")), [int(one) for one in inner.rstrip("]").split(",")]


def reordered(scene: Scene, edit: Edit) -> str | None:
    """Return the line that gives TensorFlow's result, or its input, the order of torch's."""
    picking = [op for op in scene.extra_tensorflow if op.kind.removeprefix("op:") in SELECTS]
    if len(picking) == 1 and _keeps_shape(scene, picking[0]):
        return f"remove {named(picking[0])}"
    order = [int(one) for one in np.argsort(edit["config"]["indices"])]
    axis, tensor = int(edit["config"]["axis"]), int(edit["insert"])
    rank = len(scene.shapes.get(tensor, ()))
    last = axis == 1 if rank > IMAGE_RANK else axis == rank - 1
    if not last or len(order) > 64:
        return None
    text = f"keras.ops.take(x, {order}, axis=-1)"
    if tensor == scene.wanted and scene.tensorflow_ops:
        return f"x = {text} after {named(scene.tensorflow_ops[-1])}"
    fed = scene.counterpart(tensor)
    reader = next((op for op in scene.tensorflow_ops if fed in op.inputs), None)
    return None if reader is None else f"x = {text} before {named(reader)}"


def _keeps_shape(scene: Scene, op: Op) -> bool:
    shapes = scene.tensorflow_trace.shapes
    return len(op.inputs) == 1 and shapes.get(op.inputs[0]) == shapes.get(op.outputs[0])


def flattened(scene: Scene, remedy: Remedy, edit: Edit) -> str | None:
    """Return the line of a reshape that reads, or makes, channels first in torch."""
    name = (remedy.named or (None, None))[0]
    mine = next((op for op in scene.tensorflow_ops if op.name == name), None)
    if mine is None:
        return None
    if edit["kind"] == "permute":
        rank = len(edit["config"]["order"])
        return put(scene, *_permuted((rank - 1, *range(1, rank - 1))), f"before {named(mine)}")
    shape = scene.tensorflow_trace.shapes.get(mine.outputs[0], ())[1:]
    first = (shape[-1], *shape[:-1])
    dims = (*range(2, len(first) + 1), 1)
    if is_layer(mine):
        return f"layers.Reshape({first}) in place of {named(mine)}, and layers.Permute({dims}) after it"
    return f"x = tf.transpose(tf.reshape(x, {(-1, *first)}), {(0, *dims)}) in place of {named(mine)}"


def _permuted(dims: Sequence[int]) -> tuple[str, str]:
    return f"layers.Permute({tuple(dims)})", f"tf.transpose(x, {(0, *dims)})"


def instead(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that puts another merging, reduction or pooling of torch's in the place of Keras's."""
    if theirs.kind in MERGES and mine.kind in MERGES:
        text = f"layers.{theirs.kind.title()}()"
        return (
            f"{text} in place of {named(mine)}"
            if is_layer(mine)
            else f"keras.layers.{theirs.kind.title()}() in place of {named(mine)}"
        )
    if theirs.kind in WINDOWS and mine.kind in WINDOWS and is_layer(mine):
        return _window(mine, theirs)
    if theirs.kind not in (*POOLS, "reduce"):
        return None
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    if theirs.kind in POOLS:
        axes: Any = list(range(1, rank - 1))
        function = POOLS[theirs.kind][1]
    else:
        axes, function = (
            axes_there(scene, mine, theirs, theirs.config.get("axes") or []),
            str(theirs.config.get("function")),
        )
    if not axes or function not in REDUCES:
        return None
    if axes == list(range(1, rank - 1)) and is_layer(mine) and function in ("mean", "max") and mine.kind in POOLS:
        kept = "keepdims=True" if mine.config.get("keepdims") else ""
        kind = "GlobalAveragePooling" if function == "mean" else "GlobalMaxPooling"
        return f"layers.{kind}{layer_class(mine)[-2:]}({kept}) in place of {named(mine)}"
    over = axes[0] if len(axes) == 1 else tuple(axes)
    kept = ", keepdims=True" if mine.config.get("keepdims") else ""
    return f"x = keras.ops.{REDUCES[function]}(x, axis={over}{kept}) in place of {named(mine)}"


def _window(mine: Op, theirs: Op) -> str | None:
    config, rank = theirs.config, len(theirs.config.get("pool") or [])
    if any(map(any, config.get("pads") or [])) or config.get("ceil") or not rank:
        return None
    given = {"pool_size": config["pool"], "strides": config.get("strides") or config["pool"]}
    return f"layers.{WINDOWS[theirs.kind]}{rank}D({arguments(given)}) in place of {named(mine)}"
