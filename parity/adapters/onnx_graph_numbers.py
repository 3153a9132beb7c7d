"""Constant numbers of an ONNX file as they were once written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def numbers(array: Array) -> Array:
    """Return constant numbers of a file as they were once written: float32 holds 0.1 as 0.10000000149."""
    if array.dtype.kind != "f":
        return array
    if array.dtype != np.float32 or array.size > 4096:
        return array.astype(np.float64)
    return np.array([_meant(one) for one in array.reshape(-1)], np.float64).reshape(array.shape)


def _meant(number: np.float32) -> float:
    """Return the shortest decimal number, the root or the fraction of whole numbers that float32 rounds to this."""
    short = float(str(number))
    if not np.isfinite(number) or number == 0 or len(f"{short:.9g}".strip("-0.").replace(".", "")) <= 6:
        return short
    sign, size = (-1.0 if number < 0 else 1.0), abs(float(number))
    squared = size * size
    forms = (
        (1 / size, -1.0, 1.0),
        (squared, 0.5, 1.0),
        (1 / squared, -0.5, 1.0),
        (squared * np.pi, 0.5, np.pi),
        (squared**-2, -0.25, 1.0),  # what PyTorch's attention scales queries and keys by
    )
    for value, power, divisor in forms:
        whole = round(value)
        if 1 <= whole <= 1024 and np.float32((whole / divisor) ** power) == np.float32(size):
            return sign * float((whole / divisor) ** power)
    return short
