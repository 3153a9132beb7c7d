"""An ONNX file without any framework: its nodes, its weights as arrays, and what exporters took apart put together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.adapters.onnx_graph_directions import joined_directions
from parity.adapters.onnx_graph_loops import STEPS, joined_loops
from parity.adapters.onnx_graph_norms import (
    joined_activations,
    joined_biases,
    joined_layer_norms,
    joined_scales,
    joined_slopes,
)
from parity.adapters.onnx_graph_turned import joined_turned_norms
from parity.errors import MissingFramework, UsageError

Array = NDArray[Any]
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
GATES: Mapping[str, tuple[int, ...]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""In which order torch has ONNX's gates: i, o, f, c become i, f, g, o, and z, r, h become r, z, n."""
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_MOVES = frozenset(
    {"Slice", "Concat", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Constant", "ConstantOfShape",
     "Expand", "Flatten", "Shape"}
)  # fmt: skip
_NUMBERED = re.compile(r"\w+__\d+")
MOVED = frozenset({"Expand", "Tile", "Transpose", "Slice"})  # what weights are brought into shape by
_MADE = r"(scalar_tensor|full|zeros|ones|arange|lift_fresh|clone)(_\w+)?$"  # what operations of torch's code make
_PARAMETER = re.compile(rf"(?!val_|lifted_|_|{_MADE})[A-Za-z]\w*(\.\w+)*")  # as torch names those of its modules
_IN_SCOPE = re.compile(r"\S+/\S+:\d+")  # a result of an operation inside a model of TensorFlow's
_MASKED = 1e8
_UNREGISTERED = "No Op registered for"
_IMAGE = 4  # axes of a batch of images


class Node:
    """One node: its operator, its attributes as Python values, the names of its inputs and outputs."""

    def __init__(self, proto: Any, onnx: Any) -> None:
        self.proto = proto
        self.kind, self.name = str(proto.op_type), str(proto.name)
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.attributes: dict[str, Any] = {}
        for attribute in proto.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = onnx.numpy_helper.to_array(value).copy()
            self.attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        told = next((one.value for one in proto.metadata_props if one.key == "pkg.torch.onnx.name_scopes"), "[]")
        scopes = re.findall(r"'([^']*)'", told)
        self.scope = str(scopes[-2]) if len(scopes) > 1 else ""  # the module that torch called

    def become(self, kind: str) -> None:
        """Be run as another operator."""
        self.kind = kind

    def weights(self) -> Sequence[int]:
        """Return which inputs are weights where they are initialisers."""
        if self.kind in ("Conv", "ConvTranspose", "Gemm", "Dense", "LayerNormalization", "InstanceNormalization",
                         "GroupNormalization"):  # fmt: skip
            return (1, 2)
        if self.kind in ("Add", "Sub", "Mul", "Div", "MatMul", "Gather", "PRelu", "Einsum", "Where"):
            return (0, 1, 2)
        if self.kind == "Concat":
            return range(len(self.inputs))
        if self.kind in MOVED:
            return (0,)
        return (1, 2, 3, 4) if self.kind == "BatchNormalization" else ()


