"""Rules for elementary functions, activations, and the gradients of activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from parity.adapters.torch_rounding_core import (
    RULES,
    aten,
    constant_error,
    err,
    floor,
    high,
    make,
    rule,
    undecided,
    val,
)
from parity.adapters.torch_rounding_rules import mul

# Elementary functions. `roundings` is in units of u*|f|, about twice the largest error measured over dense grids
# in float32 (torch 2.15 and TensorFlow 2.21 on an x86 CPU with AVX2/AVX-512). Largest found, torch / TensorFlow:
# exp 1.0/2.0, expm1 1.5/4.7, log 1.6/3.8, log1p 1.0/4.5, tanh 1.0/5.2, sigmoid 2.5/8.2, erf 1.1/5.7, sin, cos 1.1/2.6,
# tan 1.4/1.2, atan 1.4/4.6, sinh and cosh 2.2/2.2, asin 1.3/8.0, acos 1.5/4.7, asinh 2.0/2.0, atanh 1.5/2.7,
# rsqrt 1.5/3.1, reciprocal 1.0/3.3, softplus 1.9/7.7, silu 2.9/9.1, mish 4.4/8.2; relative to |f| + |x|: gelu 5.0/1.1,
# its tanh form 1.0/2.5; to the largest |f| of the exponential branch: elu 1.0/1.1, selu 2.3/2.6.


def _toward_zero(x: Any, e: Any) -> Any:
    return (x.abs() - e).clamp(min=0.0)


def inverse_gap(gap: Any) -> Any:
    """Return 1/gap; infinite where nothing is left of it."""
    return torch.where(gap > 0, 1.0 / gap.clamp(min=5e-324), math.inf)


Steepness = Callable[[Any, Any], Any]
ELEMENTARY: dict[str, tuple[Any, Steepness, float]] = {
    "exp": (torch.exp, lambda x, e: torch.exp(x + e), 4.0),
    "exp2": (torch.exp2, lambda x, e: torch.exp2(x + e) * math.log(2.0), 4.0),
    "expm1": (torch.expm1, lambda x, e: torch.exp(x + e), 10.0),
    "log": (torch.log, lambda x, e: inverse_gap(x - e), 8.0),
    "log2": (torch.log2, lambda x, e: inverse_gap(x - e) / math.log(2.0), 10.0),
    "log10": (torch.log10, lambda x, e: inverse_gap(x - e) / math.log(10.0), 10.0),
    "log1p": (torch.log1p, lambda x, e: inverse_gap(1.0 + x - e), 10.0),
    "tanh": (torch.tanh, lambda x, e: 1.0 / torch.cosh(_toward_zero(x, e)) ** 2, 11.0),
    "sigmoid": (torch.sigmoid, lambda x, e: 0.25 / torch.cosh(_toward_zero(x, e) / 2.0) ** 2, 17.0),
    "erf": (torch.erf, lambda x, e: 1.13 * torch.exp(-(_toward_zero(x, e) ** 2)), 12.0),
    "sin": (torch.sin, lambda x, e: (torch.cos(x).abs() + e).clamp(max=1.0), 6.0),
    "cos": (torch.cos, lambda x, e: (torch.sin(x).abs() + e).clamp(max=1.0), 6.0),
    "atan": (torch.atan, lambda x, e: 1.0 / (1.0 + _toward_zero(x, e) ** 2), 10.0),
    "sinh": (torch.sinh, lambda x, e: torch.cosh(x.abs() + e), 6.0),
    "cosh": (torch.cosh, lambda x, e: torch.sinh(x.abs() + e), 6.0),
    "asinh": (torch.asinh, lambda x, e: torch.ones_like(x), 6.0),  # noqa: ARG005
    "atanh": (torch.atanh, lambda x, e: inverse_gap(1.0 - (x.abs() + e) ** 2), 6.0),
    "asin": (torch.asin, lambda x, e: inverse_gap(1.0 - (x.abs() + e) ** 2).sqrt(), 16.0),
    "acos": (torch.acos, lambda x, e: inverse_gap(1.0 - (x.abs() + e) ** 2).sqrt(), 16.0),
    "tan": (torch.tan, lambda x, e: 1.0 / _toward_zero(torch.cos(x), e) ** 2, 4.0),
}
# Beside the part that is relative to |f|: argument reduction, a cancelling sum near a zero of f; in units of u.
ABSOLUTE = {"sin": 1.0, "cos": 1.0, "acos": 4.0, "erf": 0.0}


# What lies between two numbers cannot be further off than they are apart, however uncertain the input.
RANGE = {"tanh": 2.0, "sigmoid": 1.0, "erf": 2.0, "sin": 2.0, "cos": 2.0, "atan": math.pi}


def _elementary(name: str) -> Any:
    function, steepness, roundings = ELEMENTARY[name]
    absolute, widest = ABSOLUTE.get(name, 0.0), RANGE.get(name, math.inf)

    def run(u: float, x: Any) -> Any:
        v, e = x._value, x._error
        value = function(v)
        carried = torch.where(e > 0, steepness(v, e) * e, 0.0).clamp(max=widest)
        return make(value, carried + u * (roundings * (value.abs() + carried) + absolute) + floor(value, u), u)

    return run


RULES.update({name: _elementary(name) for name in ELEMENTARY})


@rule("erfc")
def _erfc(u: float, x: Any) -> Any:
    value = torch.erfc(x._value)
    slope = 1.13 * torch.exp(-(_toward_zero(x._value, x._error) ** 2))
    # The exponential of x^2 is what loses digits in the tail.
    rounded = u * value * (12.0 + 4.0 * x._value.abs() ** 2)
    return make(value, slope * x._error + rounded + floor(value, u), u)


def smooth(u: float, x: Any, value: Any, slope: Any, rounded: Any) -> Any:
    """Return an activation with the given bound on its slope and on what its own evaluation rounds."""
    return make(value, slope * x._error + u * rounded + floor(value, u), u)


@rule("gelu")
def _gelu(u: float, x: Any, *, approximate: str = "none") -> Any:
    value = torch.nn.functional.gelu(x._value, approximate=approximate)
    return smooth(u, x, value, 1.13, 10.0 * (value.abs() + x._value.abs()))


@rule("silu")
def _silu(u: float, x: Any) -> Any:
    return smooth(u, x, torch.nn.functional.silu(x._value), 1.1, 19.0 * torch.nn.functional.silu(x._value).abs())


@rule("mish")
def _mish(u: float, x: Any) -> Any:
    value = torch.nn.functional.mish(x._value)
    return smooth(u, x, value, 1.09, 18.0 * value.abs())


@rule("softplus")
def _softplus(u: float, x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    value = torch.nn.functional.softplus(x._value, float(beta), float(threshold))
    slope = torch.sigmoid(beta * (x._value + x._error))
    # Above the threshold the function jumps by log1p(exp(-threshold)) / beta, where that is undecided.
    jump = undecided(x._value * beta - threshold, x._error * beta) * (math.exp(-threshold) / beta)
    return make(value, slope * x._error + jump + 18.0 * u * value + floor(value, u), u)


@rule("log_sigmoid_forward")
def _log_sigmoid(u: float, x: Any) -> Any:
    value = torch.nn.functional.logsigmoid(x._value)
    slope = torch.sigmoid(x._error - x._value)
    return smooth(u, x, value, slope, 18.0 * value.abs()), torch.empty(0, dtype=torch.float64)


@rule("elu")
def _elu(u: float, x: Any, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    v, e = x._value, x._error
    value = aten.elu(v, alpha, scale, input_scale)
    low = abs(alpha * scale * input_scale)
    slope = torch.where(v + e < 0, low * torch.exp((v + e) * input_scale), max(low, abs(scale)))
    slope = torch.where(v - e > 0, abs(scale), slope)
    rounded = 6.0 * value.abs() + torch.where(v - e > 0, 0.0, 4.0 * abs(alpha * scale)) * (v != 0)
    return smooth(u, x, value, slope, rounded)


@rule("celu")
def _celu(u: float, x: Any, alpha: Any = 1.0) -> Any:
    return _elu(u, x, alpha, 1.0, 1.0 / alpha)


@rule("leaky_relu")
def _leaky_relu(u: float, x: Any, slope: Any = 0.01) -> Any:
    return prelu(u, x, float(slope))


@rule("_prelu_kernel")
def prelu(u: float, x: Any, weight: Any) -> Any:
    """x where positive, weight*x elsewhere."""
    v, e, w, ew = x._value, x._error, val(weight), err(weight, u)
    value = torch.where(v > 0, v, w * v)
    steep = torch.where(v - e > 0, 1.0, torch.where(v + e < 0, abs(w) + ew, torch.clamp(abs_(w) + ew, min=1.0)))
    carried = steep * e + torch.where(v > 0, 0.0, v.abs() * ew)
    return make(value, carried + torch.where(v - e > 0, 0.0, u * (value.abs() + carried)), u)


def abs_(number: Any) -> Any:
    """Return the magnitude as a tensor."""
    return torch.as_tensor(number, dtype=torch.float64).abs()


@rule("threshold")
def _threshold(u: float, x: Any, threshold: Any, value: Any) -> Any:
    chosen = aten.threshold(x._value, threshold, value)
    either = undecided(x._value - threshold, x._error + constant_error(float(threshold), u))
    gap, own = x._error + (x._value - value).abs(), constant_error(float(value), u)
    return make(chosen, torch.where(either, gap, torch.where(x._value > threshold, x._error, 0.0)) + own, u)


@rule("hardsigmoid")
def _hardsigmoid(u: float, x: Any) -> Any:
    value = torch.nn.functional.hardsigmoid(x._value)
    inside = (x._value.abs() - x._error) < 3.0
    return make(value, inside * (x._error / 6.0 + 6.0 * u), u)


@rule("hardswish")
def _hardswish(u: float, x: Any) -> Any:
    value = torch.nn.functional.hardswish(x._value)
    inside = x._value + x._error > -3.0
    return make(value, inside * (1.5 * x._error + 6.0 * u * high(x)), u)


@rule("softshrink")
def _softshrink(u: float, x: Any, lambd: Any = 0.5) -> Any:
    value = aten.softshrink(x._value, lambd)
    active = x._value.abs() + x._error > lambd
    return make(value, active * (x._error + 2 * u * (value.abs() + x._error + lambd)), u)


@rule("hardshrink")
def _hardshrink(u: float, x: Any, lambd: Any = 0.5) -> Any:
    value = aten.hardshrink(x._value, lambd)
    either = undecided(x._value.abs() - lambd, x._error)
    return make(value, torch.where(either, high(x), torch.where(value != 0, x._error, 0.0)), u)


# Their gradients: g * f'(x), where f'(x) may move by `change` within the error of x, and by a jump where it is open.


def gated(u: float, grad: Any, value: Any, slope: Any, change: Any, rounded: Any) -> Any:
    """Return the gradient `value` = g*f'(x), with |f'| at most `slope`, its change, and its rounding in units of u."""
    steep = slope + change
    error = err(grad) * steep + val(grad).abs() * change + u * high(grad) * rounded
    # A slope of exactly 1 hands the gradient on as it is.
    return make(value, error + floor(value * (slope != 1), u), u)


def _slope_rule(name: str, bend: float, rounded: Callable[..., Any]) -> Any:
    """Return the rule of `name`(grad, x), for an activation whose second derivative is at most `bend`."""

    def run(u: float, grad: Any, x: Any, **kwargs: Any) -> Any:
        function = getattr(aten, name)
        slope = function(torch.ones_like(val(x)), val(x), **kwargs)
        change = (bend * err(x)) + 0.0 * slope
        lost = rounded(val(x).abs(), **kwargs) + 2.0 * slope.abs()
        return gated(u, grad, val(grad) * slope, slope.abs(), change, lost)

    return run


def _gelu_lost(x: Any, approximate: str = "none") -> Any:
    # The tanh form has x*(1 - tanh^2) times the slope of its cubic; tanh near 1 is good to some 5u only.
    return 12.0 + (6.0 * x * (1.0 + 0.14 * x * x) if approximate == "tanh" else x * (1.0 + 0.15 * x * x))


RULES.update(
    {
        "gelu_backward": _slope_rule("gelu_backward", 1.2, _gelu_lost),
        "silu_backward": _slope_rule("silu_backward", 0.51, lambda x: 20.0 * (1.0 + x) * torch.exp(-x) + 20.0),
        # x*(1 - tanh^2), again, where a framework differentiates x*tanh(softplus(x)) step by step.
        "mish_backward": _slope_rule("mish_backward", 0.7, lambda x: 20.0 + 14.0 * x),
    }
)


@rule("tanh_backward")
def _tanh_backward(u: float, grad: Any, y: Any) -> Any:
    v, e = val(y), err(y)
    square, change = v * v, (2.0 * v.abs() + e) * e
    return gated(u, grad, val(grad) * (1.0 - square), 1.0 - square, change, 3.0 + 0.0 * square)


@rule("sigmoid_backward")
def _sigmoid_backward(u: float, grad: Any, y: Any) -> Any:
    v, e = val(y), err(y)
    slope, change = v * (1.0 - v), ((1.0 - 2.0 * v).abs() + e) * e
    return gated(u, grad, val(grad) * slope, slope, change, 4.0 * slope)


@rule("softplus_backward")
def _softplus_backward(u: float, grad: Any, x: Any, beta: Any, threshold: Any) -> Any:
    slope = aten.softplus_backward(torch.ones_like(val(x)), val(x), beta, threshold)
    change = slope * torch.expm1(beta * err(x) + 0.0 * slope).clamp(max=1e300)
    jump = undecided(val(x) * beta - threshold, err(x) * beta) * math.exp(-threshold)
    return gated(u, grad, val(grad) * slope, slope, torch.minimum(change, 0.25 * beta * err(x)) + jump, 20.0 * slope)


@rule("elu_backward")
def _elu_backward(u: float, grad: Any, alpha: Any, scale: Any, input_scale: Any, is_result: bool, x: Any) -> Any:
    slope = aten.elu_backward(torch.ones_like(val(x)), alpha, scale, input_scale, is_result, val(x))
    either, low = undecided(val(x), err(x)), abs(alpha * scale * input_scale)
    per_error = abs(input_scale) if is_result else low * abs(input_scale)
    change = torch.where(val(x) + err(x) <= 0, per_error * err(x), 0.0)
    change = torch.where(either, per_error * err(x) + abs(scale - alpha * scale * input_scale), change)
    rounded = torch.where(val(x) > 0, 2.0 * abs(scale), 8.0 * low)
    return gated(u, grad, val(grad) * slope, slope.abs(), change, rounded)


def _steps(points: Callable[..., tuple[Any, ...]], jump: Callable[..., float]) -> Callable[..., Any]:
    """Return the change of a slope that is constant between points, where it jumps."""

    def change(x: Any, *settings: Any) -> Any:
        open_ = torch.zeros_like(val(x), dtype=torch.bool)
        for point in points(*settings):
            open_ = open_ | undecided(val(x) - point, err(x) + torch.zeros_like(val(x)))
        return open_ * jump(*settings)

    return change


def _stepped(name: str, change: Callable[..., Any], rounded: float) -> Any:
    def run(u: float, grad: Any, x: Any, *settings: Any) -> Any:
        slope = getattr(aten, name)(torch.ones_like(val(x)), val(x), *settings)
        return gated(
            u, grad, val(grad) * slope, slope.abs(), change(x, *settings), rounded * ((slope != 0) & (slope != 1))
        )

    return run


RULES.update(
    {
        "threshold_backward": _stepped("threshold_backward", _steps(lambda t: (t,), lambda _: 1.0), 0.0),
        "hardtanh_backward": _stepped("hardtanh_backward", _steps(lambda a, b: (a, b), lambda *_: 1.0), 0.0),
        "hardsigmoid_backward": _stepped("hardsigmoid_backward", _steps(lambda: (-3.0, 3.0), lambda: 1 / 6), 4.0),
        "hardshrink_backward": _stepped("hardshrink_backward", _steps(lambda t: (t, -t), lambda _: 1.0), 0.0),
        "softshrink_backward": _stepped("softshrink_backward", _steps(lambda t: (t, -t), lambda _: 1.0), 0.0),
        "leaky_relu_backward": _stepped(
            "leaky_relu_backward", _steps(lambda *_: (0.0,), lambda s, _: abs(1.0 - s)), 3.0
        ),
    }
)


@rule("hardswish_backward")
def _hardswish_backward(u: float, grad: Any, x: Any) -> Any:
    slope = aten.hardswish_backward(torch.ones_like(val(x)), val(x))
    inside = val(x).abs() - err(x) < 3.0
    jump = 0.5 * (undecided(val(x) - 3.0, err(x)) | undecided(val(x) + 3.0, err(x)))
    return gated(u, grad, val(grad) * slope, slope.abs(), inside * err(x) / 3.0 + jump, 8.0 * inside + 0.0 * slope)


@rule("_prelu_kernel_backward")
def _prelu_backward(u: float, grad: Any, x: Any, weight: Any) -> tuple[Any, Any]:
    positive = val(x) > 0
    slope = torch.where(positive, 1.0, val(weight) + torch.zeros_like(val(x)))
    change = torch.where(positive, 0.0, err(weight) + torch.zeros_like(slope))
    change = torch.where(undecided(val(x), err(x)), (1.0 - val(weight)).abs() + err(weight), change)
    to_x = gated(u, grad, val(grad) * slope, slope.abs(), change, 1.0 * ~positive)
    return to_x, mul(u, grad, RULES["clamp"](u, x, None, 0.0))
