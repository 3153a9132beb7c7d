"""ONNX operators that TensorFlow has no function for, written with several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from parity.adapters.onnx_graph import Array


def spread_pool(
    x: Any, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[Sequence[int]]
) -> Any:
    """Return the largest numbers of windows with gaps, of an input in channels-last order."""
    x = tf.pad(x, [[0, 0], *pads, [0, 0]], constant_values=tf.constant(-np.inf, x.dtype))
    sizes = [int(n) for n in x.shape[1:-1]]
    many = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(sizes, kernel, dilations, strides, strict=True)]
    made = None
    for place in product(*(range(k) for k in kernel)):
        starts = [p * d for p, d in zip(place, dilations, strict=True)]
        cut = [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, many, strides, strict=True)]
        part = x[(slice(None), *cut, slice(None))]
        made = part if made is None else tf.maximum(made, part)
    return made


def resized(x: Any, shares: Sequence[Array]) -> Any:
    """Return an input in channels-last order with each spatial axis as these shares of its places."""
    rank = len(x.shape)
    for axis, share in enumerate(shares, 1):
        if not np.array_equal(share, np.eye(*share.shape)):
            turned = [other for other in range(rank) if other != axis]
            back = [*range(axis), rank - 1, *range(axis, rank - 1)]
            flat = tf.matmul(tf.transpose(x, [*turned, axis]), tf.constant(share.T.astype(x.dtype.as_numpy_dtype)))
            x = tf.transpose(flat, back)
    return x
