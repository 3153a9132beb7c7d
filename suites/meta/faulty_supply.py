"""Adapters whose ways of reading images can be made wrong on purpose, for the tests of what the supply's checks see."""

from __future__ import annotations

import os
import signal
from typing import Any

from parity.adapters.base import Array, WorkerSettings
from parity.adapters.tensorflow import TensorflowAdapter
from parity.adapters.torch import TorchAdapter

TORCH_FAULTS = (
    "no-antialias",
    "bgr",
    "cmyk",
    "drop-last",
    "twice",
    "loader-dies",
    "loader-raises",
    "wrong-rows",
    "copies",
)
TENSORFLOW_FAULTS = ("no-antialias", "coarse-decode", "bgr", "skips-one", "copies")


class FaultySupplyTorch(TorchAdapter):
    """Reads images with the planted fault, in the source `DataLoader` alone."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault = ""

    def plant(self, fault: str) -> None:
        """Plant one fault; the empty name takes it away."""
        assert fault in ("", *TORCH_FAULTS)
        self.fault = fault

    def _decoded(self, source: str, file: str) -> Any:
        image = super()._decoded(source, file)
        if source != "DataLoader":
            return image
        loading = self.torch.utils.data.get_worker_info() is not None
        if self.fault == "loader-dies" and loading:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "loader-raises" and loading:
            raise ValueError("a broken file")
        if self.fault == "bgr" and len(image) == 3:
            return image.flip(0)
        if self.fault == "cmyk" and len(image) == 3:
            return self.torch.cat([255 - image, self.torch.zeros_like(image[:1])])
        return image

    def _recoloured(self, image: Any, channels: int) -> Any:
        return super()._recoloured(255 - image[:3] if len(image) == 4 else image, channels)

    def _resized(self, source: str, image: Any, height: int, width: int) -> Any:
        if self.fault != "no-antialias" or source != "DataLoader":
            return super()._resized(source, image, height, width)
        floats = image[None].to(self.torch.float32)
        stretched = self.torch.nn.functional.interpolate(floats, (height, width), mode="bilinear")
        return (stretched[0] + 0.5).to(self.torch.uint8)

    def _loader(self, source: str, files: list[str], size: tuple[int, int, int], batch: int, workers: int) -> Any:
        loader = super()._loader(source, files, size, batch, workers)
        if source == "DataLoader" and self.fault in ("drop-last", "twice"):
            data = loader.dataset
            order = [*range(len(files)), 0] if self.fault == "twice" else list(range(len(files)))
            drop = self.fault == "drop-last"
            return self.torch.utils.data.DataLoader(data, batch_size=batch, sampler=order, drop_last=drop)
        return loader

    def array_epochs(
        self, array: Array, rows: Array | None, batch: int, epochs: int, keep: bool = False
    ) -> dict[str, Any]:
        if self.fault == "wrong-rows" and rows is not None:
            return {**super().array_epochs(array, (rows + 1) % len(array), batch, epochs, keep), "ids": rows.tolist()}
        return super().array_epochs(array, rows, batch, epochs, keep)

    def shares_memory(self, array: Array) -> bool:
        if self.fault == "copies":
            return bool(self.torch.tensor(array).data_ptr() == array.ctypes.data)
        return super().shares_memory(array)


class FaultySupplyTensorflow(TensorflowAdapter):
    """Reads images with the planted fault."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault = ""

    def plant(self, fault: str) -> None:
        """Plant one fault; the empty name takes it away."""
        assert fault in ("", *TENSORFLOW_FAULTS)
        self.fault = fault

    def _decoded(self, file: Any) -> Any:
        tf = self.tf
        if self.fault == "coarse-decode":
            return tf.io.decode_jpeg(tf.io.read_file(file), channels=0)
        image = super()._decoded(file)
        return tf.reverse(image, [-1]) if self.fault == "bgr" else image

    def _resized(self, image: Any, height: int, width: int) -> Any:
        if self.fault != "no-antialias":
            return super()._resized(image, height, width)
        stretched = self.tf.image.resize(image, (height, width), method="bilinear")
        return self.tf.cast(self.tf.floor(stretched + 0.5), self.tf.uint8)

    def _dataset(self, files: list[str], read: Any, workers: int) -> Any:
        dataset = super()._dataset(files, read, workers)
        return dataset.take(len(files) - 1) if self.fault == "skips-one" else dataset

    def _over(self, array: Array) -> Any:
        return self.tf.convert_to_tensor(array) if self.fault == "copies" else super()._over(array)
