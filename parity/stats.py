"""From samples to a median, a ratio, an interval and a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

Decision = Literal["faster", "slower", "within margin", "undecided"]

DEFAULT_MARGIN = 0.05
SETTLED_BLOCKS = 10  # fewer is printed as "preliminary": MLPerf asks for ten, and the half-width is then near 3 %
QUARTILE_METHOD: Final = "linear"  # Hyndman & Fan type 7, NumPy's default; pytest-benchmark's hinges differ
SPREAD_FLAGS = ((0.25, "!!"), (0.10, "!"))  # IQR / median above which a timing is flagged
WINNER_ERROR = 0.4  # a winner's interval misses 1 in this share of the cases in which the printed one may: 2 % for 5 %
P99_SAMPLES = 299  # the fewest whose largest exceeds the true 99th percentile in 95 % of all cases: 1 - 0.99**299


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
class UnpairedRatio:
    """The time of `b` over that of `a` from two campaigns whose blocks belong to no pairs; fields as in `PairedRatio`.

    `blocks_a` and `blocks_b` count the blocks of each; `low` and `high` are None where one has a single block.
    """

    ratio: float
    low: float | None
    high: float | None
    blocks_a: int
    blocks_b: int
    decision: Decision

    @property
    def blocks(self) -> int:
        """The blocks of the shorter campaign."""
        return min(self.blocks_a, self.blocks_b)

    @property
    def preliminary(self) -> bool:
        """Whether there are too few blocks to name a winner."""
        return self.blocks < SETTLED_BLOCKS


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of `n` samples, in the samples' unit; `p99` is None below `P99_SAMPLES` samples."""

    n: int
    p50: float
    p90: float
    p99: float | None


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
    centre of the t interval on their logarithm. The decision reads ratio and interval against 1 and against the
    margin band [1/(1+margin), 1+margin], in this order:

    - `within margin`: the whole interval lies inside the band. This comes first: a difference that is real
      but surely smaller than the margin is called equal, not a win.
    - `faster` (a is faster): the ratio lies above the band, and a stricter interval (98 % where 95 % is printed,
      see `firm_confidence`) lies above 1. `slower`: the same below.
    - `undecided`: everything else, and always for a single block.

    The stricter interval is there because a 95 % one makes a winner of equals in 5 % of all campaigns, and so in
    more than 5 % of about every second thousand of them. Measured over 10,000 simulated A/A campaigns each, at 3,
    5, 10 and 20 blocks in mirrored order, process sd 8 %: false winners 3.9 to 5.0 % with the printed interval and
    the margin, 1.6 to 2.0 % with this rule. The interval covers the truth in 94.3 to 95.8 % there and under
    noise that is autocorrelated over all processes of a campaign, and in 94.8 to 100 % under heavy tails, drift and
    order effects; a lane slowed by 10 % is found in 99.6 % of campaigns of ten blocks (block sd 5 %, process sd 3 %,
    round sd 4 %; 97 % where an A/A check has to pass beside it) and in 22 % of those of three, or 12 % beside an A/A
    lane, whose detection limit is wide then: few blocks cost power, not honesty. With a process sd of 5 % ten blocks
    find it in 89 %, with 8 % in 46 %. `parity.bench.simulate` repeats the measurement.

    What the interval cannot do: a t interval expects independent differences that spread alike to both sides. Where
    only one of the lanes has rare slow processes (one in ten, 30 % slower on average) it covers the mean ratio, which
    those processes are part of, in 91, 85, 77 and 78 % at 3, 5, 10 and 20 blocks; false winners stay at or under 4 %.
    With rarer and slower ones (one in twenty, three times as slow) it is 42 % at ten blocks. Where a lane carries its
    own state from one block to the next (autocorrelation 0.7, sd 5 %), which fresh processes are there to prevent,
    coverage falls to 59 % and a quarter of such campaigns name a false winner.

    Raises: UsageError for unequal lengths, no blocks, times that are not finite and positive, a confidence
    outside (0, 1), a negative margin.
    Source: Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time"; the t interval covers 94 to
    96 % at a nominal 95 % from three blocks up where bootstrapping pooled rounds covers 70 to 73 %.
    """
    _check_fraction(confidence)
    _check_amount(margin, "margin")
    times_a, times_b = _positive_times(a, "a"), _positive_times(b, "b")
    if len(times_a) != len(times_b):
        raise UsageError(f"paired blocks needed: a has {len(times_a)} blocks, b has {len(times_b)}")
    logs = np.log(times_b) - np.log(times_a)  # (blocks,); a difference of logs cannot overflow as b/a can
    blocks, centre = len(logs), float(logs.mean())
    if blocks == 1:
        return PairedRatio(_exp(centre), None, None, 1, "undecided")
    error = float(logs.std(ddof=1)) / math.sqrt(blocks)
    low, high, decision = _judge(centre, error, blocks - 1, confidence, margin)
    return PairedRatio(_exp(centre), low, high, blocks, decision)


def unpaired_ratio(
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = 0.95,
    *,
    margin: float = DEFAULT_MARGIN,
    moved: float = 0.0,
) -> UnpairedRatio:
    """Compare one lane in two campaigns by their block medians, which belong to no pairs.

    `a`, `b`: seconds, of any lengths. The interval is Welch's on the logarithms, with the degrees of freedom of
    Welch and Satterthwaite; the decision is that of `paired_ratio`. `moved` is how far the machine itself changed
    its speed between the campaigns, a fraction: no block of either campaign can show that, so the interval is made
    wider by it on both sides.

    Raises: UsageError as `paired_ratio` does, lengths apart, and for a negative `moved`.
    Source: Welch 1947, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34:28; Satterthwaite 1946, Biometrics Bulletin 2:110.
    """
    _check_fraction(confidence)
    _check_amount(margin, "margin")
    _check_amount(moved, "moved")
    logs_a, logs_b = np.log(_positive_times(a, "a")), np.log(_positive_times(b, "b"))
    centre, n_a, n_b = float(logs_b.mean() - logs_a.mean()), len(logs_a), len(logs_b)
    if min(n_a, n_b) == 1:
        return UnpairedRatio(_exp(centre), None, None, n_a, n_b, "undecided")
    parts = float(logs_a.var(ddof=1)) / n_a, float(logs_b.var(ddof=1)) / n_b
    spread = parts[0] ** 2 / (n_a - 1) + parts[1] ** 2 / (n_b - 1)
    degrees = sum(parts) ** 2 / spread if spread > 0 else float(n_a + n_b - 2)
    low, high, decision = _judge(centre, math.sqrt(sum(parts)), degrees, confidence, margin, math.log1p(moved))
    return UnpairedRatio(_exp(centre), low, high, n_a, n_b, decision)


def firm_confidence(confidence: float = 0.95) -> float:
    """Return the confidence of the stricter interval that a winner needs: 0.98 where 0.95 is printed."""
    return 1 - WINNER_ERROR * (1 - confidence)


def percentiles(samples: Sequence[float]) -> Percentiles:
    """Return the 50th, 90th and, from `P99_SAMPLES` samples up, 99th percentile; the method is `QUARTILE_METHOD`.

    Below 299 samples even the largest of them lies under the true 99th percentile in more than 5 % of all cases
    (0.99**298 = 0.0500, 0.99**299 = 0.0495), so that no figure among them bounds it. This counts independent
    samples; those of one process are less than that, and more of them are better.

    Raises: UsageError for no samples or values that are not finite.
    Source: Hyndman & Fan 1996, type 7; the order-statistic bound: Conover, Practical Nonparametric Statistics, 3.3.
    """
    values = _finite(samples, "samples")
    p50, p90, p99 = (float(q) for q in np.quantile(values, (0.5, 0.9, 0.99), method=QUARTILE_METHOD))
    return Percentiles(len(values), p50, p90, p99 if len(values) >= P99_SAMPLES else None)


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


def _judge(
    centre: float, error: float, degrees: float, confidence: float, margin: float, wider: float = 0.0
) -> tuple[float, float, Decision]:
    """Return low, high and decision for a log ratio with its standard error; `wider` is added to each half-width."""
    half = _student_t(confidence, degrees) * error + wider
    firm = _student_t(firm_confidence(confidence), degrees) * error + wider
    low, high, ratio = _exp(centre - half), _exp(centre + half), _exp(centre)
    if low >= 1 / (1 + margin) and high <= 1 + margin:
        return low, high, "within margin"
    if ratio > 1 + margin and centre > firm:
        return low, high, "faster"
    return low, high, "slower" if ratio < 1 / (1 + margin) and centre < -firm else "undecided"


def _student_t(confidence: float, degrees: float) -> float:
    from scipy.special import stdtrit  # here: collecting the suites must stay fast

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _exp(x: float) -> float:
    # Two blocks that disagree wildly give an honest interval wider than a float can say.
    return math.exp(x) if x < 709 else math.inf


def _check_fraction(confidence: float) -> None:
    if not _is_number(confidence) or not 0 < confidence < 1:
        raise UsageError(f"confidence (={confidence}) must lie between 0 and 1, for example 0.95")


def _is_number(value: object) -> bool:
    """Whether a setting is a number, NumPy's included; a text that holds one is not, nor is True."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_amount(value: float, name: str) -> None:
    if not _is_number(value) or not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{name} (={value}) must be a finite fraction, zero or more")


def _finite(values: Sequence[float], name: str) -> NDArray[np.float64]:
    if np.ma.is_masked(values):
        raise UsageError(f"{name} hides some of its numbers behind a mask: a block counts in both lanes or in neither")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
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
