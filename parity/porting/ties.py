"""Where a maximum is reached several times: each framework has its own way to say which of them gets the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.judge.verdict import PASSING, SEMANTIC, Finding
from parity.pairing.copying import WeightPlan
from parity.porting import training
from parity.porting.cuts import Step
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family, is_fatal
from parity.porting.verdict import Source, layer_name, message

APART = 2.0**-6  # of the largest number: how far equal numbers are moved at most; float32 has many steps within it
CLOSE, SINGLE_CLOSE = 1e-9, 1e-5  # of the scale: between results of the twins
CAUSE = "unknown"


@dataclass(frozen=True)
class Tied:
    """The gradients of a layer judged without ties, and the source that it is after all if a weight feels them."""

    gradients: list[Finding]
    source: Source


def without(step: Step, gradients: Sequence[Finding], models: Models, plan: WeightPlan, orders: Orders) -> Tied | None:
    """Return a layer's gradients with its ties broken, if those of its inputs differ at equal numbers alone.

    TensorFlow's maximum shares a gradient among equal numbers, most of torch's give it to one of them: behind a ReLU
    these are zeros, which pass nothing on. So the layer is asked again with the same small distinct numbers added to
    all that occur more than once. None where that does not help: what is wrong elsewhere, too, is no matter of ties.
    """
    failing = [finding for finding in gradients if finding.verdict == SEMANTIC]
    if not failing or any(finding.kind != "input-gradient" for finding in failing):
        return None
    if not _at_ties_alone(step, orders):
        return None
    try:
        again = _asked_again(step, models, orders)
    except ParityError as error:
        if is_fatal(error):
            raise
        return None
    if again is None:
        return None
    found = training.gradients(again, plan, orders)
    if len(found) != len(gradients) or any(finding.verdict not in PASSING for finding in found):
        return None
    return Tied([_noted(*both) for both in zip(gradients, found, strict=True)], _source(step, failing))


def _at_ties_alone(step: Step, orders: Orders) -> bool:
    """Return whether every number whose gradient differs occurs more than once in its tensor."""
    for mine, theirs, relation in training.fed_pairs(step, orders):
        given = step.answers[TWIN_TENSORFLOW]["input_gradients"].get(mine)
        other = step.answers[TWIN_TORCH]["input_gradients"].get(theirs)
        ours = np.zeros(step.fed[mine].shape) if given is None else np.asarray(given)
        back = np.zeros(ours.shape) if other is None else relation.to_tensorflow(np.asarray(other))
        if not (np.isfinite(ours).all() and np.isfinite(back).all()):
            return False
        differs = np.abs(ours - back) > _close(step) * np.abs(ours).max(initial=0.0)
        if (differs & ~repeated(step.fed[mine])).any():
            return False
    return True


def repeated(x: Array) -> Array:
    """Return, as booleans of the same shape, which numbers of an array occur in it more than once."""
    _, places, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray(counts[places].reshape(x.shape) > 1)


def apart(x: Array, seed: int) -> Array:
    """Return an array of numbers whose equal ones are made distinct, each a little larger; whole numbers stay."""
    if x.dtype.kind != "f" or not np.isfinite(x).all():
        return x
    tied = repeated(x)
    count = int(tied.sum())
    # Upwards only: a ReLU's zeros stay no less than the zeros, or the edge, that a pooling sees around an image.
    steps = (np.random.default_rng(seed).permutation(count) + 1.0) / (count + 1.0)
    moved = x.astype(np.float64)
    moved[tied] += steps * APART * (float(np.abs(x).max(initial=0.0)) or 1.0)
    return moved.astype(x.dtype)


def _asked_again(step: Step, models: Models, orders: Orders) -> Step | None:
    """Return the step with its ties broken, the same way on all sides; None if the results differ then."""
    upstream = step.answers[TWIN_TORCH].get("upstream")
    if upstream is None or step.relation is None:
        return None
    pairs = training.fed_pairs(step, orders)
    paired = {mine for mine, _, _ in pairs}
    fed = {tensor: apart(x, tensor) if tensor in paired else x for tensor, x in step.fed.items()}
    fed_torch = {**step.fed_torch, **{theirs: relation.to_torch(fed[mine]) for mine, theirs, relation in pairs}}
    sent = {TENSORFLOW: step.relation.to_tensorflow(np.asarray(upstream)), TORCH: upstream}

    def ask(side: str) -> dict[str, Any]:
        mine = family(side) == TENSORFLOW
        extra: dict[str, Any] = {"upstream": sent[family(side)], "state": True}
        if side == TWIN_TORCH:  # which alone bounds the rounding
            extra["bounds"] = True
        return models.segment(
            side, fed if mine else fed_torch, step.cut.tensorflow if mine else step.cut.torch, **extra
        )

    answers = models.workers.each(ask, SIDES)
    values = {side: np.asarray(answer["value"]) for side, answer in answers.items()}
    expected, got = values[TWIN_TENSORFLOW], step.relation.to_tensorflow(values[TWIN_TORCH])
    if not np.abs(expected - got).max(initial=0.0) <= _close(step) * np.abs(expected).max(initial=0.0):
        return None
    return replace(step, fed=fed, fed_torch=fed_torch, answers=answers)


def _close(step: Step) -> float:
    return SINGLE_CLOSE if step.single or step.slack else CLOSE


def _noted(before: Finding, again: Finding) -> Finding:
    if before.verdict != SEMANTIC:
        return before
    note = (
        "equal numbers share the gradient otherwise on either side; with these made distinct it is the same, and one"
        " step of the whole tells whether a weight feels it"
    )
    return replace(again, note=f"{again.note} ({note})".strip())


def _source(step: Step, failing: Sequence[Finding]) -> Source:
    cut = step.cut
    mine = layer_name(cut.main_tensorflow.name) if cut.main_tensorflow else cut.name
    theirs = layer_name(cut.main_torch.name) if cut.main_torch else cut.name
    evidence = (
        f"its input has equal numbers, which share its gradient otherwise on either side ({failing[0].d64:.2g} of the"
        " scale), and one step moves weights differently; with the equal numbers made distinct the gradients agree"
    )
    fix = "torch.amax shares the gradient among equal numbers as tf.reduce_max does; torch.max and poolings pick one"
    told = message(mine, theirs, "trains differently", CAUSE, evidence, fix)
    return Source(mine, theirs, CAUSE, evidence, fix, cut.kind, told)
