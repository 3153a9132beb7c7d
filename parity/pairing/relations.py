"""How one tensor of TensorFlow and its partner in torch order the same numbers.

Batch axis first on both sides. `same` and `channels` (the last axis of TensorFlow is torch's axis 1) have names, since
they are nearly all; anything else is a permutation of the elements of one sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

import numpy as np

from parity.errors import PairingError
from parity.model.layout import Array

Shape = tuple[int, ...]

SAME, CHANNELS, EXPLICIT = "same", "channels", "explicit"
FOLDED = "folded"  # the same order, but an axis is a part of the batch on one side, or one of length one is in front
# Torch's recurrent layers and transformers may have the batch as their second axis; with a permutation, which is then
# that of the elements of one sample, all its other axes in their order, that sample is ordered otherwise as well.
_SWAPPED = "batch-second"

# Another order must agree better by this factor than the likeliest one: where a fault made all of them
# disagree, which one disagrees least is noise.
_CLEARLY_BETTER = 2.0
_TOLD_APART = 1e-9  # of the largest number: what numbers of two twins that are no neighbours differ by
_COPIES_IN_PLACE = 4  # one of so many at least stands where it should, of copies that are made in another order
_MOST_AXES = 5  # beyond it not every permutation of axes is tried


@dataclass(frozen=True, eq=False)
class Relation:
    """One order of the same numbers against another; torch's element j of a sample is TensorFlow's element perm[j]."""

    name: str
    perm: Array | None = None
    tf_shape: Shape = ()
    torch_shape: Shape = ()

    @staticmethod
    def explicit(perm: Array, tf_shape: Shape, torch_shape: Shape) -> Relation:
        """Return the relation of one sample's elements; the shapes are those of a sample.

        Raises
            PairingError: `perm` is no permutation, or the shapes hold another number of elements.
        """
        flat = np.asarray(perm, np.int64).reshape(-1)
        seen = np.zeros(flat.size, bool)
        if flat.size and (flat.min() < 0 or flat.max() >= flat.size):
            raise PairingError("an order of elements names one that is not there")
        seen[flat] = True
        if not seen.all() or not flat.size == prod(tf_shape) == prod(torch_shape):
            raise PairingError(
                f"{flat.size} elements in some order are no permutation of {tf_shape} into {torch_shape}"
            )
        return Relation(EXPLICIT, flat, tuple(tf_shape), tuple(torch_shape))

    @staticmethod
    def batch_second(perm: Array, tf_shape: Shape, torch_shape: Shape) -> Relation:
        """Return the relation of one sample's elements where torch's batch is its second axis.

        The shapes are those of a sample, torch's without its batch axis.

        Raises
            PairingError: as `explicit`.
        """
        explicit = Relation.explicit(perm, tf_shape, torch_shape)
        alike = tuple(tf_shape) == tuple(torch_shape) and np.array_equal(np.ravel(perm), np.arange(prod(tf_shape)))
        return Relation(_SWAPPED) if alike else replace(explicit, name=_SWAPPED)

    @property
    def by_sample(self) -> bool:
        """Whether the batch is the first axis on both sides."""
        return self.name not in (_SWAPPED, FOLDED)

    def to_torch(self, array: Array) -> Array:
        """Return TensorFlow's array in torch's order; the values and their type stay."""
        if self.name == CHANNELS:
            return np.ascontiguousarray(np.moveaxis(array, -1, 1))
        if self.name == FOLDED:
            return array.reshape(self.torch_shape)
        if self.perm is not None:
            array = array.reshape(len(array), -1)[:, self.perm].reshape(len(array), *self.torch_shape)
        return np.ascontiguousarray(np.swapaxes(array, 0, 1)) if self.name == _SWAPPED else array

    def to_tensorflow(self, array: Array) -> Array:
        """Return torch's array in TensorFlow's order; the values and their type stay."""
        if self.name == CHANNELS:
            return np.ascontiguousarray(np.moveaxis(array, 1, -1))
        if self.name == FOLDED:
            return array.reshape(self.tf_shape)
        if self.name == _SWAPPED:
            array = np.ascontiguousarray(np.swapaxes(array, 0, 1))
        if self.perm is None:
            return array
        moved = np.empty((len(array), self.perm.size), array.dtype)
        moved[:, self.perm] = array.reshape(len(array), -1)
        return moved.reshape(len(array), *self.tf_shape)

    def fits(self, tf_shape: Shape, torch_shape: Shape) -> bool:
        """Whether tensors of these whole shapes can be so related."""
        if self.name == SAME:
            return tf_shape == torch_shape
        if self.name == FOLDED:
            return (self.tf_shape, self.torch_shape) == (tf_shape, torch_shape)
        if self.name == _SWAPPED:
            if len(torch_shape) < 2 or len(tf_shape) < 2:
                return False
            first = (torch_shape[1], torch_shape[0], *torch_shape[2:])
            if self.perm is None:
                return tf_shape == first
            return tf_shape[0] == first[0] and (tf_shape[1:], first[1:]) == (self.tf_shape, self.torch_shape)
        if not tf_shape or not torch_shape or tf_shape[0] != torch_shape[0]:
            return False
        if self.name == CHANNELS:
            return len(tf_shape) > 2 and (tf_shape[0], tf_shape[-1], *tf_shape[1:-1]) == torch_shape
        return tf_shape[1:] == self.tf_shape and torch_shape[1:] == self.torch_shape

    def elements(self, tf_shape: Shape) -> Array:
        """Return which of a sample's elements of TensorFlow each of torch's is; `tf_shape` is the sample's own."""
        if not self.by_sample:
            raise PairingError("a tensor whose batch is no axis of its own in front has no order within one sample")
        if self.perm is not None:
            return self.perm
        numbers = np.arange(prod(tf_shape)).reshape(1, *tf_shape)
        return self.to_torch(numbers).reshape(-1)


