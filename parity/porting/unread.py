"""Numbers that differ where no output reads them, such as what is made of padding and masked ever after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.errors import ParityError
from parity.pairing.relations import Relation
from parity.porting.cuts import Cut
from parity.porting.options import Array
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family, is_fatal

DRAWS = 2  # of other numbers in the places in question


def agreed(
    models: Models,
    cut: Cut,
    values: Mapping[str, Array],
    relation: Relation,
    high: Array,
    inputs: Mapping[str, list[Array]],
) -> tuple[dict[str, Array], str] | None:
    """Return a cut's values with zeros where the twins differ by more than `high`, and what to say of them.

    None unless the outputs stay as they are, bit for bit, whatever stands in these places, in both frameworks: then
    no output reads them, which is more than that it does not show them.
    """
    mine = values[TWIN_TENSORFLOW]
    other = relation.to_tensorflow(values[TWIN_TORCH])
    if mine.shape != other.shape or mine.dtype.kind != "f" or not (np.isfinite(mine) & np.isfinite(other)).all():
        return None
    differ = np.abs(mine - other) > high
    if not differ.any() or differ.all():
        return None
    places = {TENSORFLOW: differ, TORCH: np.asarray(relation.to_torch(differ), np.bool_)}
    for side, tensor in ((TWIN_TENSORFLOW, cut.tensorflow), (TWIN_TORCH, cut.torch)):
        if not _unread(models, side, tensor, values[side], places[family(side)], inputs[family(side)]):
            return None
    told = f"differs in {int(differ.sum())} of {differ.size} numbers, which no output reads"
    zero = {side: np.where(places[family(side)], np.zeros((), one.dtype), one) for side, one in values.items()}
    return zero, told


def _unread(models: Models, side: str, tensor: int, value: Array, places: Array, inputs: list[Array]) -> bool:
    """Return whether all outputs of a twin are the same, bit for bit, whatever numbers stand in some places."""
    trace, rng = models[family(side)], np.random.default_rng(tensor)
    if tensor in trace.outputs:
        return False
    fed = dict(zip(trace.inputs, inputs, strict=True))
    scale = float(np.abs(value).max(initial=0.0)) or 1.0
    try:
        for output in trace.outputs:
            usual = np.asarray(models.segment(side, {**fed, tensor: value}, output)["value"])
            for _ in range(DRAWS):
                drawn = np.where(places, scale * rng.standard_normal(value.shape), value)
                if not np.array_equal(usual, models.segment(side, {**fed, tensor: drawn}, output)["value"]):
                    return False
    except ParityError as error:
        if is_fatal(error):
            raise
        return False
    return True
