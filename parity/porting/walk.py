"""Cut by cut through both models: what lies between two cuts is fed the same on every side, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from parity.errors import PairingError, ParityError
from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.compare import Quartet, judge
from parity.judge.verdict import NOT_COMPARED, SEMANTIC, Finding
from parity.model.trace import COMPUTES, MOVES, Op, Trace
from parity.pairing import biases
from parity.pairing.match import Matching, OpPair
from parity.pairing.relations import CHANNELS, SAME, Relation, choose
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family, is_fatal
from parity.porting.spelling import ARITHMETIC, PICKING, Queue, Waiting, merged

CLOSE, SINGLE_CLOSE = 1e-9, 1e-5  # in relation: between the figures of tensors that hold the same numbers
RECURRENT = frozenset({"lstm", "gru", "rnn"})
TRIMMED = frozenset({"conv_transpose", "conv", "depthwise_conv"})  # what ports cut to size afterwards
TRIMMING = frozenset({"slice", "cropping", "zero_pad"})
FAR = 12.0  # beyond all usual borders, and before 20, from where on torch's softplus is its argument by default
MANY = 2  # numbers that a table has at least: one alone, such as an eps, is none
# Activations that two people may mean by one word, each with its own borders.
BENDS = frozenset(
    {"relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign"}
    | {"sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "tanh", "log_sigmoid", "threshold", "linear", "clamp"}
)
SUMS = frozenset({"sum", "mean"})
# How far two float32 evaluations of one table of constants may be apart: sines of positions up to some hundred.
TABLE = 2.0**-17
DRAWS = 4  # of perturbed inputs, where no rule bounds an operation
SAFETY = 16.0


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
                a, b = forward.fitted(mine, theirs, index)
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
        self.paired = ({pair.tensorflow for pair in matching.pairs}, {pair.torch for pair in matching.pairs})

    def fitted(self, mine: Op, theirs: Op, index: int) -> tuple[int, int]:
        """Return the tensors to compare: two results as they are, or what is left of one, such as its last step.

        `index` numbers the results. What is picked out further on holds the same numbers (by its figures), or, behind
        a recurrent layer, what only moves numbers, or what trims the result of a transposed convolution, has a shape
        that fits.
        """
        a, b = mine.outputs[index], theirs.outputs[index]
        if self._fit(a, b):
            return self._same_numbers(a, b)
        if mine.kind in RECURRENT and self._is_state(a, b):
            return a, b
        starts = (mine.outputs if index == 0 else (a,), theirs.outputs if index == 0 else (b,))
        after = _any if mine.kind in RECURRENT else _trims if mine.kind in TRIMMED else _none
        return self._further(a, b, starts, after)

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
            cell = mine if mine.config.get("cell") else theirs
            first = self._further(*first, ((first[0],), (first[1],)), partial(_goes_on, cell))
        elif not single:
            first = self._same_numbers(*first)
        found = [first] if self._as_long(*first) else []
        for a, b in list(zip(ours, others, strict=False))[1:]:
            alike = _alike(self.prints[0].get(a), self.prints[1].get(b), self.close)
            if self._as_long(a, b) and (single or alike):
                found.append((a, b))
        return found

    def _further(self, a: int, b: int, starts: tuple[Sequence[int], Sequence[int]], after: After) -> tuple[int, int]:
        """Return two tensors of which one is what is left of a result further on; as they are if there is none."""
        for alike_only in (True, False):  # the same numbers on either side, before a mere shape on any
            later = self._later(1, starts[1], lambda at: self._fit(a, at), self.prints[0].get(a), after, alike_only)
            if later is not None:
                return self._settled(a, later)
            later = self._later(0, starts[0], lambda at: self._fit(at, b), self.prints[1].get(b), after, alike_only)
            if later is not None:
                return self._settled(later, b)
        return a, b

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

    def _in_plain_order(self, a: int, b: int, wanted: Sequence[float]) -> tuple[int, int]:
        """Return two tensors of the same numbers, rather moved on until both have the same axes, if one comes to that.

        One side may split the heads of its queries before the other does.
        """
        if self._plain(a, b):
            return a, b
        for side, start in ((1, b), (0, a)):
            fits = (lambda tensor: self._plain(a, tensor)) if side else (lambda tensor: self._plain(tensor, b))
            later = self._later(side, [start], fits, wanted, _none, alike_only=True)
            if later is not None:
                return (a, later) if side else (later, b)
        return a, b

    def _plain(self, a: int, b: int) -> bool:
        shapes = (self.traces[0].shapes.get(a, ()), self.traces[1].shapes.get(b, ()))
        return any(Relation(name).fits(*shapes) for name in (SAME, CHANNELS))

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


class Walk:
    """One pass over all cuts: propagated values are streamed, and dropped as soon as no cut needs them."""

    def __init__(self, models: Models, found: Sequence[Cut], orders: Orders, inputs: Mapping[str, list[Array]]) -> None:
        self.models, self.cuts, self.orders, self.inputs = models, list(found), orders, inputs
        self.partner: dict[int, int] = dict(zip(models[TORCH].inputs, models[TENSORFLOW].inputs, strict=False))
        for cut in found:  # an output may be a tensor that was paired before: the first partner is what feeds others
            self.partner.setdefault(cut.torch, cut.tensorflow)
        orders.pair(self.partner)
        self._values: dict[int, Array] = dict(zip(models[TENSORFLOW].inputs, inputs[TENSORFLOW], strict=True))
        self._users = self._count_users()
        self._asked: set[int] = set()
        self._ahead: dict[tuple[str, int], Array] = {}
        self._cuts_left = Counter([(TENSORFLOW, cut.tensorflow) for cut in found])
        self._cuts_left.update((TORCH, cut.torch) for cut in found)

    def _count_users(self) -> dict[int, int]:
        users: dict[int, int] = {}
        for cut in self.cuts:
            for tensor in self._needs(cut):
                users[tensor] = users.get(tensor, 0) + 1
        return users

    def _needs(self, cut: Cut) -> set[int]:
        theirs = {self.partner[tensor] for tensor in cut.feeds_torch if tensor in self.partner}
        return set(cut.feeds_tensorflow) | theirs

    def run(self) -> Iterator[Step]:
        """Yield what was found at every cut, in order."""
        wanted = {
            TENSORFLOW: [cut.tensorflow for cut in self.cuts],
            TWIN_TENSORFLOW: [cut.tensorflow for cut in self.cuts],
            TORCH: [cut.torch for cut in self.cuts],
        }
        self.models.workers.each(
            lambda side: self.models.begin(side, self.inputs[family(side)], wanted[side]), tuple(wanted)
        )
        queue = Queue(self.cuts, (self.models[TENSORFLOW], self.models[TORCH]))
        for number, cut in enumerate(self.cuts):
            try:
                queue.take(number, *self._step(cut, queue.groups(number)))
            except ParityError:  # what was found until then is told before the end
                yield from self._told(queue.leaving(everything=True))
                raise
            yield from self._told(queue.leaving(everything=number + 1 == len(self.cuts)))

    def _told(self, leaving: Iterable[Waiting]) -> Iterator[Step]:
        for held in leaving:
            self._drop(self.cuts[held.number])
            if not held.gone:
                yield held.step

    def _step(self, cut: Cut, doubtful: Sequence[Sequence[Waiting]]) -> tuple[Step, Sequence[Waiting]]:
        """Return what was found at a cut, and the steps in doubt that it was judged with because it agrees with them.

        `doubtful` are groups of steps, each to be tried.
        """
        ahead = self._propagated(cut)
        for group in doubtful:
            fed = {tensor: value for held in group for tensor, value in held.step.fed.items()}
            step = self._judged(merged(cut, [held.step.cut for held in group]), ahead, fed)
            if _agrees(step):
                said = " and ".join(f"`{held.step.cut.name}`" for held in group)
                return replace(
                    step, finding=_noted(step.finding, [f"judged with {said}, which is written otherwise"])
                ), group
        return self._judged(cut, ahead), ()

    def _judged(self, cut: Cut, ahead: Mapping[str, Array], given: Mapping[int, Array] | None = None) -> Step:
        """Return what was found at a cut; `given` are values that its segments were fed before."""
        own = {tensor: self._value(tensor) for tensor in cut.feeds_tensorflow if tensor not in (given or {})}
        if _bends_elsewhere(cut):
            own = {tensor: _stretched(value, _border(cut)) for tensor, value in own.items()}
        fed = {**own, **{tensor: value for tensor, value in (given or {}).items() if tensor in cut.feeds_tensorflow}}
        try:
            fed_torch = self._fed_torch(cut, fed)
        except PairingError as error:
            return self._refused(cut, fed, {}, str(error), ahead)
        answers, notes = self._forced(cut, fed, fed_torch)
        broken = next((answer for answer in answers.values() if isinstance(answer, ParityError)), None)
        if broken is not None:
            return self._refused(cut, fed, fed_torch, str(broken), ahead)
        values = {side: np.asarray(answers[side]["value"]) for side in SIDES}
        relation = self.orders.of(cut.tensorflow, cut.torch)
        bounds = self._bounds(cut, answers[TWIN_TORCH], values, fed_torch, notes)
        finding, bound64 = self._judge(cut, values, bounds, relation, notes)
        if finding.verdict == SEMANTIC and not self.orders.sure(cut.tensorflow, cut.torch):
            before, relation = relation, self._relation(cut, values, relation)
            finding, bound64 = self._judge(cut, values, bounds, relation, notes)
            if self.models.options.train and relation is not before and finding.verdict != SEMANTIC:
                answers, _ = self._forced(cut, fed, fed_torch)  # its gradient was sent in another order
        slack = 0.0
        if finding.verdict == SEMANTIC and finding.d64 is not None and finding.d64 <= TABLE and self._tables(cut):
            slack = TABLE
            notes.append(f"both hold a table of constants in float32, {finding.d64:.1g} of its largest apart")
            low, high = bounds
            scale = float(np.abs(values[TWIN_TORCH]).max(initial=0.0))
            self.models.tables_apart = max(self.models.tables_apart, finding.d64)
            # What reads its table in double errs in float32 by as much as the two tables are apart.
            wider = low + finding.d64 * scale, np.maximum(high, slack * scale)
            finding, bound64 = self._judge(cut, values, wider, relation, notes)
        return Step(
            cut, finding, self._d32(ahead, relation), fed, fed_torch, values[TWIN_TENSORFLOW], values[TWIN_TORCH],
            relation, bound64, tuple(notes), values, answers, slack,
        )  # fmt: skip

    def _tables(self, cut: Cut) -> bool:
        """Return whether all that happens is arithmetic with constants, and both sides have many of them in one."""
        for segment, framework in ((cut.segment_tensorflow, TENSORFLOW), (cut.segment_torch, TORCH)):
            fixed = {name for name, weight in self.models[framework].weights.items() if not weight.trainable}
            arithmetic = [op for op in segment if op.kind in ARITHMETIC]
            others = [op for op in segment if op not in arithmetic and op.effect == COMPUTES]
            if any(op.kind not in PICKING and op.config.get("function") not in SUMS for op in others):
                return False
            if any(not set(op.weights.values()) <= fixed for op in segment):
                return False
            if not any(_reads_table(op) for op in arithmetic):
                return False
        return True

    def _propagated(self, cut: Cut) -> dict[str, Array]:
        """Take the float32 sides' own values at this cut, and the twin's, which later segments are fed."""
        wanted = {TENSORFLOW: cut.tensorflow, TORCH: cut.torch}
        ahead = self.models.workers.each(lambda side: self._own(side, wanted[side]), (TENSORFLOW, TORCH))
        self._value(cut.tensorflow, wanted=False)
        return dict(ahead)

    def _own(self, side: str, tensor: int) -> Array:
        """Return a side's own value of a tensor; kept for as long as further cuts compare the same one."""
        key = (side, tensor)
        value = self._ahead.pop(key) if key in self._ahead else self.models.advance(side, tensor)
        self._cuts_left[key] -= 1
        if self._cuts_left[key]:
            self._ahead[key] = value
        return value

    def _value(self, tensor: int, wanted: bool = True) -> Array:
        if tensor not in self._values and tensor not in self._asked:
            self._asked.add(tensor)
            twin = self.models.advance(TWIN_TENSORFLOW, tensor)
            if self._users.get(tensor, 0):
                with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and the judge says so
                    self._values[tensor] = twin.astype(np.float32) if np.issubdtype(twin.dtype, np.floating) else twin
        return self._values[tensor] if wanted else np.empty(0)

    def _drop(self, cut: Cut) -> None:
        for tensor in self._needs(cut):
            self._users[tensor] -= 1
            if not self._users[tensor]:
                self._values.pop(tensor, None)

    def _fed_torch(self, cut: Cut, given: Mapping[int, Array]) -> dict[int, Array]:
        fed = {}
        for tensor in cut.feeds_torch:
            partner = self.partner.get(tensor)
            if partner is None:
                raise PairingError(f"torch reads an input that TensorFlow's model does not have (tensor {tensor})")
            value = given[partner] if partner in given else self._value(partner)
            relation = self.orders.of(partner, tensor)
            if relation is None:
                shape = self.models[TORCH].shapes.get(tensor)
                raise PairingError(
                    f"what torch is fed has shape {shape} there, and TensorFlow's {value.shape} does not fit"
                )
            fed[tensor] = relation.to_torch(value)
        return fed

    def _forced(
        self, cut: Cut, fed: Mapping[int, Array], fed_torch: Mapping[int, Array]
    ) -> tuple[dict[str, Any], list[str]]:
        def ask(side: str) -> Any:
            mine = family(side) == TENSORFLOW
            extra: dict[str, Any] = {"bounds": True} if side == TWIN_TORCH else {}
            if upstream is not None:
                extra |= {"upstream": upstream[family(side)], "state": True}
            try:
                return self.models.segment(
                    side, fed if mine else fed_torch, cut.tensorflow if mine else cut.torch, **extra
                )
            except ParityError as error:
                if is_fatal(error):
                    raise
                return error

        upstream = self._upstream(cut)
        answers, notes = self.models.workers.each(ask), list[str]()
        if upstream is not None and isinstance(answers[TWIN_TORCH], dict):
            answers[TWIN_TORCH]["upstream"] = upstream[TORCH]
        for twin, plain in ((TWIN_TENSORFLOW, TENSORFLOW), (TWIN_TORCH, TORCH)):
            if isinstance(answers[twin], ParityError) and not isinstance(answers[plain], ParityError):
                notes.append(f"{plain} has no float64 form of it, so that float32's bound decides")
                answers[twin] = {**answers[plain], "bounds_unknown": "no float64 form"}
        return answers, notes

    def _upstream(self, cut: Cut) -> dict[str, Array] | None:
        """Return the same random gradient for both sides, in training only."""
        relation = self.orders.of(cut.tensorflow, cut.torch)
        dtype = self.models[TENSORFLOW].dtypes.get(cut.tensorflow, "float32")
        if not self.models.options.train or relation is None or not dtype.startswith("float"):
            return None
        rng = np.random.default_rng(cut.tensorflow + 1)
        shape = self.models[TENSORFLOW].shapes[cut.tensorflow]
        mine = (rng.uniform(0.3, 1.5, shape) * rng.choice([-1.0, 1.0], shape)).astype(np.float32)
        return {TENSORFLOW: mine, TORCH: relation.to_torch(mine)}

    def _refused(
        self, cut: Cut, fed: Mapping[int, Array], fed_torch: Mapping[int, Array], why: str, ahead: Mapping[str, Array]
    ) -> Step:
        line = why.strip().splitlines()[0] if why.strip() else "no reason given"
        finding = Finding(cut.name, cut.kind, NOT_COMPARED, line, shape=tuple(ahead[TENSORFLOW].shape))
        relation = self.orders.of(cut.tensorflow, cut.torch)
        return Step(
            cut, finding, self._d32(ahead, relation), fed, fed_torch, ahead[TENSORFLOW], ahead[TORCH], relation, None
        )

    def _relation(self, cut: Cut, values: Mapping[str, Array], known: Relation | None) -> Relation | None:
        """Let the values say how the axes are ordered where the graphs leave it open."""
        chosen = choose(values[TWIN_TENSORFLOW], values[TWIN_TORCH], known)
        if chosen is not None:
            self.orders.learn(cut.tensorflow, cut.torch, chosen)
        return chosen

    def _bounds(
        self, cut: Cut, answer: Mapping[str, Any], values: Mapping[str, Array], fed: Mapping[int, Array],
        notes: list[str],
    ) -> tuple[Array, Array]:  # fmt: skip
        """Return float32's and float64's absolute bounds in torch's order."""
        if "bounds32" in answer:
            low, high = np.asarray(answer["bounds32"]), np.asarray(answer["bounds64"])
        else:
            notes.append(f"no rule bounds it ({answer.get('bounds_unknown')}): bounded by how perturbed inputs answer")
            low = self._perturbed(cut, values[TWIN_TORCH], fed)
            high = low * (UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"])
        if any(note.endswith("float32's bound decides") for note in notes) or any(
            map(self.models.single, cut.segment_tensorflow)
        ):
            if not notes:
                notes.append("tensorflow has float32 in it even in its twin, so that float32's bound decides")
            high = low
        return low, high

    def _perturbed(self, cut: Cut, value: Array, fed: Mapping[int, Array]) -> Array:
        """Return a measured bound where no rule exists: how far the result moves when its inputs do by one rounding."""
        rng = np.random.default_rng(0)
        moved = np.zeros(value.shape)
        unit = UNIT_ROUNDOFF["float32"]
        for _ in range(DRAWS):
            noisy = {
                tensor: x.astype(np.float64) * (1.0 + unit * rng.choice([-1.0, 1.0], x.shape))
                if np.issubdtype(x.dtype, np.floating) else x
                for tensor, x in fed.items()
            }  # fmt: skip
            answer = self.models.segment(TWIN_TORCH, noisy, cut.torch)
            moved = np.maximum(moved, np.abs(np.asarray(answer["value"]).astype(np.float64) - value))
        terms = max([int(np.prod(x.shape[1:])) for x in fed.values()] or [1])
        magnitude = np.abs(value.astype(np.float64))
        return np.asarray(
            SAFETY * (moved.max(initial=0.0) + moved)
            + unit * SAFETY * np.sqrt(terms) * (magnitude + magnitude.max(initial=0.0))
        )

    def _judge(
        self, cut: Cut, values: Mapping[str, Array], bounds: tuple[Array, Array], relation: Relation | None,
        notes: list[str],
    ) -> tuple[Finding, Array | None]:  # fmt: skip
        if relation is None:
            quartet = Quartet(*(values[side] for side in SIDES))
            return judge(cut.name, cut.kind, quartet, np.array(np.inf), np.array(np.inf)), None
        ordered = {
            side: values[side] if family(side) == TENSORFLOW else relation.to_tensorflow(values[side]) for side in SIDES
        }
        shape = values[TWIN_TORCH].shape
        low, high = (
            bound.reshape(()) if bound.size == 1 else relation.to_tensorflow(np.broadcast_to(bound, shape))
            for bound in bounds
        )
        finding = judge(cut.name, cut.kind, Quartet(*(ordered[side] for side in SIDES)), low, high)
        if notes:
            finding = _noted(finding, notes)
        return finding, high

    def _d32(self, ahead: Mapping[str, Array], relation: Relation | None) -> float | None:
        a = ahead[TENSORFLOW].astype(np.float64)
        if relation is None:
            return None
        b = relation.to_tensorflow(ahead[TORCH]).astype(np.float64)
        if a.shape != b.shape or not a.size or not np.isfinite(a).all() or not np.isfinite(b).all():
            return None
        return float(np.abs(a - b).max() / (np.abs(a).max() or 1.0))


def _agrees(step: Step) -> bool:
    """Return whether a step is the same on both sides, and its bound not so wide that it would hide a difference."""
    far = SINGLE_CLOSE if step.single or step.slack else CLOSE
    known = step.finding.d64 is not None and step.finding.d64 <= far
    return known and step.finding.verdict not in (SEMANTIC, NOT_COMPARED)


def _noted(finding: Finding, notes: Sequence[str]) -> Finding:
    said = "; ".join(notes)
    return replace(finding, note=f"{finding.note} ({said})".strip() if finding.note else said)


def extras(cut: Cut, matching: Matching) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """Return the operations of the two segments that have no partner and do more than move numbers."""
    paired = ({pair.tensorflow for pair in matching.pairs}, {pair.torch for pair in matching.pairs})

    def alone(ops: Sequence[Op], known: set[int]) -> tuple[Op, ...]:
        return tuple(op for op in ops if op.index not in known and op.effect != MOVES)

    return alone(cut.segment_tensorflow, paired[0]), alone(cut.segment_torch, paired[1])


def _reads_table(op: Op) -> bool:
    """Return whether an operation's other operand is a table of numbers; an eps is none."""
    told = [value for key in ("constant", "scale", "offset") if (value := op.config.get(key)) is not None]
    sizes = [len(value) if isinstance(value, (list, tuple)) else 1 for value in told]
    return len(op.inputs) == 1 and (not sizes or max(sizes) >= MANY)


def _bends_elsewhere(cut: Cut) -> bool:
    """Return whether two activations are not written alike, so that the values at hand may miss where they part."""
    mains = cut.main_tensorflow, cut.main_torch
    if not all(main is not None and main.kind == "activation" for main in mains):
        return False
    first, second = (dict(main.config) for main in mains if main is not None)
    return first != second and {str(one.get("function")) for one in (first, second)} <= BENDS


def _border(cut: Cut) -> float:
    """Return how far out both activations show all their bends."""
    mains = [main for main in (cut.main_tensorflow, cut.main_torch) if main is not None]
    told = [main.config.get(key) for main in mains for key in ("min", "max", "max_value")]
    return max([FAR, *(1.5 * abs(value) for value in told if isinstance(value, (int, float)))])


def _stretched(value: Array, far: float) -> Array:
    """Return an activation's input with some of its numbers far out on both sides, where training may bring them."""
    if value.dtype.kind != "f" or not value.size:
        return value
    flat = value.copy().reshape(-1)
    count = min(flat.size, 241)
    flat[:: max(flat.size // count, 1)][:count] = np.linspace(-far, far, count)
    return flat.reshape(value.shape)
