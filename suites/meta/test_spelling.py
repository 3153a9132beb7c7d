"""Steps in doubt: which go with what reads them, which stand, and that none is lost or told out of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.errors import WorkerCrash
from parity.judge.verdict import ROUNDING, SEMANTIC, Finding
from parity.model.trace import Op, Trace, Weight
from parity.pairing.match import OpPair
from parity.pairing.relations import SAME, Relation
from parity.porting.cuts import Cut, Step
from parity.porting.spelling import BUFFERED, Queue, may_be_spelling, merged
from parity.porting.walk import Walk


def _cut(number: int, reads: Sequence[int], kind: str = "multiply") -> Cut:
    """Return the cut that makes tensor `number` of tensors that earlier cuts made."""
    op = Op(number, f"op{number}", kind, tuple(reads), (number,))
    return Cut(
        number, number, OpPair(number, number, "order"), op.name, op, op, (op,), (op,), tuple(reads), tuple(reads)
    )


def _trace(cuts: Sequence[Cut], outputs: Sequence[int]) -> Trace:
    ops = tuple(cut.main_tensorflow for cut in cuts if cut.main_tensorflow is not None)
    return Trace((0,), tuple(outputs), tuple(map(str, outputs)), ops, {}, {}, {})


def _step(cut: Cut, differs: bool) -> Step:
    finding = Finding(cut.name, cut.kind, SEMANTIC if differs else ROUNDING, "", d64=1.0 if differs else 0.0)
    nothing = np.zeros(1)
    return Step(cut, finding, None, {}, {}, nothing, nothing, Relation(SAME), None)


def _told(
    cuts: Sequence[Cut], differ: set[int], agree: dict[int, set[int]], outputs: Sequence[int] = (), alike: bool = False
) -> tuple[list[int], set[int]]:
    """Return which cuts are told, in order, and which of them differ.

    `differ` are those that differ when judged alone; `agree` says for a cut with which others it is the same, and
    `alike` whether the outputs of the models are.
    """
    queue = Queue(cuts, (_trace(cuts, outputs), _trace(cuts, outputs)), lambda: alike)
    told, wrong = [], set()
    for place, cut in enumerate(cuts):
        groups = queue.groups(place)
        chosen = next((g for g in groups if {h.step.cut.tensorflow for h in g} == agree.get(cut.tensorflow)), [])
        queue.take(place, _step(cut, cut.tensorflow in differ and not chosen), chosen)
        for held in queue.leaving(everything=place + 1 == len(cuts)):
            if not held.gone:
                told.append(held.step.cut.tensorflow)
                wrong |= {held.step.cut.tensorflow} if held.step.finding.verdict == SEMANTIC else set()
    return told, wrong


CHAIN = [_cut(1, [0]), _cut(2, [1]), _cut(3, [2]), _cut(4, [3])]
FORK = [_cut(1, [0]), _cut(2, [1]), _cut(3, [1]), _cut(4, [2, 3])]


def test_a_step_that_its_reader_makes_the_same_of_is_not_told() -> None:
    assert _told(CHAIN, {1}, {2: {1}}) == ([2, 3, 4], set())


def test_a_step_stands_when_its_reader_does_not_agree_with_it() -> None:
    assert _told(CHAIN, {1}, {}) == ([1, 2, 3, 4], {1})


def test_two_in_a_row_go_together_or_not_at_all() -> None:
    assert _told(CHAIN, {1, 2}, {3: {1, 2}}) == ([3, 4], set())
    assert _told(CHAIN, {1, 2}, {}) == ([1, 2, 3, 4], {1, 2})


def test_the_second_of_two_goes_alone_and_the_first_stands() -> None:
    assert _told(CHAIN, {1, 2}, {3: {2}}) == ([1, 3, 4], {1})


@pytest.mark.parametrize("agreeing", [2, 3])
def test_every_reader_has_to_agree(agreeing: int) -> None:
    assert _told(FORK, {1}, {2: {1}, 3: {1}}) == ([2, 3, 4], set())
    assert _told(FORK, {1}, {agreeing: {1}}) == ([1, 2, 3, 4], {1})


def test_what_is_the_same_by_itself_passes_the_doubt_on() -> None:
    assert _told(CHAIN, {1}, {3: {1, 2}}) == ([2, 3, 4], set())
    assert _told(CHAIN, {1}, {4: {1, 2, 3}}) == ([2, 3, 4], set())
    assert _told(FORK, {1}, {4: {1, 2, 3}}) == ([2, 3, 4], set())
    assert _told(FORK, {1}, {4: {2, 3}}) == ([1, 2, 3, 4], {1})


def test_a_layer_passes_no_doubt_on() -> None:
    cuts = [CHAIN[0], _cut(2, [1], "dense"), *CHAIN[2:]]
    assert _told(cuts, {1}, {3: {1, 2}}) == ([1, 2, 3, 4], {1})


def test_an_output_is_never_in_doubt() -> None:
    assert _told(CHAIN, {1}, {2: {1}}, outputs=[1]) == ([1, 2, 3, 4], {1})


def test_a_layer_of_one_kind_is_never_in_doubt() -> None:
    cuts = [_cut(1, [0], "pool"), *CHAIN[1:]]
    assert _told(cuts, {1}, {2: {1}}) == ([1, 2, 3, 4], {1})


def test_where_the_outputs_are_the_same_any_step_is_in_doubt() -> None:
    cuts = [_cut(1, [0], "pool"), *CHAIN[1:]]
    assert _told(cuts, {1}, {2: {1}}, alike=True) == ([2, 3, 4], set())
    assert _told(cuts, {1}, {}, alike=True) == ([1, 2, 3, 4], {1})


@pytest.mark.parametrize(
    ("kind", "sides", "doubtful"), [("multiply", 2, True), ("multiply", 1, False), ("dense", 2, False)]
)
def test_a_product_with_a_weight_is_in_doubt_if_both_sides_have_one(kind: str, sides: int, doubtful: bool) -> None:
    cut = _cut(1, [0], kind)
    held = replace(cut.segment_tensorflow[0], weights={"other": "share"})
    segments = [(held,) if side < sides else cut.segment_torch for side in range(2)]
    cut = replace(cut, segment_tensorflow=segments[0], segment_torch=segments[1])
    trace = replace(_trace([cut], []), weights={"share": Weight("share", (2,))})
    assert may_be_spelling(_step(cut, True), (trace, trace)) == doubtful


def test_few_steps_wait_and_all_are_told_in_order() -> None:
    far = BUFFERED + 3
    cuts = [_cut(1, [0]), *(_cut(n, [0]) for n in range(2, far)), _cut(far, [1])]
    told, wrong = _told(cuts, {1}, {far: {1}})
    assert (told, wrong) == (list(range(1, far + 1)), {1})


def test_a_long_chain_of_differences_is_told_whole() -> None:
    cuts = [_cut(n, [n - 1]) for n in range(1, 2 * BUFFERED)]
    assert _told(cuts, set(range(1, 2 * BUFFERED)), {}) == ([*range(1, 2 * BUFFERED)], set(range(1, 2 * BUFFERED)))


def test_a_merged_cut_starts_where_the_earlier_one_starts() -> None:
    both = merged(CHAIN[1], [CHAIN[0]])
    assert [op.index for op in both.segment_tensorflow] == [1, 2]
    assert (both.feeds_tensorflow, both.feeds_torch) == ((0,), (0,))
    assert (both.tensorflow, both.name) == (2, "op2")


class _Dying(Walk):
    """A walk over two cuts whose workers die at the second."""

    def __init__(self) -> None:
        trace = _trace(CHAIN, ())
        models: Any = {"tensorflow": trace, "torch": trace}
        self.models: Any = type("Models", (dict,), {"workers": SimpleNamespace(each=lambda *_: None)})(models)
        self.cuts, self.inputs = CHAIN[:2], {}
        self._users = {0: 1, 1: 1}
        self.partner = {}
        self._values = {}

    def _step(self, cut: Cut, doubtful: Any) -> Any:
        del doubtful
        if cut.tensorflow == 2:
            raise WorkerCrash("the worker died")
        return _step(cut, True), ()


def test_a_step_in_doubt_is_told_when_the_workers_die() -> None:
    steps = _Dying().run()
    assert next(steps).cut.tensorflow == 1
    with pytest.raises(WorkerCrash):
        next(steps)
