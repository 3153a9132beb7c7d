"""Layer normalisations that an exporter wrote out in single operations, with transpositions in between.

tf2onnx moves those of images through whatever stands around them, so that the steps of one normalisation have their
axes in different orders. What looks like one is put together only if it computes the same on numbers drawn for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from parity.adapters.onnx_graph import Graph, Node

Array = NDArray[Any]
_TURNS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"})
_CLOSE = 1e-4  # of the reference's float32


def joined_turned_norms(graph: Graph) -> None:
    """Put every such normalisation over one axis together."""
    look = _Look(graph)
    for node in [one for one in graph.nodes if one.kind == "Add"]:
        found = look.of(node)
        if found is None:
            continue
        x, gamma, beta, eps = found
        root = look.root(x)
        weights = [graph.arrays[name].reshape(-1) if name else None for name in (gamma, beta)]
        numbers = look.numbers(node, root, x, next((one.size for one in weights if one is not None), None))
        if numbers is None:
            continue
        given, made = numbers
        axis = next((a for a in range(given.ndim) if _is_norm(given, made, a, eps, weights)), None)
        if axis is None:
            continue
        for name, array in zip((gamma, beta), weights, strict=True):
            if array is not None:
                graph.arrays[name] = array
        node.kind, node.inputs = "LayerNormalization", [x, gamma, beta]
        node.attributes = {"axis": -1, "epsilon": eps, "over": axis}
    graph.sweep()


def _is_norm(x: Array, made: Array, axis: int, eps: float, weights: list[Array | None]) -> bool:
    if x.shape != made.shape or any(one is not None and one.size != x.shape[axis] for one in weights):
        return False
    wanted = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)
    shape = [-1 if place == axis else 1 for place in range(x.ndim)]
    gamma, beta = (None if one is None else one.reshape(shape) for one in weights)
    wanted = wanted if gamma is None else wanted * gamma
    wanted = wanted if beta is None else wanted + beta
    return bool(np.allclose(wanted, made, atol=_CLOSE, rtol=_CLOSE))


class _Look:
    """Who made what, whatever the order of its axes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers: dict[str, Node] = {name: node for node in graph.nodes for name in node.outputs}

    def root(self, name: str) -> str:
        """Return the value that another one is in another order of axes."""
        while (maker := self.makers.get(name)) is not None and maker.kind in _TURNS:
            name = maker.inputs[0]
        return name

    def of(self, node: Node) -> tuple[str, str, str, float] | None:
        """Return (x, gamma, beta, eps) of x * k + (beta - mean * k), where k is gamma / sqrt(variance + eps)."""
        for first, second in (node.inputs, node.inputs[::-1]):
            product, shift = self._made(first, "Mul"), self.makers.get(self.root(second))
            if product is None or shift is None:
                continue
            beta = ""
            if shift.kind == "Add":
                found = self._beside(shift)
                shift, beta = (self.makers.get(self.root(found[0])), found[1]) if found else (None, "")
            if shift is None or shift.kind != "Mul":
                continue
            for x, k in (product.inputs, product.inputs[::-1]):
                told = self._told(self.root(x), self.root(k), shift)
                if told is not None:
                    return x, told[0], beta, told[1]
        return None

    def _told(self, x: str, k: str, shift: Node) -> tuple[str, float] | None:
        """Return gamma and eps where k scales x by its deviation, and the shift is that of its mean."""
        maker, gamma = self.makers.get(k), ""
        if maker is not None and maker.kind == "Mul":
            found = self._beside(maker)
            maker, gamma = (self.makers.get(self.root(found[0])), found[1]) if found else (None, "")
        deviation = self._made(maker.inputs[0], "Sqrt") if maker is not None and maker.kind == "Reciprocal" else None
        added = self._made(deviation.inputs[0], "Add") if deviation is not None else None
        spread = self._beside(added) if added is not None else None
        variance = self._made(spread[0], "ReduceMean") if spread is not None else None
        square = self._made(variance.inputs[0], "Mul") if variance is not None else None
        centred = self._made(square.inputs[0], "Sub") if square is not None else None
        if spread is None or square is None or centred is None or square.inputs[0] != square.inputs[1]:
            return None
        mean = self._made(centred.inputs[1], "ReduceMean")
        others = [one for one in shift.inputs if self.root(one) != k]
        minus = self._made(others[0], "Neg") if len(others) == 1 else None
        if mean is None or minus is None or self.makers.get(self.root(minus.inputs[0])) is not mean:
            return None
        eps = self.graph.arrays[spread[1]]
        if not self.root(centred.inputs[0]) == self.root(mean.inputs[0]) == x or not eps.size or np.ptp(eps):
            return None
        return gamma, float(str(np.float32(eps.reshape(-1)[0])))

    def _made(self, name: str, kind: str) -> Node | None:
        maker = self.makers.get(self.root(name))
        return maker if maker is not None and maker.kind == kind else None

    def _beside(self, node: Node) -> tuple[str, str] | None:
        """Return the operand that was computed, and the one that is an array."""
        for first, second in (node.inputs, node.inputs[::-1]):
            if second in self.graph.arrays and first not in self.graph.arrays:
                return first, second
        return None

    def numbers(self, node: Node, root: str, x: str, size: int | None) -> tuple[Array, Array] | None:
        """Return numbers for x, and what the node makes of them.

        An axis of unknown size is taken to be that of the weights.
        """
        told = self.graph.sizes.get(root)
        if told is None or (size is None and None in told[1:]) or told[1:].count(None) > 1:
            return None
        shape = [told[0] or 2, *(one or size or 1 for one in told[1:])]
        drawn = np.random.default_rng(0).normal(0.3, 1.5, shape).astype(np.float32)
        known: dict[str, Array] = {root: drawn}
        try:
            done = all(self._run(one, known) for one in (x, node.outputs[0]))
        except Exception:  # shapes that do not fit: it is none
            return None
        return (known[x], known[node.outputs[0]]) if done else None

    def _run(self, name: str, known: dict[str, Array]) -> bool:
        open_ = [name]
        while open_:
            node = self.makers.get(open_[-1])
            if not open_[-1] or open_[-1] in known or open_[-1] in self.graph.arrays:
                open_.pop()
                continue
            if node is None or node.kind != str(node.proto.op_type) or len(open_) > 64:
                return False
            waiting = [one for one in node.inputs if one and one not in known and one not in self.graph.arrays]
            if waiting:
                open_ += waiting
                continue
            given = [known.get(one, self.graph.arrays.get(one)) if one else None for one in node.inputs]
            known[open_.pop()] = self.graph.folded(node, given)[0]
        return True
