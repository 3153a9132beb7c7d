"""What a call in a user's model is turned into before it runs: dropout off, and exact constants in the twin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parity.adapters.torch_model_draws import DRAWS, NAMES
from parity.model import draws
from parity.model.constants import meant, shortest, written

Called = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

DROPOUTS = frozenset(
    {"dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "alpha_dropout_"}
    | {"feature_dropout", "feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_", "native_dropout"}
)
_SINGLE = (torch.float32, torch.float16, torch.bfloat16)
_FLOATS = frozenset(f"torch.{where}{kind}Tensor" for where in ("", "cuda.") for kind in ("Float", "Half", "BFloat16"))


def plain_name(function: Callable[..., Any]) -> str:
    """Return a function's bare name: `conv2d` for `torch.conv2d`, `F.conv2d` and `aten.conv2d.default` alike."""
    if isinstance(function, torch._ops.OpOverload):
        return str(function._schema.name.partition("::")[2])
    name = str(getattr(function, "__name__", type(function).__name__))
    if name == "__get__":  # an attribute: `x.T`
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    return name


_WHOLE_CHANNELS = frozenset({"dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_dropout_"})
_ON_BY_DEFAULT = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})  # of torch.nn.functional


# Of the second tensor these read nothing but its shape, which makes it no part of what they compute.
SHAPED_LIKE: Mapping[str, Callable[..., Any]] = {
    "view_as": torch.Tensor.view, "reshape_as": torch.Tensor.reshape, "expand_as": torch.Tensor.expand,
}  # fmt: skip


def hard_sigmoid(x: Tensor, inplace: bool = False) -> Tensor:  # noqa: ARG001
    """Return relu6(x + 3) / 6: torch's own multiplies its gradient by a float32 1/6 in double precision too."""
    return functional.relu6(x + 3.0) / 6.0


def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:  # noqa: ARG001
    """Return max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1): torch's own has a float32 1/alpha in its gradient."""
    return x.clamp(min=0.0) + alpha * torch.expm1(x.clamp(max=0.0) / alpha)


def rewrite(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], twin: bool, training: bool
) -> Called:
    """Return the call that takes this one's place."""
    name = plain_name(function)
    exact = twin and not (name.endswith("_") or "out" in kwargs)  # what is written to must stay what it is
    args = tuple(_plain(value, exact) for value in args)
    own = {key: _plain(value, exact) for key, value in kwargs.items()}
    if name in NAMES:
        return DRAWS.called(function, name, args, own)
    if name in DROPOUTS:
        return _undropped(function, args, own, training)
    if name == "scaled_dot_product_attention":
        args, own = _without_dropout(args, own)
    if name in ("rrelu", "rrelu_") and not training:
        args, own = _middle_slope(args, own)
        function, name = functional.leaky_relu, "leaky_relu"
    if name in SHAPED_LIKE:
        shaped, other = SHAPED_LIKE[name], args[1] if len(args) > 1 else own["other"]
        return shaped, (args[0], tuple(other.shape)), {}
    if not twin:
        return function, args, own
    if name in ("float", "half", "bfloat16"):
        return torch.Tensor.double, args, own
    if name in ("_assert_tensor_metadata", "_assert_tensor_metadata.default"):
        return _nothing, (), {}
    args = tuple(_in_double(value) for value in args)
    own = {key: _in_double(value) for key, value in own.items()}
    if name in ("leaky_relu", "leaky_relu_"):
        return _exact_slope(function, args, own)
    if name == "celu":
        return celu, args, own
    if name == "hardsigmoid":
        return hard_sigmoid, args[:1] or (own["input"],), {}
    if name == "rms_norm":
        return _exact_eps(function, args, own)
    return function, args, own


def _is_float(value: Any) -> bool:
    """Return whether this names a type of numbers that is float64 in the twin: half precision rounds, too."""
    return value in _SINGLE if isinstance(value, torch.dtype) else isinstance(value, str) and value in _FLOATS


def _plain(value: Any, exact: bool) -> Any:
    """Return a number of NumPy's in float32 as one of Python's; if `exact`, the number that a formula had.

    Likewise a tensor of one number that is float32 among doubles: a constant that the model's code made so.
    """
    if isinstance(value, np.float32):
        return meant(float(value)) if exact else float(value)
    single = exact and type(value) is torch.Tensor and value.dtype == torch.float32 and value.numel() == 1
    if single and not (value.requires_grad or value.is_meta):
        return torch.full_like(value, meant(float(value)), dtype=torch.float64)
    return value


def _in_double(value: Any) -> Any:
    """Return an argument as the twin takes it."""
    return torch.float64 if _is_float(value) else written(value) if type(value) is float else value


