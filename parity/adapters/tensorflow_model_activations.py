"""Activation functions given as callables: what they are called in a trace."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

_NAMES: Mapping[str, str] = {
    "swish": "silu", "exp": "exponential", "hard_swish": "hard_silu", "logsigmoid": "log_sigmoid",
    "softshrink": "soft_shrink", "hardshrink": "hard_shrink", "tanhshrink": "tanh_shrink", "hardtanh": "hard_tanh",
    "crelu_6": "relu6",
}  # fmt: skip
_PLAIN = frozenset((
    "relu", "relu6", "selu", "silu", "mish", "softsign", "sigmoid", "log_sigmoid", "hard_sigmoid", "hard_silu",
    "tanh", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "exponential", "squareplus", "linear",
    "softplus", "gelu", "elu", "celu", "leaky_relu", "sqrt", "rsqrt", "square", "abs", "erf", "log", "sin", "cos",
))  # fmt: skip
# What a function's own argument is called in a trace.
_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "leaky_relu": {"alpha": "slope", "negative_slope": "slope"},
    "elu": {"alpha": "alpha"},
    "celu": {"alpha": "alpha"},
    "relu": {"negative_slope": "negative_slope", "alpha": "negative_slope", "max_value": "max_value",
             "threshold": "threshold"},
    "soft_shrink": {"threshold": "threshold"},
    "hard_shrink": {"threshold": "threshold"},
    "squareplus": {"b": "b"},
}  # fmt: skip
_LIBRARIES = ("keras", "tf_keras", "tensorflow")


def softmax_config(axis: Any, rank: int | None, log: bool) -> dict[str, Any]:
    """Return the configuration of a softmax; axes are counted from the front."""
    axes = [int(a) for a in axis] if isinstance(axis, list | tuple) else [int(axis)]
    axes = [a % rank if rank else a for a in axes]
    return {"axis": axes[0] if len(axes) == 1 else axes, "log": log}


def activation_of(
    function: Any, rank: int | None, given: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]] | None:
    """Return (kind, config) of a function of a framework; None for one that is not known, such as a user's own.

    `given` are arguments that it is called with beside the tensor.
    """
    words = dict(given or {})
    while isinstance(function, functools.partial):
        words = {**function.keywords, **words}
        function = function.func
    function = inspect.unwrap(function) if callable(function) else function
    name, module = str(getattr(function, "__name__", "")), str(getattr(function, "__module__", ""))
    if module.split(".")[0] not in _LIBRARIES or inspect.isclass(function):
        return None
    return named_activation(name.removesuffix("_v2"), words | _defaults(function, words), rank, module)


def named_activation(
    name: str, words: Mapping[str, Any], rank: int | None, module: str = ""
) -> tuple[str, dict[str, Any]] | None:
    """Return (kind, config) of the activation of this name with these arguments."""
    name = _NAMES.get(name, name)
    if name in ("softmax", "log_softmax"):
        axis = words.get("axis", -1)
        return "softmax", softmax_config(-1 if axis is None else axis, rank, name == "log_softmax")
    if name not in _PLAIN:
        return None
    config: dict[str, Any] = {"function": name}
    if name == "gelu" and words.get("approximate"):
        config["function"] = "gelu_tanh"
    if name == "hard_sigmoid" and module.startswith("tf_keras"):
        config["slope"] = 0.2  # Keras 2: clip(0.2 x + 0.5); Keras 3: relu6(x + 3) / 6
    for own, ours in _ARGUMENTS.get(name, {}).items():
        value = words.get(own)
        if value is not None and not (name == "relu" and float(value) == 0.0):
            config[ours] = float(value)
    if config == {"function": "relu", "max_value": 6.0}:
        config = {"function": "relu6"}
    return "activation", config


def _defaults(function: Any, words: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    empty = inspect.Parameter.empty
    return {p.name: p.default for p in parameters if p.default is not empty and p.name not in words}
