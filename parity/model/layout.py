"""Named permutations between TensorFlow's and PyTorch's order of axes.

Each layout is a pair of patterns in the notation of einops; an axis in parentheses is one axis that holds several,
the last one running fastest. All of them are permutations: no value is computed, so a round trip is bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import einops
import numpy as np
from numpy.typing import NDArray

from parity.errors import PairingError

Array = NDArray[Any]

# layout: (TensorFlow, PyTorch). Sources: keras.layers.Conv2D and Dense, torch.nn.Conv2d and Linear, parameter shapes.
LAYOUTS: Mapping[str, tuple[str, str]] = {
    "image": ("n h w c", "n c h w"),
    "flat-image": ("n (h w c)", "n (c h w)"),
    "vector": ("f", "f"),
    "batch-vector": ("n f", "n f"),
    "conv2d-kernel": ("kh kw i o", "o i kh kw"),
    "dense-kernel": ("i o", "o i"),
    "dense-kernel-after-flatten": ("(h w c) o", "o (c h w)"),
}


def to_torch(array: Array, layout: str, sizes: Mapping[str, int] | None = None) -> Array:
    """Return `array` with its axes in PyTorch's order; dtype and values unchanged."""
    source, target = _patterns(layout)
    return _permute(array, source, target, layout, sizes)


def to_tensorflow(array: Array, layout: str, sizes: Mapping[str, int] | None = None) -> Array:
    """Return `array` with its axes in TensorFlow's order; dtype and values unchanged."""
    source, target = _patterns(layout)
    return _permute(array, target, source, layout, sizes)


def activation_layout(layout: str) -> str:
    """Return the name under which an activation with a batch axis is permuted."""
    return "batch-vector" if layout == "vector" else layout


def _patterns(layout: str) -> tuple[str, str]:
    if layout not in LAYOUTS:
        raise PairingError(f"unknown layout `{layout}`; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def _permute(array: Array, source: str, target: str, layout: str, sizes: Mapping[str, int] | None) -> Array:
    axes = set(re.findall(r"\w+", source))
    known = {axis: size for axis, size in (sizes or {}).items() if axis in axes}
    try:
        moved = einops.rearrange(array, f"{source} -> {target}", **known)
    except einops.EinopsError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise PairingError(f"an array of shape {array.shape} is no `{layout}` ({source}): {reason}") from error
    return np.ascontiguousarray(moved)