class Graph:
    """What a file holds: `takes` and `gives` name the inputs and outputs, `shapes` what the inputs are declared as."""

    def __init__(self, model: Any, source: str, known: Collection[str], side: str = "") -> None:
        import onnx

        self.source = source
        graph = model.graph
        self.arrays: dict[str, Array] = {n.name: onnx.numpy_helper.to_array(n).copy() for n in graph.initializer}
        self.nodes = [Node(node, onnx) for node in graph.node]
        for one in self.nodes:
            one.name = _named_after_weights(one, self.arrays)
        given = [one for one in graph.input if one.name not in self.arrays]
        self.takes, self.gives = [one.name for one in given], [one.name for one in graph.output]
        self.shapes = [_declared(one) for one in given]
        self.integers = [_integers(one, onnx) for one in given]
        self.version = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 17)
        self.constants: set[str] = set()  # arrays that are no initialisers, and made of none
        self._parts = side == "torch"  # Keras has a layer for each part of what one layer of torch's holds whole
        self._by_torch = str(model.producer_name) == "pytorch"
        self._evaluators: dict[str, Any] = {}
        self.sizes = _sizes(model, onnx)
        self.ranks = {name: len(shape) for name, shape in self.sizes.items()}
        joined_loops(self)
        unknown = sorted({node.kind for node in self.nodes if node.kind not in known})
        if unknown:
            raise UsageError(
                f"{source} uses the ONNX operators {', '.join(unknown)}, which cannot be run here: name a builder"
            )
        self._fold()
        joined_directions(self)
        if side == "tensorflow":
            self._part_groups()
        self._join_rows()
        self._part_copies()
        self._part_equals()
        self._join_biases()
        self._join_group_norms()
        joined_layer_norms(self)
        joined_turned_norms(self)
        joined_activations(self)
        joined_slopes(self)
        joined_scales(self)
        joined_biases(self)

    @staticmethod
    def from_file(path: Path, known: Collection[str], side: str) -> Graph:
        """Read a file; `side` is whose worker reads it.

        Raises:
            UsageError: it is no ONNX file, or uses operators that are not known here.
        """
        try:
            import onnx
        except ImportError as error:
            raise MissingFramework(
                f"an .onnx model needs the package `onnx` in the {side} worker's environment"
            ) from error
        try:
            model = onnx.load(str(path))
            onnx.checker.check_model(model)
        except Exception as error:
            if _UNREGISTERED in str(error):  # tf2onnx writes such as Erfc; what is not known here is refused below
                return Graph(model, str(path), known, side)
            raise UsageError(f"{path} is no valid ONNX file: {' '.join(str(error).split())[:200]}") from error
        return Graph(model, str(path), known, side)

    def accept(self, shapes: Sequence[Sequence[int]], hint: str) -> None:
        """Refuse inputs that are not those that the file declares; the batch may be of any size.

        `hint` says what to write where the axes are only in another order: `{shape}` stands for the right one.

        Raises:
            UsageError: there are more or fewer, or one is of another shape.
        """
        if len(shapes) != len(self.takes):
            names = ", ".join(self.takes)
            lost = [name for name in self.takes if _IN_SCOPE.fullmatch(name)]
            if len(shapes) == len(self.takes) - len(lost):
                raise UsageError(
                    f"{self.source} takes {', '.join(lost)}, too: constants that tf2onnx took for inputs, so that the"
                    " file lacks their numbers. Export it by way of a SavedModel: model.export(FOLDER), then python -m"
                    " tf2onnx.convert --saved-model FOLDER"
                )
            raise UsageError(f"the ONNX graph takes {names}, but {len(shapes)} inputs were given")
        for name, declared, given in zip(self.takes, self.shapes, shapes, strict=True):
            if declared is None or _fits(declared, given):
                continue
            said = ", ".join("?" if size is None else str(size) for size in declared)
            text = f"{self.source} takes `{name}` of shape ({said}), but {tuple(given)} was given"
            turned = [one for one in permutations(given[1:]) if len(given) <= _IMAGE and _fits(declared, [0, *one])]
            raise UsageError(text + (f": {hint.format(shape='x'.join(map(str, turned[0])))}" if turned else ""))

    def batch_of(self, given: Sequence[Sequence[int]]) -> str:
        """Return what to say of a run that failed because the file was exported for a batch of another size."""
        for declared, shape in zip(self.shapes, given, strict=False):
            if declared and declared[0] is not None and declared[0] != shape[0]:
                return f"{self.source} was exported for a batch of {declared[0]}: write --batch {declared[0]}"
        return ""

    def is_weight(self, name: str) -> bool:
        """Whether an array is a weight of the model: a single number is mostly a constant, such as the root in a GELU.

        So is one number throughout that no layer computes with, unless it has a weight's name: zeros to be put beside.
        Masks hold infinities, or what is as good as these.
        """
        array = self.arrays.get(name)
        if array is None or array.dtype.kind != "f" or name in self.constants or bool((np.abs(array) > _MASKED).any()):
            return False
        if name in self._slopes or (array.size > 1 and (np.ptp(array) or name not in self._only_moved)):
            return True
        return "ReadVariableOp" in name or (self._by_torch and _PARAMETER.fullmatch(name) is not None)

    @cached_property
    def _slopes(self) -> set[str]:
        return {node.inputs[1] for node in self.nodes if node.kind == "PRelu"}

    @cached_property
    def _only_moved(self) -> set[str]:
        """Return the arrays that are but put beside others, or made larger."""
        kinds = {name: {node.kind for node in nodes} for name, nodes in self.readers().items()}
        return {name for name, some in kinds.items() if some <= {"Concat", "Where", *MOVED}}

    def readers(self) -> dict[str, list[Node]]:
        """Return who reads each value."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found

    def sweep(self) -> None:
        """Take nodes out that nobody reads any more."""
        while True:
            read = {name for node in self.nodes for name in node.inputs} | set(self.gives)
            kept = [node for node in self.nodes if read & set(node.outputs)]
            if len(kept) == len(self.nodes):
                return
            self.nodes = kept

    def is_nothing(self, name: str) -> bool:
        """Whether a state starts at zero: a constant, maybe made as large as the batch."""
        array = self.arrays.get(name)
        if array is not None:
            return not bool(array.any())
        maker = next((node for node in self.nodes if name in node.outputs), None)
        if maker is None:
            return False
        if maker.kind in ("ConstantOfShape", "Constant"):
            value = maker.attributes.get("value")
            return maker.kind == "ConstantOfShape" if value is None else not bool(value.any())
        return maker.kind in ("Expand", "Identity", "Unsqueeze") and self.is_nothing(maker.inputs[0])

    def folded(self, node: Node, given: Sequence[Any]) -> list[Any]:
        """Compute a node of constants alone; `Shape` is given the shape."""
        from onnx import ValueInfoProto, helper, reference

        if node.kind == "Shape":
            shape = given[0].shape if isinstance(given[0], np.ndarray) else tuple(given[0])
            return [np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64)]
        if node.kind == "Identity":
            return [given[0]]
        key = node.outputs[0]
        if key not in self._evaluators:
            names = (dict.fromkeys(n for n in side if n) for side in (node.proto.input, node.proto.output))
            sides = [[ValueInfoProto(name=name) for name in side] for side in names]
            graph = helper.make_graph([node.proto], "one", *sides)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.version)])
            self._evaluators[key] = reference.ReferenceEvaluator(model)
        feeds = {n: np.asarray(v) for n, v in zip(node.proto.input, given, strict=False) if n}
        found = dict(zip((n for n in node.proto.output if n), self._evaluators[key].run(None, feeds), strict=True))
        return [np.asarray(found[n]) if n else None for n in node.proto.output]

    def _fold(self) -> None:
        """Let what only moves constant numbers be done: exporters write the weights of some layers in pieces."""
        arrays, kept = self.arrays, list[Node]()
        readers = Counter(name for node in self.nodes for name in node.inputs)
        shapes = {node.outputs[0]: self.sizes.get(node.inputs[0]) for node in self.nodes if node.kind == "Shape"}
        for node in self.nodes:
            size = self._size_told(node, shapes)
            if size is not None:
                arrays[node.outputs[0]] = size
                continue
            if node.kind == "CastLike" and node.inputs[0] in arrays and arrays[node.inputs[0]].dtype.kind == "f":
                node.kind, node.inputs = "Identity", node.inputs[:1]
            floats = [name for name in node.inputs if name in arrays and arrays[name].dtype.kind == "f"]
            constant = all(not name or name in arrays for name in node.inputs)
            if (
                self._parts
                and constant
                and node.kind == "Split"
                and len(floats) == 1
                and not set(node.outputs) & set(self.gives)
            ):
                self._part(node, floats[0], readers)
                continue
            constant = constant and len(node.outputs) == 1
            tied = node.kind == "Transpose" and any(readers[name] > 1 for name in floats)
            if not constant or node.outputs[0] in self.gives or tied or (floats and node.kind not in _MOVES):
                kept.append(node)
                continue
            made = self.folded(node, [arrays[name] if name else None for name in node.inputs])[0]
            arrays[node.outputs[0]] = np.array(made)
            if all(name in self.constants or arrays[name].dtype.kind != "f" for name in node.inputs if name):
                self.constants.add(node.outputs[0])
            alone = len(floats) == 1 and readers[floats[0]] == 1 and arrays[floats[0]].size == made.size
            if alone and floats[0] not in self.constants:  # the same weight in another shape keeps its name
                arrays[floats[0]] = arrays.pop(node.outputs[0])
                readers[floats[0]] = readers[node.outputs[0]]
                for other in self.nodes:
                    other.inputs = [floats[0] if name == node.outputs[0] else name for name in other.inputs]
        self.nodes = kept

    def _size_told(self, node: Node, shapes: Mapping[str, list[int | None] | None]) -> Array | None:
        """Return what a node takes of a shape, where the file tells it: torch cuts weights by the sizes of inputs."""
        shape = shapes.get(node.inputs[0]) if node.kind in ("Gather", "Slice") and node.inputs else None
        if shape is None or node.outputs[0] in self.gives or not all(one in self.arrays for one in node.inputs[1:]):
            return None
        known = np.array([-1 if size is None else size for size in shape], np.int64)
        found = np.asarray(self.folded(node, [known, *(self.arrays[name] for name in node.inputs[1:])])[0])
        return None if (found < 0).any() else found

    def _part(self, node: Node, name: str, readers: Counter[str]) -> None:
        """Let each part of a weight be one, as where queries and keys with values have their own product."""
        made = self.folded(node, [self.arrays[one] if one else None for one in node.inputs])
        for number, (output, array) in enumerate(zip(node.outputs, made, strict=True)):
            own = f"{name}_{number}"
            self.arrays[own], readers[own] = np.array(array), readers[output]
            for other in self.nodes:
                other.inputs = [own if given == output else given for given in other.inputs]

    def _part_groups(self) -> None:
        """Let every group of a transposed convolution be one of its own: Keras has none in groups."""
        import onnx

        found = list[Node]()
        for node in self.nodes:
            group, weight = int(node.attributes.get("group", 1)), self.arrays.get((*node.inputs, "", "")[1])
            if node.kind != "ConvTranspose" or group == 1 or weight is None:
                found.append(node)
                continue
            words = {key: value for key, value in node.attributes.items() if key != "group"}
            pieces = [[f"{node.outputs[0]}_{which}{number}" for number in range(group)] for which in ("from", "to")]
            for name in node.inputs[1:]:
                parts = np.split(self.arrays[name], group)
                self.arrays |= {f"{name}_{number}": part for number, part in enumerate(parts)}
            made = [onnx.helper.make_node("Split", node.inputs[:1], pieces[0], axis=1, name=f"{node.name}_apart")]
            for number, (given, output) in enumerate(zip(*pieces, strict=True)):
                names = [given, *(f"{name}_{number}" for name in node.inputs[1:])]
                made.append(onnx.helper.make_node(node.kind, names, [output], name=node.name, **words))
            made.append(onnx.helper.make_node("Concat", pieces[1], node.outputs, axis=1, name=f"{node.name}_beside"))
            found += [Node(one, onnx) for one in made]
        self.nodes = found

    def _part_equals(self) -> None:
        """Give every node a vector of its own where one number throughout is kept once for all: a fresh model's."""
        for name, readers in self.readers().items():
            array = self.arrays.get(name)
            if array is None or array.size < 2 or array.size != max(array.shape) or array.dtype.kind != "f":
                continue
            if np.ptp(array):
                continue
            places = [(node, p) for node in dict.fromkeys(readers) for p, n in enumerate(node.inputs) if n == name]
            for number, (node, place) in enumerate(places):
                if number and name not in self.gives:
                    again = f"_{place}" if any(node is one for one, _ in places[:number]) else ""
                    own = f"{node.name or f'{node.kind}_{number}'}.{name.rpartition('.')[2]}{again}"
                    self.arrays[own] = array.copy()
                    node.inputs[place] = own

    def _join_rows(self) -> None:
        """Let a token that was repeated for each sample of the batch, and put beside these, be one as it was."""
        import onnx

        for node in [one for one in self.nodes if one.kind == "Concat" and int(one.attributes["axis"]) != 0]:
            for place, name in enumerate(node.inputs):
                array = self.arrays.get(name)
                if array is None or array.ndim < 2 or array.dtype.kind != "f" or len(self.readers()[name]) > 1:
                    continue
                if len(array) < 2 or bool((array != array[:1]).any()):
                    continue
                shape, rows = f"{name}_shape", f"{name}_rows"
                self.arrays[name], self.arrays[shape] = array[:1].copy(), np.array(array.shape, np.int64)
                made = onnx.helper.make_node("Expand", [name, shape], [rows], name=f"{node.name}_{place}")
                self.nodes.insert(self.nodes.index(node), Node(made, onnx))
                node.inputs[place] = rows

    def _part_copies(self) -> None:
        """Give every copied block of a fresh model its own weights: torch keeps equal ones once, named after the first.

        Blocks that share a weight name it after the last of them.
        """
        named = {name.rpartition(".")[0] for name in self.arrays}
        for name, readers in self.readers().items():
            scopes = dict.fromkeys(node.scope for node in readers)
            alike = {re.sub(r"\d+", "0", scope) for scope in scopes}
            held = self.arrays.get(name)
            if held is None or held.size < 2 or held.dtype.kind != "f" or name in self.gives:
                continue
            if len(scopes) < 2 or len(alike) > 1:
                continue
            if named.intersection(list(scopes)[1:]):
                continue
            for scope in list(scopes)[1:]:
                own = f"{scope}.{name.rpartition('.')[2]}"
                self.arrays[own] = held.copy()
                for node in (one for one in readers if one.scope == scope):
                    node.inputs = [own if given == name else given for given in node.inputs]

    def _join_biases(self) -> None:
        """Let a matrix product with a constant matrix and the bias added to it be one dense layer, as it was."""
        nodes, arrays = self.nodes, self.arrays
        readers = Counter(name for node in nodes for name in node.inputs) + Counter(self.gives)
        by_input = {name: node for node in nodes for name in node.inputs}
        for node in list(nodes):
            matrix = arrays.get(node.inputs[1]) if node.kind == "MatMul" else None
            if matrix is None or matrix.ndim != 2 or readers[node.inputs[1]] != 1:
                continue
            arrays[node.inputs[1]] = np.ascontiguousarray(matrix.T)
            node.become("Dense")
            added = by_input.get(node.outputs[0])
            if added is not None and added.kind == "Reshape" and readers[node.outputs[0]] == 1:
                self._join_bias_behind(node, added, by_input.get(added.outputs[0]), readers)
                continue
            if added is None or added.kind != "Add" or readers[node.outputs[0]] != 1:
                continue
            bias = next((name for name in added.inputs if name in arrays), "")
            if bias and tuple(arrays[bias].shape) == (matrix.shape[1],):
                node.inputs.append(bias)
                node.outputs[0] = added.outputs[0]
                nodes.remove(added)

    def _join_bias_behind(self, node: Node, shaped: Node, added: Node | None, readers: Counter[str]) -> None:
        """Put a bias into the product that is only brought back into its shape before it is added, as Keras does."""
        name = next((one for one in added.inputs if one in self.arrays), "") if added is not None else ""
        if added is None or added.kind != "Add" or not name or readers[shaped.outputs[0]] != 1:
            return
        bias, units = self.arrays[name], self.arrays[node.inputs[1]].shape[0]
        shape = list(bias.shape)
        while shape and shape[0] == 1:
            del shape[0]
        target = self.arrays.get(shaped.inputs[1])
        ends = target is None or [int(n) for n in target[-len(shape) :]] == shape
        if bias.size != units or units == 1 or not ends or readers[name] != 1:
            return
        self.arrays[name] = bias.reshape(-1)
        node.inputs.append(name)
        shaped.outputs[0] = added.outputs[0]
        self.nodes.remove(added)

    def _join_group_norms(self) -> None:
        """Let a group normalisation, which exporters write as one of groups, a scale and a shift, be one as it was."""
        nodes, arrays = self.nodes, self.arrays
        makers = {name: node for node in nodes for name in node.outputs}
        readers = self.readers()
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
            node.attributes["num_groups"] = int(scale.size)
            node.inputs, node.outputs = [before.inputs[0], *weights], chain[-1].outputs
            node.become("GroupNormalization")
            for one in (*chain[1:], *([before] if len(readers[before.outputs[0]]) == 1 else [])):
                nodes.remove(one)
        self._in_order()

    def _in_order(self) -> None:
        """Put nodes behind what makes their inputs: one that took the place of several may stand too early."""
        known = {*self.takes, *self.arrays, ""}
        waiting, found = list(self.nodes), list[Node]()
        while waiting:
            ready = [node for node in waiting if known.issuperset(node.inputs)]
            if not ready:
                return
            for node in ready:
                known.update(node.outputs)
            found += ready
            waiting = [node for node in waiting if node not in ready]
        self.nodes = found