def candidates(tf_shape: Shape, torch_shape: Shape) -> list[Relation]:
    """Return the relations that whole shapes (batch axis included) allow, the likeliest first."""
    tf_shape, torch_shape = tuple(tf_shape), tuple(torch_shape)
    found: list[Relation] = []
    named = (SAME, CHANNELS) if len(tf_shape) < 4 else (CHANNELS, SAME)
    sample = (tf_shape[1:], torch_shape[1:])
    found.extend(Relation(name, None, *sample) for name in named if Relation(name).fits(tf_shape, torch_shape))
    comparable = bool(tf_shape and torch_shape) and tf_shape[0] == torch_shape[0]
    size = prod(tf_shape)
    if comparable and size > 0 and size == prod(torch_shape):
        known = [relation.elements(tf_shape[1:]) for relation in found]
        for perm in _orders(tf_shape[1:], torch_shape[1:]):
            if not any(np.array_equal(perm, other) for other in known):
                known.append(perm)
                found.append(Relation(EXPLICIT, perm, *sample))
    if _folds(tf_shape, torch_shape) or _folds(torch_shape, tf_shape):
        found.append(Relation(FOLDED, None, tf_shape, torch_shape))
    if Relation(_SWAPPED).fits(tf_shape, torch_shape) and prod(tf_shape[:2]) > max(tf_shape[:2]):
        found.append(Relation(_SWAPPED))
    return found


def _folds(long: Shape, short: Shape) -> bool:
    """Return whether one shape is the other with its first two axes as one."""
    return len(long) == len(short) + 1 > 2 and (long[0] * long[1], *long[2:]) == short


def choose(tf_array: Array, torch_array: Array, preferred: Relation | None = None) -> Relation | None:
    """Return the relation under which the values agree best, and `preferred` unless another is clearly better.

    None if the shapes allow no relation at all.
    """
    found = candidates(tf_array.shape, torch_array.shape)
    if preferred is not None and preferred.fits(tf_array.shape, torch_array.shape):
        known = not preferred.by_sample
        found.insert(0, preferred if known else with_shapes(preferred, tf_array.shape[1:], torch_array.shape[1:]))
    if len(found) < 2:
        return found[0] if found else None
    distances = [_distance(relation.to_torch(tf_array), torch_array) for relation in found]
    best = int(np.argmin(distances))
    return found[best] if distances[best] * _CLEARLY_BETTER < distances[0] else found[0]


def by_values(tf_array: Array, torch_array: Array) -> Relation | None:
    """Return the one order of a sample's elements under which both hold the same numbers; None if there is none.

    Elements that are the same in all samples may change places: which is which, the values do not tell.
    """
    mine, theirs = (np.asarray(array, np.float64).reshape(len(array), -1) for array in (tf_array, torch_array))
    scale = float(np.abs(mine).max(initial=0.0))
    if mine.shape != theirs.shape or not scale or not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return None
    keys = [np.rint(array / scale / _TOLD_APART).astype(np.int64) for array in (mine, theirs)]
    first, second = (np.lexsort(key[::-1]) for key in keys)
    perm = np.empty(mine.shape[1], np.int64)
    perm[second] = first
    if not np.allclose(mine[:, perm], theirs, 0.0, _TOLD_APART * scale):
        return None
    return Relation.explicit(perm, tf_array.shape[1:], torch_array.shape[1:])


