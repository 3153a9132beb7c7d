"""Rules for complex numbers and Fourier transforms; the error of a complex number bounds its modulus.

A transform of n numbers errs by at most some log2(n) roundings of its largest possible result, in the norm of the
whole: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 24.1. Lengths with large prime factors
go through a convolution of about four times the length, hence the factor.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from parity.adapters.torch_rounding_core import aten, err, high, make, rule, val

ROUNDINGS = 16.0  # for each doubling of the length


def _transformed(u: float, x: Any, dims: Any, value: Any, scale: float) -> Any:
    """Return a transform with its bound: what was carried adds up, and every result may err by the norm of all."""
    axes = [int(dim) for dim in dims]
    count = math.prod(x.shape[axis] for axis in axes)
    carried = x._error.sum(axes, keepdim=True)
    size = (high(x) ** 2).sum(axes, keepdim=True).sqrt() * math.sqrt(count)
    error = scale * (carried + ROUNDINGS * u * (math.log2(max(count, 2)) + 2.0) * size)
    return make(value, error.expand(value.shape), u)


def _scale(normalization: int, count: int) -> float:
    """Return what torch multiplies by: nothing, one over the root, one over the number."""
    return (1.0, count**-0.5, 1.0 / count)[normalization]


@rule("_fft_r2c")
def _real_to_complex(u: float, x: Any, dim: Any, normalization: int, onesided: bool) -> Any:
    value = aten._fft_r2c(x._value, dim, normalization, onesided)
    return _transformed(u, x, dim, value, _scale(normalization, math.prod(x.shape[d] for d in dim)))


@rule("_fft_c2c")
def _complex_to_complex(u: float, x: Any, dim: Any, normalization: int, forward: bool) -> Any:
    value = aten._fft_c2c(val(x), dim, normalization, forward)
    return _transformed(u, x, dim, value, _scale(normalization, math.prod(x.shape[d] for d in dim)))


@rule("_fft_c2r")
def _complex_to_real(u: float, x: Any, dim: Any, normalization: int, last: int) -> Any:
    value = aten._fft_c2r(val(x), dim, normalization, last)
    count = math.prod(x.shape[d] for d in dim[:-1]) * int(last)
    both = make(val(x), 2.0 * err(x), u)  # the half that is not stored adds as much
    return _transformed(u, both, dim, value, 2.0 * _scale(normalization, count))


@rule("view_as_real")
def _as_real(u: float, x: Any) -> Any:
    value = torch.view_as_real(x._value)
    return make(value, x._error.unsqueeze(-1).expand(value.shape), u)


@rule("view_as_complex")
def _as_complex(u: float, x: Any) -> Any:
    return make(torch.view_as_complex(x._value), x._error.sum(-1), u)


@rule("complex")
def _complex(u: float, real: Any, imaginary: Any) -> Any:
    return make(torch.complex(val(real), val(imaginary)), err(real) + err(imaginary), u)


@rule("polar")
def _polar(u: float, size: Any, angle: Any) -> Any:
    value = torch.polar(val(size), val(angle))
    return make(value, err(size) + high(size) * err(angle) + 8 * u * high(size), u)


@rule("angle")
def _angle(u: float, x: Any) -> Any:
    if not x.is_complex():
        return make(torch.angle(x._value), math.pi * (x._value.abs() <= x._error) * (x._error > 0), u)
    return aten.atan2(*(aten.select(_as_real(u, x), -1, part) for part in (1, 0)))
