"""The gate before every timing: the lane computes the right numbers, or it is not timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import ParityError

Array = NDArray[Any]
FLOAT32_ROUNDOFF = 2.0**-24
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


def prove(lane: str, logits: Array, loss: float, labels: Array, twin: Array, allowed: Array) -> dict[str, Any]:
    """Return the gate's figures for one lane, for the record.

    `logits` (n,) and `loss` come from the lane's own process; `twin` (n,) from the float64 twin under the same weights
    and batch, and `allowed` (n,) is how far rounding can move each logit of this framework.

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
    exact, margin = loss_of(logits, labels)
    if not abs(loss - exact) <= margin:
        raise ParityError(
            f"{lane} is not timed: its loss is {loss:.9g}, and its own logits give {exact:.9g} (allowed {margin:.1e})"
        )
    return {
        "loss": float(loss),
        "loss_error": abs(loss - exact),
        "loss_allowed": margin,
        "logit_error": float(error.max()),
        "logit_allowed": float(np.max(allowed)),
    }


def same_weights(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    """Return whether two sets of weights are bit for bit the same, names included."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
