"""Rules for arithmetic, sums, and products of matrices."""

from __future__ import annotations

import math
from typing import Any

import torch

from parity.adapters.torch_rounding_core import (
    RULES,
    Terms,
    Tracked,
    any_error,
    aten,
    constant_error,
    convolved,
    err,
    floor,
    gamma,
    high,
    make,
    num,
    rule,
    tiny,
    undecided,
    val,
)
from parity.adapters.torch_rounding_moves import swap, swap_values, to_error
from parity.errors import RoundingUnknown

# Arithmetic.


@rule("add")
def add(u: float, a: Any, b: Any, alpha: Any = 1) -> Any:
    """a + alpha*b."""
    va, vb = num(a), num(b)
    value = va + vb if alpha == 1 else va + alpha * vb
    carried = err(a, u) + err(b, u) * abs(alpha)
    if alpha != 1:
        carried = carried + 2 * u * abs(alpha) * high(b)
    # Adding an exact zero rounds nothing.
    rounded = u * (value.abs() + carried) * ((va != 0) & (vb != 0) if _exact(carried) else 1.0)
    terms, error = _summed(_terms(u, a, 1), _terms(u, b, alpha)), carried + rounded
    made = make(value, error if terms.count < 3 else torch.maximum(error, terms.bound(u)), u)
    made._terms = terms
    return made


def _terms(u: float, x: Any, factor: Any) -> Terms:
    """Return the terms of `factor*x`: those of a sum that is added as it is, else one; a zero in the code is none."""
    if abs(factor) == 1 and isinstance(x, Tracked) and x._terms is not None:
        return x._terms
    largest, size = high(x), abs(factor)
    lost = 0.0 if size == 1 else 2 * u * size * largest
    nothing = not isinstance(x, torch.Tensor) and x == 0
    return Terms(largest * size, err(x, u) * size + lost, 0 if nothing else 1)


def _summed(first: Terms, second: Terms) -> Terms:
    return Terms(first.magnitude + second.magnitude, first.error + second.error, first.count + second.count)


def _exact(error: Any) -> bool:
    return not (error.any() if isinstance(error, torch.Tensor) else error)


@rule("sub")
def sub(u: float, a: Any, b: Any, alpha: Any = 1) -> Any:
    """a - alpha*b."""
    return add(u, a, b, -alpha)


@rule("rsub")
def rsub(u: float, a: Any, b: Any, alpha: Any = 1) -> Any:
    """b - alpha*a."""
    first = b if isinstance(b, torch.Tensor) else make(torch.full_like(val(a), b), constant_error(b, u), u)
    return add(u, first, a, -alpha)


@rule("mul")
def mul(u: float, a: Any, b: Any) -> Any:
    """a*b."""
    va, vb, ea, eb = num(a), num(b), err(a), err(b, u)
    value = va * vb
    carried = abs(va) * eb + ea * (abs(vb) + eb)
    powers = not isinstance(vb, torch.Tensor) and vb != 0 and math.isfinite(vb) and abs(math.frexp(vb)[0]) == 0.5
    roundings = 4 if value.is_complex() else 1  # a complex product is four real ones and two sums
    rounded = 0.0 if powers else roundings * u * (value.abs() + carried)
    return make(value, carried + rounded + floor(value, u), u)


@rule("div")
def div(u: float, a: Any, b: Any, *, rounding_mode: Any = None) -> Any:
    """a/b; infinite where the divisor may be zero. 4u, since some kernels multiply by an approximate reciprocal."""
    if rounding_mode is not None:
        raise RoundingUnknown("no rounding bound is known for a division that rounds to whole numbers")
    va, vb, ea, eb = num(a), num(b), err(a, u), err(b, u)
    value = va / vb
    low = torch.as_tensor(abs(vb) - eb, dtype=torch.float64)
    carried = torch.where(low > 0, (ea + value.abs() * eb) / low.clamp(min=5e-324), math.inf)
    return make(value, carried + 4 * u * (value.abs() + carried) + floor(value, u), u)


