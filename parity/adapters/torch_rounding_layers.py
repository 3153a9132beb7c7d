"""Rules for what networks are made of: softmax, normalisation, losses."""

from __future__ import annotations

import math
from typing import Any

import torch

from parity.adapters.torch_rounding_activations import inverse_gap
from parity.adapters.torch_rounding_core import (
    DECOMPOSED,
    RULES,
    Tracked,
    aten,
    err,
    gamma,
    high,
    make,
    num,
    rule,
    tiny,
    val,
)
from parity.adapters.torch_rounding_rules import mul, sub, total
from parity.errors import RoundingUnknown

_DECOMPOSED = """
logsumexp log_sigmoid_backward mse_loss mse_loss_backward smooth_l1_loss smooth_l1_loss_backward huber_loss
huber_loss_backward nll_loss nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward
binary_cross_entropy binary_cross_entropy_backward soft_margin_loss soft_margin_loss_backward linalg_vector_norm
norm dist _fused_rms_norm glu glu_backward xlogy addr pixel_shuffle
_weight_norm_interface grid_sampler_2d upsample_linear1d upsample_trilinear3d scatter_reduce deg2rad rad2deg
nan_to_num _euclidean_dist
"""
DECOMPOSED.update(_DECOMPOSED.split())

# Softmax.


def _shares(u: float, x: Any, dim: int) -> tuple[Any, Any, Any, Any]:
    """Return softmax, the error of each shifted exponent, and how far the sum's logarithm may go up and down."""
    v, e = x._value, x._error
    share = torch.softmax(v, dim)
    shift = (v - v.amax(dim, keepdim=True)).abs()
    moved = torch.where(torch.isneginf(v), 0.0, e + u * (shift + 2 * e) + 4.0 * u).clamp(max=700.0)
    grown = (share * torch.expm1(moved)).sum(dim, keepdim=True)
    shrunk = -(share * torch.expm1(-moved)).sum(dim, keepdim=True)
    return share, moved, grown, shrunk


@rule("_softmax", "_safe_softmax")
def softmax(u: float, x: Any, dim: int, *_: Any, **__: Any) -> Any:
    """exp(x - max) over its sum."""
    share, moved, grown, shrunk = _shares(u, x, dim)
    share = torch.nan_to_num(share, nan=0.0)
    up = share * (torch.expm1(moved) + shrunk) / (1.0 - shrunk).clamp(min=5e-324)
    down = share * (grown - torch.expm1(-moved)) / (1.0 + grown)
    carried = torch.maximum(up, down)
    size = x.shape[dim] if x.dim() else 1
    # A share is at most 1, whatever happens to the exponents. TensorFlow's is zero below exp(-86.64), twice the
    # smallest normal number.
    error = carried + gamma(size + 5, u) * (share + carried) + 2.0 * tiny(u)
    return make(share, torch.where(share > 0, error.clamp(max=1.0), torch.where(moved > 0, error, 0.0)), u)


@rule("_log_softmax")
def _log_softmax(u: float, x: Any, dim: int, *_: Any, **__: Any) -> Any:
    _, moved, grown, shrunk = _shares(u, x, dim)
    value = torch.log_softmax(x._value, dim)
    size = x.shape[dim] if x.dim() else 1
    log_sum = value.amax(dim, keepdim=True).abs()
    carried = moved + torch.maximum(torch.log1p(grown), -torch.log1p(-shrunk.clamp(max=1.0)))
    return make(value, carried + gamma(size, u) + u * (2.0 * value.abs() + 8.0 * log_sum), u)


@rule("_softmax_backward_data")
def _softmax_backward(u: float, grad: Any, share: Any, dim: int, *_: Any, **__: Any) -> Any:
    # g*y - y*sum(g*y) rounds at least as much as y*(g - sum(g*y)).
    weighted = mul(u, grad, share)
    return sub(u, weighted, mul(u, share, total(u, weighted, [dim], True)))


@rule("_log_softmax_backward_data")
def _log_softmax_backward(u: float, grad: Any, logs: Any, dim: int, *_: Any, **__: Any) -> Any:
    shares = RULES["exp"](u, _as_tracked(logs, u))
    return sub(u, grad, mul(u, shares, total(u, _as_tracked(grad, u), [dim], True)))


# Normalisation.


def _average(x: Any, dims: list[int]) -> Any:
    return x.mean(dims, keepdim=True)


