"""Judge one tensor that was computed four times: by both frameworks, in float32 and in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.judge.bound import UNIT_ROUNDOFF, Doubles
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PRECISION, ROUNDING, SEMANTIC, Finding
from parity.model.layout import Array

VANISHING = "Zero but for rounding: figures are fractions of the size of what cancels."


@dataclass(frozen=True)
class Quartet:
    """One tensor, in TensorFlow's order of axes, from the two frameworks and their float64 twins."""

    tensorflow: Array
    torch: Array
    twin_tensorflow: Array
    twin_torch: Array

    def arrays(self) -> dict[str, Array]:
        """Return the four arrays under the names that messages use."""
        return {
            "tensorflow": self.tensorflow,
            "torch": self.torch,
            "tensorflow's twin": self.twin_tensorflow,
            "torch's twin": self.twin_torch,
        }


def judge(tensor: str, kind: str, quartet: Quartet, bound32: Array, bound64: Array) -> Finding:
    """Return the verdict on one tensor.

    `bound32` and `bound64` are absolute, per element (or one number): how far one correct side may be from the exact
    value in float32 and in float64. The twins may differ by twice `bound64`, one error each.
    """
    refusal = _refuse(tensor, kind, quartet)
    if refusal is not None:
        return refusal
    arrays = [array.astype(np.float64) for array in quartet.arrays().values()]
    a32, b32, a64, b64 = arrays
    # Infinities that all four share at the same places, with the same sign, say nothing of accuracy: set them aside.
    finite = np.isfinite(a64)
    a32, b32, a64, b64 = (np.where(finite, array, 0.0) for array in arrays)
    allowed32 = np.broadcast_to(np.where(np.isfinite(bound32), bound32, np.inf), a64.shape)
    allowed64 = np.broadcast_to(2.0 * np.asarray(bound64), a64.shape)
    scale, vanishing = _scale(a64, b64, allowed32, allowed64)
    verdict, note, side = _decide(quartet, (a32, b32, a64, b64), allowed32, allowed64, scale)
    if vanishing and not note:
        note = VANISHING
    error_a, error_b = _largest(a32, a64), _largest(b32, b64)
    gap = np.abs(a32 - b32)
    differing = int(np.count_nonzero(gap))
    return Finding(
        tensor=tensor,
        kind=kind,
        verdict=verdict,
        note=note,
        shape=tuple(a64.shape),
        scale=scale,
        d64=_largest(a64, b64) / scale,
        d64_bound=float(allowed64.max()) / scale,
        d32=float(gap.max()) / scale,
        error_tensorflow=error_a / scale,
        error_torch=error_b / scale,
        bound=float(allowed32.max()) / scale,
        share_tensorflow=_share(a32, a64, allowed32),
        share_torch=_share(b32, b64, allowed32),
        closer="tie" if error_a == error_b else ("tensorflow" if error_a < error_b else "torch"),
        side=side,
        elements=int(a64.size),
        mismatched=differing,
        where=tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)) if differing else None,
    )


def missing(tensor: str, kind: str, side: str) -> Finding:
    """Return the finding for a layer that one side does not have."""
    return Finding(tensor, kind, NOT_COMPARED, f"{side} has no layer of this name.", side=side)


def _refuse(tensor: str, kind: str, quartet: Quartet) -> Finding | None:
    arrays = quartet.arrays()
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        return Finding(tensor, kind, SEMANTIC, f"The shapes differ: {listed}.", shape=shapes["tensorflow"])
    if quartet.tensorflow.size == 0:
        return Finding(tensor, kind, NOT_COMPARED, "The tensor is empty: there is nothing to compare.")
    return _refuse_non_finite(tensor, kind, arrays)


def _refuse_non_finite(tensor: str, kind: str, arrays: dict[str, Array]) -> Finding | None:
    odd = {name: int(np.count_nonzero(~np.isfinite(array))) for name, array in arrays.items()}
    if not any(odd.values()):
        return None
    first = next(iter(arrays.values()))
    nan = any(bool(np.isnan(array).any()) for array in arrays.values())
    same = all(
        np.array_equal(np.where(np.isfinite(a), 0.0, a), np.where(np.isfinite(first), 0.0, first), equal_nan=True)
        for a in arrays.values()
    )
    if same and not nan and not np.isinf(first).all():
        return None
    counts = ", ".join(f"{name} {count}" for name, count in odd.items())
    bad = np.logical_or.reduce([~np.isfinite(array) for array in arrays.values()])
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    verdict = NOT_COMPARED if same else SEMANTIC
    return Finding(
        tensor,
        kind,
        verdict,
        f"Not finite (of {first.size} values: {counts}), first at index {where}.",
        shape=tuple(first.shape),
        elements=int(first.size),
        mismatched=int(bad.sum()),
        where=where,
    )


def _decide(
    quartet: Quartet,
    arrays: tuple[Doubles, Doubles, Doubles, Doubles],
    allowed32: Doubles,
    allowed64: Doubles,
    scale: float,
) -> tuple[str, str, str | None]:
    a32, b32, a64, b64 = arrays
    if bool((np.abs(a64 - b64) > allowed64).any()):
        return (
            SEMANTIC,
            "Two different functions: the float64 twins differ by more than rounding explains.",
            None,
        )
    if not bool(np.isfinite(allowed32).all()):
        return NOT_COMPARED, "The reduction is so long that float32 promises nothing.", None
    outside = {
        side: float((np.abs(low - high) - allowed32).max()) / scale
        for side, low, high in (("tensorflow", a32, a64), ("torch", b32, b64))
        if bool((np.abs(low - high) > allowed32).any())
    }
    if outside:
        # Where both sides are outside, the further one is named as the side, and the note names both.
        side = max(outside, key=lambda name: outside[name])
        verb = "compute" if len(outside) > 1 else "computes"
        return PRECISION, f"{' and '.join(outside)} {verb} in less precision than float32.", side
    if np.array_equal(quartet.tensorflow, quartet.torch) and quartet.tensorflow.dtype == quartet.torch.dtype:
        return IDENTICAL, "Bit for bit.", None
    return ROUNDING, "", None


def _scale(a64: Doubles, b64: Doubles, allowed32: Doubles, allowed64: Doubles) -> tuple[float, bool]:
    """Return what figures are fractions of: max|twin|, or where all of it cancels, the size of what cancels.

    A gradient that is zero by the mathematics, such as that of a bias before batch normalisation, comes out as mere
    rounding on all sides: as fractions of that, the figures would mean nothing.
    """
    largest = float(max(np.abs(a64).max(), np.abs(b64).max()))
    cancels = bool((np.maximum(np.abs(a64), np.abs(b64)) <= allowed64).all())
    cancelled = float(allowed32.max()) / UNIT_ROUNDOFF["float32"]
    # A bound that does not shrink with the roundoff comes from something undecided (a tied pooling window, the sign
    # before a ReLU), and a large one says nothing of the tensor being zero.
    mere_rounding = float(allowed64.max()) <= 32.0 * UNIT_ROUNDOFF["float64"] * cancelled
    if cancels and mere_rounding and np.isfinite(cancelled) and cancelled > largest > 0.0:
        return cancelled, True
    return largest or 1.0, False


def _largest(a: Doubles, b: Doubles) -> float:
    return float(np.abs(a - b).max())


def _share(value: Doubles, twin: Doubles, allowed: Doubles) -> float:
    error = np.abs(value - twin)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a subnormal bound: share infinite
        shares = np.where(error == 0.0, 0.0, error / allowed)
    return float(shares.max())
