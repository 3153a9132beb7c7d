"""Read and write weights through references: a name, rows of one, the sum of several, or several joined or stacked.

`name@lo:hi` are rows, `name@last:lo:hi` columns along the last axis, `name@dim1:lo:hi` places along another; several
ranges stand with commas between them, and places along two axes behind one another; `@t` at the end turns a matrix.
`name@2` is one place along the first axis, which is gone: a layer's weight among those that are kept as one.
`a+b` is a sum, `a&b` are two side by side along the first axis, `a^b` along the last, `a|b` two of one shape stacked;
the later binds less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.errors import PairingError
from parity.model.layout import Array
from parity.model.trace import JOINTS, Trace

Shape = tuple[int, ...]
_LAST, _DIM, _TURNED = "last:", "dim", "t"
_ALONG_FIRST, _ALONG_LAST = "&", "^"


class Shapes(dict[str, Shape]):
    """The shapes of weights by name; those of single places along the first axis of one are known, too.

    Only the names are counted and iterated over.
    """

    def __contains__(self, key: object) -> bool:
        return self.get(str(key)) is not None

    def __missing__(self, key: str) -> Shape:
        name, _, place = key.partition("@")
        if not place.isdigit() or not dict.__contains__(self, name):
            raise KeyError(key)
        return dict.__getitem__(self, name)[1:]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the shape of a weight or of a place of one."""
        try:
            return self[key]
        except KeyError:
            return default


def shapes_of(trace: Trace) -> Shapes:
    """Return the shapes of a trace's weights."""
    return Shapes({name: tuple(weight.shape) for name, weight in trace.weights.items()})


