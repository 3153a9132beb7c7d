"""Which operation is which: hand-made traces in both styles, and drawn graphs with known faults in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from parity.errors import UsageError
from parity.model.trace import Op, Trace
from parity.pairing.match import match_all, match_weighted
from suites.meta import traces
from suites.meta.traces import Draft, Layer, Seen, both, names_left, names_of

TYPICAL: Mapping[str, tuple[Callable[[], Draft], int]] = {
    "sequential": (traces.sequential, 1),
    "resnet": (traces.resnet, 1),
    "densenet": (traces.densenet, 1),
    "inception": (traces.inception, 1),
    "unet": (traces.unet, 1),
    "encoder-decoder": (traces.encoder_decoder, 2),
    "two-towers-shared": (traces.two_towers, 2),
    "two-towers": (lambda: traces.two_towers(shared=False), 2),
    "transformer": (traces.transformer, 1),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("network", TYPICAL)
def test_names_and_order_are_not_needed(network: str, seed: int) -> None:
    make, inputs = TYPICAL[network]
    layers = make().layers
    mine = traces.tensorflow(layers, inputs=inputs, rename=traces.noise(1))
    other = traces.torch(layers, inputs=inputs, order=traces.shuffled(seed), rename=traces.noise(2))
    weighted, everything = both(mine, other)
    with_weights = {layer.name for layer in layers if mine.trace.ops[mine.index[layer.name]].weights}
    found = names_of(everything, mine, other)
    assert set(names_of(weighted, mine, other)) == with_weights
    assert {name: partner for name, partner in found.items() if name != partner} == {}
    single = {layer.name for layer in layers if layer.kind == "concat" and len(layer.inputs) == 1}
    assert set(found) == {layer.name for layer in layers if layer.kind != "flatten"} - single
    assert not everything.only_tensorflow
    assert not everything.only_torch
    assert not everything.ambiguous


def test_a_projection_may_run_before_or_behind_the_long_branch() -> None:
    mine = traces.tensorflow(traces.resnet(projection_first=True).layers, rename=traces.noise(1))
    other = traces.torch(traces.resnet().layers, rename=traces.noise(2))
    weighted, everything = both(mine, other)
    ops = [mine.trace.ops, other.trace.ops]
    assert len(everything.pairs) == len(ops[0])
    for pair in weighted.pairs:
        sizes = [
            sorted(tuple(sorted(seen.trace.weights[name].shape)) for name in side[index].weights.values())
            for seen, side, index in ((mine, ops[0], pair.tensorflow), (other, ops[1], pair.torch))
        ]
        assert sizes[0] == sizes[1]


def test_features_joined_one_by_one_or_all_at_once() -> None:
    mine = traces.tensorflow(traces.densenet(nested=True).layers, rename=traces.noise(1))
    other = traces.torch(traces.densenet().layers, rename=traces.noise(2))
    weighted, everything = both(mine, other)
    order = [[op.index for op in seen.trace.ops if op.weights] for seen in (mine, other)]
    assert [(pair.tensorflow, pair.torch) for pair in weighted.pairs] == list(zip(*order, strict=True))
    assert not everything.only_tensorflow
    assert not everything.only_torch


def test_one_missing_layer_does_not_shift_the_others() -> None:
    draft, at = Draft(), "input"
    for number in range(12):
        at = draft.relu(draft.add("conv", at, sizes=(8, 8), kernel=[3, 3], name=f"same{number}", bias=True))
    lacking = traces.without(draft.layers, "same5")
    mine = traces.tensorflow(draft.layers, rename=traces.noise(1))
    other = traces.torch(lacking, rename=traces.noise(2))
    found = names_of(both(mine, other)[0], mine, other)
    # Of equal layers in a row any one may be the missing one, but only one is, and the rest stays in order.
    assert len(found) == 11
    numbers = [int(partner.removeprefix("same")) for partner in found.values()]
    assert numbers == sorted(numbers)


def test_which_of_equal_layers_is_missing_names_may_say() -> None:
    draft, at = Draft(), "input"
    for number in range(12):
        at = draft.relu(draft.add("conv", at, sizes=(8, 8), kernel=[3, 3], name=f"same{number}", bias=True))
    mine = traces.tensorflow(draft.layers)
    other = traces.torch(traces.without(draft.layers, "same5"), rename=lambda name: f"body.{name}")
    weighted, _ = both(mine, other)
    assert names_left(weighted.only_tensorflow, mine) == ["same5"]
    assert all(name == partner for name, partner in names_of(weighted, mine, other).items())


def test_one_missing_layer_among_different_ones_is_found() -> None:
    layers = traces.sequential().layers
    lacking = traces.without(layers, "conv4")
    mine, other = traces.tensorflow(layers, rename=traces.noise(1)), traces.torch(lacking, rename=traces.noise(2))
    weighted, everything = both(mine, other)
    assert names_left(weighted.only_tensorflow, mine) == ["conv4"]
    assert not weighted.only_torch
    assert all(name == partner for name, partner in names_of(everything, mine, other).items())


def test_an_activation_that_torch_lacks_is_alone() -> None:
    layers = traces.resnet().layers
    gone = next(layer.name for layer in layers[20:] if layer.kind == "activation")
    mine, other = traces.tensorflow(layers), traces.torch(traces.without(layers, gone), order=traces.shuffled(1))
    _, everything = both(mine, other)
    assert names_left(everything.only_tensorflow, mine) == [gone]
    assert not everything.only_torch
    assert all(name == partner for name, partner in names_of(everything, mine, other).items())


def test_wrong_kinds_in_the_right_place_pair() -> None:
    layers = traces.resnet().layers
    changed = traces.altered(layers, "activation2", config={"function": "gelu"})
    changed = traces.altered(changed, "max_pool3", kind="avg_pool")
    norm = next(layer.name for layer in layers[30:] if layer.kind == "batch_norm")
    changed = traces.altered(changed, norm, kind="layer_norm")
    conv = next(layer for layer in layers[40:] if layer.kind == "conv" and layer.config["kernel"] == [3, 3])
    changed = traces.altered(changed, conv.name, kind="depthwise_conv")
    mine = traces.tensorflow(layers, rename=traces.noise(1))
    other = traces.torch(changed, order=traces.shuffled(4), rename=traces.noise(2))
    weighted, everything = both(mine, other)
    found = names_of(everything, mine, other)
    assert found == {layer.name: layer.name for layer in layers}
    assert {norm, conv.name} <= set(names_of(weighted, mine, other))


def test_lstm_and_gru_in_one_place_pair() -> None:
    layers = traces.encoder_decoder().layers
    first = next(layer.name for layer in layers if layer.kind == "lstm")
    mine = traces.tensorflow(layers, inputs=2, rename=traces.noise(1))
    other = traces.torch(traces.altered(layers, first, kind="gru"), inputs=2, rename=traces.noise(2))
    found = names_of(both(mine, other)[0], mine, other)
    assert found[first] == first


def test_paddings_and_scalings_of_one_side_are_alone() -> None:
    layers = traces.unet().layers
    more = layers
    for number, after in enumerate(("input", "activation5", "concat20")):
        if any(layer.name == after for layer in layers):
            more = traces.with_extra(more, after, Layer(f"pad{number}", "zero_pad", ()))
    more = [Layer("scaled", "rescale", ("input",)), *_reading(more, "input", "scaled")]
    mine, other = traces.tensorflow(more, rename=traces.noise(1)), traces.torch(layers, rename=traces.noise(2))
    _, everything = both(mine, other)
    extra = {layer.name for layer in more} - {layer.name for layer in layers}
    assert len(extra) > 1
    assert set(names_left(everything.only_tensorflow, mine)) == extra
    assert not everything.only_torch


def _reading(layers: Sequence[Layer], old: str, new: str) -> list[Layer]:
    return [replace(layer, inputs=tuple(new if name == old else name for name in layer.inputs)) for layer in layers]


def test_exchanged_relu_and_pooling_are_no_partners_where_the_values_agree_behind_them() -> None:
    def chain(first: str, second: str) -> list[Layer]:
        draft = Draft()
        at = draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name="a")
        for kind in (first, second):
            at = draft.add(kind, at, name=kind, **({"function": "relu"} if kind == "activation" else {"pool": [2, 2]}))
        draft.add("conv", at, sizes=(8, 8), kernel=[3, 3], name="b")
        return draft.layers

    mine = traces.tensorflow(chain("activation", "max_pool"))
    other = traces.torch(chain("max_pool", "activation"))
    weighted = match_weighted(mine.trace, other.trace)
    here = prints_of({"a": 1, "activation": 2, "max_pool": 3, "b": 4}, mine)
    there = prints_of({"a": 1, "max_pool": 5, "activation": 3, "b": 4}, other)
    found = match_all(mine.trace, other.trace, weighted, here, there)
    pairs = names_of(found, mine, other)
    assert pairs.get("a") == "a"
    assert pairs.get("b") == "b"
    assert "activation" not in pairs
    assert pairs.get("max_pool") != "max_pool"


def prints_of(numbers: Mapping[str, float], seen: Seen) -> dict[int, list[float]]:
    """Return figures of each layer's output, equal for equal numbers only."""
    return {
        seen.trace.ops[seen.index[name]].outputs[0]: [64, number, 2 * number, 3 * number, number + 1, -number]
        for name, number in numbers.items()
    }


