"""Steps that fail where two people only wrote one thing differently: judged again together with what reads them.

Behind a fault values no longer tell partners apart, and two operations may be paired that are none: one side's root
with the other's reciprocal root, though the quotient and the product that follow are the same again. Such a step waits
until all that reads its result was judged from what the step itself was fed.

What such a step's result goes through, and what is the same on both sides by itself, waits as well: a number that one
side takes away from all others before it sorts them is in their sums, and in what is picked of these, until it is
taken away from them again.

Where the models' outputs are the same all the same, any step may be such a one: `(W @ x.T).T + b` has its bias only
behind what was paired with a whole layer. What reads it must then be seen to tell the two results apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from parity.judge.verdict import NOT_COMPARED, SEMANTIC
from parity.model.trace import MOVES, Op, Trace, weight_names
from parity.porting.cuts import ARITHMETIC, PICKING, Cut, Step

# What people write in more than one way; a layer of one kind on both sides is that layer.
WRITTEN = ARITHMETIC | PICKING | {"reduce", "matmul", "flip", "where", "compare"}
SCORES = frozenset({"matmul", "einsum", "op:bmm", "op:baddbmm"})  # may be scaled before the product, or behind it
BUFFERED = 24  # steps that wait at most: each holds its values


@dataclass
class Waiting:
    """A step on its way out, and, while its pair is in doubt, what has to be known before it may go.

    `left` numbers the cuts that read its result and do not stand yet, `reads` the steps in doubt that it reads itself,
    `through` those that were judged together with it. One that `passes` is the same by itself and only reads others;
    one is `pressed` that is in doubt only because the models' outputs are the same.
    """

    number: int
    step: Step
    doubtful: bool = False
    passes: bool = False
    pressed: bool = False
    gone: bool = False
    left: set[int] = field(default_factory=set)
    reads: tuple[int, ...] = ()
    through: set[int] = field(default_factory=set)


class Queue:
    """The steps that were found and not told yet, in order."""

    def __init__(self, cuts: Sequence[Cut], traces: tuple[Trace, Trace], alike: Callable[[], bool]) -> None:
        """`alike` tells whether the outputs of the models are the same; it is asked only where a step differs."""
        self._readers = _readers(cuts)
        self._traces = traces
        self._alike = alike
        self._waiting: dict[int, Waiting] = {}

    def groups(self, number: int) -> list[list[Waiting]]:
        """Return which steps in doubt a cut may be judged with: those it reads, with those that these read, or some."""
        direct = self._direct(number)
        whole = {held.number: held for held in direct}
        open_ = list(direct)
        while open_:
            for earlier in open_.pop().reads:
                held = self._waiting.get(earlier)  # what stands may have left
                if held is not None and held.doubtful and earlier not in whole:
                    whole[earlier] = held
                    open_.append(held)
        together = [whole[place] for place in sorted(whole)]
        further = [together] if len(together) > len(direct) else []
        alone = [[one] for one in direct] if len(direct) > 1 else []  # the others may be faults
        found = (*further, direct) if any(one.passes for one in direct) else (direct, *further)
        return [group for group in (*found, *alone) if not all(one.passes for one in group)]

    def _direct(self, number: int) -> list[Waiting]:
        return [held for held in self._waiting.values() if held.doubtful and number in self._readers[held.number]]

    def take(self, number: int, step: Step, together: Sequence[Waiting]) -> None:
        """Take the step of a cut, and those it was judged `together` with, of which it made the same."""
        direct = self._direct(number)
        held = self._waiting[number] = Waiting(number, step, reads=tuple(one.number for one in direct))
        numbers = {one.number for one in together}
        for one in together:
            one.through |= numbers - {one.number}
        for one in together:
            self._settle(one, number)
        readers = self._readers[number]
        passes = bool(direct) and passes_on(step, self._traces)
        if not together and readers:
            held.passes = passes
            held.doubtful = passes or may_be_spelling(step, self._traces)
            held.pressed = not held.doubtful and step.finding.verdict == SEMANTIC and self._alike()
            held.doubtful = held.doubtful or held.pressed
        if held.doubtful:
            held.left = set(readers)
            return
        for one in direct:
            if one.number not in numbers:
                self._stand(one)

    def leaving(self, everything: bool = False) -> Iterator[Waiting]:
        """Yield, in order, what is in doubt no more."""
        while self._waiting:
            first = self._waiting[min(self._waiting)]
            if first.doubtful:
                if not everything and len(self._waiting) <= BUFFERED:
                    return
                self._stand(first)
            yield self._waiting.pop(first.number)

    def _settle(self, held: Waiting, reader: int) -> None:
        """Note that a reader makes the same of what a step was fed; the last one takes the step away."""
        held.left.discard(reader)
        if held.left or not held.doubtful:
            return
        held.doubtful, held.gone = False, not held.passes
        for number in held.reads:
            if (earlier := self._waiting.get(number)) is None or not earlier.doubtful:
                continue
            if number in held.through:
                self._settle(earlier, held.number)
            else:
                self._stand(earlier)

    def _stand(self, held: Waiting) -> None:
        """Let a step stand as it was found, and with it those whose results it read."""
        held.doubtful = False
        for number in held.reads:
            if (earlier := self._waiting.get(number)) is not None and earlier.doubtful:
                self._stand(earlier)


def merged(cut: Cut, before: Iterable[Cut]) -> Cut:
    """Return a cut that starts where earlier ones start, which it reads."""
    parts = [*before, cut]
    made = {one.tensorflow for one in parts}, {one.torch for one in parts}
    return replace(
        cut,
        segment_tensorflow=_joined(one.segment_tensorflow for one in parts),
        segment_torch=_joined(one.segment_torch for one in parts),
        feeds_tensorflow=tuple(sorted({x for one in parts for x in one.feeds_tensorflow} - made[0])),
        feeds_torch=tuple(sorted({x for one in parts for x in one.feeds_torch} - made[1])),
    )


def may_be_spelling(step: Step, traces: tuple[Trace, Trace]) -> bool:
    """Return whether a step differs so that its two operations may not be each other's partners after all."""
    cut = step.cut
    if cut.pair is None or step.finding.verdict not in (SEMANTIC, NOT_COMPARED):
        return False
    if cut.tensorflow in traces[0].outputs and cut.torch in traces[1].outputs:
        return False
    if step.relation is None or step.finding.verdict == NOT_COMPARED:
        return True
    mains = cut.main_tensorflow, cut.main_torch
    kinds = {main.kind for main in mains if main is not None}
    trained = [
        _trained(segment, trace)
        for segment, trace in zip((cut.segment_tensorflow, cut.segment_torch), traces, strict=True)
    ]
    scores = all(main is not None and main.kind in SCORES and not main.weights for main in mains)
    if _adds_to_parts(mains, traces) or _one_kernel_is_made(mains):
        return True
    if any(trained) and not scores and not (all(trained) and kinds <= ARITHMETIC):
        return False  # a product with a weight may be divided by their sum before the products are added, or behind
    if kinds == {"avg_pool"}:
        return any(_rescaled(trace, tensor) for trace, tensor in zip(traces, (cut.tensorflow, cut.torch), strict=True))
    if kinds == {"activation"}:
        return len({str(main.config.get("function")) for main in mains if main is not None}) > 1
    return len(kinds) > 1 or all(kind in WRITTEN or kind.startswith("op:") for kind in kinds)


