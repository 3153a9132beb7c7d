"""A linear layer of joined inputs, and the sum of one linear layer for each of them: two ways to write one layer.

`Dense(8)(concat([x, y]))` is `a(x) + b(y)` with the rows of one kernel shared out: graph layers, additive attention and
gates are written either way. Where one side has the one and the other side the other, both are seen as one layer that
reads several tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from parity.model.trace import MOVES, Op, weight_names
from parity.pairing.families import family
from parity.pairing.references import joined, shapes_of
from parity.pairing.whole import Whole

_KERNELS = ("kernel", "weight")  # what the frameworks call the matrix of a linear layer


@dataclass(frozen=True)
class _Layer:
    """One such layer as it is written: its parts read one tensor each, and `steps` are all of it, the last one last."""

    units: int
    terms: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[Op, ...]
    denses: tuple[Op, ...]  # one for each term, or the one that reads all of them joined

    @property
    def key(self) -> Hashable:
        """What another way to write the same layer has in common with this one."""
        return self.units, tuple(sorted(self.sizes))


def linear_as_one(mine: Whole, theirs: Whole, apart: Container[str] = ()) -> tuple[Whole, Whole]:
    """Return both traces with one operation for each layer that the two sides write in these two ways.

    Operations with one of the names in `apart` stay on their own.
    """
    sides = mine, theirs
    written = [_Written(side, place == 0) for place, side in enumerate(sides)]
    found = [(side.joined(), side.added()) for side in written]
    groups: list[list[tuple[Op, tuple[Op, ...]]]] = [[], []]
    for place in (0, 1):
        alike = {layer.key for side in (0, 1) for layer in found[side][side ^ place ^ 1]}
        for one, several in _fitting(found[place][0], found[1 - place][1]):
            if one.key in alike:  # each side may have one of either: then they are written alike
                continue
            order = written[1 - place].in_order_of(several, written[place], one)
            if order is None or any(step.name in apart for step in (*one.steps, *several.steps)):
                continue
            groups[place].append(written[place].as_one(one, range(len(one.terms))))
            groups[1 - place].append(written[1 - place].as_one(several, order))
    first, second = (side.together(some) if some else side for side, some in zip(sides, groups, strict=True))
    return first, second


def _fitting(whole: Sequence[_Layer], parts: Sequence[_Layer]) -> Iterator[tuple[_Layer, _Layer]]:
    """Yield those of either way that fit one another, in the order in which they run."""
    for key in dict.fromkeys(layer.key for layer in whole):
        some, others = ([layer for layer in layers if layer.key == key] for layers in (whole, parts))
        if len(some) == len(others):
            yield from zip(some, others, strict=True)


class _Written:
    """What is known of one side, to find such layers in it."""

    def __init__(self, whole: Whole, tensorflow: bool) -> None:
        self.whole, self.trace, self.tensorflow = whole, whole.trace, tensorflow
        self.makers, self.readers = self.trace.producers(), self.trace.consumers()
        self.shapes = shapes_of(self.trace)
        self.uses = Counter(n for op in self.trace.ops for r in op.weights.values() for n in weight_names(r))

    def joined(self) -> list[_Layer]:
        """Return the linear layers that read tensors side by side along their last axis."""
        found = []
        for op in self.trace.ops:
            join = self.makers.get(op.inputs[0]) if op.inputs else None
            units = self._units(op)
            if units is None or join is None or join.kind != "concat" or not self._alone(join):
                continue
            sizes = [self.trace.shapes[tensor] for tensor in join.inputs]
            if join.config.get("axis") in (len(sizes[0]) - 1, -1):
                widths = tuple(size[-1] for size in sizes)
                found.append(_Layer(units, join.inputs, widths, (join, op), (op,)))
        return found

    def added(self) -> list[_Layer]:
        """Return the sums of which each term is a linear layer of its own, perhaps brought into shape behind it."""
        found = []
        for op in self.trace.ops:
            if op.kind != "add" or op.weights or len(set(op.inputs)) < 2:
                continue
            terms = [self._term(tensor) for tensor in op.inputs]
            held = [term for term in terms if term is not None]
            units = {self._units(term[0]) for term in held}
            if len(held) != len(terms) or len(units) != 1 or self.trace.shapes[op.outputs[0]][-1] not in units:
                continue
            denses = tuple(term[0] for term in held)
            steps = (*(step for term in held for step in term), *self.whole.parts.get(op.index, (op,)))
            sizes = tuple(self._width(dense) for dense in denses)
            found.append(
                _Layer(next(iter(units)) or 0, tuple(dense.inputs[0] for dense in denses), sizes, steps, denses)
            )
        return found

    def in_order_of(self, several: _Layer, other: _Written, one: _Layer) -> list[int] | None:
        """Return which term of a sum stands at each place of the other side's joined inputs; None where unclear."""
        signs: tuple[Callable[[_Written, _Layer], list[Hashable]], ...] = (
            lambda _, layer: list(layer.sizes),
            lambda side, layer: [side._before(tensor, inputs=True) for tensor in layer.terms],
            lambda side, layer: [side._before(tensor) for tensor in layer.terms],
        )
        for sign in signs:
            mine, theirs = sign(self, several), sign(other, one)
            if len(set(mine)) == len(mine) and set(mine) == set(theirs):
                return [mine.index(place) for place in theirs]
        return None

    def as_one(self, layer: _Layer, order: Sequence[int]) -> tuple[Op, tuple[Op, ...]]:
        """Return a layer as one operation, its terms in this order, and its steps."""
        last = layer.steps[-1]
        inputs = tuple(layer.terms[place] for place in order)
        if len(layer.denses) == 1:
            return replace(last, inputs=inputs), layer.steps
        first = layer.denses[0]
        denses = [layer.denses[place] for place in order]
        kernel = next(role for role in _KERNELS if role in first.weights)
        weights = {kernel: joined([dense.weights[kernel] for dense in denses], last=not self.tensorflow)}
        biases = [dense.weights["bias"] for dense in denses if "bias" in dense.weights]
        if biases:
            weights["bias"] = "+".join(biases)
        config = {**first.config, "bias": bool(biases)}
        one = replace(first, index=last.index, inputs=inputs, outputs=last.outputs, config=config, weights=weights)
        return one, layer.steps

    def _units(self, op: Op) -> int | None:
        """Return the width of what a linear layer with weights of its own puts out."""
        if op.kind != "dense" or len(op.inputs) != 1 or set(op.weights) - {"bias", *_KERNELS}:
            return None
        kernel = next((op.weights[role] for role in _KERNELS if role in op.weights), "")
        plain = all(self.uses[name] == 1 for reference in op.weights.values() for name in weight_names(reference))
        shape = self.shapes.get(kernel)
        if not plain or shape is None or len(shape) != 2:
            return None
        made = self.trace.shapes[op.outputs[0]][-1], self.trace.shapes[op.inputs[0]][-1]
        return made[0] if tuple(shape) == (made[::-1] if self.tensorflow else made) else None

    def _width(self, dense: Op) -> int:
        return self.trace.shapes[dense.inputs[0]][-1]

    def _term(self, tensor: int) -> tuple[Op, ...] | None:
        """Return the linear layer that makes a tensor, with what brings it into shape, if nothing else reads of it."""
        moves: list[Op] = []
        op = self.makers.get(tensor)
        while op is not None and op.effect == MOVES and len(op.inputs) == 1 and self._alone(op):
            moves.append(op)
            op = self.makers.get(op.inputs[0])
        if op is None or self._units(op) is None or not self._alone(op):
            return None
        return (op, *reversed(moves))

    def _alone(self, op: Op) -> bool:
        """Return whether one operation, and no output of the model, reads what an operation makes."""
        made = op.outputs[0]
        return len(op.outputs) == 1 and len(self.readers.get(made, ())) == 1 and made not in self.trace.outputs

    def _before(self, tensor: int, inputs: bool = False) -> Hashable:
        """Return which of the model's inputs a tensor depends on, and unless `inputs`, by which operations."""
        read, counts, seen, open_ = set(), Counter[tuple[str, str]](), set(), [tensor]
        while open_:
            one = open_.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in self.trace.inputs:
                read.add(self.trace.inputs.index(one))
            maker = self.makers.get(one)
            if maker is not None:
                open_ += maker.inputs
                if maker.effect != MOVES:
                    counts[family(maker), str(maker.config.get("function", ""))] += 1
        return frozenset(read), frozenset() if inputs else frozenset(counts.items())
