"""The two models called as a whole, as their user calls them: the last word, should a part have been missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.compare import doubles
from parity.judge.verdict import SEMANTIC
from parity.model.trace import Trace
from parity.pairing.relations import Relation
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import LABELS, SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family
from parity.porting.verdict import Source, layer_name, message

# Rounding errors of a whole run scale with the unit roundoff; what float32 loses against its own twin therefore says
# what the twins may lose against each other. The factor covers that signs of errors are chance.
SAFETY = 256.0
# Sums in another order, as threads make them, move a float32 result of the same call by less.
STEADY = 1e-4

IMAGE_RANK = 4
FLATTENING = frozenset({"flatten", "reshape"})


@dataclass(frozen=True)
class Ends:
    """The verdicts that the outputs add, one line on what decided, and the sources that only outputs show.

    `unsteady` says which model gives other outputs when it is called again, if one does: that is no function.
    """

    verdicts: tuple[str, ...]
    why: str
    sources: tuple[Source, ...] = ()
    unsteady: str = ""


NOT_LOOKED_AT = Ends((), "")


def compare(models: Models, inputs: Mapping[str, list[Array]], orders: Orders) -> Ends:
    """Return `semantic` for each output whose twins differ by more than rounding along the whole network explains.

    Images are compared with their channels moved, and everything else as it is returned.
    """
    found = models.workers.each(
        lambda side: models.workers.call(side, "model_outputs", inputs=list(inputs[family(side)]))
    )
    verdicts, why, sources = [], "", list[Source]()
    for index, name in enumerate(models[TENSORFLOW].output_names):
        at = {TENSORFLOW: index, TORCH: models.places[index]}
        values = {side: np.asarray(found[side][at[family(side)]]) for side in SIDES}
        relation = orders.of(models[TENSORFLOW].outputs[index], models[TORCH].outputs[index])
        if relation is None:
            continue  # its own forced check has said so
        gap, allowed, lost = _gap(
            {side: v if family(side) == TENSORFLOW else relation.to_tensorflow(v) for side, v in values.items()}
        )
        disordered = _disordered(models, index, values, relation, gap)
        if disordered is not None:
            verdicts.append(SEMANTIC)
            why = why or f"`{name}`: torch returns the same numbers in another order"
            sources.append(disordered)
        allowed = max(allowed, models.slack(lost))
        if gap > allowed:
            verdicts.append(SEMANTIC)
            why = why or (
                f"`{name}` of the two models called as a whole differs by {gap:.2g} of its scale in float64, where "
                f"rounding explains {allowed:.1g}"
            )
    return Ends(tuple(verdicts), why, tuple(sources), _unsteady(models, inputs, found))


def axes(models: Models) -> list[str]:
    """Return a sentence for each output that has more axes on one side: a loss that takes both may not bear that.

    (batch, 1) minus (batch,) is (batch, batch) to both frameworks.
    """
    mine, theirs, found = models[TENSORFLOW], models[TORCH], []
    for index, name in enumerate(mine.output_names):
        shapes = mine.shapes.get(mine.outputs[index]), theirs.shapes.get(theirs.outputs[index])
        if None not in shapes and len(shapes[0] or ()) != len(shapes[1] or ()):
            found.append(
                f"`{name}` has another shape, {shapes[0]} in TensorFlow and {shapes[1]} in torch: only its numbers were"
                " compared"
            )
    return found


def _unsteady(models: Models, inputs: Mapping[str, list[Array]], first: Mapping[str, Sequence[Array]]) -> str:
    """Return which model gives other outputs when it is called twice in a row, and how far these are apart.

    In training each call may move statistics, which are put back here; what code keeps to itself nobody can put back.
    """
    calls = 1 if models.options.train else 2

    def again(side: str) -> list[Array]:
        found: list[Array] = models.workers.call(side, "model_outputs", inputs=list(inputs[side]), calls=calls)
        return found

    # Torch's generator starts anew at each call; what TensorFlow draws has been told, and is no function in any case.
    sides = [side for side in (TENSORFLOW, TORCH) if side == TORCH or not models.draws_on_its_own(side)]
    for side, second in models.workers.each(again, sides).items():
        names = models.as_returned(side, models[side].output_names)
        for name, one, two in zip(names, first[side], second, strict=False):
            gap = _moved(doubles(one), doubles(two))
            if gap > STEADY:
                return (
                    f"the {LABELS[side]} model gives something else at every call (`{name}`, called again on the same"
                    f" input, is {gap:.2g} of its scale away): it changes itself or draws random numbers; return one"
                    " from the builder that does neither. What is said of layers holds for one call"
                )
    return ""


def _moved(first: Array, second: Array) -> float:
    """Return how far two answers of one model are apart, as a share of the first one's largest number."""
    if first.shape != second.shape or not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return float("inf")
    kept = np.isfinite(first)
    largest = float(np.abs(first[kept]).max(initial=0.0)) or 1.0
    return float(np.abs(first[kept] - second[kept]).max(initial=0.0)) / largest


def _disordered(
    models: Models, index: int, values: Mapping[str, Array], relation: Relation, after: float
) -> Source | None:
    """Return what is wrong where both return vectors, or tables, of one shape with the same numbers in other places.

    A flattened image has its channels last in one and first in the other; nobody sees it by the shape. `after` is what
    they differ by in one order.
    """
    if len({value.shape for value in values.values()}) > 1 or values[TENSORFLOW].ndim >= IMAGE_RANK:
        return None
    before, allowed, _ = _gap(values)
    if before <= allowed or after > allowed:
        return None
    mine, theirs = (_flattening(models[side], models[side].outputs[index]) for side in (TENSORFLOW, TORCH))
    if relation.perm is None:
        cause, said = "axis-mismatch", "torch returns the axes of a sample the other way round."
        evidence = f"d64 falls from {before:.2g} to {after:.1g} with torch's axes exchanged"
        fix = "y.transpose(1, 2) before it is returned"
    else:
        cause = "flatten-order"
        said = "TensorFlow flattens images by row, column and channel, torch by channel, row, column."
        evidence = (
            f"d64 falls from {before:.2g} to {after:.1g} with the elements of a sample in TensorFlow's order; torch's"
            f" first are TensorFlow's [{', '.join(map(str, relation.perm[:6]))}, ...]"
        )
        fix = f"move the channels last before `{theirs}`: x.permute(0, 2, 3, 1)"
    does = "returns the same numbers in another order"
    told = message(mine, theirs, does, f"{cause}: {said}", evidence, fix)
    return Source(mine, theirs, cause, evidence, fix, "output", told)


def _flattening(trace: Trace, tensor: int) -> str:
    """Return the name of the last operation before an output that makes vectors of images, or of the output's own."""
    producers = trace.producers()
    last = producers.get(tensor)
    at = last
    while at is not None:
        if at.kind in FLATTENING:
            return layer_name(at.name)
        at = next((producers[given] for given in at.inputs if given in producers), None)
    return layer_name(last.name) if last is not None else "output"


def _gap(values: Mapping[str, Array]) -> tuple[float, float, float]:
    a64, b64, a32, b32 = (doubles(values[side]) for side in (TWIN_TENSORFLOW, TWIN_TORCH, TENSORFLOW, TORCH))
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
