"""Variances and deviations that are taken step by step, seen as the one reduction that they are.

TensorFlow takes a variance in four operations, torch in one. Seen as one it has its partner in torch even where torch
divides by one less, so that no value tells the two apart from anything else.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from parity.model.trace import MOVES, Op, Trace
from parity.pairing.whole import Whole

FUNCTIONS = frozenset({"var", "std"})
_AVERAGES = frozenset({"reduce", "global_avg_pool"})


def spreads_as_one(whole: Whole, other: Trace, channels_last: bool, apart: Container[str] = ()) -> Whole:
    """Return a trace with every variance or deviation in steps as one reduction, if either side has such.

    One with a step that has one of the names in `apart` stays as it is written.
    """
    reduced = [op for op in (*whole.trace.ops, *other.ops) if op.kind == "reduce"]
    wanted = {str(op.config.get("function")) for op in reduced} & FUNCTIONS
    if not wanted:
        return whole
    graph = _Graph(whole.trace, channels_last)
    found: list[tuple[Op, tuple[Op, ...]]] = []
    taken: set[int] = set()
    for op in reversed(whole.trace.ops):
        one = graph.deviation(op) if "std" in wanted else None
        one = one or (graph.variance(op) if "var" in wanted else None)
        if one is None or any(step.name in apart for step in one.steps):
            continue
        if one.last.index not in taken:
            taken.update(step.index for step in one.steps)
            found.append((one.as_one(), one.steps))
    return whole.together(found)


@dataclass(frozen=True)
class _Spread:
    function: str
    entry: int
    axes: tuple[int, ...]
    keepdims: bool
    steps: tuple[Op, ...]

    @property
    def last(self) -> Op:
        return self.steps[-1]

    def as_one(self) -> Op:
        config = {"function": self.function, "axes": list(self.axes), "keepdims": self.keepdims, "correction": 0}
        return Op(self.last.index, self.last.name, "reduce", (self.entry,), self.last.outputs, config)


class _Graph:
    def __init__(self, trace: Trace, channels_last: bool) -> None:
        self.trace, self.channels_last = trace, channels_last
        self.makers: Mapping[int, Op] = trace.producers()
        self.readers: Mapping[int, Sequence[Op]] = trace.consumers()

    def deviation(self, op: Op) -> _Spread | None:
        """Return the deviation whose last step is the given one."""
        rooted = op.kind == "activation" and op.config.get("function") == "sqrt"
        rooted |= op.kind == "power" and op.config.get("exponent") == 0.5
        before = self._maker(op.inputs[0]) if rooted and len(op.inputs) == 1 else None
        found = self.variance(before) if before is not None and self._lone(before, op) else None
        if found is None:
            return None
        return _Spread("std", found.entry, found.axes, found.keepdims, (*found.steps, op))

    def variance(self, op: Op) -> _Spread | None:
        """Return the variance whose last step is the given one."""
        averaged = self._average(op)
        square = self._maker(op.inputs[0]) if averaged is not None else None
        if square is None or averaged is None or not self._lone(square, op):
            return None
        steps = [square, op]
        if square.kind == "squared_difference" and len(square.inputs) == 2:
            centred = square.inputs
        else:
            difference = self._squared(square)
            if difference is None or len(difference.inputs) != 2 or not self._lone(difference, square):
                return None
            steps.insert(0, difference)
            centred = difference.inputs
        orders = [centred, centred[::-1]] if square.kind == "squared_difference" else [centred]
        for entry, mean in orders:
            of_mean = self._mean_of(entry, mean, averaged[0])
            if of_mean is not None:
                own = [*of_mean, *steps] if self._only_for(of_mean, steps) else steps
                return _Spread("var", entry, averaged[0], averaged[1], tuple(sorted(own, key=_index)))
        return None

    def _squared(self, op: Op) -> Op | None:
        """Return what made the one tensor that an operation squares."""
        squares = op.kind == "activation" and op.config.get("function") == "square"
        squares |= op.kind == "power" and op.config.get("exponent") == 2.0
        squares |= op.kind == "multiply" and len(set(op.inputs)) == 1 and not op.weights and "constant" not in op.config
        made = self._maker(op.inputs[0]) if squares else None
        return made if made is not None and made.kind == "subtract" and not made.weights else None

    def _average(self, op: Op) -> tuple[tuple[int, ...], bool] | None:
        """Return the axes of an average, and whether it keeps them."""
        rank = len(self.trace.shapes.get(op.inputs[0], ())) if len(op.inputs) == 1 else 0
        if op.kind not in _AVERAGES or not rank:
            return None
        keep = bool(op.config.get("keepdims", False))
        if op.kind == "global_avg_pool":
            return (tuple(range(1, rank - 1) if self.channels_last else range(2, rank))), keep
        axes = op.config.get("axes")
        mean = op.config.get("function") == "mean" and axes is not None
        return (tuple(sorted(int(axis) % rank for axis in axes)), keep) if mean and axes is not None else None

    def _mean_of(self, entry: int, mean: int, axes: tuple[int, ...]) -> list[Op] | None:
        """Return the steps from a tensor to its mean along axes; None if it is another one's."""
        found: list[Op] = []
        while (maker := self._maker(mean)) is not None and maker.effect == MOVES and len(maker.inputs) == 1:
            found.insert(0, maker)
            mean = maker.inputs[0]
        averaged = self._average(maker) if maker is not None else None
        if maker is None or averaged is None or averaged[0] != axes or maker.inputs[0] != entry:
            return None
        return [maker, *found]

    def _only_for(self, steps: Sequence[Op], readers: Sequence[Op]) -> bool:
        """Return whether nothing but the steps themselves reads what some make."""
        own = {op.index for op in (*steps, *readers)}
        made = {tensor for op in steps for tensor in op.outputs}
        return {op.index for tensor in made for op in self.readers.get(tensor, ())} <= own and not (
            made & set(self.trace.outputs)
        )

    def _lone(self, op: Op, reader: Op) -> bool:
        return self._only_for([op], [reader])

    def _maker(self, tensor: int) -> Op | None:
        return self.makers.get(tensor)


def _index(op: Op) -> int:
    return op.index
