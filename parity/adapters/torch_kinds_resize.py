"""Canonical resizing: torch's own where it means the same, and TensorFlow's kernels as one matrix per axis where not.

Sources for the matrices: tensorflow/core/kernels/image/resize_bicubic_op.cc (a table of 1,024 steps, a = -0.5, weights
outside the image dropped and the rest divided by their sum), scale_and_translate_op.cc (antialiased and Lanczos) and
resize_area_op.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from parity.errors import UsageError

Config = Mapping[str, Any]
Doubles = NDArray[np.float64]

TABLE = 1024
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_MATRICES = ("bilinear", "bicubic", "area", "lanczos3", "lanczos5")


def _resize(config: Config, _: Mapping[str, Any], inputs: Sequence[Tensor], __: bool) -> Tensor:
    """`by` says whose meaning a method has where the frameworks differ: "torch" unless it says "tensorflow"."""
    x = inputs[0]
    size = _size(config, x)
    method = str(config.get("method", "nearest"))
    # Keras's upsampling repeats; `nearest` of tf.image.resize looks at half-pixel centres, which is nearest-exact.
    if method in ("nearest", "nearest-exact"):
        exact = bool(config.get("exact")) or method == "nearest-exact"
        return F.interpolate(x, size, mode="nearest-exact" if exact else "nearest")
    if config.get("by") == "tensorflow" or method not in ("bilinear", "bicubic", "area"):
        return _by_matrices(config, x, size, method)
    if method == "area":
        return F.interpolate(x, size, mode="area")
    rank = x.ndim - 2
    align, antialias = bool(config.get("align_corners")), bool(config.get("antialias"))
    if method == "bilinear" and not align and config.get("half_pixel") is False:
        return _by_matrices(config, x, size, method)
    name = _LINEAR[rank] if method == "bilinear" else method
    return F.interpolate(x, size, mode=name, align_corners=align, antialias=antialias)


def _size(config: Config, x: Tensor) -> list[int]:
    if config.get("size"):
        return [int(n) for n in config["size"]]
    return [math.floor(n * float(f)) for n, f in zip(x.shape[2:], config["factor"], strict=True)]


def _by_matrices(config: Config, x: Tensor, size: Sequence[int], method: str) -> Tensor:
    if method not in _MATRICES:
        raise UsageError(f"no canonical form of resizing by `{method}`: nearest, {', '.join(_MATRICES)}")
    for axis, out in enumerate(size, start=2):
        matrix = torch.from_numpy(_matrix(config, method, x.shape[axis], out)).to(x)
        x = torch.tensordot(x, matrix, ([axis], [1])).movedim(-1, axis)
    return x


def _matrix(config: Config, method: str, size: int, out: int) -> Doubles:
    if method == "area":
        return _area(size, out)
    if method.startswith("lanczos") or config.get("antialias"):
        radius, kernel = _KERNELS[method]
        return _sampled(size, out, radius, kernel, bool(config.get("antialias")))
    align = bool(config.get("align_corners")) and out > 1
    half = config.get("half_pixel") is not False and not align
    scale = np.float32((size - 1) / (out - 1)) if align else np.float32(size / out)
    places = np.arange(out, dtype=np.float32)
    where = (places + np.float32(0.5)) * scale - np.float32(0.5) if half else places * scale
    return _bicubic(where, size, half) if method == "bicubic" else _bilinear(where, size)


def _bilinear(where: NDArray[np.float32], size: int) -> Doubles:
    matrix = np.zeros((len(where), size))
    for row, place in enumerate(where):
        low = math.floor(place)
        share = float(place - np.float32(low))
        matrix[row, min(max(low, 0), size - 1)] += 1.0 - share
        matrix[row, min(max(low + 1, 0), size - 1)] += share
    return matrix


def _bicubic(where: NDArray[np.float32], size: int, keys: bool) -> Doubles:
    a, matrix = -0.5 if keys else -0.75, np.zeros((len(where), size))
    for row, place in enumerate(where):
        low = math.floor(place)
        step = round(float((place - np.float32(low)) * TABLE)) / TABLE
        weights = [_far(step + 1, a), _near(step, a), _near(1 - step, a), _far(2 - step, a)]
        for offset, weight in enumerate(weights, start=-1):
            column = low + offset
            if not keys or 0 <= column < size:
                matrix[row, min(max(column, 0), size - 1)] += weight
    return matrix / matrix.sum(1, keepdims=True) if keys else matrix


def _near(x: float, a: float) -> float:
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _far(x: float, a: float) -> float:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _keys(x: float) -> float:
    return _near(x, -0.5) if x < 1 else _far(x, -0.5) if x < 2 else 0.0


def _lanczos(radius: float) -> Callable[[float], float]:
    def kernel(x: float) -> float:
        if x > radius:
            return 0.0
        if x <= 1e-3:
            return 1.0
        return radius * math.sin(math.pi * x) * math.sin(math.pi * x / radius) / (math.pi**2 * x * x)

    return kernel


_KERNELS: Mapping[str, tuple[float, Callable[[float], float]]] = {
    "bilinear": (1.0, lambda x: max(1.0 - x, 0.0)),
    "bicubic": (2.0, _keys),
    "lanczos3": (3.0, _lanczos(3.0)),
    "lanczos5": (5.0, _lanczos(5.0)),
}


def _sampled(size: int, out: int, radius: float, kernel: Callable[[float], float], antialias: bool) -> Doubles:
    inverse, matrix = size / out, np.zeros((out, size))
    wide = max(inverse, 1.0) if antialias else 1.0
    for row in range(out):
        centre = (row + 0.5) * inverse
        first = min(max(math.ceil(centre - radius * wide - 0.5), 0), size - 1)
        last = min(max(math.floor(centre + radius * wide - 0.5), 0), size - 1)
        for column in range(first, last + 1):
            matrix[row, column] = kernel(abs((column + 0.5 - centre) / wide))
    return np.asarray(matrix / matrix.sum(1, keepdims=True))


def _area(size: int, out: int) -> Doubles:
    scale, matrix = size / out, np.zeros((out, size))
    for row in range(out):
        low, high = row * scale, (row + 1) * scale
        for column in range(math.floor(low), min(math.ceil(high), size)):
            matrix[row, column] = min(high, column + 1) - max(low, column)
    return np.asarray(matrix / scale)


KINDS: Mapping[str, Callable[..., Any]] = {"resize": _resize}
