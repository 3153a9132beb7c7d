"""A tensor with its axes in another order than an ONNX graph says, so that a transposition moves no numbers.

ONNX has channels first, and TensorFlow last: what a graph transposes, and what a convolution needs, is mostly the order
that the numbers already have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from parity.adapters.onnx_graph import Array

Order = tuple[int | None, ...]


@dataclass(frozen=True)
class Laid:
    """`order` holds, for every axis of the graph, the axis of the tensor; None for one of size 1 that it lacks."""

    tensor: Any
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that the graph knows."""
        return tuple(1 if axis is None else int(self.tensor.shape[axis]) for axis in self.order)

    @property
    def rank(self) -> int:
        """Return the number of axes that the graph knows."""
        return len(self.order)

    def like(self, tensor: Any) -> Laid:
        """Return another tensor in the same order."""
        return Laid(tensor, self.order)

    def plain(self) -> Any:
        """Return the tensor as the graph has it."""
        if self.order == tuple(range(self.rank)):
            return self.tensor
        moved = [axis for axis in self.order if axis is not None and self.tensor.shape[axis] != 1]
        if moved == sorted(moved):
            return tf.reshape(self.tensor, self.shape)
        turned = tf.transpose(self.tensor, [axis for axis in self.order if axis is not None])
        return tf.reshape(turned, self.shape) if None in self.order else turned

    def settled(self) -> Laid:
        """Return the same with the graph's axes in its tensor."""
        return plainly(self.plain())

    def permuted(self, order: Sequence[int]) -> Laid:
        """Return the axes in another order; nothing is moved."""
        return Laid(self.tensor, tuple(self.order[axis] for axis in order))

    def unsqueezed(self, axes: Sequence[int]) -> Laid:
        """Return it with axes of size 1, which the tensor needs not have."""
        order: list[int | None] = list(self.order)
        for axis in sorted(one % (self.rank + len(axes)) for one in axes):
            order.insert(axis, None)
        return Laid(self.tensor, tuple(order))

    def without(self, axes: Sequence[int], tensor: Any = None) -> Laid:
        """Return it without these axes of size 1; `tensor` lacks them already."""
        gone = {one % self.rank for one in axes}
        held = sorted(axis for one in gone if (axis := self.order[one]) is not None)
        if tensor is None:
            tensor = tf.squeeze(self.tensor, held) if held else self.tensor
        left = [axis for place, axis in enumerate(self.order) if place not in gone]
        return Laid(tensor, tuple(None if a is None else a - sum(one < a for one in held) for a in left))

    def axes(self, axes: Sequence[int]) -> list[int]:
        """Return the tensor's axes of the graph's; those of size 1 that it lacks are left out."""
        found = [self.order[axis % self.rank] for axis in axes]
        return [axis for axis in found if axis is not None]

    def in_order(self, order: Order) -> Laid:
        """Return it with the tensor's axes in another order; where that has none, its axis must have size 1."""
        if self.order == order:
            return self
        places = {axis: place for place, axis in enumerate(order) if axis is not None}
        wanted = [places[axis] for axis in range(len(places))]  # the graph's axes, as the tensor is to have them
        here = [axis for place in wanted if (axis := self.order[place]) is not None]
        rest = [axis for axis in range(len(self.tensor.shape)) if axis not in here]
        tensor = self.tensor
        if [*here, *rest] != sorted([*here, *rest]):
            tensor = tf.transpose(tensor, [*here, *rest])
        shape = [self.shape[place] for place in wanted]
        return Laid(tensor if list(tensor.shape) == shape else tf.reshape(tensor, shape), order)

    def channels_last(self) -> Laid:
        """Return it with the batch first, the channels last, and between them the spatial axes that have a size."""
        x = self if self.order[0] is not None and self.order[1] is not None else self.settled()
        places = [0, *(place for place in range(2, x.rank) if x.order[place] is not None), 1]
        return x.in_order(tuple(places.index(p) if p in places else None for p in range(x.rank)))


def plainly(tensor: Any) -> Laid:
    """Return a tensor in the graph's own order."""
    return Laid(tensor, tuple(range(len(tensor.shape))))


def array_in_order(array: Array, order: Order) -> Array | None:
    """Return a constant operand as the tensor beside it has its axes; None where it is larger than that."""
    if order == tuple(range(len(order))):
        return array
    full = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    lacking = [place for place, axis in enumerate(order) if axis is None]
    if any(full.shape[place] != 1 for place in lacking) or full.ndim != len(order):
        return None
    places = {axis: place for place, axis in enumerate(order) if axis is not None}
    turned = full.transpose([*lacking, *(places[axis] for axis in range(len(places)))])
    shape = list(turned.shape[len(lacking) :])
    while len(shape) > 0 and shape[0] == 1:
        del shape[0]
    return np.ascontiguousarray(turned.reshape(shape))


def aligned(values: Sequence[Laid]) -> list[Laid]:
    """Return tensors that are combined number by number in one order, that of the one with most axes."""
    rank = max(value.rank for value in values)
    full = [Laid(v.tensor, (*(None,) * (rank - v.rank), *v.order)) for v in values]
    first = max(full, key=lambda v: sum(axis is not None for axis in v.order))
    shape = np.broadcast_shapes(*(value.shape for value in full))
    if any(axis is None and size != 1 for axis, size in zip(first.order, shape, strict=True)):
        return [plainly(value.plain()) for value in full]
    return [value.in_order(first.order) for value in full]
