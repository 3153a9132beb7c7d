"""The TensorFlow adapter's speed modes: tf.function, XLA, Keras's mixed policies and TF32, each fed the same layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.adapters.keras_layers import described_layer
from parity.model.modes import WHOLE, Mode, find_mode
from parity.model.spec import ModelSpec

# What a part gives: its output, then its gradients, input first.
Step = Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]


class TensorflowModes:
    """Runs single layers and the whole network under a mode, forward and backward, beside the built model."""

    tf: Any
    keras: Any
    settings: WorkerSettings

    def mode_refusal(self, mode: str) -> str | None:
        """Return why a mode of `parity.model.modes` cannot run in this worker; None where it can."""
        if not find_mode("tensorflow", mode).gpu_only:
            return None
        if self.settings.device != "gpu":
            return "no GPU: TF32 is a mode of NVIDIA's matrix units"
        devices = self.tf.config.list_physical_devices("GPU")
        capability = self.tf.config.experimental.get_device_details(devices[0]).get("compute_capability", (0, 0))
        return None if capability[0] >= 8 else "this GPU has no TF32: it came with compute capability 8.0"

    def mode_run(
        self, mode: str, spec: Mapping[str, Any], layers: Sequence[str], cases: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return, for each case, what the named layers alone and the whole network gave under `mode`.

        A case holds `weights` (Keras's names), and `inputs` and `upstream` by layer name and `model`: the upstream
        gradient belongs to the output. Each answer maps those names to `output`, the gradients `input` and one per
        variable, as float32 (float64 from a twin), and `dtypes`: what each tensor came in.
        """
        found, described = find_mode("tensorflow", mode), ModelSpec.from_dict(spec)
        with self._mode_policy(found):
            parts = {name: self._mode_part(described, name) for name in [*layers, WHOLE]}
        step = self._mode_step(list(parts.values()))
        if found.run in ("function", "xla"):
            step = self.tf.function(step, jit_compile=found.run == "xla")
        with self._mode_switches(found):
            return [self._mode_case(parts, step, case) for case in cases]

    def _mode_part(self, spec: ModelSpec, name: str) -> Any:
        """Return a model that owns its variables: the gradients of a layer alone are not those of the network."""
        steps = [step for step in spec.shapes() if name in (step.layer.name, WHOLE)]
        layers = [described_layer(self.keras, step.layer) for step in steps]
        return self.keras.Sequential([self.keras.Input(steps[0].input_shape), *layers])

    def _mode_step(self, parts: Sequence[Any]) -> Step:
        variables = [[variable.value for variable in part.trainable_variables] for part in parts]

        def step(inputs: list[Any], upstream: list[Any]) -> tuple[list[Any], list[Any]]:
            with self.tf.GradientTape() as tape:
                for x in inputs:
                    tape.watch(x)
                outputs = [part(x, training=False) for part, x in zip(parts, inputs, strict=True)]
            flat = [target for x, own in zip(inputs, variables, strict=True) for target in (x, *own)]
            given = [self.tf.cast(g, y.dtype) for g, y in zip(upstream, outputs, strict=True)]
            return outputs, tape.gradient(outputs, flat, output_gradients=given)

        return step

    def _mode_case(self, parts: Mapping[str, Any], step: Step, case: Mapping[str, Any]) -> dict[str, Any]:
        for part in parts.values():
            for name, variable in _named(part).items():
                variable.assign(case["weights"][name].astype(self.settings.dtype))
        inputs, upstream = ([self._mode_tensor(case[kind][name]) for name in parts] for kind in ("inputs", "upstream"))
        outputs, flat = step(inputs, upstream)
        gradients = iter(flat)
        answers: dict[str, Any] = {}
        for (name, part), output in zip(parts.items(), outputs, strict=True):
            labels = ["input", *(key if name == WHOLE else key.split("/")[1] for key in _named(part))]
            tensors = {"output": output, **{label: next(gradients) for label in labels}}
            answers[name] = {key: self._mode_array(tensor) for key, tensor in tensors.items()}
            answers[name]["dtypes"] = {key: tensor.dtype.name for key, tensor in tensors.items()}
        return answers

    def _mode_array(self, tensor: Any) -> Array:
        # NumPy has no bfloat16; float32 holds every half-width number exactly.
        tf = self.tf
        return np.asarray((tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)).numpy())

    def _mode_tensor(self, x: Array) -> Any:
        return self.tf.convert_to_tensor(np.asarray(x).astype(self.settings.dtype, copy=False))

    @contextmanager
    def _mode_policy(self, mode: Mode) -> Iterator[None]:
        """Build under the mode's dtype policy, as `keras.config.set_dtype_policy` tells a user to."""
        config = self.keras.config
        before = config.dtype_policy()
        config.set_dtype_policy(f"mixed_{mode.low}" if mode.low else self.settings.dtype)
        try:
            yield
        finally:
            config.set_dtype_policy(before)

    @contextmanager
    def _mode_switches(self, mode: Mode) -> Iterator[None]:
        switch = self.tf.config.experimental
        before = switch.tensor_float_32_execution_enabled()
        switch.enable_tensor_float_32_execution(mode.says == "tf32")
        try:
            yield
        finally:
            switch.enable_tensor_float_32_execution(before)


def _named(part: Any) -> dict[str, Any]:
    return {f"{layer.name}/{variable.name}": variable for layer in part.layers for variable in layer.weights}
