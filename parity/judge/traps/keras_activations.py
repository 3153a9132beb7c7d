"""Activations as Keras's code has them: another one, one that is missing, or one too many."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parity.judge.traps.keras_places import at, put
from parity.judge.traps.keras_places import instead as in_place
from parity.judge.traps.keras_words import (
    FUSED,
    SIGNS,
    activation_layer,
    argument,
    arguments,
    axis_there,
    exact,
    expression,
    is_layer,
    layer_class,
    named,
    of_layers,
    written,
)
from parity.judge.traps.scene import Scene
from parity.model.trace import MOVES, Op, read_first

STEPS = ("rescale", "multiply", "divide", "add", "subtract", "power", "minimum", "maximum")
TAKING = ("Activation",)  # layers that are told their function
OWN = {"LeakyReLU": ("leaky_relu", "slope", "negative_slope"), "ELU": ("elu", "alpha", "alpha")}
TOP = ("max_value", "negative_slope", "threshold")  # what Keras's ReLU can be told


def instead(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that makes Keras's activation torch's: by an argument where its layer takes one."""
    if theirs.kind == "prelu":
        return _prelu(scene, mine, theirs)
    axis = _axis(scene, mine, theirs)
    layer, text = activation_layer(theirs, axis), _text(theirs, axis)
    if mine.kind not in ("activation", "softmax", "prelu") and layer is not None:
        return f"{layer if of_layers(scene) else f'x = {text}'} in place of {_span(scene, mine)}"
    whole = theirs.kind != "softmax" or axis == -1
    if (FUSED in mine.name or layer_class(mine) in TAKING) and whole and argument(theirs):
        return f"activation={argument(theirs)} in {named(mine)}"
    own = _by_its_own(mine, theirs)
    if own:
        return f"{own} in {named(mine)}"
    if FUSED in mine.name:  # along an axis that no name tells
        return None if layer is None else f"activation=None in {named(mine)}, and {layer} after it"
    return in_place(scene, layer, text, mine)


def _span(scene: Scene, mine: Op) -> str:
    """Return the steps by which Keras's code writes an activation out, from the first to the last."""
    steps = [op for op in scene.tensorflow_ops if op.kind in ("activation", *STEPS) and not op.weights]
    steps = steps if mine in steps else [mine]
    return named(steps[0]) if len(steps) == 1 else f"{named(steps[0])} to {named(steps[-1])}"


def code(steps: Sequence[Op], layer: bool) -> str | None:
    """Return steps of torch's that bend what they read, one tensor, as code of x; in a layer where that is wanted."""
    made: dict[int, str] = {}
    read = {tensor for op in steps for tensor in op.inputs} - {tensor for op in steps for tensor in op.outputs}
    if len(read) != 1:
        return None
    made[read.pop()] = "x"
    for op in steps:
        text = _step(op, [made.get(tensor, "") for tensor in op.inputs])
        if text is None or not all(tensor in made for tensor in op.inputs):
            return None
        made[op.outputs[0]] = text
    whole = made[steps[-1].outputs[0]]
    return f"layers.Activation(lambda x: {whole})" if layer else f"x = {whole}"


def _step(op: Op, given: Sequence[str]) -> str | None:
    sign = SIGNS.get(op.kind)
    if sign and len(given) == 2:
        return f"({given[0]} {sign} {given[1]})" if sign in "+-" else f"{given[0]} {sign} {given[1]}"
    if len(given) != 1:
        return None
    text = expression(op) if op.kind == "activation" else written(op)
    if text is None and op.kind == "power" and op.config.get("exponent") is not None:
        text = f"x ** {exact(float(op.config['exponent']))}"
    if text is None:
        return None
    inner = given[0] if given[0] == "x" or text.count("(x") else f"({given[0]})"
    whole = re.sub(r"\bx\b", lambda _: inner, text)
    return f"({whole})" if op.kind in ("rescale", "add", "subtract") else whole


def spelt_out(scene: Scene, mine: Op | None, last: Op) -> str | None:
    """Return the line of an activation that torch's code writes out, up to its last step."""
    steps = [op for op in scene.extra_torch if op.effect != MOVES and op.kind in ("activation", *STEPS)]
    text = code(steps, of_layers(scene)) if steps and last in steps and not any(op.weights for op in steps) else None
    if text is None:
        return None
    if mine is None:
        where = at(scene, steps[0])
        return None if where is None else f"{text} {where}"
    if FUSED in mine.name and of_layers(scene):
        return f"activation={text.removeprefix('layers.Activation(').removesuffix(')')} in {named(mine)}"
    return f"{text} in place of {named(mine)}"