def test_equal_values_decide_among_twins() -> None:
    draft = Draft()
    first = draft.add("activation", "input", function="tanh", name="first")
    second = draft.add("activation", "input", function="tanh", name="second")
    draft.add("add", first, second, name="sum")
    mine = traces.tensorflow(draft.layers, rename=traces.noise(1))
    other = traces.torch(draft.layers, rename=traces.noise(2))
    weighted = match_weighted(mine.trace, other.trace)
    plain = names_of(match_all(mine.trace, other.trace, weighted), mine, other)
    assert plain == {"first": "first", "second": "second", "sum": "sum"}  # by their order
    here, there = (
        prints_of({"first": 1, "second": 2, "sum": 3}, mine),
        prints_of({"first": 2, "second": 1, "sum": 3}, other),
    )
    matching = match_all(mine.trace, other.trace, weighted, here, there)
    assert names_of(matching, mine, other) == {"first": "second", "second": "first", "sum": "sum"}
    assert {pair.how for pair in matching.pairs} == {"value"}


def test_values_correct_pairs_that_structure_could_not_tell_apart() -> None:
    draft = Draft()
    for name in ("left", "right"):
        draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=name)
    draft.add("add", "left", "right", name="sum")
    mine, other = (
        traces.tensorflow(draft.layers, rename=traces.noise(1)),
        traces.torch(draft.layers, rename=traces.noise(2)),
    )
    weighted = match_weighted(mine.trace, other.trace)
    assert names_of(weighted, mine, other) == {"left": "left", "right": "right"}
    assert {pair.how for pair in weighted.pairs} == {"order"}
    assert len(weighted.ambiguous) == 1
    here = prints_of({"left": 1, "right": 2, "sum": 3}, mine)
    there = prints_of({"left": 2, "right": 1, "sum": 3}, other)
    matching = match_all(mine.trace, other.trace, weighted, here, there)
    assert names_of(matching, mine, other) == {"left": "right", "right": "left", "sum": "sum"}
    assert len(matching.notes) == 2


