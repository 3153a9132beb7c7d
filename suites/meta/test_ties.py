"""Equal numbers told apart, and one source for all calls of a shared layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.porting.ties import apart, repeated
from parity.porting.verdict import Source, at_every_call


def test_equal_numbers_become_distinct_and_others_stay() -> None:
    x = np.array([[0.0, 2.0, 0.0], [-1.5, 6.0, 6.0]], np.float32)
    moved = apart(x, 1)
    assert np.array_equal(repeated(x), [[True, False, True], [False, True, True]])
    assert np.array_equal(moved[~repeated(x)], x[~repeated(x)])
    assert len(np.unique(moved)) == x.size
    assert ((moved >= x) & (moved - x < 0.1)).all()
    assert moved.dtype == x.dtype


def test_whole_numbers_and_what_is_not_finite_stay() -> None:
    for x in (np.array([3, 3, 1]), np.array([0.0, 0.0, np.inf])):
        assert np.array_equal(apart(x, 0), x)


def _source(tensorflow: str, torch: str, fix: str = "dim=1") -> Source:
    told = f"it computes something else\n  d64 falls\n  fix: {fix}"
    return Source(tensorflow, torch, "axis-mismatch", "d64 falls", fix, "softmax", told)


def test_a_shared_layer_is_named_once_with_its_calls() -> None:
    known: list[Source] = []
    for name in ("att/softmax", "att/softmax_1", "att/softmax_2"):
        known = at_every_call(known, [_source(name, "att.softmax")])
    assert [(one.tensorflow, one.torch, one.calls) for one in known] == [("att/softmax", "att.softmax", 3)]
    assert known[0].to_dict()["evidence"] == "d64 falls; so at 3 calls of it"
    assert "d64 falls; so at 3 calls of it\n" in known[0].message
    assert "2 calls" not in known[0].message


def test_other_layers_causes_and_fixes_stay_apart() -> None:
    first = _source("att/softmax", "att.softmax")
    others = [
        _source("att/softmax_1", "att.softmax_1"),  # two within one call
        _source("other/softmax", "att.softmax"),
        _source("softmax_1", "softmax"),  # layers of the model, which Keras numbers as well
        _source("att/softmax", "att.softmax", fix="dim=2"),
        replace(first, cause="unknown"),
        replace(first, torch=None),
    ]
    known = [first]
    for one in others:
        known = at_every_call(known, [one])
    assert known == [first, *others]


def test_two_causes_of_one_step_are_two() -> None:
    first = _source("att", "att")
    assert at_every_call([], [first, first]) == [first, first]


def test_what_two_operations_read_is_told_once() -> None:
    first = replace(_source("norm", "relu"), kind="conv")
    assert at_every_call([first], [replace(first, kind="add", evidence="d64 falls further")]) == [first]
    between = replace(_source("places", "conv"), cause="unknown", between=("places", None))
    beside = replace(between, tensorflow="residual", torch="add", fix="give it the same")
    assert at_every_call([between], [beside]) == [between]