def shape_of(reference: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """Return the shape of what a reference stands for; None if a weight of it is unknown."""
    stacked = reference.split("|")
    found = [_shape_of_joined(part, shapes) for part in stacked]
    if found[0] is None or len(stacked) == 1:
        return found[0]
    return (len(stacked), *found[0])


def read(reference: str, arrays: Mapping[str, Array]) -> Array:
    """Return the array that a reference stands for."""
    stacked = [_read_joined(part, arrays) for part in reference.split("|")]
    return stacked[0] if len(stacked) == 1 else np.stack(stacked)


def write(reference: str, array: Array, arrays: dict[str, Array], shapes: Mapping[str, Shape]) -> None:
    """Put an array where a reference points: of a sum, the first weight gets all of it and the others zeros."""
    stacked = reference.split("|")
    values = [array] if len(stacked) == 1 else list(array)
    if len(values) != len(stacked):
        raise PairingError(f"`{reference}` holds {len(stacked)} weights, and the array has shape {array.shape}")
    for part, value in zip(stacked, values, strict=True):
        for one, share in _shares(part, value, shapes):
            first, *others = one.split("+")
            _write_part(first, share, arrays, shapes)
            for other in others:
                _write_part(other, np.zeros_like(share), arrays, shapes)


def joined(references: Sequence[str], last: bool = False) -> str:
    """Return one reference for several side by side, along the last axis or the first."""
    return (_ALONG_LAST if last else _ALONG_FIRST).join(references)


def sides_of(reference: str) -> tuple[list[str], int]:
    """Return what stands side by side in a reference without stacks, and along which axis."""
    last = _ALONG_LAST in reference
    return reference.split(_ALONG_LAST if last else _ALONG_FIRST), -1 if last else 0


@dataclass(frozen=True)
class Rows:
    """Some places along an axis of a weight; `indices` is None for all of it, `within` are places along another.

    `turned` says that what is picked is read with its axes the other way round, `single` that it is one place, of which
    the axis is left out.
    """

    axis: int = 0
    indices: Array | None = None
    within: Rows | None = None
    turned: bool = False
    single: bool = False

    def count(self, shape: Shape) -> int:
        """Return how many places the axis has, 1 for a scalar."""
        return shape[self.axis] if shape else 1

    def all_of(self, shape: Shape) -> set[int]:
        """Return the places that are meant."""
        return set(range(self.count(shape))) if self.indices is None else {int(one) for one in self.indices}

    def where(self) -> tuple[Any, ...]:
        """Return the index that picks them along the one axis."""
        if self.axis < 0:
            return (..., self.indices, *[slice(None)] * (-1 - self.axis))
        return (*[slice(None)] * self.axis, self.indices)

    def picked(self, array: Array) -> Array:
        """Return the places of an array."""
        found = array if self.indices is None else array[self.where()]
        found = found.squeeze(self.axis) if self.single else found
        found = found if self.within is None else self.within.picked(found)
        return found.T if self.turned else found

    def put(self, value: Array, array: Array) -> None:
        """Write the places of an array."""
        value = value.T if self.turned else value
        if self.indices is None:
            array[...] = value
            return
        if self.within is not None:
            part = array[self.where()]
            self.within.put(value, part.squeeze(self.axis) if self.single else part)
            value = part
        elif self.single:
            value = np.expand_dims(value, self.axis)
        array[self.where()] = value

    def of_shape(self, shape: Shape) -> Shape:
        """Return the shape of what is picked."""
        shape = self.before_within(shape)
        found = shape if self.within is None else self.within.of_shape(shape)
        return found[::-1] if self.turned else found

    def before_within(self, shape: Shape) -> Shape:
        """Return the shape of what is picked along the first of the axes."""
        if self.indices is None or not shape:
            return shape
        axis = self.axis % len(shape)
        return (*shape[:axis], *(() if self.single else (len(self.indices),)), *shape[axis + 1 :])


def rows_of_part(part: str) -> tuple[str, Rows]:
    """Return the name and the places that one part of a reference means."""
    name, *texts = part.split("@")
    turned = texts[-1:] == [_TURNED]
    texts = texts[:-1] if turned else texts
    found: Rows | None = None
    for text in reversed(texts):
        axis, ranges = 0, text
        if text.startswith(_LAST):
            axis, ranges = -1, text.removeprefix(_LAST)
        elif text.startswith(_DIM):
            number, _, ranges = text.removeprefix(_DIM).partition(":")
            axis = int(number)
        single = ":" not in ranges
        ends = [one.partition(":") for one in ranges.split(",")]
        places_ = np.concatenate([np.arange(int(low), int(high or low) + (not high)) for low, _, high in ends])
        found = Rows(axis, places_, found, single=single)
    return name, replace(found or Rows(), turned=turned)


def places(name: str, indices: Array, last: bool = False) -> str:
    """Return the reference of some places of a weight, or of a part of one."""
    whole, rows = rows_of_part(name)
    if rows.indices is not None and rows.within is None and rows.axis == (-1 if last else 0) and not rows.single:
        name, indices = whole, rows.indices[indices]  # along the same axis
    return f"{name}@{_LAST if last else ''}{ranges_of(indices)}"


def ranges_of(indices: Array) -> str:
    """Return places as ranges with commas between them."""
    ends = np.flatnonzero(np.diff(indices) != 1)
    runs = zip([indices[0], *indices[ends + 1]], [*indices[ends], indices[-1]], strict=True)
    return ",".join(f"{low}:{high + 1}" for low, high in runs)


def parts(reference: str) -> list[str]:
    """Return the parts of a reference, each a name with or without rows."""
    return JOINTS.split(reference)


def _shape_of_joined(reference: str, shapes: Mapping[str, Shape]) -> Shape | None:
    several, axis = sides_of(reference)
    found = [shape for one in several if (shape := _shape_of_part(one.split("+")[0], shapes)) is not None]
    if len(found) < len(several) or len(several) == 1:
        return found[0] if found else None
    total = sum(shape[axis] for shape in found)
    return (total, *found[0][1:]) if axis == 0 else (*found[0][:-1], total)


def _shares(reference: str, value: Array, shapes: Mapping[str, Shape]) -> list[tuple[str, Array]]:
    """Return each of what stands side by side with its share of an array."""
    several, axis = sides_of(reference)
    sizes = [(_shape_of_part(one.split("+")[0], shapes) or (0,))[axis] for one in several[:-1]]
    cut = np.split(value, np.cumsum(sizes), axis) if sizes else [value]
    return list(zip(several, cut, strict=True))


def _read_joined(reference: str, arrays: Mapping[str, Array]) -> Array:
    several, axis = sides_of(reference)
    found = [_read_sum(one, arrays) for one in several]
    return found[0] if len(found) == 1 else np.concatenate(found, axis)


def _shape_of_part(part: str, shapes: Mapping[str, Shape]) -> Shape | None:
    name, rows = rows_of_part(part)
    if name not in shapes:
        return None
    return rows.of_shape(tuple(shapes[name]))


def _read_sum(reference: str, arrays: Mapping[str, Array]) -> Array:
    first, *others = (_read_part(part, arrays) for part in reference.split("+"))
    total = first
    for other in others:
        if np.any(other):  # adding zeros would turn -0.0 into 0.0, and a round trip must keep every bit
            total = total + other
    return total


def _read_part(part: str, arrays: Mapping[str, Array]) -> Array:
    name, rows = rows_of_part(part)
    return rows.picked(arrays[name])


def _write_part(part: str, value: Array, arrays: dict[str, Array], shapes: Mapping[str, Shape]) -> None:
    name, rows = rows_of_part(part)
    if rows.indices is None and not rows.turned:
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)  # a scalar stays one
        return
    if name not in arrays:
        arrays[name] = np.zeros(shapes[name], value.dtype)
    rows.put(value, arrays[name])