def _by_its_own(mine: Op, theirs: Op) -> str:
    """Return the arguments that make a layer of Keras's torch's function, where it is of the same family."""
    kind, function = layer_class(mine), theirs.config.get("function")
    if not is_layer(mine):
        return ""
    if kind in OWN and function == OWN[kind][0]:
        word = "alpha" if mine.made_by.startswith("tf_keras") else OWN[kind][2]
        usual = 1.0 if kind == "ELU" else 0.2
        return f"{word}={exact(theirs.config.get(OWN[kind][1], usual))}"
    if kind == "ReLU" and function in ("relu", "relu6", "leaky_relu"):
        held = {"max_value": 6.0} if function == "relu6" else dict(theirs.config)
        held |= {"negative_slope": held.pop("slope", 0.2)} if function == "leaky_relu" else {}
        now = {"max_value": 6.0} if mine.config.get("function") == "relu6" else mine.config
        usual_of = {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}
        given = {key: held.get(key, usual_of[key]) for key in TOP}
        return arguments({key: value for key, value in given.items() if value != now.get(key, usual_of[key])})
    return ""


def _axis(scene: Scene, mine: Op, theirs: Op) -> int | None:
    if theirs.kind != "softmax":
        return None
    return axis_there(scene, mine, theirs, int(theirs.config.get("axis", -1)))


def _text(op: Op, axis: int | None) -> str | None:
    if op.kind != "softmax":
        return expression(op)
    return f"keras.ops.{'log_' if op.config.get('log') else ''}softmax(x, axis={-1 if axis is None else axis})"


def _prelu(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line of slopes that are shared as torch's: one for all, or one for each channel."""
    held = scene.held.get(theirs.index, {}).get("weight")
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    if held is None or rank < 2:
        return None
    over = list(range(1, rank if held.size == 1 else rank - 1))
    text = f"shared_axes={over}" if over else ""
    if layer_class(mine) == "PReLU":
        return f"shared_axes={over or None} in {named(mine)}"
    return f"layers.PReLU({text}) in place of {named(mine)}" if FUSED not in mine.name else None


def added(scene: Scene, theirs: Op) -> str | None:
    """Return the line that adds an activation that only torch has."""
    axis = None
    if theirs.kind == "softmax":
        rank = len(scene.shapes.get(theirs.outputs[0], ()))
        given = int(theirs.config.get("axis", -1)) % max(rank, 1)
        axis = -1 if rank < 3 and given == rank - 1 else _behind(scene, theirs, given)
        if axis is None:
            return None
    return put(scene, activation_layer(theirs, axis), _text(theirs, axis), at(scene, theirs))


def _behind(scene: Scene, theirs: Op, given: int) -> int | None:
    """Return torch's axis in TensorFlow's numbers where TensorFlow has no such operation: by its sizes."""
    shape = scene.shapes.get(theirs.outputs[0], ())
    want = scene.expected_tensorflow
    if want is None or want.ndim != len(shape):
        return None
    moved = (shape[0], *shape[2:], shape[1])
    if tuple(want.shape) == moved and len(shape) > 3:
        return -1 if given == 1 else given - 1 if given > 1 else given
    return (-1 if given == len(shape) - 1 else given) if tuple(want.shape) == tuple(shape) else None


def removed(mine: Op) -> str:
    """Return the line that takes an activation out of Keras's code."""
    return f"activation=None in {named(mine)}" if FUSED in mine.name else f"remove {named(mine)}"


def alone(mine: Op, theirs: Op) -> str | None:
    """Return the same as `instead` for functions of each number, of which nothing but themselves is known."""
    if FUSED in mine.name or layer_class(mine) in TAKING:
        return f"activation={argument(theirs)} in {named(mine)}" if argument(theirs) else None
    own = _by_its_own(mine, theirs)
    if own:
        return f"{own} in {named(mine)}"
    text = activation_layer(theirs) if is_layer(mine) else expression(theirs)
    return None if text is None else f"{text if is_layer(mine) else f'x = {text}'} in place of {named(mine)}"


def behind(theirs: Op, before: Op | None) -> str | None:
    """Return the line that adds torch's activation behind an operation of TensorFlow's."""
    if before is None or theirs.kind != "activation":
        return None
    layer, text = activation_layer(theirs), expression(theirs)
    if not is_layer(before):
        return None if text is None else f"x = {text} after {named(before)}"
    return None if layer is None else f"{layer} after {named(before)}"
