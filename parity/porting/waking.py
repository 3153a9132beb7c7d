"""Activations that are zero throughout hide what is done with their result: the layer before such a one is changed.

A ReLU behind four units is dead for every sample in one draw of weights out of sixteen, and a sum that a port forgot
behind it changes nothing then. Weights that nobody chose are as good with their signs turned; who wants his own
compared as they are says so, with `--weights as-is`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.model.trace import Op, Trace, weight_names
from parity.pairing.copying import WeightPlan
from parity.porting.elsewhere import BENDING
from parity.porting.options import AS_IS, TENSORFLOW_TO_TORCH, Array
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models

Prints = Mapping[str, Mapping[int, list[float]]]  # figures of the twins' tensors, by side

MAGNITUDES = 2  # where the figures of a tensor hold the sum of its magnitudes
TURNED = ("kernel", "gamma", "bias", "beta")  # what makes -y of a layer's y, all of them together
TRIES = 3  # turned, then mixed: a layer that is called twice may be dead for one call whichever way its signs are


@dataclass(frozen=True)
class Given:
    """The weights that a check gives both float32 sides, what is to be told of them, and what the twins compute."""

    weights: Mapping[str, Mapping[str, Array]]
    notes: tuple[str, ...]
    prints: Prints


def wake(models: Models, plan: WeightPlan, give: Callable[[Mapping[str, Array]], Given]) -> Given:
    """Return what `give` gave, or gave with other weights of the side they come from where activations were dead."""
    given = give({})
    if models.options.weights == AS_IS or not models.options.fresh:
        return given
    dead, kept = _dead(models, given.prints), dict[str, Array]()
    for number in range(TRIES):
        changes = _changes(models, plan, given, number) if dead else {}
        if not changes:
            break
        again = give(kept | changes)
        left = _dead(models, again.prints)
        if len(left) < len(dead):
            given, dead, kept = again, left, kept | changes
        else:
            give(kept)  # what helped nothing is taken back
    return given


def note(names: Sequence[str]) -> str:
    """Return what is told of weights that were changed."""
    listed = ", ".join(f"`{name}`" for name in names)
    return (
        f"behind {listed} an activation gave nothing but zeros, which hide faults: other numbers stood there for the"
        " check"
    )


def _dead(models: Models, prints: Prints) -> set[tuple[str, int]]:
    return {(side, op.index) for side, op in _dormant(models, prints)}


def _dormant(models: Models, prints: Prints) -> Iterator[tuple[str, Op]]:
    """Yield each activation, and its side, that makes nothing but zeros of numbers."""
    for side, twin in ((TENSORFLOW, TWIN_TENSORFLOW), (TORCH, TWIN_TORCH)):
        known = prints[twin]
        for op in models[side].ops:
            ends = (*op.inputs[:1], *op.outputs[:1])
            if op.kind not in BENDING or not ends or not all(tensor in known for tensor in ends):
                continue
            read, made = known[ends[0]][MAGNITUDES], known[ends[-1]][MAGNITUDES]
            if read and not made:
                yield side, op


def _changes(models: Models, plan: WeightPlan, given: Given, number: int) -> dict[str, Array]:
    """Return other numbers for the weights before each such activation, under the names of the side they come from."""
    to_torch = models.options.weights == TENSORFLOW_TO_TORCH
    source, back = (TENSORFLOW, plan.to_tensorflow) if to_torch else (TORCH, plan.to_torch)
    found: dict[str, Array] = {}
    for side, op in _dormant(models, given.prints):
        held = given.weights[side]
        changed = {name: _other(held[name], number) for name in _before(models[side], op) if name in held}
        found |= changed if side == source else back(changed)
    return found


def _before(trace: Trace, op: Op) -> list[str]:
    """Return the weights that the nearest operation before this one multiplies by, and adds."""
    makers = trace.producers()
    at = makers.get(op.inputs[0])
    while at is not None and not at.weights and at.inputs:
        at = makers.get(at.inputs[0])
    references = [at.weights[role] for role in TURNED if role in at.weights] if at is not None else []
    return [name for reference in references for name in weight_names(reference)]


def _other(array: Array, number: int) -> Array:
    """Return an array with its signs turned, or, where that did not help, its numbers in other places."""
    if number == 0:
        return -array
    return np.random.default_rng(number).permutation(array.reshape(-1)).reshape(array.shape)
