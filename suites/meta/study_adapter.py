"""An adapter of NumPy alone, for the tests of the study: logistic regression on pixels, trained in milliseconds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import WorkerSettings

Array = Any


class Logistic:
    """Trains as an adapter does; what goes wrong on purpose is asked for by the marker files of a folder."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.weights = np.zeros(0)
        self.rate, self.rate_factor = 0.0, 1.0
        self.troubles = Path(os.environ.get("PARITY_STUDY_TROUBLES", "/nonexistent"))

    def build(self, spec: Mapping[str, Any], seed: int) -> None:
        inputs = spec["height"] * spec["width"] * spec["channels"]
        self.weights = np.random.default_rng(seed).normal(0, 0.01, inputs + 1)
        self.rate_factor = 1.0
        self._trouble(seed)

    def place_initial(self, weights: Mapping[str, Array]) -> None:
        first = weights["conv1/kernel"].ravel()
        self.weights = np.resize(first, self.weights.shape).astype(np.float64) * 0.01

    def start_training(self, learning_rate: float, epsilon: float) -> None:
        self.rate = (learning_rate + epsilon) * self.rate_factor

    def own_orders(self, images: int, batch: int, seed: int, epochs: int) -> Array:
        rng = np.random.default_rng([seed, batch])
        return np.stack([rng.permutation(images) for _ in range(epochs)])

    def own_images(self, files: list[str], size: list[int]) -> Array:
        from PIL import Image

        height, width, channels = size
        assert channels == 1
        pictures = [np.asarray(Image.open(file).convert("L").resize((width, height))) for file in files]
        return np.stack(pictures)[..., None].astype(np.float32)

    def canonical_batch(self, images: Array) -> Array:
        return images.astype(np.float32) / np.float32(255.0)

    def train_batch(self, x: Array, y: Array) -> float:
        flat, z = self._flat(x), self.logits(x)
        p = 1 / (1 + np.exp(-z))
        self.weights = self.weights - self.rate * 300 * flat.T @ (p - y) / len(y)
        return float(np.mean(np.logaddexp(0, z) - y * z))

    def logits(self, x: Array) -> Array:
        return self._flat(x) @ self.weights

    def get_weights(self) -> dict[str, Array]:
        return {"weights": self.weights}

    def _flat(self, x: Array) -> Array:
        return np.concatenate([x.reshape(len(x), -1) - 0.5, np.ones((len(x), 1))], axis=1).astype(np.float64)

    def _trouble(self, seed: int) -> None:
        """Die, hang or diverge for a seed of which a marker file `KIND-SEED` says so; each is said once."""
        for kind in ("die", "hang", "diverge"):
            marker = self.troubles / f"{kind}-{seed}"
            if marker.exists():
                marker.unlink()
                if kind == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "hang":
                    time.sleep(600)
                self.rate_factor = np.nan
