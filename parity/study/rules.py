"""Rules that steer a training, as plain arithmetic: class weights, learning rates, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import DataError, UsageError

SCHEDULES = ("constant", "cosine", "exponential", "plateau")


def balanced_weights(labels: NDArray[Any]) -> list[float]:
    """Return each class's weight n / (k n_k): all classes together weigh as much as the images do.

    Raises
        DataError: a class without images.
    Source: sklearn.utils.class_weight.compute_class_weight("balanced").
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=2)
    if 0 in counts:
        raise DataError(f"class weights need images of each class, not {counts.tolist()}")
    return [float(weight) for weight in counts.sum() / (len(counts) * counts)]


def weighted_loss(logits: NDArray[Any], labels: NDArray[Any], weights: Sequence[float]) -> tuple[float, float]:
    """Return sum(w l) / n of binary cross-entropy l on logits in float64, and how far float32 may be from it.

    Each loss has at most eight roundings of terms up to 2 |x| + 1, the weight and the mean n + 2 more.
    """
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)[y.astype(int)]
    roundings = len(x) + 10
    bound = roundings * 2.0**-24 / (1 - roundings * 2.0**-24) * float(np.mean(w * (2 * np.abs(x) + 1)))
    return float(np.mean(w * (np.logaddexp(0.0, x) - y * x))), bound


def learning_rates(schedule: Mapping[str, Any], start: float, epochs: int, losses: Sequence[float]) -> list[float]:
    """Return the learning rate of each epoch.

    `cosine` falls from `start` to `end` over `epochs`; `exponential` is multiplied by `factor` after each epoch;
    `plateau` by `factor` (down to `end`) as soon as `patience` epochs in a row were not better by more than
    `min_delta`. `losses`: validation loss after each epoch, which only `plateau` looks at.

    Raises
        UsageError: no such schedule.
    """
    kind = schedule["kind"]
    if kind == "constant":
        return [start] * epochs
    if kind == "cosine":
        end = schedule["end"]
        return [end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]
    if kind == "exponential":
        return [start * schedule["factor"] ** epoch for epoch in range(epochs)]
    if kind != "plateau":
        raise UsageError(f"no learning-rate schedule `{kind}`: {', '.join(SCHEDULES)}")
    rates, best, wait = [start], math.inf, 0
    for loss in list(losses)[: epochs - 1]:
        better = loss + schedule["min_delta"] < best
        best, wait = (loss, 0) if better else (best, wait + 1)
        rate = rates[-1]
        if wait >= schedule["patience"]:
            rate, wait = max(rate * schedule["factor"], schedule["end"]), 0
        rates.append(rate)
    return rates


def stopping(losses: Sequence[float], patience: int, min_delta: float) -> tuple[int | None, int]:
    """Return the epoch, from 1, after which early stopping stops (None: never) and the best one, whose weights stay.

    It stops once `patience` epochs in a row were not better than the best one by more than `min_delta`.
    """
    best, best_epoch = math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        if loss + min_delta < best:
            best, best_epoch = loss, epoch
        elif epoch - best_epoch >= patience:
            return epoch, best_epoch
    return None, best_epoch
