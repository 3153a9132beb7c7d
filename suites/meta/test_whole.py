"""Written normalisations and sums of many terms: which steps are seen as one operation, and which one that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from parity.model.trace import Op, Trace, Weight
from parity.pairing.norms import norms_as_one
from parity.pairing.spreads import spreads_as_one
from parity.pairing.sums import sums_as_one
from parity.pairing.whole import Whole

Step = tuple[str, tuple[int, ...], Mapping[str, Any], str]
IMAGE, SEQUENCE = (2, 5, 4, 6), (2, 7, 6)
COLUMN = {"function": "mean", "axes": [3], "keepdims": True}
EPS = {"scale": 1.0, "offset": 1e-6}

# Tensor 0 is the input, and each step makes the next one.
CHANNELS: Sequence[Step] = (
    ("reduce", (0,), COLUMN, ""),
    ("identity", (1,), {}, ""),
    ("squared_difference", (0, 2), {}, ""),
    ("reduce", (3,), COLUMN, ""),
    ("subtract", (0, 1), {}, ""),
    ("multiply", (5,), {}, "scale"),
    ("rescale", (4,), EPS, ""),
    ("activation", (7,), {"function": "rsqrt"}, ""),
    ("multiply", (6, 8), {}, ""),
    ("add", (9,), {}, "offset"),
)
ROOT: Sequence[Step] = (
    ("multiply", (0,), {}, ""),
    ("reduce", (1,), {"function": "mean", "axes": [2], "keepdims": True}, ""),
    ("rescale", (2,), EPS, ""),
    ("activation", (3,), {"function": "sqrt"}, ""),
    ("divide", (0, 4), {}, ""),
    ("multiply", (5,), {}, "scale"),
)


def _trace(steps: Sequence[Step], shape: tuple[int, ...] = IMAGE, made: Mapping[int, tuple[int, ...]] | None = None,
           outputs: tuple[int, ...] = (), size: int = 6) -> Trace:  # fmt: skip
    ops = tuple(
        Op(index, f"norm/{kind}_{index}", kind, read, (index + 1,), config, {"other": held} if held else {})
        for index, (kind, read, config, held) in enumerate(steps)
    )
    shapes = dict.fromkeys(range(len(steps) + 1), shape) | dict(made or {})
    weights = {name: Weight(name, (size,)) for name in ("scale", "offset")}
    return Trace((0,), (len(steps), *outputs), ("out",), ops, shapes, {}, weights)


def _layer(size: int = 6) -> Trace:
    held = {"weight": "norm.weight", "bias": "norm.bias"}
    op = Op(0, "norm", "layer_norm", (0,), (1,), {"eps": 1e-6, "axes": [1]}, held)
    weights = {name: Weight(name, (size,)) for name in held.values()}
    return Trace((0,), (1,), ("out",), (op,), {0: (2, 6, 5, 4), 1: (2, 6, 5, 4)}, {}, weights)


def _only(trace: Trace) -> Op:
    assert len(trace.ops) == 1
    return trace.ops[0]


def _with(steps: Sequence[Step], place: int, step: Step) -> list[Step]:
    return [step if index == place else one for index, one in enumerate(steps)]


def test_the_steps_of_a_layer_normalisation_are_one_operation() -> None:
    written, layer = norms_as_one(_trace(CHANNELS), _layer())
    op = _only(written.trace)
    assert (op.kind, op.inputs, op.outputs, op.name) == ("layer_norm", (0,), (10,), "norm")
    assert (op.config["axes"], op.config["eps"]) == ([3], 1e-6)
    assert op.weights == {"gamma": "scale", "beta": "offset"}
    assert [one.kind for one in written.parts[op.index]] == [step[0] for step in CHANNELS]
    assert layer.trace == _layer()
    assert not layer.parts


def test_no_mean_is_subtracted_in_one_by_the_root_of_the_mean_square() -> None:
    op = _only(norms_as_one(_trace(ROOT, SEQUENCE), _layer())[0].trace)
    assert (op.kind, op.config["axes"], op.config["eps"]) == ("rms_norm", [2], 1e-6)
    assert op.weights == {"scale": "scale"}


def test_the_axes_say_which_normalisation_it_is() -> None:
    over = {"function": "mean", "axes": [1, 2], "keepdims": True}
    steps = _with(_with(CHANNELS, 0, ("reduce", (0,), over, "")), 3, ("reduce", (3,), over, ""))
    assert _only(norms_as_one(_trace(steps), _layer())[0].trace).kind == "instance_norm"
    assert _only(norms_as_one(_trace(CHANNELS), _layer())[0].trace).kind == "layer_norm"


@pytest.mark.parametrize(
    "step",
    [
        (7, ("activation", (7,), {"function": "sqrt"}, "")),  # multiplied by the root, instead of divided
        (6, ("rescale", (4,), {"scale": 2.0, "offset": 1e-6}, "")),
        (3, ("reduce", (3,), {**COLUMN, "function": "sum"}, "")),
        (3, ("reduce", (3,), {**COLUMN, "axes": [2, 3]}, "")),
    ],
)
def test_another_form_is_one_operation_without_settings(step: tuple[int, Step]) -> None:
    op = _only(norms_as_one(_trace(_with(CHANNELS, *step)), _layer())[0].trace)
    assert op.kind == "norm"
    assert "eps" not in op.config


@pytest.mark.parametrize(
    "trace",
    [
        _trace(CHANNELS, size=8),  # torch has none of that size
        _trace(CHANNELS, outputs=(5,)),  # what is centred is a result as well
        _trace([*CHANNELS, ("activation", (4,), {"function": "relu"}, "")], outputs=(10,)),  # so is the variance read
        _trace(_with(CHANNELS, 2, ("conv", (0,), {}, ""))),  # a convolution is no step
        _trace(_with(CHANNELS, 5, ("dense", (5,), {}, "scale"))),
        _trace(_with(CHANNELS, 8, ("multiply", (6,), {}, "offset"))),  # nothing is divided by
    ],
)
def test_what_is_no_whole_stays_as_it_is_written(trace: Trace) -> None:
    found, _ = norms_as_one(trace, _layer())
    assert found.trace == trace
    assert not found.parts


def test_what_is_paired_by_hand_stays_as_it_is_written() -> None:
    trace = _trace(CHANNELS)
    assert norms_as_one(trace, _layer(), {"norm/activation_7"})[0].trace == trace


TERMS: Sequence[Step] = (
    ("conv", (0,), {}, ""),
    ("conv", (0,), {}, ""),
    ("add", (0, 1), {}, ""),
    ("add", (3, 2), {}, ""),
    ("add", (4, 0), {}, ""),
)


def test_a_sum_of_sums_is_one_addition() -> None:
    whole = sums_as_one(Whole(_trace(TERMS)))
    *others, last = whole.trace.ops
    assert [op.kind for op in others] == ["conv", "conv"]
    assert (last.index, last.inputs, last.outputs) == (4, (0, 1, 2, 0), (5,))
    assert [op.index for op in whole.parts[4]] == [2, 3, 4]


@pytest.mark.parametrize(
    ("steps", "outputs", "sums"),
    [
        ([*TERMS, ("conv", (3,), {}, "")], (5,), [(0, 1), (3, 2, 0)]),  # the first sum is read by another, too
        (TERMS, (4,), [(0, 1, 2), (4, 0)]),  # or is a result
        (_with(TERMS, 3, ("subtract", (3, 2), {}, "")), (), [(0, 1), (4, 0)]),
        (_with(TERMS, 3, ("add", (3, 2), {"alpha": 0.5}, "")), (), [(0, 1), (3, 2), (4, 0)]),
        (_with(TERMS, 1, ("op:weight", (), {}, "scale")), (), [(0, 1), (3, 2), (4, 0)]),  # a bias is no term
    ],
)
def test_a_partial_sum_that_is_of_use_elsewhere_stays(
    steps: Sequence[Step], outputs: tuple[int, ...], sums: list[tuple[int, ...]]
) -> None:
    whole = sums_as_one(Whole(_trace(steps, outputs=outputs)))
    assert [op.inputs for op in whole.trace.ops if op.kind == "add"] == sums


# Statistics that are kept, and variances in steps.

KEPT: Sequence[Step] = (
    ("subtract", (0,), {}, "mean"),
    ("op:weight", (), {"function": "add", "scale": 1.0, "offset": 1e-5}, "variance"),
    ("activation", (2,), {"function": "sqrt"}, ""),
    ("divide", (1, 3), {}, ""),
    ("multiply", (4,), {}, "scale"),
    ("add", (5,), {}, "offset"),
)
VECTORS = (2, 6)


def _kept(steps: Sequence[Step]) -> Trace:
    trace = _trace(steps, VECTORS, {2: (6,), 3: (6,)})
    weights = {name: Weight(name, (6,)) for name in ("scale", "offset", "mean", "variance")}
    return replace(trace, weights=weights)


def test_the_steps_of_a_normalisation_by_kept_statistics_are_one_operation() -> None:
    op = _only(norms_as_one(_layer(), _kept(KEPT))[1].trace)
    assert (op.kind, op.inputs, op.outputs, op.config["eps"], op.config["axis"]) == ("batch_norm", (0,), (6,), 1e-5, 1)
    held = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}
    assert dict(op.weights) == held


@pytest.mark.parametrize(
    ("place", "step"),
    [
        (0, ("add", (0,), {}, "mean")),
        (2, ("activation", (2,), {"function": "tanh"}, "")),
        (3, ("multiply", (1, 3), {}, "")),
    ],
)
def test_other_arithmetic_with_four_weights_is_no_normalisation(place: int, step: Step) -> None:
    trace = _kept(_with(KEPT, place, step))
    assert norms_as_one(_layer(), trace)[1].trace == trace


SPREAD: Sequence[Step] = (
    ("reduce", (0,), COLUMN, ""),
    ("subtract", (0, 1), {}, ""),
    ("activation", (2,), {"function": "square"}, ""),
    ("reduce", (3,), COLUMN, ""),
    ("activation", (4,), {"function": "sqrt"}, ""),
)


def _spread(function: str) -> Trace:
    op = Op(0, "spread", "reduce", (0,), (1,), {"function": function, "axes": [1], "keepdims": True})
    return Trace((0,), (1,), ("out",), (op,), {0: (2, 6, 5, 4), 1: (2, 1, 5, 4)}, {}, {})


def test_the_steps_of_a_deviation_are_one_reduction_where_the_other_side_has_such() -> None:
    trace = replace(_trace(SPREAD), weights={})
    op = _only(spreads_as_one(Whole(trace), _spread("std"), True).trace)
    assert (op.kind, op.inputs, op.outputs) == ("reduce", (0,), (5,))
    assert op.config == {"function": "std", "axes": [3], "keepdims": True, "correction": 0}
    kinds = [op.kind for op in spreads_as_one(Whole(trace), _spread("var"), True).trace.ops]
    assert kinds == ["reduce", "activation"]
    assert spreads_as_one(Whole(trace), _spread("max"), True).trace == trace


def test_a_mean_along_other_axes_makes_no_variance() -> None:
    steps = _with(SPREAD, 0, ("reduce", (0,), {**COLUMN, "axes": [2]}, ""))
    trace = replace(_trace(steps), weights={})
    assert spreads_as_one(Whole(trace), _spread("std"), True).trace == trace
