"""What each recorded call is in the words that both frameworks share: kind, configuration, roles of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from parity.adapters.torch_model_calls import Call, Par, Ref, leaves
from parity.adapters.torch_model_signatures import bound
from parity.model.trace import SLOPES, weight_names

Shape = tuple[int, ...]
Config = dict[str, Any]
CONSTANT_LIMIT = 4096  # numbers of a constant operand that are told in its operation's configuration


@dataclass
class Seen:
    """One call with its arguments by name, and what a describer finds out about it."""

    call: Call
    name: str
    given: dict[str, Any]
    out: list[Shape]
    training: bool
    rates: Mapping[int, float]
    roles: dict[str, str] = field(default_factory=dict)

    def shape(self, key: str = "input") -> Shape:
        """Return the shape of a tensor argument."""
        return shape_of(self.given.get(key))

    def weight(self, key: str, role: str | None = None) -> bool:
        """Note an argument's weight under its role; return whether there is such an argument at all."""
        value = self.given.get(key)
        if isinstance(value, Par):
            self.roles[role or key] = value.reference
        return value is not None


Described = tuple[str, Config]
Describer = Callable[[Seen], Described | None]
_TABLE: dict[str, Describer] = {}


def describes(*names: str) -> Callable[[Describer], Describer]:
    """Register a describer under the plain names of the functions that it describes."""

    def register(function: Describer) -> Describer:
        _TABLE.update(dict.fromkeys(names, function))
        return function

    return register


def shape_of(value: Any) -> Shape:
    """Return the shape of what stands for a tensor; () for a number."""
    if isinstance(value, (Ref, Par)):
        return value.shape
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def describe(call: Call, shapes: Mapping[int, Shape], training: bool, rates: Mapping[int, float]) -> None:
    """Fill in a call's kind, configuration and weights' roles."""
    from parity.adapters import torch_model_kinds_layers, torch_model_kinds_moves  # noqa: F401 - they register

    name = base_name(call.name)
    seen = Seen(call, name, bound(call, name), [shapes[i] for i in call.outputs], training, rates)
    found = None
    # What a model hides from us may feed a layer all the same, which then keeps its kind, and so may a weight.
    fed = seen.given.get("input")
    feeds = isinstance(fed, torch.Tensor) or (isinstance(fed, Par) and name in _FED_A_WEIGHT)
    layer = name in _TABLE and feeds and len(call.parameters) > isinstance(fed, Par)
    if not call.inputs and not layer and not _looks_up(call, name):
        found = ("op:weight", {"function": name, **_number_beside(seen)}) if call.parameters else None
        found = found or ("op:constant", {"function": name})
    elif name in _TABLE:
        found = _TABLE[name](seen)
    if found is None:
        found = (f"op:{name}", simple(seen.given))
    call.kind, config = found
    call.config = {**config}
    call.weights = {**seen.roles}
    _other_weights(call)


def _looks_up(call: Call, name: str) -> bool:
    """Return whether a call takes rows of a table of weights by numbers that depend on no input, such as places."""
    if name != "getitem" or not isinstance(call.args[0], Par) or len(call.args[0].shape) != 2:
        return False
    index = call.args[1]
    return isinstance(index, torch.Tensor) and not index.is_floating_point() and index.dtype != torch.bool


def _other_weights(call: Call) -> None:
    """Give a role to each weight that no describer named."""
    told = {name for text in call.weights.values() for name in weight_names(text)}
    left = [one.reference for one in leaves((call.args, call.kwargs)) if isinstance(one, Par)]
    role = "weight" if call.kind == "op:weight" else "other"
    for reference in dict.fromkeys(left):
        if weight_names(reference)[0] in told:
            continue
        number = sum(1 for key in call.weights if key.partition("_")[0] == role)
        call.weights[f"{role}_{number}" if number else role] = reference


_FED_A_WEIGHT = frozenset({"layer_norm", "rms_norm", "group_norm", "linear", "conv1d", "conv2d", "conv3d"})
_ALIASES = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__isub__": "sub", "__rsub__": "rsub",
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul", "multiply": "mul", "__truediv__": "div", "__div__": "div",
    "__rtruediv__": "rdiv", "__rdiv__": "rdiv", "__itruediv__": "div", "__idiv__": "div", "true_divide": "div",
    "divide": "div", "subtract": "sub", "__pow__": "pow", "__matmul__": "matmul", "__getitem__": "getitem",
    "__setitem__": "setitem", "__neg__": "neg", "negative": "neg", "__rpow__": "rpow", "absolute": "abs",
    "log_sigmoid": "logsigmoid", "_softmax": "softmax", "hard_sigmoid": "hardsigmoid", "_log_softmax": "log_softmax",
    "__floordiv__": "floor_divide", "log_softmax.int": "log_softmax", "special_expit": "sigmoid", "swish": "silu",
    "recurrent": "recurrent", "no_dropout": "dropout", "max_pool2d_with_indices": "max_pool2d",
    "_native_batch_norm_legit_no_training": "batch_norm_no_training", "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "native_layer_norm": "layer_norm", "_threshold": "threshold",
    "native_group_norm": "aten_group_norm", "constant_pad_nd": "pad",
}  # fmt: skip


