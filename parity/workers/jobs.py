"""Work that a worker does on its own between two messages: an epoch, a pass over a split, streamed from the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data import prepared as cache

Array = NDArray[Any]


def train_epoch(adapter: Any, folder: str, split: str, order: Array, batch: int) -> dict[str, Any]:
    """Take one optimizer step per full batch of `order` and return each step's loss and the seconds of the epoch.

    `order` holds indices into `split` of the prepared data in `folder`; an incomplete last batch is left out, so that
    both frameworks average over equally many images at every step.
    """
    prepared = cache.load(Path(folder))
    losses = []
    start_s = time.perf_counter()
    for images, labels in cache.batches(prepared, split, order, batch, drop_last=True):
        losses.append(adapter.train_batch(adapter.canonical_batch(images), labels.astype(np.float32)))
    return {"losses": losses, "seconds": time.perf_counter() - start_s, "images": len(losses) * batch}


def predict(adapter: Any, folder: str, split: str, batch: int) -> Array:
    """Return the logits of every image of `split`, in file order, as float64 of shape (n,)."""
    prepared = cache.load(Path(folder))
    order = np.arange(len(prepared.labels(split)))
    parts = [
        adapter.logits(adapter.canonical_batch(images))
        for images, _ in cache.batches(prepared, split, order, batch, drop_last=False)
    ]
    return np.concatenate(parts)


def cache_shares_memory(adapter: Any, folder: str, split: str) -> bool:
    """Return whether a tensor over the mapped images of `split` lies at the map's own address: nothing was copied."""
    return bool(adapter.shares_memory(_mapped(folder, split)))


def cache_epochs(
    adapter: Any, folder: str, split: str, rows: Array | None, batch: int, epochs: int, keep: bool = False
) -> dict[str, Any]:
    """Take epochs of batches out of the prepared images: `array_epochs` of the adapter over the mapped file."""
    found: dict[str, Any] = adapter.array_epochs(_mapped(folder, split), rows, batch, epochs, keep)
    return found


def _mapped(folder: str, split: str) -> Array:
    """Map the images copy-on-write: neither framework takes a read-only array, and the file stays as it is."""
    prepared = cache.load(Path(folder))
    mapped: Array = np.load(prepared.folder / cache.array_file("images", split), mmap_mode="c")
    return mapped


JOBS: Mapping[str, Callable[..., Any]] = {
    "train_epoch": train_epoch,
    "predict": predict,
    "cache_epochs": cache_epochs,
    "cache_shares_memory": cache_shares_memory,
}