def _named_after_weights(node: Node, arrays: Collection[str]) -> str:
    """Return a node's name; one that tf2onnx numbered, as it merged several, is that of its weights."""
    weights = [name for name in node.inputs if name in arrays and "/" in name]
    return weights[0].rpartition("/")[0] if weights and _NUMBERED.fullmatch(node.name) else node.name


def _sizes(model: Any, onnx: Any) -> dict[str, list[int | None]]:
    """Return the shape of every value, as far as the file tells."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:
        graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {one.name: shape for one in values if (shape := _declared(one)) is not None}


def _integers(value: Any, onnx: Any) -> str:
    """Return the dtype of an input of whole numbers, and nothing for any other."""
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type or 1))
    return kind.name if kind.kind in "iu" else ""


def _declared(value: Any) -> list[int | None] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [one.dim_value if one.HasField("dim_value") and one.dim_value > 0 else None for one in kind.shape.dim]


def _fits(declared: Sequence[int | None], given: Sequence[int]) -> bool:
    if len(declared) != len(given):
        return False
    return all(size is None or size == one for size, one in zip(declared[1:], given[1:], strict=True))


def attribute(a: Mapping[str, Any], key: str, default: float) -> float:
    """Return a float32 attribute as it was written: 1e-5 is stored as 9.99999974737875e-06."""
    return float(f"{float(a.get(key, default)):.7g}")


def window_pads(a: Mapping[str, Any], sizes: Sequence[int], kernel: Sequence[int]) -> list[list[int]]:
    """Return what a windowed operator pads per spatial axis."""
    rank, how = len(kernel), str(a.get("auto_pad", "NOTSET"))
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    if how in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            low = total // 2 if how == "SAME_UPPER" else total - total // 2
            found.append([low, total - low])
        return found
    flat = list(a.get("pads") or [0] * (2 * rank))
    return [[flat[axis], flat[axis + rank]] for axis in range(rank)]


def bends(attributes: Mapping[str, Any]) -> str:
    """Return what a plain recurrence bends by: `relu` or `tanh`."""
    said = {str(one.decode() if isinstance(one, bytes) else one) for one in attributes.get("activations") or ()}
    return "relu" if said == {"Relu"} else "tanh"


def refuse_steps(attributes: Mapping[str, Any], steps: int) -> None:
    """Refuse a sequence that is longer or shorter than a loop ran.

    Raises:
        UsageError: it is.
    """
    ran = attributes.get(STEPS, steps)
    if ran != steps:
        raise UsageError(f"a loop of {ran} steps over a sequence of {steps} cannot be run here: name a builder")


def refuse_recurrent(kind: str, attributes: Mapping[str, Any], directions: int, reset_before: bool) -> None:
    """Refuse a recurrent node that no layer is; `reset_before` tells whether a GRU may reset before its product.

    A plain recurrence may bend by a ReLU.

    Raises:
        UsageError: it has other activations, a clip, or the like.
    """
    said = [str(one.decode() if isinstance(one, bytes) else one) for one in attributes.get("activations") or ()]
    odd = [key for key in ("clip", "activation_alpha", "activation_beta", "input_forget") if attributes.get(key)]
    if said and said != _USUAL[kind] * directions and not (kind == "RNN" and bends(attributes) == "relu"):
        odd.append(f"activations {', '.join(said)}")
    if kind == "GRU" and not attributes.get("linear_before_reset") and not reset_before:
        odd.append("the reset gate before the product, which no torch layer has")
    if odd:
        raise UsageError(f"an ONNX {kind} with {', '.join(odd)} cannot be run here: name a builder instead")
