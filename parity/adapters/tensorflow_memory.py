"""The two ways in which a TensorFlow notebook feeds its images: all of them loaded first, or streamed from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array

Batches = Iterator[tuple[Array, Array, list[int]]]


class _Fed(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    tf: Any

    def _prepared_image(self, file: Any, size: list[int]) -> Any: ...

    def _model_input(self, batch: Any) -> Any: ...

    def _dataset(self, files: list[str], read: Any, workers: int) -> Any: ...


class TensorflowMemory:
    """`from_tensor_slices` over everything, or tf.data over files; for the jobs of a worker, not for the parent.

    Both yield batches as (float32 (n, h, w, c), float32 labels (n,), positions in `files`), every image once and in
    order. `size`: (height, width, channels).
    """

    def loaded_batches(
        self: _Fed, files: list[str], labels: Array, size: list[int], batch: int, note: Callable[[str], None]
    ) -> Batches:
        """Load all as notebooks do: a list of arrays, `np.array` of it, a tensor of that; all three stay alive.

        `note` is told when each of the three is complete.
        """
        tf = self.tf
        # Not the division: in a graph of its own it becomes a product, whose last bit is another.
        read = tf.function(
            lambda file: self._prepared_image(file, size), input_signature=[tf.TensorSpec((), tf.string)]
        )
        images = [self._model_input(read(tf.constant(file))).numpy() for file in files]
        note("list")
        whole = np.array(images)
        note("array")
        dataset = tf.data.Dataset.from_tensor_slices((whole, labels, np.arange(len(files))))
        note("tensor")
        for some, labels_of_some, numbers in dataset.batch(batch):
            yield some.numpy(), labels_of_some.numpy(), numbers.numpy().tolist()
        del images, whole  # not before: a notebook's variables live on

    def streamed_batches(
        self: _Fed, files: list[str], labels: Array, size: list[int], batch: int, loaders: int
    ) -> Batches:
        """Decode batch by batch in `loaders` threads (0: in this one), two batches ahead."""
        dataset = self._dataset(files, lambda file: self._prepared_image(file, size), loaders).enumerate().batch(batch)
        dataset = dataset.map(lambda numbers, images: (numbers, self._model_input(images))).prefetch(2)
        for numbers, x in dataset:
            yield x.numpy(), labels[numbers.numpy()], numbers.numpy().tolist()
