"""The lanes of TensorFlow: a step as a graph, compiled by XLA, or inside Keras's `fit`, in one of four precisions."""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from parity.adapters.base import WORKS, Adapter, Array, quiet_collector, read_options
from parity.adapters.keras_fit import KerasFit
from parity.adapters.keras_layers import takes_training
from parity.errors import MissingDevice, ParityError, UsageError
from parity.model.spec import ModelSpec

LOW = ("bfloat16", "float16")
PHASE_WARMUP = 3
PHASES_HOW = (
    "three functions, each compiled as the lane's step is: the loss alone; the loss with its gradients, of which the"
    " loss alone, timed just before on the same weights, is taken off to give `backward_s`; the optimizer on those"
    " gradients; then one scalar is read to the host. The gradients are written out between the functions, nothing is"
    " fused across them, and the loss alone need not keep what gradients need, so the sum is not exactly a step. The"
    " batch is resident: there is no input to time"
)
FIT_PHASES_HOW = (
    "`fit` runs forward, backward and optimizer in one graph that it makes itself, which cannot be taken apart without"
    " being another one; `host_read_s` is from when the device had finished an execution to when Keras hands loss and"
    " accuracy to callbacks, divided by the steps of an execution"
)
SCALER_READS = (
    "the graph asks at every training step whether a gradient has overflowed, and on a GPU waits on the host for the"
    " answer, before it lets the optimizer step"
)
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "run": ("graph", "xla", "fit"),
    "precision": ("float32", "tf32", *LOW),
    "channels_last": (False,),
    "fused": (False,),
}


@dataclass(frozen=True)
class LaneOptions:
    """What a lane may ask of TensorFlow; the first two are as in `CHOICES`."""

    run: str = "graph"
    precision: str = "float32"
    channels_last: bool = False
    fused: bool = False
    steps_per_execution: int = 1
    learning_rate: float = 1e-3
    epsilon: float = 1e-7

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> LaneOptions:
        """Return the options as given, each checked.

        Raises
            UsageError: TensorFlow has no such option or value.
        """
        read = read_options(cls, "tensorflow", options, CHOICES)
        if read.steps_per_execution < 1 or (read.steps_per_execution > 1 and read.run != "fit"):
            raise UsageError(f"steps_per_execution={read.steps_per_execution} is an option of run='fit', from 1 up")
        return read


@dataclass(frozen=True)
class Trace:
    """One time that TensorFlow ran a step's Python code: to trace it, or because nothing was traced at all."""

    step: str
    xla: bool  # traced for XLA to compile


