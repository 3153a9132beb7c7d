"""The real adapters with one fault each in how they train; which one, `PARITY_PRACTICE_FAULT` says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.adapters.tensorflow import TensorflowAdapter
from parity.adapters.torch import TorchAdapter


def planted(fault: str) -> bool:
    return os.environ.get("PARITY_PRACTICE_FAULT") == fault


class FaultyTorch(TorchAdapter):
    """Faults as people make them in a loop of their own."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._unsteady = np.random.default_rng() if planted("unsteady") else None

    def _theta(self, matrix: Array, height: int, width: int) -> Any:
        theta = super()._theta(matrix, height, width)
        if planted("half-pixel"):
            theta[0, 0, 2] += 1.0 / width  # what mixing up `align_corners` does at one edge
        return theta

    def _checkpoint(self, early: Any, scheduler: Any) -> dict[str, Any]:
        content = super()._checkpoint(early, scheduler)
        for fault, key in (("no-slots", "optimizer"), ("no-random", "random")):
            if planted(fault):
                del content[key]
        return content

    def _weights_of(self, y: Any, class_weights: Sequence[float] | None) -> Any:
        swapped = planted("swapped-weights") and class_weights is not None
        return super()._weights_of(y, list(class_weights)[::-1] if swapped and class_weights else class_weights)

    def _scheduler(self, optimizer: Any, schedule: Mapping[str, Any], epochs: int) -> Any:
        late = planted("late-plateau") and schedule["kind"] == "plateau"
        return super()._scheduler(
            optimizer, {**schedule, "patience": schedule["patience"] + 1} if late else schedule, epochs
        )

    def practice_stopping(self, stopping: dict[str, Any], losses: Sequence[float]) -> dict[str, Any]:
        more = 1 if planted("patience") else 0
        return super().practice_stopping({**stopping, "patience": stopping["patience"] + more}, losses)

    def _augmented(self, x: Any, given: Mapping[str, Any], warps: bool) -> Any:
        found = super()._augmented(x, given, warps)
        return found if self._unsteady is None else (found + float(self._unsteady.uniform(0, 1e-3))).clamp(0, 1)


class FaultyTensorflow(TensorflowAdapter):
    """Keras without what its own callbacks forget."""

    def _restore(self, resume: str, early: Any, schedule: Any) -> list[dict[str, Any]]:
        if not planted("forgetful"):
            return super()._restore(resume, early, schedule)
        known = {name: getattr(early, name) for name in ("wait", "best", "best_epoch", "stopped_epoch", "best_weights")}
        rows = super()._restore(resume, early, schedule)
        for name, value in known.items():
            setattr(early, name, value)
        return rows

    def _load(self, checkpoint: Any) -> None:
        if planted("no-seeds"):
            self._fitted.load_weights(checkpoint / "model.weights.h5")  # all that `BackupAndRestore` does
        else:
            super()._load(checkpoint)

    def _augmented(self, x: Any, given: Any, warps: bool) -> Any:
        if planted("nearest"):
            given = {**given, "matrix": self.tf.round(given["matrix"])}
        return super()._augmented(x, given, warps)
