"""Scales, shifts, lengths, biases and ids as Keras's code has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parity.judge.traps.inputs import is_scaling
from parity.judge.traps.keras_places import at, put
from parity.judge.traps.keras_places import instead as in_place
from parity.judge.traps.keras_words import (
    SIGNS,
    axis_there,
    constant,
    exact,
    is_layer,
    named,
    normalizing,
    scaling,
    written,
)
from parity.judge.traps.lengths import Unit, unit
from parity.judge.traps.remedy import Edit, Remedy
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

FORMS = {
    "rsqrt-floor": "x * tf.math.rsqrt(tf.maximum(tf.reduce_sum(x * x, axis={axis}, keepdims=True), {eps}))",
    "norm-floor": "x / tf.maximum(tf.norm(x, axis={axis}, keepdims=True), {eps})",
    "norm-max": "x / tf.maximum(tf.norm(x, axis={axis}, keepdims=True), {eps})",
    "norm-plus": "x / (tf.norm(x, axis={axis}, keepdims=True) + {eps})",
    "square-plus": "x * tf.math.rsqrt(tf.reduce_sum(x * x, axis={axis}, keepdims=True) + {eps})",
}
IN_KERAS = (("tf.math.rsqrt", "keras.ops.rsqrt"), ("tf.maximum", "keras.ops.maximum"), ("tf.norm", "keras.ops.norm"),
            ("tf.reduce_sum", "keras.ops.sum"))  # fmt: skip


def _written(op: Op) -> tuple[str | None, str | None]:
    """Return a scaling as a layer of Keras and as code of x."""
    layer = {"rescale": scaling, "standardize": normalizing}.get(op.kind, _by_channel)
    return layer(op if layer is _by_channel else op.config), written(op)  # type: ignore[arg-type]


def _by_channel(op: Op) -> str | None:
    """Return arithmetic with a number for each channel as a layer of Keras."""
    values = [float(f"{float(one):.7g}") for one in op.config.get("constant") or ()]
    if constant(op) is None or op.config.get("reversed"):
        return None
    shown = [exact(one if op.kind != "subtract" else -one) for one in values]
    if op.kind == "divide":
        shown = [f"1 / {one}" for one in shown]
    text = f"[{', '.join(shown)}]" if len(shown) > 1 else shown[0]
    return f"layers.Rescaling({text})" if op.kind in ("multiply", "divide") else f"layers.Rescaling(1, offset={text})"


def instead(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that scales as torch does where Keras scales otherwise."""
    layer, text = _written(_with_buffer(scene, theirs))
    if text == "x":
        return f"remove {named(mine)}"
    return in_place(scene, layer, text, mine) if layer or text else None


def added(scene: Scene, remedy: Remedy, theirs: Op) -> str | None:
    """Return the line of a scaling that only torch has."""
    layer, text = _written(_with_buffer(scene, theirs))
    where = at(scene, theirs)
    if remedy.trap == "embedding-offset":
        return None if where is None else f"x = x {_signed(float(theirs.config.get('offset', 0.0)))} {where}"
    return put(scene, layer, text, where)


def pipeline(scene: Scene, edits: Sequence[Edit]) -> str | None:
    """Return the one line of all that torch does to numbers in a row, in the place of all that Keras does."""
    steps = [op for op in scene.torch_ops if op.index in {int(e["op"]) for e in edits if e.get("skip")}]
    given = [edit for edit in edits if "insert" in edit]
    inserted = [one for edit in given for one in (edit["config"]["steps"] if edit["kind"] == "chain" else [edit])]
    gone = [op for op in scene.extra_tensorflow if is_scaling(op)]
    alike = [op.kind for op in gone] == [one["kind"] for one in inserted]
    if not steps or not alike or len(steps) + len(given) != len(edits):
        return None
    if any(op.kind not in ("rescale", "standardize", *SIGNS) or len(op.inputs) != 1 for op in (*steps, *gone)):
        return None
    layer, text = _in_a_row([_with_buffer(scene, op) for op in steps])
    if not gone:
        return put(scene, layer, text, at(scene, steps[0]))
    span = named(gone[0]) if len(gone) == 1 else f"{named(gone[0])} to {named(gone[-1])}"
    if layer is not None:
        return f"{layer} in place of {span}"
    return None if text is None else f"x = {text} in place of {span}"


