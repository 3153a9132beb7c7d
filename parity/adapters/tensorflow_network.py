"""Networks of any shape in TensorFlow through Keras: run, differentiate, take one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.adapters import keras_layers
from parity.adapters.base import Array, WorkerSettings, check_names
from parity.errors import UsageError
from parity.model.network import Network, Node

# TensorFlow 2.21 has no float64 kernel for these on a CPU; the twin computes them in float32, and the judge is told.
FLOAT32_ONLY = frozenset({("max_pool", 3), ("avg_pool", 3)})


class TensorflowNetworks(keras_layers.KerasWeights):
    """The TensorFlow adapter's `*_network` and `node_*` methods; activations are in TensorFlow's order of axes."""

    settings: WorkerSettings
    tf: Any
    keras: Any

    def build_network(self, network: Mapping[str, Any], seed: int = 0) -> dict[str, list[int]]:
        """Build every node of `Network.to_dict()` data and return each tensor's shape, without the batch axis."""
        self.keras.utils.set_random_seed(seed)
        described = Network.from_dict(network)
        self._layers: dict[str, Any] = {}
        values = {given.name: self._example(given) for given in described.inputs}
        for node in described.nodes:
            if node.holder == node.name:
                self._layers[node.name] = self._make(node)
            values[node.name] = self._call(node, [values[name] for name in node.inputs], training=False)
        self.network = described
        return {name: list(value.shape[1:]) for name, value in values.items()}

    def get_network_weights(self) -> dict[str, Array]:
        """Return all weights and moving statistics, named `node/role`, in Keras's layouts."""
        return {name: np.asarray(variable.numpy()) for name, variable in self._network_variables().items()}

    def set_network_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace all weights; names and shapes must be exactly those of `get_network_weights`."""
        variables = self._network_variables()
        check_names("tensorflow", weights, {name: tuple(v.shape) for name, v in variables.items()})
        for name, variable in variables.items():
            variable.assign(weights[name].astype(self.settings.dtype))

    def node_step(self, name: str, inputs: Sequence[Array], upstream: Array, training: bool) -> dict[str, Any]:
        """Run one node forward and backward on the given inputs and upstream gradient.

        Returns `output`, `input_gradients` (None for whole numbers), `weight_gradients` and `state` (moving
        statistics afterwards); the model's own statistics stay as they were.
        """
        node = self._described_network().node(name)
        variables = self._of_node(node)
        trained = {key: v for key, v in variables.items() if v.trainable}
        state = {key: v for key, v in variables.items() if key.startswith("moving_")}
        fed = [self._fed(x) for x in inputs]
        floats = [x for x in fed if x.dtype.is_floating]
        with self._restored(state.values()), self.tf.GradientTape() as tape:
            for x in floats:
                tape.watch(x)
            output = self._call(node, fed, training)
            after = {key: np.asarray(v.numpy()) for key, v in state.items()}
        gradients = self._gradients(tape, output, [*floats, *(v.value for v in trained.values())], self._fed(upstream))
        found = iter(gradients)
        return {
            "output": output.numpy(),
            "input_gradients": [next(found) if x.dtype.is_floating else None for x in fed],
            "weight_gradients": dict(zip(trained, found, strict=True)),
            "state": after,
        }

    def network_step(
        self,
        inputs: Mapping[str, Array],
        loss: Mapping[str, Any],
        training: bool,
        optimizer: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run the network forward and backward, and with `optimizer` take one step of it.

        `loss` is `{"kind": "linear", "upstream": array}` (the sum of output times upstream) or `{"kind": "bce_logits",
        "tensor": name, "labels": array}`. Returns `outputs`, `loss`, `tensor_gradients`, `weight_gradients`, `state`,
        and after a step `weights_after` and `slots`; the model keeps its new weights and statistics only then.
        """
        variables = self._network_variables()
        trained = {name: v for name, v in variables.items() if v.trainable and "/moving_" not in name}
        state = {name: v for name, v in variables.items() if "/moving_" in name}
        fed = {name: self._fed(x) for name, x in inputs.items()}
        floats = {name: x for name, x in fed.items() if x.dtype.is_floating}
        with self._restored(() if optimizer else state.values()):
            with self.tf.GradientTape() as tape:
                for x in floats.values():
                    tape.watch(x)
                outputs = self._run(fed, training)
                total, seed = self._network_loss(outputs, loss)
            after = {name: np.asarray(v.numpy()) for name, v in state.items()}
        tensors = {**floats, **outputs}
        sources = [*tensors.values(), *(v.value for v in trained.values())]
        gradients = self._gradients(tape, total, sources, seed)
        by_weight = dict(zip(trained, gradients[len(tensors) :], strict=True))
        result = {
            "outputs": {name: value.numpy() for name, value in outputs.items()},
            "loss": total.numpy() if seed is None else None,
            "tensor_gradients": dict(zip(tensors, gradients[: len(tensors)], strict=True)),
            "weight_gradients": by_weight,
            "state": after,
        }
        if optimizer is not None and trained:
            result |= self._take_step(trained, by_weight, optimizer)
        return result

    def network_forward(self, inputs: Mapping[str, Array], training: bool = False) -> dict[str, Any]:
        """Return every tensor under `outputs`."""
        outputs = self._run({name: self._fed(x) for name, x in inputs.items()}, training)
        return {"outputs": {name: value.numpy() for name, value in outputs.items()}}

    def _take_step(
        self, trained: Mapping[str, Any], gradients: Mapping[str, Array], optimizer: Mapping[str, Any]
    ) -> dict[str, Any]:
        kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
        config = {key: value for key, value in optimizer.items() if key != "name"}
        stepper = getattr(self.keras.optimizers, kinds[str(optimizer["name"])])(**config)
        variables = list(trained.values())
        stepper.build(variables)
        stepper.apply([self._fed(gradients[name]) for name in trained], variables)
        slots: dict[str, dict[str, Array]] = {}
        for slot, attribute in (("momentum", "_momentums"), ("velocity", "_velocities")):
            held = getattr(stepper, attribute, None)
            if held:
                slots[slot] = {name: np.asarray(v.numpy()) for name, v in zip(trained, held, strict=True)}
        return {"weights_after": self.get_network_weights(), "slots": slots}

    def _network_loss(self, outputs: Mapping[str, Any], loss: Mapping[str, Any]) -> tuple[Any, Any]:
        if loss["kind"] == "linear":
            return outputs[self._described_network().output], self._fed(loss["upstream"])
        if loss["kind"] == "bce_logits":
            logits = self.tf.squeeze(outputs[loss["tensor"]], axis=-1)
            entropy = self.tf.nn.sigmoid_cross_entropy_with_logits(labels=self._fed(loss["labels"]), logits=logits)
            return self.tf.reduce_mean(entropy), None
        raise UsageError(f"unknown loss `{loss['kind']}`: linear or bce_logits")

    def _gradients(self, tape: Any, target: Any, sources: Sequence[Any], seed: Any) -> list[Array]:
        found = tape.gradient(target, sources, output_gradients=seed)
        return [
            np.zeros(tuple(source.shape)) if gradient is None else np.asarray(self.tf.convert_to_tensor(gradient))
            for source, gradient in zip(sources, found, strict=True)
        ]

    def _run(self, fed: Mapping[str, Any], training: bool) -> dict[str, Any]:
        known, outputs = dict(fed), {}
        for node in self._described_network().nodes:
            result = self._call(node, [known[name] for name in node.inputs], training)
            known[node.name] = outputs[node.name] = result
        return outputs

    def _call(self, node: Node, fed: Sequence[Any], training: bool) -> Any:
        made = self._layers[node.holder]
        if node.kind == "dropout":
            return self._dropped(made, fed[0], fed[1], training)
        single = self._is_single(node)
        given = [self.tf.cast(x, "float32") for x in fed] if single else list(fed)
        if node.kind == "attention" and len(given) > 2:
            given[2] = self.tf.cast(given[2], "bool")
        result = made(*given, training=training) if keras_layers.takes_training(made) else made(*given)
        return self.tf.cast(result, self.settings.dtype) if single or result.dtype != self.settings.dtype else result

    def _dropped(self, layer: Any, x: Any, mask: Any, training: bool) -> Any:
        """Run the real Dropout with its random numbers replaced, so that it keeps just what `mask` says."""
        from tensorflow.python.ops import stateless_random_ops

        def drawn(*_: Any, **__: Any) -> Any:
            return self.tf.cast(mask, x.dtype)  # it keeps where the number drawn is at least the rate

        real, stateless_random_ops.stateless_random_uniform = stateless_random_ops.stateless_random_uniform, drawn
        try:
            return layer(x, training=training)
        finally:
            stateless_random_ops.stateless_random_uniform = real

    def _make(self, node: Node) -> Any:
        if node.kind == "dropout":
            return self.keras.layers.Dropout(float(node.config["rate"]), name=node.name)
        if not self._is_single(node):
            return keras_layers.layer(self.keras, node)
        usual = self.keras.config.dtype_policy()
        self.keras.config.set_dtype_policy("float32")
        try:
            return keras_layers.layer(self.keras, node)
        finally:
            self.keras.config.set_dtype_policy(usual)

    def _is_single(self, node: Node) -> bool:
        return self.settings.role == "twin" and (node.kind, node.config.get("rank")) in FLOAT32_ONLY

    @contextmanager
    def _restored(self, variables: Any) -> Iterator[None]:
        kept = [(variable, variable.numpy()) for variable in variables]
        try:
            yield
        finally:
            for variable, value in kept:
                variable.assign(value)

    def _fed(self, x: Array) -> Any:
        kind = "int32" if np.issubdtype(x.dtype, np.integer) else self.settings.dtype
        return self.tf.convert_to_tensor(np.asarray(x).astype(kind, copy=False))

    def _example(self, given: Any) -> Any:
        kind = self.settings.dtype if given.below is None else "int32"
        return self.tf.zeros((2, *given.shape), dtype=kind)
