"""The pairs of tensors to compare, the segments that lead to each, and what was found there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from parity.judge.verdict import Finding
from parity.model.trace import MOVES, Op, Trace
from parity.pairing import batches, biases
from parity.pairing.match import Matching, OpPair
from parity.pairing.mixed import mixed
from parity.pairing.relations import CHANNELS, SAME, Relation
from parity.porting.options import Array

CLOSE, SINGLE_CLOSE = 1e-9, 1e-5  # in relation: between the figures of tensors that hold the same numbers
RECURRENT = frozenset({"lstm", "gru", "rnn", "conv_lstm"})
MERGED = frozenset({"sum", "ave", "mul"})  # the two directions of a layer, into as many numbers as each has
TRIMMED = frozenset({"conv_transpose", "conv", "depthwise_conv"})  # what ports cut to size afterwards
HEADED = frozenset({"dense", "matmul", "einsum"})  # whose units are at the end on both sides
TRIMMING = frozenset({"slice", "cropping", "zero_pad"})
POINTWISE = frozenset({"activation", "batch_norm"})  # what may as well stand before a result is cut to size
TURNING = frozenset({"flip", "reverse", "ReverseV2", "Reverse"})  # what puts a sequence into the reverse order
ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide", "rescale", "standardize"})
PICKING = frozenset({"slice", "split", "gather", "concat", "stack"})

After = Callable[[Op], bool]  # behind which operations a shape alone may decide


@dataclass(frozen=True)
class Cut:
    """One pair of tensors that should be the same, and the segments that lead to them from earlier cuts."""

    tensorflow: int
    torch: int
    pair: OpPair | None  # None for an output of the models that no pair of operations made
    name: str
    main_tensorflow: Op | None
    main_torch: Op | None
    segment_tensorflow: tuple[Op, ...]
    segment_torch: tuple[Op, ...]
    feeds_tensorflow: tuple[int, ...]
    feeds_torch: tuple[int, ...]

    @property
    def kind(self) -> str:
        """What the compared operation is."""
        main = self.main_tensorflow or self.main_torch
        return main.kind if main else "output"


@dataclass
class Step:
    """What was found at one cut, with everything that the search for a cause needs."""

    cut: Cut
    finding: Finding
    d32: float | None
    fed: Mapping[int, Array]  # by TensorFlow's tensors, TensorFlow's order, float32
    fed_torch: Mapping[int, Array]
    expected: Array  # the TensorFlow twin's result, its own order
    got: Array  # the torch twin's, its own order
    relation: Relation | None
    bounds64: Array | None
    notes: tuple[str, ...] = ()
    values: Mapping[str, Array] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # all that `run_segment` gave, by side
    slack: float = 0.0  # of the scale, that tables of constants are apart
    tables: bool = False  # whether both sides compute with numbers of their code, which float32 may have rounded on one
    whole: Step | None = None  # the same judged together with steps in doubt that it reads, if that differs as well
    parts: tuple[int, ...] = ()  # what those made, as TensorFlow's tensors

    @property
    def single(self) -> bool:
        """Whether a twin has float32 in it here."""
        return any("float32's bound decides" in note for note in self.notes)


Prints = Mapping[int, Sequence[float]]


def cuts(
    tensorflow: Trace,
    torch: Trace,
    matching: Matching,
    prints: tuple[Prints, Prints] = ({}, {}),
    single: Callable[[Op], bool] = lambda _: False,
) -> list[Cut]:
    """Return every pair of tensors to compare, in the order in which TensorFlow makes them; outputs last.

    `prints` are the figures of each side's tensors in float64; `single` tells which are no better than float32.
    """
    forward = Forward(tensorflow, torch, matching, prints, single)
    ops = ({op.index: op for op in tensorflow.ops}, {op.index: op for op in torch.ops})
    apart = {index for one in biases.shared(tensorflow, torch, matching.pairs) for index in one.tensorflow.layers}
    # What one side adds to a layer's result the other adds to a sum of it: they are compared with that sum.
    apart |= batches.joined(tensorflow, torch, matching.pairs) | batches.repeated(tensorflow, torch, matching.pairs)
    behind = {one.layers: one.results for one in mixed(tensorflow, torch, matching.pairs)}
    pairs = sorted((p for p in matching.pairs if p.tensorflow not in apart), key=lambda pair: pair.tensorflow)
    tensors: dict[int, int] = dict(zip(tensorflow.inputs, torch.inputs, strict=False))
    met = set(tensors.values())  # of torch's; a state after one step is the same tensor as its result, but on one side
    found: list[tuple[int, int, OpPair | None, str]] = []
    for pair in pairs:
        mine, theirs = ops[0][pair.tensorflow], ops[1][pair.torch]
        if _one_steps(mine, theirs):
            for a, b in forward.of_step(mine, theirs):
                if a not in tensors or b not in met:
                    found.append((a, b, pair, mine.name))
                    tensors.setdefault(a, b)
                    met.add(b)
            continue
        results = list(zip(mine.outputs, theirs.outputs, strict=False))
        read = [_read_later(tensorflow, a) or _read_later(torch, b) for a, b in results]
        for index, (a, b) in enumerate(results):
            if index and _numbers_places(tensorflow, a) and _numbers_places(torch, b):
                continue
            if a not in tensors and (read[index] or (index == 0 and not any(read))):
                a, b = behind.get((mine.index, theirs.index)) or forward.fitted(mine, theirs, index)
                if a in tensors:
                    continue
                tensors[a] = b
                met.add(b)
                found.append((a, b, pair, mine.name if index == 0 else f"{mine.name}[{index}]"))
    for a, b, name in zip(tensorflow.outputs, torch.outputs, tensorflow.output_names, strict=False):
        if tensors.get(a) != b:
            found.append((a, b, None, name))
    stops = (set(tensors), met)
    producers = (tensorflow.producers(), torch.producers())
    return [_cut(given, ops, producers, stops) for given in found]


class Forward:
    """Finds where the two results of a pair hold the same numbers, should one side still have to pick them out."""

    def __init__(
        self, tensorflow: Trace, torch: Trace, matching: Matching, prints: tuple[Prints, Prints],
        single: Callable[[Op], bool],
    ) -> None:  # fmt: skip
        self.traces, self.prints = (tensorflow, torch), prints
        self.close = SINGLE_CLOSE if any(map(single, tensorflow.ops)) else CLOSE
        self.consumers = (tensorflow.consumers(), torch.consumers())
        self._makers = {tensor: op.kind for op in torch.ops for tensor in op.outputs}
        self.paired = ({pair.tensorflow for pair in matching.pairs}, {pair.torch for pair in matching.pairs})

    def fitted(self, mine: Op, theirs: Op, index: int) -> tuple[int, int]:
        """Return the tensors to compare: two results as they are, or what is left of one, such as its last step.

        `index` numbers the results. What is picked out further on holds the same numbers (by its figures), or, behind
        a recurrent layer, what only moves numbers, or what trims the result of a transposed convolution, has a shape
        that fits.
        """
        a, b = mine.outputs[index], theirs.outputs[index]
        if self._fit(a, b):
            found = self._same_numbers(a, b)
            return self._behind_bias(mine, theirs) if found == (a, b) and index == 0 else found
        if mine.kind in RECURRENT and self._is_state(a, b):
            return a, b
        starts = (mine.outputs if index == 0 else (a,), theirs.outputs if index == 0 else (b,))
        behind = self._behind_bias(mine, theirs) if index == 0 else (a, b)
        if behind != (a, b):  # one side's steps lie side by side, as TimeDistributed has them
            (a, b), starts = behind, ((behind[0],), (behind[1],))
            if self._fit(a, b):
                return a, b
        after = _any if mine.kind in RECURRENT else _trims if mine.kind in TRIMMED else _none
        merged = next((side for side, op in enumerate((mine, theirs)) if op.config.get("merge") in MERGED), None)
        found = self._further(a, b, starts, after, None if merged is None else 1 - merged)
        return self._both_trimmed(a, b) if mine.kind in TRIMMED and found == (a, b) else found

    def _both_trimmed(self, a: int, b: int) -> tuple[int, int]:
        """Return what is left of two results where both are cut to size, maybe behind an activation."""
        for first in (lambda tensor, _: tensor, self._worked_on):
            both = self._trimmed(first(a, 0), 0), self._trimmed(first(b, 1), 1)
            if self._fit(*both):
                return both
        return a, b

    def _worked_on(self, tensor: int, side: int) -> int:
        readers = self.consumers[side].get(tensor, [])
        alone = len(readers) == 1 and readers[0].kind in POINTWISE and len(readers[0].inputs) == 1
        return self._worked_on(readers[0].outputs[0], side) if alone else tensor

    def _trimmed(self, tensor: int, side: int) -> int:
        """Return what is left of a result that both sides cut to size, each from a size of its own."""
        readers = self.consumers[side].get(tensor, [])
        cuts_off = len(readers) == 1 and readers[0].kind in TRIMMING and len(readers[0].inputs) == 1
        return self._trimmed(readers[0].outputs[0], side) if cuts_off else tensor

    def of_step(self, mine: Op, theirs: Op) -> list[tuple[int, int]]:
        """Return what to compare of a recurrent layer on one side and a cell, called in a loop, on the other.

        The cell's result is its first state, too; the layer has that twice, as its last step and as a state. After a
        single step both are as long as the cell's. Of several, what holds the same numbers is looked for further on;
        nothing is compared where there is none, as inside a loop over two cells.
        """
        ours, others = ((op.outputs[0], *op.outputs) if op.config.get("cell") else op.outputs for op in (mine, theirs))
        first = (ours[0], others[0])
        single = bool(mine.inputs and theirs.inputs) and self._as_long(mine.inputs[0], theirs.inputs[0])
        if not self._fit(*first):
            first = self._of_steps(mine, theirs, first)
        elif not single:
            first = self._same_numbers(*first)
            if not _alike(self.prints[0].get(first[0]), self.prints[1].get(first[1]), self.close):
                first = self._at_last(mine, 0), self._at_last(theirs, 1)  # behind a fault no numbers tell
        found = [first] if self._as_long(*first) else []
        for a, b in list(zip(ours, others, strict=False))[1:]:
            alike = _alike(self.prints[0].get(a), self.prints[1].get(b), self.close)
            if self._as_long(a, b) and (single or alike):
                found.append((a, b))
        return found

    def _of_steps(self, mine: Op, theirs: Op, first: tuple[int, int]) -> tuple[int, int]:
        """Return what to compare of a sequence and of a cell that makes the first step of it, or but the last one."""
        further = partial(_goes_on, mine if mine.config.get("cell") else theirs)
        first = self._turned_back(mine, first[0], 0), self._turned_back(theirs, first[1], 1)
        found = self._further(*first, ((first[0],), (first[1],)), further)
        if _alike(self.prints[0].get(found[0]), self.prints[1].get(found[1]), self.close):
            return found
        lasts = self._at_last(mine, 0), self._at_last(theirs, 1)  # behind a fault no numbers tell
        ends = self._turned_back(mine, lasts[0], 0), self._turned_back(theirs, lasts[1], 1)
        last = ends if self._fit(*ends) else self._further(*ends, ((ends[0],), (ends[1],)), further)
        return last if self._fit(*last) else found

    def _turned_back(self, op: Op, tensor: int, side: int) -> int:
        """Return the sequence of a layer that goes backwards in the order of time, if it is brought into that."""
        readers = self.consumers[side].get(tensor, [])
        turned = len(readers) == 1 and readers[0].kind.removeprefix("op:") in TURNING
        return readers[0].outputs[0] if op.config.get("go_backwards") and turned else tensor

    def _at_last(self, op: Op, side: int) -> int:
        """Return a layer's result, or that of the last step of the loop in which a cell is called."""
        readers = self.consumers[side]
        while op.config.get("cell"):
            again = [one for tensor in op.outputs for one in readers.get(tensor, ()) if one.index > op.index]
            step = next((one for one in again if one.kind == op.kind and dict(one.weights) == dict(op.weights)), None)
            if step is None:
                break
            op = step
        return op.outputs[0]

    def _further(
        self, a: int, b: int, starts: tuple[Sequence[int], Sequence[int]], after: After, apart: int | None = None
    ) -> tuple[int, int]:
        """Return two tensors of which one is what is left of a result further on; as they are if there is none.

        `apart` is the side, if one does, that merges two directions by operations of its own: what is only one of them
        has the shape of both as well.
        """

        def fits(side: int, at: int) -> bool:
            return self._fit(a, at) if side else self._fit(at, b)

        def joined(side: int, at: int) -> bool:
            shapes = self.traces[0].shapes.get(a if side else at, ()), self.traces[1].shapes.get(at if side else b, ())
            alike = fits(side, at) or sorted(shapes[0]) == sorted(shapes[1])  # time may come first
            return alike and self._all_lead_to(side, starts[side], at)

        for alike_only in (True, False):  # the same numbers on either side, before a mere shape on any
            of = [fits if alike_only or side != apart else joined for side in (0, 1)]
            later = self._later(1, starts[1], partial(of[1], 1), self.prints[0].get(a), after, alike_only)
            if later is not None:
                return self._settled(a, later)
            later = self._later(0, starts[0], partial(of[0], 0), self.prints[1].get(b), after, alike_only)
            if later is not None:
                return self._settled(later, b)
        return a, b

    def _all_lead_to(self, side: int, starts: Sequence[int], end: int) -> bool:
        """Return whether all that is read of some tensors goes into another one, and nothing of it past that."""
        open_, seen = [tensor for tensor in starts if tensor != end], set(starts)
        while open_:
            tensor = open_.pop()
            for reader in self.consumers[side].get(tensor, ()):
                if reader.index in self.paired[side]:
                    return False
                new = [made for made in reader.outputs if made not in seen and made != end]
                seen.update(new)
                open_ += new
        return not set(self.traces[side].outputs) & (seen - {end})

    def _settled(self, a: int, b: int) -> tuple[int, int]:
        """Return two tensors, moved on to the same axes if they hold the same numbers: a sum may still be reshaped."""
        mine = self.prints[0].get(a)
        alike = mine is not None and _alike(mine, self.prints[1].get(b), self.close)
        return self._in_plain_order(a, b, mine) if alike and mine is not None else (a, b)

    def _as_long(self, a: int, b: int) -> bool:
        return bool(np.prod(self.traces[0].shapes.get(a, ())) == np.prod(self.traces[1].shapes.get(b, ())))

    def _is_state(self, a: int, b: int) -> bool:
        """Return whether torch's tensor is TensorFlow's with the axis of its layers in front, of which there is one."""
        return self.traces[1].shapes.get(b, ()) == (1, *self.traces[0].shapes.get(a, ()))

    def _same_numbers(self, a: int, b: int) -> tuple[int, int]:
        """Return two tensors as they are, unless one side holds the other's numbers a few operations later."""
        mine, theirs = self.prints[0].get(a), self.prints[1].get(b)
        if mine is None or theirs is None:
            return a, b
        if _alike(mine, theirs, self.close):
            return self._in_plain_order(a, b, mine)
        for side, start, wanted in ((1, b, mine), (0, a, theirs)):
            later = self._later(side, [start], self._alike_to(side, wanted), wanted, _none)
            if later is not None:
                return (a, later) if side else (later, b)
        return a, b

    def _behind_bias(self, mine: Op, theirs: Op) -> tuple[int, int]:
        """Return two first results, the one behind an addition of a weight if that is the other's own bias.

        Where their numbers are the same they were found by these; behind a fault they are not.
        """
        a, b = mine.outputs[0], theirs.outputs[0]
        if _alike(self.prints[0].get(a), self.prints[1].get(b), self.close):
            return a, b
        for side, plain, whole in ((1, theirs, mine), (0, mine, theirs)):
            readers = self.consumers[side].get(plain.outputs[0], [])
            bias = self._size(1 - side, whole.weights.get("bias"))
            if bias is None or not plain.weights or "bias" in plain.weights or len(readers) != 1:
                continue
            adds, result = readers[0], readers[0].outputs[0]
            alone = adds.kind == "add" and len(adds.inputs) == 1 and adds.index not in self.paired[side]
            if alone and [self._size(side, one) for one in adds.weights.values()] == [bias]:
                return (a, result) if side else (result, b)
        return a, b

    def _size(self, side: int, reference: str | None) -> int | None:
        """Return how many numbers a whole weight has; None for a part of one, or several."""
        weight = self.traces[side].weights.get(reference) if reference is not None else None
        return int(np.prod(weight.shape)) if weight is not None else None

    def _in_plain_order(self, a: int, b: int, wanted: Sequence[float]) -> tuple[int, int]:
        """Return two tensors of the same numbers, rather moved on until both have the same axes, if one comes to that.

        One side may split the heads of its queries before the other does.
        """
        # Three heads of four numbers look like images of four channels where torch's code has four heads of three.
        names = (SAME, CHANNELS) if self._makers.get(b) not in HEADED else (SAME,)
        if self._plain(a, b, names):
            return a, b
        for side, start in ((1, b), (0, a)):
            fits = (
                (lambda tensor: self._plain(a, tensor, names))
                if side
                else (lambda tensor: self._plain(tensor, b, names))
            )
            later = self._later(side, [start], fits, wanted, _none, alike_only=True)
            if later is not None:
                return (a, later) if side else (later, b)
        return a, b

    def _plain(self, a: int, b: int, names: Sequence[str]) -> bool:
        shapes = (self.traces[0].shapes.get(a, ()), self.traces[1].shapes.get(b, ()))
        return any(Relation(name).fits(*shapes) for name in names)

    def _alike_to(self, side: int, wanted: Sequence[float]) -> Callable[[int], bool]:
        return lambda tensor: _alike(self.prints[side].get(tensor), wanted, self.close)

    def _fit(self, a: int, b: int) -> bool:
        """Return whether two shapes hold equally many numbers per sample."""
        shapes = (self.traces[0].shapes.get(a, ()), self.traces[1].shapes.get(b, ()))
        return bool(shapes[0]) and shapes[0][:1] == shapes[1][:1] and np.prod(shapes[0]) == np.prod(shapes[1])

    def _later(
        self,
        side: int,
        starts: Sequence[int],
        fits: Callable[[int], bool],
        wanted: Sequence[float] | None,
        after: After,
        alike_only: bool = False,
    ) -> int | None:
        """Return the first tensor that holds the wanted numbers, else the first that fits behind what only moves.

        `after` tells behind which further operations a shape alone may decide.
        """
        by_shape: int | None = None
        open_, moved = list(starts), dict.fromkeys(starts, True)
        while open_:
            tensor = open_.pop(0)
            if fits(tensor):
                if _alike(self.prints[side].get(tensor), wanted, self.close):
                    return tensor
                if by_shape is None and not alike_only and moved[tensor]:
                    by_shape = tensor
            for reader in self.consumers[side].get(tensor, ()):
                if reader.index not in self.paired[side]:
                    for made in reader.outputs:
                        if made not in moved:
                            moves = reader.effect == MOVES or after(reader)
                            moved[made] = moved[tensor] and moves
                            open_.append(made)
        return by_shape


