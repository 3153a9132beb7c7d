"""The lanes of torch: a step run eagerly, compiled, replayed from CUDA graphs, or inside a plain training loop."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.adapters.base import Adapter, Array, quiet_collector, read_options
from parity.errors import MissingDevice, ParityError, UsageError

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "run": ("eager", "compile", "graphs", "fit"),
    "precision": ("float32", "tf32", "bfloat16", "float16"),
}
COMPILED = ("compile", "graphs")
PHASE_WARMUP = 3  # steps taken apart before the first that counts
PHASES_HOW = (
    "one real step with the device synchronised between its phases: loss (forward), loss.backward(), optimizer.step()"
    " with zero_grad, then {read}; what runs across two phases at once in a real step is counted in both. The batch is"
    " resident: there is no input to time"
)
READS = {
    True: "loss and accuracy are read to the host, as this lane does at every step",
    False: "loss.item(), which is no part of this lane's step",
}


@dataclass(frozen=True)
class LaneOptions:
    """What a lane may ask of torch; `run` and `precision` are as in `CHOICES`."""

    run: str = "eager"
    precision: str = "float32"
    channels_last: bool = False
    fused: bool = False
    autotune: bool = False
    learning_rate: float = 1e-3
    epsilon: float = 1e-7

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> LaneOptions:
        """Return the options as given, each checked.

        Raises
            UsageError: torch has no such option or value.
        """
        return read_options(cls, "torch", options, CHOICES)


class TorchLanes(Adapter):
    """Steps of the built model as a lane runs them; without `start_lane` they are eager float32."""

    torch: Any
    model: Any
    optimizer: Any
    device: Any
    dtype: Any
    _lane: LaneOptions
    _compiled: dict[str, Any]
    _scaler: Any
    _seen_compiling: set[str]
    _images_passed: int  # images that went through a forward pass so far
    _graphs_recorded = 0  # CUDA graphs recorded so far
    _kernels: str | None = None  # the folder that compiled kernels are written to
    _batch: tuple[Any, Any] | None

    @abstractmethod
    def _built(self) -> Any: ...

    @abstractmethod
    def _tensor(self, x: Array) -> Any: ...

    @abstractmethod
    def _array(self, tensor: Any) -> Array: ...

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make the optimizer and the steps that `options` ask for, and return facts as read back from torch.

        `run` is eager (default), compile, graphs (CUDA graphs, on a GPU) or fit (a loop that reads loss and accuracy
        at every step); `precision` is float32 (default), tf32, bfloat16 or float16; `channels_last` is the memory
        format; `fused` asks for the fused Adam; `autotune` lets cuDNN try its convolutions out; `learning_rate` and
        `epsilon` are Adam's. The weights stay as they are.

        Raises
            UsageError: an option that torch does not have.
            MissingDevice: one that this device does not have.
            ParityError: torch does not do what was asked for.
        """
        start_s = time.perf_counter()
        lane = LaneOptions.read(options)
        self._refuse_impossible(lane)
        self._begin_lane(lane)
        facts = self._lane_facts()
        self.start_s = time.perf_counter() - start_s
        return facts

    def start_training(self, learning_rate: float, epsilon: float) -> None:
        self._begin_lane(LaneOptions(learning_rate=learning_rate, epsilon=epsilon))

    def optimizer_steps(self) -> int:
        """Return how many steps the optimizer has taken; one that loss scaling skipped is none."""
        return max((int(state["step"]) for state in self._optimizer().state.values() if "step" in state), default=0)

    def train_batch(self, x: Array, y: Array) -> float:
        self._built().train()
        return float(self._train(self._image(x), self._tensor(y)).item())

    def logits(self, x: Array) -> Array:
        self._built().eval()
        return _wide(self._evaluate(self._image(x)))

    def place_batch(self, x: Array, y: Array) -> None:
        before = self._batch
        self._batch = (self._image(x), self._tensor(y))
        if self._lane.run in COMPILED and before is not None and before[0].shape != self._batch[0].shape:
            self._compile(self._lane)  # a new shape is compiled as a first one is, not as one more among many

    def resident_logits(self) -> Array:
        logits = self.step("evaluate")()
        if logits.dtype != (self._low() or self.dtype):
            raise ParityError(f"the lane says precision={self._lane.precision!r}, and its logits are {logits.dtype}")
        return _wide(logits)

    def resident_images(self) -> int:
        return int(self._resident()[0].shape[0])

    def loss(self) -> float:
        x, y = self._resident()
        self._built().eval()
        with self.torch.no_grad():
            return float(self._loss(self._evaluate(x), y).item())

    def step(self, work: str) -> Callable[[], Any]:
        x, y = self._resident()
        self._built().train(work == "train")
        if self._lane.run == "fit":
            return (lambda: self._fit_train(x, y)) if work == "train" else (lambda: self._fit_evaluate(x, y))
        return (lambda: self._train(x, y)) if work == "train" else (lambda: self._evaluate(x))

    def first_step(self, work: str) -> float:
        compiled = self.compilations()
        seconds = super().first_step(work)
        if self._lane.run in COMPILED:
            self._check_compiled(work, self.compilations() - compiled)
        self._check_layout()
        return seconds

    def timed_steps(self, work: str, steps: int) -> dict[str, Any]:
        """Return how long `steps` steps took, as `Adapter.timed_steps` says; each forward pass counts its images."""
        before = self._images_passed
        done = super().timed_steps(work, steps)
        return {**done, "images": float(self._images_passed - before)}

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def mark(self, again: Any = None) -> Any:
        if self.device.type != "cuda":
            return None
        event = self.torch.cuda.Event(enable_timing=True) if again is None else again
        event.record()
        return event

    def marked_s(self, start: Any, end: Any) -> float | None:
        if start is None or end is None:
            return None
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000.0

    def compilations(self) -> int:
        """Return how many graphs torch.compile has made in this process, each recompilation among them.

        A CUDA graph that is recorded, which happens at a step after the first, counts as one more.
        """
        dynamo = sys.modules.get("torch._dynamo.utils")
        return self._graphs_recorded + (0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"]))

    def host_reads_per_step(self, work: str) -> float:
        # A scaler asks after every backward pass whether a gradient has overflowed, before it lets the optimizer step.
        scaled = float(self._scaler is not None and work == "train")
        return scaled + (2.0 if self._lane.run == "fit" else 0.0)

    def peak_device_bytes(self) -> int | None:
        return int(self.torch.cuda.max_memory_allocated()) if self.device.type == "cuda" else None

    def phases(self, steps: int) -> dict[str, Any]:
        """Take `steps` training steps apart on the resident batch; the device is synchronised between phases.

        Returns lists of `steps` seconds, `forward_s`, `backward_s`, `optimizer_s` and `host_read_s`, and `how`.
        """
        if steps < 1:
            raise UsageError(f"`steps` (={steps}) must be at least 1")
        self._built().train()
        with quiet_collector():
            taken = [self._step_apart() for _ in range(PHASE_WARMUP + steps)][PHASE_WARMUP:]
        names = ("forward_s", "backward_s", "optimizer_s", "host_read_s")
        found = {name: list(seconds) for name, seconds in zip(names, zip(*taken, strict=True), strict=True)}
        return {**found, "how": PHASES_HOW.format(read=READS[self._lane.run == "fit"])}

    # Starting a lane.

    def _refuse_impossible(self, lane: LaneOptions) -> None:
        gpu = self.device.type == "cuda"
        if lane.run == "graphs" and not gpu:
            raise MissingDevice("run='graphs' needs a GPU: CUDA graphs are replayed there")
        if lane.autotune and not gpu:
            raise MissingDevice("autotune=True needs a GPU: it is cuDNN that tries its convolutions out")
        if lane.precision == "float16" and not gpu:
            raise MissingDevice("precision='float16' needs a GPU: torch trains in it there, with a GradScaler")
        if lane.precision == "tf32" and not (gpu and self.torch.cuda.get_device_capability()[0] >= 8):
            raise MissingDevice("precision='tf32' needs a GPU of compute capability 8.0 or later")
        if lane.precision == "tf32" and os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
            raise UsageError("precision='tf32' is switched off by NVIDIA_TF32_OVERRIDE=0, whatever torch is told")
        if lane.precision != "float32" and self.settings.role == "twin":
            raise UsageError(f"a twin computes in float64, not in {lane.precision}")

    def _begin_lane(self, lane: LaneOptions) -> None:
        torch, model = self.torch, self._built()
        self._forget_lane()
        self._lane = lane
        for backend in (torch.backends.cudnn, torch.backends.cuda.matmul):
            backend.allow_tf32 = lane.precision == "tf32"
        torch.backends.cudnn.benchmark = lane.autotune
        format_ = torch.channels_last if lane.channels_last else torch.contiguous_format
        self.model = model.to(memory_format=format_)
        if self._batch is not None:
            self._batch = (self._batch[0].to(memory_format=format_), self._batch[1])
        chosen = {"fused": True} if lane.fused else {}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lane.learning_rate, eps=lane.epsilon, **chosen)
        if lane.precision == "float16":
            self._scaler = torch.amp.GradScaler(self.device.type)
        if lane.run in COMPILED:
            self._compile(lane)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def _forget_lane(self) -> None:
        """Go back to what holds without `start_lane`; a network that is built next is built for that."""
        self._lane, self.optimizer, self._scaler = LaneOptions(), None, None
        self._compiled, self._seen_compiling, self._images_passed = {}, set(), 0

    def _compile(self, lane: LaneOptions) -> None:
        """Compile the loss (its backward pass with it), the evaluation, and on `compile` the optimizer's step too.

        Nothing is compiled before the first call, and nothing that another process compiled is taken over: a first step
        that finds its kernels on the disk is no cold start.
        """
        torch = self.torch
        if self._kernels is None:
            self._kernels = tempfile.mkdtemp(prefix="compiled-")  # in the worker's own folder, and gone with it
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._kernels
        torch._dynamo.reset()
        self._seen_compiling = set()
        self._refuse_fallbacks()
        torch._dynamo.callback.on_compile_start(self._note_recording)
        mode = {"mode": "reduce-overhead"} if lane.run == "graphs" else {}
        self._compiled = {
            "loss": torch.compile(self._loss_of, fullgraph=True, dynamic=False, **mode),
            "evaluate": torch.compile(self._logits, fullgraph=True, dynamic=False, **mode),
        }
        if lane.run == "compile":
            self._compiled["optimizer"] = torch.compile(self._optimizer().step, dynamic=False)

    def _refuse_fallbacks(self) -> None:
        """Make torch fail where it would run a step in another way than the lane says, with no more than a warning."""
        import torch._inductor.config as inductor

        dynamo = self.torch._dynamo.config
        if hasattr(dynamo, "fail_on_recompile_limit_hit"):
            dynamo.fail_on_recompile_limit_hit = True  # eagerly, from the limit on
        dynamo.suppress_errors = False  # eagerly, where something cannot be compiled
        if hasattr(inductor.triton, "cudagraph_or_error"):
            inductor.triton.cudagraph_or_error = True  # kernel by kernel, where no CUDA graph can be recorded

    def _note_recording(self, *event: Any) -> None:
        """Count a CUDA graph that is about to be recorded; older versions of torch do not say what is about to be."""
        if event and event[0].callback_trigger.name == "CUDAGRAPH_RECORDING":
            self._graphs_recorded += 1

    def _lane_facts(self) -> dict[str, Any]:
        torch, lane, optimizer = self.torch, self._lane, self._optimizer()
        allowed = bool(torch.backends.cudnn.allow_tf32), bool(torch.backends.cuda.matmul.allow_tf32)
        facts = {
            "run": lane.run,
            "precision": lane.precision,
            "autocast": self._low() is not None,
            "tf32": allowed[0] if allowed[0] == allowed[1] else "in one of convolutions and products alone",
            "optimizer": type(optimizer).__name__,
            "fused": bool(optimizer.defaults.get("fused")),
            "foreach": optimizer.defaults.get("foreach"),
            "adam": self._adam(),
            "grad_scaler": self._scaler is not None,
            "learning_rate": float(optimizer.param_groups[0]["lr"]),
            "epsilon": float(optimizer.param_groups[0]["eps"]),
            "jit_compile": bool(self._compiled),
            "compiled": sorted(self._compiled),
            "layout": self._layout(),
            "host_reads_per_step": self.host_reads_per_step("train"),
        }
        if self.device.type == "cuda":
            facts["cudnn_benchmark"] = bool(torch.backends.cudnn.benchmark)
        asked = (lane.fused, lane.precision == "tf32", _named(lane.channels_last), lane.autotune)
        if (facts["fused"], facts["tf32"], facts["layout"], bool(torch.backends.cudnn.benchmark)) != asked:
            raise ParityError(f"torch does not do what the lane asks for: {facts}")
        return facts

    def _adam(self) -> str:
        """Return how the optimizer takes its step: fused, foreach or tensor by tensor; torch decides where nobody did.

        Source: torch/optim/optimizer.py, `_default_to_fused_or_foreach`, which Adam asks at every step.
        """
        defaults, parameters = self._optimizer().defaults, list(self._built().parameters())
        if defaults["fused"]:
            return "fused"
        foreach = defaults["foreach"]
        if foreach is None:
            from torch.optim.optimizer import _default_to_fused_or_foreach

            foreach = _default_to_fused_or_foreach(parameters, differentiable=False)[1]
        return "foreach" if foreach else "tensor by tensor"

    def _layout(self) -> str:
        """Return the memory format of images and kernels; one channel fits both, and then what was asked for counts."""
        torch = self.torch
        images = [] if self._batch is None else [self._batch[0]]
        held = [tensor for tensor in (*self._built().parameters(), *images) if tensor.dim() == 4]
        formats = {_named(False): torch.contiguous_format, _named(True): torch.channels_last}
        fitting = [name for name in formats if all(t.is_contiguous(memory_format=formats[name]) for t in held)]
        asked = _named(self._lane.channels_last)
        return asked if asked in fitting else "mixed" if not fitting else fitting[0]

    def _check_compiled(self, work: str, graphs: int) -> None:
        """Refuse a first step that did not compile all that the lane compiles of it."""
        compiled = "train" if work == "train" else "evaluate"
        due = len(self._compiled) - 1 if compiled == "train" else 1
        if compiled not in self._seen_compiling and graphs < max(1, due):
            done = f"{graphs} of {due} graphs" if graphs else "nothing"
            raise ParityError(f"the lane says run={self._lane.run!r}, and its first step of `{work}` compiled {done}")
        self._seen_compiling.add(compiled)

    def _check_layout(self) -> None:
        """Refuse a lane whose first convolution does not put out the memory format that it says."""
        if not self._lane.channels_last:
            return
        x, _ = self._resident()
        with self.torch.no_grad():
            put_out = next(self._built().children())(x)
        if put_out.dim() == 4 and not put_out.is_contiguous(memory_format=self.torch.channels_last):
            raise ParityError("the lane says channels_last, and its first layer puts out another memory format")

    # Steps.

    def _low(self) -> Any:
        names = {"bfloat16": self.torch.bfloat16, "float16": self.torch.float16}
        return names.get(self._lane.precision)

    def _autocast(self) -> AbstractContextManager[Any]:
        low = self._low()
        return nullcontext() if low is None else self.torch.autocast(self.device.type, dtype=low)

    def _image(self, x: Array) -> Any:
        tensor = self._tensor(x)
        return tensor.to(memory_format=self.torch.channels_last) if self._lane.channels_last else tensor

    def _logits(self, x: Any) -> Any:
        model = self._built()
        last = self._described().layers[-1].kind == "sigmoid"
        return (model[:-1] if last else model)(x).squeeze(-1)

    def _loss(self, logits: Any, y: Any) -> Any:
        return self.torch.nn.functional.binary_cross_entropy_with_logits(logits.to(y.dtype), y)

    def _loss_of(self, x: Any, y: Any) -> Any:
        with self._autocast():
            logits = self._logits(x)
        return self._loss(logits, y)

    def _forward(self, x: Any, y: Any) -> Any:
        self._images_passed += len(x)
        if self._lane.run == "graphs":
            self.torch.compiler.cudagraph_mark_step_begin()
        return self._compiled.get("loss", self._loss_of)(x, y)

    def _differentiate(self, loss: Any) -> None:
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def _update(self) -> None:
        optimizer = self._optimizer()
        if self._scaler is not None:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            self._compiled.get("optimizer", optimizer.step)()
        optimizer.zero_grad(set_to_none=True)

    def _train(self, x: Any, y: Any) -> Any:
        loss = self._forward(x, y)
        self._differentiate(loss)
        self._update()
        return loss.detach()

    def _evaluate(self, x: Any) -> Any:
        self._images_passed += len(x)
        with self.torch.no_grad(), self._autocast():
            if self._lane.run == "graphs":
                self.torch.compiler.cudagraph_mark_step_begin()
            return self._compiled.get("evaluate", self._logits)(x)

    def _fit_train(self, x: Any, y: Any) -> Any:
        """Take one step of a training loop as people write it: loss and accuracy are read at every step."""
        loss, logits = self._fit_forward(x, y)
        self._differentiate(loss)
        self._update()
        return self._read_results(loss, logits, y)

    def _fit_evaluate(self, x: Any, y: Any) -> Any:
        with self.torch.no_grad():
            loss, logits = self._fit_forward(x, y)
        self._read_results(loss, logits, y)
        return logits

    def _fit_forward(self, x: Any, y: Any) -> tuple[Any, Any]:
        self._images_passed += len(x)
        with self._autocast():
            logits = self._logits(x)
        return self._loss(logits, y), logits

    def _read_results(self, loss: Any, logits: Any, y: Any) -> tuple[float, float]:
        """Read the loss and the accuracy to the host."""
        return loss.item(), ((logits > 0) == (y > 0.5)).sum().item() / len(y)

    def _step_apart(self) -> tuple[float, float, float, float]:
        x, y = self._resident()
        fit = self._lane.run == "fit"
        (loss, logits), forward_s = self._clocked(
            lambda: self._fit_forward(x, y) if fit else (self._forward(x, y), None)
        )
        _, backward_s = self._clocked(lambda: self._differentiate(loss))
        _, optimizer_s = self._clocked(self._update)
        _, host_read_s = self._clocked(lambda: self._read_results(loss, logits, y) if fit else loss.item())
        return forward_s, backward_s, optimizer_s, host_read_s

    def _clocked(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Return what `call` returns, and its seconds until the device had finished."""
        self.synchronise()
        start_s = time.perf_counter()
        result = call()
        self.synchronise()
        return result, time.perf_counter() - start_s

    def _optimizer(self) -> Any:
        if self.optimizer is None:
            raise UsageError("no optimizer: call `start_lane` or `start_training` first")
        return self.optimizer

    def _resident(self) -> tuple[Any, Any]:
        if self._batch is None:
            raise UsageError("no batch on the device: call `place_batch` first")
        return self._batch


def _named(channels_last: bool) -> str:
    return "channels_last" if channels_last else "contiguous"


def _wide(logits: Any) -> Array:
    """Return logits as float64, of shape (n,); NumPy has no bfloat16."""
    return np.asarray(logits.detach().double().cpu().numpy()).reshape(-1)
