"""The real adapters with streaming ways that secretly keep the whole data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parity.adapters.base import Array
from parity.adapters.tensorflow import TensorflowAdapter
from parity.adapters.torch import TorchAdapter


class HoardingTorch(TorchAdapter):
    """Keeps every batch that it has streamed, as a list of losses with their graphs does."""

    def streamed_batches(
        self, files: list[str], labels: Array, size: list[int], batch: int, loaders: int
    ) -> Iterator[Any]:
        kept = []
        for found in super().streamed_batches(files, labels, size, batch, loaders):
            kept.append(found)
            yield found


class HoardingTensorflow(TensorflowAdapter):
    """Caches the decoded images in memory, as `dataset.cache()` in its usual place does."""

    def _dataset(self, files: list[str], read: Any, workers: int) -> Any:
        def as_floats(file: Any) -> Any:
            return self.tf.cast(read(file), self.tf.float32)

        return super()._dataset(files, as_floats, workers).cache()
