"""How operations, as either framework's worker describes them, are written in Keras's and in TensorFlow's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.judge.traps.remedy import numbers
from parity.judge.traps.scene import Scene, same
from parity.model.trace import Op, read_first

FUSED = ":"  # between a layer and the activation that it applies itself: `dense:relu`
NAMED = frozenset({
    "relu", "relu6", "gelu", "silu", "mish", "selu", "softsign", "sigmoid", "log_sigmoid", "hard_sigmoid", "hard_silu",
    "tanh", "hard_tanh", "tanh_shrink", "exponential", "softplus", "squareplus", "linear", "celu", "elu",
})  # fmt: skip
PLAIN = {"sqrt", "rsqrt", "square", "abs", "erf", "log", "sin", "cos"}  # functions of keras.ops, no activations
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
MERGES = frozenset({"add", "subtract", "multiply", "average", "maximum", "minimum"})
REDUCES = {"mean": "mean", "sum": "sum", "max": "max", "min": "min", "prod": "prod"}
USUAL_THRESHOLD = 20.0  # of torch's softplus: above it, it is x to 2e-9
A_FEW = 16  # numbers that a line can show


def exact(value: Any) -> str:
    """Return a value as a line of code has it, no digit less than makes the same number."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, str):
        return f'"{value}"'
    return numbers(value) if isinstance(value, (list, tuple)) else str(value)


def arguments(given: Mapping[str, Any]) -> str:
    """Return keyword arguments; one number for all axes where they are the same."""
    return ", ".join(f"{key}={exact(_short(value))}" for key, value in given.items())


