"""Known answers, coverage and refusals of `parity.stats`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.stats import (
    P99_SAMPLES,
    PairedRatio,
    firm_confidence,
    paired_ratio,
    percentiles,
    quartiles,
    unpaired_ratio,
    wilson_interval,
)


def _ratio_with_logs(*logs: float) -> PairedRatio:
    return paired_ratio([1.0] * len(logs), [math.exp(x) for x in logs])


def test_ratio_and_interval_by_hand() -> None:
    # logs 0.1, 0.2, 0.3: mean 0.2, sd 0.1, t(0.975, 2) = 4.302653 (any t table) -> half-width 0.2484137
    result = _ratio_with_logs(0.1, 0.2, 0.3)
    assert result.ratio == pytest.approx(math.exp(0.2), rel=1e-12)
    assert result.low == pytest.approx(math.exp(0.2 - 0.2484137), rel=1e-6)
    assert result.high == pytest.approx(math.exp(0.2 + 0.2484137), rel=1e-6)
    assert (result.blocks, result.decision, result.preliminary) == (3, "undecided", True)


def test_above_one_means_that_a_is_faster() -> None:
    slow, fast = [0.200, 0.210, 0.205], [0.100, 0.104, 0.103]
    assert paired_ratio(fast, slow).decision == "faster"
    assert paired_ratio(slow, fast).decision == "slower"
    assert paired_ratio(fast, slow).ratio == pytest.approx(1 / paired_ratio(slow, fast).ratio, rel=1e-12)


def test_pairing_removes_what_a_block_does_to_both_lanes() -> None:
    machine = np.array([1.0, 3.0, 0.5, 2.0, 1.4])  # the same lane moves 2 to 3x between blocks
    result = paired_ratio(list(0.1 * machine), list(0.11 * machine))
    assert result.ratio == pytest.approx(1.1, rel=1e-12)
    assert result.decision == "faster"


@pytest.mark.parametrize(
    ("logs", "decision"),
    [
        ((0.02, 0.021, 0.022), "within margin"),  # surely above 1, surely below 1.05: not a win
        ((0.0, 0.0), "within margin"),
        ((math.log(1.05) - 1e-12,) * 3, "within margin"),
        ((math.log(1.05) + 1e-9,) * 3, "faster"),
        ((-math.log(1.05) - 1e-9,) * 3, "slower"),
        ((0.04, 0.05, 0.06), "faster"),  # leaves the band on one side, stays above 1
        ((-0.3, 0.3, 0.1), "undecided"),
    ],
)
def test_decision_against_one_and_the_margin(logs: tuple[float, ...], decision: str) -> None:
    assert _ratio_with_logs(*logs).decision == decision


def test_a_winner_needs_a_ratio_outside_the_margin() -> None:
    # Surely above 1, and the interval leaves the band, but the ratio itself is within it: no winner.
    assert _ratio_with_logs(0.042, 0.044, 0.046, 0.052).decision == "undecided"
    assert _ratio_with_logs(0.052, 0.054, 0.056, 0.062).decision == "faster"


def test_a_winner_needs_the_stricter_interval() -> None:
    # logs 0.1, 0.2, 0.3: the standard error is 0.057735, t(0.975, 2) = 4.3027 and t(0.99, 2) = 6.9646 (any t table)
    almost, enough = 0.057735 * 6.9, 0.057735 * 7.0
    result = _ratio_with_logs(almost - 0.1, almost, almost + 0.1)
    assert result.low is not None
    assert result.low > 1
    assert result.decision == "undecided"
    assert _ratio_with_logs(enough - 0.1, enough, enough + 0.1).decision == "faster"
    assert _ratio_with_logs(0.1 - enough, -enough, -0.1 - enough).decision == "slower"
    assert firm_confidence() == pytest.approx(0.98)


def test_one_block_decides_nothing() -> None:
    result = paired_ratio([1.0], [100.0])
    assert result.ratio == pytest.approx(100.0)
    assert (result.low, result.high, result.blocks, result.decision) == (None, None, 1, "undecided")


def test_ten_blocks_are_no_longer_preliminary() -> None:
    assert paired_ratio([1.0] * 9, [2.0] * 9).preliminary
    assert not paired_ratio([1.0] * 10, [2.0] * 10).preliminary


def test_wild_blocks_widen_the_interval_without_overflow() -> None:
    result = paired_ratio([1e-300, 1e300], [1e300, 1e-300])
    assert (result.low, result.high, result.decision) == (0.0, math.inf, "undecided")


@pytest.mark.parametrize("blocks", [3, 5, 10])
def test_nominal_95_percent_covers_at_least_93(blocks: int) -> None:
    rng = np.random.default_rng(20240611 + blocks)
    trials, truth, covered, false_claims = 2000, 1.08, 0, 0
    for _ in range(trials):
        machine = rng.normal(0, 0.05, blocks)  # what a block does to both lanes
        tail = np.where(rng.random((2, blocks)) < 0.05, 0.10, 0.0) * rng.standard_exponential((2, blocks))
        a, b = np.exp(machine + rng.normal(0, 0.03, (2, blocks)) + tail)
        result = paired_ratio(a, b * truth)
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= truth <= result.high
        null = paired_ratio(a, b)
        false_claims += null.decision in ("faster", "slower")
    assert covered / trials >= 0.93
    assert false_claims / trials <= 0.03


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], "a has 2 blocks, b has 1"),
        ([], [], "a must be a non-empty flat sequence"),
        ([1.0], [0.0], r"b\[0\] \(=0.0\) must be a time above 0 s"),
        ([1.0, -2.0], [1.0, 1.0], r"a\[1\] \(=-2.0\) must be a time above 0 s"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), [1.0, 2.0], "a hides some of its numbers behind a mask"),
        ([1.0], [math.nan], r"b\[0\] \(=nan\) is not finite"),
        ([math.inf], [1.0], r"a\[0\] \(=inf\) is not finite"),
        (["fast"], [1.0], "a must be a sequence of numbers"),
        ([10**400], [1.0], "a must be a sequence of numbers"),
        ([[1.0]], [1.0], r"not of shape \(1, 1\)"),
    ],
)
def test_impossible_times_are_refused_in_one_line(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        paired_ratio(a, b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan, "0.95", None, True])
def test_impossible_confidence_is_refused(confidence: Any) -> None:
    with pytest.raises(UsageError, match="confidence"):
        paired_ratio([1.0, 2.0], [1.0, 2.0], confidence)
    with pytest.raises(UsageError, match="confidence"):
        wilson_interval(1, 2, confidence)


def test_impossible_margin_is_refused() -> None:
    with pytest.raises(UsageError, match="margin"):
        paired_ratio([1.0], [1.0], margin=-0.01)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_known_answers(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_ends_are_exact() -> None:
    assert wilson_interval(0, 7)[0] == 0.0
    assert wilson_interval(7, 7)[1] == 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(UsageError, match="successes"):
        wilson_interval(successes, n)


def test_quartiles_known_answer() -> None:
    # The textbook sample of https://en.wikipedia.org/wiki/Quartile; type 7 gives 25.5, 40, 42.5.
    result = quartiles([6, 7, 15, 36, 39, 40, 41, 42, 43, 47, 49])
    assert (result.n, result.q1, result.median, result.q3) == (11, 25.5, 40.0, 42.5)
    assert result.spread == pytest.approx(17 / 40)
    assert result.flag == "!!"


@pytest.mark.parametrize(("samples", "flag"), [([10, 10, 10], ""), ([9, 10, 11.2], "!"), ([5, 10, 15], "!!")])
def test_spread_flags(samples: list[float], flag: str) -> None:
    assert quartiles(samples).flag == flag


def test_one_sample_has_no_spread() -> None:
    result = quartiles([3.0])
    assert (result.q1, result.median, result.q3, result.spread, result.flag) == (None, 3.0, None, None, "")


def test_no_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="samples must be a non-empty"):
        quartiles([])


def test_the_unpaired_interval_is_that_of_welch() -> None:
    from scipy.stats import ttest_ind

    a, b = [0.10, 0.11, 0.104, 0.13], [0.21, 0.19, 0.205, 0.25, 0.2, 0.22]
    result = unpaired_ratio(a, b)
    expected = ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)), rel=1e-12)
    assert result.ratio == pytest.approx(math.exp(np.log(b).mean() - np.log(a).mean()))
    assert (result.blocks_a, result.blocks_b, result.blocks, result.preliminary) == (4, 6, 4, True)
    assert (result.decision, unpaired_ratio(b, a).decision) == ("faster", "slower")


def test_a_moved_machine_widens_both_sides() -> None:
    a, b = [0.100, 0.101, 0.102], [0.110, 0.111, 0.112]
    still, moved = unpaired_ratio(a, b), unpaired_ratio(a, b, moved=0.2)
    assert (still.decision, moved.decision) == ("faster", "undecided")
    assert None not in (still.low, still.high)
    assert moved.low == pytest.approx(still.low / 1.2)  # type: ignore[operator]
    assert moved.high == pytest.approx(still.high * 1.2)  # type: ignore[operator]


def test_unpaired_edges() -> None:
    assert unpaired_ratio([1.0], [2.0, 2.0]).low is None
    assert unpaired_ratio([1.0], [2.0, 2.0]).decision == "undecided"
    assert unpaired_ratio([1.0, 1.0], [1.0, 1.0, 1.0]).decision == "within margin"
    with pytest.raises(UsageError, match="moved"):
        unpaired_ratio([1.0], [1.0], moved=-0.1)
    with pytest.raises(UsageError, match="b must be a non-empty"):
        unpaired_ratio([1.0], [])


def test_percentiles_known_answer() -> None:
    # Type 7 on 0..299: the p-th percentile is p/100 * 299.
    result = percentiles([float(i) for i in range(300)])
    assert (result.n, result.p50) == (300, 149.5)
    assert result.p90 == pytest.approx(269.1)
    assert result.p99 == pytest.approx(296.01)


def test_p99_needs_enough_samples_for_one_to_lie_beyond_it() -> None:
    assert percentiles([1.0] * P99_SAMPLES).p99 == 1.0
    assert percentiles([1.0] * (P99_SAMPLES - 1)).p99 is None
    assert 1 - 0.99**P99_SAMPLES >= 0.95 > 1 - 0.99 ** (P99_SAMPLES - 1)
    with pytest.raises(UsageError, match="samples must be a non-empty"):
        percentiles([])
