"""How TensorFlow gets its images: decoded from files through tf.data, or gathered from a mapped array."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError

SOURCES = ("tf.data",)
ALIGNED_BYTES = 64  # TensorFlow's kernels end the process when a tensor begins elsewhere (EIGEN_MAX_ALIGN_BYTES)


class _Supplied(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    tf: Any
    settings: WorkerSettings

    def _decoded(self, file: Any) -> Any: ...

    def _prepared_image(self, file: Any, size: list[int]) -> Any: ...

    def _recoloured(self, image: Any, channels: int) -> Any: ...

    def _resized(self, image: Any, height: int, width: int) -> Any: ...

    def _model_input(self, batch: Any) -> Any: ...

    def _dataset(self, files: list[str], read: Any, workers: int) -> Any: ...

    def _over(self, array: Array) -> Any: ...


class TensorflowSupply:
    """tf.data with tf.io's decoder and antialiased resize, and the prepared cache."""

    def supply_sources(self) -> list[str]:
        """Return the names of the ways in which this framework reads files."""
        return list(SOURCES)

    def decode_images(self: _Supplied, source: str, files: list[str]) -> list[Array]:
        """Return each file as this source decodes it: uint8 (h, w, c) in the file's own size and channels."""
        _check(source)
        return [np.asarray(self._decoded(self.tf.constant(file)).numpy()) for file in files]

    def stage_seconds(self: _Supplied, source: str, stage: str, files: list[str], size: list[int]) -> float:
        """Return the seconds of one pass over the files in one thread: `decode`, or `resize` (decoded and resized).

        `size`: (height, width, channels) of the model's input.
        """
        _check(source)

        def read(file: Any) -> Any:
            image = self._decoded(file) if stage == "decode" else self._prepared_image(file, size)
            return image[0, 0, 0]  # a result that nobody uses would be optimised away

        dataset = self._dataset(files, read, workers=0).batch(len(files))
        seconds = 0.0
        for _ in range(2):  # the first pass traces
            start_s = time.perf_counter()
            for _pixels in dataset:
                pass
            seconds = time.perf_counter() - start_s
        return seconds

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

        `workers`: threads of the pipeline, with two batches prefetched; 0 prepares in this thread. One more epoch comes
        first, untimed: it traces. `seconds` of each other epoch; `ids`: positions in `files` that the last epoch
        delivered; `pixels`, when they are kept: its uint8 images (n, h, w, c) in that order.
        """
        _check(source)
        tf = self.tf
        numbered = self._dataset(files, lambda file: self._prepared_image(file, size), workers).enumerate()
        dataset = numbered.batch(batch).map(lambda numbers, images: (numbers, self._model_input(images)))
        if workers:
            dataset = dataset.prefetch(2)
        seconds: list[float] = []
        ids: list[int] = []
        kept: list[Array] = []
        for _ in range(epochs + 1):
            start_s, ids, kept = time.perf_counter(), [], []
            for numbers, x in dataset:
                ids += numbers.numpy().tolist()
                if keep:
                    kept.append(_canonical(x))
            tf.test.experimental.sync_devices()
            seconds.append(time.perf_counter() - start_s)
        return {"seconds": seconds[1:], "ids": ids, "pixels": np.concatenate(kept) if kept else None}

    def shares_memory(self: _Supplied, array: Array) -> bool:
        """Return whether a tensor over this (mapped) array lies at the array's own address."""
        return bool(np.from_dlpack(self._over(array)).ctypes.data == array.ctypes.data)

    def array_epochs(
        self: _Supplied, array: Array, rows: Array | None, batch: int, epochs: int, keep: bool = False
    ) -> dict[str, Any]:
        """Take epochs of batches out of a mapped uint8 array (n, h, w, c), as `supply_epochs` does from files.

        `rows`: row numbers in the order wanted; None takes the rows as they lie.
        """
        tf = self.tf
        whole = self._over(array)
        gather = tf.function(
            lambda chosen: self._model_input(tf.gather(whole, chosen)), jit_compile=False, reduce_retracing=True
        )
        cut = tf.function(lambda first, last: self._model_input(whole[first:last]), jit_compile=False)
        order = None if rows is None else np.asarray(rows, dtype=np.int64)
        count = len(array) if order is None else len(order)
        seconds: list[float] = []
        kept: list[Array] = []
        for _ in range(epochs + 1):
            start_s, kept = time.perf_counter(), []
            for first in range(0, count, batch):
                last = min(first + batch, count)
                x = (
                    cut(tf.constant(first), tf.constant(last))
                    if order is None
                    else gather(tf.constant(order[first:last]))
                )
                if keep:
                    kept.append(_canonical(x))
            tf.test.experimental.sync_devices()
            seconds.append(time.perf_counter() - start_s)
        ids = list(range(count)) if order is None else [int(row) for row in order]
        return {"seconds": seconds[1:], "ids": ids, "pixels": np.concatenate(kept) if kept else None}

    def _decoded(self: _Supplied, file: Any) -> Any:
        """Return one JPEG file as uint8 (h, w, c), nothing converted.

        TensorFlow's default is a faster, coarser transform, up to 21 grey levels off on real radiographs.
        """
        tf = self.tf
        return tf.io.decode_jpeg(tf.io.read_file(file), channels=0, dct_method="INTEGER_ACCURATE")

    def _prepared_image(self: _Supplied, file: Any, size: list[int]) -> Any:
        height, width, channels = size
        image = self._resized(self._recoloured(self._decoded(file), channels), height, width)
        return self.tf.ensure_shape(image, (height, width, channels))

    def _recoloured(self: _Supplied, image: Any, channels: int) -> Any:
        """Bring (h, w, c) to 1 or 3 channels, grey by the very integers that Pillow uses (ITU-R 601-2 luma)."""
        tf = self.tf
        if channels == 3:
            return tf.cond(tf.shape(image)[-1] == 1, lambda: tf.repeat(image, 3, axis=-1), lambda: image)

        def grey() -> Any:
            weighted = tf.cast(image, tf.int32) * tf.constant([19595, 38470, 7471])
            return tf.cast((tf.reduce_sum(weighted, axis=-1, keepdims=True) + 0x8000) // 65536, tf.uint8)

        return tf.cond(tf.shape(image)[-1] == 3, grey, lambda: image)

    def _resized(self: _Supplied, image: Any, height: int, width: int) -> Any:
        tf = self.tf
        stretched = tf.image.resize(image, (height, width), method="bilinear", antialias=True)
        return tf.cast(tf.floor(stretched + 0.5), tf.uint8)  # rounded as Pillow does

    def _model_input(self: _Supplied, batch: Any) -> Any:
        """Turn uint8 (n, h, w, c) into the model's float32 input."""
        return self.tf.cast(batch, self.tf.float32) / 255.0

    def _dataset(self: _Supplied, files: list[str], read: Any, workers: int) -> Any:
        tf = self.tf
        options = tf.data.Options()
        options.threading.private_threadpool_size = max(1, workers)
        options.autotune.enabled = False  # the number of workers is what is being compared
        dataset = tf.data.Dataset.from_tensor_slices(files).with_options(options)
        return dataset.map(read, num_parallel_calls=workers or None)

    def _over(self: _Supplied, array: Array) -> Any:
        """Return a tensor over the array's own memory; `tf.convert_to_tensor` would copy it."""
        if array.ctypes.data % ALIGNED_BYTES:
            raise UsageError(f"TensorFlow needs arrays that begin at a multiple of {ALIGNED_BYTES} bytes")
        with self.tf.device("/CPU:0"):
            return self.tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _check(source: str) -> None:
    if source not in SOURCES:
        raise UsageError(f"tensorflow has no source `{source}`; sources: {', '.join(SOURCES)}")


def _canonical(x: Any) -> Array:
    """Return float32 (n, h, w, c) in [0, 1] as the uint8 that it was made from."""
    pixels: Array = np.rint(x.numpy() * 255.0).astype(np.uint8)
    return pixels
