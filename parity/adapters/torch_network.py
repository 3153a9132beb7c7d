"""Networks of any shape in torch: run, differentiate, take one optimizer step, and bound the rounding of all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings, check_names
from parity.errors import UsageError
from parity.model.network import CHANNELS, Network, Node

Values = dict[str, Any]
FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53  # unit roundoffs; 0 stands for plain tensors that carry no bound


class TorchNetworks:
    """The torch adapter's `*_network` and `node_*` methods; activations are in torch's order of axes."""

    settings: WorkerSettings
    torch: Any
    dtype: Any
    device: Any
    network: Network | None = None

    def build_network(self, network: Mapping[str, Any], seed: int = 0) -> dict[str, list[int]]:
        """Build every node of `Network.to_dict()` data and return each tensor's shape, without the batch axis."""
        from parity.adapters.torch_layers import module

        self.torch.manual_seed(seed)
        described = Network.from_dict(network)
        self._modules: dict[str, Any] = {}
        values = {given.name: self._example(given) for given in described.inputs}
        with self.torch.no_grad():
            for node in described.nodes:
                fed = [values[name] for name in node.inputs]
                if node.holder == node.name:
                    made = module(node, [tuple(x.shape[1:]) for x in fed]).to(self.device, self.dtype)
                    self._modules[node.name] = made.eval()
                values[node.name] = self._modules[node.holder](*fed)
        self.network = described
        return {name: list(value.shape[1:]) for name, value in values.items()}

    def get_network_weights(self) -> dict[str, Array]:
        """Return all weights and running statistics, named `node.weight`, in torch's layouts."""
        found: dict[str, Array] = {}
        for name, made in self._modules.items():
            exported = _export(self._described_network().node(name), dict(_named(made)))
            found |= {f"{name}.{key}": self._as_numpy(value) for key, value in exported.items()}
        return found

    def set_network_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace all weights; names and shapes must be exactly those of `get_network_weights`."""
        present = self.get_network_weights()
        check_names("torch", weights, {name: tuple(value.shape) for name, value in present.items()})
        with self.torch.no_grad():
            for name, made in self._modules.items():
                own = {key.removeprefix(f"{name}."): v for key, v in weights.items() if key.partition(".")[0] == name}
                split = _import(self._described_network().node(name), own)
                for key, target in _named(made):
                    if key in split:
                        target.copy_(self.torch.from_numpy(np.array(split[key])).to(self.dtype))

    def bound_for(self, device: str) -> None:
        """Bound float32 as the kernels of `cpu` or `gpu` compute, from here on."""
        from parity.adapters.torch_rounding_core import bound_for

        bound_for(device)

    def node_step(
        self, name: str, inputs: Sequence[Array], upstream: Array, training: bool, bounds: bool = False
    ) -> dict[str, Any]:
        """Run one node forward and backward on the given inputs and upstream gradient.

        Returns `output`, `input_gradients` (None for whole numbers), `weight_gradients` and `state` (running
        statistics afterwards); with `bounds`, under that name the same again as absolute float32 bounds.
        """
        node = self._described_network().node(name)
        result = self._node_step(node, inputs, upstream, training, tracked=0.0)
        if bounds:
            result["bounds"] = self._node_step(node, inputs, upstream, training, tracked=FLOAT32)
        return result

    def network_step(
        self,
        inputs: Mapping[str, Array],
        loss: Mapping[str, Any],
        training: bool,
        optimizer: Mapping[str, Any] | None = None,
        bounds: bool = False,
    ) -> dict[str, Any]:
        """Run the network forward and backward, and with `optimizer` take one step of it as Keras would.

        `loss` is `{"kind": "linear", "upstream": array}` (the sum of output times upstream) or `{"kind": "bce_logits",
        "tensor": name, "labels": array}`. Returns `outputs`, `loss`, `tensor_gradients`, `weight_gradients`, `state`,
        and after a step `weights_after` and `slots`; the model keeps its new weights then. With `bounds`, the absolute
        float32 and float64 bounds of all of it, under `bounds` and `bounds64`: along a whole network one is not the
        other scaled, for it matters in which precision the sign before a ReLU is decided.
        """
        result = self._network_step(inputs, loss, training, tracked=0.0)
        values = result.pop("_values")
        if bounds:
            for key, roundoff in (("bounds", FLOAT32), ("bounds64", FLOAT64)):
                result[key] = self._network_step(inputs, loss, training, tracked=roundoff)
                result[key].pop("_values")
        if optimizer is not None:
            result |= self._take_step(values, optimizer)
        return result

    def network_forward(
        self,
        inputs: Mapping[str, Array],
        training: bool = False,
        weight_errors: Mapping[str, Array] | None = None,
        roundoff: float = FLOAT32,
    ) -> dict[str, Any]:
        """Return every tensor, and with `weight_errors` (absolute, by weight) its bound under `bounds`."""
        with self.torch.no_grad():
            outputs = self._run(self._inputs(inputs, 0.0), self._values(0.0), training)
            result: dict[str, Any] = {"outputs": self._numpies(outputs)}
            if weight_errors is not None:
                tracked = self._run(self._inputs(inputs, roundoff), self._values(roundoff, weight_errors), training)
                result["bounds"] = {"outputs": self._errors(tracked)}
        return result

    def _take_step(self, values: dict[str, Values], optimizer: Mapping[str, Any]) -> dict[str, Any]:
        from parity.optimizers import keras_like

        config = {key: value for key, value in optimizer.items() if key != "name"}
        leaves = {f"{n}|{k}": t for n, own in values.items() for k, t in own.items() if t.requires_grad}
        stepper = keras_like(
            str(optimizer["name"]), list(leaves.values()), exact_constants=self.settings.role == "twin", **config
        )
        stepper.step()
        slots: dict[str, dict[str, Any]] = {}
        for label, leaf in leaves.items():
            name, _, key = label.partition("|")
            for slot, value in stepper.state[leaf].items():
                if hasattr(value, "shape") and value.shape == leaf.shape:
                    slots.setdefault(slot, {}).setdefault(name, {})[key] = value
        with self.torch.no_grad():
            for name, own in values.items():
                for key, target in _named(self._modules[name]):
                    target.copy_(own[key])
        carried = {slot: self._exported(by_node) for slot, by_node in slots.items()}
        return {"weights_after": self.get_network_weights(), "slots": carried}

    def _node_step(
        self, node: Node, inputs: Sequence[Array], upstream: Array, training: bool, tracked: float
    ) -> dict[str, Any]:
        torch = self.torch
        fed = [self._input(x, tracked) for x in inputs]
        own = self._values(tracked, only=node.holder)[node.holder]
        output = self._call(node, own, fed, training)
        leaves = [x for x in fed if x.is_floating_point()]
        trained = {key: value for key, value in own.items() if value.requires_grad}
        wanted = [*leaves, *trained.values()]
        gradients = (
            torch.autograd.grad(output, wanted, self._seed(upstream, tracked), allow_unused=True)
            if wanted and output.requires_grad
            else [None] * len(wanted)
        )
        read = self._error if tracked else self._numpy
        by_input = iter(gradients[: len(leaves)])
        found = dict(zip(trained, gradients[len(leaves) :], strict=True))
        return {
            "output": read(output),
            "input_gradients": [
                (self._read(next(by_input), read, x) if x.is_floating_point() else None) for x in fed
            ],
            "weight_gradients": self._export_gradients(node, found, trained, read),
            "state": {
                key.removeprefix(_prefix(node)): read(value) for key, value in own.items() if "running_" in key
            },
        }  # fmt: skip

    def _network_step(
        self, inputs: Mapping[str, Array], loss: Mapping[str, Any], training: bool, tracked: float
    ) -> dict[str, Any]:
        torch, network = self.torch, self._described_network()
        values = self._values(tracked)
        fed = self._inputs(inputs, tracked)
        outputs = self._run(fed, values, training)
        total, seed = self._network_loss(outputs, loss, tracked)
        tensors = {n: t for n, t in {**fed, **outputs}.items() if t.is_floating_point() and t.requires_grad}
        leaves = [(name, key, t) for name, own in values.items() for key, t in own.items() if t.requires_grad]
        gradients = torch.autograd.grad(total, [*tensors.values(), *(t for *_, t in leaves)], seed, allow_unused=True)
        read = self._error if tracked else self._numpy
        by_node: dict[str, Values] = {}
        for (name, key, tensor), gradient in zip(leaves, gradients[len(tensors) :], strict=True):
            by_node.setdefault(name, {})[key] = gradient
            if not tracked:
                tensor.grad = gradient if gradient is not None else torch.zeros_like(tensor)
        weight_gradients: dict[str, Array] = {}
        for name, found in by_node.items():
            trained = {key: values[name][key] for key in found}
            exported = self._export_gradients(network.node(name), found, trained, read)
            weight_gradients |= {f"{name}.{key}": value for key, value in exported.items()}
        return {
            "outputs": {name: read(value) for name, value in outputs.items()},
            "loss": read(total) if seed is None else None,
            "tensor_gradients": {
                name: self._read(g, read, t)
                for (name, t), g in zip(tensors.items(), gradients[: len(tensors)], strict=True)
            },
            "weight_gradients": weight_gradients,
            "state": {
                f"{name}.{key.removeprefix(_prefix(network.node(name)))}": read(t)
                for name, own in values.items()
                for key, t in own.items()
                if "running_" in key
            },
            "_values": values,
        }  # fmt: skip

    def _network_loss(self, outputs: Values, loss: Mapping[str, Any], tracked: float) -> tuple[Any, Any]:
        if loss["kind"] == "linear":
            return outputs[self._described_network().output], self._seed(loss["upstream"], tracked)
        if loss["kind"] == "bce_logits":
            logits = outputs[loss["tensor"]].squeeze(-1)
            functional = self.torch.nn.functional
            return functional.binary_cross_entropy_with_logits(logits, self._plain(loss["labels"])), None
        raise UsageError(f"unknown loss `{loss['kind']}`: linear or bce_logits")

    def _run(self, fed: Values, values: dict[str, Values], training: bool) -> Values:
        known, outputs = dict(fed), {}
        for node in self._described_network().nodes:
            result = self._call(node, values[node.holder], [known[name] for name in node.inputs], training)
            known[node.name] = outputs[node.name] = result
        return outputs

    def _call(self, node: Node, own: Values, fed: Sequence[Any], training: bool) -> Any:
        made = self._modules[node.holder].train(training)
        attention = self.torch.nn.attention
        with attention.sdpa_kernel(attention.SDPBackend.MATH):
            result = self.torch.func.functional_call(made, own, tuple(fed)) if own else made(*fed)
        made.eval()
        return result

    def _values(
        self, tracked: float, errors: Mapping[str, Array] | None = None, only: str | None = None
    ) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for name, made in self._modules.items():
            if only is not None and name != only:
                continue
            off = _import(self._described_network().node(name), _own(errors or {}, name)) if errors else {}
            found[name] = {key: self._value(t, tracked, off.get(key)) for key, t in _named(made)}
        return found

    def _value(self, tensor: Any, tracked: float, error: Array | None) -> Any:
        copy, needs = tensor.detach().clone(), bool(tensor.requires_grad)
        if not tracked:
            return copy.requires_grad_(needs)
        from parity.adapters.torch_rounding import track

        return track(copy, None if error is None else self._plain(error), tracked, requires_grad=needs)

    def _inputs(self, inputs: Mapping[str, Array], tracked: float) -> Values:
        return {name: self._input(x, tracked) for name, x in inputs.items()}

    def _input(self, x: Array, tracked: float) -> Any:
        if np.issubdtype(x.dtype, np.integer):
            return self.torch.from_numpy(np.array(x)).long().to(self.device)
        if not tracked:
            return self._plain(x).requires_grad_(True)
        from parity.adapters.torch_rounding import track

        return track(self._plain(x), roundoff=tracked, requires_grad=True)

    def _seed(self, upstream: Array, tracked: float) -> Any:
        if not tracked:
            return self._plain(upstream)
        from parity.adapters.torch_rounding import track

        return track(self._plain(upstream), roundoff=tracked)

    def _plain(self, x: Array) -> Any:
        return self.torch.from_numpy(np.array(x)).to(self.device, self.dtype)

    def _example(self, given: Any) -> Any:
        shape = list(given.shape)
        if given.layout == CHANNELS and len(shape) > 1:
            shape = [shape[-1], *shape[:-1]]
        kind = self.dtype if given.below is None else self.torch.long
        return self.torch.zeros(2, *shape, dtype=kind, device=self.device)

    def _export_gradients(self, node: Node, found: Values, trained: Values, read: Any) -> dict[str, Array]:
        filled = {key: self._read(found[key], read, trained[key]) for key in found}
        return {key: np.asarray(value) for key, value in _export(node, filled).items()}

    def _exported(self, by_node: dict[str, Values]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, own in by_node.items():
            exported = _export(self._described_network().node(name), {k: self._numpy(v) for k, v in own.items()})
            found |= {f"{name}.{key}": np.asarray(value) for key, value in exported.items()}
        return found

    def _read(self, gradient: Any, read: Any, like: Any) -> Array:
        """Read a gradient; none at all is a gradient of zero."""
        return np.zeros(tuple(like.shape)) if gradient is None else read(gradient)

    def _numpies(self, tensors: Values) -> dict[str, Array]:
        return {name: self._numpy(tensor) for name, tensor in tensors.items()}

    def _as_numpy(self, value: Any) -> Array:
        return value if isinstance(value, np.ndarray) else self._numpy(value)

    def _numpy(self, tensor: Any) -> Array:
        return np.array(tensor.detach().cpu().numpy())

    def _errors(self, tensors: Values) -> dict[str, Array]:
        return {name: self._error(tensor) for name, tensor in tensors.items()}

    def _error(self, tensor: Any) -> Array:
        from parity.adapters.torch_rounding import error_of

        return np.array(error_of(tensor).detach().cpu().numpy())

    def _described_network(self) -> Network:
        if self.network is None:
            raise UsageError("no network has been built in this worker yet: call `build_network` first")
        return self.network


def _named(made: Any) -> list[tuple[str, Any]]:
    """Return a module's parameters and running statistics by name."""
    return [*made.named_parameters(), *made.named_buffers()]


