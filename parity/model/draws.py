"""The numbers that both models get where each of them draws at random as it runs, and the gradients that both are sent.

Two generators never draw the same, and a sample that a variational encoder takes, or a branch that is dropped at
random, makes a right port another function. Uniform numbers are all in the middle, so that masks keep what more than
half of all draws would keep, however they are written; normal ones are the same numbers on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTE = "random numbers are drawn while"  # how an adapter's note on such a model begins
MIDDLE = 0.5
IMAGE_RANK = 4


def uniform(shape: Sequence[int]) -> NDArray[Any]:
    """Return numbers for a draw between 0 and 1."""
    return np.full(tuple(shape), MIDDLE, np.float32)


def normal(shape: Sequence[int], number: int, channels_first: bool) -> NDArray[Any]:
    """Return numbers for the draw of that number from a standard normal distribution, in a framework's own order."""
    moved = channels_first and len(shape) >= IMAGE_RANK
    own = (shape[0], *shape[2:], shape[1]) if moved else tuple(shape)
    found = np.random.default_rng(number).normal(size=own).astype(np.float32)
    return np.moveaxis(found, -1, 1) if moved else found


def kept(shape: Sequence[int], rate: float, channels_first: bool, whole_channels: bool = False) -> NDArray[Any]:
    """Return which numbers a dropout that works in evaluation keeps, the same for both frameworks; bool.

    Of 4-D and larger arrays, and where whole channels are dropped, the same places of the same channel are kept in
    either order of axes.
    """
    moved = channels_first and (whole_channels or len(shape) >= IMAGE_RANK)
    own = (shape[0], *shape[2:], shape[1]) if moved else tuple(shape)
    drawn = (own[0], *(1 for _ in own[1:-1]), own[-1]) if whole_channels else own
    found = np.broadcast_to(np.random.default_rng(0).random(drawn) >= rate, own)
    return np.moveaxis(found, -1, 1) if moved else found


def upstream(shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a gradient with respect to a result of this shape, none of it zero and of either sign; float32."""
    return np.asarray(rng.uniform(0.3, 1.5, shape) * rng.choice([-1.0, 1.0], shape), dtype=np.float32)
