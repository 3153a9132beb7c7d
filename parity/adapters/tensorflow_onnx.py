"""An ONNX graph as a `tf.Module`: nodes with weights are Keras's layers, the others calls of TensorFlow's functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from parity.adapters.onnx_graph import MOVED, Array, Graph, Node
from parity.adapters.onnx_graph_numbers import numbers
from parity.adapters.tensorflow_onnx_layout import Laid, plainly
from parity.errors import UsageError

HINT = "write --input {shape}, with --torch-layout same if torch's side takes that order, too"
DRY = 32  # the size of an axis that the file leaves open, in the run that makes the layers


class OnnxModel(tf.Module):
    """A graph of an ONNX file, run node by node; layers and weights are attributes of the names that it gives them."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._given = graph
        self.watch: Callable[[str], AbstractContextManager[Any]] = lambda _: nullcontext()
        self._captures: dict[str, Any] = {}
        self._function = _common(graph.nodes)
        self._dry_run()

    @staticmethod
    def from_file(path: Path) -> OnnxModel:
        """Load a file.

        Raises:
            UsageError: it is no ONNX file, or uses operators that are not known here.
        """
        from parity.adapters.tensorflow_onnx_nodes import NODES

        return OnnxModel(Graph.from_file(path, NODES.keys(), "tensorflow"))

    @property
    def onnx_graph(self) -> Graph:
        """Return what the file holds."""
        return self._given

    @property
    def inputs(self) -> list[Any]:
        """Return what the file declares of its inputs."""
        dtypes = [one or "float32" for one in self._given.integers]
        return [tf.TensorSpec(s, d) for s, d in zip(self._given.shapes, dtypes, strict=True)]

    def __call__(self, *inputs: Any) -> Any:
        graph = self._given
        graph.accept([tuple(one.shape) for one in inputs], HINT)
        known: dict[str, Any] = dict(zip(graph.takes, map(plainly, inputs), strict=True))
        for node in graph.nodes:
            try:
                with self.watch(self.onnx_scope(node)):
                    made = self._run(node, [self._value(name, known) for name in node.inputs])
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                said = graph.batch_of([tuple(one.shape) for one in inputs])
                if not said:
                    raise
                raise UsageError(said) from error
            known |= dict(zip(node.outputs, made, strict=False))
        found = [self._value(name, known) for name in graph.gives]
        answer = [one.plain() if isinstance(one, Laid) else tensor(one) for one in found]
        return answer[0] if len(answer) == 1 else tuple(answer)

    def onnx_layer(self, node: Node, make: Callable[[str], Any], arrays: Sequence[Array | None], shape: Any) -> Any:
        """Return the layer of a node, made of the file's numbers when it is needed for the first time."""
        names = [name for name in node.inputs[1:] if name in self._given.arrays]
        key = " ".join([node.kind, *(names if names else node.outputs)])
        if key not in self._captures:
            name = self._free(self._layer_name(node, names))
            made = make(name.replace("/", "_"))
            made.build(shape)
            given = [array for array in arrays if array is not None]
            for variable, array in zip(made.weights, given, strict=True):
                variable.assign(array)
            self._captures[key] = self.__dict__[name] = made
        return self._captures[key]

    def onnx_part(self, node: Node, suffix: str, make: Callable[[str], Any]) -> Any:
        """Return a layer without weights that belongs to a node, such as what pads before a convolution."""
        key = f"{suffix} {node.outputs[0]}"
        if key not in self._captures:
            name = self._free("/".join(filter(None, (self.onnx_scope(node) or node.kind.lower(), suffix))))
            self._captures[key] = self.__dict__[name] = make(name.replace("/", "_"))
        return self._captures[key]

    def onnx_weight(self, name: str, array: Array, node: Node) -> Any:
        """Return the variable of an initialiser, with its axes as the tensor beside it has them."""
        key = f"{name} {array.shape}"
        if key not in self._captures:
            given = name.rpartition(":")[0] or name
            held = self._free(given if "." in given else "/".join(filter(None, (self.onnx_scope(node), given))))
            self._captures[key] = self.__dict__[held] = tf.Variable(array, dtype=tf.float32, name="w")
        return self._captures[key]

    def onnx_scope(self, node: Node) -> str:
        """Return where a node stands, as its name tells."""
        parts = [part for part in node.name.split("/") if part and part != "StatefulPartitionedCall"]
        if self._function and parts[:1] == [self._function]:
            parts = parts[1:]
        return "/".join(parts[:-1])

    def _layer_name(self, node: Node, weights: Sequence[str]) -> str:
        owners = [name.rpartition(".")[0] for name in weights if "." in name and "/" not in name and ":" not in name]
        return next((owner for owner in owners if owner), "") or self.onnx_scope(node) or node.name or node.kind.lower()

    def _free(self, name: str) -> str:
        found, number = name, 1
        while hasattr(self, found):
            found, number = f"{name}_{number}", number + 1
        return found

    def _value(self, name: str, known: dict[str, Any]) -> Any:
        if not name:
            return None
        return known[name] if name in known else self._given.arrays[name]

    def _run(self, node: Node, given: list[Any]) -> Sequence[Any]:
        from parity.adapters.tensorflow_onnx_nodes import NODES

        if node.kind in (*MOVED, "Gather") and self._given.is_weight(node.inputs[0]):
            given = self._of_weight(node, given)
        elif not any(isinstance(one, Laid) for one in given) or node.kind == "Shape":
            return self._given.folded(node, [one.shape if isinstance(one, Laid) else one for one in given])
        made = NODES[node.kind](self, node, given)
        return made if isinstance(made, list | tuple) else [made]

    def _of_weight(self, node: Node, given: list[Any]) -> list[Any]:
        """Return what a node is given with the weight that it moves as a variable: a class token, a tied table."""
        name, array = node.inputs[0], self._given.arrays[node.inputs[0]]
        if node.kind == "Gather" and array.ndim == 2:
            return given  # an embedding, which makes its own
        table = self._captures.get(f"Gather {name}")
        held = self.onnx_weight(name, array, node) if table is None else table.embeddings
        return [plainly(tf.convert_to_tensor(held)), *given[1:]]

    def _dry_run(self) -> None:
        """Make the layers where the file tells the inputs' shapes; elsewhere the first call makes them."""
        if any(shape is None for shape in self._given.shapes):
            return
        shapes = [[size or (DRY if p else 2) for p, size in enumerate(shape or ())] for shape in self._given.shapes]
        try:
            self(*(tf.zeros(s, spec.dtype) for s, spec in zip(shapes, self.inputs, strict=True)))
        except UsageError:
            raise
        except Exception:  # the sizes that were made up may not fit
            return


def tensor(array: Array) -> Any:
    """Return constant numbers as a tensor: a twin makes a double of a float, of the number that was written."""
    held = np.asarray(array)
    if held.dtype.kind != "f":
        return tf.constant(held)
    made = tf.constant(held.astype(np.float32))
    return tf.constant(numbers(held)) if made.dtype == tf.float64 else made


def _common(nodes: Sequence[Node]) -> str:
    """Return the name of the whole model that stands before those of its nodes."""
    first = {
        next(part for part in node.name.split("/") if part and part != "StatefulPartitionedCall")
        for node in nodes if node.name.count("/") > 1 and not node.name.startswith("/")
    }  # fmt: skip
    return first.pop() if len(first) == 1 else ""
