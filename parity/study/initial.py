"""Initial weights and orders of images drawn in NumPy as each framework draws its own, so that either can have them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.model.spec import ModelSpec, WeightSpec

BUFFER_BATCHES = 8
"""How many batches Keras's `image_dataset_from_directory` keeps in its shuffle buffer."""

Array = NDArray[Any]


def initial_weights(spec: ModelSpec, distribution: str, seed: int) -> dict[str, Array]:
    """Return fresh weights of `spec`, float32, under Keras's names `layer/kernel` and `layer/bias` and in its layouts.

    `tensorflow`: kernels uniform within sqrt(6 / (fan_in + fan_out)) (Glorot), biases zero. `torch`: kernels and biases
    uniform within 1 / sqrt(fan_in).

    Raises
        UsageError: no such distribution.
    Source: keras.layers.Dense and Conv2D, `kernel_initializer="glorot_uniform"`; torch.nn.Linear and Conv2d,
    `reset_parameters`: kaiming_uniform_(a=sqrt(5)), whose bound is sqrt(6 / ((1 + 5) fan_in)).
    """
    if distribution not in ("tensorflow", "torch"):
        raise UsageError(f"no distribution of initial weights `{distribution}`: tensorflow or torch")
    rng = np.random.default_rng([seed, 1])
    found = {}
    for step in spec.shapes():
        kernel = next((weight for weight in step.weights if weight.role == "kernel"), None)
        for weight in step.weights:
            limit = _limit(distribution, weight, kernel or weight)
            drawn = rng.uniform(-1.0, 1.0, weight.shape) * limit
            found[f"{step.layer.name}/{weight.role}"] = drawn.astype(np.float32)
    return found


def epoch_orders(way: str, images: int, batch: int, seed: int, epochs: int) -> Array:
    """Return the order in which each epoch sees its images, int64 (epochs, images), as a framework's loader shuffles.

    `torch`: every epoch a new permutation, all equally likely. `tensorflow`: one permutation of the list of files, then
    every epoch a shuffle buffer of `BUFFER_BATCHES` batches drawn from at random, so that an image stays near its
    place.

    Raises
        UsageError: no such way.
    Source: torch.utils.data.RandomSampler; keras.utils.image_dataset_from_directory (its shuffle of the file list, and
    its `shuffle_buffer_size`); tf.data.Dataset.shuffle.
    """
    rng = np.random.default_rng([seed, 2])
    if way == "torch":
        return np.stack([rng.permutation(images) for _ in range(epochs)])
    if way != "tensorflow":
        raise UsageError(f"no way to shuffle `{way}`: tensorflow or torch")
    listed = rng.permutation(images)
    return np.stack([listed[_through_buffer(images, BUFFER_BATCHES * batch, rng)] for _ in range(epochs)])


def _limit(distribution: str, weight: WeightSpec, kernel: WeightSpec) -> float:
    *receptive, fan_in, fan_out = kernel.shape  # TensorFlow's layout: inputs and outputs come last
    field = math.prod(receptive)
    if distribution == "torch":
        return 1.0 / math.sqrt(fan_in * field)
    return 0.0 if weight.role == "bias" else math.sqrt(6.0 / ((fan_in + fan_out) * field))


def _through_buffer(images: int, size: int, rng: np.random.Generator) -> Array:
    """Return 0 to `images` - 1 in the order in which a shuffle buffer of that size lets them out."""
    buffer = list(range(min(size, images)))
    out = np.empty(images, dtype=np.int64)
    coming = len(buffer)
    for place in range(images):
        slot = int(rng.integers(len(buffer)))
        out[place] = buffer[slot]
        if coming < images:
            buffer[slot] = coming
            coming += 1
        else:
            buffer[slot] = buffer[-1]
            buffer.pop()
    return out
