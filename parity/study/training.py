"""Train both frameworks from the same weights, on the same batches, in the same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.cache import Prepared
from parity.errors import DataError
from parity.study.metrics import binary_metrics
from parity.workers.client import Worker

Array = NDArray[Any]


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: everything that must be equal on both sides."""

    epochs: int
    batch: int = 32
    learning_rate: float = 1e-3
    epsilon: float = 1e-7  # Keras's default, given to both: torch's own is 1e-8
    seed: int = 0

    def order(self, images: int, epoch: int) -> Array:
        """Return the shuffled indices of one epoch; the same plan gives the same order anywhere."""
        return np.random.default_rng([self.seed, epoch]).permutation(images)

    def steps(self, images: int) -> int:
        """Return how many full batches an epoch has.

        Raises
            DataError: fewer images than one batch holds.
        """
        steps = images // self.batch
        if steps == 0:
            raise DataError(f"{images} training images are fewer than one batch of {self.batch}: use a smaller --batch")
        return steps


def train(
    worker: Worker,
    framework: str,
    plan: TrainingPlan,
    prepared: Prepared,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train the network that `worker` holds from its present weights and return the run as the record keeps it.

    Validation after every epoch on the `val` split, figures of merit on the `test` split at the end.
    """
    folder, images = str(prepared.folder), len(prepared.labels("train"))
    plan.steps(images)
    worker.call("start_training", learning_rate=plan.learning_rate, epsilon=plan.epsilon)
    epochs, step_loss = [], []
    for epoch in range(plan.epochs):
        order = plan.order(images, epoch)
        done = worker.call("train_epoch", folder=folder, split="train", order=order, batch=plan.batch)
        step_loss += done["losses"]
        train_m = _measure(worker, prepared, "train", plan.batch)
        validation = _measure(worker, prepared, "val", plan.batch)
        epochs.append(
            {
                "epoch": epoch + 1,
                "loss": float(np.mean(done["losses"])),
                "accuracy": train_m["accuracy"],
                "val_loss": validation["loss"],
                "val_accuracy": validation["accuracy"],
                "seconds": done["seconds"],
                "images_per_s": done["images"] / done["seconds"],
            }
        )
        if progress is not None:
            progress(f"{framework} epoch {epoch + 1}/{plan.epochs}: loss {epochs[-1]['loss']:.4f}")
    logits = worker.call("predict", folder=folder, split="test", batch=plan.batch)
    return {
        "framework": framework,
        "epochs": epochs,
        "step_loss": step_loss,
        "test": binary_metrics(prepared.labels("test"), logits),
        "test_logits": [float(value) for value in logits],
        **{name: value for name, value in worker.call("memory").items() if value is not None},
    }


def agreement(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return on how many test images two runs decide differently, and how far their logits are apart at most."""
    first, second = np.asarray(a["test_logits"]), np.asarray(b["test_logits"])
    return {
        "n": int(first.size),
        "differing": int(((first > 0) != (second > 0)).sum()),
        "largest_logit_difference": float(np.abs(first - second).max()),
    }


def _measure(worker: Worker, prepared: Prepared, split: str, batch: int) -> dict[str, Any]:
    logits = worker.call("predict", folder=str(prepared.folder), split=split, batch=batch)
    return binary_metrics(prepared.labels(split), logits)
