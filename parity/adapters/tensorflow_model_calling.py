"""Call a model as its user would: inputs in the form that it wants, inference or training."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array
from parity.adapters.tensorflow_model_layers import known_class, noise_of
from parity.adapters.tensorflow_model_loading import entry_point, first_line, place_of
from parity.adapters.tensorflow_model_names import Names, is_keras_layer
from parity.errors import ParityError, UsageError
from parity.model import draws

_MODES = ("training", "is_training", "train")
_DROPOUTS = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
_NOISES = ("GaussianNoise", "GaussianDropout")


def cast_for(array: Array, dtype: str) -> Array:
    """Return an array in a traced tensor's dtype; bfloat16 goes in as float32."""
    kind = "float32" if dtype == "bfloat16" else dtype
    return np.asarray(np.asarray(array).astype(kind, copy=False), order="C")  # a number by itself has no axes


def input_tensors(tf: Any, model: Any, inputs: Sequence[Array], dtype: str) -> list[Any]:
    """Return the inputs as tensors: floats in the worker's dtype, whole numbers as the model declares them."""
    declared = [str(getattr(tensor, "dtype", "")) for tensor in _declared(model)]
    found = []
    for index, array in enumerate(inputs):
        kind = array.dtype.name
        if array.dtype.kind == "f":
            kind = dtype
        elif array.dtype.kind in "iu" and len(declared) == len(inputs):
            name = declared[index].replace("<dtype: '", "").replace("'>", "")
            kind = dtype if name.startswith(("float", "bfloat")) else name if name.startswith(("int", "uint")) else kind
        found.append(tf.convert_to_tensor(np.asarray(array).astype(kind, copy=False)))
    return found


def _declared(model: Any) -> list[Any]:
    try:
        held = getattr(model, "inputs", None)
    except Exception:
        return []
    return list(held) if isinstance(held, list | tuple) else []


def call_model(model: Any, given: Sequence[Any], training: bool) -> Any:
    """Run a model on its inputs.

    Raises
        UsageError: it does not take them, or its own code fails; one line says where.
    """
    try:
        if is_keras_layer(model):
            return model(*_arranged(model, list(given)), **_mode(model.call, training))
        function = entry_point(model)
        signature = getattr(function, "structured_input_signature", None)
        if signature is not None and signature[1]:  # a signature of a SavedModel takes its inputs by name
            return function(**dict(zip(sorted(signature[1]), given, strict=True)))
        return function(*_positional(function, list(given)), **_mode(function, training))
    except ParityError:
        raise
    except BaseException as error:  # a model may call sys.exit() as well as a builder
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
        raise UsageError(
            f"the tensorflow model does not run on inputs of shape {shapes}: {type(error).__name__}:"
            f" {first_line(error)}{place_of(error)}"
        ) from error


def _mode(function: Any, training: bool) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    named = next((name for name in _MODES if name in parameters), None)
    return {} if named is None else {named: training}


def _arranged(model: Any, given: list[Any]) -> list[Any]:
    """Return the positional arguments of a Keras model's call."""
    declared = _declared(model)
    if declared and len(declared) != len(given):
        plural = "s" if len(declared) > 1 else ""
        raise UsageError(f"the tensorflow model takes {len(declared)} input{plural}, not {len(given)}")
    struct = getattr(model, "_inputs_struct", None)
    if struct is None:
        struct = getattr(model, "_nested_inputs", None)
    if isinstance(struct, Mapping):
        by_name = {id(tensor): value for tensor, value in zip(declared, given, strict=True)}
        return [
            {key: by_name.get(id(tensor), value) for (key, tensor), value in zip(struct.items(), given, strict=True)}
        ]
    if len(given) == 1:
        return [[given[0]]] if isinstance(struct, list | tuple) and len(struct) == 1 else given
    return [given] if declared else _positional(model.call, given)


def _positional(function: Any, given: list[Any]) -> list[Any]:
    """Return several inputs apart, or as one list where the function takes a single argument."""
    if len(given) < 2:
        return given
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return given
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return given
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # A mask that may be left out is Keras's own; one that must be given is an input like any other.
    own = [p.name for p in parameters if p.name in (*_MODES, "self") or (p.name == "mask" and p.default is not p.empty)]
    places = [p for p in parameters if p.kind in kinds and p.name not in own]
    return given if len(places) >= len(given) else [given]


