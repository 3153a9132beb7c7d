"""What an ONNX Resize takes of which places, by its own rules: for those that a framework has no function for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
CUBIC = -0.75  # the coefficient that ONNX and torch have where nothing is said


def coefficient(a: Mapping[str, Any]) -> float:
    """Return what a cubic Resize bends by."""
    return float(f"{float(a.get('cubic_coeff_a', CUBIC)):.7g}")


def nearest(a: Mapping[str, Any], size: int, wanted: int) -> Array:
    """Return which of `size` places the nearest neighbours of `wanted` are, by a Resize node's own rule."""
    where, how = a.get("coordinate_transformation_mode", "half_pixel"), a.get("nearest_mode", "round_prefer_floor")
    x = np.arange(wanted)
    at = {
        "asymmetric": x * size / wanted, "align_corners": x * (size - 1) / max(wanted - 1, 1),
        "tf_half_pixel_for_nn": (x + 0.5) * size / wanted,
    }.get(where, (x + 0.5) * size / wanted - 0.5)  # fmt: skip
    found = {
        "floor": np.floor(at), "ceil": np.ceil(at), "round_prefer_ceil": np.floor(at + 0.5),
    }.get(how, np.ceil(at - 0.5))  # fmt: skip
    return np.clip(found, 0, size - 1).astype(np.int64)


def shares(a: Mapping[str, Any], size: int, wanted: int) -> Array | None:
    """Return how much each of `wanted` places takes of each of `size`; None for a rule that is not known here."""
    where = str(a.get("coordinate_transformation_mode", "half_pixel"))
    x = np.arange(wanted)
    if where == "align_corners":
        at = x * (size - 1) / max(wanted - 1, 1)
    elif where in ("half_pixel", "pytorch_half_pixel"):
        at = (x + 0.5) * size / wanted - 0.5 if wanted > 1 or where == "half_pixel" else np.zeros(1)
    elif where == "asymmetric":
        at = x * size / wanted
    else:
        return None
    if a.get("antialias"):
        return None
    cubic = str(a.get("mode")) == "cubic"
    found = np.zeros((wanted, size))
    for away in range(-1, 3) if cubic else range(2):
        place = np.floor(at) + away
        share = _cubic(np.abs(at - place), coefficient(a)) if cubic else 1.0 - np.abs(at - place)
        if a.get("exclude_outside"):
            share = np.where((place >= 0) & (place < size), share, 0.0)
        np.add.at(found, (x, np.clip(place, 0, size - 1).astype(np.int64)), share)
    return np.asarray(found / found.sum(1, keepdims=True)) if a.get("exclude_outside") else found


def _cubic(d: Array, a: float) -> Array:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, far)
