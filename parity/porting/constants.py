"""Numbers that stand in a model's code, and that torch keeps in a buffer, as float32 made them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from parity.model.constants import meant
from parity.model.trace import MOVES, Op, used_weights
from parity.porting.cuts import ARITHMETIC
from parity.porting.options import Array
from parity.porting.sides import TORCH, TWIN_TORCH, Models

ROLES = frozenset({"other", "weight", "scale", "offset"})  # of a buffer that stands for numbers in the code
LINEAR = frozenset({"dense", "conv"})  # that may read a table
SMALL = 4096  # numbers that a person may have written, or a few lines made
# How far two float32 evaluations of one table of constants may be apart: sines of positions up to some hundred.
TABLE = 2.0**-17


def of_code(models: Models, segment: Sequence[Op]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the small buffers that a segment of torch's reads as operands or kernels: as held, and as once written.

    What float32 holds exactly is left out.
    """
    weights = models[TORCH].weights
    names = {
        name for _, role, name in used_weights(segment)
        if role in ROLES and not weights[name].trainable and prod(weights[name].shape) <= SMALL
    }  # fmt: skip
    if not names:
        return {}, {}
    held = {name: array for name, array in models.weights(TWIN_TORCH).items() if name in names}
    meant = {name: written(array) for name, array in held.items()}
    changed = {name for name, array in meant.items() if not np.array_equal(array, held[name])}
    return {name: held[name] for name in changed}, {name: meant[name] for name in changed}


def written(array: Array) -> Array:
    """Return what float32 made these numbers of, in float64: roots and fractions, or the shortest decimal numbers."""
    single = array.astype(np.float32)
    if not np.array_equal(single.astype(array.dtype), array):
        return array
    return np.array([meant(float(number)) for number in single.reshape(-1)]).reshape(array.shape)


def adds_a_layer(feeds: Iterable[int], ops: Sequence[Op]) -> bool:
    """Return whether a segment is a linear layer of constants, and arithmetic that adds it to what is fed."""
    fed = set(feeds)
    made: list[Op] = []
    for op in ops:
        if not fed.intersection(op.inputs):
            made.append(op)
            continue
        fed.update(op.outputs)
        if op.effect != MOVES and (op.kind not in ARITHMETIC or op.weights):
            return False
    known = all(op.effect == MOVES or op.kind in LINEAR | ARITHMETIC | {"op:weight"} for op in made)
    return known and any(op.kind in LINEAR for op in made)
