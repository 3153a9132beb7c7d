"""Rules for whole numbers, running extremes, distances, angles, and the functions of two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from parity.adapters.torch_rounding_activations import prelu
from parity.adapters.torch_rounding_core import RULES, aten, err, floor, gamma, high, make, rule, undecided, val
from parity.adapters.torch_rounding_rules import div, mul, square, sub, total
from parity.errors import RoundingUnknown

Whole = Callable[[Any], Any]
_WHOLE: dict[str, Whole] = {"floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc, "round": torch.round}


def whole(u: float, function: Whole, value: Any, error: Any) -> Any:
    """Return a number rounded to a whole one; it may be another where the error reaches over an edge."""
    middle = function(value)
    return make(middle, torch.maximum(function(value + error) - middle, middle - function(value - error)), u)


def _whole_rule(function: Whole) -> Any:
    return lambda u, x: whole(u, function, x._value, x._error)


RULES.update({name: _whole_rule(function) for name, function in _WHOLE.items()})


@rule("round.decimals")
def _round_decimals(u: float, x: Any, *, decimals: int) -> Any:
    scale = 10.0**decimals
    found = whole(u, torch.round, x._value * scale, (x._error + 2 * u * high(x)) * scale)
    value = torch.round(x._value, decimals=decimals)
    return make(value, found._error / scale + 4 * u * value.abs(), u)


@rule("frac")
def _frac(u: float, x: Any) -> Any:
    return sub(u, x, RULES["trunc"](u, x))


def _quotient(u: float, a: Any, b: Any, function: Whole) -> Any:
    ratio = div(u, a, b)
    return whole(u, function, ratio._value, ratio._error)


@rule("floor_divide")
def _floor_divide(u: float, a: Any, b: Any) -> Any:
    return _quotient(u, a, b, torch.floor)


_plain_div = RULES["div"]


@rule("div")
def _div(u: float, a: Any, b: Any, *, rounding_mode: Any = None) -> Any:
    if rounding_mode is None:
        return _plain_div(u, a, b)
    return _quotient(u, a, b, torch.floor if rounding_mode == "floor" else torch.trunc)


def _rest(function: Whole, operation: Any) -> Any:
    """Return the rule of a - b * whole(a / b): exact in itself, but another multiple may be taken off."""

    def run(u: float, a: Any, b: Any) -> Any:
        value = operation(val(a), val(b))
        times = _quotient(u, a, b, function)
        carried = err(a, u) + times._value.abs() * err(b, u) + times._error * high(b)
        return make(value, carried + 2 * u * (high(a) + high(b)), u)

    return run


RULES["fmod"] = _rest(torch.trunc, torch.fmod)
RULES["remainder"] = _rest(torch.floor, torch.remainder)


# One after another.


def _running(name: str) -> Any:
    def run(u: float, x: Any, dim: int) -> Any:
        values, indices = getattr(aten, name)(x._value, dim)
        return make(values, torch.cummax(x._error, dim)[0], u), indices

    return run


RULES.update({name: _running(name) for name in ("cummax", "cummin")})


@rule("aminmax")
def _aminmax(u: float, x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    dims = [] if dim is None else [dim]
    return RULES["amin"](u, x, dims, keepdim), RULES["amax"](u, x, dims, keepdim)


@rule("cumprod")
def _cumprod(u: float, x: Any, dim: int, *, dtype: Any = None) -> Any:  # noqa: ARG001
    value, largest = x._value.cumprod(dim), high(x).cumprod(dim)
    size = max(1, x.shape[dim] if x.dim() else 1)
    return make(value, (largest - value.abs()).clamp(min=0) * (1 + 1e-12) + gamma(size, u) * largest, u)


@rule("logcumsumexp")
def _logcumsumexp(u: float, x: Any, dim: int) -> Any:
    value = torch.logcumsumexp(x._value, dim)
    largest = torch.cummax(high(x), dim)[0]
    size = max(1, x.shape[dim] if x.dim() else 1)
    return make(value, torch.cummax(x._error, dim)[0] + gamma(8 * size + 20, u) * (1 + value.abs() + largest), u)


@rule("nansum")
def _nansum(u: float, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: ARG001
    clean = make(torch.nan_to_num(x._value), torch.where(x._value.isnan(), 0.0, x._error), u)
    return total(u, clean, [dim] if isinstance(dim, int) else dim, keepdim)


# Of two numbers.


def _log_of_sum(function: Any) -> Any:
    """Return the rule of log(e^a + e^b): as steep as 1 in the larger error, and as a softplus behind the larger one."""

    def run(u: float, a: Any, b: Any) -> Any:
        value = function(val(a), val(b))
        largest = torch.maximum(val(a), val(b)).abs()
        carried = torch.maximum(err(a) + 0.0 * value, err(b) + 0.0 * value)
        return make(value, carried + u * (18.0 * value.abs() + 4.0 * largest) + floor(value, u), u)

    return run


RULES.update({"logaddexp": _log_of_sum(torch.logaddexp), "logaddexp2": _log_of_sum(torch.logaddexp2)})


@rule("hypot")
def _hypot(u: float, a: Any, b: Any) -> Any:
    value = torch.hypot(val(a), val(b))
    return make(value, err(a) + err(b) + 6 * u * value + floor(value, u), u)


@rule("atan2")
def _atan2(u: float, a: Any, b: Any) -> Any:
    value = torch.atan2(val(a), val(b))
    near = (torch.hypot(val(a), val(b)) - err(a) - err(b)).clamp(min=0.0)
    spread = torch.where(near > 0, (err(a) + err(b)) / near.clamp(min=5e-324), math.inf)
    # Behind the origin the angle jumps by a whole turn.
    turn = 2 * math.pi * (undecided(val(a), err(a) + 0.0 * value) & (val(b) - err(b) < 0))
    return make(value, torch.maximum(spread.clamp(max=2 * math.pi), turn) + 10 * u * value.abs() + floor(value, u), u)


@rule("copysign")
def _copysign(u: float, a: Any, b: Any) -> Any:
    value = torch.copysign(val(a), val(b))
    return make(value, err(a) + 2 * high(a) * undecided(val(b), err(b) + 0.0 * value), u)


@rule("heaviside")
def _heaviside(u: float, x: Any, at_zero: Any) -> Any:
    value = torch.heaviside(val(x), val(at_zero))
    return make(value, undecided(val(x), err(x) + 0.0 * value) + err(at_zero) * (val(x) == 0), u)


@rule("sinc")
def _sinc(u: float, x: Any) -> Any:
    value = torch.sinc(x._value)
    return make(value, 1.4 * x._error + u * (12 * value.abs() + 6.0), u)


@rule("linalg_cross")
def _cross(u: float, a: Any, b: Any, *, dim: int = -1) -> Any:
    turned = [[aten.roll(x, [shift], [dim]) for shift in (-1, -2)] for x in (a, b)]
    return sub(u, mul(u, turned[0][0], turned[1][1]), mul(u, turned[0][1], turned[1][0]))


@rule("rrelu_with_noise")
def _rrelu(u: float, x: Any, noise: Any, lower: Any = 1 / 8, upper: Any = 1 / 3, training: Any = False, *_: Any) -> Any:  # noqa: ARG001
    if training:
        raise RoundingUnknown("a randomised ReLU draws its slopes: no bound is known")
    return prelu(u, x, (float(lower) + float(upper)) / 2)


@rule("rrelu_with_noise_backward")
def _rrelu_backward(u: float, grad: Any, x: Any, noise: Any, lower: Any, upper: Any, training: Any, result: Any) -> Any:  # noqa: ARG001
    if training:
        raise RoundingUnknown("a randomised ReLU draws its slopes: no bound is known")
    return RULES["leaky_relu_backward"](u, grad, x, (float(lower) + float(upper)) / 2, False)


# Distances between all rows: as a difference, or as |a|^2 - 2 a.b + |b|^2, which cancels where two rows are near.


@rule("_cdist_forward")
def _cdist(u: float, a: Any, b: Any, p: float, mode: Any = None) -> Any:  # noqa: ARG001
    apart = sub(u, aten.unsqueeze(a, -2), aten.unsqueeze(b, -3))
    if p == 1.0:
        return total(u, RULES["abs"](u, apart), [-1])
    if p == math.inf:
        return RULES["amax"](u, RULES["abs"](u, apart), [-1])
    if p != 2.0:
        raise RoundingUnknown(f"no rounding bound is known for distances of order {p}")
    direct = total(u, square(u, apart), [-1])
    sizes = high(aten.unsqueeze(a, -2)) + high(aten.unsqueeze(b, -3))
    expanded = gamma(apart.shape[-1] + 4, u) * (sizes * sizes).sum(-1)
    return RULES["sqrt"](u, make(direct._value, direct._error + expanded, u))


@rule("_cdist_backward")
def _cdist_backward(u: float, grad: Any, a: Any, b: Any, p: float, distance: Any) -> Any:
    if p != 2.0:
        raise RoundingUnknown(f"no rounding bound is known for the gradient of distances of order {p}")
    apart = sub(u, aten.unsqueeze(a, -2), aten.unsqueeze(b, -3))
    share = div(u, grad, distance)
    nothing = val(distance) == 0
    share = make(torch.where(nothing, 0.0, share._value), torch.where(nothing, 0.0, share._error), u)
    return total(u, mul(u, aten.unsqueeze(share, -1), apart), [-2])
