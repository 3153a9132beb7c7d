"""Rules for pooling, resizing and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product as grid
from typing import Any

import torch

from parity.adapters.torch_rounding_core import RULES, any_error, aten, err, gamma, high, make, rule, val
from parity.adapters.torch_rounding_layers import softmax
from parity.adapters.torch_rounding_rules import add, matmul, mul, sub, total

# Pooling.


def _each(setting: Any, axes: int, default: Any = None) -> list[int]:
    given = list(setting) if isinstance(setting, (list, tuple)) else [setting]
    if not given:
        given = list(default)
    return [int(n) for n in (given * axes if len(given) == 1 else given)]


def _max_pool(name: str) -> Any:
    def run(u: float, x: Any, *how: Any, **named: Any) -> Any:
        values, indices = getattr(aten, name)(x._value, *how, **named)
        # As steep as one input: the largest error in the window.
        error = getattr(aten, name)(x._error, *how, **named)[0] if any_error(x) else 0.0
        return make(values, error, u), indices

    return run


POOLS = ("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d")
RULES.update({name: _max_pool(name) for name in POOLS})


def _max_pool_backward(axes: int) -> Any:
    name = f"max_pool{axes}d_with_indices_backward"

    def run(
        u: float, grad: Any, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, indices: Any
    ) -> Any:
        operation = getattr(aten, name)

        def spread(g: Any) -> Any:
            return operation(g, val(x), kernel, stride, padding, dilation, ceil, indices)

        size = _each(kernel, axes)
        hits = spread((high(grad) != 0).to(torch.float64))
        error = spread(err(grad) + torch.zeros_like(val(grad)))
        error = error + gamma((hits - 1.0).clamp(min=0), u) * spread(high(grad))
        if any_error(x):
            hows = (size, _each(stride, axes, size), _each(padding, axes), _each(dilation, axes))
            error = error + _open_windows(x, high(grad), hows)
        return make(spread(val(grad)), error, u)

    return run


RULES.update({f"max_pool{axes}d_with_indices_backward": _max_pool_backward(axes) for axes in (2, 3)})


def _open_windows(x: Any, grad: Any, how: tuple[list[int], ...]) -> Any:
    """Return what each input may get, or lose, because another one of its window may be the largest."""
    size, stride, padding, dilation = how
    axes, out = len(size), grad.shape[-len(size) :]
    reach = [(o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(out, stride, dilation, size, strict=True)]
    pads = [(p, max(0, r - p - n)) for p, r, n in zip(padding, reach, x.shape[-axes:], strict=True)]
    flat = [side for pair in reversed(pads) for side in pair]
    top = torch.nn.functional.pad(x._value + x._error, flat, value=-math.inf)
    low = torch.nn.functional.pad(x._value - x._error, flat, value=-math.inf)
    unsure = torch.nn.functional.pad(x._error, flat)
    places = [
        (..., *(slice(o * d, o * d + (n - 1) * s + 1, s) for o, d, s, n in zip(at, dilation, stride, out, strict=True)))
        for at in grid(*map(range, size))
    ]
    floor = torch.stack([low[place] for place in places]).amax(0)
    could = [(top[place] >= floor) & torch.isfinite(top[place]) for place in places]
    # Equal numbers without error are no doubt: both frameworks take the first.
    open_ = (sum(c.to(torch.int64) for c in could) > 1) & (
        torch.stack([unsure[p] * c for p, c in zip(places, could, strict=True)]).amax(0) > 0
    )
    share = torch.zeros_like(top)
    for place, one in zip(places, could, strict=True):
        share[place] += torch.where(one & open_, grad, 0.0)
    inner = tuple(slice(a, a + n) for (a, _), n in zip(pads, x.shape[-axes:], strict=True))
    return share[(..., *inner)]


def _adaptive_max_backward(axes: int) -> Any:
    def run(u: float, grad: Any, x: Any, indices: Any) -> Any:
        operation = getattr(aten, f"adaptive_max_pool{axes}d_backward")
        error = operation(err(grad) + torch.zeros_like(val(grad)), val(x), indices)
        cells = math.prod(-(-n // o) + 1 for n, o in zip(x.shape[-axes:], grad.shape[-axes:], strict=True))
        error = error + gamma(cells, u) * operation(high(grad), val(x), indices)
        if any_error(x):
            error = error + _open_cells(x, high(grad), axes)
        return make(operation(val(grad), val(x), indices), error, u)

    return run


RULES.update({f"adaptive_max_pool{axes}d_backward": _adaptive_max_backward(axes) for axes in (2, 3)})


def _open_cells(x: Any, grad: Any, axes: int) -> Any:
    share, out = torch.zeros_like(x._value), grad.shape[-axes:]
    dims = list(range(-axes, 0))
    for at in grid(*map(range, out)):
        bounds = zip(at, x.shape[-axes:], out, strict=True)
        cell = (..., *(slice(i * n // o, -(-(i + 1) * n // o)) for i, n, o in bounds))
        v, e = x._value[cell], x._error[cell]
        could = v + e >= (v - e).amax(dims, keepdim=True)
        open_ = (could.sum(dims, keepdim=True) > 1) & ((e * could).amax(dims, keepdim=True) > 0)
        share[cell] += torch.where(could & open_, grad[(..., *at)].reshape(*grad.shape[:-axes], *[1] * axes), 0.0)
    return share


def _weighted(name: str, taps: Any) -> Any:
    """Return the rule of a linear operation whose weights are not negative; `taps` tells how many terms a sum has."""

    def run(u: float, x: Any, *how: Any, **named: Any) -> Any:
        operation = getattr(aten, name)
        plain = [val(h) for h in how]
        carried = operation(x._error, *plain, **named)
        largest = operation(high(x), *plain, **named)
        return make(operation(x._value, *plain, **named), carried + gamma(taps(x, *how) + 2, u) * largest, u)

    return run


def _adaptive_taps(x: Any, other: Any) -> int:
    big, small = (x.shape, other) if not isinstance(other, torch.Tensor) else (other.shape, x.shape)
    axes = len(small) if not isinstance(other, torch.Tensor) else x.dim() - 2
    return math.prod(-(-n // max(1, o)) + 1 for n, o in zip(big[-axes:], small[-axes:], strict=True))


for _axes in (1, 2, 3):
    RULES[f"avg_pool{_axes}d"] = _weighted(f"avg_pool{_axes}d", lambda _, k, *__, n=_axes: math.prod(_each(k, n)))
    RULES[f"avg_pool{_axes}d_backward"] = _weighted(
        f"avg_pool{_axes}d_backward", lambda _g, _x, k, *_, n=_axes: math.prod(_each(k, n))
    )
    for _name in (f"_adaptive_avg_pool{_axes}d", f"_adaptive_avg_pool{_axes}d_backward"):
        if hasattr(aten, _name):
            RULES[_name] = _weighted(_name, _adaptive_taps)
RULES["adaptive_avg_pool1d"] = _weighted("adaptive_avg_pool1d", _adaptive_taps)


# Resizing. The kernels compute their coordinates in the working precision, so a weight may be off by some u*size.


def _stretch(u: float, shape: Any, out: Any) -> float:
    return (
        4.0
        * u
        * math.fsum(max(float(n), 1.0) + max(float(n) / max(o, 1), 1.0) for n, o in zip(shape, out, strict=True))
    )


@rule("upsample_bilinear2d")
def _bilinear(u: float, x: Any, size: Any, align: bool, *scales: Any) -> Any:
    def operation(t: Any) -> Any:
        return aten.upsample_bilinear2d(t, size, align, *scales)

    pool = torch.nn.functional.max_pool2d
    local = pool(x._value + x._error, 3, 1, 1) + pool(x._error - x._value, 3, 1, 1)
    error = operation(x._error) + gamma(8, u) * operation(high(x))
    return make(operation(x._value), error + _stretch(u, x.shape[2:], size) * operation(local), u)


@rule("upsample_bilinear2d_backward")
def _bilinear_backward(u: float, grad: Any, size: Any, full: Any, align: bool, *scales: Any) -> Any:
    def operation(t: Any) -> Any:
        return aten.upsample_bilinear2d_backward(t, size, full, align, *scales)

    largest = operation(high(grad))
    taps = math.prod(2 * (-(-o // n) + 1) for o, n in zip(size, full[2:], strict=True))
    around = 9.0 * torch.nn.functional.avg_pool2d(largest, 3, 1, 1)
    error = operation(grad._error) + gamma(taps + 8, u) * largest + _stretch(u, full[2:], size) * around
    return make(operation(grad._value), error, u)


def _matrices(name: str, shape: Any, out: Any, settings: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """Return, per axis, the matrix of weights (out, in), and where a weight may move when the coordinate is off."""
    found = []
    for axis, n in enumerate(shape):
        # Two equal rows across: an image one pixel wide confuses the antialiased kernels.
        column = torch.eye(n, dtype=torch.float64).reshape(n, 1, *[n if a == axis else 1 for a in range(2)])
        column = column.expand(n, 1, *[n if a == axis else 2 for a in range(2)]).contiguous()
        size = [out[a] if a == axis else 2 for a in range(2)]
        align, scales = settings[0], [s if a == axis else None for a, s in enumerate(settings[1:3] or (None, None))]
        weights = getattr(aten, name)(column, size, align, *scales).select(3 - axis, 0).reshape(n, out[axis]).T
        touched = torch.nn.functional.max_pool1d((weights != 0).to(torch.float64)[None], 5, 1, 2)[0]
        found.append((weights, touched))
    return found


def _both(x: Any, tall: Any, wide: Any) -> Any:
    return tall @ x @ wide.T


def _bicubic_terms(u: float, plain: Any, error: Any, centred: Any, axes: Any, shape: Any, out: Any) -> Any:
    (tall, near_tall), (wide, near_wide) = axes
    # A cubic weight moves at most 1.5 times as far as the coordinate.
    off = 1.5 * _stretch(u, shape, out)
    taps = torch.tensor(16.0 * max(1, plain))
    moved = _both(centred, tall.abs() + off * near_tall, wide.abs() + off * near_wide)
    still = _both(centred, tall.abs(), wide.abs())
    carried = _both(error, tall.abs(), wide.abs())
    return carried, moved - still, gamma(taps + 24.0, u)


def _bicubic(name: str) -> Callable[..., Any]:
    operation = getattr(aten, name)

    def bounded(u: float, x: Any, size: Any, align: bool, *scales: Any) -> Any:
        axes = _matrices(name, x.shape[2:], size, (align, *scales))
        v = x._value
        middle = (v.amax((2, 3), keepdim=True) + v.amin((2, 3), keepdim=True)) / 2.0
        centred = (v - middle).abs() + x._error  # the weights sum to 1 wherever the coordinate lies
        carried, moved, steps = _bicubic_terms(u, 1, x._error, centred, axes, x.shape[2:], size)
        largest = _both(high(x), axes[0][0].abs(), axes[1][0].abs())
        return make(operation(v, size, align, *scales), carried + moved + steps * largest, u)

    return bounded


def _bicubic_backward(name: str) -> Callable[..., Any]:
    operation = getattr(aten, f"{name}_backward")

    def bounded(u: float, grad: Any, size: Any, full: Any, align: bool, *scales: Any) -> Any:
        axes = [(weights.T, near.T) for weights, near in _matrices(name, full[2:], size, (align, *scales))]
        stretch = math.prod(-(-o // n) + 1 for o, n in zip(size, full[2:], strict=True))
        carried, moved, steps = _bicubic_terms(u, stretch, grad._error, high(grad), axes, full[2:], size)
        largest = _both(high(grad), axes[0][0].abs(), axes[1][0].abs())
        return make(operation(grad._value, size, full, align, *scales), carried + moved + steps * largest, u)

    return bounded


for _name in ("upsample_bicubic2d", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa"):
    rule(_name)(_bicubic(_name))
    rule(f"{_name}_backward")(_bicubic_backward(_name))


# Attention, in its plain form: softmax(q k^T * scale + mask) v.


def _weights(u: float, q: Any, k: Any, causal: bool, bias: Any, scale: float | None) -> tuple[Any, float]:
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    scores = mul(u, matmul(u, q, aten.transpose(k, -2, -1)), factor)
    if bias is not None:
        scores = add(u, scores, bias)
    if causal:
        closed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
        scores = aten.masked_fill(scores, closed, -math.inf)
    return softmax(u, scores, -1), factor


@rule("_scaled_dot_product_flash_attention_for_cpu")
def _attention(
    u: float, q: Any, k: Any, v: Any, dropout: float = 0.0, causal: bool = False, *,  # noqa: ARG001
    attn_mask: Any = None, scale: float | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    weights, _ = _weights(u, q, k, causal, attn_mask, scale)
    return matmul(u, weights, v), torch.zeros(q.shape[:-1], dtype=torch.float64)


@rule("_scaled_dot_product_flash_attention_for_cpu_backward")
def _attention_backward(
    u: float, grad: Any, q: Any, k: Any, v: Any, out: Any, log_sum: Any, dropout: float, causal: bool, *,  # noqa: ARG001
    attn_mask: Any = None, scale: float | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    weights, factor = _weights(u, q, k, causal, attn_mask, scale)
    to_weights = matmul(u, grad, aten.transpose(v, -2, -1))
    # The kernels take either sum(g*out) or sum(weights*to_weights), which are equal.
    inner = total(u, mul(u, weights, to_weights), [-1], True)
    other = total(u, mul(u, grad, out), [-1], True)
    inner = make(inner._value, torch.maximum(inner._error, other._error), u)
    scores = mul(u, mul(u, weights, sub(u, to_weights, inner)), factor)
    return (
        matmul(u, scores, k),
        matmul(u, aten.transpose(scores, -2, -1), q),
        matmul(u, aten.transpose(weights, -2, -1), grad),
    )