def _own(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    return {key.partition(".")[2]: value for key, value in arrays.items() if key.partition(".")[0] == name}


def _export(node: Node, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return one module's arrays under the names of `parity.pairing.carry`: what torch stacks is taken apart."""
    found: dict[str, Any] = {}
    prefix = _prefix(node)
    for full, value in named.items():
        key = full.removeprefix(prefix)
        if node.kind == "lstm" and key.startswith("bias_hh"):
            continue
        if node.kind == "gru" and key.startswith("bias_hh"):
            continue
        if node.kind == "gru" and key.startswith("bias_ih"):
            other = named[full.replace("bias_ih", "bias_hh")]
            found[key.replace("bias_ih", "biases")] = _stack(value, other)
        elif node.kind == "attention" and key.startswith("in_proj_"):
            size = value.shape[0] // 3
            for index, part in enumerate(("query", "key", "value")):
                found[f"{part}.{key.removeprefix('in_proj_')}"] = value[index * size : (index + 1) * size]
        else:
            found[key] = value
    return found


def _stack(first: Any, second: Any) -> Any:
    if isinstance(first, np.ndarray):
        return np.stack([first, second])
    return np.stack([np.array(t.detach().cpu().numpy()) for t in (first, second)])


def _import(node: Node, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return what `_export` took apart under the module's own names."""
    prefix, found = _prefix(node), {}
    parts: dict[str, dict[str, Array]] = {}
    for key, value in arrays.items():
        head, _, tail = key.partition(".")
        if node.kind == "gru" and key.startswith("biases"):
            found[prefix + key.replace("biases", "bias_ih")], found[prefix + key.replace("biases", "bias_hh")] = value
        elif node.kind == "attention" and head in ("query", "key", "value"):
            parts.setdefault(f"{prefix}in_proj_{tail}", {})[head] = value
        else:
            found[prefix + key] = value
    for key, three in parts.items():
        found[key] = np.concatenate([three["query"], three["key"], three["value"]])
    return found


def _prefix(node: Node) -> str:
    inner = "core." if node.kind in ("lstm", "gru", "attention") else ""
    return ("core." if "mode" in node.port else "") + inner
