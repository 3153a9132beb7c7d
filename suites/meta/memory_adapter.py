"""An adapter of NumPy alone whose two ways of feeding images can be made wrong on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings

FAULTS = ("hoards", "skips", "twice", "dim", "lazy", "dies", "runs-out")


class Feeding:
    """Feeds pixels drawn from a file's name; the fault is named by the environment variable `PARITY_MEMORY_FAULT`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.fault = os.environ.get("PARITY_MEMORY_FAULT", "")
        assert self.fault in ("", *FAULTS)
        self.hoard: list[Array] = []

    def build(self, spec: Mapping[str, Any], seed: int) -> None:
        pass

    def start_training(self, learning_rate: float, epsilon: float) -> None:
        pass

    def train_batch(self, x: Array, y: Array) -> float:
        assert len(x) == len(y)
        return float(np.mean(x))

    def loaded_batches(
        self, files: list[str], labels: Array, size: list[int], batch: int, note: Callable[[str], None]
    ) -> Iterator[Any]:
        if self.fault == "runs-out":
            raise MemoryError("Unable to allocate 9.9 GiB")
        if self.fault == "lazy":  # says that it loads, and streams
            yield from self._in_batches(files, labels, size, batch)
            return
        images = [self._image(file, size) for file in files]
        note("list")
        whole = np.array(images)
        note("array")
        tensor = whole.copy()
        note("tensor")
        for first in range(0, len(files), batch):
            numbers = list(range(first, min(first + batch, len(files))))
            yield tensor[numbers], labels[numbers], numbers
        del images, whole

    def streamed_batches(
        self, files: list[str], labels: Array, size: list[int], batch: int, loaders: int
    ) -> Iterator[Any]:
        assert loaders >= 0
        if self.fault == "dies":
            os.kill(os.getpid(), 9)
        for x, y, numbers in self._in_batches(files, labels, size, batch):
            if self.fault == "hoards":
                self.hoard.append(x)
            if self.fault == "skips" and numbers[0] == 0:
                continue
            yield (x * np.float32(0.99) if self.fault == "dim" else x), y, numbers
        if self.fault == "twice":
            yield x, y, numbers

    def _in_batches(self, files: list[str], labels: Array, size: list[int], batch: int) -> Iterator[Any]:
        for first in range(0, len(files), batch):
            numbers = list(range(first, min(first + batch, len(files))))
            yield np.stack([self._image(files[number], size) for number in numbers]), labels[numbers], numbers

    def _image(self, file: str, size: list[int]) -> Array:
        return np.full(size, 1.0 + sum(map(ord, file)) % 7, np.float32)