def _in_a_row(steps: Sequence[Op]) -> tuple[str | None, str | None]:
    """Return several scalings as one: by one layer where each is a factor and a shift, else as code of x."""
    scale, offset, text = 1.0, 0.0, "x"
    for op in steps:
        own = _written(op)[1]
        if own is None:
            return None, None
        text = own if text == "x" else re.sub(r"\bx\b", lambda _: f"({text})", own, count=1)  # noqa: B023
        if op.kind == "rescale":
            factor = float(op.config.get("scale", 1.0))
            scale, offset = scale * factor, offset * factor + float(op.config.get("offset", 0.0))
    if all(op.kind == "rescale" for op in steps):
        return scaling({"scale": scale, "offset": offset}), text
    return _standardizing(steps), text


def _standardizing(steps: Sequence[Op]) -> str | None:
    """Return a mean that is taken away, and a deviation to divide by, as a layer of Keras."""
    if [op.kind for op in steps] != ["subtract", "divide"] or any(op.config.get("reversed") for op in steps):
        return None
    mean, spread = ([float(f"{float(one):.7g}") for one in op.config.get("constant") or ()] for op in steps)
    if constant(steps[0]) is None or len(mean) != len(spread):
        return None
    return normalizing({"mean": mean, "variance": [one**2 for one in spread]})


def _with_buffer(scene: Scene, op: Op) -> Op:
    """Return arithmetic with a buffer as one with numbers of the code."""
    held = scene.buffers.get(op.weights.get("other", ""))
    if held is None or op.config.get("constant"):
        return op
    numbers = {"constant": held.reshape(-1).tolist(), "constant_shape": list(held.shape)}
    return Op(op.index, op.name, op.kind, op.inputs, op.outputs, {**op.config, **numbers}, {}, op.made_by)


def _signed(by: float) -> str:
    return f"{'+' if by > 0 else '-'} {abs(by):g}"


def undone(scene: Scene, remedy: Remedy, edit: Edit) -> str | None:
    """Return the line that takes back in Keras's code what it does to numbers, whatever its steps."""
    config, kind = edit["config"], edit["kind"]
    fed = scene.counterpart(int(edit["insert"]))
    reader = next((op for op in scene.tensorflow_ops if fed in op.inputs), None)
    if kind != "rescale" or reader is None:
        return None
    scale, offset = float(config.get("scale", 1.0)), float(config.get("offset", 0.0))
    if remedy.trap == "embedding-offset":
        return f"x = x {_signed(-offset)} before {named(reader)}"
    back = {"scale": float(f"{1.0 / scale:.12g}"), "offset": float(f"{-offset / scale:.12g}")}
    made = Op(-1, "", "rescale", (), (), back)
    return put(scene, *_written(made), f"before {named(reader)}")


def bias(mine: Op) -> str | None:
    """Return the line of a layer whose bias torch's has not, or has alone."""
    if not is_layer(mine):
        return None
    return f"use_bias={not any('bias' in role for role in mine.weights)} in {named(mine)}"


def padding_row(mine: Op, theirs: Op) -> str | None:
    """Return the line of an embedding one of whose rows does not train, and is zero, in torch."""
    index = theirs.config.get("padding_index")
    if index is None:
        return None
    kept = f"keras.ops.cast(keras.ops.not_equal(ids, {index}), x.dtype)[..., None]"
    return f"x = x * {kept} after {named(mine)}: row {index} is zero and does not train in torch"


def length(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that divides vectors by their length as torch does."""
    found = unit(theirs, scene.torch_trace.producers())
    if found is None or found.both or not isinstance(found.axes, int):
        return None
    axis = axis_there(scene, mine, theirs, found.axes)
    if axis is None:
        return None
    return divided(found.form, axis, found.eps, mine)


def divided(form: str, axis: int, eps: float, mine: Op) -> str:
    """Return the line that writes a division by a length in the place of Keras's."""
    text = FORMS[form].format(axis=axis, eps=exact(eps))
    if "keras" in mine.made_by or is_layer(mine):
        for ours, kept in IN_KERAS:
            text = text.replace(ours, kept)
    return f"x = {text} in place of {named(mine)}"


def divided_alike(mine: Unit, theirs: Unit) -> str | None:
    """Return the line that divides by torch's length where nothing but the two operations is known: along one axis."""
    if mine.both or theirs.both or not isinstance(mine.axes, int):
        return None
    return divided(theirs.form, mine.axes, theirs.eps, mine.op)
