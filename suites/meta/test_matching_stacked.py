"""Query, key and value: a layer each in TensorFlow, one for all in torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.pairing.copying import plan
from parity.pairing.match import match_weighted
from suites.meta import traces
from suites.meta.traces import Draft, Layer, both, names_left, names_of


def attending(stacked: bool, blocks: int = 2) -> list[Layer]:
    """Return attention with a layer each for query, key and value, or with one for all."""
    draft = Draft()
    at = draft.add("dense", "input", sizes=(3, 12), name="first")
    for block in range(blocks):
        if stacked:
            qkv = draft.add("dense", at, sizes=(12, 36), bias=True, name=f"qkv{block}")
            parts = [draft.add("split", qkv, name=f"split{block}")]
        else:
            parts = [draft.add("dense", at, sizes=(12, 12), bias=True, name=f"{name}{block}") for name in "qkv"]
        mixed = draft.add("sdpa", *parts, name=f"mixed{block}")
        at = draft.add("add", at, draft.add("dense", mixed, sizes=(12, 12), name=f"out{block}"), name=f"sum{block}")
    return draft.layers


def test_query_key_and_value_may_be_one_layer_in_torch() -> None:
    mine = traces.tensorflow(attending(False), rename=traces.noise(1))
    other = traces.torch(attending(True), rename=traces.noise(2))
    weighted, everything = both(mine, other)
    for matching in (weighted, everything):
        rows = [([*names_left(one.tensorflow, mine)], names_left(one.torch, other)) for one in matching.stacked]
        assert rows == [(["q0", "k0", "v0"], ["qkv0"]), (["q1", "k1", "v1"], ["qkv1"])]
    found = names_of(everything, mine, other)
    assert found == {name: name for name in ("first", "mixed0", "out0", "sum0", "mixed1", "out1", "sum1")}
    assert not everything.only_tensorflow
    assert names_left(everything.only_torch, other) == ["split0", "split1"]
    made = plan(mine.trace, other.trace, weighted)
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    kernels = {
        name: np.full(weight.shape, place, float) for place, (name, weight) in enumerate(mine.trace.weights.items())
    }
    moved = made.to_torch(kernels)
    stack = other.trace.ops[other.index["qkv1"]].weights["weight"]
    sides = [mine.trace.ops[mine.index[name]].weights["kernel"] for name in ("q1", "k1", "v1")]
    assert [moved[stack][row, 0] for row in (0, 12, 24)] == [kernels[name][0, 0] for name in sides]
    back = made.to_tensorflow(moved)
    assert all(np.array_equal(back[name], array) for name, array in kernels.items())


def test_names_say_in_which_order_query_key_and_value_are_stacked() -> None:
    layers = attending(False, blocks=1)
    mine = traces.tensorflow(
        [layers[0], layers[3], layers[2], layers[1], *layers[4:]], rename=lambda name: f"mha/{name}"
    )
    mine = replace(mine, trace=replace(mine.trace, ops=tuple(
        replace(op, name={"mha/q0": "mha/query", "mha/k0": "mha/key", "mha/v0": "mha/value"}.get(op.name, op.name))
        for op in mine.trace.ops
    )))  # fmt: skip
    weighted = match_weighted(mine.trace, traces.torch(attending(True, blocks=1)).trace)
    assert [names_left(one.tensorflow, mine) for one in weighted.stacked] == [["q0", "k0", "v0"]]


def test_layers_of_their_own_are_not_taken_for_a_stack() -> None:
    mine = traces.tensorflow(attending(False), rename=traces.noise(1))
    other = traces.torch(attending(False), rename=traces.noise(2), order=traces.shuffled(2))
    weighted, _ = both(mine, other)
    assert not weighted.stacked
    assert len(weighted.pairs) == 9


def test_query_key_and_value_may_be_one_layer_in_tensorflow() -> None:
    mine = traces.tensorflow(attending(True), rename=traces.noise(1))
    other = traces.torch(attending(False), rename=traces.noise(2))
    weighted, _ = both(mine, other)
    rows = [(names_left(one.tensorflow, mine), names_left(one.torch, other)) for one in weighted.stacked]
    assert sorted(rows) == [(["qkv0"], ["q0", "k0", "v0"]), (["qkv1"], ["q1", "k1", "v1"])]
    made = plan(mine.trace, other.trace, weighted)
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    rng = np.random.default_rng(0)
    held = {name: rng.normal(size=weight.shape) for name, weight in mine.trace.weights.items()}
    moved = made.to_torch(held)
    stack = mine.trace.ops[mine.index["qkv1"]].weights["kernel"]
    parts = [moved[other.trace.ops[other.index[name]].weights["weight"]] for name in ("q1", "k1", "v1")]
    assert np.array_equal(np.concatenate([part.T for part in parts], axis=1), held[stack])
    assert all(np.array_equal(array, held[name]) for name, array in made.to_tensorflow(moved).items())
    turned = plan(mine.trace, other.trace, weighted, units=lambda _: [*np.arange(36).reshape(12, 3).T]).to_torch(held)
    keys = turned[other.trace.ops[other.index["k1"]].weights["weight"]]
    assert np.array_equal(keys.T, held[stack][:, 1::3])


def gated(fused: bool, blocks: int = 2) -> list[Layer]:
    """Return gated convolutions: filter and gate are a layer each, or one that is split."""
    draft = Draft()
    at = draft.conv("input", 3, 5, 1, filters=5, name="first")
    for block in range(blocks):
        if fused:
            both_ = draft.conv(at, 5, 8, 2, filters=8, bias=True, name=f"both{block}")
            parts = [draft.add("split", both_, name=f"split{block}")] * 2
        else:
            parts = [
                draft.conv(at, 5, 4, 2, filters=4, bias=True, name=f"{name}{block}") for name in ("filter", "gate")
            ]
        bent = [
            draft.add("activation", part, function=name, name=f"{name}{block}")
            for part, name in zip(parts, ("tanh", "sigmoid"), strict=True)
        ]
        at = draft.add("add", at, draft.conv(draft.add("multiply", *bent), 4, 5, 1, filters=5, name=f"out{block}"))
    return draft.layers


def test_filter_and_gate_may_be_one_convolution_on_either_side() -> None:
    for turned in (False, True):
        mine, other = traces.tensorflow(gated(turned), rename=traces.noise(1)), traces.torch(gated(not turned))
        weighted, everything = both(mine, other)
        for matching in (weighted, everything):
            rows = [[names_left(one.tensorflow, mine), names_left(one.torch, other)] for one in matching.stacked]
            halves = [[["filter0", "gate0"], ["both0"]], [["filter1", "gate1"], ["both1"]]]
            assert sorted(row[::-1] if turned else row for row in rows) == halves
        made = plan(mine.trace, other.trace, weighted)
        assert not made.unmatched_tensorflow
        assert not made.unmatched_torch


def in_groups(apart: bool, groups: int = 4) -> list[Layer]:
    """Return convolutions in groups: one of each part of the channels, or one in all."""
    draft = Draft()
    at = draft.conv("input", 3, 8, 3, filters=8, name="first")
    for block in range(2):
        if apart:
            parts = [draft.add("slice", at, name=f"part{block}{k}") for k in range(groups)]
            size = 8 // groups
            made = [
                draft.conv(part, size, size, 3, filters=size, groups=1, name=f"conv{block}{k}")
                for k, part in enumerate(parts)
            ]
            at = draft.add("concat", *reversed(made), axis=3, name=f"joined{block}")
        else:
            at = draft.conv(at, 8 // groups, 8, 3, filters=8, groups=groups, name=f"whole{block}")
        at = draft.conv(draft.relu(at), 8, 8, 1, filters=8, name=f"out{block}")
    return draft.layers


def test_a_convolution_in_groups_is_one_of_each_part_in_the_order_in_which_they_are_joined() -> None:
    for turned in (False, True):
        mine, other = traces.tensorflow(in_groups(not turned)), traces.torch(in_groups(turned))
        weighted, everything = both(mine, other)
        pairs = [[names_left(one.tensorflow, mine), names_left(one.torch, other)] for one in weighted.stacked]
        rows = [pair[::-1] if turned else pair for pair in pairs]
        parts = [[f"conv{block}{k}" for k in (3, 2, 1, 0)] for block in range(2)]
        assert sorted(rows) == [[parts[0], ["whole0"]], [parts[1], ["whole1"]]]
        found = names_of(everything, mine, other)
        joins = {"joined0": "whole0", "joined1": "whole1"}
        assert {i: j for i, j in found.items() if "whole" in i + j} == (
            {j: i for i, j in joins.items()} if turned else joins
        )
        made = plan(mine.trace, other.trace, weighted)
        assert not made.unmatched_tensorflow
        assert not made.unmatched_torch


def test_two_convolutions_of_one_tensor_are_no_stack_where_the_other_side_has_them_too() -> None:
    mine, other = traces.tensorflow(gated(False)), traces.torch(gated(False), order=traces.shuffled(3))
    weighted, _ = both(mine, other)
    assert not weighted.stacked
