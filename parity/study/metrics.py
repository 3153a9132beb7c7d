"""Figures of merit of a binary classifier, from scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.stats import wilson_interval

THRESHOLD = 0.5


def binary_metrics(labels: NDArray[Any], logits: NDArray[Any]) -> dict[str, Any]:
    """Return loss, accuracy with its 95 % Wilson interval, precision, recall, F1, ROC AUC and the confusion matrix.

    `labels` (n,) of 0 and 1, `logits` (n,) of the positive class, probability 0.5 as the threshold. A figure that is
    not defined (an AUC with one class, a precision without positive predictions) is None.

    Raises
        UsageError: nothing to measure, unequal lengths, or logits that are not finite.
    """
    from sklearn import metrics

    y, z = np.asarray(labels).astype(int), np.asarray(logits, dtype=np.float64)
    if y.size == 0 or y.shape != z.shape:
        raise UsageError(f"`labels` {y.shape} and `logits` {z.shape} must be equally many, and at least one")
    if not np.isfinite(z).all():
        raise UsageError(f"{int((~np.isfinite(z)).sum())} of {z.size} logits are not finite: the model has diverged")
    predicted = (z > 0).astype(int)  # a probability above 0.5 is a logit above 0
    correct = int((predicted == y).sum())
    low, high = wilson_interval(correct, int(y.size))
    confusion = metrics.confusion_matrix(y, predicted, labels=[0, 1])
    both = len(np.unique(y)) == 2
    return {
        "n": int(y.size),
        "loss": float(np.mean(np.logaddexp(0.0, z) - y * z)),
        "accuracy": correct / y.size,
        "accuracy_low": low,
        "accuracy_high": high,
        "precision": float(metrics.precision_score(y, predicted)) if predicted.any() else None,
        "recall": float(metrics.recall_score(y, predicted)) if y.any() else None,
        "f1": float(metrics.f1_score(y, predicted)) if predicted.any() or y.any() else None,
        "auc": float(metrics.roc_auc_score(y, z)) if both else None,
        "confusion": [[int(value) for value in row] for row in confusion],
        "threshold": THRESHOLD,
    }
