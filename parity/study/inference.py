"""What a handful of seeds and a few hundred images allow to say: intervals, equivalence, paired tests.

Two things vary when a model is trained again on new children: the seed and the patients. Intervals over seeds (t)
speak of the first with the test images as they are; `patient_interval` speaks of the second. Neither includes the
other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

CONFIDENCE = 0.95
MARGIN = 0.02
"""Equivalence margin, a fraction of accuracy: 12 of the 624 official test images; the published gap is 0.26."""
SIGNIFICANCE = 0.05
COARSE_SEEDS = 5
"""Equal differences of fewer seeds settle nothing: accuracies are whole numbers of images, and coincide by chance."""
RESAMPLES = 2_000
SAME = 1e-12
"""Figures of seeds that differ by less are the same number of images: k/n - j/n is rounded in its last bit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` seeds with its t interval; `low` and `high` are None for one seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided t tests of paired differences against `margin`: the larger of their p, and what follows.

    `decision` is `equivalent`, `different` (the 95 % interval leaves 0 out and equivalence is not shown) or
    `undecided`; `p` is None for one seed.
    """

    margin: float
    p: float | None
    decision: str


@dataclass(frozen=True, slots=True)
class McNemar:
    """Images that only one of two models calls rightly, and the exact two-sided p of so uneven a parting."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two correlated ROC areas on the same images, their difference a - b with interval, and a two-sided p.

    `p`, `low` and `high` are None where equal rankings leave the difference no variance, and `p` is 0 where rankings
    without a single error on one side and with nothing else on the other do.
    """

    auc_a: float
    auc_b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class PatientInterval:
    """A statistic with its bootstrap interval over `patients`; `method` names what gave the interval."""

    value: float
    low: float | None
    high: float | None
    patients: int
    method: str


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return mean and t interval of one figure over seeds.

    Raises
        UsageError: no values, or one that is not finite.
    """
    found = _finite(values)
    mean, n = float(found.mean()), len(found)
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = _student(0.5 + confidence / 2, n - 1) * _spread(found) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return mean and t interval of a - b, entry i of both belonging to one seed.

    Raises
        UsageError: unequal lengths.
    """
    if len(a) != len(b):
        raise UsageError(f"paired seeds needed: a has {len(a)}, b has {len(b)}")
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], confidence)


def equivalence(differences: Sequence[float], margin: float = MARGIN, alpha: float = SIGNIFICANCE) -> Equivalence:
    """Test whether paired differences are surely smaller than `margin` to both sides.

    Equivalence is declared where both one-sided t tests reject at `alpha`: exactly where the 1 - 2 alpha interval lies
    inside the margin. At a true difference of exactly the margin that happens in at most `alpha` of all studies.

    Raises
        UsageError: a margin that is not above 0.
    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach",
    J. Pharmacokinet. Biopharm. 15:657.
    """
    if not margin > 0:
        raise UsageError(f"an equivalence margin must be above 0, not {margin}")
    found = _finite(differences)
    n = len(found)
    if n == 1:
        return Equivalence(margin, None, "undecided")
    mean, error = float(found.mean()), _spread(found) / math.sqrt(n)
    if error == 0:
        p = 0.0 if abs(mean) < margin else 1.0
        decision = "undecided" if n < COARSE_SEEDS else "equivalent" if p == 0 else "different"
        return Equivalence(margin, p, decision)
    p = max(_upper_tail((margin + mean) / error, n - 1), _upper_tail((margin - mean) / error, n - 1))
    apart = abs(mean) / error > _student(1 - SIGNIFICANCE / 2, n - 1)
    return Equivalence(margin, p, "equivalent" if p <= alpha else "different" if apart else "undecided")


def mcnemar(right_a: NDArray[Any], right_b: NDArray[Any]) -> McNemar:
    """Test whether two models are right on equally many of the same images, by the exact binomial test.

    `right_a`, `right_b` (n,) of booleans, image i in both. The test takes images for independent; several films of one
    patient are not, so that on such data it rejects too often and `patient_interval` is the one to believe.

    Raises
        UsageError: unequal lengths, or no images.
    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions", Psychometrika
    12:153; exact form by the binomial distribution of the discordant pairs.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise UsageError(f"equally many answers to the same images needed, not {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p)


def delong(
    labels: NDArray[Any], scores_a: NDArray[Any], scores_b: NDArray[Any], confidence: float = CONFIDENCE
) -> DeLong:
    """Compare two ROC areas on the same images; O(n log n) by midranks.

    `labels` (n,) of 0 and 1, `scores_a` and `scores_b` (n,), larger meaning more positive. Images are taken for
    independent, as in `mcnemar`.

    Raises
        UsageError: unequal lengths, or fewer than two images of a class.
    Source: DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837; Sun & Xu 2014, "Fast implementation of DeLong's
    algorithm", IEEE Signal Processing Letters 21:1389.
    """
    from scipy.special import ndtr, ndtri

    y = np.asarray(labels).astype(bool)
    scores = np.stack([np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)])  # (2, n)
    if y.ndim != 1 or scores.shape != (2, y.size):
        raise UsageError(f"equally many labels and scores needed, not {y.shape} and {scores.shape}")
    if min(int(y.sum()), int((~y).sum())) < 2:
        raise UsageError("DeLong's test needs two images of each class")
    aucs, covariance = _delong_covariance(scores[:, y], scores[:, ~y])
    difference = float(aucs[0] - aucs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-18:  # rankings that agree leave rounding here
        p_value = None if abs(difference) <= SAME else 0.0
        return DeLong(float(aucs[0]), float(aucs[1]), difference, None, None, p_value)
    error = math.sqrt(variance)
    half = float(ndtri(0.5 + confidence / 2)) * error
    p = float(2 * ndtr(-abs(difference) / error))
    return DeLong(float(aucs[0]), float(aucs[1]), difference, difference - half, difference + half, p)


def patient_interval(
    patients: Sequence[str],
    labels: NDArray[Any],
    statistic: Callable[[Floats], Floats],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> PatientInterval:
    """Return the bootstrap interval of a statistic over patients, all images of a drawn patient coming with him.

    `patients` (n,) and `labels` (n,) belong to the rows; `statistic` takes weights (draws, n), how often each row was
    drawn, and returns one value per draw, such as `weighted_mean` or `weighted_auc` give. Patients are drawn with
    replacement within strata of equal classes (negative only, positive only, both), so that every draw has the classes
    of the whole in about their numbers. The interval is BCa (bias-corrected and accelerated); where that is not
    defined, the percentile one. None where the statistic never varies: models that are right on every patient drawn
    may still be wrong on the next one. A stratum of a single patient joins the largest one; None with one patient.

    Measured over 1,000 simulated clinics each of 40, 80 and 300 patients with one to eight films, whose chance to be
    read rightly is the patient's own: this interval covers the truth in 94.1, 93.6 and 93.9 %, and the usual one, which
    takes images for independent, in 77.8, 75.9 and 77.3 %.

    Raises
        UsageError: unequal lengths, or no rows.
    Source: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 14; Field & Welsh 2007,
    "Bootstrapping clustered data", J. R. Stat. Soc. B 69:369 (the cluster bootstrap); scipy.stats.bootstrap.
    """
    y = np.asarray(labels).astype(int)
    if len(patients) != y.size or y.size == 0:
        raise UsageError(f"{len(patients)} patients for {y.size} rows: one for each is needed, and at least one")
    names, member = np.unique(np.asarray(patients), return_inverse=True)
    strata = _strata(member, y, len(names))
    value = float(statistic(np.ones((1, y.size)))[0])
    if min(len(stratum) for stratum in strata) < 2:
        return PatientInterval(value, None, None, len(names), "none: fewer than two patients")

    def of_draws(*drawn: NDArray[Any], axis: int = -1) -> Floats:
        counts = _patient_counts(drawn, len(names), axis)
        return statistic(counts[..., member].reshape(-1, y.size)).reshape(counts.shape[:-1])

    for method in ("BCa", "percentile"):
        low, high = _bootstrap(strata, of_draws, method, seed, resamples, confidence)
        if high - low <= SAME:
            return PatientInterval(value, None, None, len(names), "none: it does not vary over patients")
        if math.isfinite(low) and math.isfinite(high):
            return PatientInterval(value, low, high, len(names), method)
    return PatientInterval(value, None, None, len(names), "none: the statistic is not defined in some draws")


def weighted_mean(values: NDArray[Any]) -> Callable[[Floats], Floats]:
    """Return the statistic "mean of `values` (n,)", such as the share of right answers, for `patient_interval`."""
    found = np.asarray(values, dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        means: Floats = (weights @ found) / weights.sum(axis=1)
        return means

    return statistic


def weighted_auc(labels: NDArray[Any], scores: NDArray[Any]) -> Callable[[Floats], Floats]:
    """Return the statistic "ROC area", ties counting half, for `patient_interval`."""
    y, values = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    _, rank = np.unique(values, return_inverse=True)
    order = np.argsort(rank, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(rank[order]) > 0])  # where each group of equal scores begins

    def statistic(weights: Floats) -> Floats:
        sorted_weights, positive = weights[:, order], y[order]
        negatives = np.add.reduceat(sorted_weights * ~positive, starts, axis=1)  # (draws, groups)
        positives = np.add.reduceat(sorted_weights * positive, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            areas: Floats = (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
        return areas

    return statistic


def _bootstrap(
    strata: list[NDArray[Any]],
    statistic: Callable[..., Floats],
    method: str,
    seed: int,
    resamples: int,
    confidence: float,
) -> tuple[float, float]:
    import warnings

    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate distribution is told by its NaN, and answered by the caller
        found = bootstrap(
            strata,
            statistic,
            n_resamples=resamples,
            vectorized=True,
            axis=-1,
            method=method,
            confidence_level=confidence,
            batch=200,  # bounds memory: 200 draws of a few thousand rows are a few MB
            rng=np.random.default_rng(seed),
        )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _strata(member: NDArray[Any], y: NDArray[Any], patients: int) -> list[NDArray[Any]]:
    """Part patient numbers by the classes of their images: negative only, positive only, both."""
    positive = np.bincount(member, weights=y, minlength=patients) > 0
    negative = np.bincount(member, weights=1 - y, minlength=patients) > 0
    kinds = (negative & ~positive, positive & ~negative, positive & negative)
    found = sorted((np.flatnonzero(kind) for kind in kinds if kind.any()), key=len)
    while len(found) > 1 and len(found[0]) < 2:
        found[-1] = np.concatenate([found[-1], found.pop(0)])
    return found


def _patient_counts(drawn: Sequence[NDArray[Any]], patients: int, axis: int) -> Floats:
    """Return how often each patient was drawn, (..., patients), from drawn patient numbers of each stratum."""
    moved = [np.moveaxis(np.asarray(part), axis, -1) for part in drawn]
    leading = np.broadcast_shapes(*(part.shape[:-1] for part in moved))
    draws = int(np.prod(leading, dtype=int))
    counts = np.zeros(draws * patients)
    for part in moved:  # the jackknife of one stratum leaves the others as they are, in one row
        rows = np.broadcast_to(part, (*leading, part.shape[-1])).reshape(draws, -1).astype(np.intp)
        counts += np.bincount((rows + patients * np.arange(draws)[:, None]).ravel(), minlength=counts.size)
    return counts.reshape(*leading, patients)


def _delong_covariance(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return the ROC areas of k models and their covariance (k, k) from scores (k, m) and (k, n)."""
    from scipy.stats import rankdata

    m, n = positive.shape[1], negative.shape[1]
    among_positive = rankdata(positive, axis=1)
    among_negative = rankdata(negative, axis=1)
    among_all = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    of_positive = (among_all[:, :m] - among_positive) / n  # share of negatives below each positive
    of_negative = 1.0 - (among_all[:, m:] - among_negative) / m
    covariance = np.cov(of_positive) / m + np.cov(of_negative) / n
    return of_positive.mean(axis=1), np.atleast_2d(covariance)


def _finite(values: Sequence[float]) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or found.size == 0 or not np.isfinite(found).all():
        raise UsageError(f"finite figures of at least one seed needed, not {values!r}")
    return found


def _spread(values: Floats) -> float:
    """Return the standard deviation of values, none where they differ by the rounding of equal fractions alone."""
    found = float(values.std(ddof=1))
    return found if found > SAME * max(1.0, float(np.abs(values).max())) else 0.0


def _student(quantile: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, quantile))


def _upper_tail(t: float, degrees: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))