def test_branches_that_only_names_tell_apart_pair_by_name() -> None:
    draft = Draft()
    for name in ("left", "right"):
        draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=name)
    draft.add("add", "left", "right", name="sum")
    mine, other = traces.tensorflow(draft.layers), traces.torch([draft.layers[1], draft.layers[0], draft.layers[2]])
    weighted = match_weighted(mine.trace, other.trace)
    assert names_of(weighted, mine, other) == {"left": "left", "right": "right"}
    assert {pair.how for pair in weighted.pairs} == {"name"}
    assert weighted.ambiguous


def test_twin_branches_pair_as_wholes() -> None:
    draft, ends = Draft(), []
    for branch in range(6):
        at = "input"
        for depth in range(4):
            at = draft.add("conv", at, sizes=(3, 3), kernel=[3, 3], name=f"b{branch}d{depth}")
        ends.append(at)
    total = ends[0]
    for end in ends[1:]:
        total = draft.add("add", total, end)
    layers = draft.layers
    for seed in range(5):
        mine = traces.tensorflow(layers, rename=traces.noise(1))
        other = traces.torch(layers, order=traces.shuffled(seed), rename=traces.noise(2))
        found = names_of(match_weighted(mine.trace, other.trace), mine, other)
        assert len(found) == 24
        for name, partner in found.items():
            whole = found[f"{name[:2]}d0"][:2]
            assert (partner[:2], partner[2:]) == (whole, name[2:])


