"""Judge one tensor that was computed four times: by both frameworks, in float32 and in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.judge.bound import FLUSHED, FLUSHED64, UNIT_ROUNDOFF, Doubles
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PRECISION, ROUNDING, SEMANTIC, Finding
from parity.model.layout import Array

_PART = 8192
"""Elements that are judged at a time: six arrays of doubles and what is worked out from them fit a core's own cache."""

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
    if any(np.iscomplexobj(array) for array in quartet.arrays().values()):
        quartet = Quartet(*(_reals(array) for array in quartet.arrays().values()))
        bound32, bound64 = np.asarray(bound32)[..., None], np.asarray(bound64)[..., None]
    found = _extremes(quartet, bound32, bound64)
    scale, vanishing = _scale(found)
    verdict, note, side = _decide(quartet, found, scale)
    if vanishing and not note:
        note = VANISHING
    shape = tuple(quartet.tensorflow.shape)
    return Finding(
        tensor=tensor,
        kind=kind,
        verdict=verdict,
        note=note,
        shape=shape,
        scale=scale,
        d64=found.gap64 / scale,
        d64_bound=found.allowed64 / scale,
        d32=found.gap32 / scale,
        error_tensorflow=found.tensorflow.error / scale,
        error_torch=found.torch.error / scale,
        bound=found.allowed32 / scale,
        share_tensorflow=found.tensorflow.share,
        share_torch=found.torch.share,
        closer=_closer(found.tensorflow.error, found.torch.error),
        side=side,
        elements=int(quartet.tensorflow.size),
        mismatched=found.mismatched,
        where=tuple(int(i) for i in np.unravel_index(found.widest, shape)) if found.mismatched else None,
    )


def doubles(array: Array) -> Array:
    """Return numbers in double precision, complex ones as complex numbers."""
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _reals(array: Array) -> Array:
    """Return complex numbers as pairs of reals along a new last axis: what bounds a modulus bounds either part."""
    return np.stack([array.real, array.imag], axis=-1)


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


def _closer(error_tensorflow: float, error_torch: float) -> str:
    if error_tensorflow == error_torch:
        return "tie"
    return "tensorflow" if error_tensorflow < error_torch else "torch"


@dataclass
class _Side:
    """One side in float32 against its twin: largest error, how far it leaves what is allowed, and the share of that."""

    error: float = 0.0
    excess: float = -np.inf
    share: float = 0.0

    def add(self, value: Doubles, twin: Doubles, allowed: Doubles) -> None:
        error = np.abs(value - twin)
        self.error = _larger(self.error, error.max())
        self.excess = _larger(self.excess, (error - allowed).max())
        self.share = _larger(self.share, (error / allowed).max())


@dataclass
class _Extremes:
    """What four arrays and their two bounds come to; the figures are absolute, but for shares.

    `allowed32`, `allowed64`: the widest bound. `cancels`: no element of a twin is larger than what is allowed for it.
    `apart`: the twins differ by more than that somewhere. `widest`: flat index of the largest gap in float32.
    """

    tensorflow: _Side
    torch: _Side
    largest: float = 0.0
    gap64: float = 0.0
    gap32: float = 0.0
    allowed32: float = 0.0
    allowed64: float = 0.0
    apart: bool = False
    cancels: bool = True
    mismatched: int = 0
    widest: int = 0

    def add(self, first: int, parts: tuple[Doubles, Doubles, Doubles, Doubles], low: Doubles, high: Doubles) -> None:
        """Take elements from the flat index `first` on: both sides, both twins, and what is allowed to each of them."""
        a32, b32, a64, b64 = parts
        size = np.maximum(np.abs(a64), np.abs(b64))
        self.largest = _larger(self.largest, size.max())
        self.cancels = self.cancels and bool((size <= high).all())
        self.allowed32 = _larger(self.allowed32, low.max())
        self.allowed64 = _larger(self.allowed64, high.max())
        gap = np.abs(a64 - b64)
        self.gap64 = _larger(self.gap64, gap.max())
        self.apart = self.apart or bool((gap > high + FLUSHED64).any())
        gap = np.abs(a32 - b32)
        self.mismatched += int(np.count_nonzero(gap))
        place = int(gap.argmax())
        if gap[place] > self.gap32:
            self.gap32, self.widest = float(gap[place]), first + place
        self.tensorflow.add(a32, a64, low + FLUSHED)
        self.torch.add(b32, b64, low + FLUSHED)


