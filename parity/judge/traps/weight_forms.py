"""Is one array another one in disguise: transposed, flipped, reordered or scaled? Plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from parity.judge.traps.kinds import matching_order
from parity.model.layout import Array

RELATIVE = 1e-6  # of the largest number: weights travel through float32


def equal(first: Array | None, second: Array | None) -> bool:
    """Return whether two arrays of one shape hold the same numbers, to a float32's rounding."""
    if first is None or second is None or first.shape != second.shape:
        return False
    scale = float(np.abs(second).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        return bool(np.abs(first - second).max(initial=0.0) <= RELATIVE * scale)


def constant(array: Array) -> bool:
    """Return whether all numbers are equal; nothing can be told from such an array."""
    return array.size < 2 or bool((array == array.flat[0]).all())


def swapped(held: Array, right: Array, axes: Sequence[int]) -> bool:
    """Return whether `held` is `right` with some of the given axes exchanged."""
    fixed = [axis for axis in range(right.ndim) if axis not in axes]
    others = (order for order in permutations(axes) if order != tuple(axes))
    return any(equal(held, right.transpose([*fixed, *order])) for order in others)


def relaid(held: Array, right: Array, original: Array | None) -> str | None:
    """Return in which wrong layout `held` is `right` or TensorFlow's own array; None if in none."""
    for order in permutations(range(right.ndim)):
        if order != tuple(range(right.ndim)) and equal(held, right.transpose(order)):
            return f"transposed by {order}"
    for source, word in ((original, "TensorFlow's array"), (right, "it")):
        if source is None or source.size != held.size:
            continue
        for order in permutations(range(source.ndim)):
            if equal(held, source.transpose(order).reshape(held.shape)):
                return f"{word} reshaped" + ("" if order == tuple(range(source.ndim)) else f" after transpose{order}")
    return None


def multiplier_major(held: Array, kernel: Array) -> bool:
    """Return whether `held` is a depthwise kernel (k.., C, M) with its outputs ordered m*C + c."""
    moved = np.moveaxis(kernel, (-1, -2), (0, 1))
    return kernel.shape[-1] > 1 and equal(held, moved.reshape(-1, 1, *kernel.shape[:-2]))


def order_to_torch(ndim: int, depthwise: bool = False) -> str:
    """Return the transposition (k.., in, out) to (out, in, k..), or (k.., C, M) to (C, M, k..)."""
    ends = (ndim - 2, ndim - 1) if depthwise else (ndim - 1, ndim - 2)
    return ", ".join(str(axis) for axis in (*ends, *range(ndim - 2)))


def order_along(held: Array, right: Array, axis: int) -> list[int] | None:
    """Return which slice of `held` is each of `right` along an axis; None where it is no reordering."""
    if held.shape != right.shape or held.ndim <= axis:
        return None
    first, second = np.moveaxis(held, axis, 0), np.moveaxis(right, axis, 0)
    if len(np.unique(second.reshape(len(second), -1), axis=0)) < len(second):
        return None
    return matching_order(first, second, RELATIVE)


def is_flatten_order(order: Sequence[int]) -> bool:
    """Return whether a reordering is that between (.., C) and (C, ..) for some C."""
    count = len(order)
    for size in range(2, count):
        if count % size == 0 and list(order) == np.arange(count).reshape(size, -1).T.reshape(-1).tolist():
            return True
    return False


def block_order(held: Array, right: Array, count: int, axis: int) -> tuple[int, ...] | None:
    """Return which block of `right` each block of `held` is, of `count` equal ones; None if in place or none."""
    if held.shape != right.shape or held.shape[axis] % count:
        return None
    blocks = np.split(right, count, axis)
    for order in permutations(range(count)):
        if order != tuple(range(count)) and equal(held, np.concatenate([blocks[i] for i in order], axis)):
            return order
    return None


def transposed_blocks(held: Array, right: Array, count: int) -> list[int]:
    """Return which of `count` square blocks, one below the other, are `right`'s transposed, if the others are equal."""
    if held.shape != right.shape or held.ndim != 2 or held.shape[0] != count * held.shape[1]:
        return []
    pairs = list(zip(np.split(held, count), np.split(right, count), strict=True))
    turned = [index for index, (mine, theirs) in enumerate(pairs) if not equal(mine, theirs)]
    return turned if all(equal(pairs[index][0], pairs[index][1].T) for index in turned) else []


def interleaved(held: Array, right: Array, heads: int, axis: int) -> bool:
    """Return whether `held` has its heads as the fast axis instead of the slow one, or the reverse."""
    moved = np.moveaxis(right, axis, 0)
    if held.shape != right.shape or len(moved) % heads:
        return False
    rest = moved.shape[1:]
    for size in (heads, len(moved) // heads):
        other = moved.reshape(size, -1, *rest).swapaxes(0, 1).reshape(moved.shape)
        if equal(held, np.moveaxis(other, 0, axis)):
            return True
    return False


def factor(held: Array, right: Array) -> float | None:
    """Return the number that `held` is times `right`; None where there is none."""
    square = float((right * right).sum())
    if square == 0.0 or held.shape != right.shape:
        return None
    value = float((held * right).sum()) / square
    return value if value != 0.0 and equal(held, value * right) else None


def factor_per_row(held: Array, right: Array) -> bool:
    """Return whether each row of `held` is a number times that row of `right`."""
    if held.shape != right.shape or held.ndim < 2 or held[0].size < 2:
        return False
    a, b = held.reshape(len(held), -1), right.reshape(len(right), -1)
    square = (b * b).sum(1, keepdims=True)
    if not square.all():
        return False
    return equal(a, (a * b).sum(1, keepdims=True) / square * b)
