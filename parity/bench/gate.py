"""The gate before every timing: the lane computes the right numbers, or it is not timed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import ParityError

Array = NDArray[Any]
FLOAT32_ROUNDOFF = 2.0**-24
ROUNDOFF: Mapping[str, float] = {"float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}
STEP_SHARE: Mapping[str, float] = {"float32": 0.01, "tf32": 0.1, "float16": 0.1, "bfloat16": 0.1}
"""Share of the loss's change by which a lane's first steps may differ from the twin's: a learning rate off by as much
would. No rounding bound is sharp here: Adam's first step is the gradient's sign, which rounding turns where the
gradient is nearly zero, and where it then matters least. Figures of each lane are kept in the record."""
SOFTPLUS_ULPS = 8.0
"""Roundings of one logistic loss term, max(z, 0) - z*y + log1p(exp(-|z|)): two library calls of at most 2u each, two
sums, one product, and room for the compiler's order."""


def loss_of(logits: Array, labels: Array) -> tuple[float, float]:
    """Return the exact mean logistic loss of these logits, and how far a float32 evaluation of it may be off.

    Source: Higham, section 3.1, for the mean; the terms are bounded by their largest intermediate.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    terms = np.logaddexp(0.0, z) - y * z
    size = np.abs(z) + np.abs(y * z) + np.log(2.0)
    allowed = (SOFTPLUS_ULPS + z.size) * FLOAT32_ROUNDOFF * float(np.mean(size))
    return float(terms.mean()), allowed


def prove(
    lane: str,
    logits: Array,
    loss: float | None,
    labels: Array,
    twin: Array,
    allowed: Array,
    precision: str = "float32",
) -> dict[str, Any]:
    """Return the gate's figures for one lane, for the record.

    `logits` (n,) and `loss` come from the lane's own process (None: it computes none); `twin` (n,) from the float64
    twin under the same weights and batch, and `allowed` (n,) is how far rounding can move each logit of this lane.

    Raises
        ParityError: a logit or the loss is further off than rounding explains.
    """
    mine, exact_logits = np.asarray(logits, dtype=np.float64), np.asarray(twin, dtype=np.float64)
    if mine.shape != exact_logits.shape or mine.size == 0:
        raise ParityError(f"{lane} is not timed: it gave logits of shape {mine.shape}, its twin {exact_logits.shape}")
    with np.errstate(invalid="ignore"):  # infinity minus infinity is no agreement, as the next line says
        error = np.abs(mine - exact_logits)
    if not (np.isfinite(mine).all() and np.isfinite(allowed).all() and (error <= allowed).all()):
        raise ParityError(
            f"{lane} is not timed: its logits are up to {float(error.max()):.2e} from the float64 twin, and rounding"
            f" explains {float(np.max(allowed)):.2e}"
        )
    figures = {"logit_error": float(error.max()), "logit_allowed": float(np.max(allowed)), "precision": precision}
    if loss is None:
        return figures
    exact, margin = loss_of(logits, labels)
    if precision not in ("float32", "tf32"):  # the loss may be computed from logits that were not rounded, or were
        margin += float(np.mean(np.abs(mine))) * ROUNDOFF[precision] + margin * ROUNDOFF[precision] / FLOAT32_ROUNDOFF
    if not abs(loss - exact) <= margin:
        raise ParityError(
            f"{lane} is not timed: its loss is {loss:.9g}, and its own logits give {exact:.9g} (allowed {margin:.1e})"
        )
    return {**figures, "loss": float(loss), "loss_error": abs(loss - exact), "loss_allowed": margin}


def prove_step(
    lane: str, loss: float, twin_losses: Sequence[float], steps: int, precision: str = "float32"
) -> dict[str, Any]:
    """Return how a lane's first training steps moved the loss, beside the float64 twin's.

    `loss` is the lane's after `steps` steps on the proven batch; `twin_losses` the twin's before each step. What a step
    did is the twin's own change of the loss; a lane whose change is off by more than `STEP_SHARE` of it takes another
    step: another learning rate, another loss, weights that it does not train, a batch that it cut.

    Raises
        ParityError: the loss moved otherwise.
    """
    moved = twin_losses[steps] - twin_losses[0]
    allowed = STEP_SHARE[precision] * max(abs(value - twin_losses[0]) for value in twin_losses[: steps + 1])
    off = abs(loss - twin_losses[steps])
    if not (math.isfinite(loss) and allowed > 0.0 and off <= allowed):
        raise ParityError(
            f"{lane} is not timed: {steps} training step{'s' * (steps != 1)} moved its loss to {loss:.9g}, and the"
            f" float64 twin's by {moved:.3g} to {twin_losses[steps]:.9g} (allowed {allowed:.1e})"
        )
    return {"step_loss": loss, "step_loss_error": off, "step_loss_allowed": allowed, "steps_proven": steps}


def same_weights(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Return whether two sets of weights are bit for bit the same, names included."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
