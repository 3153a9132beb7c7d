"""An ONNX graph as a torch module: its initialisers are weights, its nodes calls of torch's functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.errors import MissingFramework, UsageError


class Place(nn.Module):
    """Where a node runs, so that its operations carry its name; holds the weights that are named after it."""

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a node."""
        return function(*args)


class OnnxModule(nn.Module):
    """A graph of an ONNX file, run node by node."""

    def __init__(self, model: Any, source: str) -> None:
        super().__init__()
        import onnx

        from parity.adapters.torch_onnx_nodes import NODES
        from parity.adapters.torch_onnx_recurrent import RECURRENT

        graph = model.graph
        unknown = sorted({node.op_type for node in graph.node if node.op_type not in NODES.keys() | RECURRENT})
        if unknown:
            raise UsageError(
                f"{source} uses the ONNX operators {', '.join(unknown)}, which cannot be run here: name a builder"
            )
        arrays = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
        self.__dict__["arrays"], self.__dict__["weights"] = arrays, {}
        self.__dict__["nodes"] = [_Node(node, onnx) for node in graph.node]
        self.__dict__["takes"] = [one.name for one in graph.input if one.name not in arrays]
        self.__dict__["gives"] = [one.name for one in graph.output]
        self._join_biases()
        self._join_group_norms()
        for node in self.__dict__["nodes"]:
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
        try:
            import onnx
        except ImportError as error:
            raise MissingFramework(
                "an .onnx model needs the package `onnx` in the torch worker's environment"
            ) from error
        try:
            model = onnx.load(str(path))
            onnx.checker.check_model(model)
        except Exception as error:
            raise UsageError(f"{path} is no valid ONNX file: {' '.join(str(error).split())[:200]}") from error
        return OnnxModule(model, str(path))

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph; several outputs come as a tuple."""
        if len(inputs) != len(self.__dict__["takes"]):
            names = ", ".join(self.__dict__["takes"])
            raise UsageError(f"the ONNX graph takes {names}, but {len(inputs)} inputs were given")
        known: dict[str, Any] = dict(zip(self.__dict__["takes"], inputs, strict=True))
        for node in self.__dict__["nodes"]:
            given = [self._value(name, known) for name in node.inputs]
            results = self._place(node)(*([given[0], *given[5:7]] if node.layer else [node.run, given]))
            results = results if isinstance(results, (tuple, list)) else [results]
            known |= dict(zip(node.outputs, results, strict=False))
        found = [known[name] if name in known else self._value(name, known) for name in self.__dict__["gives"]]
        return found[0] if len(found) == 1 else tuple(found)

    def _value(self, name: str, known: Mapping[str, Any]) -> Any:
        if not name:
            return None
        if name in known:
            return known[name]
        if name in self.__dict__["weights"]:
            owner, attribute = self.__dict__["weights"][name]
            return getattr(self.get_submodule(owner) if owner else self, attribute)
        array = self.__dict__["arrays"][name]
        return array.to(torch.get_default_dtype()) if array.is_floating_point() else array

    def _place(self, node: _Node) -> Any:
        return self.get_submodule(node.path) if node.path else _run

    def _join_biases(self) -> None:
        """Let a matrix product with a constant matrix and the bias added to it be one dense layer, as it was."""
        nodes, arrays = self.__dict__["nodes"], self.__dict__["arrays"]
        readers = Counter(name for node in nodes for name in node.inputs) + Counter(self.__dict__["gives"])
        by_input = {name: node for node in nodes for name in node.inputs}
        for node in list(nodes):
            matrix = arrays.get(node.inputs[1]) if node.kind == "MatMul" else None
            if matrix is None or matrix.dim() != 2 or readers[node.inputs[1]] != 1:
                continue
            arrays[node.inputs[1]] = matrix.t().contiguous()
            node.become("Dense")
            added = by_input.get(node.outputs[0])
            if added is None or added.kind != "Add" or readers[node.outputs[0]] != 1:
                continue
            bias = next((name for name in added.inputs if name in arrays), "")
            if bias and tuple(arrays[bias].shape) == (matrix.shape[1],):
                node.inputs.append(bias)
                node.outputs[0] = added.outputs[0]
                nodes.remove(added)

    def _join_group_norms(self) -> None:
        """Let a group normalisation, which exporters write as one of groups, a scale and a shift, be one as it was."""
        nodes, arrays = self.__dict__["nodes"], self.__dict__["arrays"]
        makers = {name: node for node in nodes for name in node.outputs}
        readers: dict[str, list[_Node]] = {}
        for node in nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        for node in [one for one in nodes if one.kind == "InstanceNormalization"]:
            constants = {n: m.attributes.get("value") for n, m in makers.items() if m.kind == "Constant"}
            scale, shift = (arrays.get(name, constants.get(name)) for name in node.inputs[1:3])
            before = makers.get(node.inputs[0])
            if scale is None or shift is None or bool((scale != 1).any()) or bool(shift.any()) or before is None:
                continue
            chain = [node]
            for kind in ("Reshape", "Mul", "Add"):
                following = readers.get(chain[-1].outputs[0], [])
                if len(following) == 1 and following[0].kind == kind:
                    chain.append(following[0])
            weights = [next((n for n in one.inputs if n in arrays), "") for one in chain[2:]]
            if before.kind != "Reshape" or len(chain) < 4 or not all(weights):
                continue
            for name in weights:
                arrays[name] = arrays[name].reshape(-1)
            node.attributes["num_groups"] = int(scale.numel())
            node.inputs, node.outputs = [before.inputs[0], *weights], chain[-1].outputs
            node.become("GroupNormalization")
            for one in (*chain[1:], *([before] if len(readers[before.outputs[0]]) == 1 else [])):
                nodes.remove(one)
        self._in_order()

    def _in_order(self) -> None:
        """Put nodes behind what makes their inputs: one that took the place of several may stand too early."""
        nodes, known = self.__dict__["nodes"], {*self.__dict__["takes"], *self.__dict__["arrays"], ""}
        waiting, found = list(nodes), []
        while waiting:
            ready = [node for node in waiting if known.issuperset(node.inputs)]
            if not ready:
                return
            for node in ready:
                known.update(node.outputs)
            found += ready
            waiting = [node for node in waiting if node not in ready]
        self.__dict__["nodes"] = found

    def _own(self, node: _Node) -> None:
        """Register a node's weights under their names in the file, and find where it runs."""
        arrays = self.__dict__["arrays"]
        # A single number is a constant of the arithmetic, such as the root of two in a GELU.
        names = [n for n in node.inputs if n in arrays and arrays[n].is_floating_point() and arrays[n].numel() > 1]
        roles = node.weights()
        for place, name in enumerate(node.inputs):
            if name in names and place in roles and name not in self.__dict__["weights"]:
                self._register(name, fixed=node.kind == "BatchNormalization" and place > 2)
        owners = [self.__dict__["weights"][n][0] for n in names if n in self.__dict__["weights"]]
        node.path = next((owner for owner in owners if owner), "")
        label = node.name.replace(".", "_").strip("/")
        if not node.path and label and label not in self._modules and not hasattr(self, label):
            self.add_module(label, Place())
            node.path = label

    def _layer(self, node: _Node) -> None:
        """Make a recurrent node a layer of its own, with the weights that the file holds for it."""
        from parity.adapters.torch_onnx_recurrent import OnnxRecurrent

        arrays = self.__dict__["arrays"]
        node.inputs += [""] * (7 - len(node.inputs))
        if node.inputs[4] or len(node.inputs) > 7:
            raise UsageError(f"an ONNX {node.kind} with lengths or peepholes cannot be run here: name a builder")
        layer = OnnxRecurrent(node.kind, node.attributes, [arrays.get(name) for name in node.inputs[1:4]])
        node.inputs[1:4] = [""] * 3
        node.inputs[5:7] = ["" if self._is_nothing(name) else name for name in node.inputs[5:7]]
        label = node.name.replace(".", "_").replace("/", "_").strip("_") or f"{node.kind.lower()}_{len(self._modules)}"
        self.add_module(label, layer)
        node.path, node.layer = label, True

    def _is_nothing(self, name: str) -> bool:
        """Whether a state starts at zero: a constant, maybe made as large as the batch."""
        array = self.__dict__["arrays"].get(name)
        if array is not None:
            return not bool(array.any())
        maker = next((node for node in self.__dict__["nodes"] if name in node.outputs), None)
        if maker is not None and maker.kind == "ConstantOfShape":
            value = maker.attributes.get("value")
            return value is None or not bool(value.any())
        if maker is not None and maker.kind == "Constant":
            value = maker.attributes.get("value")
            return value is not None and not bool(value.any())
        return maker is not None and maker.kind in ("Expand", "Identity") and self._is_nothing(maker.inputs[0])

    def _register(self, name: str, fixed: bool) -> None:
        owner, _, attribute = name.rpartition(".")
        if not attribute or (not all(owner.split(".")) and owner):
            owner, attribute = "", name.replace(".", "_")
        module: Any = self
        for part in owner.split(".") if owner else ():
            if part not in module._modules:
                module.add_module(part, Place())
            module = module._modules[part]
        array = self.__dict__["arrays"][name]
        if fixed:
            module.register_buffer(attribute, array)
        else:
            module.register_parameter(attribute, nn.Parameter(array))
        self.__dict__["weights"][name] = (owner, attribute)


def _run(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class _Node:
    """One node: its operator, its attributes as Python values, the names of its inputs and outputs."""

    def __init__(self, node: Any, onnx: Any) -> None:
        self.kind, self.name = str(node.op_type), str(node.name)
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.attributes: dict[str, Any] = {}
        self.path, self.layer = "", False
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
            self.attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value

    def become(self, kind: str) -> None:
        """Be run as another operator."""
        self.kind = kind

    def weights(self) -> Sequence[int]:
        """Return which inputs are weights where they are initialisers."""
        if self.kind in ("Conv", "ConvTranspose", "Gemm", "Dense", "LayerNormalization", "InstanceNormalization",
                         "GroupNormalization"):  # fmt: skip
            return (1, 2)
        if self.kind in ("Add", "Sub", "Mul", "Div", "MatMul", "Gather", "PRelu"):
            return (0, 1)
        return (1, 2, 3, 4) if self.kind == "BatchNormalization" else ()

    def run(self, given: Sequence[Any]) -> Any:
        """Compute the node's outputs."""
        from parity.adapters.torch_onnx_nodes import NODES

        return NODES[self.kind](self.attributes, *given)
