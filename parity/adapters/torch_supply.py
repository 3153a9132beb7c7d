"""How torch gets its images: decoded from files through a DataLoader, or gathered from a mapped array."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError

SOURCES = ("DataLoader", "DataLoader-Pillow")
END_LIMIT_S = 5.0
LOADER_TIMEOUT_S = 120.0  # a loader that delivers nothing for this long is an error, not a hang


class _Supplied(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    torch: Any
    settings: WorkerSettings

    def _decoded(self, source: str, file: str) -> Any: ...

    def _prepared_image(self, source: str, file: str, size: tuple[int, int, int]) -> Any: ...

    def _recoloured(self, image: Any, channels: int) -> Any: ...

    def _resized(self, source: str, image: Any, height: int, width: int) -> Any: ...

    def _model_input(self, batch: Any) -> Any: ...

    def _loader(self, source: str, files: list[str], size: tuple[int, int, int], batch: int, workers: int) -> Any: ...


class TorchSupply:
    """torchvision's decoder and antialiased resize, Pillow's in a Dataset, and the prepared cache."""

    def supply_sources(self) -> list[str]:
        """Return the names of the ways in which this framework reads files."""
        return list(SOURCES)

    def decode_images(self: _Supplied, source: str, files: list[str]) -> list[Array]:
        """Return each file as this source decodes it: uint8 (h, w, c) in the file's own size and channels."""
        return [np.ascontiguousarray(self._decoded(source, file).permute(1, 2, 0).numpy()) for file in files]

    def stage_seconds(self: _Supplied, source: str, stage: str, files: list[str], size: list[int]) -> float:
        """Return the seconds of one pass over the files in this thread: `decode`, or `resize` (decoded and resized).

        `size`: (height, width, channels) of the model's input.
        """
        height, width, channels = size
        start_s = time.perf_counter()
        for file in files:
            if stage == "decode":
                self._decoded(source, file)
            else:
                self._prepared_image(source, file, (height, width, channels))
        return time.perf_counter() - start_s

    def supply_epochs(
        self: _Supplied,
        source: str,
        files: list[str],
        size: list[int],
        batch: int,
        workers: int,
        epochs: int,
        keep: bool = False,
    ) -> dict[str, Any]:
        """Take whole epochs of batches as the model's float32 input, and return {"seconds", "ids", "pixels"}.

        `workers`: loader processes; 0 prepares in this thread, with the threads of this worker. One more epoch comes
        first, untimed: it starts the loaders. `seconds` of each other epoch; `ids`: positions in `files` that the last
        epoch delivered; `pixels`, when they are kept: its uint8 images (n, h, w, c) in that order.
        """
        height, width, channels = size
        seconds: list[float] = []
        ids: list[int] = []
        kept: list[Array] = []
        with _ended_children():
            loader = self._loader(source, files, (height, width, channels), batch, workers)
            for _ in range(epochs + 1):
                start_s, ids, kept = time.perf_counter(), [], []
                for images, numbers in loader:
                    x = self._model_input(images)
                    ids += numbers.tolist()
                    if keep:
                        kept.append(_canonical(x))
                seconds.append(time.perf_counter() - start_s)
        return {"seconds": seconds[1:], "ids": ids, "pixels": np.concatenate(kept) if kept else None}

    def shares_memory(self: _Supplied, array: Array) -> bool:
        """Return whether a tensor over this (mapped) array lies at the array's own address."""
        return bool(self.torch.from_numpy(array).data_ptr() == array.ctypes.data)

    def array_epochs(
        self: _Supplied, array: Array, rows: Array | None, batch: int, epochs: int, keep: bool = False
    ) -> dict[str, Any]:
        """Take epochs of batches out of a mapped uint8 array (n, h, w, c), as `supply_epochs` does from files.

        `rows`: row numbers in the order wanted; None takes the rows as they lie, without a copy.
        """
        whole = self.torch.from_numpy(array)
        order = None if rows is None else self.torch.from_numpy(np.asarray(rows, dtype=np.int64))
        count = len(array) if rows is None else len(rows)
        seconds: list[float] = []
        kept: list[Array] = []
        for _ in range(epochs + 1):
            start_s, kept = time.perf_counter(), []
            for first in range(0, count, batch):
                chosen = slice(first, min(first + batch, count))
                # Not `whole[order[chosen]]`: that kernel moves single numbers, 15 times slower than rows.
                taken = whole[chosen] if order is None else self.torch.index_select(whole, 0, order[chosen])
                x = self._model_input(taken.permute(0, 3, 1, 2))
                if keep:
                    kept.append(_canonical(x))
            seconds.append(time.perf_counter() - start_s)
        ids = list(range(count)) if rows is None else [int(row) for row in rows]
        return {"seconds": seconds[1:], "ids": ids, "pixels": np.concatenate(kept) if kept else None}

    def _decoded(self: _Supplied, source: str, file: str) -> Any:
        """Return one file as uint8 (c, h, w), nothing converted."""
        if source == "DataLoader":
            from torchvision.io import ImageReadMode, decode_image

            return decode_image(file, mode=ImageReadMode.UNCHANGED)
        if source == "DataLoader-Pillow":
            from PIL import Image
            from torchvision.transforms.v2.functional import pil_to_tensor

            with Image.open(file) as image:
                return pil_to_tensor(image)
        raise UsageError(f"torch has no source `{source}`; sources: {', '.join(SOURCES)}")

    def _prepared_image(self: _Supplied, source: str, file: str, size: tuple[int, int, int]) -> Any:
        height, width, channels = size
        return self._resized(source, self._recoloured(self._decoded(source, file), channels), height, width)

    def _recoloured(self: _Supplied, image: Any, channels: int) -> Any:
        """Bring (c, h, w) to 1 or 3 channels, grey by the very integers that Pillow uses (ITU-R 601-2 luma)."""
        present = image.shape[0]
        if present == channels:
            return image
        if present == 1 and channels == 3:
            return image.expand(3, -1, -1)
        if present == 3 and channels == 1:
            red, green, blue = image.to(self.torch.int32)
            return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(self.torch.uint8)[None]
        raise UsageError(f"an image of {present} channels cannot be read as {channels}")

    def _resized(self: _Supplied, source: str, image: Any, height: int, width: int) -> Any:
        from torchvision.transforms.v2 import functional

        if source == "DataLoader-Pillow":
            from PIL import Image

            stretched = functional.to_pil_image(image).resize((width, height), Image.Resampling.BILINEAR)
            return functional.pil_to_tensor(stretched)
        return functional.resize(
            image, [height, width], interpolation=functional.InterpolationMode.BILINEAR, antialias=True
        )

    def _model_input(self: _Supplied, batch: Any) -> Any:
        """Turn uint8 (n, c, h, w) into the model's contiguous float32 input."""
        return batch.to(self.torch.float32, memory_format=self.torch.contiguous_format).div_(255.0)

    def _loader(
        self: _Supplied, source: str, files: list[str], size: tuple[int, int, int], batch: int, workers: int
    ) -> Any:
        return self.torch.utils.data.DataLoader(
            _Files(self, source, files, size),
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            timeout=LOADER_TIMEOUT_S if workers else 0,
            # A fork belongs to this worker's process group and session, so that it ends with it whatever happens.
            multiprocessing_context="fork" if workers else None,
        )


@contextmanager
def _ended_children() -> Iterator[None]:
    """End the processes that the block started, also when it raised: its traceback would keep a loader alive."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
            child.join(END_LIMIT_S)
            child.kill()  # does nothing to one that has ended
            child.join()


class _Files:
    """A map-style data set: position -> (uint8 image (c, h, w), position)."""

    def __init__(self, adapter: Any, source: str, files: list[str], size: tuple[int, int, int]) -> None:
        self._adapter, self._source, self._files, self._size = adapter, source, files, size

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._adapter._prepared_image(self._source, self._files[index], self._size), index


def _canonical(x: Any) -> Array:
    """Return float32 (n, c, h, w) in [0, 1] as the uint8 (n, h, w, c) that it was made from."""
    pixels: Array = np.rint(np.moveaxis(x.numpy(), 1, -1) * 255.0).astype(np.uint8)
    return pixels
