"""Operations that TensorFlow has not in doubles, or not exactly, made of others that it has, for the twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_layers import as_written

# Operations with a kernel for float64 and a float32 number of their own, which their formula has as it was written.
ROUNDED = frozenset({"LeakyRelu"})


def in_doubles(tf: Any, name: str, inputs: Sequence[Any], attrs: tuple[Any, ...]) -> list[Any] | None:
    """Return the results of an operation by its formula; None where there is none here."""
    words = _named(attrs)
    if name.startswith("FusedBatchNorm") and "Grad" not in name and "Ex" not in name:
        return _batch_norm(tf, inputs, words)[: 6 if name.endswith("V3") else 5]
    if name == "LRN":
        return [_local_response_norm(tf, inputs[0], words)]
    if name == "LeakyRelu" and inputs[0].dtype == tf.float64:
        return [tf.where(inputs[0] > 0, inputs[0], inputs[0] * as_written(np.float32(words.get("alpha", 0.2))))]
    return None


def _batch_norm(tf: Any, inputs: Sequence[Any], words: dict[str, Any]) -> list[Any]:
    x, scale, offset, mean, variance = inputs
    axes = [0, 1, 2] if words.get("data_format", "NHWC") == "NHWC" else [0, 2, 3]
    turned = [1, -1, 1, 1] if axes[1] == 2 else [-1]
    used = (mean, variance)
    if words.get("is_training", True):
        used = tf.nn.moments(x, axes)
        count = tf.cast(tf.size(x) // tf.size(scale), tf.float64)
        factor = as_written(np.float32(words.get("exponential_avg_factor", 1.0)))
        unbiased = used[1] * count / (count - 1.0)
        mean = used[0] if factor == 1.0 else (1.0 - factor) * mean + factor * used[0]
        variance = unbiased if factor == 1.0 else (1.0 - factor) * variance + factor * unbiased
    root = tf.math.rsqrt(used[1] + as_written(np.float32(words.get("epsilon", 1e-4))))
    shape = [tf.reshape(t, turned) for t in (used[0], root * scale, offset)]
    y = (x - shape[0]) * shape[1] + shape[2]
    kept = [tf.identity(mean), tf.identity(variance), tf.identity(used[0]), tf.identity(used[1])]
    return [y, *kept, tf.zeros([0], tf.float64)]


def _local_response_norm(tf: Any, x: Any, words: dict[str, Any]) -> Any:
    """Divide by a power of what stands near along the last axis; the sums are products with a band of ones."""
    usual = {"bias": 1.0, "alpha": 1.0, "beta": 0.5}
    bias, alpha, beta = (as_written(np.float32(words.get(key, value))) for key, value in usual.items())
    channels, radius = int(x.shape[-1]), int(words.get("depth_radius", 5))
    near = tf.constant(np.abs(np.subtract.outer(*[np.arange(channels)] * 2)) <= radius)
    sums = tf.tensordot(x * x, tf.cast(near, tf.float64), 1)
    return x / (bias + alpha * sums) ** tf.constant(beta, tf.float64)


def _named(attrs: tuple[Any, ...]) -> dict[str, Any]:
    def text(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    return {text(key): text(value) for key, value in zip(attrs[::2], attrs[1::2], strict=True)}
