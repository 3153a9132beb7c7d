"""Intervals and paired tests of the study: known answers, simulated coverage and false alarms, and faults that show."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.study.inference import (
    delong,
    equivalence,
    mcnemar,
    mean_interval,
    paired_difference,
    patient_interval,
    weighted_auc,
    weighted_mean,
)

STUDIES = 400


def between(hits: int, share: float, studies: int = STUDIES, sigmas: float = 3.5) -> bool:
    """Tell whether a simulated rate agrees with its nominal share."""
    return abs(hits / studies - share) < sigmas * math.sqrt(share * (1 - share) / studies)


# Means, paired differences, equivalence.


def test_mean_and_t_interval_by_hand() -> None:
    found = mean_interval([0.70, 0.74, 0.78])
    # sd 0.04, t(0.975; 2) = 4.302653
    assert found.mean == pytest.approx(0.74)
    assert found.n == 3
    assert found.high == pytest.approx(0.74 + 4.302653 * 0.04 / math.sqrt(3), abs=1e-6)
    assert mean_interval([0.7]).low is None


def test_paired_seeds_cancel_what_they_share() -> None:
    a, b = [0.70, 0.80, 0.90], [0.69, 0.79, 0.89]
    found = paired_difference(a, b)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)
    with pytest.raises(UsageError, match="a has 3, b has 2"):
        paired_difference(a, b[:2])


@pytest.mark.parametrize("bad", [[], [math.nan, 0.5], [math.inf]])
def test_figures_that_are_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(UsageError, match="finite figures"):
        mean_interval(bad)


def test_equivalence_by_hand() -> None:
    # Mean 0, standard error 0.005: t = 4 with 3 degrees of freedom, one-sided p = 0.01400.
    spread = 0.005 * math.sqrt(4)
    values = spread * np.array([1.0, -1.0, 1.0, -1.0]) * math.sqrt(3 / 4)
    found = equivalence(list(values), margin=0.02)
    assert found.p == pytest.approx(0.014004, abs=1e-5)
    assert found.decision == "equivalent"
    assert equivalence(list(values), margin=0.005).decision == "undecided"
    assert equivalence(list(values + 0.05)).decision == "different"
    assert equivalence([0.0]).decision == "undecided"
    assert equivalence([0.0] * 5).decision == "equivalent"
    assert equivalence([0.03] * 5).decision == "different"
    assert equivalence([0.0] * 4).decision == "undecided"  # accuracies of few images coincide by chance
    with pytest.raises(UsageError, match="above 0, not 0"):
        equivalence([0.0, 0.1], margin=0.0)


def test_equivalence_is_the_90_percent_interval_inside_the_margin() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        values = list(rng.normal(rng.uniform(-0.02, 0.02), 0.02, 8))
        inner = mean_interval(values, confidence=0.90)
        assert inner.low is not None
        assert inner.high is not None
        inside = inner.low > -0.02 and inner.high < 0.02
        assert (equivalence(values).decision == "equivalent") == inside


def test_the_interval_covers_and_equivalence_is_rarely_declared_at_the_margin() -> None:
    rng = np.random.default_rng(2)
    covered = declared = powerful = 0
    for _ in range(STUDIES):
        at_margin = rng.normal(0.02, 0.02, 10)
        found = mean_interval(list(at_margin))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.02 <= found.high
        declared += equivalence(list(at_margin)).decision == "equivalent"
        powerful += equivalence(list(rng.normal(0.0, 0.01, 10))).decision == "equivalent"
    assert between(covered, 0.95)
    assert between(declared, 0.05)
    assert powerful > 0.95 * STUDIES


def test_no_difference_found_is_not_equivalence() -> None:
    """The planted fault: reading "p above 0.05" as "the same" would call these few, wide seeds equivalent."""
    wide = [0.10, -0.09, 0.02]
    found = paired_difference(wide, [0.0] * 3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert equivalence(wide).decision == "undecided"


# McNemar.


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def test_mcnemar_by_hand() -> None:
    found = mcnemar(*answers(50, 1, 8, 10))
    # Two-sided binomial: 2 (C(9,0) + C(9,1)) / 2^9 = 20/512.
    assert (found.only_a, found.only_b) == (1, 8)
    assert found.p == pytest.approx(20 / 512)
    assert mcnemar(*answers(5, 0, 0, 3)).p == 1.0
    assert mcnemar(*answers(0, 4, 4, 0)).p == 1.0
    with pytest.raises(UsageError, match=re.escape("(3,) and (2,)")):
        mcnemar(np.ones(3), np.ones(2))


def test_mcnemar_looks_at_images_and_not_at_accuracies() -> None:
    """The planted fault: unpaired, 60 against 53 of 69 right is nothing; paired, the same counts differ."""
    apart, shuffled = mcnemar(*answers(53, 7, 0, 9)), mcnemar(*answers(44, 16, 9, 0))
    assert apart.p < 0.05 < shuffled.p
    assert apart.only_a - apart.only_b == shuffled.only_a - shuffled.only_b


def test_false_alarms_of_mcnemar_stay_below_nominal() -> None:
    rng = np.random.default_rng(3)
    alarms = sum(mcnemar(*(rng.uniform(size=(2, 300)) < 0.85)).p < 0.05 for _ in range(STUDIES))
    assert alarms <= 0.05 * STUDIES + 3.5 * math.sqrt(0.05 * 0.95 * STUDIES)
    assert alarms > 0  # exact, and so conservative, but not dead


# DeLong.


def brute_force(
    labels: NDArray[np.int64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Areas and the variance of their difference from the definition: every pair of a positive and a negative."""

    def kernel(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = scores[labels == 1][:, None], scores[labels == 0][None, :]
        return np.where(x > y, 1.0, np.where(x == y, 0.5, 0.0))

    psi = [kernel(a), kernel(b)]
    v10 = [k.mean(axis=1) for k in psi]
    v01 = [k.mean(axis=0) for k in psi]
    m, n = psi[0].shape

    def s(v: list[NDArray[np.float64]], i: int, j: int, count: int) -> float:
        return float(
            sum((p - psi[i].mean()) * (q - psi[j].mean()) for p, q in zip(v[i], v[j], strict=True)) / (count - 1)
        )

    total = {(i, j): s(v10, i, j, m) / m + s(v01, i, j, n) / n for i, j in itertools.product((0, 1), repeat=2)}
    return float(psi[0].mean()), float(psi[1].mean()), total[0, 0] + total[1, 1] - 2 * total[0, 1]


@pytest.mark.parametrize("ties", [False, True])
def test_fast_delong_is_delong(ties: bool) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        labels = rng.permutation(np.repeat([0, 1], [rng.integers(3, 30), rng.integers(3, 30)]))
        a = labels + rng.normal(0, 1.2, labels.size)
        b = 0.5 * a + labels + rng.normal(0, 1.0, labels.size)
        if ties:
            a, b = np.round(a), np.round(b)
        area_a, area_b, variance = brute_force(labels, a, b)
        found = delong(labels, a, b)
        assert found.auc_a == pytest.approx(area_a)
        assert found.auc_b == pytest.approx(area_b)
        if found.low is None:
            assert variance < 1e-12
        else:
            half = 1.959964 * math.sqrt(variance)
            assert found.low == pytest.approx(area_a - area_b - half, abs=1e-6)
            assert found.p == pytest.approx(math.erfc(abs(area_a - area_b) / math.sqrt(2 * variance)), abs=1e-6)


def test_equal_rankings_have_no_p() -> None:
    labels = np.array([0, 1, 0, 1, 1])
    scores = np.array([0.1, 0.8, 0.3, 0.4, 0.2])
    found = delong(labels, scores, 3 * scores - 7)
    assert (found.difference, found.p, found.low) == (0.0, None, None)
    with pytest.raises(UsageError, match="two images of each class"):
        delong(np.array([0, 0, 1]), scores[:3], scores[:3])


def test_rankings_that_are_all_right_and_all_wrong_are_no_equal_ones() -> None:
    labels = np.array([0, 0, 1, 1])
    found = delong(labels, labels, -labels)
    assert (found.difference, found.p, found.low) == (1.0, 0.0, None)


@pytest.mark.parametrize("images", [1, 12, 13])
def test_equal_whole_numbers_of_images_are_equal_whatever_their_last_bit_says(images: int) -> None:
    """k/624 - j/624 of two seeds differ in the last bit, and a t interval of that would settle anything."""
    n, rounded = 624, 0
    for k in range(images, n):
        first, second = images / n, k / n - (k - images) / n
        rounded += first != second
        assert equivalence([first, second]).decision == "undecided"
        found = mean_interval([first, second])
        assert found.low == found.high == found.mean
    assert rounded > 100, "the fault that this test is about"


def correlated(
    rng: np.random.Generator, second: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    labels = np.repeat([0, 1], [60, 100])
    shared = rng.normal(0, 1, labels.size)
    return labels, labels + shared + rng.normal(0, 0.7, 160), second * labels + shared + rng.normal(0, 0.7, 160)


def test_false_alarms_and_power_of_delong_and_the_fault_of_forgetting_the_pairing() -> None:
    rng = np.random.default_rng(5)
    alarms = found = unpaired = 0
    for _ in range(STUDIES):
        p = delong(*correlated(rng, 1.0)).p
        alarms += p is not None and p < 0.05
        labels, a, b = correlated(rng, 1.35)
        p = delong(labels, a, b).p
        found += p is not None and p < 0.05
        # Planted: the second model's images in another order (within their class), as if other images had been used.
        mixed = np.concatenate([rng.permutation(b[:60]), rng.permutation(b[60:])])
        p = delong(labels, a, mixed).p
        unpaired += p is not None and p < 0.05
    assert between(alarms, 0.05)
    assert found > 1.4 * unpaired


# Bootstrap over patients.


def clinic(rng: np.random.Generator, patients: int = 80) -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
    """Draw patients of one to eight films, whose chance to be read rightly is their own: 0.75 on average."""
    films = rng.integers(1, 9, patients)
    names = [f"p{i}" for i, count in enumerate(films) for _ in range(count)]
    labels = np.repeat((np.arange(patients) % 5 > 1).astype(int), films)
    right = rng.uniform(size=len(names)) < np.repeat(rng.beta(1.5, 0.5, patients), films)
    return names, labels, right


def test_the_interval_over_patients_covers_and_one_over_images_does_not() -> None:
    rng = np.random.default_rng(6)
    over_patients = over_images = 0
    for study in range(STUDIES):
        names, labels, right = clinic(rng)
        found = patient_interval(names, labels, weighted_mean(right), seed=study, resamples=400)
        assert found.low is not None
        assert found.high is not None
        over_patients += found.low <= 0.75 <= found.high
        half = 1.959964 * right.std() / math.sqrt(right.size)  # planted: images taken for independent
        over_images += abs(right.mean() - 0.75) <= half
    assert over_patients > 0.91 * STUDIES
    assert over_images < 0.86 * STUDIES


def test_the_interval_of_an_area_covers() -> None:
    rng = np.random.default_rng(7)
    covered, studies = 0, 200
    truth = 0.5 * math.erfc(-1.0 / math.sqrt(2 * (1.0 + 0.25)) / math.sqrt(2))  # Phi(1 / sqrt(2 (1 + 0.5^2)))
    for study in range(studies):
        films = rng.integers(1, 5, 80)
        labels = np.repeat((np.arange(80) % 2), films)
        scores = labels + np.repeat(rng.normal(0, 1.0, 80), films) + rng.normal(0, 0.5, labels.size)
        names = [f"p{i}" for i, count in enumerate(films) for _ in range(count)]
        found = patient_interval(names, labels, weighted_auc(labels, scores), seed=study, resamples=400)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered > 0.90 * studies


def test_a_weighted_area_is_that_of_the_drawn_images() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(8)
    labels, scores = rng.integers(0, 2, 40), np.round(rng.normal(size=40), 1)
    weights = rng.integers(0, 3, (6, 40)).astype(float)
    areas = weighted_auc(labels, scores)(weights)
    for row, area in zip(weights, areas, strict=True):
        assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))


