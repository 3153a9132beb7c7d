"""Constant arrays inside the configuration of an operation, as short text: a mask that a model made itself."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

# The keys of a configuration; what starts with an underscore is not told to people.
MASK = "_mask"
NUMBER = "_number"  # that something is compared with
MASKED = "_masked"  # the number that a layer leaves out
IDS = "_ids"  # that the code itself looks up, such as those of positions
KEY_MASK = "_key_mask"  # of keys alone, where a layer takes it beside the other
COPIED_DIGITS = 7, 15  # of a root or fraction that people copy out: fewer are another number, more are all of it
WRITTEN_DIGITS = 5  # of a number that people write by hand, such as 1.001e-5
MOST = 2**20  # numbers of an array that is kept so
WHOLE = 2**14  # the largest whole number that roots and fractions are looked for of
IN_FORMULAS = (math.sqrt(2.0 / math.pi), math.pi, 2.0 * math.pi, math.sqrt(2.0 * math.pi), math.log(2.0))


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

    0.0010000000474974513 is what float32 makes of 0.001; 2^-23 is itself. A root or fraction with its first digits is
    meant in full.
    """
    if not abs(number) < float(np.finfo(np.float32).max):
        return number
    single = np.float32(number)
    text = np.format_float_scientific(single, trim="-") if number == float(single) else ""
    digits = sum(one.isdigit() for one in text.partition("e")[0])
    return float(text) if 0 < digits <= WRITTEN_DIGITS else _copied_out(float(number))


@lru_cache(maxsize=4096)
def _copied_out(number: float) -> float:
    """Return the root or fraction of which a number in the code has the first digits: sqrt(2 / pi) for 0.79788456.

    Only what float32 takes for the same number: code that has the one and code that has the other are one function.
    """
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    if not COPIED_DIGITS[0] <= len(digits) <= COPIED_DIGITS[1] or not isinstance(exponent, int):
        return number
    last = Decimal(1).scaleb(exponent)
    alike = (one for one in _of_formulas(abs(number)) if abs(Decimal(one) - abs(Decimal(repr(number)))) < last)
    found = next((one for one in alike if np.float32(one) == np.float32(abs(number))), None)
    return number if found is None else -found if sign else found


def shortest(number: float) -> float:
    """Return the shortest decimal number that float32 takes for this one: 0.3 for 0.30000001192092896 and for 0.3."""
    return float(str(np.float32(number)))


def meant(number: float) -> float:
    """Return the number that a formula most likely had where float32 holds this one: 1/255, a root, or a short decimal.

    Whatever is returned, float32 makes the same of it.
    """
    single, decimal = np.float32(number), shortest(number)
    if not np.isfinite(single) or written(float(single)) != float(single) or single == np.round(single):
        return decimal
    size = abs(float(single))
    found = next((one for one in _of_formulas(size) if np.float32(one) == np.float32(size)), None)
    return decimal if found is None else math.copysign(found, number)


def _of_formulas(size: float) -> Iterator[float]:
    """Yield what a number may be: one over a whole number or its half, a root, one over a root."""
    yield from IN_FORMULAS
    yield from (1.0 / one for one in IN_FORMULAS)
    if 1.0 / WHOLE < size < WHOLE:
        halves, square, inverse = round(2.0 / size), round(size * size), round(1.0 / (size * size))
        yield from ([2.0 / halves] if 0 < halves <= 2 * WHOLE else [])
        yield from ([math.sqrt(square)] if 0 < square <= WHOLE else [])
        yield from ([1.0 / math.sqrt(inverse)] if 0 < inverse <= WHOLE else [])
