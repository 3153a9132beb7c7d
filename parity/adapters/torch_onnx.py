"""An ONNX graph as a torch module: its initialisers are weights, its nodes calls of torch's functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.adapters.onnx_graph import RECURRENT, Graph, Node
from parity.adapters.onnx_graph_numbers import numbers
from parity.errors import UsageError

HINT = "write --torch-layout same, or --input in the order that the file takes"


class Place(nn.Module):
    """Where a node runs, so that its operations carry its name; holds the weights that are named after it."""

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a node."""
        return function(*args)


class OnnxModule(nn.Module):
    """A graph of an ONNX file, run node by node."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.__dict__["_onnx_graph"] = graph
        self.__dict__["_onnx_arrays"] = {name: torch.from_numpy(array) for name, array in graph.arrays.items()}
        self.__dict__["_onnx_weights"], self.__dict__["_onnx_places"], self.__dict__["_onnx_layers"] = {}, {}, set()
        for node in graph.nodes:
            if node.kind in RECURRENT:
                self._layer(node)
            else:
                self._own(node)
        self.eval()

    @staticmethod
    def from_file(path: Path) -> OnnxModule:
        """Load a file.

        Raises:
            UsageError: it is no ONNX file, or uses operators that are not known here.
        """
        from parity.adapters.torch_onnx_nodes import NODES

        return OnnxModule(Graph.from_file(path, NODES.keys() | RECURRENT, "torch"))

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph; several outputs come as a tuple."""
        graph = self.__dict__["_onnx_graph"]
        graph.accept([tuple(one.shape) for one in inputs], HINT)
        known: dict[str, Any] = dict(zip(graph.takes, inputs, strict=True))
        for node in graph.nodes:
            given = [self._value(name, known) for name in node.inputs]
            layer = id(node) in self.__dict__["_onnx_layers"]
            try:
                results = self._place(node)(*([given[0], *given[5:7]] if layer else [partial(_compute, node), given]))
            except RuntimeError as error:
                said = graph.batch_of([tuple(one.shape) for one in inputs])
                if not said:
                    raise
                raise UsageError(said) from error
            results = results if isinstance(results, (tuple, list)) else [results]
            known |= dict(zip(node.outputs, results, strict=False))
        found = [known[name] if name in known else self._value(name, known) for name in graph.gives]
        return found[0] if len(found) == 1 else tuple(found)

    def _value(self, name: str, known: Mapping[str, Any]) -> Any:
        if not name:
            return None
        if name in known:
            return known[name]
        if name in self.__dict__["_onnx_weights"]:
            owner, attribute = self.__dict__["_onnx_weights"][name]
            return getattr(self.get_submodule(owner) if owner else self, attribute)
        array = self.__dict__["_onnx_arrays"][name]
        if not array.is_floating_point():
            return array
        return torch.from_numpy(numbers(array.numpy())).to(torch.get_default_dtype())

    def _place(self, node: Node) -> Any:
        path = self.__dict__["_onnx_places"].get(id(node), "")
        return self.get_submodule(path) if path else _run

    def _own(self, node: Node) -> None:
        """Register a node's weights under their names in the file, and find where it runs."""
        names = [name for name in node.inputs if self.__dict__["_onnx_graph"].is_weight(name)]
        roles = node.weights()
        if node.kind == "PRelu" and names:
            self._per_channel(node, names[0])
        for place, name in enumerate(node.inputs):
            if name in names and place in roles and name not in self.__dict__["_onnx_weights"]:
                self._register(name, fixed=node.kind == "BatchNormalization" and place > 2)
        owners = [self.__dict__["_onnx_weights"][n][0] for n in names if n in self.__dict__["_onnx_weights"]]
        path = next((owner for owner in owners if owner), "")
        label = node.name.replace(".", "_").strip("/")
        if not path and label and label not in self._modules and not hasattr(self, label):
            self.add_module(label, Place())
            path = label
        self.__dict__["_onnx_places"][id(node)] = path

    def _per_channel(self, node: Node, name: str) -> None:
        """Keep slopes as torch does, where the file gives them the axes of an image behind that of the channels."""
        array = self.__dict__["_onnx_arrays"][name]
        if array.dim() > 1 and array.numel() == array.shape[0]:
            self.__dict__["_onnx_arrays"][name] = array.reshape(-1)
            node.attributes["per_channel"] = True

    def _layer(self, node: Node) -> None:
        """Make a recurrent node a layer of its own, with the weights that the file holds for it."""
        from parity.adapters.torch_onnx_recurrent import OnnxRecurrent

        arrays = self.__dict__["_onnx_arrays"]
        node.inputs += [""] * (7 - len(node.inputs))
        if node.inputs[4] or len(node.inputs) > 7:
            raise UsageError(f"an ONNX {node.kind} with lengths or peepholes cannot be run here: name a builder")
        layer = OnnxRecurrent(node.kind, node.attributes, [arrays.get(name) for name in node.inputs[1:4]])
        node.inputs[1:4] = [""] * 3
        node.inputs[5:7] = ["" if self.__dict__["_onnx_graph"].is_nothing(name) else name for name in node.inputs[5:7]]
        label = node.name.replace(".", "_").replace("/", "_").strip("_") or f"{node.kind.lower()}_{len(self._modules)}"
        label = _free(label)
        self.add_module(label, layer)
        self.__dict__["_onnx_places"][id(node)] = label
        self.__dict__["_onnx_layers"].add(id(node))

    def _register(self, name: str, fixed: bool) -> None:
        owner, _, attribute = name.rpartition(".")
        if not attribute or (not all(owner.split(".")) and owner):
            owner, attribute = "", name.replace(".", "_")
        module: Any = self
        parts = [_free(part) for part in owner.split(".")] if owner else []
        owner, attribute = ".".join(parts), _free(attribute)
        for part in parts:
            if part not in module._modules:
                module.add_module(part, Place())
            module = module._modules[part]
        array = self.__dict__["_onnx_arrays"][name]
        if fixed:
            module.register_buffer(attribute, array)
        else:
            module.register_parameter(attribute, nn.Parameter(array))
        self.__dict__["_onnx_weights"][name] = (owner, attribute)


def _free(name: str) -> str:
    """Return a name that torch lets a module or a weight have: none of what every module has."""
    return f"{name}_" if hasattr(nn.Module(), name) else name


def _run(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _compute(node: Node, given: Sequence[Any]) -> Any:
    from parity.adapters.torch_onnx_nodes import NODES

    return NODES[node.kind](node.attributes, *given)