def test_the_place_of_an_argument_counts() -> None:
    draft = Draft()
    for name in ("first", "second"):
        draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=name)
    draft.add("concat", "first", "second", name="joined")
    mine = traces.tensorflow(draft.layers, rename=traces.noise(1))
    other = traces.torch([draft.layers[1], draft.layers[0], draft.layers[2]], rename=traces.noise(2))
    weighted = match_weighted(mine.trace, other.trace)
    assert names_of(weighted, mine, other) == {"first": "first", "second": "second"}
    assert {pair.how for pair in weighted.pairs} == {"graph"}
    assert not weighted.ambiguous


def test_a_function_that_one_side_wrote_out_has_no_part_of_it_as_partner() -> None:
    def net(written: bool) -> list[Layer]:
        draft = Draft()
        at = draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name="a")
        if written:
            at = draft.add("activation", draft.add("rescale", at, offset=3.0), function="relu6", name="inner")
            at = draft.add("rescale", at, scale=1 / 6, name="end")
        else:
            at = draft.add("activation", at, function="hard_sigmoid", name="whole")
        draft.add("conv", at, sizes=(8, 8), kernel=[3, 3], name="b")
        return draft.layers

    mine, other = traces.tensorflow(net(True)), traces.torch(net(False))
    weighted, everything = both(mine, other)
    assert names_of(everything, mine, other) == {"a": "a", "b": "b"}
    here, there = prints_of({"inner": 2, "end": 3}, mine), prints_of({"whole": 3}, other)
    matching = match_all(mine.trace, other.trace, weighted, here, there)
    assert names_of(matching, mine, other) == {"a": "a", "b": "b", "end": "whole"}


def test_a_layer_of_ones_own_pairs_with_the_product_it_is() -> None:
    own = (
        Op(0, "conv", "conv", (0,), (1,), {}, {"kernel": "conv/kernel"}),
        Op(1, "scale", "op:LayerScale", (1,), (2,), {}, {"gamma": "scale/gamma"}),
    )
    mine = _trace(own, {"conv/kernel": (3, 3, 3, 8), "scale/gamma": (8,)}, 2)
    written = (
        Op(0, "0", "conv", (0,), (1,), {}, {"weight": "0.weight"}),
        Op(1, "mul", "multiply", (1,), (2,), {}, {"other": "gamma"}),
    )
    other = _trace(written, {"0.weight": (8, 3, 3, 3), "gamma": (8, 1, 1)}, 2)
    assert [(pair.tensorflow, pair.torch) for pair in match_weighted(mine, other).pairs] == [(0, 0), (1, 1)]