class TensorflowLanes(Adapter):
    """Steps of the built model as a lane runs them; without `start_lane` they are float32 graphs."""

    tf: Any
    keras: Any
    model: Any
    optimizer: Any
    _lane: LaneOptions
    _steps: dict[str, Any]
    _traces: list[Trace]
    _batch: tuple[Any, Any] | None
    _fit: KerasFit | None
    _last: Any

    @abstractmethod
    def _built(self) -> Any: ...

    @abstractmethod
    def _sequential(self, spec: ModelSpec) -> Any: ...

    @abstractmethod
    def _tensor(self, x: Array) -> Any: ...

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make the optimizer and the steps that `options` ask for, and return facts as read back from TensorFlow.

        `run` is graph (default), xla or fit; `precision` is float32 (default), tf32, bfloat16 or float16;
        `steps_per_execution` belongs to fit; `learning_rate` and `epsilon` are Adam's. The weights stay as they are.

        Raises
            UsageError: an option that TensorFlow does not have.
            MissingDevice: TF32 without a GPU that has it.
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
        return int(self._optimizer().iterations)

    def train_batch(self, x: Array, y: Array) -> float:
        return float(self._train_function()(self._tensor(x), self._tensor(y)).numpy())

    def logits(self, x: Array) -> Array:
        return _wide(self._evaluate_function()(self._tensor(x)))

    def place_batch(self, x: Array, y: Array) -> None:
        shape = None if self._batch is None else self._batch[0].shape
        with self.tf.device("/GPU:0") if self.settings.device == "gpu" else nullcontext():
            self._batch = (self._tensor(x), self._tensor(y))
        if self.settings.device == "gpu" and not self._batch[0].device.endswith("GPU:0"):
            raise MissingDevice(f"the batch lies on {self._batch[0].device}, not on the GPU")
        if self._fit is not None and self._batch[0].shape != shape:
            self._make_fit()  # Keras would loosen its graph to any batch size, and run that from then on

    def resident_logits(self) -> Array:
        if self._fit is not None:  # `evaluate` gives no logits away; `loss` ties these to what it computes
            return np.asarray(self._fit.model.predict_on_batch(self._resident()[0]), dtype=np.float64).reshape(-1)
        return _wide(self.step("evaluate")())

    def loss(self) -> float:
        x, y = self._resident()
        if self._fit is not None:
            return float(self._fit.run("evaluate", self._fit_dataset(), 1, lambda _: None)["loss"])
        return float(self._loss_function()(x, y).numpy())

    def step(self, work: str) -> Callable[[], Any]:
        """Return one step on the resident batch; in the lane `fit`, one execution, which may be several steps."""
        x, y = self._resident()
        if self._fit is not None:
            return partial(self._fit.run, work, self._fit_dataset(), 1, lambda _: None)
        call = partial(self._train_function(), x, y) if work == "train" else partial(self._evaluate_function(), x)

        def step() -> Any:
            self._last = call()
            return self._last

        return step

    def timed_steps(self, work: str, steps: int) -> dict[str, Any]:
        """Return how long at least `steps` consecutive steps took, as `Adapter.timed_steps` says.

        Of several steps per execution only whole executions are timed, so `images` may be more than was asked for. On
        a GPU, `after_sync_s` is how much longer the device went on after the clock had stopped.
        """
        if self._fit is None:
            done = super().timed_steps(work, steps)
            return {**done, "after_sync_s": self._after_sync_s()} if self._is_asynchronous() else done
        if work not in WORKS or steps < 1:
            raise UsageError(f"`work` (={work!r}) must be one of {WORKS} and `steps` (={steps}) at least 1")
        compiled = self.compilations()
        with quiet_collector():
            done = self._fit.timed(work, self._fit_dataset(), steps, self.synchronise)
        due = math.ceil(steps / self._fit.per_execution) * self._fit.per_execution * self.resident_images()
        if done["images"] != due:
            raise ParityError(
                f"`fit` worked on {done['images']:.0f} images where {due} were due: a partial or a missing batch is not"
                " a step"
            )
        return {**done, "compilations": float(self.compilations() - compiled)}

    def resident_images(self) -> int:
        return int(self._resident()[0].shape[0])

    def _is_asynchronous(self) -> bool:
        """Whether a step returns before it is done; on a CPU the call of a traced function does not."""
        return self.settings.device == "gpu"

    def _after_sync_s(self) -> float:
        """Return how much longer it takes to read the last step's result now than to read one that is ready.

        A copy to the host waits for all that was asked of the device before it. TensorFlow keeps the copy of what was
        read once and gives it away again for nothing, so each result that this one is held against is a new one.
        """
        late_s = _reading_s(self._last)
        ready = [self._last + 0 for _ in range(3)]
        self.synchronise()
        return max(0.0, late_s - max(map(_reading_s, ready)))

    def first_step(self, work: str) -> float:
        seconds = super().first_step(work)
        self._check_compiled()
        return seconds

    def synchronise(self) -> None:
        if self._is_asynchronous():  # otherwise nothing is left to wait for, and asking would be timed
            self.tf.test.experimental.sync_devices()

    def compilations(self) -> int:
        """Return how many times the Python code of a step ran so far: once per trace, whatever XLA then compiles.

        All shapes are static here, so XLA compiles once per trace; a step that runs without a graph counts every time.
        """
        return len(self._traces)

    def peak_device_bytes(self) -> int | None:
        if self.settings.device != "gpu":
            return None
        return int(self.tf.config.experimental.get_memory_info("GPU:0")["peak"])

    def phases(self, steps: int) -> dict[str, Any]:
        """Take `steps` training steps apart on the resident batch; each phase is synchronised at both ends.

        Returns lists of `steps` seconds, `forward_s`, `backward_s`, `optimizer_s` and `host_read_s`, and `how`.
        """
        if steps < 1:
            raise UsageError(f"`steps` (={steps}) must be at least 1")
        if self._fit is not None:
            return self._fit_phases(steps)
        x, y = self._resident()
        forward, backward, apply = self._phase_functions()
        taken = []
        for _ in range(PHASE_WARMUP + steps):
            _, forward_s = self._clocked(partial(forward, x, y))
            (loss, gradients), both_s = self._clocked(partial(backward, x, y))
            _, optimizer_s = self._clocked(partial(apply, gradients))
            _, host_read_s = self._clocked(loss.numpy)
            taken.append((forward_s, both_s - forward_s, optimizer_s, host_read_s))
        names = ("forward_s", "backward_s", "optimizer_s", "host_read_s")
        timed = zip(*taken[PHASE_WARMUP:], strict=True)
        return {**{name: list(seconds) for name, seconds in zip(names, timed, strict=True)}, "how": PHASES_HOW}

    def _fit_phases(self, steps: int) -> dict[str, Any]:
        fit = self._fitted()
        executions = PHASE_WARMUP + steps
        read_s = fit.host_reads("train", self._fit_dataset(), executions, self.synchronise)[PHASE_WARMUP:]
        return {"host_read_s": [seconds / fit.per_execution for seconds in read_s], "how": FIT_PHASES_HOW}

    # Starting a lane.

    def _refuse_impossible(self, lane: LaneOptions) -> None:
        if lane.precision == "tf32":
            why = self._no_tf32()
            if why:
                raise MissingDevice(why)
        if lane.precision == "tf32" and os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
            raise UsageError("precision='tf32' is switched off by NVIDIA_TF32_OVERRIDE=0, whatever TensorFlow is told")
        if lane.precision != "float32" and self.settings.role == "twin":
            raise UsageError(f"a twin computes in float64, not in {lane.precision}")
        if "auto_jit" in os.environ.get("TF_XLA_FLAGS", "") or self.tf.config.optimizer.get_jit():
            raise UsageError("XLA is on for every graph (TF_XLA_FLAGS or tf.config.optimizer): no lane is what it says")

    def _no_tf32(self) -> str | None:
        if self.settings.device != "gpu":
            return "precision='tf32' needs a GPU: TF32 is a mode of NVIDIA's matrix units"
        devices = self.tf.config.list_physical_devices("GPU")
        capability = self.tf.config.experimental.get_device_details(devices[0]).get("compute_capability", (0, 0))
        return None if capability[0] >= 8 else "this GPU has no TF32: it came with compute capability 8.0"

    def _begin_lane(self, lane: LaneOptions) -> None:
        model = self._built()
        self._forget_lane()
        self._lane = lane
        self._hold_policy(model)
        self.tf.config.experimental.enable_tensor_float_32_execution(lane.precision == "tf32")
        self.optimizer = self._new_optimizer(lane)
        self.optimizer.build(self._built().trainable_variables)
        self._make_fit()
        if self.settings.device == "gpu":
            self.tf.config.experimental.reset_memory_stats("GPU:0")

    def _forget_lane(self) -> None:
        """Go back to what holds without `start_lane`; a network that is built next is built for that."""
        self._lane, self.optimizer, self._steps, self._traces = LaneOptions(), None, {}, []
        self._fit = self._last = None
        self.tf.config.experimental.enable_tensor_float_32_execution(False)

    def _hold_policy(self, model: Any) -> None:
        """Rebuild the model under the lane's dtype policy, with the very same weights, which stay float32."""
        wanted = f"mixed_{self._lane.precision}" if self._lane.precision in LOW else self.settings.dtype
        if {layer.dtype_policy.name for layer in model.layers} == {wanted}:
            return
        weights = self.get_weights()
        with self._policy(wanted):
            self.model = self._sequential(self._described())
        self.set_weights(weights)

    @contextmanager
    def _policy(self, name: str) -> Iterator[None]:
        """Build under a policy as `keras.config.set_dtype_policy` tells a user to."""
        before = self.keras.config.dtype_policy()
        self.keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            self.keras.config.set_dtype_policy(before)

    def _new_optimizer(self, lane: LaneOptions) -> Any:
        optimizers = self.keras.optimizers
        adam = optimizers.Adam(learning_rate=lane.learning_rate, epsilon=lane.epsilon)
        return optimizers.LossScaleOptimizer(adam) if lane.precision == "float16" else adam

    def _lane_facts(self) -> dict[str, Any]:
        layers, optimizer = self._built().layers, self._optimizer()
        scale = getattr(optimizer, "dynamic_scale", None)
        return {
            "run": self._lane.run,
            "precision": self._lane.precision,
            "policy": sorted({layer.dtype_policy.name for layer in layers}),
            "compute_dtype": sorted({layer.compute_dtype for layer in layers}),
            "weights_dtype": sorted({variable.dtype for layer in layers for variable in layer.weights}),
            "tf32": bool(self.tf.config.experimental.tensor_float_32_execution_enabled()),
            "optimizer": type(optimizer).__name__,
            "inner_optimizer": type(getattr(optimizer, "inner_optimizer", optimizer)).__name__,
            "loss_scale": None if scale is None else float(scale),
            "learning_rate": float(optimizer.learning_rate),
            "epsilon": float(getattr(optimizer, "inner_optimizer", optimizer).epsilon),
            "jit_compile": self._lane.run == "xla",
            "layout": self.keras.config.image_data_format(),
            "steps_per_execution": self._lane.steps_per_execution,
            "host_reads_per_step": 0.0,
            **({"reads": SCALER_READS} if scale is not None else {}),
            **(self._gpu_facts() if self.settings.device == "gpu" else {}),
            **(self._fit.facts() if self._fit else {}),
        }

    def _gpu_facts(self) -> dict[str, Any]:
        """Return what decides how fast a GPU is used, and whether others find memory there.

        Source: tensorflow/core/kernels/conv_ops_gpu.h, TF_CUDNN_USE_AUTOTUNE: on unless it is switched off.
        """
        config = self.tf.config
        (gpu,) = config.get_visible_devices("GPU")
        return {
            "cudnn_autotune": os.environ.get("TF_CUDNN_USE_AUTOTUNE", "1").lower() not in ("0", "false"),
            "memory_growth": bool(config.experimental.get_memory_growth(gpu)),
            "gpu_allocator": os.environ.get("TF_GPU_ALLOCATOR", "default"),
        }

    def _optimizer(self) -> Any:
        if self.optimizer is None:
            raise UsageError("no optimizer: call `start_lane` or `start_training` first")
        return self.optimizer

    # Keras's own loop.

    def _make_fit(self) -> None:
        """Compile the network without its sigmoid for Keras's own loop, on the same variables and optimizer."""
        if self._lane.run != "fit":
            return
        spec, layers = self._described(), self._built().layers
        last = spec.layers[-1].kind == "sigmoid"
        shape = (spec.height, spec.width, spec.channels)
        model = self.keras.Sequential([self.keras.Input(shape), *(layers[:-1] if last else layers)])
        self._fit = KerasFit(self.keras, model, self._optimizer(), self._lane.steps_per_execution, self._noted)

    def _fitted(self) -> KerasFit:
        if self._fit is None:
            raise UsageError("no Keras loop: call `start_lane` with run='fit' first")
        return self._fit

    def _fit_dataset(self) -> Any:
        """Return the resident batch for ever, as full batches; a GPU has the next one copied to it beforehand."""
        x, y = self._resident()
        dataset = self.tf.data.Dataset.from_tensors((x, y[:, None])).repeat()
        if self.settings.device == "gpu":
            dataset = dataset.apply(self.tf.data.experimental.prefetch_to_device("/gpu:0"))
        return dataset

    # Steps of one's own.

    def _logits(self, x: Any, training: bool) -> Any:
        layers = self._built().layers
        last = self._described().layers[-1].kind == "sigmoid"
        for layer in layers[:-1] if last else layers:
            x = layer(x, training=training) if takes_training(layer) else layer(x)
        return self.tf.squeeze(x, axis=-1)

    def _loss(self, logits: Any, y: Any) -> Any:
        # On logits, not through keras.losses.BinaryCrossentropy: that one clips probabilities in eager mode and
        # silently recovers the logits under tf.function, so its value depends on how it is called.
        wide = self.tf.cast(logits, y.dtype)
        return self.tf.reduce_mean(self.tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=wide))

    def _loss_and_gradients(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        """Return the loss and the gradients as the optimizer takes them: float16's are scaled."""
        with self.tf.GradientTape() as tape:
            loss = self._loss(self._logits(x, training=True), y)
            scaled = self._optimizer().scale_loss(loss)
        return loss, tape.gradient(scaled, [v.value for v in self._built().trainable_variables])

    def _train_function(self) -> Any:
        optimizer, variables = self._optimizer(), self._built().trainable_variables

        def train(x: Any, y: Any) -> Any:
            loss, gradients = self._loss_and_gradients(x, y)
            optimizer.apply(gradients, variables)
            return loss

        return self._function("train", train)

    def _phase_functions(self) -> tuple[Any, Any, Any]:
        optimizer, variables = self._optimizer(), self._built().trainable_variables
        forward = self._function("forward", lambda x, y: self._loss(self._logits(x, training=True), y))
        backward = self._function("backward", self._loss_and_gradients)
        return forward, backward, self._function("optimizer", lambda gradients: optimizer.apply(gradients, variables))

    def _clocked(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Return what `call` returns, and its seconds until the device had finished."""
        self.synchronise()
        start_s = time.perf_counter()
        result = call()
        self.synchronise()
        return result, time.perf_counter() - start_s

    def _evaluate_function(self) -> Any:
        return self._function("evaluate", lambda x: self._logits(x, training=False))

    def _loss_function(self) -> Any:
        return self._function("loss", lambda x, y: self._loss(self._logits(x, training=False), y))

    def _function(self, name: str, body: Callable[..., Any]) -> Any:
        """Return `body` as the lane compiles it, the same function at every call; each of its traces is noted."""
        if name not in self._steps:
            self._steps[name] = self.tf.function(
                self._noted(name, body), jit_compile=self._lane.run == "xla", autograph=False
            )
        return self._steps[name]

    def _noted(self, name: str, body: Callable[..., Any]) -> Callable[..., Any]:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        graph, traces = self.tf.compat.v1.get_default_graph, self._traces

        def noted(*arguments: Any) -> Any:
            traces.append(Trace(name, bool(GraphOrParentsInXlaContext(graph()))))
            return body(*arguments)

        return noted

    def _check_compiled(self) -> None:
        """Refuse a step that was compiled otherwise than the lane says.

        Source: tensorflow/python/eager/polymorphic_function/attributes.py: a function definition that carries
        `_XlaMustCompile` is compiled by XLA or fails.
        """
        wanted = self._lane.run == "xla"
        wrong = {trace.step for trace in self._traces if trace.xla != wanted}
        if self._fit is not None and self._fit.model.jit_compile:
            wrong.add("train")
        for name, function in self._steps.items():
            for concrete in function._list_all_concrete_functions():
                if concrete.function_def.attr["_XlaMustCompile"].b != wanted:
                    wrong.add(name)
        if wrong:
            how = "is not compiled by XLA" if wanted else "is compiled by XLA"
            raise ParityError(f"the lane says run={self._lane.run!r}, and its step `{min(wrong)}` {how}")

    def _resident(self) -> tuple[Any, Any]:
        if self._batch is None:
            raise UsageError("no batch on the device: call `place_batch` first")
        return self._batch


def _reading_s(result: Any) -> float:
    start_s = time.perf_counter()
    result.numpy()
    return time.perf_counter() - start_s


def _wide(logits: Any) -> Array:
    """Return logits as float64, of shape (n,); NumPy has no bfloat16, and float32 holds every half-width number."""
    import tensorflow

    if logits.dtype != tensorflow.float64:
        logits = tensorflow.cast(logits, tensorflow.float32)
    return np.asarray(logits.numpy(), dtype=np.float64).reshape(-1)
