"""What an exporter wrote out in single operations, such as layer normalisations, as the one node that it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parity.adapters.onnx_graph_numbers import numbers

if TYPE_CHECKING:
    from parity.adapters.onnx_graph import Graph, Node


def joined_layer_norms(graph: Graph) -> None:
    """Put every such normalisation together; nodes that nobody reads afterwards are taken out."""
    look = _Look(graph)
    for node in [one for one in graph.nodes if one.kind == "Add"]:
        found = look.written_out(node) or look.multiplied_out(node)
        if found is None:
            continue
        x, gamma, beta, eps, many = found
        for name in filter(None, (gamma, beta)):
            graph.arrays[name] = graph.arrays[name].reshape(graph.arrays[name].shape[-many:])
        node.kind, node.inputs = "LayerNormalization", [x, gamma, beta]
        node.attributes = {"axis": -many, "epsilon": eps}
    graph.sweep()


def joined_activations(graph: Graph) -> None:
    """Put together every x * sigmoid(x), and every GELU that was written with an error function or tanh."""
    look, readers = _Look(graph), graph.readers()
    for node in [one for one in graph.nodes if one.kind == "Mul"]:
        look.scaled_behind(node, readers)
        for first, second in (node.inputs, node.inputs[::-1]):
            maker = look.makers.get(second)
            if maker is not None and maker.kind == "Sigmoid" and maker.inputs[0] == first:
                node.kind, node.inputs, node.attributes = "Swish", [first], {}
        if node.kind == "Swish":
            continue
        found = {how: x for how in ("none", "tanh") if (x := look.of_gelu(node, how))}
        for how, x in found.items():
            node.kind, node.inputs, node.attributes = "Gelu", [x], {"approximate": how}
    graph.sweep()


def joined_slopes(graph: Graph) -> None:
    """Put together every relu(x) - slope * relu(-x), as Keras computes a PReLU."""
    look = _Look(graph)
    for node in [one for one in graph.nodes if one.kind == "Add"]:
        for first, second in (node.inputs, node.inputs[::-1]):
            kept, x = look.makers.get(first), look.of_negative(second)
            if x is None or kept is None or kept.kind != "Relu" or kept.inputs[0] != x[0]:
                continue
            slope = f"{node.name or node.outputs[0]}.slope"
            graph.arrays[slope] = np.negative(x[1])
            node.kind, node.inputs, node.attributes = "PRelu", [x[0], slope], {}
            break
    graph.sweep()


def joined_scales(graph: Graph) -> None:
    """Let the first of two factors be scaled alone where an exporter wrote a product of two scaled by one root.

    PyTorch's attention becomes (q * root) @ (k * root), where people scale the queries or the product: what is seen of
    the keys alone would have no partner.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    readers = graph.readers()
    for node in [one for one in graph.nodes if one.kind == "MatMul"]:
        sides = [makers.get(name) for name in node.inputs]
        if any(one is None or one.kind != "Mul" or len(readers[one.outputs[0]]) != 1 for one in sides):
            continue
        if node.inputs[0] == node.inputs[1]:
            continue
        queries, keys = (one for one in sides if one is not None)
        mine, theirs = (graph.arrays.get(one.inputs[1]) for one in (queries, keys))
        roots = [_root_of(makers, one.inputs[1], graph) for one in (queries, keys)]
        if mine is not None and theirs is not None and mine.size == 1 and np.array_equal(mine, theirs):
            whole = f"{queries.inputs[1]}_squared"
            graph.arrays[whole] = np.square(numbers(mine)).astype(mine.dtype)
        elif roots[0] and roots[0] == roots[1]:
            whole = roots[0]
        else:
            continue
        queries.inputs = [queries.inputs[0], whole]
        node.inputs = [queries.outputs[0], keys.inputs[0]]
    graph.sweep()


def _root_of(makers: Mapping[str, Node], name: str, graph: Graph) -> str:
    """Return what a number that follows from shapes alone is the root of."""
    maker = makers.get(name)
    return maker.inputs[0] if maker is not None and maker.kind == "Sqrt" and _computed(makers, name, graph) else ""