def moments(u: float, x: Any, dims: list[int]) -> tuple[Any, Any, Any, Any]:
    """Return mean, its error, biased variance, its error: the looser of the two-pass and the E[x^2] - E[x]^2 form."""
    v, e, magnitude = val(x), err(x) + torch.zeros_like(val(x)), high(x)
    n = math.prod(v.shape[d] for d in dims)
    mean, mean_e, mean_high = _average(v, dims), _average(e, dims), _average(magnitude, dims)
    rounded_mean = gamma(n + 1, u) * mean_high
    apart = v - mean
    variance = _average(apart**2, dims)
    moved = e + mean_e
    carried = _average(2 * apart.abs() * moved + moved**2, dims)
    off = moved + rounded_mean + u * (apart.abs() + moved + rounded_mean)
    two_pass = _average(2 * apart.abs() * off + off**2, dims) + gamma(n + 3, u) * _average(
        (apart.abs() + off) ** 2, dims
    )
    square_mean = mean.abs() + mean_e
    one_pass = (
        carried
        + gamma(n + 3, u) * _average(magnitude**2, dims)
        + (2 * square_mean + rounded_mean) * rounded_mean
        + 3 * u * (square_mean + rounded_mean) ** 2
    )
    return mean, mean_e + rounded_mean, variance, torch.maximum(two_pass, one_pass)


def inverse_root(u: float, variance: Any, variance_e: Any, eps: float) -> tuple[Any, Any]:
    """Return 1/sqrt(variance + eps) and its error; a computed variance is not below zero."""
    full, moved = variance + eps, variance_e + u * (variance + eps + variance_e)
    low = torch.maximum(full - moved, torch.full_like(full, eps * (1.0 - 4 * u)))
    root = full.rsqrt()
    # (1/sqrt(a) - 1/sqrt(b)) = (b - a) / (sqrt(a) sqrt(b) (sqrt(a) + sqrt(b))), b = full
    down = torch.minimum(moved, full - low)
    spread = torch.where(low > 0, 1.0 / (low.sqrt() * full.sqrt() * (low.sqrt() + full.sqrt())), math.inf)
    up_spread = moved / (2.0 * full * full.sqrt())
    error = torch.where(down > 0, torch.maximum(down * spread, up_spread), up_spread)
    return root, error + 6 * u * (root + error)


def _broadcast(parameter: Any, shape: list[int]) -> Any:
    return None if parameter is None else aten.view(parameter, shape)


def _standardised(u: float, x: Any, mean: Any, root: Any) -> tuple[Any, Any, Any]:
    """Return (x - mean)*root, its error, and its magnitude where x*root and mean*root are formed apart."""
    apart, moved = val(x) - val(mean), err(x) + err(mean)
    top = (high(x) + high(mean)) * high(root)
    value = apart * val(root)
    return value, apart.abs() * err(root) + moved * high(root) + 3 * u * top, top


def normalise(u: float, x: Any, mean: Any, root: Any, weight: Any, bias: Any) -> Any:
    """(x - mean)*root*weight + bias, or x*(root*weight) + (bias - mean*(root*weight)): whichever rounds more."""
    value, error, top = _standardised(u, x, mean, root)
    if weight is not None:
        error = error * high(weight) + value.abs() * err(weight)
        value, top = value * val(weight), top * high(weight)
    if bias is not None:
        value, error = value + val(bias), error + err(bias)
        top = top + high(bias)
    return make(value, error + gamma(6, u) * (top + error), u)


def normalise_backward(u: float, grad: Any, x: Any, mean: Any, root: Any, weight: Any, dims: Any) -> tuple[Any, ...]:
    """Return the gradient of x, and g times the standardised x; `dims` are the statistics' axes, None if constant."""
    h = grad if weight is None else mul(u, grad, weight)
    value, error, top = _standardised(u, x, mean, root)
    scaled = make(value, error, u)
    by_weight = make(
        val(grad) * value,
        val(grad).abs() * error + err(grad) * (value.abs() + error) + gamma(4, u) * high(grad) * top,
        u,
    )
    if dims is None:
        return mul(u, h, root), by_weight
    n = math.prod(x.shape[d] for d in dims)
    H, steps = high(h), gamma(n + 8, u)  # noqa: N806 - the magnitude of h
    first, first_e = _average(val(h), dims), _average(err(h), dims) + steps * _average(H, dims)
    second = _average(val(h) * value, dims)
    second_e = _average(val(h).abs() * error + err(h) * (value.abs() + error), dims) + steps * _average(H * top, dims)
    inner = val(h) - first - scaled._value * second
    inner_e = err(h) + first_e + value.abs() * second_e + error * (second.abs() + second_e)
    rounded = gamma(10, u) * (H + first.abs() + first_e + (top + error) * (second.abs() + second_e))
    result = val(root) * inner
    return make(result, high(root) * (inner_e + rounded) + err(root) * inner.abs(), u), by_weight


@rule("native_layer_norm")
def _layer_norm(u: float, x: Any, shape: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any, Any]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    mean, mean_e, variance, variance_e = moments(u, x, dims)
    root = make(*inverse_root(u, variance, variance_e, eps), u)
    middle = make(mean, mean_e, u)
    return normalise(u, x, middle, root, weight, bias), middle, root


