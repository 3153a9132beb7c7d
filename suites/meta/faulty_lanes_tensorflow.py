"""The TensorFlow adapter with lanes that can be made dishonest on purpose, for the tests of what the bench refuses."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.tensorflow import TensorflowAdapter
from parity.errors import UsageError

FAULTS = (
    "",
    "other-shape",
    "python-scalar",
    "eager",
    "partial-batch",
    "dataset-ends",
    "xla-off",
    "xla-on",
    "xla-everywhere",
    "unsynchronised",
    "costly-copy",
    "loss-on-probabilities",
)
LATE_S = 0.2
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


class SlowResult:
    """A result as TensorFlow's are: it takes a while to be there and to be copied, and its copy is kept."""

    def __init__(self, working_s: float, copying_s: float) -> None:
        self._takes_s, self._copying_s = working_s + copying_s, copying_s

    def __add__(self, _: int) -> SlowResult:
        return SlowResult(0.0, self._copying_s)

    def numpy(self) -> float:
        """Return a number, late the first time."""
        time.sleep(self._takes_s)
        self._takes_s = 0.0
        return 0.0


class FaultyLanes(TensorflowAdapter):
    """Runs its lanes with the planted fault, until another one is planted."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.fault = ""
        super().__init__(settings)

    def plant(self, fault: str) -> None:
        """Plant `fault` for every lane that starts from now on."""
        if fault not in FAULTS:
            raise UsageError(f"unknown fault `{fault}`")
        self.fault = fault
        self.tf.config.run_functions_eagerly(fault == "eager")
        if fault == "xla-everywhere":
            os.environ["TF_XLA_FLAGS"] = "--tf_xla_auto_jit=2"
        else:
            os.environ.pop("TF_XLA_FLAGS", None)

    def computed(self) -> float:
        """Return what a device is tried with."""
        return self._computed_ones()

    def chosen(self, gpus: list[str], user_says: str | None = None, refused: bool = False) -> dict[str, Any]:
        """Return what the adapter asks of a TensorFlow that sees these GPUs, in order, and the lane's facts of them."""
        log: list[str] = []

        def grow(gpu: str, growth: bool) -> None:
            if refused:
                raise RuntimeError("Physical devices cannot be modified after being initialized")
            log.append(f"{gpu} grows: {growth}")

        real, before = (self.tf, self.settings), os.environ.get(GROWTH)
        experimental = SimpleNamespace(set_memory_growth=grow, get_memory_growth=lambda _: True)
        self.tf = SimpleNamespace(
            config=SimpleNamespace(
                list_physical_devices=lambda _: gpus,
                set_visible_devices=lambda seen, _: log.append(f"sees {' and '.join(seen)}"),
                get_visible_devices=lambda _: gpus[:1],
                experimental=experimental,
            ),
            test=SimpleNamespace(is_built_with_cuda=lambda: True),
            __version__="2",
            __file__=real[0].__file__,
        )
        self.settings = replace(self.settings, device="gpu")
        if user_says is not None:
            os.environ[GROWTH] = user_says
        try:
            self._choose_device()
            return {"asked": log, "growth": os.environ.get(GROWTH), "facts": self._gpu_facts()}
        finally:
            self.tf, self.settings = real
            os.environ.pop(GROWTH, None)
            if before is not None:
                os.environ[GROWTH] = before

    def compiled_while(self, method: str, **arguments: Any) -> bool:
        """Return whether XLA's own compiler ran during a call of `method`, as TensorFlow's profiler saw it."""
        profiler = self.tf.profiler.experimental
        with tempfile.TemporaryDirectory() as folder:
            profiler.start(folder)
            try:
                getattr(self, method)(**arguments)
            finally:
                profiler.stop()
            seen = b"".join(file.read_bytes() for file in Path(folder).rglob("*.xplane.pb"))
        return b"CompileCpuExecutable" in seen

    def step(self, work: str) -> Callable[[], Any]:
        if self.fault == "other-shape":
            return self._shapes_that_change(work)
        if self.fault == "python-scalar":
            return self._scalar_that_changes()
        if self.fault == "unsynchronised":
            self._last = SlowResult(LATE_S, 0.0)
            return lambda: None
        if self.fault == "costly-copy":
            self._last = SlowResult(0.0, LATE_S)
            return lambda: time.sleep(LATE_S / 20)
        return super().step(work)

    def _shapes_that_change(self, work: str) -> Callable[[], Any]:
        x, y = self._resident()
        train, evaluate, sizes = self._train_function(), self._evaluate_function(), iter(range(len(x), 0, -1))

        def step() -> Any:
            size = next(sizes)
            return train(x[:size], y[:size]) if work == "train" else evaluate(x[:size])

        return step

    def _scalar_that_changes(self) -> Callable[[], Any]:
        x, _ = self._resident()
        scaled = self._function("evaluate", lambda x, factor: factor * self._logits(x, training=False))
        factors = iter(range(1000))
        return lambda: scaled(x, float(next(factors)))

    def _is_asynchronous(self) -> bool:
        return self.fault in ("unsynchronised", "costly-copy") or super()._is_asynchronous()

    def _fit_dataset(self) -> Any:
        x, y = self._resident()
        slices = self.tf.data.Dataset.from_tensor_slices((x, y[:, None]))
        if self.fault == "partial-batch":
            return slices.concatenate(slices.take(len(x) // 2)).batch(len(x)).repeat()
        return slices.batch(len(x)).repeat(2) if self.fault == "dataset-ends" else super()._fit_dataset()

    def _function(self, name: str, body: Callable[..., Any]) -> Any:
        if self.fault in ("xla-off", "xla-on") and name not in self._steps:
            self._steps[name] = self.tf.function(self._noted(name, body), jit_compile=self.fault == "xla-on")
        return super()._function(name, body)

    def _make_fit(self) -> None:
        super()._make_fit()
        if self._fit is not None and self.fault == "xla-on":
            self._fit.model.jit_compile = True
        if self._fit is not None and self.fault == "loss-on-probabilities":
            losses, model = self.keras.losses, self._fit.model
            model.compile(optimizer=self._optimizer(), loss=losses.BinaryCrossentropy(), jit_compile=False)
