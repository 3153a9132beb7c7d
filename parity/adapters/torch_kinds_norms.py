"""Canonical normalisations and activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from parity.adapters.torch_layers import ACTIVATIONS
from parity.errors import UsageError
from parity.model.constants import shortest

Config = Mapping[str, Any]
Weights = Mapping[str, Any]
Inputs = Sequence[Tensor]


def along(values: Any, axis: int | Sequence[int], x: Tensor) -> Tensor:
    """Return numbers shaped so that they lie along one axis of `x`, or several, and count for all others."""
    given = torch.as_tensor(values, device=x.device)
    given = given if given.is_floating_point() and given.dtype == x.dtype else given.to(x.dtype)
    axes = [axis % x.ndim] if isinstance(axis, int) else [int(a) % x.ndim for a in axis]
    return given.reshape([x.shape[i] if i in axes else 1 for i in range(x.ndim)]) if given.numel() > 1 else given


def _axes(config: Config, x: Tensor, default: int) -> list[int]:
    given = config.get("axes", config.get("axis", default))
    return sorted(int(a) % x.ndim for a in (given if isinstance(given, (list, tuple)) else [given]))


def _affine(y: Tensor, weights: Weights, axes: int | Sequence[int]) -> Tensor:
    weight, bias = weights.get("weight"), weights.get("bias")
    if weight is not None:
        y = y * along(weight, axes, y)
    return y if bias is None else y + along(bias, axes, y)


def _batch_norm(config: Config, weights: Weights, inputs: Inputs, training: bool) -> Tensor:
    axis = int(config.get("axis", 1)) % inputs[0].ndim
    x = inputs[0].movedim(axis, 1) if axis != 1 else inputs[0]
    mean, var = weights.get("running_mean"), weights.get("running_var")
    live = (bool(config.get("training", training)) and not config.get("frozen")) or mean is None
    if live:
        _move_statistics(config, x, mean, var)
    weight, bias = weights.get("weight"), weights.get("bias")
    kept = (None, None) if live else (mean, var)
    y = F.batch_norm(x, *kept, weight, bias, live, 0.0, float(config.get("eps", 1e-3)))
    return y.movedim(1, axis) if axis != 1 else y


def _move_statistics(config: Config, x: Tensor, mean: Tensor | None, var: Tensor | None) -> None:
    momentum = config.get("momentum", 0.99)
    if mean is None or var is None or momentum is None:
        return
    axes, correction = (0, *range(2, x.ndim)), 1 if config.get("unbiased", True) else 0
    with torch.no_grad():
        mean.mul_(float(momentum)).add_(x.mean(axes), alpha=1.0 - float(momentum))
        var.mul_(float(momentum)).add_(x.var(axes, correction=correction), alpha=1.0 - float(momentum))


def _layer_norm(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    x, eps = inputs[0], float(config.get("eps", 1e-3))
    axes = _axes(config, x, -1)
    last = list(range(x.ndim - len(axes), x.ndim))
    moved = x if axes == last else x.movedim(axes, last)
    shape = [x.shape[a] for a in axes]
    weight, bias = weights.get("weight"), weights.get("bias")
    if all(w is None or list(w.shape) == shape for w in (weight, bias)):
        y = F.layer_norm(moved, shape, weight, bias, eps)
        return y if axes == last else y.movedim(last, axes)
    # Scale and shift of another shape than what is normalised, such as one per channel of an image.
    y = F.layer_norm(moved, shape, None, None, eps)
    y = y if axes == last else y.movedim(last, axes)
    return _affine(y, weights, int(config.get("scale_axis", 1 if x.ndim > 3 else x.ndim - 1)))


def _group_norm(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    axis = int(config.get("axis", 1)) % inputs[0].ndim
    x = inputs[0].movedim(axis, 1) if axis != 1 else inputs[0]
    groups = int(config["groups"])
    groups = x.shape[1] if groups == -1 else groups
    y = F.group_norm(x, groups, weights.get("weight"), weights.get("bias"), float(config.get("eps", 1e-3)))
    return y.movedim(1, axis) if axis != 1 else y


def _instance_norm(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return F.instance_norm(inputs[0], weight=weights.get("weight"), bias=weights.get("bias"),
                           eps=float(config.get("eps", 1e-5)))  # fmt: skip


def _rms_norm(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    x, given = inputs[0], config.get("eps", 1e-6)
    axes = _axes(config, x, -1)
    eps = float(torch.finfo(x.dtype).eps if given is None else given)
    y = x * torch.rsqrt((x * x).mean(axes, keepdim=True) + eps)
    return _affine(y, weights, axes)


def _l2_normalize(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, form = inputs[0], str(config.get("form", "rsqrt-floor"))
    axes = _axes(config, x, -1)
    eps, square = float(config.get("eps", 1e-12)), None
    square = (x * x).sum(axes, keepdim=True)
    if form == "rsqrt-floor":
        return x * torch.rsqrt(torch.clamp(square, min=eps))
    if form == "square-plus":
        return x * torch.rsqrt(square + eps)
    norm = torch.sqrt(square)
    if form in ("norm-floor", "norm-max"):
        return x / torch.clamp(norm, min=eps)
    if form == "norm-plus":
        return x / (norm + eps)
    raise UsageError(
        f"unknown form `{form}` of a normalisation to length 1: rsqrt-floor, norm-floor, norm-max, norm-plus or"
        " square-plus"
    )


def _cosine_similarity(config: Config, weights: Weights, inputs: Inputs, training: bool) -> Tensor:
    both = torch.broadcast_tensors(*inputs)
    first, second = (_l2_normalize(config, weights, [x], training) for x in both)
    return (first * second).sum(int(config["axis"]))


def _standardize(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, axis = inputs[0], config.get("axis", 1)
    axes = axis if isinstance(axis, (list, tuple)) else int(1 if axis is None else axis)
    mean, variance = along(config["mean"], axes, x), along(config["variance"], axes, x)
    # Source: keras.layers.Normalization.call; its floor is keras.backend.epsilon().
    return (x - mean) / torch.clamp(torch.sqrt(variance), min=float(config.get("eps", 1e-7)))


_PLAIN: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "square": torch.square, "abs": torch.abs, "neg": torch.neg,
    "erf": torch.erf, "log": torch.log, "sin": torch.sin, "cos": torch.cos, "exp": torch.exp, "identity": lambda x: x,
}  # fmt: skip


def _relu(x: Tensor, config: Config) -> Tensor:
    """Keras's ReLU layer: a ceiling, a slope below and a threshold, each if given."""
    slope, threshold = float(config.get("negative_slope") or 0.0), float(config.get("threshold") or 0.0)
    above = torch.where(x >= threshold, x, torch.zeros_like(x)) if threshold else F.relu(x)
    ceiling = config.get("max_value")
    y = above if ceiling is None else torch.clamp(above, max=float(ceiling))
    return y if not slope else torch.where(x >= threshold, y, slope * (x - threshold))