def passes_on(step: Step, traces: tuple[Trace, Trace]) -> bool:
    """Return whether a step is the same on both sides, and what it is fed may differ by what its readers take away."""
    cut = step.cut
    if cut.pair is None or step.finding.verdict in (SEMANTIC, NOT_COMPARED):
        return False
    if cut.tensorflow in traces[0].outputs or cut.torch in traces[1].outputs:
        return False
    segments = zip((cut.segment_tensorflow, cut.segment_torch), traces, strict=True)
    kinds = {main.kind for main in (cut.main_tensorflow, cut.main_torch) if main is not None}
    written = all(kind in WRITTEN or kind.startswith("op:") for kind in kinds)
    return written and not any(_trained(segment, trace) for segment, trace in segments)


def _adds_to_parts(mains: tuple[Op | None, Op | None], traces: tuple[Trace, Trace]) -> bool:
    """Return whether one of two layers has a bias and the other none, but vectors are added to parts of its result.

    Queries and values have biases in BEiT, and keys have none.
    """
    if not all(main is not None and main.config.get("bias") is not None for main in mains):
        return False
    plain = [side for side, main in enumerate(mains) if main is not None and not main.config["bias"]]
    return len(plain) == 1 and _parts_get_vectors(traces[plain[0]], mains[plain[0]])


def _one_kernel_is_made(mains: tuple[Op | None, Op | None]) -> bool:
    """Return whether one of two convolutions reads a kernel that is computed for each input, and the other a weight.

    StyleGAN scales its kernel for each sample, or as well the image before it and behind it.
    """
    kinds = {main.kind for main in mains if main is not None}
    made = [main is not None and not main.weights and len(main.inputs) > 1 for main in mains]
    return kinds == {"conv"} and made.count(True) == 1


def _parts_get_vectors(trace: Trace, layer: Op | None) -> bool:
    readers = trace.consumers()
    open_ = [(tensor, False) for tensor in layer.outputs] if layer is not None else []
    while open_:
        tensor, part = open_.pop()
        for op in readers.get(tensor, ()):
            if part and op.kind == "add" and len(op.inputs) == 1 and op.weights:
                return True
            if op.effect == MOVES or op.kind in PICKING:
                open_ += [(made, part or op.kind in PICKING) for made in op.outputs]
    return False


def _rescaled(trace: Trace, tensor: int) -> bool:
    """Return whether a tensor is scaled next: an average by the numbers that there are of a window in the picture."""
    return any(tensor in op.inputs and op.kind in ("divide", "multiply") for op in trace.ops)


def _trained(segment: Sequence[Op], trace: Trace) -> bool:
    used = {name for op in segment for reference in op.weights.values() for name in weight_names(reference)}
    return any(trace.weights[name].trainable for name in used if name in trace.weights)


def _joined(segments: Iterable[tuple[Op, ...]]) -> tuple[Op, ...]:
    ops = {op.index: op for segment in segments for op in segment}
    return tuple(ops[index] for index in sorted(ops))


def _readers(cuts: Sequence[Cut]) -> Mapping[int, set[int]]:
    """Return which later cuts read the result of each."""
    return {
        number: {
            number + 1 + later
            for later, reader in enumerate(cuts[number + 1 :])
            if cut.tensorflow in reader.feeds_tensorflow or cut.torch in reader.feeds_torch
        }
        for number, cut in enumerate(cuts)
    }