@rule("reciprocal")
def reciprocal(u: float, x: Any) -> Any:
    """1/x."""
    return div(u, torch.ones_like(x._value), x)


@rule("abs")
def _abs(u: float, x: Any) -> Any:
    value = x._value.abs()
    return make(value, x._error + (6 * u * value if x.is_complex() else 0.0), u)


@rule("sgn", "sign")
def _sign(u: float, x: Any) -> Any:
    value = torch.sgn(x._value)
    return make(value, undecided(x._value, x._error) * (1.0 + value.abs()), u)


@rule("square")
def square(u: float, x: Any) -> Any:
    """x*x."""
    return mul(u, x, x)


@rule("sqrt")
def sqrt(u: float, x: Any) -> Any:
    """The root; a negative argument within the error is taken as the zero that a correct evaluation would give."""
    value = x._value.sqrt()
    carried = torch.where(
        x._value > 0, torch.minimum(x._error / value.clamp(min=5e-324), x._error.sqrt()), x._error.sqrt()
    )
    return make(value, carried + 2 * u * (value + carried), u)


@rule("rsqrt")
def rsqrt(u: float, x: Any) -> Any:
    """1/sqrt(x)."""
    return power_bound(u, x, x._value.rsqrt(), -0.5, 0.0, 4.0)


def power_bound(u: float, x: Any, value: Any, exponent: float, exponent_error: float, roundings: float) -> Any:
    """Return x**exponent with its bound."""
    magnitude, error = x._value.abs(), x._error
    if exponent >= 1:
        carried = exponent * (magnitude + error) ** (exponent - 1) * error
    else:
        low = magnitude - error
        spread = torch.where(low > 0, error / low.clamp(min=5e-324), math.inf)
        carried = torch.where(error > 0, value.abs() * torch.expm1(abs(exponent) * torch.log1p(spread)), 0.0)
    moved = exponent_error * magnitude.clamp(min=5e-324).log().abs() if exponent_error else 0.0
    return make(value, carried + (roundings * u + moved) * (value.abs() + carried) + floor(value, u), u)


@rule("pow")
def power(u: float, base: Any, exponent: Any) -> Any:
    """base**exponent."""
    if isinstance(exponent, torch.Tensor) or not isinstance(base, Tracked):
        return _power_of_tensors(u, base, exponent)
    if exponent in (0, 1):
        return make(base._value**exponent, base._error * exponent, u)
    special = {2: square, 0.5: sqrt, -0.5: rsqrt, -1: reciprocal}.get(exponent)
    if special is not None:
        found = special(u, base)
        return make(found._value, found._error + 3 * u * found._value.abs(), u)  # others go through logarithms
    roundings = 6.0 + abs(exponent)
    return power_bound(u, base, base._value**exponent, float(exponent), constant_error(float(exponent), u), roundings)


def _power_of_tensors(u: float, base: Any, exponent: Any) -> Any:
    value = torch.pow(val(base), val(exponent))
    low = torch.as_tensor(abs(val(base)) - err(base, u), dtype=torch.float64)
    log = torch.as_tensor(abs(val(base)) + err(base, u), dtype=torch.float64).log().abs() + low.clamp(min=0).log().abs()
    spread = torch.where(low > 0, err(base, u) / low.clamp(min=5e-324), math.inf)
    carried = value.abs() * torch.expm1(log * err(exponent, u) + high(exponent) * torch.log1p(spread))
    return make(value, carried + (6.0 + high(exponent)) * u * (value.abs() + carried) + floor(value, u), u)


