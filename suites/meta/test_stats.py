"""Known answers, coverage and refusals of `parity.stats`."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.errors import UsageError
from parity.stats import PairedRatio, paired_ratio, quartiles, wilson_interval


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
    assert false_claims / trials <= 0.07


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], "a has 2 blocks, b has 1"),
        ([], [], "a must be a non-empty flat sequence"),
        ([1.0], [0.0], r"b\[0\] \(=0.0\) must be a time above 0 s"),
        ([1.0, -2.0], [1.0, 1.0], r"a\[1\] \(=-2.0\) must be a time above 0 s"),
        ([1.0], [math.nan], r"b\[0\] \(=nan\) is not finite"),
        ([math.inf], [1.0], r"a\[0\] \(=inf\) is not finite"),
        (["fast"], [1.0], "a must be a sequence of numbers"),
        ([[1.0]], [1.0], r"not of shape \(1, 1\)"),
    ],
)
def test_impossible_times_are_refused_in_one_line(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        paired_ratio(a, b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_impossible_confidence_is_refused(confidence: float) -> None:
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
