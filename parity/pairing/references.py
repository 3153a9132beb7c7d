"""Read and write weights through references: a name, rows of one, the sum of several, or several stacked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.errors import PairingError
from parity.model.layout import Array

Shape = tuple[int, ...]


def shape_of(reference: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """Return the shape of what a reference stands for; None if a weight of it is unknown."""
    stacked = reference.split("|")
    found = [_shape_of_part(part.split("+")[0], shapes) for part in stacked]
    if found[0] is None or len(stacked) == 1:
        return found[0]
    return (len(stacked), *found[0])


def read(reference: str, arrays: Mapping[str, Array]) -> Array:
    """Return the array that a reference stands for."""
    stacked = [_read_sum(part, arrays) for part in reference.split("|")]
    return stacked[0] if len(stacked) == 1 else np.stack(stacked)


def write(reference: str, array: Array, arrays: dict[str, Array], shapes: Mapping[str, Shape]) -> None:
    """Put an array where a reference points: of a sum, the first weight gets all of it and the others zeros."""
    stacked = reference.split("|")
    values = [array] if len(stacked) == 1 else list(array)
    if len(values) != len(stacked):
        raise PairingError(f"`{reference}` holds {len(stacked)} weights, and the array has shape {array.shape}")
    for part, value in zip(stacked, values, strict=True):
        first, *others = part.split("+")
        _write_part(first, value, arrays, shapes)
        for other in others:
            _write_part(other, np.zeros_like(value), arrays, shapes)


def rows_of_part(part: str) -> tuple[str, slice]:
    """Return the name and the rows that one part of a reference means."""
    name, _, rows = part.partition("@")
    if not rows:
        return name, slice(None)
    low, _, high = rows.partition(":")
    return name, slice(int(low or 0), int(high) if high else None)


def parts(reference: str) -> list[str]:
    """Return the parts of a reference, each a name with or without rows."""
    return reference.replace("|", "+").split("+")


def _shape_of_part(part: str, shapes: Mapping[str, Shape]) -> Shape | None:
    name, rows = rows_of_part(part)
    if name not in shapes:
        return None
    whole = tuple(shapes[name])
    return (len(range(*rows.indices(whole[0]))), *whole[1:]) if whole else whole


def _read_sum(reference: str, arrays: Mapping[str, Array]) -> Array:
    first, *others = (_read_part(part, arrays) for part in reference.split("+"))
    total = first
    for other in others:
        if np.any(other):  # adding zeros would turn -0.0 into 0.0, and a round trip must keep every bit
            total = total + other
    return total


def _read_part(part: str, arrays: Mapping[str, Array]) -> Array:
    name, rows = rows_of_part(part)
    return arrays[name] if rows == slice(None) else arrays[name][rows]


def _write_part(part: str, value: Array, arrays: dict[str, Array], shapes: Mapping[str, Shape]) -> None:
    name, rows = rows_of_part(part)
    if rows == slice(None):
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)  # a scalar stays one
        return
    if name not in arrays:
        arrays[name] = np.zeros(shapes[name], value.dtype)
    arrays[name][rows] = value