@rule("addcmul")
def addcmul(u: float, x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    """x + value*a*b."""
    return add(u, x, _scaled(u, mul(u, a, b), value))


@rule("addcdiv")
def addcdiv(u: float, x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    """x + value*a/b."""
    return add(u, x, _scaled(u, div(u, a, b), value))


def _scaled(u: float, x: Any, factor: Any) -> Any:
    return x if factor == 1 else mul(u, x, float(factor))


@rule("lerp")
def lerp(u: float, a: Any, b: Any, weight: Any) -> Any:
    """a + weight*(b - a), in that form, seen from the other end, or as a weighted sum."""
    va, vb, w = val(a), val(b), val(weight)
    value = torch.lerp(va, vb, w)
    high_a, high_b, ew = high(a), high(b), err(weight, u)
    near, far = abs(w), abs(1 - w)
    carried = far * err(a) + near * err(b) + (high_a + high_b) * ew
    inner = near * (near <= far) + far * (far < near)
    rounded = u * (value.abs() + carried) + 4 * u * (inner * (high_a + high_b) + far * high_a + near * high_b)
    return make(value, carried + rounded, u)


@rule("maximum", "fmax")
def maximum(u: float, a: Any, b: Any) -> Any:
    """The larger of two; as steep as one of them at most."""
    return _extreme(u, torch.maximum(val(a), val(b)), a, b)


@rule("minimum", "fmin")
def minimum(u: float, a: Any, b: Any) -> Any:
    """The smaller of two."""
    return _extreme(u, torch.minimum(val(a), val(b)), a, b)


def _extreme(u: float, value: Any, a: Any, b: Any) -> Any:
    ea, eb = err(a) + 0.0 * value, err(b) + 0.0 * value
    reachable_a, reachable_b = ((val(x) - value).abs() <= ea + eb for x in (a, b))
    return make(value, torch.maximum(ea * reachable_a, eb * reachable_b), u)


@rule("clamp", "hardtanh", "relu6")
def clamp(u: float, x: Any, low: Any = None, high_: Any = None, **kwargs: Any) -> Any:
    """Cut at two ends; decided outside them, nothing is left of the error."""
    low, high_ = kwargs.get("min", low), kwargs.get("max", high_)
    if isinstance(low, torch.Tensor) or isinstance(high_, torch.Tensor):
        bounded = x if low is None else maximum(u, x, low)
        return bounded if high_ is None else minimum(u, bounded, high_)
    value = x._value.clamp(low, high_)
    cut = torch.zeros_like(value, dtype=torch.bool)
    if low is not None:
        cut |= x._value + x._error < low
    if high_ is not None:
        cut |= x._value - x._error > high_
    ends = max((constant_error(float(end), u) for end in (low, high_) if end is not None), default=0.0)
    return make(value, torch.where(cut, ends, x._error + ends), u)


@rule("clamp_min")
def _clamp_min(u: float, x: Any, low: Any) -> Any:
    return clamp(u, x, low, None)


@rule("clamp_max")
def _clamp_max(u: float, x: Any, top: Any) -> Any:
    return clamp(u, x, None, top)


@rule("relu")
def _relu(u: float, x: Any) -> Any:
    value = x._value.clamp(min=0.0)
    return make(value, torch.where(x._value > 0, x._error, (x._value + x._error).clamp(min=0.0)), u)


# Sums.


def total(u: float, x: Any, dims: Any, keepdim: bool = False, extra: float = 0.0) -> Any:
    """Return the sum over `dims` in any order; a zero that is added rounds nothing, so only others count."""
    magnitude = high(x)
    arguments = (dims, keepdim) if dims is not None and len(dims) else (list(range(x.dim())), keepdim)
    if x.dim() == 0:
        return make(num(x).clone(), x._error.clone(), u)
    count = (magnitude != 0).to(torch.float64).sum(*arguments)
    error = x._error.sum(*arguments) + gamma((count - 1.0).clamp(min=0) + extra, u) * magnitude.sum(*arguments)
    return make(num(x).sum(*arguments), error, u)


@rule("sum")
def _sum(u: float, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: ARG001
    return total(u, x, [dim] if isinstance(dim, int) else dim, keepdim)


@rule("mean")
def _mean(u: float, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: ARG001
    dims = [dim] if isinstance(dim, int) else dim
    summed = total(u, x, dims, keepdim, extra=2.0)
    count = x.numel() / max(1, summed.numel())
    return make(summed._value / count, summed._error / count, u)


@rule("cumsum")
def _cumsum(u: float, x: Any, dim: int, *, dtype: Any = None) -> Any:  # noqa: ARG001
    size = max(1, x.shape[dim] if x.dim() else 1)
    return make(x._value.cumsum(dim), x._error.cumsum(dim) + gamma(size, u) * high(x).cumsum(dim), u)


@rule("prod")
def _prod(u: float, x: Any, *args: Any, **kwargs: Any) -> Any:
    value = torch.prod(x._value, *args, **kwargs)
    largest, exact = torch.prod(high(x), *args, **kwargs), torch.prod(x._value.abs(), *args, **kwargs)
    return make(value, (largest - exact) * (1 + 1e-12) + gamma(x.numel(), u) * largest + floor(value, u), u)


def _reduce_extreme(name: str) -> Any:
    def run(u: float, x: Any, *args: Any, **kwargs: Any) -> Any:
        dim = args[0] if args else kwargs.get("dim", [])
        if x.dim() == 0:
            return make(x._value.clone(), x._error.clone(), u)
        dims = [dim] if isinstance(dim, int) else list(dim) or list(range(x.dim()))
        keep = (args[1] if len(args) > 1 else kwargs.get("keepdim", False)) if dim != [] else False
        sign = 1.0 if name == "amax" else -1.0
        value = torch.amax(sign * x._value, dims, keepdim=True)
        lowest = torch.amax(sign * x._value - x._error, dims, keepdim=True)
        # Only those that could be the largest can move the result.
        error = torch.amax(torch.where(sign * x._value + x._error >= lowest, x._error, 0.0), dims, keepdim=True)
        value = sign * value
        return make(value if keep else value.squeeze(dims), error if keep else error.squeeze(dims), u)

    return run


RULES.update({name: _reduce_extreme(name) for name in ("amax", "amin")})


# Where the number of an axis stands among the arguments that follow the tensor.
_AXIS_AT = {"max": 0, "min": 0, "median": 0, "nanmedian": 0, "sort": 0, "topk": 1, "kthvalue": 1}


def _with_indices(name: str) -> Any:
    def run(u: float, x: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(aten, name)(x._value, *args, **kwargs)
        if isinstance(found, torch.Tensor):  # one of all
            if name in ("max", "min"):
                return RULES["amax" if name == "max" else "amin"](u, x)
            return make(found, x._error.amax() if x.dim() else x._error, u)
        place = _AXIS_AT[name]
        dim = int(kwargs.get("dim", args[place] if len(args) > place else -1))
        # Sorting is 1-Lipschitz in the largest error.
        worst = torch.amax(x._error, dim, keepdim=True) if x.dim() else x._error
        values, indices = found
        fitting = worst if values.dim() == x.dim() else worst.squeeze(dim)
        return make(values, fitting.expand_as(values), u), indices

    return run


RULES.update({name: _with_indices(name) for name in _AXIS_AT})


def _accumulate(name: str) -> Any:
    """Return the rule of an operation that adds entries of its last tensor into places of the first."""
    operation = getattr(aten, name)

    def run(u: float, *args: Any, **kwargs: Any) -> Any:
        values = operation(*swap(args, val), **swap_values(kwargs, val))
        errors = operation(*swap(args, to_error), **swap_values(kwargs, to_error))
        largest = operation(*swap(args, _to_high), **swap_values(kwargs, _to_high))
        count = operation(*swap(args, _to_count), **swap_values(kwargs, _to_count))
        return make(values, errors + gamma((count - 1.0).clamp(min=0), u) * largest, u)

    return run


def _to_high(tensor: Any) -> Any:
    return high(tensor) if tensor.is_floating_point() else tensor


def _to_count(tensor: Any) -> Any:
    return (high(tensor) != 0).to(torch.float64) if tensor.is_floating_point() else tensor


def linear_sum(name: str, extra: float) -> Any:
    """Return the rule of an operation that is a sum with weights that are not negative: it is applied to the error."""
    plain = _accumulate(name)

    def run(u: float, *args: Any, **kwargs: Any) -> Any:
        found = plain(u, *args, **kwargs)
        largest = getattr(aten, name)(*swap(args, _to_high), **swap_values(kwargs, _to_high))
        return make(found._value, found._error + gamma(extra, u) * largest, u)

    return run


_ADDING = """
scatter_add index_add embedding_dense_backward col2im unfold_backward reflection_pad1d_backward
reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward
replication_pad3d_backward upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
_upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward index_put
_unsafe_index_put trace
"""
ADDING = tuple(_ADDING.split())
RULES.update({name: _accumulate(name) for name in ADDING})


# Products of matrices.


def bilinear(u: float, operation: Any, a: Any, b: Any, added: Any = None) -> Any:
    """Return `operation(a, b)`, a sum of products in any order, plus what is `added`, with its bound.

    A product with an exact zero is exact and adds nothing: only the others count, which keeps a sparse probe sharp.
    """
    va, vb = val(a), val(b)
    abs_a, abs_b = va.abs(), vb.abs()
    value, magnitude = operation(va, vb), operation(abs_a, abs_b)
    carried: Any = 0.0
    if any_error(b):
        carried = operation(abs_a, b._error)
    if any_error(a):
        carried = carried + operation(a._error, abs_b + err(b))
    count = operation((high(a) != 0).to(va.dtype), (high(b) != 0).to(va.dtype)).round()
    magnitude = magnitude + carried
    if added is not None:
        value, carried, magnitude, count = value + val(added), carried + err(added), magnitude + high(added), count + 1
    return make(value, carried + gamma(count, u) * magnitude + tiny(u) * count, u)


@rule("mm", "bmm", "matmul", "dot", "vdot", "mv")
def matmul(u: float, a: Any, b: Any) -> Any:
    """a @ b."""
    return bilinear(u, torch.matmul, a, b)


@rule("addmm", "baddbmm", "addmv")
def _addmm(u: float, bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if alpha == 1 and beta == 1:
        return bilinear(u, torch.matmul, a, b, bias)
    product = _scaled(u, matmul(u, a, b), alpha)
    return product if beta == 0 else add(u, product, mul(u, bias, float(beta)))


@rule("addbmm")
def _addbmm(u: float, bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    product = _scaled(u, total(u, matmul(u, a, b), [0]), alpha)
    return product if beta == 0 else add(u, product, mul(u, bias, float(beta)))


@rule("convolution", "_convolution", "convolution_overrideable")
def _convolution(u: float, x: Any, weight: Any, bias: Any, *how: Any) -> Any:
    settings = how[:6]

    def operation(a: Any, b: Any) -> Any:
        return aten.convolution(a, b, None, *settings)

    shaped = None if bias is None else aten.view(bias, [-1] + [1] * (x.dim() - 2))
    return convolved(bilinear(u, operation, x, weight, shaped), u)


@rule("convolution_backward")
def _convolution_backward(
    u: float, grad: Any, x: Any, weight: Any, _bias_sizes: Any, *how: Any
) -> tuple[Any, Any, Any]:
    settings, wanted = how[:6], how[6]

    def to_input(g: Any, w: Any) -> Any:
        return aten.convolution_backward(g, val(x), w, None, *settings, [True, False, False])[0]

    def to_weight(g: Any, z: Any) -> Any:
        return aten.convolution_backward(g, z, val(weight), None, *settings, [False, True, False])[1]

    bias = total(u, grad, [0, *range(2, grad.dim())]) if wanted[2] else None
    return (
        convolved(bilinear(u, to_input, grad, weight), u) if wanted[0] else None,
        convolved(bilinear(u, to_weight, grad, x), u) if wanted[1] else None,
        bias,
    )