def _computed(makers: Mapping[str, Node], name: str, graph: Graph) -> bool:
    """Whether a value follows from shapes and constant numbers alone."""
    open_, seen = [name], set[str]()
    while open_:
        one = open_.pop()
        maker = makers.get(one)
        if not one or one in seen or one in graph.arrays or (maker is not None and maker.kind == "Shape"):
            continue
        if maker is None:
            return False
        seen.add(one)
        open_ += maker.inputs
    return True


def joined_biases(graph: Graph) -> None:
    """Put the bias that is added to a convolution into it; one of a single axis loses its second one in between."""
    readers, taken = graph.readers(), set()
    for node in [one for one in graph.nodes if one.kind == "Conv" and len(one.inputs) == 2]:
        weight = graph.arrays.get(node.inputs[1])
        last, place = node, 1
        following = readers.get(node.outputs[0], [])
        if weight is None or node.outputs[0] in graph.gives:
            continue
        rank = weight.ndim
        if len(following) == 1 and following[0].kind == "Squeeze":
            last = following[0]
            held = graph.arrays.get(last.inputs[1]) if len(last.inputs) > 1 else last.attributes.get("axes")
            axes = {int(one) % rank for one in np.asarray(held if held is not None else []).reshape(-1)}
            place, rank = 1 - sum(one < 1 for one in axes), rank - len(axes)
            following = readers.get(last.outputs[0], [])
            if not axes or 1 in axes or last.outputs[0] in graph.gives:
                continue
        added = following[0] if len(following) == 1 and following[0].kind == "Add" else None
        name = next((n for n in added.inputs if n in graph.arrays), "") if added is not None else ""
        if added is None or not name or len(readers[name]) != 1:
            continue
        bias = graph.arrays[name]
        full = (1,) * (rank - bias.ndim) + bias.shape
        if len(full) != rank or full[place] != weight.shape[0] or bias.size != weight.shape[0]:
            continue
        graph.arrays[name] = bias.reshape(-1)
        node.inputs.append(name)
        last.outputs[0] = added.outputs[0]
        taken.add(id(added))
    graph.nodes = [node for node in graph.nodes if id(node) not in taken]


