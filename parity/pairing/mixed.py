"""A layer before a product that mixes its rows, and the same layer behind that product: two ways to write one.

Graph layers are written in both orders: `A @ (h @ W) + b` is `Linear(A @ h)`. The layers are partners, but neither
their results nor the two products hold the same numbers: what the one product makes, with its bias, is what the other
layer does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from parity.model.trace import MOVES, Op, Trace
from parity.pairing.biases import Paired
from parity.pairing.families import family
from parity.pairing.references import Shape, shapes_of

_PRODUCTS = frozenset({"matmul", "einsum"})


@dataclass(frozen=True)
class Mixed:
    """Two layers (the indices of their operations) that are one, one before some products and one behind them.

    `outer` is the side whose layer stands before them, and `bias` what is added behind them there, if the other layer
    has it inside. `alone` are the operations of either side that have no partner; `results` the tensors, TensorFlow's
    and torch's, that hold the same numbers.
    """

    layers: tuple[int, int]
    outer: int
    alone: tuple[tuple[int, ...], tuple[int, ...]]
    bias: str | None
    results: tuple[int, int]


def mixed(tensorflow: Trace, torch: Trace, pairs: Iterable[Paired]) -> list[Mixed]:
    """Return the paired layers of which one stands before products that the other one stands behind."""
    sides = _Side(tensorflow), _Side(torch)
    found = []
    for pair in pairs:
        for outer in (0, 1):
            layers = pair.tensorflow, pair.torch
            one = _apart(sides[outer], layers[outer], sides[1 - outer], layers[1 - outer])
            if one is not None:
                (mine, theirs), bias, (result, other) = one
                alone, results = ((theirs, mine), (other, result)) if outer else ((mine, theirs), (result, other))
                found.append(Mixed(layers, outer, alone, bias, results))
    return found


def layers_last(tensorflow: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Return both traces with layers behind the products that mix their rows, where one side alone has them before.

    What leads to a layer and what it leads to is then the same on both sides; what the operations make is not.
    """
    sides = _Side(tensorflow), _Side(torch)
    first, last = zip(*(side.sizes() for side in sides), strict=True)
    wanted = set[int]()
    for outer, inner in ((0, 1), (1, 0)):
        more = first[outer] - first[inner]
        wanted |= {size for size, count in more.items() if (last[inner] - last[outer])[size] == count}
    return (sides[0].layers_last(wanted), sides[1].layers_last(wanted)) if wanted else (tensorflow, torch)


_Ops = tuple[int, ...]


def _apart(
    outer: _Side, index: int, inner: _Side, other: int
) -> tuple[tuple[_Ops, _Ops], str | None, tuple[int, int]] | None:
    """Return the operations without a partner of two sides, the bias behind them, and both results."""
    layer, whole = outer.ops[index], inner.ops[other]
    if not outer.is_layer(layer) or not inner.is_layer(whole) or "bias" in layer.weights:
        return None
    behind, before = outer.behind(layer), inner.before(whole)
    moved = len(behind) - len(inner.behind(whole))
    if not 0 < moved <= len(before) or moved != len(before) - len(outer.before(layer)):
        return None
    addition, last = outer.addition(behind[-1], inner.units(whole)), behind[-1]
    products = tuple(op.index for op in behind), tuple(op.index for op in before[:moved])
    if addition is None or "bias" not in whole.weights:
        return products, None, (last.outputs[0], whole.outputs[0])
    alone = (*products[0], addition.index), products[1]
    return alone, addition.weights["other"], (addition.outputs[0], whole.outputs[0])


