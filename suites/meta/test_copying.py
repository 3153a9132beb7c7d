"""Weights of two traces: every kind is carried both ways bit for bit, and every weight is accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.errors import PairingError
from parity.model.layout import Array
from parity.model.trace import Op, Trace, Weight
from parity.pairing import references
from parity.pairing.copying import WeightPlan, plan
from parity.pairing.match import Matching, OpPair, match_weighted
from suites.meta import traces

Shape = tuple[int, ...]
Described = Mapping[str, Any]
Layer = tuple[str, Described, Mapping[str, Shape]]


def trace(ops: Sequence[tuple[str, Described, Mapping[str, str]]], shapes: Mapping[str, Shape]) -> Trace:
    """Return a chain of operations: kind, settings and the references of their weights."""
    made = tuple(
        Op(place, f"op{place}", kind, (place,), (place + 1,), config, dict(weights))
        for place, (kind, config, weights) in enumerate(ops)
    )
    weights = {name: Weight(name, shape) for name, shape in shapes.items()}
    tensors = range(len(made) + 1)
    return Trace((0,), (len(made),), ("output",), made, dict.fromkeys(tensors, (2, 8)), {}, weights)


def one(
    mine: tuple[str, Described, Mapping[str, Shape]],
    other: tuple[str, Described, Mapping[str, Shape]],
    rows: Array | None = None,
) -> tuple[WeightPlan, Trace, Trace]:
    """Return the plan of a single pair whose weights are named as their roles."""
    sides = [trace([(kind, config, {role: role for role in roles})], roles) for kind, config, roles in (mine, other)]
    matching = Matching((OpPair(0, 0, "graph"),), (), ())
    return plan(sides[0], sides[1], matching, lambda _: rows), sides[0], sides[1]


def bits(shape: Shape, seed: int) -> Array:
    raw = np.random.default_rng(seed).integers(0, 256, int(np.prod(shape)) * 4, np.uint8)
    return raw.view(np.float32).reshape(shape)


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def arrays(side: Trace, seed: int) -> dict[str, Array]:
    return {name: bits(weight.shape, seed + place) for place, (name, weight) in enumerate(side.weights.items())}


NORM = {"gamma": (5,), "beta": (5,)}
NORM_TORCH = {"weight": (5,), "bias": (5,)}
HEADS = {"heads": 3}
ATTENTION = {
    "query_kernel": (6, 3, 4),
    "query_bias": (3, 4),
    "key_kernel": (6, 3, 4),
    "key_bias": (3, 4),
    "value_kernel": (6, 3, 4),
    "value_bias": (3, 4),
    "output_kernel": (3, 4, 6),
    "output_bias": (6,),
}
ATTENTION_TORCH = {
    "query.weight": (12, 6),
    "query.bias": (12,),
    "key.weight": (12, 6),
    "key.bias": (12,),
    "value.weight": (12, 6),
    "value.bias": (12,),
    "out_proj.weight": (6, 12),
    "out_proj.bias": (6,),
}
LSTM = {"kernel": (5, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
LSTM_TORCH = {"weight_ih_l0": (12, 5), "weight_hh_l0": (12, 3), "bias_ih_l0": (12,)}
GRU = {"kernel": (5, 9), "recurrent_kernel": (3, 9), "bias": (2, 9)}
GRU_TORCH = {"weight_ih_l0": (9, 5), "weight_hh_l0": (9, 3), "biases_l0": (2, 9)}


def both_ways(weights: Mapping[str, Shape], torch: bool) -> dict[str, Shape]:
    names = [(f"{role}_reverse" if torch else f"backward_{role}") for role in weights]
    first = weights if torch else {f"forward_{role}": shape for role, shape in weights.items()}
    return {**first, **dict(zip(names, weights.values(), strict=True))}


KINDS: Mapping[str, tuple[Any, Any]] = {
    "dense": (("dense", {}, {"kernel": (4, 7), "bias": (7,)}), ("dense", {}, {"weight": (7, 4), "bias": (7,)})),
    "dense-square": (("dense", {}, {"kernel": (4, 4)}), ("dense", {}, {"weight": (4, 4)})),
    "conv1": (("conv", {}, {"kernel": (3, 4, 7)}), ("conv", {}, {"weight": (7, 4, 3)})),
    "conv2": (
        ("conv", {}, {"kernel": (3, 2, 4, 7), "bias": (7,)}),
        ("conv", {}, {"weight": (7, 4, 3, 2), "bias": (7,)}),
    ),
    "conv2-groups": (("conv", {"groups": 2}, {"kernel": (3, 2, 2, 8)}), ("conv", {}, {"weight": (8, 2, 3, 2)})),
    "conv3": (("conv", {}, {"kernel": (3, 2, 5, 4, 7)}), ("conv", {}, {"weight": (7, 4, 3, 2, 5)})),
    "conv_transpose": (
        ("conv_transpose", {}, {"kernel": (3, 2, 7, 4), "bias": (7,)}),
        ("conv_transpose", {}, {"weight": (4, 7, 3, 2), "bias": (7,)}),
    ),
    "depthwise": (
        ("depthwise_conv", {"multiplier": 2}, {"kernel": (3, 5, 4, 2), "bias": (8,)}),
        ("depthwise_conv", {}, {"weight": (8, 1, 3, 5), "bias": (8,)}),
    ),
    "depthwise-without-multiplier": (
        ("depthwise_conv", {}, {"kernel": (3, 5, 4, 2)}),
        ("conv", {"groups": 4}, {"weight": (8, 1, 3, 5)}),
    ),
    "depthwise-summed-over-groups": (
        ("depthwise_conv", {"multiplier": 5}, {"kernel": (3, 4, 6, 5)}),
        ("conv", {"groups": 2}, {"weight": (10, 3, 3, 4)}),
    ),
    "batch_norm": (
        ("batch_norm", {}, {**NORM, "moving_mean": (5,), "moving_variance": (5,)}),
        ("batch_norm", {}, {**NORM_TORCH, "running_mean": (5,), "running_var": (5,)}),
    ),
    "layer_norm": (("layer_norm", {}, NORM), ("layer_norm", {}, NORM_TORCH)),
    "group_norm": (("group_norm", {}, NORM), ("group_norm", {}, NORM_TORCH)),
    "instance_norm": (("instance_norm", {}, NORM), ("instance_norm", {}, NORM_TORCH)),
    "rms_norm": (("rms_norm", {}, {"scale": (5,)}), ("rms_norm", {}, {"weight": (5,)})),
    "embedding": (("embedding", {}, {"embeddings": (9, 4)}), ("embedding", {}, {"weight": (9, 4)})),
    "prelu-per-channel": (("prelu", {}, {"alpha": (1, 1, 5)}), ("prelu", {}, {"weight": (5,)})),
    "prelu-one": (("prelu", {}, {"alpha": (1, 1, 1)}), ("prelu", {}, {"weight": (1,)})),
    "prelu-per-element": (("prelu", {}, {"alpha": (3, 4, 5)}), ("prelu", {}, {"weight": (5, 3, 4)})),
    "lstm": (("lstm", {}, LSTM), ("lstm", {}, LSTM_TORCH)),
    "lstm-both-ways": (
        ("lstm", {"bidirectional": True}, both_ways(LSTM, False)),
        ("lstm", {"bidirectional": True}, both_ways(LSTM_TORCH, True)),
    ),
    "gru": (("gru", {}, GRU), ("gru", {}, GRU_TORCH)),
    "gru-both-ways": (
        ("gru", {"bidirectional": True}, both_ways(GRU, False)),
        ("gru", {"bidirectional": True}, both_ways(GRU_TORCH, True)),
    ),
    "lstm-second-layer": (
        ("lstm", {}, LSTM),
        ("lstm", {}, {role.replace("l0", "l1"): shape for role, shape in LSTM_TORCH.items()}),
    ),
    "rnn": (
        ("rnn", {}, {"kernel": (5, 3), "recurrent_kernel": (3, 3), "bias": (3,)}),
        ("rnn", {}, {"weight_ih_l0": (3, 5), "weight_hh_l0": (3, 3), "bias_ih_l0": (3,)}),
    ),
    "attention": (("attention", HEADS, ATTENTION), ("attention", HEADS, ATTENTION_TORCH)),
    "einsum-into-heads": (
        ("einsum", {}, {"kernel": (6, 3, 4), "bias": (3, 4)}),
        ("dense", {}, {"weight": (12, 6), "bias": (12,)}),
    ),
    "dense-into-heads": (("dense", {}, {"kernel": (6, 3, 4)}), ("dense", {}, {"weight": (12, 6)})),
    "einsum-out-of-heads": (
        ("einsum", {}, {"kernel": (3, 4, 6), "bias": (6,)}),
        ("dense", {}, {"weight": (6, 12), "bias": (6,)}),
    ),
    "square-product-written-out": (("dense", {}, {"kernel": (4, 4)}), ("matmul", {}, {"other": (4, 4)})),
    "dense-as-1x1": (("dense", {}, {"kernel": (4, 7)}), ("conv", {}, {"weight": (7, 4, 1, 1)})),
    "1x1-as-dense": (("conv", {}, {"kernel": (1, 1, 4, 7)}), ("dense", {}, {"weight": (7, 4)})),
    "conv-over-all-as-dense": (("conv", {}, {"kernel": (3, 2, 4, 7)}), ("dense", {}, {"weight": (7, 24)})),
    "position": (("add", {}, {"other": (1, 6, 5)}), ("add", {}, {"other": (1, 6, 5)})),
    "scale-of-channels": (("multiply", {}, {"other": (5,)}), ("multiply", {}, {"other": (5, 1, 1)})),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_carried_both_ways_bit_for_bit(kind: str) -> None:
    mine, other = KINDS[kind]
    made, tensorflow, torch = one(mine, other)
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    assert not made.notes
    assert len(made.links) == len(mine[2])
    held = arrays(tensorflow, 0)
    there = made.to_torch(held)
    assert {name: array.shape for name, array in there.items()} == other[2]
    back = made.to_tensorflow(there)
    assert all(same_bits(back[name], held[name]) for name in held)
    theirs = arrays(torch, 50)
    again = made.to_torch(made.to_tensorflow(theirs))
    assert all(same_bits(again[name], theirs[name]) for name in theirs)


# Layouts that mean something: computed on both sides.


def test_depthwise_channels_are_those_of_the_frameworks() -> None:
    made, *_ = one(KINDS["depthwise"][0], KINDS["depthwise"][1])
    kernel = np.random.default_rng(0).normal(size=(3, 5, 4, 2))
    moved = made.to_torch({"kernel": kernel})["weight"]
    for channel, factor in np.ndindex(4, 2):
        assert np.array_equal(moved[channel * 2 + factor, 0], kernel[:, :, channel, factor])


def test_a_depthwise_kernel_summed_over_each_group_is_a_convolution_in_groups() -> None:
    made, *_ = one(*KINDS["depthwise-summed-over-groups"])
    kernel = np.random.default_rng(0).normal(size=(3, 4, 6, 5))
    moved = made.to_torch({"kernel": kernel})["weight"]
    for group, deep, wide in np.ndindex(2, 3, 5):
        assert np.array_equal(moved[group * 5 + wide, deep], kernel[:, :, group * 3 + deep, wide])


def test_projections_into_heads_compute_the_same() -> None:
    rng = np.random.default_rng(0)
    x, into, out = rng.normal(size=(2, 5, 6)), rng.normal(size=(6, 3, 4)), rng.normal(size=(3, 4, 6))
    made, *_ = one(KINDS["einsum-into-heads"][0], KINDS["einsum-into-heads"][1])
    heads = np.einsum("bte,ehd->bthd", x, into)
    assert np.allclose(x @ made.to_torch({"kernel": into})["weight"].T, heads.reshape(2, 5, 12))
    made, *_ = one(KINDS["einsum-out-of-heads"][0], KINDS["einsum-out-of-heads"][1])
    expected = np.einsum("bthd,hde->bte", heads, out)
    assert np.allclose(heads.reshape(2, 5, 12) @ made.to_torch({"kernel": out})["weight"].T, expected)


def test_gates_of_a_gru_change_places() -> None:
    made, *_ = one(*KINDS["gru"])
    kernel = np.random.default_rng(0).normal(size=(5, 9))
    moved = made.to_torch({"kernel": kernel})["weight_ih_l0"]
    for torch_gate, keras_gate in enumerate((1, 0, 2)):
        assert np.array_equal(
            moved[3 * torch_gate : 3 * torch_gate + 3].T, kernel[:, 3 * keras_gate : 3 * keras_gate + 3]
        )


def test_a_dense_layers_rows_follow_the_order_of_its_input() -> None:
    rng = np.random.default_rng(0)
    rows, kernel, x = rng.permutation(12), rng.normal(size=(12, 7)), rng.normal(size=(3, 12))
    made, *_ = one(("dense", {}, {"kernel": (12, 7)}), ("dense", {}, {"weight": (7, 12)}), rows)
    moved = made.to_torch({"kernel": kernel})
    assert np.allclose(x[:, rows] @ moved["weight"].T, x @ kernel)
    assert same_bits(made.to_tensorflow(moved)["kernel"], kernel)
    norm, *_ = one(("batch_norm", {}, {"gamma": (12,)}), ("batch_norm", {}, {"weight": (12,)}), rows)
    assert same_bits(norm.to_torch({"gamma": x[0]})["weight"], x[0][rows])
    assert same_bits(norm.to_tensorflow(norm.to_torch({"gamma": x[0]}))["gamma"], x[0])


def test_an_order_of_another_length_is_ignored_and_said() -> None:
    made, *_ = one(("dense", {}, {"kernel": (4, 7)}), ("dense", {}, {"weight": (7, 4)}), np.arange(6)[::-1])
    kernel = bits((4, 7), 0)
    assert same_bits(made.to_torch({"kernel": kernel})["weight"], np.ascontiguousarray(kernel.T))
    assert made.notes == ("`op0` reads 4 numbers, and their order has 6: order ignored",)


def test_a_square_matrix_turns_as_each_side_uses_it() -> None:
    kernel = bits((4, 4), 0)
    dense: Layer = ("dense", {}, {"kernel": (4, 4)})
    product: Layer = ("matmul", {"transpose_b": False}, {"other": (4, 4)})
    turned: Layer = ("matmul", {"transpose_b": True}, {"other": (4, 4)})
    linear: Layer = ("dense", {}, {"weight": (4, 4)})
    for mine, other, transposed in (
        (dense, product, False),
        (dense, turned, True),
        (dense, linear, True),
        (product, linear, True),
        (turned, linear, False),
        (product, product, False),
        (turned, product, True),
    ):
        made, *_ = one(mine, other)
        moved = next(iter(made.to_torch({next(iter(mine[2])): kernel}).values()))
        assert same_bits(moved, np.ascontiguousarray(kernel.T) if transposed else kernel)


# References.


def test_an_lstms_biases_are_added_and_written_into_the_first() -> None:
    shapes = {"w": (12, 5), "r": (12, 3), "b": (12,), "c": (12,)}
    roles = {"weight_ih_l0": "w", "weight_hh_l0": "r", "bias_ih_l0": "b+c"}
    mine = trace([("lstm", {}, {role: role for role in LSTM})], LSTM)
    made = plan(mine, trace([("lstm", {}, roles)], shapes), Matching((OpPair(0, 0, "graph"),), (), ()))
    assert not made.unmatched_torch
    bias = np.random.default_rng(0).normal(size=12)
    bias[0] = -0.0
    moved = made.to_torch({"bias": bias})
    assert same_bits(moved["b"], bias)
    assert not moved["c"].any()
    assert same_bits(made.to_tensorflow(moved)["bias"], bias)
    given = {"b": bias, "c": 2 * bias}
    assert np.array_equal(made.to_tensorflow(given)["bias"], 3 * bias)


def test_two_biases_whose_rounded_sum_the_other_side_holds_become_that_sum() -> None:
    shapes = {"w": (12, 5), "r": (12, 3), "b": (12,), "c": (12,)}
    roles = {"weight_ih_l0": "w", "weight_hh_l0": "r", "bias_ih_l0": "b+c"}
    mine = trace([("lstm", {}, {role: role for role in LSTM})], LSTM)
    made = plan(mine, trace([("lstm", {}, roles)], shapes), Matching((OpPair(0, 0, "graph"),), (), ()))
    rng = np.random.default_rng(0)
    held = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    keras = made.to_tensorflow(held)
    here, there = made.settled(keras, held)
    assert not here
    assert set(there) == {"b", "c"}
    assert same_bits(there["b"], held["b"] + held["c"])
    assert not there["c"].any()
    assert made.settled(keras, {**held, **there}) == ({}, {})
    other = {**keras, "bias": keras["bias"] * np.float32(1.0 + 1e-6)}  # another bias is no rounding of the sum
    assert made.settled(other, held) == ({}, {})


@pytest.mark.parametrize("bias", [(2, 9), (9,)], ids=["two-biases", "one-bias"])
def test_a_grus_biases_are_two_weights_in_torch(bias: Shape) -> None:
    shapes = {"w": (9, 5), "r": (9, 3), "b": (9,), "c": (9,)}
    roles = {"weight_ih_l0": "w", "weight_hh_l0": "r", "biases_l0": "b|c"}
    weights = {**GRU, "bias": bias}
    mine = trace([("gru", {"reset_after": len(bias) == 2}, {role: role for role in weights})], weights)
    made = plan(mine, trace([("gru", {}, roles)], shapes), Matching((OpPair(0, 0, "graph"),), (), ()))
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    held = bits(bias, 0)
    moved = made.to_torch({"bias": held})
    first = held[0] if len(bias) == 2 else held
    assert same_bits(moved["b"], np.concatenate([first[3:6], first[:3], first[6:]]))
    assert moved["c"].any() == (len(bias) == 2)
    assert same_bits(made.to_tensorflow(moved)["bias"], held)


def test_slices_of_one_weight_are_written_into_one_array() -> None:
    roles = {name: name for name in ATTENTION_TORCH}
    for place, name in enumerate(("query", "key", "value")):
        roles[f"{name}.weight"] = f"in_proj_weight@{12 * place}:{12 * place + 12}"
        roles[f"{name}.bias"] = f"in_proj_bias@{12 * place}:{12 * place + 12}"
    shapes = {"in_proj_weight": (36, 6), "in_proj_bias": (36,), "out_proj.weight": (6, 12), "out_proj.bias": (6,)}
    mine = trace([("attention", HEADS, {role: role for role in ATTENTION})], ATTENTION)
    other = trace([("attention", HEADS, roles)], shapes)
    made = plan(mine, other, Matching((OpPair(0, 0, "graph"),), (), ()))
    assert not made.unmatched_torch
    held = arrays(mine, 0)
    moved = made.to_torch(held)
    assert {name: array.shape for name, array in moved.items()} == shapes
    assert same_bits(moved["in_proj_weight"][12:24], np.ascontiguousarray(held["key_kernel"].reshape(6, 12).T))
    back = made.to_tensorflow(moved)
    assert all(same_bits(back[name], held[name]) for name in held)
    theirs = arrays(other, 9)
    again = made.to_torch(made.to_tensorflow(theirs))
    assert all(same_bits(again[name], theirs[name]) for name in theirs)
    only_query = trace([("attention", HEADS, {"query_kernel": "query_kernel"})], {"query_kernel": (6, 3, 4)})
    partial = plan(only_query, other, Matching((OpPair(0, 0, "graph"),), (), ()))
    assert "in_proj_weight" in partial.unmatched_torch  # only a third of it has a partner


def test_weights_side_by_side_and_turned_are_read_and_written() -> None:
    shapes = {"a": (3, 2), "b": (3, 2), "c": (2, 4)}
    held = {name: np.arange(np.prod(shape), dtype=float).reshape(shape) for name, shape in shapes.items()}
    whole = {"a&c@last:0:2": (5, 2), "a^b": (3, 4), "a^b@last:1:2": (3, 3), "a&c@last:2:4@t|b&c@last:0:2@t": (2, 5, 2)}
    for reference, shape in whole.items():
        array = references.read(reference, held)
        assert array.shape == references.shape_of(reference, shapes) == shape
        written: dict[str, np.ndarray[Any, Any]] = {}
        references.write(reference, array, written, shapes)
        assert np.array_equal(references.read(reference, written), array)
    assert np.array_equal(references.read("a@1:3@t", held), held["a"][1:].T)


def test_references_are_read_and_written() -> None:
    held = {"a": np.arange(6.0).reshape(3, 2), "b": np.ones((3, 2))}
    shapes = {name: array.shape for name, array in held.items()}
    assert references.shape_of("a@1:3", shapes) == (2, 2)
    assert references.shape_of("a|b", shapes) == (2, 3, 2)
    assert references.shape_of("a+b", shapes) == (3, 2)
    assert references.shape_of("c", shapes) is None
    assert np.array_equal(references.read("a@1:3", held), held["a"][1:])
    assert np.array_equal(references.read("a+b", held), held["a"] + 1)
    assert np.array_equal(references.read("a|b", held)[1], held["b"])
    with pytest.raises(PairingError, match="holds 2 weights"):
        references.write("a|b", np.zeros((3, 3, 2)), {}, shapes)


# What has no partner.


def test_a_bias_of_one_side_has_no_partner() -> None:
    made, *_ = one(("dense", {}, {"kernel": (4, 7), "bias": (7,)}), ("dense", {}, {"weight": (7, 4)}))
    assert made.unmatched_tensorflow == ("bias",)
    assert made.unmatched_torch == ()
    made, *_ = one(
        ("lstm", {}, {**LSTM, "bias": (12,)}), ("lstm", {}, {"weight_ih_l0": (12, 5), "weight_hh_l0": (12, 3)})
    )
    assert made.unmatched_tensorflow == ("bias",)
    made, *_ = one(("gru", {}, {"kernel": (5, 9), "recurrent_kernel": (3, 9)}), ("gru", {}, GRU_TORCH))
    assert made.unmatched_torch == ("biases_l0",)


def test_gates_are_not_carried_by_a_shape_alone() -> None:
    mine = trace([("gru", {}, {"kernel": "kernel"})], {"kernel": (5, 9)})
    made = plan(mine, trace([("matmul", {}, {"other": "other"})], {"other": (5, 9)}), Matching((), (), ()))
    assert (made.unmatched_tensorflow, made.unmatched_torch) == (("kernel",), ("other",))


def test_shapes_that_do_not_fit_are_left_out_and_said() -> None:
    made, *_ = one(("dense", {}, {"kernel": (4, 7)}), ("dense", {}, {"weight": (7, 5)}))
    assert made.links == ()
    assert made.unmatched_tensorflow == ("kernel",)
    assert made.unmatched_torch == ("weight",)
    assert made.notes == (
        "`kernel` (4, 7) of tensorflow's `op0` does not fit `weight` (7, 5) of torch's `op0`: not copied",
    )
    made, *_ = one(("lstm", {}, LSTM), ("gru", {}, GRU_TORCH))
    assert made.links == ()
    assert len(made.unmatched_tensorflow) == 3


def test_a_layer_norm_in_place_of_a_batch_norm_gets_what_it_has() -> None:
    mine, other = KINDS["batch_norm"][0], KINDS["layer_norm"][1]
    made, *_ = one(mine, other)
    assert {(link.tensorflow, link.torch) for link in made.links} == {("gamma", "weight"), ("beta", "bias")}
    assert made.unmatched_tensorflow == ("moving_mean", "moving_variance")


def test_arrays_of_another_model_are_refused() -> None:
    made, *_ = one(KINDS["dense"][0], KINDS["dense"][1])
    with pytest.raises(PairingError, match="is it that model's"):
        made.to_torch({"kernel": np.zeros((5, 7))})
    assert made.to_torch({"bias": np.zeros(7)}).keys() == {"bias"}  # what is not given moves nothing


# Shared, split and free weights.


def test_a_shared_layer_is_one_link() -> None:
    layers = traces.two_towers().layers
    mine, other = traces.tensorflow(layers, inputs=2), traces.torch(layers, inputs=2, order=traces.shuffled(3))
    made = plan(mine.trace, other.trace, match_weighted(mine.trace, other.trace))
    assert len(made.links) == len(mine.trace.weights) == len(other.trace.weights)
    assert not made.used_twice
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch


def test_a_layer_shared_on_one_side_only_is_said() -> None:
    shared, apart = traces.two_towers().layers, traces.two_towers(shared=False).layers
    mine, other = traces.tensorflow(shared, inputs=2), traces.torch(apart, inputs=2)
    made = plan(mine.trace, other.trace, match_weighted(mine.trace, other.trace))
    assert len(made.used_twice) == 6  # three kernels and three biases
    assert "tensorflow's `tower0/kernel` is both `tower0_0.weight` and `tower0_1.weight` in torch" in made.used_twice
    assert not made.unmatched_torch
    moved = made.to_torch({name: bits(weight.shape, 3) for name, weight in mine.trace.weights.items()})
    assert same_bits(moved["tower0_0.weight"], moved["tower0_1.weight"])
    theirs = arrays(other.trace, 0)
    assert same_bits(made.to_torch(made.to_tensorflow(theirs))["tower0_0.weight"], theirs["tower0_0.weight"])


def test_a_bias_added_right_behind_is_the_layers_bias() -> None:
    mine = trace([("dense", {}, {"kernel": "k", "bias": "b"})], {"k": (4, 7), "b": (7,)})
    other = trace([("matmul", {}, {"weight": "w"}), ("add", {}, {"other": "c"})], {"w": (7, 4), "c": (7,)})
    made = plan(mine, other, match_weighted(mine, other))
    assert {(link.tensorflow, link.torch) for link in made.links} == {("k", "w"), ("b", "c")}


def test_a_position_that_one_side_looks_up_and_the_other_adds_is_linked_by_its_shape() -> None:
    ops = (
        Op(0, "position", "embedding", (), (1,), {}, {"embeddings": "table"}),
        Op(1, "add", "add", (0, 1), (2,), {}, {}),
    )
    weights = {"table": Weight("table", (6, 5))}
    mine = Trace((0,), (2,), ("output",), ops, {}, {}, weights)
    other = trace([("add", {}, {"other": "position"})], {"position": (1, 6, 5)})
    made = plan(mine, other, match_weighted(mine, other))
    assert [(link.tensorflow, link.torch) for link in made.links] == [("table", "position")]
    assert not made.unmatched_tensorflow
    table = bits((6, 5), 0)
    assert same_bits(made.to_torch({"table": table})["position"], table[None])


def test_fixed_operands_without_a_partner_are_part_of_the_code() -> None:
    weights = {"w": (7, 4), "mean": (4,)}
    mine = trace([("dense", {}, {"kernel": "k"})], {"k": (4, 7)})
    other = trace([("subtract", {}, {"other": "mean"}), ("dense", {}, {"weight": "w"})], weights)
    made = plan(mine, other, match_weighted(mine, other))
    assert made.unmatched_torch == ("mean",)  # trained: somebody must say where it comes from
    fixed = {**other.weights, "mean": Weight("mean", (4,), trainable=False)}
    made = plan(mine, replace(other, weights=fixed), match_weighted(mine, other))
    assert made.unmatched_torch == ()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_cell_called_step_by_step_has_the_layers_weights(kind: str) -> None:
    shapes: Mapping[str, Shape] = LSTM if kind == "lstm" else GRU
    gates = shapes["kernel"][1]
    weights = {"wi": Weight("wi", (gates, 5)), "wh": Weight("wh", (gates, 3))}
    weights |= {name: Weight(name, (gates,)) for name in ("bi", "bh")}
    biases = {"biases_l0": "bi|bh"} if kind == "gru" else {"bias_ih_l0": "bi+bh"}
    roles = {"weight_ih_l0": "wi", "weight_hh_l0": "wh", **biases}
    steps = tuple(Op(i, "cell", kind, (0, i), (i + 1,), {"cell": True}, roles) for i in range(4))
    other = Trace((0,), (4,), ("output",), steps, {}, {}, weights)
    mine = trace([(kind, {}, {role: role for role in shapes})], shapes)
    matching = match_weighted(mine, other)
    assert [(pair.tensorflow, pair.torch) for pair in matching.pairs] == [(0, 3)]
    made = plan(mine, other, matching)
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    held = arrays(mine, 0)
    back = made.to_tensorflow(made.to_torch(held))
    assert all(same_bits(back[name], array) for name, array in held.items())


@pytest.mark.parametrize(
    "make", [traces.resnet, traces.densenet, traces.inception, traces.unet, traces.transformer, traces.sequential]
)
def test_all_weights_of_typical_networks_go_there_and_back(make: Any) -> None:
    layers = make().layers
    mine = traces.tensorflow(layers, rename=traces.noise(1))
    other = traces.torch(layers, order=traces.shuffled(1), rename=traces.noise(2))
    made = plan(mine.trace, other.trace, match_weighted(mine.trace, other.trace))
    held = arrays(mine.trace, 0)
    moved = made.to_torch(held)
    assert moved.keys() == other.trace.weights.keys()
    assert all(moved[name].shape == weight.shape for name, weight in other.trace.weights.items())
    assert all(same_bits(array, held[name]) for name, array in made.to_tensorflow(moved).items())


def summed(torch: bool, beside: bool, biases: tuple[bool, bool]) -> Trace:
    """Return `x @ W + h @ U`, with biases inside the products, or one beside them."""
    names = ("first", "second")
    weights: dict[str, tuple[int, ...]] = {
        name: (4, size) if torch else (size, 4) for name, size in zip(names, (5, 7), strict=True)
    }
    weights |= {f"b{place}": (4,) for place in range(3)}
    role = "weight" if torch else "kernel"
    ops = [
        Op(
            place,
            name,
            "dense",
            (place,),
            (place + 2,),
            {"units": 4},
            {role: name, **({"bias": f"b{place}"} if has else {})},
        )
        for place, (name, has) in enumerate(zip(names, biases, strict=True))
    ]
    ops.append(Op(2, "sum", "add", (2, 3), (4,)))
    ops += [Op(3, "bias", "add", (4,), (5,), {}, {"other": "b2"})] if beside else []
    used = {name for op in ops for name in op.weights.values()}
    held = {name: Weight(name, shape) for name, shape in weights.items() if name in used}
    shapes = {0: (2, 5), 1: (2, 7), **dict.fromkeys(range(2, 6), (2, 4))}
    return Trace((0, 1), (len(ops) + 1,), ("output",), tuple(ops), shapes, {}, held)


@pytest.mark.parametrize("biases", [(True, False), (False, True), (True, True)])
def test_a_bias_beside_a_sum_of_products_is_what_the_layers_add_together(biases: tuple[bool, bool]) -> None:
    sides = summed(False, True, (False, False)), summed(True, False, biases)
    matching = Matching((OpPair(0, 0, "graph"), OpPair(1, 1, "graph")), (2, 3), (2,))
    made = plan(*sides, matching)
    assert not made.unmatched_tensorflow
    assert not made.unmatched_torch
    held = arrays(sides[0], 0)
    moved = made.to_torch(held)
    own = [name for name, has in zip(("b0", "b1"), biases, strict=True) if has]
    assert same_bits(moved[own[0]], held["b2"])
    assert not any(moved[name].any() for name in own[1:])
    back = made.to_tensorflow(moved)
    assert all(same_bits(back[name], array) for name, array in held.items())
    assert any("carried as a whole" in note for note in made.notes)


def test_a_bias_that_one_of_two_layers_lost_stays_a_bias_that_is_missing() -> None:
    sides = summed(False, False, (True, True)), summed(True, False, (True, False))
    made = plan(*sides, Matching((OpPair(0, 0, "graph"), OpPair(1, 1, "graph")), (2,), (2,)))
    assert made.unmatched_tensorflow == ("b1",)


def tables(torch: bool, order: Sequence[int]) -> Trace:
    """Return two layers, each followed by a table that is added: read before it in torch, in passing in TensorFlow."""
    ops, at = list[Op](), 0
    for block in order:
        weight = {("weight" if torch else "kernel"): f"w{block}"}
        ops.append(Op(len(ops), f"dense{block}", "dense", (at,), (at + 1,), {"units": 6}, weight))
        read = {"other": f"t{block}"}
        if torch:
            ops.append(Op(len(ops), f"read{block}", "op:weight", (), (at + 50,), {}, {"weight": f"t{block}"}))
            ops.append(Op(len(ops), f"turned{block}", "permute", (at + 50,), (at + 70,)))
            read = {}
        inputs = (at + 1, at + 70) if torch else (at + 1,)
        ops.append(Op(len(ops), f"added{block}", "add", inputs, (at + 2,), {}, read))
        at += 2
    shapes = dict.fromkeys(range(200), (2, 6))
    held = {f"w{block}": Weight(f"w{block}", (6, 6)) for block in order}
    held |= {f"t{block}": Weight(f"t{block}", (9, 2)) for block in order}
    return Trace((0,), (at,), ("output",), tuple(ops), shapes, {}, held)


def test_tables_of_one_shape_belong_to_the_layers_that_they_stand_between() -> None:
    mine, other = tables(False, (0, 1, 2)), tables(True, (2, 0, 1))  # layer 0 of TensorFlow is layer 2 of torch
    pairs = tuple(OpPair(2 * place, 4 * place, "graph") for place in range(3))
    made = plan(mine, other, Matching(pairs, (), ()))
    assert not made.unmatched_tensorflow
    found = {link.tensorflow: link.torch for link in made.links}
    assert found == {"w0": "w2", "w1": "w0", "w2": "w1", "t0": "t2", "t1": "t0", "t2": "t1"}


def test_a_kernel_in_passing_is_not_moved_as_if_it_were_a_picture() -> None:
    sides = [trace([("conv", {"rank": 2}, {"other": "k"})], {}), trace([("op:weight", {}, {})], {})]
    mine = replace(
        sides[0], ops=(replace(sides[0].ops[0], weights={"other": "k"}),), weights={"k": Weight("k", (3, 3, 3, 8))}
    )
    other = replace(
        sides[1], ops=(replace(sides[1].ops[0], weights={"weight": "w"}),), weights={"w": Weight("w", (8, 3, 3, 3))}
    )
    assert not plan(mine, other, Matching((), (0,), (0,))).links


def test_a_tied_embeddings_rows_are_its_units() -> None:
    made, *_ = one(
        ("dense", {"units": 6, "transpose_kernel": True, "bias": True}, {"kernel": (6, 6), "bias": (6,)}),
        ("dense", {"units": 6, "bias": True}, {"weight": (6, 6), "bias": (6,)}),
    )
    table = bits((6, 6), 0)
    assert same_bits(made.to_torch({"kernel": table})["weight"], table)