def test_single_films_of_many_patients_give_the_interval_over_images() -> None:
    rng = np.random.default_rng(9)
    right = rng.uniform(size=600) < 0.8
    found = patient_interval([str(i) for i in range(600)], np.arange(600) % 2, weighted_mean(right), resamples=1000)
    half = 1.959964 * right.std() / math.sqrt(600)
    assert found.low == pytest.approx(right.mean() - half, abs=0.006)
    assert found.high == pytest.approx(right.mean() + half, abs=0.006)
    assert found.method == "BCa"
    assert found.patients == 600


def test_what_the_bootstrap_cannot_say() -> None:
    always = patient_interval(list("aabbcc"), np.array([0, 0, 1, 1, 1, 0]), weighted_mean(np.ones(6)))
    assert (always.value, always.low) == (1.0, None)
    never_varies = patient_interval(list("abcd"), np.array([0, 0, 1, 1]), weighted_mean(np.ones(4)))
    assert (never_varies.low, never_varies.method) == (None, "none: it does not vary over patients")
    one = patient_interval(list("aaaa"), np.array([0, 0, 1, 1]), weighted_mean(np.arange(4)))
    assert (one.low, one.method) == (None, "none: fewer than two patients")
    # One patient who has films of both classes does not take the interval of two hundred others away.
    names, labels = [str(i) for i in range(200)] + ["0"], np.append(np.arange(200) % 2, 1)
    lone = patient_interval(names, labels, weighted_mean(np.arange(201) % 3))
    assert lone.low is not None
    with pytest.raises(UsageError, match="2 patients for 3 rows"):
        patient_interval(["a", "b"], np.zeros(3), weighted_mean(np.ones(3)))
    again = [patient_interval(list("abcdef"), np.arange(6) % 2, weighted_mean(np.arange(6)), seed=3) for _ in range(2)]
    assert again[0] == again[1]