def base_name(name: str) -> str:
    """Return a function's name without what marks it as an operator or as working in place."""
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return _ALIASES.get(name, name)


def simple(given: Mapping[str, Any]) -> Config:
    """Return the arguments that are plain data."""
    found: Config = {}
    for key, value in given.items():
        if value is None or isinstance(value, (bool, int, float, str)):
            found[key] = value
        elif isinstance(value, (tuple, list)) and all(isinstance(one, (bool, int, float, str)) for one in value):
            found[key] = list(value)
    return {key: value for key, value in found.items() if value is not None and _finite(value)}


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def number_of(value: Any) -> float | None:
    """Return a Python number, or that of a constant with a single element."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex() and _has_numbers(value):
        return float(value)
    return None


def _has_numbers(value: Tensor) -> bool:
    """Whether a tensor can be read: what `ones_like` makes of an input without numbers cannot."""
    return not isinstance(value, FakeTensor)


def times(value: Any, rank: int) -> list[int]:
    """Return a size given once or per axis as one per axis."""
    if isinstance(value, (tuple, list)):
        given = [int(one) for one in value]
        return given * rank if len(given) == 1 and rank > 1 else given
    return [int(value)] * rank


def axis_of(axis: Any, rank: int) -> int:
    """Return an axis counted from the front."""
    return int(axis) % max(rank, 1)


# Activations: (function, {our key: argument}).
_ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "relu": ("relu", {}), "relu6": ("relu6", {}), "leaky_relu": ("leaky_relu", {"slope": "negative_slope"}),
    "elu": ("elu", {"alpha": "alpha"}), "selu": ("selu", {}), "celu": ("celu", {"alpha": "alpha"}),
    "silu": ("silu", {}), "mish": ("mish", {}), "softplus": ("softplus", {"beta": "beta", "threshold": "threshold"}),
    "softsign": ("softsign", {}), "sigmoid": ("sigmoid", {}), "logsigmoid": ("log_sigmoid", {}),
    "hardsigmoid": ("hard_sigmoid", {}), "hardswish": ("hard_silu", {}), "tanh": ("tanh", {}),
    "hardtanh": ("hard_tanh", {"min": "min_val", "max": "max_val"}), "tanhshrink": ("tanh_shrink", {}),
    "softshrink": ("soft_shrink", {"threshold": "lambd"}), "hardshrink": ("hard_shrink", {"threshold": "lambd"}),
    "exp": ("exponential", {}), "sqrt": ("sqrt", {}), "rsqrt": ("rsqrt", {}), "square": ("square", {}),
    "abs": ("abs", {}), "neg": ("neg", {}), "erf": ("erf", {}), "log": ("log", {}), "sin": ("sin", {}),
    "cos": ("cos", {}),
}  # fmt: skip


@describes(*_ACTIVATIONS)
def _activation(seen: Seen) -> Described:
    function, keys = _ACTIVATIONS[seen.name]
    config: Config = {"function": function}
    config |= {ours: float(seen.given[theirs]) for ours, theirs in keys.items() if seen.given.get(theirs) is not None}
    if seen.name == "hardtanh" and (config.get("min"), config.get("max")) == (0.0, 6.0):
        config = {"function": "relu6"}
    return "activation", config


@describes("gelu")
def _gelu(seen: Seen) -> Described:
    return "activation", {"function": "gelu_tanh" if seen.given.get("approximate") == "tanh" else "gelu"}


@describes("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(seen: Seen) -> Described | None:
    low, high = (seen.given.get(key) for key in ("min", "max"))
    if any(one is not None and number_of(one) is None for one in (low, high)):
        return None
    low, high = (None if one is None else number_of(one) for one in (low, high))
    if low == 0.0 and high is None:
        return "activation", {"function": "relu"}
    if low == 0.0 and high == 6.0:
        return "activation", {"function": "relu6"}
    return "activation", {"function": "hard_tanh" if None not in (low, high) else "clamp", "min": low, "max": high}


@describes("softmax", "log_softmax", "_safe_softmax")
def _softmax(seen: Seen) -> Described:
    rank, dim = len(seen.shape()), seen.given.get("dim")
    if dim is None:  # torch's own rule for a dimension that was left out
        dim = 0 if rank in (0, 1, 3) else 1
    return "softmax", {"axis": axis_of(dim, rank), "log": seen.name == "log_softmax"}


@describes("prelu")
def _prelu(seen: Seen) -> Described:
    seen.weight("weight")
    count = math.prod(seen.shape("weight"))
    return "prelu", {"shared": count == 1, SLOPES: count}


# Arithmetic.

_BINARY = {
    "add": "add", "sub": "subtract", "rsub": "subtract", "mul": "multiply", "div": "divide", "rdiv": "divide",
    "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip


@describes(*_BINARY)
def _binary(seen: Seen) -> Described | None:
    first, second = _operands(seen)
    if seen.given.get("rounding_mode") is not None:
        return None
    factor = number_of(seen.given.get("alpha", 1))
    factor = 1.0 if factor is None else factor
    backwards = seen.name in ("rsub", "rdiv")
    if backwards:
        first, second = second, first
    numbers = [number_of(one) if not isinstance(one, (Ref, Par)) else None for one in (first, second)]
    if any(one is not None for one in numbers):
        scaled = _rescaled(seen.name, numbers, factor)
        if scaled is not None:
            return "rescale", {"scale": scaled[0], "offset": scaled[1]}
    config: Config = {} if factor == 1.0 else {"alpha": factor}
    if not isinstance(first, Ref):
        config["reversed"] = True
    for one in numbers:
        if one is not None:  # no scale and offset say it: 2 / x
            config |= {"constant_shape": [], "constant": [one]}
    for one in (first, second):
        if isinstance(one, torch.Tensor) and "constant" not in config:
            config |= constant(one)
        elif isinstance(one, Par):
            seen.roles["other"] = one.reference
    return _BINARY[seen.name], config


def _operands(seen: Seen) -> tuple[Any, Any]:
    if "other" in seen.given and seen.given["other"] is not None:
        return seen.given["input"], seen.given["other"]
    rest = [value for key, value in seen.given.items() if key not in ("input", "alpha", "rounding_mode", "out")]
    rest = [value[0] if isinstance(value, tuple) and value else value for value in rest]
    return seen.given["input"], next((value for value in rest if value is not None), None)


def _number_beside(seen: Seen) -> Config:
    """Return what is done to a weight with a number, such as the eps that is added to a variance."""
    if seen.name == "pow":
        exponent = number_of(seen.given.get("exponent"))
        return {} if exponent is None else {"exponent": exponent}
    if seen.name not in _BINARY or seen.given.get("rounding_mode") is not None:
        return {}
    first, second = _operands(seen)
    pair = (second, first) if seen.name in ("rsub", "rdiv") else (first, second)
    numbers = [None if isinstance(one, Par) else number_of(one) for one in pair]
    scaled = _rescaled(seen.name, numbers, number_of(seen.given.get("alpha", 1)) or 1.0)
    return {} if scaled is None or numbers == [None, None] else {"scale": scaled[0], "offset": scaled[1]}


def _rescaled(name: str, numbers: Sequence[float | None], alpha: float) -> tuple[float, float] | None:
    first, second = numbers
    if second is not None:
        made = {"add": (1.0, alpha * second), "sub": (1.0, -alpha * second), "rsub": (1.0, -alpha * second)}
        made["mul"] = (second, 0.0)
        if second != 0.0:
            made["div"] = (1.0 / second, 0.0)
        return made.get(name)
    if first is None:
        return None
    return {"add": (alpha, first), "sub": (-alpha, first), "rsub": (-alpha, first), "mul": (first, 0.0)}.get(name)


def constant(value: Tensor) -> Config:
    """Return what an operation's configuration tells of a constant operand."""
    told: Config = {"constant_shape": list(value.shape)}
    if value.numel() <= CONSTANT_LIMIT and not value.is_complex() and _has_numbers(value):
        told["constant"] = [float(one) for one in value.detach().cpu().reshape(-1)]
    return told


@describes("reciprocal")
def _reciprocal(_: Seen) -> Described:
    return "power", {"exponent": -1.0}


@describes("pow")
def _power(seen: Seen) -> Described | None:
    _, exponent = _operands(seen) if seen.given.get("exponent") is None else (None, seen.given["exponent"])
    number = None if isinstance(exponent, (Ref, Par)) else number_of(exponent)
    if number is None or not isinstance(seen.given["input"], Ref):
        return None
    return "power", {"exponent": number}