def _short(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and value and len(set(map(str, value))) == 1 else value


def is_layer(op: Op) -> bool:
    """Return whether an operation is a layer of Keras, and no function that code calls."""
    return op.made_by.partition(".")[0] in ("keras", "tf_keras") and ".layers." in op.made_by


def layer_class(op: Op) -> str:
    """Return the name of the class or function that ran."""
    return op.made_by.rpartition(".")[2]


def named(op: Op) -> str:
    """Return the name of an operation in quotes; that of the layer for the activation that one applies itself."""
    return f"`{op.name.partition(FUSED)[0]}`"


def of_layers(scene: Scene) -> bool:
    """Return whether the Keras model is made of layers, and not written in functions alone."""
    return any(is_layer(op) for op in scene.tensorflow_trace.ops)


def expression(op: Op) -> str | None:
    """Return an activation as a function of x; None where there is no telling."""
    config, name = op.config, str(op.config.get("function", ""))
    if op.kind == "softmax":
        return None
    if name == "relu":
        return _relu(config)
    given = {
        "leaky_relu": ("leaky_relu", {"negative_slope": config.get("slope", 0.2)}),
        "elu": ("elu", {"alpha": config.get("alpha", 1.0)}),
        "celu": ("celu", {"alpha": config.get("alpha", 1.0)}),
        "gelu_tanh": ("gelu", {"approximate": True}),
        "soft_shrink": ("soft_shrink", {"threshold": config.get("threshold", 0.5)}),
        "hard_shrink": ("hard_shrink", {"threshold": config.get("threshold", 0.5)}),
    }
    if name in given:
        function, words = given[name]
        return f"keras.activations.{function}(x, {arguments(words)})"
    if name in ("clamp", "hard_tanh"):
        return _clipped(name, config)
    if name == "hard_sigmoid_keras2":
        return "keras.ops.clip(0.2 * x + 0.5, 0, 1)"
    if name == "softplus":
        return _softplus(config)
    if name in PLAIN:
        return f"keras.ops.{name}(x)"
    return f"keras.activations.{name}(x)" if name in NAMED else None


def _softplus(config: Mapping[str, Any]) -> str:
    """Return torch's softplus: of `beta` times x, and x itself above a threshold, which is Keras's own from 20 on."""
    beta, threshold = float(config.get("beta") or 1.0), float(config.get("threshold") or USUAL_THRESHOLD)
    scaled = "x" if beta == 1.0 else f"{exact(beta)} * x"
    text = f"keras.activations.softplus({scaled})" + ("" if beta == 1.0 else f" / {exact(beta)}")
    return text if threshold >= USUAL_THRESHOLD else f"keras.ops.where({scaled} > {exact(threshold)}, x, {text})"


def _clipped(name: str, config: Mapping[str, Any]) -> str | None:
    low, high = config.get("min"), config.get("max")
    if name == "hard_tanh" and (low, high) in ((None, None), (-1.0, 1.0)):
        return "keras.activations.hard_tanh(x)"
    if None not in (low, high):
        return f"keras.ops.clip(x, {exact(low)}, {exact(high)})"
    one = low if high is None else high
    return None if one is None else f"keras.ops.{'maximum' if high is None else 'minimum'}(x, {exact(one)})"


def _relu(config: Mapping[str, Any]) -> str:
    words = {key: config[key] for key in ("negative_slope", "max_value", "threshold") if config.get(key)}
    return f"keras.activations.relu(x, {arguments(words)})" if words else "keras.activations.relu(x)"


def argument(op: Op) -> str | None:
    """Return an activation as layers take it in `activation=`: by its name where that says all."""
    text = expression(op)
    if op.kind == "softmax":
        return '"log_softmax"' if op.config.get("log") else '"softmax"'
    if text is None:
        return None
    bare = text.removeprefix("keras.activations.").removesuffix("(x)")
    return f'"{bare}"' if bare in NAMED else f"lambda x: {text}"


def activation_layer(op: Op, axis: int | None = None) -> str | None:
    """Return an activation as a layer of Keras; `axis` is Keras's, of a softmax."""
    config, name = op.config, str(op.config.get("function", ""))
    if op.kind == "softmax" and not config.get("log"):
        return f"layers.Softmax({'' if axis in (None, -1) else f'axis={axis}'})"
    if op.kind == "softmax":
        return f"layers.Activation(lambda x: keras.ops.log_softmax(x, axis={axis}))"
    known = {"leaky_relu": ("LeakyReLU", "negative_slope", "slope"), "elu": ("ELU", "alpha", "alpha")}
    if name in known:
        kind, word, key = known[name]
        return f"layers.{kind}({word}={exact(config.get(key, 1.0 if name == 'elu' else 0.2))})"
    if name == "relu":
        words = {key: config[key] for key in ("max_value", "negative_slope", "threshold") if config.get(key)}
        return f"layers.ReLU({arguments(words)})"
    text = argument(op)
    return None if text is None else f"layers.Activation({text})"


def axis_there(scene: Scene, mine: Op, theirs: Op, axis: int) -> int | None:
    """Return torch's axis in TensorFlow's numbers; the last one, if it is one of several, is -1."""
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    for places in scene.axis_maps(mine, theirs):
        wanted = axis % len(places) if places else 0
        if wanted in places and len(set(places)) == len(places):
            found = places.index(wanted)
            return -1 if found == rank - 1 and rank > 1 else found
    return None


def axes_there(scene: Scene, mine: Op, theirs: Op, given: Any) -> Any:
    """Return torch's axis, or several, in TensorFlow's numbers; None where that is not told."""
    if isinstance(given, (list, tuple)):
        rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
        found = [axis_there(scene, mine, theirs, int(one)) for one in given]
        return None if None in found or not rank else sorted(int(one) % rank for one in found if one is not None)
    return axis_there(scene, mine, theirs, int(given))


def scaling(config: Mapping[str, Any]) -> str | None:
    """Return a scale and a shift as a layer of Keras."""
    scale, offset = float(config.get("scale", 1.0)), float(config.get("offset", 0.0))
    whole = round(1.0 / scale) if scale else 0
    text = f"1 / {whole}" if 0.0 < scale < 1.0 and whole and same(1.0 / whole, scale) else exact(scale)
    if 0.0 < scale < 1.0 and whole and not same(1.0 / whole, scale) and same(2.0 / round(2.0 / scale), scale):
        text = f"1 / {round(2.0 / scale) / 2.0:g}"
    return f"layers.Rescaling({text}{f', offset={exact(offset)}' if offset else ''})"


def standardizing(config: Mapping[str, Any]) -> str | None:
    """Return what is done with a mean and a variance for each channel, as code of x."""
    mean, variance = ([float(one) for one in _many(config.get(key))] for key in ("mean", "variance"))
    if not 0 < len(mean) == len(variance) <= A_FEW:
        return None
    roots = [exact(float(f"{one**0.5:.12g}")) for one in variance]
    shift = f"(x - [{', '.join(exact(one) for one in mean)}])"
    return shift if set(roots) == {"1"} else f"{shift} / [{', '.join(roots)}]"


def normalizing(config: Mapping[str, Any]) -> str | None:
    """Return the same as a layer of Keras."""
    mean, variance = ([float(one) for one in _many(config.get(key))] for key in ("mean", "variance"))
    if not 0 < len(mean) == len(variance) <= A_FEW:
        return None
    roots = [float(f"{one**0.5:.12g}") for one in variance]
    shown = ["1" if one == 1.0 else f"{exact(one)} ** 2" for one in roots]
    return f"layers.Normalization(mean=[{', '.join(exact(one) for one in mean)}], variance=[{', '.join(shown)}])"


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [] if value is None else [value]


def constant(op: Op) -> str | None:
    """Return arithmetic with numbers of the code, one for each channel, as code of x: channels are last."""
    values = [float(one) for one in op.config.get("constant") or ()]
    sizes = [int(one) for one in op.config.get("constant_shape") or ()]
    if op.kind not in SIGNS or not 0 < len(values) <= A_FEW or max(sizes, default=1) != len(values):
        return None
    shown = [exact(float(f"{one:.7g}")) for one in values]
    text = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    return f"{text} {SIGNS[op.kind]} x" if op.config.get("reversed") else f"x {SIGNS[op.kind]} {text}"


def written(op: Op) -> str | None:
    """Return a scaling as code of x."""
    if op.kind == "rescale":
        scale, offset = float(op.config.get("scale", 1.0)), float(op.config.get("offset", 0.0))
        product = "x" if scale == 1.0 else f"x * {exact(scale)}"
        return product if not offset else f"{product} {'+' if offset > 0 else '-'} {exact(abs(offset))}"
    return standardizing(op.config) if op.kind == "standardize" else constant(op)
