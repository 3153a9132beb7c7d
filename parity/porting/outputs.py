"""The two models called as a whole, as their user calls them: the last word, should a part have been missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.verdict import SEMANTIC
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family

# Rounding errors of a whole run scale with the unit roundoff; what float32 loses against its own twin therefore says
# what the twins may lose against each other. The factor covers that signs of errors are chance.
SAFETY = 256.0


@dataclass(frozen=True)
class Ends:
    """The verdicts that the outputs add, and one line on what decided."""

    verdicts: tuple[str, ...]
    why: str


NOT_LOOKED_AT = Ends((), "")


def compare(models: Models, inputs: Mapping[str, list[Array]], orders: Orders) -> Ends:
    """Return `semantic` for each output whose twins differ by more than rounding along the whole network explains."""
    found = models.workers.each(
        lambda side: models.workers.call(side, "model_outputs", inputs=list(inputs[family(side)]))
    )
    verdicts, why = [], ""
    for index, name in enumerate(models[TENSORFLOW].output_names):
        at = {TENSORFLOW: index, TORCH: models.places[index]}
        values = {side: np.asarray(found[side][at[family(side)]]) for side in SIDES}
        relation = orders.of(models[TENSORFLOW].outputs[index], models[TORCH].outputs[index])
        if relation is None:
            continue  # its own forced check has said so
        shapes = {values[side].shape for side in SIDES}
        if relation.perm is not None and len(shapes) == 1:  # nobody sees it by the shape
            models.notes.append(
                f"output `{name}`: torch gives the same numbers in another order, TensorFlow's elements "
                f"[{', '.join(map(str, relation.perm[:6]))}, ...] of a sample"
            )
        gap, allowed, lost = _gap(
            {side: v if family(side) == TENSORFLOW else relation.to_tensorflow(v) for side, v in values.items()}
        )
        allowed = max(allowed, models.slack(lost))
        if gap > allowed:
            verdicts.append(SEMANTIC)
            why = why or (
                f"`{name}` of the two models called as a whole differs by {gap:.2g} of its scale in float64, where "
                f"rounding explains {allowed:.1g}"
            )
    return Ends(tuple(verdicts), why)


def _gap(values: Mapping[str, Array]) -> tuple[float, float, float]:
    a64, b64, a32, b32 = (values[side].astype(np.float64) for side in (TWIN_TENSORFLOW, TWIN_TORCH, TENSORFLOW, TORCH))
    if a64.shape != b64.shape:
        return float("inf"), 0.0, 0.0
    finite = np.isfinite(a64) & np.isfinite(b64) & np.isfinite(a32) & np.isfinite(b32)
    if not np.array_equal(np.isfinite(a64), np.isfinite(b64)):
        return float("inf"), 0.0, 0.0
    a64, b64, a32, b32 = (np.where(finite, x, 0.0) for x in (a64, b64, a32, b32))
    scale = float(np.abs(a64).max(initial=0.0)) or 1.0
    lost = max(float(np.abs(a32 - a64).max(initial=0.0)), float(np.abs(b32 - b64).max(initial=0.0))) / scale
    ratio = UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"]
    gap = float(np.abs(a64 - b64).max(initial=0.0)) / scale
    return gap, max(SAFETY * ratio * lost, 1e-12), lost
