"""What one comparison found, and how several findings add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IDENTICAL = "identical"
ROUNDING = "rounding"
PRECISION = "precision"
SEMANTIC = "semantic"
NOT_COMPARED = "not-compared"

VERDICTS = (IDENTICAL, ROUNDING, PRECISION, SEMANTIC, NOT_COMPARED)
PASSING = frozenset({IDENTICAL, ROUNDING})

MANY_TIMES = 1_000_000


@dataclass(frozen=True)
class Finding:
    """The comparison of one tensor: what it is called, what was found, and every figure behind it.

    `d64`, `error_*`, `d32`, `bound` and `bound64` are fractions of `scale` = max|twin|; `share_*` is the largest
    error of an element over that element's own bound; `where` is the index of the largest float32 difference.
    """

    tensor: str
    kind: str
    verdict: str
    note: str
    shape: tuple[int, ...] = ()
    scale: float = 0.0
    d64: float | None = None
    d64_bound: float | None = None
    d32: float | None = None
    error_tensorflow: float | None = None
    error_torch: float | None = None
    bound: float | None = None
    share_tensorflow: float | None = None
    share_torch: float | None = None
    closer: str | None = None
    side: str | None = None
    elements: int = 0
    mismatched: int = 0
    where: tuple[int, ...] | None = None

    @property
    def passed(self) -> bool:
        """Whether the difference, if any, is rounding."""
        return self.verdict in PASSING

    @property
    def share(self) -> float | None:
        """The larger share of the bound that a side used."""
        shares = [share for share in (self.share_tensorflow, self.share_torch) if share is not None]
        return max(shares) if shares else None

    def _used(self) -> str:
        if self.share is None:
            return "an unknown share of"
        if self.share > MANY_TIMES:  # as where one side reads padding and the other does not: the figure says no more
            return f"more than {MANY_TIMES:,} times"
        return f"{100.0 * self.share:.3g} % of" if self.share < 10.0 else f"{self.share:.3g} times"

    def message(self) -> str:
        """Return one readable paragraph: which tensor, how many elements differ, how badly, where, what was allowed."""
        lines = [f"`{self.tensor}` ({self.kind}, shape {self.shape}): {self.verdict}. {self.note}".rstrip()]
        if self.elements and self.mismatched:
            share = 100.0 * self.mismatched / self.elements
            lines.append(
                f"  float32 values that differ: {self.mismatched} / {self.elements} ({share:.1f} %),"
                f" worst at index {self.where}"
            )
        if self.d64 is not None:
            lines.append(f"  twins differ by {self.d64:.2e} of max|twin| (rounding explains {self.d64_bound:.1e})")
        if self.error_tensorflow is not None and self.error_torch is not None:
            lines.append(
                f"  error against the twin: tensorflow {self.error_tensorflow:.2e}, torch {self.error_torch:.2e}"
                f" (largest bound of an element {self.bound:.2e}; the worst element uses {self._used()} its own)"
            )
        return "\n".join(lines)


def overall(findings: Iterable[Finding]) -> str:
    """Return the worst verdict of all; `not-compared` when there is nothing, since zero comparisons is a failure."""
    order = {IDENTICAL: 0, ROUNDING: 1, PRECISION: 2, NOT_COMPARED: 3, SEMANTIC: 4}
    return max((finding.verdict for finding in findings), key=lambda verdict: order[verdict], default=NOT_COMPARED)