class _Side:
    """One side's trace, and who makes and reads what in it."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.ops = {op.index: op for op in trace.ops}
        self.makers, self.readers = trace.producers(), trace.consumers()
        self.shapes: Mapping[str, Shape] = shapes_of(trace)

    def is_layer(self, op: Op) -> bool:
        """Return whether an operation is a linear layer of what it reads."""
        return bool(op.weights) and len(op.inputs) == len(op.outputs) == 1 and family(op) == "linear"

    def units(self, layer: Op) -> Sequence[int]:
        """Return the size of the axis of a layer's units, the last one."""
        return self._last(layer.outputs[0])

    def behind(self, layer: Op) -> list[Op]:
        """Return the products that alone read a layer's result, one after the other; none behind a bias."""
        tensor, products = layer.outputs[0], list[Op]()
        while "bias" not in layer.weights and (reader := self._only_reader(tensor)) is not None:
            if self._last(reader.outputs[0]) != self.units(layer):
                break
            if self._mixes(reader, tensor):
                products.append(reader)
            elif not _shapes(reader):
                break
            tensor = reader.outputs[0]
        return products

    def before(self, layer: Op) -> list[Op]:
        """Return the products that made what a layer reads, the last one first."""
        tensor, products = layer.inputs[0], list[Op]()
        while (maker := self.makers.get(tensor)) is not None and maker.inputs:
            if self._last(maker.inputs[-1]) != self._last(tensor):
                break
            if self._mixes(maker, maker.inputs[-1]):
                products.append(maker)
            elif not _shapes(maker):
                break
            tensor = maker.inputs[-1]
        return products

    def addition(self, product: Op, units: Sequence[int]) -> Op | None:
        """Return what adds a vector of a number for each unit to the result of a product."""
        reader = self._only_reader(product.outputs[0])
        while reader is not None and _shapes(reader) and self._last(reader.outputs[0]) == units:
            reader = self._only_reader(reader.outputs[0])
        held = reader.weights.get("other", "") if reader is not None and reader.kind == "add" else ""
        long = [size for size in self.shapes.get(held, ()) if size > 1]
        one = reader is not None and len(reader.inputs) == 1 and held in self.shapes
        return reader if one and long == [size for size in units if size > 1] else None

    def sizes(self) -> tuple[Counter[int], Counter[int]]:
        """Return how many layers of each size there are before a product, and how many behind one."""
        layers = [op for op in self.trace.ops if self.is_layer(op)]
        return (
            Counter(self._numbers(op) for op in layers if self.behind(op)),
            Counter(self._numbers(op) for op in layers if self.before(op)),
        )

    def layers_last(self, sizes: Container[int]) -> Trace:
        """Return the trace with the layers of some sizes behind the products that read their results."""
        ops = {op.index: op for op in self.trace.ops}
        places = {op.index: (op.index, 0) for op in self.trace.ops}
        for layer in self.trace.ops:
            behind = self.behind(layer) if self.is_layer(layer) and self._numbers(layer) in sizes else []
            if not behind:
                continue
            made, reader, last = layer.outputs[0], self.readers[layer.outputs[0]][0].index, ops[behind[-1].index]
            fed = tuple(layer.inputs[0] if tensor == made else tensor for tensor in ops[reader].inputs)
            ops[reader] = replace(ops[reader], inputs=fed)
            ops[last.index] = replace(ops[last.index], outputs=layer.outputs)
            ops[layer.index] = replace(layer, inputs=layer.outputs, outputs=last.outputs)
            places[layer.index] = (last.index, 1)
        return replace(self.trace, ops=tuple(ops[index] for index in sorted(ops, key=places.__getitem__)))

    def _numbers(self, layer: Op) -> int:
        """Return how many numbers a layer's matrix holds."""
        return max((prod(self.shapes.get(reference, ())) for reference in layer.weights.values()), default=0)

    def _only_reader(self, tensor: int) -> Op | None:
        readers = self.readers.get(tensor, ()) if tensor not in self.trace.outputs else ()
        return readers[0] if len(readers) == 1 and len(readers[0].outputs) == 1 else None

    def _mixes(self, op: Op, tensor: int) -> bool:
        """Return whether an operation multiplies a tensor, along any axis but its last, by what it reads before it."""
        if op.kind not in _PRODUCTS or op.weights or len(op.inputs) != 2 or op.inputs[0] == op.inputs[1]:
            return False
        if op.inputs[1] != tensor or op.kind == "matmul":
            return op.inputs[1] == tensor and not op.config.get("transpose_b")
        operands, _, result = str(op.config.get("equation", "")).replace(" ", "").partition("->")
        first, _, second = operands.partition(",")
        return bool(second and result) and second[-1] == result[-1] and second[-1] not in first

    def _last(self, tensor: int) -> Sequence[int]:
        return self.trace.shapes.get(tensor, ())[-1:]


def _shapes(op: Op) -> bool:
    """Return whether an operation moves numbers, and none from the last axis if that is as long as before."""
    return op.effect == MOVES and op.kind != "permute" and len(op.inputs) == 1
