"""Work that a worker does on its own between two messages: an epoch, a pass over a split, streamed from the cache."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data import prepared as cache
from parity.errors import UsageError
from parity.workers.jobs_memory import memory_epoch, memory_held

Array = NDArray[Any]
CHUNK = 64  # images that a loader of its own holds at a time


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


def train_rows(
    adapter: Any, folder: str, split: str, order: Array, batch: int, scaling: str, pixels: str | None = None
) -> dict[str, Any]:
    """Take one optimizer step per batch of `order`, the last smaller one too, and return losses, seconds and images.

    `order`: row numbers of `split` in the prepared data of `folder`. `scaling`: `unit` for pixels as fractions of 1,
    `symmetric` for pixels from -1 to 1. `pixels`: a `.npy` file of other pixels for the same rows.
    """
    losses = []
    start_s = time.perf_counter()
    for x, labels in _inputs(adapter, folder, split, order, batch, scaling, pixels):
        losses.append(adapter.train_batch(x, labels))
    return {"losses": losses, "seconds": time.perf_counter() - start_s, "images": len(order)}


def predict_rows(
    adapter: Any, folder: str, split: str, rows: Array, batch: int, scaling: str, pixels: str | None = None
) -> Array:
    """Return the logits of the given rows of `split`, in their order, as float64 of shape (n,); see `train_rows`.

    The last batch is filled up with the first row: a graph is traced for each size of batch.
    """
    filled = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % batch)])
    inputs = _inputs(adapter, folder, split, filled, batch, scaling, pixels)
    return np.concatenate([adapter.logits(x) for x, _ in inputs])[: len(rows)]


def write_own_pixels(adapter: Any, files: list[str], size: list[int], path: str) -> None:
    """Write what the adapter's own loader makes of files as a float32 `.npy` file (n, h, w, c), unless it is there."""
    target = Path(path)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(files), *size))
        for first in range(0, len(files), CHUNK):
            chunk = files[first : first + CHUNK]
            whole[first : first + len(chunk)] = adapter.own_images(chunk, size)
        whole.flush()
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def weights_digest(adapter: Any) -> str:
    """Return the SHA-256 over names and bytes of all weights: equal only for weights that are equal bit for bit."""
    whole = hashlib.sha256()
    for name, array in sorted(adapter.get_weights().items()):
        whole.update(f"{name} {array.dtype} {array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def _inputs(
    adapter: Any, folder: str, split: str, order: Array, batch: int, scaling: str, pixels: str | None
) -> Iterator[tuple[Array, Array]]:
    """Yield batches as the model's input and float32 labels (n,)."""
    if scaling not in ("unit", "symmetric"):
        raise UsageError(f"no pixel scaling `{scaling}`: unit or symmetric")
    prepared = cache.load(Path(folder))
    labels = prepared.labels(split).astype(np.float32)
    images = prepared.images(split) if pixels is None else np.load(pixels, mmap_mode="r")
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        x = adapter.canonical_batch(np.asarray(images[rows]))
        yield (x if scaling == "unit" else (x - np.float32(0.5)) / np.float32(0.5)), labels[rows]


JOBS: Mapping[str, Callable[..., Any]] = {
    "train_epoch": train_epoch,
    "predict": predict,
    "cache_epochs": cache_epochs,
    "memory_epoch": memory_epoch,
    "memory_held": memory_held,
    "cache_shares_memory": cache_shares_memory,
    "train_rows": train_rows,
    "predict_rows": predict_rows,
    "write_own_pixels": write_own_pixels,
    "weights_digest": weights_digest,
}
