"""From samples to a median, a ratio, an interval and a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

Decision = Literal["faster", "slower", "within margin", "undecided"]

DEFAULT_MARGIN = 0.05
SETTLED_BLOCKS = 10  # fewer is printed as "preliminary": MLPerf asks for ten, and the half-width is then near 3 %
QUARTILE_METHOD: Final = "linear"  # Hyndman & Fan type 7, NumPy's default; pytest-benchmark's hinges differ
SPREAD_FLAGS = ((0.25, "!!"), (0.10, "!"))  # IQR / median above which a timing is flagged


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """The time of `b` over that of `a` (above 1, `a` is faster), with its interval and what it allows to say.

    `low` and `high` are None for a single block: one difference carries no information on its own spread.
    """

    ratio: float
    low: float | None
    high: float | None
    blocks: int
    decision: Decision

    @property
    def preliminary(self) -> bool:
        """Whether there are too few blocks to name a winner."""
        return self.blocks < SETTLED_BLOCKS


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Median and quartiles of `n` samples, in the samples' unit; `q1` and `q3` are None for one sample."""

    n: int
    q1: float | None
    median: float
    q3: float | None

    @property
    def spread(self) -> float | None:
        """Interquartile range over the median, a fraction; None where there is none."""
        if self.q1 is None or self.q3 is None or self.median == 0:
            return None
        return (self.q3 - self.q1) / self.median

    @property
    def flag(self) -> str:
        """`!` for a spread above 10 %, `!!` above 25 %, else empty."""
        spread = self.spread
        return next((mark for limit, mark in SPREAD_FLAGS if spread is not None and spread > limit), "")


def paired_ratio(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, *, margin: float = DEFAULT_MARGIN
) -> PairedRatio:
    """Compare two lanes by their per-block medians, block i of both having run side by side.

    `a`, `b`: equally long sequences, seconds. `ratio` is the geometric mean of the per-block ratios b/a, the
    centre of the t interval on their logarithm. The decision reads the interval against 1 and against the
    margin band [1/(1+margin), 1+margin], in this order:

    - `within margin`: the whole interval lies inside the band. This comes first: a difference that is real
      but surely smaller than the margin is called equal, not a win.
    - `faster` (a is faster): the whole interval lies above 1. `slower`: the whole interval lies below 1.
    - `undecided`: everything else, and always for a single block.

    Raises: UsageError for unequal lengths, no blocks, times that are not finite and positive, a confidence
    outside (0, 1), a negative margin.
    Source: Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time"; the t interval covers 94 to
    96 % at a nominal 95 % from three blocks up where bootstrapping pooled rounds covers 70 to 73 %.
    """
    _check_fraction(confidence)
    if not (math.isfinite(margin) and margin >= 0):
        raise UsageError(f"margin (={margin}) must be a finite fraction, zero or more")
    times_a, times_b = _positive_times(a, "a"), _positive_times(b, "b")
    if len(times_a) != len(times_b):
        raise UsageError(f"paired blocks needed: a has {len(times_a)} blocks, b has {len(times_b)}")
    logs = np.log(times_b) - np.log(times_a)  # (blocks,); a difference of logs cannot overflow as b/a can
    blocks, centre = len(logs), float(logs.mean())
    if blocks == 1:
        return PairedRatio(_exp(centre), None, None, 1, "undecided")
    half = _student_t(confidence, blocks - 1) * float(logs.std(ddof=1)) / math.sqrt(blocks)
    low, high = _exp(centre - half), _exp(centre + half)
    return PairedRatio(_exp(centre), low, high, blocks, _decide(low, high, margin))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Give the score interval of a proportion: two fractions of 1.

    Raises: UsageError unless 0 <= successes <= n, n >= 1 and 0 < confidence < 1.
    Source: Wilson 1927, JASA 22:209; recommended by Newcombe 1998, Statistics in Medicine 17:857.
    """
    from scipy.special import ndtri  # here: collecting the suites must stay fast

    _check_fraction(confidence)
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"successes (={successes}) must lie within 0 and n (={n}), and n must be at least 1")
    z = float(ndtri(0.5 + confidence / 2))
    share, z2_over_n = successes / n, z * z / n
    centre = (share + z2_over_n / 2) / (1 + z2_over_n)
    half = z / (1 + z2_over_n) * math.sqrt(share * (1 - share) / n + z2_over_n / (4 * n))
    # The ends are exact by algebra; rounding would put them a hair inside or outside [0, 1].
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def quartiles(samples: Sequence[float]) -> Quartiles:
    """Summarise samples by median and quartiles, dropping nothing; the method is `QUARTILE_METHOD`.

    Raises: UsageError for no samples or values that are not finite.
    Source: Hyndman & Fan 1996, "Sample quantiles in statistical packages", type 7.
    """
    values = _finite(samples, "samples")
    q1, median, q3 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75), method=QUARTILE_METHOD))
    if len(values) == 1:
        return Quartiles(1, None, median, None)
    return Quartiles(len(values), q1, median, q3)


def _decide(low: float, high: float, margin: float) -> Decision:
    if low >= 1 / (1 + margin) and high <= 1 + margin:
        return "within margin"
    if low > 1:
        return "faster"
    return "slower" if high < 1 else "undecided"


def _student_t(confidence: float, degrees: int) -> float:
    from scipy.special import stdtrit  # here: collecting the suites must stay fast

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _exp(x: float) -> float:
    # Two blocks that disagree wildly give an honest interval wider than a float can say.
    return math.exp(x) if x < 709 else math.inf


def _check_fraction(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence (={confidence}) must lie between 0 and 1, for example 0.95")


def _finite(values: Sequence[float], name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be a sequence of numbers, in seconds") from None
    if array.ndim != 1 or array.size == 0:
        raise UsageError(f"{name} must be a non-empty flat sequence of numbers, not of shape {array.shape}")
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UsageError(f"{name}[{index}] (={array[index]}) is not finite")
    return array


def _positive_times(values: Sequence[float], name: str) -> NDArray[np.float64]:
    array = _finite(values, name)
    if (array <= 0).any():
        index = int(np.flatnonzero(array <= 0)[0])
        raise UsageError(f"{name}[{index}] (={array[index]}) must be a time above 0 s")
    return array