def _softplus(x: Tensor, config: Config) -> Tensor:
    # Above 40 the identity is exact in double precision; torch's own default of 20 is not.
    return F.softplus(x, float(config.get("beta") or 1.0), float(config.get("threshold") or 40.0))


def _hard_sigmoid(x: Tensor, config: Config) -> Tensor:
    if "slope" in config and abs(float(config["slope"]) - 1.0 / 6.0) > 1e-9:
        return torch.clamp(float(config["slope"]) * x + float(config.get("offset", 0.5)), 0.0, 1.0)
    return ACTIVATIONS["hard_sigmoid"](x, config)


def _leaky_relu(x: Tensor, config: Config) -> Tensor:
    slope = _number(config, "slope", 0.3)
    return F.leaky_relu(x, shortest(slope) if x.dtype == torch.float64 else slope)


def _hard_tanh(x: Tensor, config: Config) -> Tensor:
    return F.hardtanh(x, _number(config, "min", -1.0), _number(config, "max", 1.0))


def _number(config: Config, key: str, default: float) -> float:
    value = config.get(key)
    return default if value is None else float(value)


def _squareplus(x: Tensor, config: Config) -> Tensor:
    return (x + torch.sqrt(x * x + _number(config, "b", 4.0))) / 2


_SET: Mapping[str, Callable[[Tensor, Config], Tensor]] = {
    "leaky_relu": _leaky_relu,
    "relu": _relu,
    "softplus": _softplus,
    "hard_sigmoid": _hard_sigmoid,
    "hard_tanh": _hard_tanh,
    "squareplus": _squareplus,
    "gelu": lambda x, _: F.gelu(x),
    "gelu_tanh": lambda x, _: F.gelu(x, approximate="tanh"),
    "clamp": lambda x, c: torch.clamp(x, c.get("min"), c.get("max")),
    "threshold": lambda x, c: F.threshold(x, float(c["threshold"]), _number(c, "value", 0.0)),
}


def activate(function: str, x: Tensor, config: Config) -> Tensor:
    """Return an activation of the contract's name.

    Raises
        UsageError: a function that is not known.
    """
    given = {key: value for key, value in config.items() if value is not None}
    if function in _PLAIN:
        return _PLAIN[function](x)
    apply = _SET.get(function) or ACTIVATIONS.get(function)
    if apply is None:
        raise UsageError(f"no canonical form of the activation `{function}`")
    return apply(x, given)


def _activation(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return activate(str(config["function"]), inputs[0], config)


def _softmax(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    axis = config.get("axis", -1)
    axes = [int(a) for a in axis] if isinstance(axis, (list, tuple)) else [int(axis)]
    x = inputs[0]
    if len(axes) > 1:
        y = x - torch.logsumexp(x, axes, keepdim=True)
        return y if config.get("log") else torch.exp(y)
    return F.log_softmax(x, axes[0]) if config.get("log") else F.softmax(x, axes[0])


def _prelu(_: Config, weights: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, alpha = inputs[0], weights["weight"]
    if alpha.ndim == 1 and x.ndim > 1 and alpha.numel() in (1, x.shape[1]):
        return F.prelu(x, alpha)
    return torch.where(x > 0, x, alpha * x)  # a slope per element: torch's own has one per channel


KINDS: Mapping[str, Callable[..., Any]] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "rms_norm": _rms_norm,
    "l2_normalize": _l2_normalize,
    "cosine_similarity": _cosine_similarity,
    "standardize": _standardize,
    "activation": _activation,
    "softmax": _softmax,
    "prelu": _prelu,
}
