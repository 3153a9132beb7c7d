"""Weights that both frameworks' files draw alike, from the names of layer and weight, as trained ones may look."""

import zlib

import numpy as np


def drawn(name, shape):
    """Return the weight called `layer/role`, in TensorFlow's layout."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    role = name.rpartition("/")[2]
    if role in ("gamma", "scale"):
        values = random.uniform(0.5, 1.5, shape)
    elif role == "moving_variance":
        values = random.uniform(0.3, 2.0, shape)
    elif role == "alpha":
        values = random.uniform(0.05, 0.4, shape)
    elif role in ("beta", "bias", "moving_mean"):
        values = random.normal(0.0, 0.3, shape)
    elif role == "embeddings":
        values = random.normal(0.0, 1.0, shape)
    else:
        values = random.normal(0.0, 1.3 / np.sqrt(max(np.prod(shape[:-1]), 1)), shape)
    return values.astype("float32")