def _any(_: Op) -> bool:
    return True


def _none(_: Op) -> bool:
    return False


def _trims(op: Op) -> bool:
    return op.kind in TRIMMING


def _goes_on(cell: Op, op: Op) -> bool:
    """Return whether an operation is another step of a cell, or collects steps or picks one."""
    return op.kind in PICKING or (op.kind == cell.kind and dict(op.weights) == dict(cell.weights))


def _one_steps(mine: Op, theirs: Op) -> bool:
    """Return whether one of two recurrent operations takes a single step and the other may take all of them."""
    both = mine.kind in RECURRENT and theirs.kind in RECURRENT
    return both and bool(mine.config.get("cell")) != bool(theirs.config.get("cell"))


def _alike(first: Sequence[float] | None, second: Sequence[float] | None, close: float) -> bool:
    return first is not None and second is not None and bool(np.allclose(first, second, rtol=close, atol=close / 1000))


def _numbers_places(trace: Trace, tensor: int) -> bool:
    """Return whether a further result counts places, as a pooling's: each framework counts in its own way.

    Whether the count is right shows where it is read, or returned.
    """
    return tensor not in trace.outputs and trace.dtypes.get(tensor, "").startswith(("int", "uint"))


def _read_later(trace: Trace, tensor: int) -> bool:
    return tensor in trace.outputs or any(tensor in op.inputs for op in trace.ops)


