"""Figures of merit: known answers, and no figure where none is defined."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.errors import UsageError
from parity.study.metrics import (
    THRESHOLD,
    binary_metrics,
    calibration_bins,
    calibration_error,
    choose_threshold,
    roc_points,
)

# Two true positives, one false negative, one false positive, two true negatives; by logit: 2, 0.5, -1 | 1, -0.5, -3.
LABELS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
LOGITS = np.array([2.0, 0.5, -1.0, 1.0, -0.5, -3.0])


def test_known_answers() -> None:
    found = binary_metrics(LABELS, LOGITS)
    assert (found["n"], found["threshold"]) == (6, THRESHOLD)
    assert found["confusion"] == [[2, 1], [1, 2]]  # rows: what is; columns: what was predicted
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    # Of nine pairs, 2 beats three, 0.5 beats two, -1 beats one.
    assert found["auc"] == pytest.approx(6 / 9)
    losses = [math.log(1 + math.exp(-z if y else z)) for y, z in zip(LABELS, LOGITS, strict=True)]
    assert found["loss"] == pytest.approx(sum(losses) / 6, rel=1e-12)
    # Wilson for 4 of 6 at 95 %: centre (4 + z^2/2)/(6 + z^2), z = 1.959964.
    assert found["accuracy_low"] == pytest.approx(0.299993, abs=1e-5)
    assert found["accuracy_high"] == pytest.approx(0.903227, abs=1e-5)


def test_perfect_and_perfectly_wrong() -> None:
    perfect = binary_metrics(LABELS, np.where(LABELS, 5.0, -5.0))
    assert [perfect[name] for name in ("accuracy", "precision", "recall", "f1", "auc")] == [1.0] * 5
    assert perfect["accuracy_high"] == 1.0
    assert perfect["accuracy_low"] < 0.7  # six images prove little
    wrong = binary_metrics(LABELS, np.where(LABELS, -5.0, 5.0))
    assert [wrong[name] for name in ("accuracy", "precision", "recall", "f1", "auc")] == [0.0] * 5


def test_a_tie_in_the_ranking_counts_half() -> None:
    assert binary_metrics(np.array([0, 1]), np.array([0.7, 0.7]))["auc"] == 0.5


def test_a_logit_of_zero_is_not_above_one_half() -> None:
    assert binary_metrics(np.array([0, 1]), np.zeros(2))["confusion"] == [[1, 0], [1, 0]]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label: int) -> None:
    found = binary_metrics(np.full(3, label), np.array([1.0, -1.0, 2.0]))
    assert found["auc"] is None
    assert found["accuracy"] == pytest.approx(2 / 3 if label else 1 / 3)
    assert (found["recall"] is None) == (label == 0)
    assert sum(map(sum, found["confusion"])) == 3


def test_no_positive_prediction_has_no_precision() -> None:
    found = binary_metrics(LABELS, np.full(6, -1.0))
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)
    nothing = binary_metrics(np.zeros(4, int), np.full(4, -1.0))
    assert (nothing["precision"], nothing["recall"], nothing["f1"], nothing["accuracy"]) == (None, None, None, 1.0)


def test_huge_logits_have_a_finite_loss() -> None:
    found = binary_metrics(np.array([1, 0]), np.array([800.0, 800.0]))
    assert found["loss"] == pytest.approx(400.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    logits = np.array(LOGITS)
    logits[[1, 4]] = bad
    with pytest.raises(UsageError, match="2 of 6 logits are not finite: the model has diverged"):
        binary_metrics(LABELS, logits)


@pytest.mark.parametrize(("labels", "logits"), [([], []), ([0, 1], [1.0]), ([0, 1], [[1.0], [2.0]])])
def test_nothing_to_measure_is_refused(labels: list[int], logits: list[float]) -> None:
    a, b = np.array(labels), np.array(logits)
    with pytest.raises(UsageError, match=re.escape(f"`labels` {a.shape} and `logits` {b.shape} must be equally many")):
        binary_metrics(a, b)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(-9, 9)), min_size=1, max_size=30))
def test_the_confusion_matrix_explains_every_figure(rows: list[tuple[int, int]]) -> None:
    labels, logits = np.array([y for y, _ in rows]), np.array([float(z) for _, z in rows])
    found = binary_metrics(labels, logits)
    (true_negative, false_positive), (false_negative, true_positive) = found["confusion"]
    predicted, actual = true_positive + false_positive, true_positive + false_negative
    assert found["accuracy"] == pytest.approx((true_positive + true_negative) / len(rows))
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["precision"] == (pytest.approx(true_positive / predicted) if predicted else None)
    assert found["recall"] == (pytest.approx(true_positive / actual) if actual else None)
    either = predicted + actual
    assert found["f1"] == (pytest.approx(2 * true_positive / either) if either else None)
    pairs = [(p, n) for p in logits[labels == 1] for n in logits[labels == 0]]
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert found["auc"] == (pytest.approx(wins / len(pairs)) if pairs else None)


def test_known_answers_of_the_further_figures() -> None:
    found = binary_metrics(LABELS, LOGITS)
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)
    # Ranked: 2 (1), 1 (0), 0.5 (1), -0.5 (0), -1 (1), -3 (0): precision at each true positive is 1, 2/3 and 3/5.
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    p = 1 / (1 + np.exp(-LOGITS))
    assert found["brier"] == pytest.approx(np.mean((p - LABELS) ** 2), rel=1e-12)


def test_the_further_figures_that_are_not_defined() -> None:
    one = binary_metrics(np.ones(3), np.array([1.0, -1.0, 2.0]))
    assert (one["specificity"], one["balanced_accuracy"], one["pr_auc"]) == (None, None, None)
    assert one["brier"] is not None
    assert one["ece"] is not None


def test_calibration_error_by_hand() -> None:
    # Bin 0.6 to 0.7 holds two images, one of them positive; bin 0.9 to 1 one image, positive.
    logits = np.log(np.array([0.61, 0.69, 0.95]) / np.array([0.39, 0.31, 0.05]))
    expected = (2 * abs(0.65 - 0.5) + abs(0.95 - 1)) / 3
    assert calibration_error(np.array([0, 1, 1]), logits) == pytest.approx(expected)
    assert [row["n"] for row in calibration_bins(np.array([0, 1, 1]), logits)] == [2, 1]


def test_a_probability_on_an_edge_belongs_to_the_bin_above_and_one_to_the_last() -> None:
    rows = calibration_bins(np.array([0, 1, 1]), np.array([0.0, 0.01, 900.0]))
    assert [row["n"] for row in rows] == [2, 1]
    assert rows[-1]["predicted"] == 1.0


def test_calibrated_probabilities_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 2.0, 20_000)
    labels = (rng.uniform(size=20_000) < 1 / (1 + np.exp(-logits))).astype(int)
    assert calibration_error(labels, logits) < 0.015
    assert calibration_error(labels, 4 * logits) > 0.08  # the planted fault: logits four times too sure


def test_the_threshold_changes_what_it_decides_and_nothing_else() -> None:
    half, high = binary_metrics(LABELS, LOGITS), binary_metrics(LABELS, LOGITS, 1.5)
    assert high["confusion"] == [[3, 0], [2, 1]]
    assert high["threshold"] == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert (high["precision"], high["specificity"]) == (1.0, 1.0)
    for name in ("loss", "auc", "pr_auc", "brier", "ece"):
        assert high[name] == half[name]


def test_the_threshold_is_chosen_by_youdens_index() -> None:
    # All positives lie above 1, all negatives but one below: any cut in (0.9, 1.2) is perfect but for one image.
    labels = np.array([0, 0, 0, 0, 1, 1])
    logits = np.array([-2.0, 0.5, 0.9, 3.0, 1.2, 4.0])
    assert choose_threshold(labels, logits) == pytest.approx(1.05)


def test_of_equally_good_thresholds_the_nearest_to_one_half_is_taken() -> None:
    assert choose_threshold(np.array([0, 1]), np.array([-3.0, 5.0])) == 0.0  # not 1, halfway between them
    assert choose_threshold(np.array([0, 1]), np.array([2.0, 5.0])) == pytest.approx(3.5)
    assert choose_threshold(np.array([1, 0]), np.array([-1.0, 1.0])) in (-2.0, 2.0)  # worse than chance: call all one
    assert choose_threshold(np.array([1, 1]), np.array([-1.0, 1.0])) is None


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(-9, 9)), min_size=2, max_size=30))
def test_no_threshold_is_better_than_the_chosen_one(rows: list[tuple[int, int]]) -> None:
    labels, logits = np.array([y for y, _ in rows]), np.array([float(z) for _, z in rows])
    chosen = choose_threshold(labels, logits)
    if chosen is None:
        assert len(set(labels)) == 1
        return
    best = binary_metrics(labels, logits, chosen)["balanced_accuracy"]
    others = [binary_metrics(labels, logits, cut)["balanced_accuracy"] for cut in np.arange(-10.5, 10.6)]
    assert best == pytest.approx(max(others))


def test_roc_points_run_along_the_curve() -> None:
    grid = np.array([0.0, 1 / 3, 2 / 3, 1.0])
    # 2 beats all negatives; then the negative 1; then 0.5; then -0.5; then -1; then -3.
    assert roc_points(LABELS, LOGITS, grid) == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert np.trapezoid(roc_points(LABELS, LOGITS, np.linspace(0, 1, 3001)), dx=1 / 3000) == pytest.approx(
        6 / 9, abs=1e-3
    )
    with pytest.raises(UsageError, match="both classes"):
        roc_points(np.ones(2), np.zeros(2), grid)