_RATES = ("p", "prob", "drop_rate", "drop_path")  # of what drops by its name, in a user's own words
_PREPROCESSING = ("keras.src.layers.preprocessing", "tf_keras.src.layers.preprocessing")


def dropout_off(names: Names, training: bool) -> list[str]:
    """Let nothing be dropped in training mode; a layer's own rate is kept aside for its description.

    In training Keras's layers that change pictures at random do what they do in inference; returns their names. In
    inference what drops all the same, because its call says so, drops what `parity.model.draws` says.
    """
    still = list[str]()
    if not training:
        _drop_alike(names)
        return still
    for layer in names.layers:
        kind = type(layer)
        if kind.__module__.startswith(_PREPROCESSING) and kind.__name__.startswith("Random"):
            still.append(str(layer.name))
            if "call" not in layer.__dict__:
                layer.__dict__["call"] = _as_in_inference(layer.call)
        own = _RATES if any(word in kind.__name__.lower() for word in ("drop", "stochasticdepth")) else ()
        for name in ("rate", "stddev", "dropout", "recurrent_dropout", "_dropout", "drop_prob", *own):
            held = layer.__dict__.get(name)
            if isinstance(held, int | float) and held:
                if name in ("rate", "stddev") and "_parity_rate" not in layer.__dict__:
                    layer.__dict__["_parity_rate"] = float(held)
                layer.__dict__[name] = 0.0
    return still


def _drop_alike(names: Names) -> None:
    for layer in names.layers:
        kind = known_class(layer)
        name = "" if kind is None or getattr(layer, "noise_shape", None) is not None else kind.__name__
        if "call" in layer.__dict__:
            continue
        if name in _DROPOUTS:
            layer.__dict__["call"] = _working_alike(
                layer, functools.partial(dropped_alike, rate=layer.rate, whole_channels=name != "Dropout")
            )
        elif name in _NOISES:
            layer.__dict__["call"] = _working_alike(layer, functools.partial(noisy_alike, **noise_of(layer)))


def _working_alike(layer: Any, instead: Callable[[Any], Any]) -> Callable[..., Any]:
    own, on = layer.call, bool(getattr(layer, "rate", getattr(layer, "stddev", 0.0)))

    @functools.wraps(own)
    def call(inputs: Any, training: Any = None) -> Any:
        return instead(inputs) if training and on else own(inputs, training=training)

    return call


def noisy_alike(x: Any, stddev: float, multiplied: bool) -> Any:
    """Return what noise that works in inference gives, with the same numbers at every call."""
    shape = tuple(int(size) for size in x.shape)
    noise = stddev * draws.normal(shape, 1, channels_first=False).astype(x.dtype.as_numpy_dtype)
    return x * (1.0 + noise) if multiplied else x + noise


def dropped_alike(x: Any, rate: float, whole_channels: bool = False) -> Any:
    """Return what a dropout that works in inference gives, with the same numbers dropped at every call."""
    shape = tuple(int(size) for size in x.shape)
    kept = draws.kept(shape, float(rate), channels_first=False, whole_channels=whole_channels)
    return x * kept.astype(x.dtype.as_numpy_dtype) * (1.0 / (1.0 - float(rate)))


# Layers that Keras calls so unless they are told otherwise, and that do the same in both modes.
_ALIKE_IN_BOTH_MODES = frozenset({
    "Resizing", "CenterCrop", "AutoContrast", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization",
    "MaxNumBoundingBoxes",
})  # fmt: skip


def built_in_training_mode(names: Names) -> list[str]:
    """Return a note on the layers that a functional model calls with `training=True`, if any does.

    `model(x)` then does what they do in training; `model.predict`, `model.evaluate` and the check say
    `training=False` to all of them.
    """
    found = [
        f"`{layer.name}`"
        for layer in names.layers
        if getattr(known_class(layer), "__name__", "") not in _ALIKE_IN_BOTH_MODES
        for node in getattr(layer, "_inbound_nodes", ())
        if getattr(getattr(node, "arguments", None), "kwargs", {}).get("training") is True
    ]
    if not found:
        return []
    listed = ", ".join(dict.fromkeys(found))
    return [
        f"TensorFlow's {listed} was called with training=True while the model was built: model(x) still does what it"
        " does in training, but model.predict(x) and this check, which say training=False, do not"
    ]


def _as_in_inference(own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def call(inputs: Any, training: Any = None) -> Any:  # noqa: ARG001
        return own(inputs, training=False)

    return call