def through(before: Relation, tf_map: Array, torch_map: Array) -> Relation:
    """Return the relation of two tensors that came out of operations which only move numbers.

    The maps are what one sample of `before`'s tensors, numbered from 0 in its own framework's order, became on either
    side; both have a batch axis of one in front.

    Raises
        PairingError: the two sides do not hold the same numbers.
    """
    mine, other = (np.rint(given).astype(np.int64) for given in (tf_map, torch_map))
    if mine.shape[:1] != (1,) or other.shape[:1] != (1,):
        if before.name == SAME and np.array_equal(mine, other):
            return before  # the batch was folded into another axis, alike on both sides
        raise PairingError(
            f"a sample became {mine.shape} in tensorflow and {other.shape} in torch: no batch axis is left"
        )
    count = int(max(mine.max(initial=-1), other.max(initial=-1))) + 1
    order = _order_before(before, count, other)
    perm = _positions(mine.reshape(-1), order)
    return _simplest(perm, mine.shape[1:], other.shape[1:])


def of_rows(order: Array, tf_shape: Shape, torch_shape: Shape) -> Relation:
    """Return the relation of samples of which every row, along the last axis, has torch's `order`."""
    perm = np.arange(prod(tf_shape)).reshape(-1, order.size)[:, order].reshape(-1)
    return Relation.explicit(perm, tf_shape, torch_shape)


def rows_of(relation: Relation) -> Array | None:
    """Return the order of a vector's elements, or of the last axis if only that is reordered; None if none is.

    Raises
        PairingError: elements change places between rows, which no order of one axis can say.
    """
    if relation.perm is None or np.array_equal(relation.perm, np.arange(relation.perm.size)):
        return None
    if relation.tf_shape[-1:] != relation.torch_shape[-1:]:
        raise PairingError(f"{relation.tf_shape} and {relation.torch_shape} differ in more than the order of one axis")
    width = relation.tf_shape[-1]
    rows = relation.perm[:width]
    starts = np.arange(0, relation.perm.size, width)[:, None]
    if np.array_equal(relation.perm.reshape(-1, width), starts + rows):
        return rows
    if np.array_equal(
        relation.perm.reshape(-1, width) % width, np.broadcast_to(np.arange(width), (starts.size, width))
    ):
        return None  # whole rows change places; within each the order is the same
    raise PairingError(f"elements of {relation.tf_shape} change places across its last axis")


def channels_of(relation: Relation) -> Array | None:
    """Return the order of torch's channels, its second axis, against TensorFlow's last; None if other axes move."""
    if relation.perm is None or not relation.by_sample or relation.torch_shape[1:] != relation.tf_shape[:-1]:
        return None
    count = relation.tf_shape[-1]
    places = relation.perm.reshape(relation.torch_shape[0], -1)
    order = places[:, 0] % count
    wanted = np.arange(places.shape[1]) * count + order[:, None]
    return order if len(order) == count and np.array_equal(places, wanted) else None


def _orders(tf_shape: Shape, torch_shape: Shape) -> Iterator[Array]:
    """Yield the orders that make one shape of a sample out of the other: swapped axes, flattened ones."""
    numbers = np.arange(prod(tf_shape))
    whole = numbers.reshape(tf_shape)
    if len(tf_shape) == len(torch_shape):
        for axes in permutations(range(len(tf_shape))) if len(tf_shape) <= _MOST_AXES else ():
            if tuple(tf_shape[axis] for axis in axes) == torch_shape:
                yield whole.transpose(axes).reshape(-1)
        return
    short, long = sorted((tf_shape, torch_shape), key=len)
    if len(short) > 1 and long[: len(short) - 1] == short[:-1]:  # one side has the last axis apart, as for pairs of it
        yield numbers
    if len(short) == 3 and long[:2] == short[1::-1]:  # so of heads that come first on one side
        yield whole.swapaxes(0, 1).reshape(-1)
    yield from _heads(whole, tf_shape, torch_shape)
    if len(tf_shape) > len(torch_shape):  # what torch flattened had its channels first
        yield np.moveaxis(whole, -1, 0).reshape(-1)
    if len(torch_shape) > len(tf_shape) and len(torch_shape) > 1:  # what TensorFlow flattened had them last
        perm = np.empty_like(numbers)
        perm[np.moveaxis(numbers.reshape(torch_shape), 0, -1).reshape(-1)] = numbers
        yield perm
    yield numbers
    if len(tf_shape) > 1:
        yield np.moveaxis(whole, -1, 0).reshape(-1)


