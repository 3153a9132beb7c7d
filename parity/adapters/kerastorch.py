"""Keras 3 on its torch backend: a referee between the other two. It speaks Keras's names, layouts and order of axes.

It runs what TensorFlow's side runs, layer by layer, on the kernels that PyTorch's side uses.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from parity.adapters import keras_layers
from parity.adapters.base import (
    Array,
    WorkerSettings,
    check_device,
    check_names,
    lean_import,
    process_peak_bytes,
    quiet_collector,
)
from parity.adapters.keras_fit import KerasFit
from parity.errors import MissingDevice, UsageError
from parity.model.network import Network, Node
from parity.model.spec import ModelSpec

SLOPE = 0.3  # Keras's own


class KerasTorchAdapter(keras_layers.KerasWeights):
    """Networks of any shape through Keras's layers on torch; and the example network in Keras's own loop."""

    import_s = 0.0
    build_s = 0.0
    start_s = 0.0

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        os.environ["KERAS_BACKEND"] = "torch"
        os.environ["KERAS_TORCH_DEVICE"] = "cuda" if settings.device == "gpu" else "cpu"
        import torch

        if settings.device == "gpu" and not torch.cuda.is_available():
            raise MissingDevice(
                f"torch {torch.__version__} sees no GPU (its CUDA version: {torch.version.cuda}): install a CUDA build"
                " in the worker's own environment, or use --device cpu"
            )
        torch.set_num_threads(settings.threads)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        with lean_import(settings):
            import keras

        self.torch, self.keras = torch, keras
        self.dtype = torch.float64 if settings.role == "twin" else torch.float32
        self.device = torch.device(os.environ["KERAS_TORCH_DEVICE"])
        keras.config.set_floatx(settings.dtype)
        keras.config.set_dtype_policy(settings.dtype)
        if settings.role == "twin":
            self._keep_float64()
            self._exact_hard_sigmoid()
        keras.utils.set_random_seed(settings.seed)
        self.network = None
        self._layers: dict[str, Any] = {}
        self._model: Any = None
        self._batch: tuple[Any, Any] | None = None
        self._fit: KerasFit | None = None

    def environment(self) -> dict[str, Any]:
        """Return versions, backend, device, threads and precision flags, as JSON data."""
        torch, keras = self.torch, self.keras
        return {
            "versions": {"keras": keras.__version__, "torch": torch.__version__, "numpy": np.__version__},
            "backend": keras.config.backend(),
            "device": self.settings.device,
            "threads": torch.get_num_threads(),
            "dtype": keras.config.floatx(),
            "precision": {
                "tf32_matmul": bool(torch.backends.cuda.matmul.allow_tf32),
                "tf32_cudnn": bool(torch.backends.cudnn.allow_tf32),
            },
        }

    def try_device(self) -> None:
        """Compute something small on the accelerator, if this worker has one: see `Adapter.try_device`."""
        if self.device.type == "cuda":
            check_device(f"torch {self.torch.__version__}", self._computed_ones, 324.0)

    def _computed_ones(self) -> float:
        """Return the sum of ones through a 3x3 convolution and a product: 36 positions of 9 each."""
        torch, ones = self.torch, partial(self.torch.ones, device=self.device)
        put_out = torch.conv2d(ones(1, 1, 8, 8), ones(1, 1, 3, 3))
        return float((put_out.reshape(1, 36) @ ones(36, 1)).item())

    # A lane of the benchmark: Keras's own loop around the example network.

    def build(self, spec: Mapping[str, Any], seed: int = 0) -> None:
        """Build the model described by `ModelSpec.to_dict()` data, without its last sigmoid: losses take logits."""
        described = ModelSpec.from_dict(spec)
        described.shapes()
        self.keras.utils.set_random_seed(seed)
        start_s = time.perf_counter()
        layers = [keras_layers.described_layer(self.keras, layer) for layer in described.layers]
        last = described.layers[-1].kind == "sigmoid"
        shape = (described.height, described.width, described.channels)
        self._model = self.keras.Sequential([self.keras.Input(shape), *(layers[:-1] if last else layers)])
        self.build_s, self._fit = time.perf_counter() - start_s, None

    def get_weights(self) -> dict[str, Array]:
        """Return all weights, named `layer/variable`, in Keras's layouts."""
        return {name: self._array(variable.value) for name, variable in self._variables().items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace all weights; names and shapes must be exactly those of `get_weights`."""
        variables = self._variables()
        check_names("Keras-on-torch", weights, {name: tuple(v.shape) for name, v in variables.items()})
        for name, variable in variables.items():
            variable.assign(np.asarray(weights[name]).astype(self.settings.dtype))

    def place_images(self, images: Array, labels: Array) -> None:
        """Keep a batch of uint8 images (n, h, w, c) and labels (n,) resident, turned into the model's input."""
        x = images.astype(np.float32) / np.float32(255.0)
        self._batch = (self._fed(x), self._fed(np.asarray(labels, dtype=np.float32)[:, None]))

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Compile the model for Keras's own loop and return facts as read back from it.

        Raises
            UsageError: another `run` than fit, or an option that Keras on torch does not have.
        """
        known = {"run", "learning_rate", "epsilon"}
        if options.get("run") != "fit" or set(options) - known:
            raise UsageError(f"Keras on torch has the lane run='fit' with {sorted(known)} (asked for {dict(options)})")
        start_s = time.perf_counter()
        adam = self.keras.optimizers.Adam(options.get("learning_rate", 1e-3), epsilon=options.get("epsilon", 1e-7))
        self._fit = KerasFit(self.keras, self._built(), adam, 1, lambda _, body: body)
        if self.device.type == "cuda":
            self.torch.cuda.reset_peak_memory_stats()
        facts = self._lane_facts(adam)
        self.start_s = time.perf_counter() - start_s
        return facts

    def _lane_facts(self, adam: Any) -> dict[str, Any]:
        layers, backends = self._built().layers, self.torch.backends
        return {
            "run": "fit",
            "precision": "float32",
            "backend": self.keras.config.backend(),
            "compute_dtype": sorted({layer.compute_dtype for layer in layers}),
            "tf32": bool(backends.cudnn.allow_tf32 and backends.cuda.matmul.allow_tf32),
            "optimizer": type(adam).__name__,
            "learning_rate": float(adam.learning_rate),
            "epsilon": float(adam.epsilon),
            "layout": self.keras.config.image_data_format(),
            **self._fitted().facts(),
        }

    def optimizer_steps(self) -> int:
        """Return how many steps the optimizer has taken."""
        return int(self._fitted().model.optimizer.iterations.value)

    def resident_logits(self) -> Array:
        """Return the logits of the resident batch; `evaluate` gives none away, and `loss` ties these to it."""
        logits = self._fitted().model.predict_on_batch(self._resident()[0])
        return np.asarray(logits, dtype=np.float64).reshape(-1)

    def loss(self) -> float:
        """Return the loss of the resident batch under the present weights, by Keras's `evaluate`."""
        return float(self._fitted().run("evaluate", self._batches(), 1, lambda _: None)["loss"])

    def first_step(self, work: str) -> float:
        """Return the seconds of the very first execution of `work`, with what Keras prepares for it."""
        self._synchronise()
        start_s = time.perf_counter()
        self._fitted().run(work, self._batches(), 1, lambda _: None)
        self._synchronise()
        return time.perf_counter() - start_s

    def timed_steps(self, work: str, steps: int) -> dict[str, Any]:
        """Return how long `steps` consecutive steps took, as `Adapter.timed_steps` says."""
        if work not in ("train", "evaluate") or steps < 1:
            raise UsageError(f"`work` (={work!r}) must be train or evaluate and `steps` (={steps}) at least 1")
        with quiet_collector():
            done = self._fitted().timed(work, self._batches(), steps, self._synchronise)
        return {**done, "compilations": 0.0, "device_s": None}

    def phases(self, steps: int) -> dict[str, Any]:
        """Return no phase: Keras's loop on torch is one call."""
        return {"how": f"Keras's own loop is one call per step: none of {steps} steps was taken apart"}

    def cold_start(self) -> dict[str, float]:
        """Return the seconds that importing Keras and torch took in this process, and building the model."""
        return {"import_s": self.import_s, "build_s": self.build_s, "start_s": self.start_s}

    def memory(self) -> dict[str, int | None]:
        """Return the process's peak resident bytes so far, and the accelerator allocator's peak."""
        cuda = self.device.type == "cuda"
        peak = int(self.torch.cuda.max_memory_allocated()) if cuda else None
        return {"process_peak_bytes": process_peak_bytes(), "device_peak_bytes": peak}

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """Give the resident batch for ever, by a generator, which is what Keras takes."""
        batch = self._resident()
        while True:
            yield batch

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def _resident(self) -> tuple[Any, Any]:
        if self._batch is None:
            raise UsageError("no batch on the device: call `place_images` first")
        return self._batch

    def _built(self) -> Any:
        if self._model is None:
            raise UsageError("no model has been built in this worker yet: call `build` first")
        return self._model

    def _fitted(self) -> KerasFit:
        if self._fit is None:
            raise UsageError("no Keras loop: call `start_lane` with run='fit' first")
        return self._fit

    def _variables(self) -> dict[str, Any]:
        return {
            f"{layer.name}/{variable.name}": variable for layer in self._built().layers for variable in layer.weights
        }

    # Networks of any shape.

    def build_network(self, network: Mapping[str, Any], seed: int = 0) -> dict[str, list[int]]:
        """Build every node of `Network.to_dict()` data and return each tensor's shape, without the batch axis."""
        self.keras.utils.set_random_seed(seed)
        described = Network.from_dict(network)
        self._layers = {}
        values = {given.name: self._example(given) for given in described.inputs}
        with self.torch.no_grad():
            for node in described.nodes:
                if node.holder == node.name:
                    self._layers[node.name] = self._make(node)
                values[node.name] = self._call(node, [values[name] for name in node.inputs], training=False)
        self.network = described
        return {name: list(value.shape[1:]) for name, value in values.items()}

    def get_network_weights(self) -> dict[str, Array]:
        """Return all weights and moving statistics, named `node/role`, in Keras's layouts."""
        return {name: self._array(variable.value) for name, variable in self._network_variables().items()}

    def set_network_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace all weights; names and shapes must be exactly those of `get_network_weights`."""
        variables = self._network_variables()
        check_names("Keras-on-torch", weights, {name: tuple(v.shape) for name, v in variables.items()})
        for name, variable in variables.items():
            variable.assign(np.asarray(weights[name]).astype(self.settings.dtype))

    def node_step(self, name: str, inputs: Sequence[Array], upstream: Array, training: bool) -> dict[str, Any]:
        """Run one node forward and backward on the given inputs and upstream gradient.

        Returns `output`, `input_gradients` (None for whole numbers), `weight_gradients` and `state` (moving
        statistics afterwards); the model's own statistics stay as they were.
        """
        node = self._described_network().node(name)
        variables = self._of_node(node)
        trained = {key: v for key, v in variables.items() if v.trainable}
        state = {key: v for key, v in variables.items() if key.startswith("moving_")}
        fed = [self._fed(x).requires_grad_(np.issubdtype(x.dtype, np.floating)) for x in inputs]
        with self._restored(state.values()):
            output = self._call(node, fed, training)
            after = {key: self._array(v.value) for key, v in state.items()}
        sources = [*(x for x in fed if x.requires_grad), *(v.value for v in trained.values())]
        found = iter(self._gradients(output, sources, self._fed(upstream)))
        return {
            "output": self._array(output),
            "input_gradients": [next(found) if x.requires_grad else None for x in fed],
            "weight_gradients": dict(zip(trained, found, strict=True)),
            "state": after,
        }

    def network_forward(self, inputs: Mapping[str, Array], training: bool = False) -> dict[str, Any]:
        """Return every tensor under `outputs`."""
        known, outputs = {name: self._fed(x) for name, x in inputs.items()}, {}
        with self.torch.no_grad():
            for node in self._described_network().nodes:
                known[node.name] = self._call(node, [known[name] for name in node.inputs], training)
                outputs[node.name] = self._array(known[node.name])
        return {"outputs": outputs}

    def _keep_float64(self) -> None:
        """Let Keras's type promotion keep float64, in this twin's process only.

        On every backend but TensorFlow's it turns the result type of float64 operands into float32, whatever `floatx`
        says: dense layers, normalisations and attention then round their operands (measured: 5e-8 to 7e-7).
        """
        from keras.src.backend.common import dtypes

        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

    def _exact_hard_sigmoid(self) -> None:
        """Replace torch's own, whose gradient is a float32 1/6 in double precision too, in this twin's process only."""
        functional = self.torch.nn.functional
        functional.hardsigmoid = lambda x: functional.relu6(x + 3.0) / 6.0

    def _gradients(self, output: Any, sources: Sequence[Any], upstream: Any) -> list[Array]:
        if not sources or not output.requires_grad:
            return [np.zeros(tuple(source.shape)) for source in sources]
        found = self.torch.autograd.grad(output, sources, upstream, allow_unused=True)
        return [
            np.zeros(tuple(source.shape)) if gradient is None else self._array(gradient)
            for source, gradient in zip(sources, found, strict=True)
        ]

    def _call(self, node: Node, fed: Sequence[Any], training: bool) -> Any:
        made = self._layers[node.holder]
        if node.kind == "dropout":
            return self._dropped(made, fed[0], fed[1], training)
        given = list(fed)
        if node.kind == "attention" and len(given) > 2:
            given[2] = given[2].bool()
        return made(*given, training=training) if keras_layers.takes_training(made) else made(*given)

    def _dropped(self, layer: Any, x: Any, mask: Any, training: bool) -> Any:
        """Run the real Dropout with its random numbers replaced, so that it keeps just what `mask` says."""
        real, self.torch.bernoulli = self.torch.bernoulli, lambda *_, **__: mask
        try:
            return layer(x, training=training)
        finally:
            self.torch.bernoulli = real

    def _make(self, node: Node) -> Any:
        if node.kind == "dropout":  # with a seed Keras draws the mask itself, by `torch.bernoulli`
            return self.keras.layers.Dropout(float(node.config["rate"]), seed=0, name=node.name)
        if self.settings.role == "twin" and node.config.get("function") == "leaky_relu":
            # TensorFlow keeps the slope as a float32 attribute of its operation, in its twin too.
            slope = float(np.float32(node.config.get("slope", SLOPE)))
            node = replace(node, config={**node.config, "slope": slope})
        return keras_layers.layer(self.keras, node)

    @contextmanager
    def _restored(self, variables: Iterable[Any]) -> Iterator[None]:
        kept = [(variable, variable.value.detach().clone()) for variable in variables]
        try:
            yield
        finally:
            for variable, value in kept:
                variable.assign(value)

    def _fed(self, x: Array) -> Any:
        kind = np.dtype("int32" if np.issubdtype(x.dtype, np.integer) else self.settings.dtype)
        return self.torch.from_numpy(np.array(x, dtype=kind)).to(self.device)

    def _example(self, given: Any) -> Any:
        kind = self.dtype if given.below is None else self.torch.int32
        return self.torch.zeros((2, *given.shape), dtype=kind, device=self.device)

    def _array(self, tensor: Any) -> Array:
        return np.array(tensor.detach().cpu().numpy())
