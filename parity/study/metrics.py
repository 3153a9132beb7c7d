"""Figures of merit of a binary classifier, from scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.stats import wilson_interval

THRESHOLD = 0.5
CALIBRATION_BINS = 10


def binary_metrics(labels: NDArray[Any], logits: NDArray[Any], threshold_logit: float = 0.0) -> dict[str, Any]:
    """Return every figure of merit of one model on one set of images, each a fraction of 1 but for `n` and `loss`.

    `labels` (n,) of 0 and 1; `logits` (n,) of the positive class; an image is called positive where its logit lies
    above `threshold_logit` (0 is a probability of 0.5). What the threshold decides: accuracy with its 95 % Wilson
    interval, balanced accuracy, precision, recall, specificity, F1 and the confusion matrix (rows: what is; columns:
    what was said). What it does not: loss, ROC AUC, PR AUC (average precision), Brier score and `ece`, the calibration
    error (see `calibration_error`). A figure that is not defined (an AUC with one class, a precision without positive
    predictions) is None.

    Raises
        UsageError: nothing to measure, unequal lengths, or logits that are not finite.
    """
    y, z = _checked(labels, logits)
    loss, accuracy = loss_and_accuracy(y, z, threshold_logit)
    (tn, fp), (fn, tp) = confusion = _confusion(y, z > threshold_logit)
    low, high = wilson_interval(tn + tp, int(y.size))
    recall, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    return {
        "n": int(y.size),
        "loss": loss,
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
        "precision": _share(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _share(2 * tp, 2 * tp + fp + fn),
        **_ranking(y, z),
        "brier": float(np.mean((probabilities(z) - y) ** 2)),
        "ece": calibration_error(y, z),
        "confusion": confusion,
        "threshold": THRESHOLD if threshold_logit == 0 else float(probabilities(np.array([threshold_logit]))[0]),
    }


def loss_and_accuracy(labels: NDArray[Any], logits: NDArray[Any], threshold_logit: float = 0.0) -> tuple[float, float]:
    """Return binary cross-entropy per image and accuracy, all that a learning curve needs; see `binary_metrics`."""
    y, z = _checked(labels, logits)
    return float(np.mean(np.logaddexp(0.0, z) - y * z)), float(np.mean((z > threshold_logit) == (y == 1)))


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the probabilities of the positive class that belong to logits; no logit overflows."""
    from scipy.special import expit

    found: NDArray[np.float64] = expit(np.asarray(logits, dtype=np.float64))
    return found


def calibration_bins(labels: NDArray[Any], logits: NDArray[Any], bins: int = CALIBRATION_BINS) -> list[dict[str, Any]]:
    """Return the reliability diagram: images in `bins` equally wide bins of the probability of the positive class.

    Each bin that holds an image: its `n`, the mean `predicted` probability and the share `observed` to be positive.
    A probability on an edge belongs to the bin above it, 1 to the last.
    """
    y, z = _checked(labels, logits)
    p = probabilities(z)
    index = np.minimum((p * bins).astype(int), bins - 1)
    held = [(index == number) for number in range(bins)]
    return [
        {"n": int(inside.sum()), "predicted": float(p[inside].mean()), "observed": float(y[inside].mean())}
        for inside in held
        if inside.any()
    ]


def calibration_error(labels: NDArray[Any], logits: NDArray[Any], bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error: |predicted - observed| of `calibration_bins`, weighted by their images.

    Source: Naeini, Cooper, Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning", AAAI;
    here over the probability of the positive class, as in a reliability diagram of two classes.
    """
    found = calibration_bins(labels, logits, bins)
    gap = sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in found)
    return float(gap / sum(row["n"] for row in found))


def choose_threshold(labels: NDArray[Any], logits: NDArray[Any]) -> float | None:
    """Return the logit above which an image is best called positive, by Youden's index on these (validation) images.

    Youden's index, recall + specificity - 1, asks for the best balanced accuracy: unlike accuracy it does not move
    with the share of positives, which in the chest radiographs is 74 % in training, 50 % in validation and 62 % in
    test. Candidates lie halfway between neighbouring logits; of equally good ones the nearest to 0 (a probability of
    0.5) is taken, so that a validation set that several thresholds part perfectly moves nothing without a reason. None
    where only one class is present.

    Source: Youden 1950, "Index for rating diagnostic tests", Cancer 3:32.
    """
    y, z = _checked(labels, logits)
    positives, negatives = int(y.sum()), int((1 - y).sum())
    if not positives or not negatives:
        return None
    values = np.unique(z)
    middles = values[:-1] + np.diff(values) / 2
    cuts = np.concatenate([[min(0.0, values[0] - 1.0), 0.0, max(0.0, values[-1] + 1.0)], middles])
    above_positive = positives - np.searchsorted(np.sort(z[y == 1]), cuts, side="right")
    below_negative = np.searchsorted(np.sort(z[y == 0]), cuts, side="right")
    # In whole numbers: two thresholds that are equally good must be seen to be.
    scores = above_positive * negatives + below_negative * positives
    best = cuts[scores == scores.max()]
    return float(best[np.argmin(np.abs(best))])


def roc_points(labels: NDArray[Any], logits: NDArray[Any], false_positive_rates: NDArray[Any]) -> NDArray[np.float64]:
    """Return the true positive rate at each given false positive rate, along the straight lines of the ROC curve.

    Raises
        UsageError: one class only.
    """
    from sklearn import metrics

    y, z = _checked(labels, logits)
    if len(np.unique(y)) < 2:
        raise UsageError("a ROC curve needs images of both classes")
    fpr, tpr, _ = metrics.roc_curve(y, z, drop_intermediate=False)
    found: NDArray[np.float64] = np.interp(false_positive_rates, fpr, tpr)
    return found


def _checked(labels: NDArray[Any], logits: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    y, z = np.asarray(labels).astype(np.int64), np.asarray(logits, dtype=np.float64)
    if y.size == 0 or y.shape != z.shape:
        raise UsageError(f"`labels` {y.shape} and `logits` {z.shape} must be equally many, and at least one")
    if not np.isfinite(z).all():
        raise UsageError(f"{int((~np.isfinite(z)).sum())} of {z.size} logits are not finite: the model has diverged")
    return y, z


def _confusion(y: NDArray[np.int64], said: NDArray[np.bool_]) -> list[list[int]]:
    found: list[list[int]] = np.bincount(2 * y + said, minlength=4).reshape(2, 2).tolist()
    return found


def _ranking(y: NDArray[np.int64], z: NDArray[np.float64]) -> dict[str, float | None]:
    """Return the areas under the two curves; average precision is the step-wise one, without interpolation."""
    from sklearn import metrics

    if len(np.unique(y)) < 2:
        return {"auc": None, "pr_auc": None}
    return {"auc": float(metrics.roc_auc_score(y, z)), "pr_auc": float(metrics.average_precision_score(y, z))}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
