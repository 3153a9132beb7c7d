"""Where branches meet: the order of what is merged, and branches that are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from parity.judge.traps.remedy import Remedy, change, replace
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

IDS = ("operand-order",)
ORDERED = ("concat", "stack", "subtract", "divide", "matmul")
SUMS = ("add", "subtract", "average", "multiply", "maximum", "minimum")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in ORDERED:
            yield from _order(theirs)
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


def _order(theirs: Op) -> Iterator[Remedy]:
    count = len(theirs.inputs)
    if not 2 <= count <= 4:
        return
    for number, order in enumerate(permutations(range(count))):
        if order != tuple(range(count)):
            yield change(
                theirs,
                "operand-order",
                f"with its inputs in the order {order}",
                f"take the inputs of `{theirs.name}` in the order {order}",
                {"order": list(order)},
                cost=2.0 + 0.05 * number,
            )
