"""Weights that nobody has trained yet hide faults: give constants of a fresh model trained-like values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.model.trace import Trace, used_weights

Array = NDArray[Any]

VARIANCES = frozenset({"moving_variance", "running_var"})
MEANS = frozenset({"moving_mean", "running_mean"})


def trained_like(weights: Mapping[str, Array], trace: Trace, seed: int) -> dict[str, Array]:
    """Return replacements (same shapes, float32) for the weights that are one number throughout, by name.

    A bias of zeros hides that a port forgot it, and statistics of 0 and 1 hide an epsilon or an exchange; a weight
    that is not constant is left as it is.
    """
    roles = {name: role for _, role, name in used_weights(trace.ops)}
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, array in weights.items():
        if not np.issubdtype(array.dtype, np.floating) or not array.size or not _constant(array):
            continue
        found[name] = _drawn(rng, roles.get(name, ""), array).astype(np.float32)
    return found


def _constant(array: Array) -> bool:
    first = array.reshape(-1)[0]
    return bool(np.isfinite(first)) and bool((array == first).all()) and (array.size > 1 or float(first) in (0.0, 1.0))


def _drawn(rng: np.random.Generator, role: str, array: Array) -> Array:
    value = float(array.reshape(-1)[0])
    kind = role.rpartition("_of_")[2]
    if kind in VARIANCES:
        return rng.uniform(0.25, 2.0, array.shape) * (value or 1.0)
    if kind in MEANS:
        return value + rng.normal(0.2, 0.5, array.shape)
    if value == 0.0:
        return rng.normal(0.05, 0.3, array.shape)
    return value * rng.uniform(0.6, 1.4, array.shape)
