"""Weights for each element of an image whose sizes are one number, such as slopes of shape (8, 8, 8).

Everywhere else the shapes say that torch has the channels first; here only what is read beside the weight does.
"""

from __future__ import annotations

import numpy as np

from parity.model.layout import Array
from parity.model.trace import MADE, MOVES, OPERATORS, Op, Trace
from parity.pairing.carry import Carry
from parity.pairing.references import Shape

_AXES = 3  # of one image
_READERS = OPERATORS | {"maximum", "minimum", "prelu", "layer_norm"}
_STEPS = 30  # that are looked back over; images are made nearby
_ALIKE = frozenset({"dropout", "identity", "cast"})
_IMAGES = frozenset({"conv", "conv_transpose", "depthwise_conv", "batch_norm", "max_pool", "avg_pool", "resize"})


def of_image(op: Op, trace: Trace, shapes: tuple[Shape, Shape]) -> bool:
    """Return whether torch reads a weight of as many rows as columns and channels beside images, channels first."""
    long = [size for size in shapes[1] if size > 1]
    cube = len(long) == _AXES and len(set(long)) == 1 and [size for size in shapes[0] if size > 1] == long
    beside = [tensor for tensor in op.inputs if len(trace.shapes.get(tensor, ())) == _AXES + 1]
    turned = any(said.startswith("permute") for said in op.config.get(MADE, ()))
    return cube and not turned and op.kind in _READERS and any(_is_image(one, trace) for one in beside[:1])


def _is_image(tensor: int, trace: Trace) -> bool:
    producers = trace.producers()
    for _ in range(_STEPS):
        op = producers.get(tensor)
        if op is None:
            return tensor in trace.inputs
        if op.kind in _IMAGES:
            return True
        if (op.effect == MOVES and op.kind not in _ALIKE) or not op.inputs:
            return False
        tensor = op.inputs[0]
    return False


def channels_first(mine: Shape, theirs: Shape) -> tuple[Carry, Carry]:
    """Return the way of an image's weights, channels last, to torch's order; axes of one may stand anywhere."""
    long = [size for size in mine if size > 1]

    def forth(array: Array) -> Array:
        return np.moveaxis(array.reshape(long), -1, 0).reshape(theirs)

    return forth, lambda array: np.moveaxis(array.reshape(long[-1:] + long[:-1]), 0, -1).reshape(mine)
