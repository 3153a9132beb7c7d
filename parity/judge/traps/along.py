"""What torch's code does along another axis than TensorFlow's: running sums, flips, shifts, logarithms of sums.

TensorFlow's axis is a number that such an operation reads, so that each of torch's axes is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from parity.judge.traps.keras_words import named
from parity.judge.traps.remedy import Remedy, called, replace
from parity.judge.traps.scene import Scene
from parity.model.trace import Op, read_first

IDS = ()
ALONG = "along"
# Torch's operation: which of its arguments, counted behind the tensor, says the axis, and TensorFlow's like it.
AXIS_AT = {"cumsum": 1, "cumprod": 1, "flip": 1, "logcumsumexp": 1, "logsumexp": 1, "roll": 2}
LIKE = {
    "cumsum": ("op:Cumsum",),
    "cumprod": ("op:Cumprod",),
    "flip": ("op:ReverseV2",),
    "logcumsumexp": ("op:CumulativeLogsumexp",),
    "logsumexp": ("reduce", "op:ReduceLogSumExp"),  # written out, as a sum of exponentials
    "roll": ("op:Roll",),
}


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for op in scene.torch_ops:
        function = op.kind.removeprefix("op:")
        held = _axis(op, function)
        mine = [one for one in scene.tensorflow_ops if one.kind in LIKE.get(function, ())]
        rank = len(scene.shapes.get(read_first(op), ()))
        if held is None or not mine or not rank:
            continue
        others = [axis for axis in range(1, rank) if axis != held % rank]
        for number, axis in enumerate(others):
            yield _remedy(op, function, mine[0], (held % rank, axis), 1.2 + 0.1 * number)


def _axis(op: Op, function: str) -> int | None:
    """Return the one axis that an operation goes along; None where that cannot be told."""
    place = AXIS_AT.get(function)
    given = op.config.get("dim", op.config.get("dims", op.config.get(f"arg{place}")))
    if isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _remedy(op: Op, function: str, mine: Op, axes: tuple[int, int], cost: float) -> Remedy:
    held, wanted = axes
    word = {"flip": f"dims=[{wanted}]", "roll": f"dims={wanted}"}.get(function, f"dim={wanted}")
    config = {
        "function": function,
        "axis": wanted,
        "shifts": op.config.get("shifts", op.config.get("arg1")),
        "keepdims": op.config.get("keepdim", op.config.get("arg2", False)),
    }
    says, fix = f"along dim {wanted} instead of {held}", f"{word} in `{op.name}`"
    made = called(replace(op, "axis-mismatch", says, fix, ALONG, config, cost=cost), mine.name, op.name)

    def in_keras(scene: Scene) -> str | None:
        places = scene.axis_maps(mine, op)
        return f"axis={places[0].index(held)} in {named(mine)}" if places and held in places[0] else None

    return dataclasses.replace(made, in_keras=in_keras)