def _cut(
    given: tuple[int, int, OpPair | None, str],
    ops: tuple[Mapping[int, Op], Mapping[int, Op]],
    producers: tuple[Mapping[int, Op], Mapping[int, Op]],
    stops: tuple[set[int], set[int]],
) -> Cut:
    a, b, pair, name = given
    # An output that was compared already, against something before torch's output, is fed as it was to what follows.
    known = pair is None
    segment_a, feeds_a = ((), (a,)) if known and a in stops[0] else segment(a, producers[0], stops[0])
    segment_b, feeds_b = ((), (b,)) if known and b in stops[1] else segment(b, producers[1], stops[1])
    return Cut(
        tensorflow=a,
        torch=b,
        pair=pair,
        name=name,
        main_tensorflow=ops[0][pair.tensorflow] if pair else None,
        main_torch=ops[1][pair.torch] if pair else None,
        segment_tensorflow=segment_a,
        segment_torch=segment_b,
        feeds_tensorflow=feeds_a,
        feeds_torch=feeds_b,
    )


def segment(want: int, producers: Mapping[int, Op], stops: set[int]) -> tuple[tuple[Op, ...], tuple[int, ...]]:
    """Return the operations that make `want` out of `stops` (or model inputs), in order, and what they read."""
    ops: dict[int, Op] = {}
    feeds: dict[int, None] = {}
    open_ = [want]
    while open_:
        tensor = open_.pop()
        maker = producers.get(tensor)
        if maker is None or (tensor in stops and tensor != want):
            feeds[tensor] = None
        elif maker.index not in ops:
            ops[maker.index] = maker
            open_.extend(maker.inputs)
    return tuple(ops[index] for index in sorted(ops)), tuple(sorted(feeds))


def extras(cut: Cut, matching: Matching) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """Return the operations of the two segments that have no partner and do more than move numbers."""
    paired = ({pair.tensorflow for pair in matching.pairs}, {pair.torch for pair in matching.pairs})

    def alone(ops: Sequence[Op], known: set[int]) -> tuple[Op, ...]:
        return tuple(op for op in ops if op.index not in known and op.effect != MOVES)

    return alone(cut.segment_tensorflow, paired[0]), alone(cut.segment_torch, paired[1])