@rule("native_layer_norm_backward")
def _layer_norm_backward(
    u: float,
    grad: Any,
    x: Any,
    shape: Any,
    mean: Any,
    root: Any,
    weight: Any,
    _bias: Any,
    wanted: Any,
) -> tuple[Any, Any, Any]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    others = list(range(x.dim() - len(shape)))
    to_x, by_weight = normalise_backward(u, grad, x, mean, root, weight, dims)
    to_weight = (total(u, by_weight, others) if others else by_weight) if wanted[1] else None
    to_bias = (total(u, grad, others) if others else grad) if wanted[2] else None
    return to_x if wanted[0] else None, to_weight, to_bias


@rule("native_group_norm")
def _group_norm(
    u: float, x: Any, weight: Any, bias: Any, n: int, c: int, size: int, groups: int, eps: float
) -> tuple[Any, Any, Any]:
    shaped = aten.view(aten.clone(x, memory_format=torch.contiguous_format), [n, groups, c // groups, size])
    per_channel = [1, groups, c // groups, 1]
    mean, mean_e, variance, variance_e = moments(u, shaped, [2, 3])
    root, middle = make(*inverse_root(u, variance, variance_e, eps), u), make(mean, mean_e, u)
    out = normalise(u, shaped, middle, root, _broadcast(weight, per_channel), _broadcast(bias, per_channel))
    flat = [n, groups]
    return aten.view(out, list(x.shape)), aten.view(middle, flat), aten.view(root, flat)


@rule("native_group_norm_backward")
def _group_norm_backward(
    u: float, grad: Any, x: Any, mean: Any, root: Any, weight: Any, n: int, c: int, size: int, groups: int, wanted: Any
) -> tuple[Any, Any, Any]:
    shape, per_group = [n, groups, c // groups, size], [n, groups, 1, 1]
    g, z = (aten.view(aten.clone(t, memory_format=torch.contiguous_format), shape) for t in (grad, x))
    middle, inverse = (aten.view(t, per_group) for t in (mean, root))
    scale = _broadcast(weight, [1, groups, c // groups, 1])
    to_x, by_weight = normalise_backward(u, g, z, middle, inverse, scale, [2, 3])
    to_weight = aten.view(total(u, by_weight, [0, 3]), [c]) if wanted[1] else None
    to_bias = aten.view(total(u, g, [0, 3]), [c]) if wanted[2] else None
    return aten.view(to_x, list(x.shape)) if wanted[0] else None, to_weight, to_bias


def _batch_axes(x: Any) -> tuple[list[int], list[int]]:
    return [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)


def _batch_norm(
    u: float, x: Any, weight: Any, bias: Any, running: tuple[Any, Any], training: bool, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    dims, shape = _batch_axes(x)
    if training:
        mean, mean_e, variance, variance_e = moments(u, x, dims)
        _update_running(u, x, running, make(mean, mean_e, u), make(variance, variance_e, u), momentum)
        middle = make(mean, mean_e, u)
    else:
        middle = aten.view(_as_tracked(running[0], u), shape)
        spread = aten.view(_as_tracked(running[1], u), shape)
        variance, variance_e = spread._value, spread._error
    root = make(*inverse_root(u, variance, variance_e, eps), u)
    out = normalise(u, x, middle, root, _broadcast(weight, shape), _broadcast(bias, shape))
    if not training:
        empty = torch.empty(0, dtype=torch.float64)
        return out, empty, empty
    return out, aten.view(middle, [-1]), aten.view(root, [-1])


def _as_tracked(x: Any, u: float) -> Any:
    return x if isinstance(x, Tracked) else make(val(x), 0.0, u)


def _update_running(u: float, x: Any, running: Any, mean: Any, variance: Any, momentum: float) -> None:
    if running[0] is None:
        return
    if not all(isinstance(one, Tracked) for one in running):
        raise RoundingUnknown(
            "batch normalisation in training mode needs tracked running statistics: track the buffers"
        )
    n = x.numel() / x.shape[1]
    unbiased = mul(u, aten.view(variance, [-1]), n / max(n - 1.0, 1.0))
    for target, fresh in ((running[0], aten.view(mean, [-1])), (running[1], unbiased)):
        moved = RULES["lerp"](u, target, fresh, float(momentum))
        target._value.copy_(moved._value)
        target._error.copy_(moved._error)


@rule("native_batch_norm", "_native_batch_norm_legit")
def _native_batch_norm(
    u: float, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, eps: float
) -> Any:
    return _batch_norm(u, x, weight, bias, (mean, variance), training, momentum, eps)


@rule("_native_batch_norm_legit.no_stats")
def _no_statistics(u: float, x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    return _batch_norm(u, x, weight, bias, (None, None), training, momentum, eps)


@rule("native_batch_norm_backward")
def _batch_norm_backward(
    u: float, grad: Any, x: Any, weight: Any, mean: Any, variance: Any, saved_mean: Any, saved_root: Any,
    training: bool, eps: float, wanted: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    dims, shape = _batch_axes(x)
    if training:
        middle, root = aten.view(saved_mean, shape), aten.view(saved_root, shape)
    else:
        middle, spread = (aten.view(_as_tracked(t, u), shape) for t in (mean, variance))
        root = make(*inverse_root(u, spread._value, spread._error, eps), u)
    to_x, by_weight = normalise_backward(
        u, grad, x, middle, root, _broadcast(weight, shape), dims if training else None
    )
    return (
        to_x if wanted[0] else None,
        total(u, by_weight, dims) if wanted[1] else None,
        total(u, grad, dims) if wanted[2] else None,
    )


def _spread(root: bool) -> Any:
    def run(
        u: float, x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = 1
    ) -> Any:  # fmt: skip
        if isinstance(dim, bool):  # of all numbers, and the divisor is the first that is said
            dim, unbiased = None, dim
        correction = correction if unbiased is None else int(unbiased)
        dims = [d % x.dim() for d in ([dim] if isinstance(dim, int) else dim or range(x.dim()))]
        _, _, variance, error = moments(u, x, dims)
        n, less = math.prod(x.shape[d] for d in dims), 1 if correction is None else correction
        factor = n / (n - less) if n > less else math.inf
        made = make(variance * factor, (error + 2 * u * (variance + error)) * factor, u)
        made = RULES["sqrt"](u, made) if root else made
        return made if keepdim else aten.squeeze(made, dims)

    return run


def _spread_and_mean(root: bool) -> Any:
    spread = _spread(root)

    def run(u: float, x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **more: Any) -> Any:
        dims = None if isinstance(dim, bool) else dim
        return spread(u, x, dim, unbiased, keepdim, **more), RULES["mean"](u, x, dims, keepdim)

    return run


RULES.update({"var": _spread(False), "std": _spread(True)})
RULES.update({"var_mean": _spread_and_mean(False), "std_mean": _spread_and_mean(True)})


# Losses that are not taken apart.


@rule("binary_cross_entropy_with_logits")
def _logits_loss(u: float, x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1) -> Any:
    """(1 - t)*x + log(1 + exp(-x)), or max(x, 0) - x*t + log(1 + exp(-|x|)): whichever rounds more."""
    x = _as_tracked(x, u)
    v, t = x._value, num(target)
    log = -torch.nn.functional.logsigmoid(v)
    factor, factor_e = torch.ones_like(v), 0.0
    if pos_weight is not None:
        factor, factor_e = 1.0 + (val(pos_weight) - 1.0) * t, err(pos_weight) * t.abs() + err(target) * high(pos_weight)
        factor_e = factor_e + 4 * u * (1.0 + high(pos_weight) * t.abs())
    value = (1.0 - t) * v + factor * log
    slope = ((1.0 - t) - factor * torch.sigmoid(-v)).abs() + 0.25 * factor.abs() * x._error
    carried = slope * x._error + err(target) * high(x) + factor_e * (log + x._error)
    rounded = u * (4.0 * high(x) * (1.0 + t.abs()) + (24.0 * (log + x._error) + 4.0) * factor.abs())
    loss = make(value, carried + rounded, u)
    loss = loss if weight is None else mul(u, loss, weight)
    return loss if reduction == 0 else RULES["mean" if reduction == 1 else "sum"](u, loss)


@rule("logit")
def _logit(u: float, x: Any, eps: float | None = None) -> Any:
    x = x if eps is None else RULES["clamp"](u, x, eps, 1.0 - eps)
    low = (x._value - x._error) * (1.0 - x._value - x._error)
    value = torch.logit(x._value)
    slope = torch.where(x._error > 0, inverse_gap(low), 0.0)
    return make(value, torch.where(x._error > 0, slope * x._error, 0.0) + u * (12.0 * value.abs() + 4.0), u)


@rule("_trilinear")
def _trilinear(
    u: float,
    a: Any,
    b: Any,
    c: Any,
    grow_a: Any,
    grow_b: Any,
    grow_c: Any,
    summed: Any,
    unroll: int = 1,  # noqa: ARG001
) -> Any:
    for dims, name in ((grow_a, "a"), (grow_b, "b"), (grow_c, "c")):
        for dim in dims:
            a, b, c = (aten.unsqueeze(t, dim) if key == name else t for t, key in ((a, "a"), (b, "b"), (c, "c")))
    product = mul(u, mul(u, a, b), c)
    return total(u, product, list(summed)) if summed else product
