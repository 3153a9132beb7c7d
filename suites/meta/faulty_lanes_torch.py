"""The torch adapter with lanes that can be made dishonest on purpose, for the tests of what the bench refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.adapters.torch_lanes import LaneOptions

FAULTS = (
    "", "other-shape", "guard", "recording", "cut-batch", "quietly-eager", "eager-optimizer", "layout-lie",
    "autocast-lie", "wrong-rate", "no-update", "hurry",
    "half-tf32",
)  # fmt: skip


class _Cuda:
    """Events of a CUDA device, as far as their making and their putting into its queue go."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802
        """Make an event."""
        self.log.append("made" if enable_timing else "made without a clock")
        number = self.log.count("made")
        return SimpleNamespace(
            record=lambda: self.log.append(f"recorded {number}"),
            synchronize=lambda: self.log.append(f"waited for {number}"),
            elapsed_time=lambda _: 5.0,
        )

    def synchronize(self) -> None:
        """Wait for nothing."""
        self.log.append("synchronised")


class FaultyLanes(TorchAdapter):
    """Torch as it is, until `plant` names one of `FAULTS`."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._fault, self._taken = "", 0

    def plant(self, fault: str) -> None:
        """Be dishonest in this way from now on."""
        if fault not in FAULTS:
            raise ValueError(fault)
        self._fault = fault

    def step(self, work: str) -> Callable[[], Any]:
        """Return the real step, fed another shape at its third call, or guarded by something that changes."""
        real = super().step(work)
        x, y = self._resident()

        def step() -> Any:
            self._taken += 1
            if self._fault == "other-shape" and self._taken % 3 == 0:
                half = len(y) // 2
                return self._train(x[:half], y[:half]) if work == "train" else self._evaluate(x[:half])
            if self._fault == "guard" and self._taken % 3 == 0:
                other = x.detach().clone().requires_grad_()  # the compiled graph was made for an input without
                return self._train(other, y) if work == "train" else self._evaluate(other)
            if self._fault == "recording" and self._taken % 3 == 0:
                self._record()
            return real()

        return step

    def _record(self) -> None:
        """Tell what torch tells when it records a CUDA graph, which needs no GPU."""
        callback = self.torch._dynamo.callback
        with callback.callback_handler.install_callbacks(callback.CallbackTrigger.CUDAGRAPH_RECORDING, "planted"):
            pass

    def autotunes(self, options: Mapping[str, Any]) -> bool:
        """Return whether cuDNN tries its convolutions out once a lane has begun, whatever the device."""
        self._begin_lane(LaneOptions.read(options))
        return bool(self.torch.backends.cudnn.benchmark)

    def computed(self) -> float:
        """Return what a device is tried with."""
        return self._computed_ones()

    def events_of_a_round(self) -> list[str]:
        """Return what a round of two steps asks of a CUDA device that is made up."""
        cuda, real, step = _Cuda(), (self.torch, self.device), self.step
        self.torch, self.device = SimpleNamespace(cuda=cuda), SimpleNamespace(type="cuda")
        self.step = lambda work: partial(cuda.log.append, "step")  # type: ignore[method-assign] # noqa: ARG005
        self.compilations = lambda: 0  # type: ignore[method-assign]
        try:
            done = self.timed_steps("train", 2)
        finally:
            (self.torch, self.device), self.step = real, step  # type: ignore[method-assign]
            del self.compilations
        return cuda.log if done["device_s"] == 0.005 else [f"device_s {done['device_s']}"]

    def reads_while_scaling(self) -> dict[str, float]:
        """Return how many more numbers a training step under a GradScaler really reads, and how many are said to be."""
        plain = self._reads_of_a_step()  # Adam reads its own count of steps, which torch keeps on the host
        self._scaler = self.torch.amp.GradScaler(self.device.type)
        more = self._reads_of_a_step() - plain
        return {"more": more, **{work: self.host_reads_per_step(work) for work in ("train", "evaluate")}}

    def _reads_of_a_step(self) -> float:
        tensor = self.torch.Tensor
        read: list[Any] = []
        item = tensor.item

        def counted(given: Any) -> Any:
            read.append(given.dtype)
            return item(given)

        tensor.item = counted
        try:
            self._train(*self._resident())
        finally:
            tensor.item = item
        return float(len(read))

    def _begin_lane(self, lane: Any) -> None:
        super()._begin_lane(lane)
        if self._fault == "half-tf32":
            self.torch.backends.cudnn.allow_tf32 = not self.torch.backends.cudnn.allow_tf32

    def kernels(self) -> str | None:
        """Return the folder that compiled kernels are written to."""
        return self._kernels

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._fault == "autocast-lie" else super()._autocast()

    def place_batch(self, x: Any, y: Any) -> None:
        """Keep the batch, cut by one image where that is the fault."""
        cut = 1 if self._fault == "cut-batch" else 0
        super().place_batch(x[cut:], y[cut:])

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Start the lane with another learning rate, or without what was asked for, where that is the fault."""
        if self._fault == "wrong-rate":
            options = {**options, "learning_rate": 1.02 * options["learning_rate"]}
        facts = super().start_lane(options)
        if self._fault == "quietly-eager":
            self._compiled = {}
        if self._fault == "eager-optimizer":
            self._compiled["optimizer"] = self._optimizer().step
        if self._fault == "layout-lie":
            self.model = self._built().to(memory_format=self.torch.contiguous_format)
            self._batch = (self._resident()[0].contiguous(), self._resident()[1])
        return facts

    def _update(self) -> None:
        if self._fault != "no-update":
            super()._update()

    def synchronise(self) -> None:
        """Wait for the device, or not."""
        if self._fault != "hurry":
            super().synchronise()
