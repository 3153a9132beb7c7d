"""One bias for several products: added to their sum on one side, and inside one of the layers, or each, on the other.

`x @ W + h @ U + b` is what two linear layers make whose results are summed, whichever of them has the bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from parity.model.trace import Op, Trace
from parity.pairing.families import family
from parity.pairing.references import shapes_of


class Paired(Protocol):
    """A pair of operations by their indices."""

    @property
    def tensorflow(self) -> int: ...

    @property
    def torch(self) -> int: ...


@dataclass(frozen=True)
class Sum:
    """The layers (their indices) whose results are summed, each with its own bias, and the vectors added beside.

    `additions` are those that sum, the last first; `close` says whether a vector is added to a layer's result itself.
    """

    layers: Mapping[int, str | None]
    beside: tuple[str, ...]
    additions: tuple[int, ...]
    close: bool

    def biases(self) -> tuple[str, ...]:
        """Return all that is added to the products, in order."""
        return (*(bias for bias in self.layers.values() if bias is not None), *self.beside)


@dataclass(frozen=True)
class Shared:
    """A sum on both sides, whose biases are distributed otherwise: only their sums can be compared, or carried."""

    tensorflow: Sum
    torch: Sum

    def references(self) -> tuple[str, str]:
        """Return both sides' biases as references to sums of weights."""
        return "+".join(self.tensorflow.biases()), "+".join(self.torch.biases())


def shared(tensorflow: Trace, torch: Trace, pairs: Iterable[Paired]) -> list[Shared]:
    """Return the sums of the same layers on both sides to which one side adds a vector that the other has inside one.

    Layers that both keep their own biases stay what they are: one bias less is then a fault like any other.
    """
    partner = {pair.tensorflow: pair.torch for pair in pairs}
    there = {frozenset(one.layers): one for one in sums(torch)}
    found = []
    for mine in sums(tensorflow):
        theirs = there.get(frozenset(partner.get(index, -1) for index in mine.layers))
        if theirs is None or not (mine.beside or theirs.beside) or not (mine.biases() and theirs.biases()):
            continue
        if len(mine.layers) == 1 and (mine.close or theirs.close):
            continue  # a layer's bias that is written out
        alike = all((bias is None) == (theirs.layers[partner[i]] is None) for i, bias in mine.layers.items())
        if not alike or bool(mine.beside) != bool(theirs.beside):
            found.append(Shared(mine, theirs))
    return found


def sums(trace: Trace) -> list[Sum]:
    """Return the sums of layers' results that nothing else reads, with vectors or whatever else is added to them."""
    makers, readers, shapes = trace.producers(), trace.consumers(), shapes_of(trace)

    def inner(tensor: int) -> Op | None:
        """Return what made a tensor that only this sum reads."""
        alone = len(readers.get(tensor, ())) == 1 and tensor not in trace.outputs
        return makers.get(tensor) if alone else None

    found = []
    for op in trace.ops:
        above = readers.get(op.outputs[0], []) if op.kind == "add" and op.outputs else []
        if op.kind == "add" and not (len(above) == 1 and above[0].kind == "add" and inner(op.outputs[0]) is op):
            one = _taken_apart(op, inner, shapes)
            if one.layers:
                found.append(one)
    return found


class _Inner(Protocol):
    def __call__(self, tensor: int, /) -> Op | None: ...


def _taken_apart(top: Op, inner: _Inner, shapes: Mapping[str, Sequence[int]]) -> Sum:
    layers: dict[int, str | None] = {}
    beside, additions, open_, close = list[str](), list[int](), [top], False
    while open_:
        op = open_.pop(0)
        if op.kind == "rescale" and not op.config.get("offset"):  # what it scales has no bias to be counted with others
            made = [one for tensor in op.inputs if (one := inner(tensor)) is not None and "bias" not in one.weights]
            open_.extend(one for one in made if one.kind != "add")
        elif op.kind == "add":
            additions.append(op.index)
            held = op.weights.get("other", "") if len(op.inputs) == 1 else ""
            summed = [one for tensor in op.inputs if (one := inner(tensor)) is not None]
            if len([size for size in shapes.get(held, (0, 0)) if size != 1]) < 2:
                beside.append(held)
                close = close or any(one.kind != "add" for one in summed)
            open_.extend(summed)
        elif op.weights and op.inputs and family(op) == "linear":
            layers[op.index] = op.weights.get("bias")
    return Sum(dict(sorted(layers.items())), tuple(beside), tuple(additions), close)