def _nothing() -> None:
    return None


def _undropped(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Called:
    """Dropout with nothing dropped; in evaluation, one that drops all the same drops what `active_dropout` says."""
    source = args[0] if args else kwargs["input"]
    inplace = bool(kwargs.get("inplace", args[3] if len(args) > 3 else False))
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    if plain_name(function) == "native_dropout":
        return _native_dropout, (source,), {}
    on = kwargs.get("training", args[2] if len(args) > 2 else plain_name(function) in _ON_BY_DEFAULT)
    if on and rate and not training:
        return active_dropout, (source, float(rate), plain_name(function) in _WHOLE_CHANNELS), {}
    return no_dropout, (source, rate, inplace), {}


def no_dropout(x: Tensor, p: float, inplace: bool = False) -> Tensor:  # noqa: ARG001
    """Return the same numbers as a tensor of their own."""
    return x.view_as(x)


def active_dropout(x: Tensor, p: float, whole_channels: bool = False) -> Tensor:
    """Return what a dropout that nobody switched off gives, with the same numbers dropped at every call."""
    kept = draws.kept(x.shape, p, channels_first=True, whole_channels=whole_channels and x.ndim > 2)
    return x * torch.from_numpy(np.ascontiguousarray(kept)).to(x.device, x.dtype) * (1.0 / (1.0 - p))


def active_noise(x: Tensor, stddev: float, multiplied: bool) -> Tensor:
    """Return what a layer of Keras's gives whose noise works in inference, with the same numbers at every call."""
    numbers = np.ascontiguousarray(draws.normal(tuple(x.shape), 1, channels_first=True))
    noise = stddev * torch.from_numpy(numbers).to(x.device, x.dtype)
    return x * (1.0 + noise) if multiplied else x + noise


def _native_dropout(x: Tensor) -> tuple[Tensor, torch.Tensor]:
    return x.view_as(x), torch.ones_like(x, dtype=torch.bool)


def _without_dropout(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if len(args) > 4:
        args = (*args[:4], 0.0, *args[5:])
    return args, {key: 0.0 if key == "dropout_p" else value for key, value in kwargs.items()}


def _middle_slope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the leaky ReLU that a randomised one is in evaluation."""
    given = dict(zip(("input", "lower", "upper", "training", "inplace"), args, strict=False)) | kwargs
    slope = (given.get("lower", 1 / 8) + given.get("upper", 1 / 3)) / 2
    return (given["input"], slope), {"inplace": given.get("inplace", False)}


def _exact_slope(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Called:
    # TensorFlow keeps the slope as a float32 attribute of its operation; its twin reads the decimal number in that.
    if len(args) > 1:
        args = (args[0], shortest(args[1]), *args[2:])
    else:
        kwargs["negative_slope"] = shortest(kwargs.get("negative_slope", 0.01))
    return function, args, kwargs


def _exact_eps(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Called:
    # Without eps torch takes the eps of its input's dtype, which would make the twin another function.
    eps = torch.finfo(torch.float32).eps
    if len(args) > 3:
        return function, (*args[:3], eps if args[3] is None else args[3], *args[4:]), kwargs
    if kwargs.get("eps") is None:
        kwargs["eps"] = eps
    return function, args, kwargs


class Rewritten(TorchFunctionMode):
    """Runs a model as the recorder does, without recording."""

    def __init__(self, twin: bool, training: bool) -> None:
        super().__init__()
        self.twin, self.training = twin, training

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        function, args, kwargs = rewrite(func, args, kwargs or {}, self.twin, self.training)
        return widened(function(*args, **kwargs), self.twin)


def widened(result: Any, twin: bool) -> Any:
    """Return a result with float32 made float64 in the twin: constants that a model made from float32 data."""
    if twin and isinstance(result, torch.Tensor) and result.dtype == torch.float32:
        return result.double()
    return result


_RATES = ("p", "prob", "drop_prob", "drop_rate", "drop_path", "rate")


def without_dropout(model: Any) -> dict[int, float]:
    """Set every dropout rate of a model's modules to 0 and return what they were, by the module's id.

    Modules in training mode draw a mask even where a function call could be turned off from outside.
    """
    rates: dict[int, float] = {}
    for module in model.modules():
        dropping = any(word in type(module).__name__.lower() for word in ("drop", "stochasticdepth"))
        for key in _RATES if dropping else ("dropout", "drop_prob"):
            value = inspect.getattr_static(module, key, None)
            if isinstance(value, float) and value:
                rates[id(module)] = value
                setattr(module, key, 0.0)
    return rates
