"""Any small network as frozen data: named inputs, and nodes that say their kind, what feeds them and how they are set.

Words and axis order are TensorFlow's; the other framework's adapter knows what each kind is called there. `port` holds
what a careless port does differently, and is empty for a correct pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.model.spec import ModelSpec

Array = NDArray[Any]

# How the axes of an activation are ordered on either side.
CHANNELS = "channels"  # (n, ..., c) in TensorFlow, (n, c, ...) in PyTorch
SAME = "same"
FLAT = "flat"  # (n, (... c)) in TensorFlow, (n, (c ...)) in PyTorch: what Flatten makes of CHANNELS

_ENDS_CHANNELS = frozenset({"global_avg_pool", "global_max_pool"})


@dataclass(frozen=True)
class Input:
    """One input of a network: its shape without the batch axis; whole numbers stay below `below`."""

    name: str
    shape: tuple[int, ...]
    layout: str = CHANNELS
    below: int | None = None


@dataclass(frozen=True)
class Node:
    """One operation: `inputs` name network inputs or earlier nodes, `config` speaks Keras."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    port: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holder(self) -> str:
        """The node that owns this one's weights: itself, unless it shares another's layer."""
        return str(self.config.get("share", self.name))


@dataclass(frozen=True)
class Network:
    """A directed graph without cycles, its nodes in an order in which they can run; the last one is the output."""

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """The name of the tensor that the network returns."""
        return self.nodes[-1].name

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(f"network `{self.name}` has no node `{name}`")

    def owners(self) -> Iterator[Node]:
        """Yield the nodes that own a layer, so that a shared one comes once."""
        return (node for node in self.nodes if node.holder == node.name)

    def with_port(self, name: str, **port: Any) -> Network:
        """Return the same network with one node ported carelessly."""
        nodes = tuple(replace(n, port={**n.port, **port}) if n.name == name else n for n in self.nodes)
        self.node(name)
        return replace(self, nodes=nodes)

    def with_config(self, name: str, **config: Any) -> Network:
        """Return the same network with one node's settings changed on both sides."""
        nodes = tuple(replace(n, config={**n.config, **config}) if n.name == name else n for n in self.nodes)
        return replace(self, nodes=nodes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_dict` turns back."""
        return {
            "name": self.name,
            "inputs": [{**vars(given), "shape": list(given.shape)} for given in self.inputs],
            "nodes": [
                {**vars(n), "inputs": list(n.inputs), "config": dict(n.config), "port": dict(n.port)}
                for n in self.nodes
            ],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Network:
        """Build the description from what `to_dict` returned."""
        return Network(
            data["name"],
            tuple(Input(i["name"], tuple(i["shape"]), i["layout"], i["below"]) for i in data["inputs"]),
            tuple(Node(n["name"], n["kind"], tuple(n["inputs"]), n["config"], n["port"]) for n in data["nodes"]),
        )

    def layouts(self) -> dict[str, str]:
        """Return how the axes of every tensor are ordered."""
        found = {given.name: given.layout for given in self.inputs}
        for node in self.nodes:
            before = found[node.inputs[0]]
            if node.kind == "flatten":
                found[node.name] = FLAT if before == CHANNELS else SAME
            elif node.kind in _ENDS_CHANNELS or (node.kind == "dense" and before == FLAT) or node.kind == "to_sequence":
                found[node.name] = SAME
            else:
                found[node.name] = before
        return found

    def flattened(self) -> dict[str, str]:
        """Return, for each tensor in FLAT order, the tensor whose axes were flattened."""
        layouts = self.layouts()
        found: dict[str, str] = {}
        for node in self.nodes:
            if layouts[node.name] == FLAT:
                found[node.name] = node.inputs[0] if node.kind == "flatten" else found[node.inputs[0]]
        return found


def to_torch(array: Array, layout: str, flattened: tuple[int, ...] = ()) -> Array:
    """Return an activation with its axes in PyTorch's order; `flattened` is the shape (..., c) behind a FLAT one."""
    if layout == CHANNELS and array.ndim > 2:
        return np.ascontiguousarray(np.moveaxis(array, -1, 1))
    if layout == FLAT and flattened:
        return to_torch(array.reshape(len(array), *flattened), CHANNELS).reshape(len(array), -1)
    return array


def to_tensorflow(array: Array, layout: str, flattened: tuple[int, ...] = ()) -> Array:
    """Return an activation with its axes in TensorFlow's order."""
    if layout == CHANNELS and array.ndim > 2:
        return np.ascontiguousarray(np.moveaxis(array, 1, -1))
    if layout == FLAT and flattened and array.size == len(array) * int(np.prod(flattened)):
        return to_tensorflow(array.reshape(len(array), flattened[-1], *flattened[:-1]), CHANNELS).reshape(
            len(array), -1
        )
    return array


def from_spec(spec: ModelSpec) -> Network:
    """Return the example network, or a relative of it, in this module's words."""
    nodes, before = [], "input"
    for layer in spec.layers:
        kind, config = _SPEC_KINDS[layer.kind]
        given: dict[str, Any] = dict(config)
        if layer.kind == "conv2d":
            given |= {"filters": layer.size, "kernel": list(layer.kernel), "bias": layer.bias}
        elif layer.kind == "dense":
            given |= {"units": layer.size, "bias": layer.bias}
        elif layer.kind == "max_pool2d":
            given |= {"pool": [layer.size, layer.size]}
        nodes.append(Node(layer.name, kind, (before,), given))
        before = layer.name
    return Network(spec.name, (Input("input", (spec.height, spec.width, spec.channels)),), tuple(nodes))


_SPEC_KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "conv2d": ("conv", {"rank": 2}),
    "max_pool2d": ("max_pool", {"rank": 2}),
    "relu": ("activation", {"function": "relu"}),
    "sigmoid": ("activation", {"function": "sigmoid"}),
    "flatten": ("flatten", {}),
    "dense": ("dense", {}),
}
