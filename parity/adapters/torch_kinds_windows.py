"""Canonical convolutions, pooling, padding and cropping: the amounts that are given decide, asymmetric ones too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Config = Mapping[str, Any]
Weights = Mapping[str, Any]
Inputs = Sequence[Tensor]

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_MODES = {"zeros": "constant", "constant": "constant", "reflect": "reflect", "replicate": "replicate",
          "circular": "circular"}  # fmt: skip


def flat_pads(pads: Sequence[Sequence[int]]) -> list[int]:
    """Return `F.pad`'s list, last axis first, of (before, after) per axis."""
    return [int(v) for pair in reversed(list(pads)) for v in pair]


def padded(x: Tensor, pads: Sequence[Sequence[int]], mode: str = "zeros", value: float = 0.0) -> Tensor:
    """Return `x` with its last axes padded; a negative amount cuts off."""
    if not any(v for pair in pads for v in pair):
        return x
    if mode == "symmetric":
        return _mirrored(x, pads)
    kind = _MODES[mode]
    return F.pad(x, flat_pads(pads), value=value) if kind == "constant" else F.pad(x, flat_pads(pads), mode=kind)


def _mirrored(x: Tensor, pads: Sequence[Sequence[int]]) -> Tensor:
    """Return `x` with its last axes mirrored beyond their ends, the last number twice: no mode of torch's own."""
    for axis, (low, high) in zip(range(-len(pads), 0), pads, strict=True):
        size = x.shape[axis]
        at = torch.arange(-low, size + high, device=x.device) % (2 * size)
        x = x.index_select(x.dim() + axis, torch.where(at < size, at, 2 * size - 1 - at))
    return x


def _list(config: Config, key: str, rank: int, default: int = 1) -> list[int]:
    value = config.get(key)
    if value is None:
        return [default] * rank
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)] * rank


def _pads(config: Config, key: str, rank: int) -> list[list[int]]:
    return [[int(lo), int(hi)] for lo, hi in config.get(key) or [[0, 0]] * rank]


def _convolve(config: Config, weights: Weights, x: Tensor, groups: int) -> Tensor:
    weight, bias = weights["weight"], weights.get("bias")
    rank = weight.ndim - 2
    pads, mode = _pads(config, "pads", rank), str(config.get("pad_mode", "zeros"))
    strides, dilation = _list(config, "strides", rank), _list(config, "dilation", rank)
    if mode == "zeros" and all(lo == hi >= 0 for lo, hi in pads):
        return _CONVS[rank](x, weight, bias, strides, [lo for lo, _ in pads], dilation, groups)
    return _CONVS[rank](padded(x, pads, mode), weight, bias, strides, 0, dilation, groups)


def _conv(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return _convolve(config, weights, inputs[0], int(config.get("groups", 1)))


def _depthwise(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return _convolve(config, weights, inputs[0], inputs[0].shape[1])


def _conv_transpose(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    weight, bias = weights["weight"], weights.get("bias")
    rank = weight.ndim - 2
    strides, dilation = _list(config, "strides", rank), _list(config, "dilation", rank)
    full = _TRANSPOSED[rank](inputs[0], weight, None, strides, 0, 0, int(config.get("groups", 1)), dilation)
    cropped = padded(full, [[-lo, -hi] for lo, hi in _pads(config, "crops", rank)])
    # The bias comes last: places that no product reaches hold it in both frameworks.
    return cropped if bias is None else cropped + bias.view(-1, *[1] * rank)


def _windows(config: Config, x: Tensor) -> tuple[list[int], list[int], list[int], list[list[int]], list[list[int]]]:
    """Return window, strides, dilation, pads as given, and pads that make the windows cover the input exactly."""
    rank = int(config.get("rank", x.ndim - 2))
    pool = _list(config, "pool", rank)
    strides = _list(config, "strides", rank) if config.get("strides") else pool
    dilation, pads = _list(config, "dilation", rank), _pads(config, "pads", rank)
    exact = []
    for n, k, s, d, (lo, hi) in zip(x.shape[-rank:], pool, strides, dilation, pads, strict=True):
        room, reach = n + lo + hi, d * (k - 1) + 1
        count = (-(-(room - reach) // s) if config.get("ceil") else (room - reach) // s) + 1
        if config.get("ceil") and (count - 1) * s >= n + lo:
            count -= 1  # torch drops a window that would start beyond the input and its left padding
        exact.append([lo, (count - 1) * s + reach - n - lo])
    return pool, strides, dilation, pads, exact


def _max_pool(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    pool, strides, dilation, _pads_given, exact = _windows(config, inputs[0])
    return _MAX_POOLS[len(pool)](padded(inputs[0], exact, value=-math.inf), pool, strides, 0, dilation)


def _avg_pool(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x = inputs[0]
    pool, strides, _dilation, pads, exact = _windows(config, x)
    rank, size = len(pool), math.prod(pool)
    mean = _AVG_POOLS[rank](padded(x, exact), pool, strides)
    counted = torch.ones(x.shape[-rank:], dtype=torch.float64, device=x.device)
    if config.get("count_include_pad", False):
        counted = F.pad(counted, flat_pads(pads), value=1.0)
        rest = [[0, now[1] - given[1]] for now, given in zip(exact, pads, strict=True)]
    else:
        rest = exact
    counted = F.pad(counted, flat_pads(rest))
    counts = (_AVG_POOLS[rank](counted[None, None], pool, strides) * size).round()[0, 0]
    if bool((counts == size).all()):
        return mean
    return mean * (size / counts).to(mean.dtype)


def _global(config: Config, x: Tensor, function: str) -> Tensor:
    axes, keep = tuple(range(2, x.ndim)), bool(config.get("keepdims", False))
    return x.mean(axes, keepdim=keep) if function == "mean" else x.amax(axes, keepdim=keep)


def _adaptive(table: Mapping[int, Callable[..., Any]]) -> Callable[..., Tensor]:
    def apply(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
        rank = int(config.get("rank", inputs[0].ndim - 2))
        return table[rank](inputs[0], _list(config, "size", rank))

    return apply


def _zero_pad(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return padded(inputs[0], config["pads"], str(config.get("mode", "constant")), float(config.get("value") or 0.0))


def _cropping(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return padded(inputs[0], [[-int(lo), -int(hi)] for lo, hi in config["crops"]])


def _depth_to_space(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, b = inputs[0], int(config["block"])
    if config.get("order", "block-major") == "channel-major":
        return F.pixel_shuffle(x, b)
    n, c, h, w = x.shape
    y = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, b = inputs[0], int(config["block"])
    if config.get("order", "block-major") == "channel-major":
        return F.pixel_unshuffle(x, b)
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b**2, h // b, w // b)


KINDS: Mapping[str, Callable[..., Any]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": lambda c, _, xs, __: _global(c, xs[0], "mean"),
    "global_max_pool": lambda c, _, xs, __: _global(c, xs[0], "max"),
    "adaptive_avg_pool": _adaptive(_ADAPTIVE_AVG),
    "adaptive_max_pool": _adaptive(_ADAPTIVE_MAX),
    "zero_pad": _zero_pad,
    "cropping": _cropping,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
}