class _Look:
    """Who made what, and the shapes of arithmetic that are looked for."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._last = 0, 0  # where the axes of the last variance end, and how many there are at all
        self.makers: dict[str, Node] = {name: node for node in graph.nodes for name in node.outputs}

    def written_out(self, node: Node) -> tuple[str, str, str, float, int] | None:
        """Return (x, gamma, beta, eps, axes) of (x - mean) / sqrt(variance + eps) * gamma + beta."""
        scaled, beta = self._apart(node, "Mul")
        if scaled is None:
            return None
        divided, gamma = self._apart(scaled, "Div")
        spread = None if divided is None else self._spread(divided.inputs[1])
        if divided is None or spread is None or divided.inputs[0] != spread[1]:
            return None
        return self._checked(spread, gamma, beta)

    def multiplied_out(self, node: Node) -> tuple[str, str, str, float, int] | None:
        """Return the same of x * k + (beta - mean * k), where k is gamma / sqrt(variance + eps).

        Exporters leave a beta of zeros out; a layer may have no gamma.
        """
        for first, second in (node.inputs, node.inputs[::-1]):
            product, shift = self.makers.get(first), self.makers.get(second)
            if product is None or shift is None or product.kind != "Mul":
                continue
            moved, beta = (shift, "") if shift.kind == "Mul" else (None, "")
            if shift.kind == "Add":
                moved, beta = self._apart(shift, "Mul")
            for x, k in (product.inputs, product.inputs[::-1]):
                inverse, gamma = self.makers.get(k), ""
                if inverse is not None and inverse.kind == "Mul":
                    inverse, gamma = self._apart(inverse, "Reciprocal")
                if moved is None or inverse is None or inverse.kind != "Reciprocal" or k not in moved.inputs:
                    continue
                spread = self._spread(inverse.inputs[0])
                other = next((one for one in moved.inputs if one != k), "")
                minus = self.makers.get(other)
                if spread is None or spread[0] != x or minus is None or minus.kind != "Neg":
                    continue
                if minus.inputs[0] == spread[2]:
                    return self._checked(spread, gamma, beta)
        return None

    def scaled_behind(self, node: Node, readers: Mapping[str, list[Node]]) -> None:
        """Let x * (sigmoid(x) * numbers), as TensorFlow's optimiser writes it, be scaled behind its activation."""
        for x, second in (node.inputs, node.inputs[::-1]):
            inner = self.makers.get(second)
            if inner is None or inner.kind != "Mul" or len(readers[second]) != 1 or second in self.graph.gives:
                continue
            gate, numbers = self._apart(inner, "Sigmoid")
            if gate is not None and gate.inputs[0] == x:
                inner.kind, inner.inputs, inner.attributes = "Swish", [x], {}
                node.inputs = [second, numbers]
                return

    def of_negative(self, name: str) -> tuple[str, NDArray[Any]] | None:
        """Return x and the factors of relu(-x) * factors, which may stand in another order of axes in between."""
        made = self.makers.get(name)
        order: list[int] = []
        if made is not None and made.kind == "Transpose":
            order, made = list(made.attributes["perm"]), self.makers.get(made.inputs[0])
        if made is None or made.kind != "Mul":
            return None
        negative, factors = self._apart(made, "Transpose" if order else "Relu")
        if negative is not None and order:
            back = [list(negative.attributes["perm"])[axis] for axis in order]
            negative = self.makers.get(negative.inputs[0]) if back == sorted(order) else None
        minus = self.makers.get(negative.inputs[0]) if negative is not None and negative.kind == "Relu" else None
        if minus is None or minus.kind != "Neg":
            return None
        array = self.graph.arrays[factors]
        if order and array.ndim:
            array = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)
        return minus.inputs[0], array[0] if array.ndim and array.shape[0] == 1 else array

    def of_gelu(self, node: Node, approximate: str) -> str:
        """Return x of a product that is x / 2 * (1 + erf(x / sqrt 2)), or the like, or the same with tanh."""
        bent = self._tangent if approximate == "tanh" else self._error
        halved = [self._times(name, 0.5) for name in node.inputs]
        for half, other in (halved[0], node.inputs[1]), (halved[1], node.inputs[0]):
            if half and half == bent(other):
                return half
        for first, second in (node.inputs, node.inputs[::-1]):
            inner = self.makers.get(first)
            if inner is None or inner.kind != "Mul" or not self._is(second, 0.5):
                continue
            for x, rest in (inner.inputs, inner.inputs[::-1]):
                if x and x == bent(rest):
                    return str(x)
        return ""

    def _tangent(self, name: str) -> str:
        """Return x of 1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))."""
        maker = self.makers.get(name)
        if maker is None or maker.kind != "Add" or not any(self._is(one, 1.0) for one in maker.inputs):
            return ""
        bent = next((m for one in maker.inputs if (m := self.makers.get(one)) is not None and m.kind == "Tanh"), None)
        added = self.makers.get(self._times(bent.inputs[0], (2 / np.pi) ** 0.5)) if bent is not None else None
        for x, rest in (added.inputs, added.inputs[::-1]) if added is not None and added.kind == "Add" else ():
            if x and x == self._third_power(self._times(rest, 0.044715)):
                return str(x)
        return ""

    def _third_power(self, name: str) -> str:
        maker = self.makers.get(name)
        if maker is not None and maker.kind == "Pow" and self._is(maker.inputs[1], 3.0):
            return str(maker.inputs[0])
        for x, rest in (maker.inputs, maker.inputs[::-1]) if maker is not None and maker.kind == "Mul" else ():
            square = self.makers.get(rest)
            if square is not None and square.kind == "Mul" and list(square.inputs) == [x, x]:
                return str(x)
        return ""

    def _error(self, name: str) -> str:
        """Return x of 1 + erf(x / sqrt 2), or of erfc(-x / sqrt 2)."""
        maker = self.makers.get(name)
        if maker is not None and maker.kind == "Erfc":
            scaled = self.makers.get(maker.inputs[0])
            for one in scaled.inputs if scaled is not None and scaled.kind == "Mul" else ():
                minus = self.makers.get(one)
                if minus is not None and minus.kind == "Neg" and self._times(maker.inputs[0], 0.5**0.5) == one:
                    return str(minus.inputs[0])
        if maker is not None and maker.kind == "Add":
            erf = next((m for one in maker.inputs if (m := self.makers.get(one)) is not None and m.kind == "Erf"), None)
            if erf is not None and any(self._is(one, 1.0) for one in maker.inputs):
                return str(self._times(erf.inputs[0], 0.5**0.5))
        return ""

    def _times(self, name: str, number: float) -> str:
        """Return what a value is this multiple of."""
        maker = self.makers.get(name)
        if maker is not None and maker.kind == "Mul":
            for one, other in (maker.inputs, maker.inputs[::-1]):
                if self._is(other, number):
                    return str(one)
        if maker is not None and maker.kind == "Div" and self._is(maker.inputs[1], 1 / number):
            return str(maker.inputs[0])
        return ""

    def _is(self, name: str, number: float) -> bool:
        held = self.graph.arrays.get(name)
        return held is not None and held.size == 1 and bool(np.float32(held.reshape(())) == np.float32(number))

    def _apart(self, node: Node, kind: str) -> tuple[Node | None, str]:
        """Return the operand that such an operation made, and the other one if it is a weight."""
        for first, second in (node.inputs, node.inputs[::-1]):
            maker = self.makers.get(first)
            if maker is not None and maker.kind == kind and second in self.graph.arrays:
                return maker, second
        return None, ""

    def _spread(self, root: str) -> tuple[str, str, str, float, int] | None:
        """Return (x, x - mean, mean, eps, axes) of a root of a variance and an epsilon."""
        maker = self.makers.get(root)
        added = self.makers.get(maker.inputs[0]) if maker is not None and maker.kind == "Sqrt" else None
        if added is None or added.kind != "Add":
            return None
        variance, eps = self._apart(added, "ReduceMean")
        if variance is None:
            variance, eps = self._apart(added, "GlobalAveragePool")
        if variance is None or self.graph.arrays[eps].size != 1:
            return None
        square = self.makers.get(variance.inputs[0])
        if square is None or not self._is_square(square):
            return None
        centred = self.makers.get(square.inputs[0])
        mean = self.makers.get(centred.inputs[1]) if centred is not None and centred.kind == "Sub" else None
        if centred is None or mean is None or mean.kind != variance.kind or mean.inputs[0] != centred.inputs[0]:
            return None
        if mean.kind == "GlobalAveragePool":  # as tf2onnx writes it for the last of three axes
            self._last = 3, self.graph.ranks.get(mean.outputs[0], 0)
            number = float(str(np.float32(self.graph.arrays[eps].reshape(()))))
            return centred.inputs[0], square.inputs[0], mean.outputs[0], number, 1
        axes = self._axes(variance)
        if not axes or axes != self._axes(mean) or axes != list(range(axes[0], axes[0] + len(axes))):
            return None
        number = float(str(np.float32(self.graph.arrays[eps].reshape(()))))
        self._last = axes[-1] + 1, self.graph.ranks.get(mean.outputs[0], 0)
        return centred.inputs[0], square.inputs[0], mean.outputs[0], number, len(axes)

    def _is_square(self, node: Node) -> bool:
        if node.kind == "Mul":
            return bool(node.inputs[0] == node.inputs[1])
        power = self.graph.arrays.get(node.inputs[1]) if node.kind == "Pow" else None
        return power is not None and power.size == 1 and float(power.reshape(())) == 2.0

    def _axes(self, node: Node) -> list[int]:
        if not node.attributes.get("keepdims", 1):
            return []
        held: Any = node.attributes.get("axes")
        if held is None and len(node.inputs) > 1:
            held = self.graph.arrays.get(node.inputs[1])
        axes = [int(one) for one in np.asarray(held).reshape(-1)] if held is not None else []
        return sorted(axes)

    def _checked(
        self, spread: tuple[str, str, str, float, int], gamma: str, beta: str
    ) -> tuple[str, str, str, float, int] | None:
        x, _, _, eps, many = spread
        shapes = [self.graph.arrays[name].shape for name in (gamma, beta) if name]
        end, rank = self._last
        # Keras gives its weights all the axes of what they are multiplied with.
        rank = rank or (len(shapes[0]) if shapes and len(shapes[0]) > many else 0)
        if end not in (0, rank) or (gamma and gamma == beta):
            return None
        flat = all(len(one) >= many and set(one[:-many]) <= {1} for one in shapes)
        return (x, gamma, beta, eps, many) if flat else None
