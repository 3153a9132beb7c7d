"""Where branches meet: the order of what is merged, and branches that are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from parity.judge.traps.remedy import Remedy, change, replace
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

IDS = ("operand-order",)
ORDERED = ("concat", "stack", "subtract", "divide", "matmul")
FEW = 4  # inputs of which every order is tried
SUMS = ("add", "subtract", "average", "multiply", "maximum", "minimum")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in ORDERED:
            yield from _order(scene, theirs)
        elif {mine.kind, theirs.kind} == {"add", "average"}:
            word = "the mean" if mine.kind == "average" else "the sum"
            fix = (
                f"x / {len(theirs.inputs)} after `{theirs.name}`"
                if mine.kind == "average"
                else (f"x * {len(theirs.inputs)} after `{theirs.name}`")
            )
            yield replace(theirs, "residual-scale", f"with {word}", fix, mine.kind, {})
        if mine.kind == theirs.kind and mine.kind in SUMS and float(theirs.config.get("alpha") or 1.0) != 1.0:
            yield change(
                theirs,
                "residual-scale",
                f"without alpha={theirs.config['alpha']:g}",
                f"no alpha in `{theirs.name}`",
                {"alpha": 1.0},
            )


def _order(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    count = len(theirs.inputs)
    seen = _seen_order(scene, theirs) if count > FEW else None
    orders = permutations(range(count)) if count <= FEW else [seen] if seen else []
    for number, order in enumerate(orders):
        if order != tuple(range(count)):
            yield change(
                theirs,
                "operand-order",
                f"with its inputs in the order {order}",
                f"take the inputs of `{theirs.name}` in the order {order}",
                {"order": list(order)},
                cost=2.0 + 0.05 * number,
            )


def _seen_order(scene: Scene, theirs: Op) -> tuple[int, ...] | None:
    """Return in which order the inputs of a concatenation follow one another in what is expected of it."""
    parts = [scene.fed.get(tensor) for tensor in theirs.inputs]
    whole, axis = np.asarray(scene.expected, np.float64), int(theirs.config.get("axis", 1))
    if theirs.kind != "concat" or theirs is not scene.torch or not -whole.ndim <= axis < whole.ndim:
        return None
    found: list[int] = []
    at, far = 0, 1e-6 * float(np.abs(whole).max(initial=0.0))
    for _ in parts:
        for number, part in enumerate(parts):
            if number in found or part is None or part.ndim != whole.ndim:
                continue
            piece = whole.take(np.arange(at, min(at + part.shape[axis], whole.shape[axis])), axis)
            if piece.shape == part.shape and np.allclose(piece, part, rtol=1e-5, atol=far):
                found.append(number)
                at += part.shape[axis]
                break
    return tuple(found) if len(found) == len(parts) else None