def _larger(so_far: float, found: np.float64) -> float:
    """Return the larger of two numbers, and NaN if either is that."""
    return float(np.maximum(so_far, found))


def _extremes(quartet: Quartet, bound32: Array, bound64: Array) -> _Extremes:
    """Return what the arrays come to, in one pass by parts that stay in the processor's cache.

    Array by array over millions of elements, the same arithmetic takes several times as long: it waits for memory.
    """
    arrays = tuple(quartet.arrays().values())
    # Infinities that all four share at the same places, with the same sign, say nothing of accuracy: set them aside.
    infinite = not np.isfinite(quartet.twin_tensorflow).all()
    found, first = _Extremes(_Side(), _Side()), 0
    parts = np.nditer(
        [*arrays, np.asarray(bound32), np.asarray(bound64)],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly"]] * 6,
        op_dtypes=[np.float64] * 6,
        order="C",
        casting="same_kind",
        itershape=arrays[0].shape,
        buffersize=_PART,
    )
    with parts, np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for given in parts:
            a32, b32, a64, b64, low, high = (np.atleast_1d(part) for part in given)
            if infinite:
                a32, b32, a64, b64 = (np.where(np.isfinite(a64), part, 0.0) for part in (a32, b32, a64, b64))
            if not np.isfinite(low).all():
                low = np.where(np.isfinite(low), low, np.inf)
            found.add(first, (a32, b32, a64, b64), low, 2.0 * high)
            first += a64.size
    return found


def _decide(quartet: Quartet, found: _Extremes, scale: float) -> tuple[str, str, str | None]:
    if found.apart:
        return (
            SEMANTIC,
            "Two different functions: the float64 twins differ by more than rounding explains.",
            None,
        )
    if not np.isfinite(found.allowed32):
        if not np.isfinite(quartet.twin_tensorflow).all():
            return NOT_COMPARED, "Infinite numbers or NaN come out of it, beside which no bound holds.", None
        return NOT_COMPARED, "The reduction is so long that float32 promises nothing.", None
    sides = {"tensorflow": found.tensorflow, "torch": found.torch}
    outside = {side: measured.excess / scale for side, measured in sides.items() if measured.excess > 0.0}
    if outside:
        # Where both sides are outside, the further one is named as the side, and the note names both.
        side = max(outside, key=lambda name: outside[name])
        verb = "compute" if len(outside) > 1 else "computes"
        return PRECISION, f"{' and '.join(outside)} {verb} in less precision than float32.", side
    a, b = quartet.tensorflow, quartet.torch
    if not found.mismatched and a.dtype == b.dtype and np.array_equal(a, b):
        return IDENTICAL, "Bit for bit.", None
    return ROUNDING, "", None


def _scale(found: _Extremes) -> tuple[float, bool]:
    """Return what figures are fractions of: max|twin|, or where all of it cancels, the size of what cancels.

    A gradient that is zero by the mathematics, such as that of a bias before batch normalisation, comes out as mere
    rounding on all sides: as fractions of that, the figures would mean nothing.
    """
    cancelled = found.allowed32 / UNIT_ROUNDOFF["float32"]
    # A bound that does not shrink with the roundoff comes from something undecided (a tied pooling window, the sign
    # before a ReLU), and a large one says nothing of the tensor being zero.
    mere_rounding = found.allowed64 <= 32.0 * UNIT_ROUNDOFF["float64"] * cancelled
    if found.cancels and mere_rounding and np.isfinite(cancelled) and cancelled > found.largest > 0.0:
        return cancelled, True
    return found.largest or 1.0, False
