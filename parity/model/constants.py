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
WRITTEN_DIGITS = 5  # of a number that people write by hand, such as 1.001e-5
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


def written(number: float) -> float:
    """Return a number as it was written by hand, should somebody have copied it out of float32.

    0.0010000000474974513 is what float32 makes of 0.001; 2^-23 is itself, and so is 1/255, which nobody wrote out.
    """
    if not abs(number) < float(np.finfo(np.float32).max):
        return number
    single = np.float32(number)
    text = np.format_float_scientific(single, trim="-") if number == float(single) else ""
    digits = sum(one.isdigit() for one in text.partition("e")[0])
    return float(text) if 0 < digits <= WRITTEN_DIGITS else number


def shortest(number: float) -> float:
    """Return the shortest decimal number that float32 takes for this one: 0.3 for 0.30000001192092896 and for 0.3."""
    return float(str(np.float32(number)))