def _heads(whole: Array, tf_shape: Shape, torch_shape: Shape) -> Iterator[Array]:
    """Yield the order of heads, (heads, places, size) on one side and in a row for each place on the other."""
    for shape, joined in ((torch_shape, tf_shape), (tf_shape, torch_shape)):
        if len(shape) == 3 and (shape[1], shape[0] * shape[2]) == joined:
            apart = shape if shape is tf_shape else (shape[1], shape[0], shape[2])
            yield whole.reshape(apart).swapaxes(0, 1).reshape(-1)


def _distance(expected: Array, got: Array) -> float:
    """Return the mean difference against the mean size; NaN and infinity on both sides are equal."""
    kind = np.complex128 if np.iscomplexobj(expected) or np.iscomplexobj(got) else np.float64
    a, b = expected.astype(kind), got.astype(kind)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        scale = float(np.mean(np.nan_to_num(np.abs(a), posinf=0.0))) or 1.0
        # A NaN of one side counts as much as two numbers that have nothing to do with each other.
        return float(np.mean(np.nan_to_num(apart, nan=2 * scale, posinf=2 * scale))) / scale


def _order_before(before: Relation, count: int, other: Array) -> Array:
    """Return which of TensorFlow's elements each of torch's was, for the elements that `other` holds."""
    if before.perm is not None and before.by_sample:
        return before.perm[other.reshape(-1)]
    if before.name == SAME:
        return other.reshape(-1)
    if before.tf_shape and before.name == CHANNELS:
        return before.elements(before.tf_shape)[other.reshape(-1)]
    raise PairingError(f"the order `{before.name}` of {count} elements needs their shape; use `with_shapes`")


def with_shapes(relation: Relation, tf_shape: Shape, torch_shape: Shape) -> Relation:
    """Return the same relation, knowing the shapes of a sample; `through` needs them for `channels`."""
    return Relation(relation.name, relation.perm, tuple(tf_shape), tuple(torch_shape))


def repeated_axes(before: Relation, maps: tuple[Array, Array]) -> Array | None:
    """Return the order of a sample's numbers behind calls that repeat some of them along an axis; None if it has none.

    The maps are as those of `through`, without a batch axis. Axes may change places, and neighbours become one. Where
    torch makes its copies in another order, which is a fault, it is the order that leaves most in place.
    """
    mine, other = (np.rint(given).astype(np.int64) for given in maps)
    known = before.elements(before.tf_shape)
    if mine.size != other.size or mine.ndim > _MOST_AXES or other.max(initial=0) >= known.size:
        return None
    axes = [axis for axis, size in enumerate(mine.shape) if size > 1]
    single = [axis for axis, size in enumerate(mine.shape) if size == 1]
    numbers, wanted = np.arange(mine.size).reshape(mine.shape), known[other].reshape(-1)
    fitting = [
        numbers.transpose([*single, *order]).reshape(-1)
        for order in permutations(axes)
        if _merged_in_order([mine.shape[axis] for axis in order], order, other.shape)
    ]
    in_place = [int((mine.reshape(-1)[found] == wanted).sum()) for found in fitting]
    best = max(in_place, default=0)
    return fitting[in_place.index(best)] if best * _COPIES_IN_PLACE >= mine.size else None


def _merged_in_order(sizes: Sequence[int], order: Sequence[int], shape: Shape) -> bool:
    """Return whether neighbouring axes can be taken together as a shape has them, each run of them in its old order."""
    left = list(zip(sizes, order, strict=True))
    for size in shape:
        taken, last = 1, -1
        while taken < size and left:
            own, axis = left.pop(0)
            if axis < last:
                return False
            taken, last = taken * own, axis
        if taken != size:
            return False
    return not left


def _positions(mine: Array, order: Array) -> Array:
    """Return where in `mine` each number of `order` stands; the k-th of equal numbers meets the k-th."""
    here, there = np.argsort(mine, kind="stable"), np.argsort(order, kind="stable")
    if mine.size != order.size or not np.array_equal(mine[here], order[there]):
        raise PairingError("operations that only move numbers left other numbers in tensorflow than in torch")
    perm = np.empty(order.size, np.int64)
    perm[there] = here
    return perm


def _simplest(perm: Array, tf_shape: Shape, torch_shape: Shape) -> Relation:
    for name in (SAME, CHANNELS):
        relation = Relation(name, None, tf_shape, torch_shape)
        if relation.fits((1, *tf_shape), (1, *torch_shape)) and np.array_equal(relation.elements(tf_shape), perm):
            return relation
    return Relation(EXPLICIT, perm, tf_shape, torch_shape)
