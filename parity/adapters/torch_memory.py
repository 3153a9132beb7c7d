"""The two ways in which a torch notebook feeds its images: all of them loaded first, or streamed from the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array

Batches = Iterator[tuple[Array, Array, list[int]]]
SOURCE = "DataLoader"


class _Fed(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    torch: Any

    def _prepared_image(self, source: str, file: str, size: tuple[int, int, int]) -> Any: ...

    def _model_input(self, batch: Any) -> Any: ...

    def _loader(self, source: str, files: list[str], size: tuple[int, int, int], batch: int, workers: int) -> Any: ...


class TorchMemory:
    """`TensorDataset` over everything, or a `DataLoader` over files; for the jobs of a worker, not for the parent.

    Both yield batches as (float32 (n, c, h, w), float32 labels (n,), positions in `files`), every image once and in
    order. `size`: (height, width, channels).
    """

    def loaded_batches(
        self: _Fed, files: list[str], labels: Array, size: list[int], batch: int, note: Callable[[str], None]
    ) -> Batches:
        """Load all as notebooks do: a list of arrays, `np.array` of it, a tensor of that; all three stay alive.

        `note` is told when each of the three is complete.
        """
        torch, (height, width, channels) = self.torch, size
        images = []
        for file in files:
            pixels = self._prepared_image(SOURCE, file, (height, width, channels))
            images.append(self._model_input(pixels[None])[0].permute(1, 2, 0).numpy())
        note("list")
        whole = np.array(images)
        note("array")
        x, y = torch.tensor(whole).permute(0, 3, 1, 2), torch.tensor(labels)
        note("tensor")
        data = torch.utils.data.TensorDataset(x, y, torch.arange(len(files)))
        for some, labels_of_some, numbers in torch.utils.data.DataLoader(data, batch_size=batch):
            yield some.numpy(), labels_of_some.numpy(), numbers.tolist()
        del images, whole  # not before: a notebook's variables live on

    def streamed_batches(
        self: _Fed, files: list[str], labels: Array, size: list[int], batch: int, loaders: int
    ) -> Batches:
        """Decode batch by batch in `loaders` processes (0: in this one), of which each prepares two batches ahead."""
        height, width, channels = size
        for images, numbers in self._loader(SOURCE, files, (height, width, channels), batch, loaders):
            yield self._model_input(images).numpy(), labels[numbers.numpy()], numbers.tolist()