def test_branches_that_differ_by_an_activation_alone_are_told_apart() -> None:
    draft, ends = Draft(), []
    for function in ("elu", "silu", "tanh", "relu"):
        at = draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=function)
        ends.append(draft.add("activation", at, function=function))
    draft.add("add", draft.add("add", ends[0], ends[1]), draft.add("add", ends[2], ends[3]))
    for seed in range(4):
        mine = traces.tensorflow(draft.layers, rename=traces.noise(1))
        other = traces.torch(draft.layers, order=traces.shuffled(seed), rename=traces.noise(2))
        weighted = match_weighted(mine.trace, other.trace)
        names = ("elu", "silu", "tanh", "relu")
        assert names_of(weighted, mine, other) == {name: name for name in names}
        assert not weighted.ambiguous


# By hand.


def test_pairs_given_by_hand_are_kept() -> None:
    draft = Draft()
    for name in ("left", "right"):
        draft.relu(draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=name))
    draft.add("add", draft.layers[1].name, draft.layers[3].name)
    mine, other = traces.tensorflow(draft.layers), traces.torch(draft.layers)
    weighted, everything = both(mine, other, {"left": "right"})
    assert names_of(weighted, mine, other) == {"left": "right", "right": "left"}
    assert {pair.how for pair in weighted.pairs if mine.trace.ops[pair.tensorflow].name == "left"} == {"map"}
    names = names_of(everything, mine, other)
    assert names[draft.layers[1].name] == draft.layers[3].name


def test_a_fused_activation_goes_with_its_layer_by_hand() -> None:
    ops = (
        Op(0, "conv", "conv", (0,), (1,), {}, {"kernel": "conv/kernel"}),
        Op(1, "conv:relu", "activation", (1,), (2,), {"function": "relu"}),
    )
    mine = _trace(ops, {"conv/kernel": (3, 3, 3, 8)}, 2)
    there = (
        Op(0, "features.0", "conv", (0,), (1,), {}, {"weight": "features.0.weight"}),
        Op(1, "features.1", "activation", (1,), (2,), {"function": "relu"}),
    )
    other = _trace(there, {"features.0.weight": (8, 3, 3, 3)}, 2)
    weighted = match_weighted(mine, other, {"conv": "features.0", "conv:relu": "features.1"})
    everything = match_all(mine, other, weighted, None, None, {"conv": "features.0", "conv:relu": "features.1"})
    assert [(pair.tensorflow, pair.torch, pair.how) for pair in everything.pairs] == [(0, 0, "map"), (1, 1, "map")]


def test_a_group_given_by_hand_pairs_within_itself() -> None:
    draft = Draft()
    for name in ("a/one", "b/one"):
        draft.add("conv", "input", sizes=(3, 8), kernel=[3, 3], name=name)
    draft.add("add", "a/one", "b/one")
    mine = traces.tensorflow(draft.layers)
    other = traces.torch(draft.layers, rename=lambda name: {"a/one": "x.conv", "b/one": "y.conv"}.get(name, name))
    weighted = match_weighted(mine.trace, other.trace, {"a": "y"})
    assert names_of(weighted, mine, other) == {"a/one": "b/one", "b/one": "a/one"}


def _two_on_two() -> tuple[Trace, Trace]:
    ops = [
        (Op(0, one, kind, (0,), (1,), {}, {role: f"{one}{dot}{role}" for role in roles}),
         Op(1, two, "dense", (1,), (2,), {}, {roles[0]: f"{two}{dot}{roles[0]}"}),
         Op(2, "pool", "max_pool", (2,), (3,)))
        for one, two, kind, roles, dot in (("a", "b", "dense", ("kernel", "bias"), "/"),
                                           ("x", "y", "dense", ("weight", "bias"), "."))
    ]  # fmt: skip
    sizes = [
        {name: (4,) if name.endswith("bias") else (4, 4) for op in one for name in op.weights.values()} for one in ops
    ]
    return _trace(ops[0], sizes[0], 3), _trace(ops[1], sizes[1], 3)


