"""Layers of plain vectors whose results become images: in which order torch's units stand to TensorFlow's.

A generator makes (h, w, c) out of a Dense layer in TensorFlow and (c, h, w) in torch, so the columns of the kernel are
carried in another order, as its rows are behind a Flatten; so is what acts on each unit until then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.errors import PairingError, ParityError
from parity.model.trace import ELEMENTWISE, MOVES, Op, Trace
from parity.pairing.match import Matching
from parity.pairing.relations import Relation
from parity.porting.options import Array
from parity.porting.orders import SPATIAL, Orders, Reshaped
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal

# What acts on every unit by itself while these are still a vector.
_BY_UNIT = frozenset({"batch_norm", "prelu"})
_JOINING = frozenset({"concat", "add", "multiply", "subtract", "maximum", "average"})  # an image with another one
_IMAGE_RANK = 4
_ON_IMAGES = SPATIAL | {"resize", "zero_pad", "batch_norm", "group_norm", "instance_norm"}


@dataclass(frozen=True)
class Way:
    """What leads from a layer's result to the first operation on an image, and all tensors on it that are vectors."""

    ops: tuple[Op, ...]
    end: int
    vectors: frozenset[int]


def find(models: Models, matching: Matching, orders: Orders) -> list[Reshaped]:
    """Return the paired Dense layers whose results become images in another order of units."""
    ops = ({op.index: op for op in models[TENSORFLOW].ops}, {op.index: op for op in models[TORCH].ops})
    found = []
    for pair in matching.pairs:
        mine, theirs = ops[0][pair.tensorflow], ops[1][pair.torch]
        if mine.kind != "dense" or theirs.kind != "dense":
            continue
        ways = _way(mine, models[TENSORFLOW]), _way(theirs, models[TORCH])
        if ways[0] is None or ways[1] is None:
            continue
        order = _order(orders, (mine.outputs[0], theirs.outputs[0]), (ways[0], ways[1]))
        if order is not None:
            found.append(Reshaped(pair, order, ways[0].vectors, ways[1].vectors))
    return found


def _way(op: Op, trace: Trace) -> Way | None:
    """Return the only way from a layer's vector to an operation on images; None where it forks or ends."""
    readers = trace.consumers()
    tensor, ops, vectors = op.outputs[0], list[Op](), {op.outputs[0]}
    if not _is_vector(trace.shapes.get(tensor, ())):
        return None
    while tensor not in trace.outputs and len(readers.get(tensor, ())) == 1:
        reader = readers[tensor][0]
        rank = len(trace.shapes.get(tensor, ()))
        if rank > 2 and (reader.kind in _ON_IMAGES or (rank == _IMAGE_RANK and reader.kind in _JOINING)):
            return Way(tuple(ops), tensor, frozenset(vectors))
        by_unit = reader.kind in _BY_UNIT and _is_vector(trace.shapes.get(tensor, ()))
        if not (by_unit or reader.effect in (MOVES, ELEMENTWISE)) or len(reader.inputs) != 1:
            return None
        ops.append(reader)
        tensor = reader.outputs[0]
        if _is_vector(trace.shapes.get(tensor, ())):
            vectors.add(tensor)
    return None


def _is_vector(shape: tuple[int, ...]) -> bool:
    """Return whether all of a sample lies along the last axis; an embedded label has an axis of one before it."""
    return len(shape) > 1 and all(size == 1 for size in shape[1:-1])


def _order(orders: Orders, starts: tuple[int, int], ways: tuple[Way, Way]) -> Array | None:
    """Return torch's order of units, by what both sides make of numbered ones; None if both have the same."""
    try:
        mine = orders.moved(starts[0], ways[0].ops, TWIN_TENSORFLOW)
        theirs = orders.moved(starts[1], ways[1].ops, TWIN_TORCH)
    except (ParityError, PairingError) as error:
        if isinstance(error, ParityError) and is_fatal(error):
            raise
        return None
    images = Relation("channels", None, mine.shape, theirs.shape)
    if mine.size != theirs.size or not images.fits((1, *mine.shape), (1, *theirs.shape)):
        return None
    order = np.empty(mine.size, np.int64)
    order[theirs.reshape(-1)] = mine.reshape(-1)[images.elements(mine.shape)]
    return None if np.array_equal(order, np.arange(order.size)) else order
