"""Constant arrays inside the configuration of an operation, as short text: a mask that a model made itself."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

# The keys of a configuration; what starts with an underscore is not told to people.
MASK = "_mask"
NUMBER = "_number"  # that something is compared with
MASKED = "_masked"  # the number that a layer leaves out
KEY_MASK = "_key_mask"  # of keys alone, where a layer takes it beside the other
MOST = 2**20  # numbers of an array that is kept so


def packed(array: Any) -> str:
    """Return an array as text; of bools, eight to a byte."""
    array = np.asarray(array)
    raw = np.packbits(array).tobytes() if array.dtype == bool else array.tobytes()
    size = "x".join(map(str, array.shape))
    return f"{array.dtype}:{size}:{base64.b64encode(zlib.compress(raw)).decode('ascii')}"


def unpacked(text: str) -> np.ndarray[Any, Any]:
    """Return the array that `packed` made a text of."""
    dtype, size, coded = text.split(":")
    shape = tuple(map(int, size.split("x"))) if size else ()
    raw = zlib.decompress(base64.b64decode(coded))
    if dtype == "bool":
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=int(np.prod(shape)))
        return bits.astype(bool).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape).copy()