def test_a_weight_given_by_hand_stands_for_its_layer() -> None:
    mine, other = _two_on_two()
    weighted = match_weighted(mine, other, {"a/kernel": "y.weight", "b/kernel": "x.weight"})
    assert {(pair.tensorflow, pair.torch, pair.how) for pair in weighted.pairs} == {(0, 1, "map"), (1, 0, "map")}
    weighted = match_weighted(mine, other, {"a/kernel": "x.weight", "a/bias": "x.bias", "b": "y"})
    assert {(pair.tensorflow, pair.torch, pair.how) for pair in weighted.pairs} == {(0, 0, "map"), (1, 1, "map")}


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ({"a": "x", "b": "x"}, "`b` = `x` contradicts `a` = `x`"),
        ({"a/kernel": "x.weight", "a/bias": "y.weight"}, "`a/bias` = `y.weight` contradicts `a/kernel` = `x.weight`"),
        ({"a/kernel": "x.bias"}, "in these two layers `a/kernel` is what `x.weight` is"),
        ({"pool": "x"}, "`pool` = `x` cannot be paired: they have nothing in common .max_pool and dense."),
    ],
)
def test_a_map_that_cannot_be_followed_is_refused(by_hand: Mapping[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        match_weighted(*_two_on_two(), by_hand)


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ({"conv": "features.9"}, "torch has no layer `features.9`; near names: `features.0`"),
        ({"cnov": "features.0"}, "tensorflow has no layer `cnov`; near names: `conv`"),
    ],
)
def test_unknown_names_by_hand_are_refused(by_hand: Mapping[str, str], said: str) -> None:
    mine = _trace((Op(0, "conv", "conv", (0,), (1,), {}, {"kernel": "conv/kernel"}),), {"conv/kernel": (3, 3, 3, 8)}, 1)
    there = Op(0, "features.0", "conv", (0,), (1,), {}, {"weight": "features.0.weight"})
    other = _trace((there,), {"features.0.weight": (8, 3, 3, 3)}, 1)
    with pytest.raises(UsageError, match=said):
        match_weighted(mine, other, by_hand)


def _trace(ops: tuple[Op, ...], weights: Mapping[str, tuple[int, ...]], last: int) -> Trace:
    data: dict[str, Any] = {
        "inputs": [0],
        "outputs": [last],
        "output_names": ["output"],
        "ops": [{**vars(op)} for op in ops],
        "shapes": {},
        "dtypes": {},
        "weights": {name: {"shape": shape, "trainable": True} for name, shape in weights.items()},
    }
    return Trace.from_dict(data)


# What nobody ran, and what is large.


def test_layers_in_order_of_definition_pair_without_any_tensor() -> None:
    def static(seen: Seen) -> Trace:
        ops = tuple(replace(op, inputs=(), outputs=()) for op in seen.trace.ops)
        return replace(seen.trace, ops=ops, inputs=(), outputs=(), output_names=(), shapes={}, dtypes={})

    layers = traces.sequential().layers
    mine = replace(seen := traces.tensorflow(layers, rename=traces.noise(1)), trace=static(seen))
    lacking = traces.without(layers, "conv4")
    other = replace(seen := traces.torch(lacking, rename=traces.noise(2)), trace=static(seen))
    weighted, everything = both(mine, other)
    assert names_left(weighted.only_tensorflow, mine) == ["conv4"]
    assert all(name == partner for name, partner in names_of(everything, mine, other).items())
    assert len(everything.pairs) == len(layers) - 2  # without Flatten, which only moves numbers


def test_a_thousand_operations_pair_in_seconds() -> None:
    layers = traces.resnet((10, 20, 60, 10)).layers
    mine = traces.tensorflow(layers, rename=traces.noise(1))
    other = traces.torch(layers, order=traces.shuffled(0), rename=traces.noise(2))
    assert len(layers) > 1000
    start = time.process_time()  # of this process alone: other work on the machine does not count
    _, everything = both(mine, other)
    assert time.process_time() - start < 20  # about 3 s
    assert names_of(everything, mine, other) == {layer.name: layer.name for layer in layers}
