"""Layers of plain vectors whose units stand in another order in torch, since they become images or meet flattened ones.

A generator makes (h, w, c) out of a Dense layer in TensorFlow and (c, h, w) in torch, so the columns of the kernel are
carried in another order, as its rows are behind a Flatten; so is what acts on each unit until then. The same holds for
a Dense layer whose units are added to a flattened image, or are its gates: each belongs to one of its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from parity.errors import PairingError, ParityError
from parity.model.trace import ELEMENTWISE, MOVES, Op, Trace
from parity.pairing.match import Matching, OpPair
from parity.pairing.relations import Relation, rows_of
from parity.porting.options import Array
from parity.porting.orders import KEEPING, SPATIAL, Orders, Reshaped
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal

# What acts on every unit by itself while these are still a vector.
_BY_UNIT = frozenset({"batch_norm", "prelu"})
_JOINING = frozenset({"concat", "add", "multiply", "subtract", "maximum", "average"})  # an image with another one
_IMAGE_RANK = 4
_OF_ROWS = (2, 3)  # axes of a vector for each sample, and for each step or token of one
_ON_IMAGES = SPATIAL | {"resize", "zero_pad", "batch_norm", "group_norm", "instance_norm"}


@dataclass(frozen=True)
class Way:
    """What leads from a layer's result to the first operation on an image, and all tensors on it that are vectors."""

    ops: tuple[Op, ...]
    end: int
    vectors: frozenset[int]


@dataclass(frozen=True)
class Reach:
    """The vectors that hold a layer's units in their order, and those that are joined with one of them unit by unit."""

    vectors: frozenset[int]
    joined: tuple[int, ...]


def find(models: Models, matching: Matching, orders: Orders) -> list[Reshaped]:
    """Return the paired Dense layers whose units stand in another order in torch; `orders` knows of them from then."""
    ops = ({op.index: op for op in models[TENSORFLOW].ops}, {op.index: op for op in models[TORCH].ops})
    paired = [(pair, ops[0][pair.tensorflow], ops[1][pair.torch]) for pair in matching.pairs]
    left = [(pair, mine, theirs) for pair, mine, theirs in paired if mine.kind == theirs.kind in ("dense", "attention")]
    found = [one for pair, *both in left if (one := _of_image(models, orders, pair, *both)) is not None]
    readers = models[TENSORFLOW].consumers(), models[TORCH].consumers()
    while True:  # a layer's units may be told by those of another one
        orders.keep(found)
        known = {one.pair for one in found}
        more = [
            one
            for pair, *both in left
            if pair not in known and (one := _of_joined(models, orders, pair, both, readers)) is not None
        ]
        if not more:
            return found
        found += more


def _of_image(models: Models, orders: Orders, pair: OpPair, mine: Op, theirs: Op) -> Reshaped | None:
    ways = _way(mine, models[TENSORFLOW]), _way(theirs, models[TORCH])
    if ways[0] is None or ways[1] is None:
        return None
    order = _order(orders, (mine.outputs[0], theirs.outputs[0]), (ways[0], ways[1]))
    return None if order is None else Reshaped(pair, order, ways[0].vectors, ways[1].vectors)


def _of_joined(
    models: Models, orders: Orders, pair: OpPair, both: Sequence[Op], readers: Sequence[Mapping[int, Sequence[Op]]]
) -> Reshaped | None:
    """Return the order of units that are joined, one by one, with a vector whose own order the graphs tell."""
    first, second = (
        _reach(op, models[side], reading) for op, side, reading in zip(both, (TENSORFLOW, TORCH), readers, strict=True)
    )
    for mine, theirs in product(first.joined, second.joined):
        if not orders.sure(mine, theirs):
            continue
        relation = orders.of(mine, theirs)
        try:
            order = rows_of(relation) if relation is not None and relation.by_sample else None
        except PairingError:
            continue
        if order is not None:
            return Reshaped(pair, order, first.vectors, second.vectors)
    return None


def _reach(op: Op, trace: Trace, readers: Mapping[int, Sequence[Op]]) -> Reach:
    open_, joined = [op.outputs[0]], list[int]()
    shape = trace.shapes.get(op.outputs[0], ())
    for tensor in open_ if len(shape) in _OF_ROWS else ():
        for reader in readers.get(tensor, ()):
            made = reader.outputs[0]
            keeps = reader.kind in KEEPING or reader.effect in (MOVES, ELEMENTWISE)
            if not keeps or trace.shapes.get(made) != shape:
                continue
            others = [other for other in reader.inputs if other != tensor and trace.shapes.get(other) == shape]
            joined += others
            if not others and len(reader.inputs) == 1 and made not in open_:
                open_.append(made)
    return Reach(frozenset(open_), tuple(joined))


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
