"""The bank of traps, without a framework: what is proposed, how remedies are combined, and what counts as proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.judge.traps import proposals
from parity.judge.traps.explain import ALL, Attempt, explain
from parity.judge.traps.lint import Difference, compare, compare_optimizers, with_padding
from parity.judge.traps.remedy import Remedy, change, compatible, insert, merged, skip, together
from parity.judge.traps.scene import STATE, Scene, axis_maps, exact_numbers, same
from parity.judge.traps.weight_forms import factor_per_row, is_flatten_order, order_along, relaid
from parity.model.layout import Array
from parity.model.trace import AFTER, Op, Trace

RNG = np.random.default_rng(11)
CONV: Mapping[str, Any] = {
    "rank": 2, "filters": 4, "kernel": [3, 3], "strides": [2, 2], "pads": [[0, 1], [0, 1]], "dilation": [1, 1],
    "groups": 1, "bias": True, "pad_mode": "zeros",
}  # fmt: skip


def op(index: int, name: str, kind: str, inputs: Sequence[int], outputs: Sequence[int], **config: Any) -> Op:
    return Op(index, name, kind, tuple(inputs), tuple(outputs), config)


def trace(ops: Sequence[Op], shapes: Mapping[int, tuple[int, ...]], inputs: tuple[int, ...] = (0,)) -> Trace:
    outputs = (ops[-1].outputs[0],) if ops else inputs
    return Trace(inputs, outputs, ("output",), tuple(ops), dict(shapes), {}, {})


def scene(
    mine: Sequence[Op],
    theirs: Sequence[Op],
    main: tuple[int, int] = (0, 0),
    extras: tuple[Sequence[Op], Sequence[Op]] = ((), ()),
    **given: Any,
) -> Scene:
    """Return a scene of images (2, 8, 6, 3) in TensorFlow and (2, 3, 8, 6) in torch, unless other shapes are given."""
    tensors = sorted({t for one in (*mine, *theirs) for t in (*one.inputs, *one.outputs)})
    shapes = given.pop("shapes", dict.fromkeys(tensors, (2, 3, 8, 6)))
    tf_shapes = given.pop("tf_shapes", dict.fromkeys(tensors, (2, 8, 6, 3)))
    x = np.random.default_rng(0).standard_normal(shapes[0])
    values: dict[str, Any] = {
        "tensorflow": mine[main[0]] if mine else None, "torch": theirs[main[1]] if theirs else None,
        "tensorflow_ops": tuple(mine), "torch_ops": tuple(theirs),
        "extra_tensorflow": tuple(extras[0]), "extra_torch": tuple(extras[1]),
        "tensorflow_weights": {}, "torch_weights": {}, "carried": {}, "fed": {0: x},
        "fed_tensorflow": {0: np.moveaxis(x, 1, -1) if x.ndim > 3 else x},
        "expected": np.zeros((2, 3)), "got": np.ones((2, 3)),
        "shapes": shapes, "training": False, "weights_mode": "tf-to-torch", "alternatives": {},
        "tensorflow_trace": trace(mine, tf_shapes), "torch_trace": trace(theirs, shapes),
    }  # fmt: skip
    return Scene(**{**values, **given})


def pair(kind: str, mine: Mapping[str, Any], theirs: Mapping[str, Any], **given: Any) -> Scene:
    return scene([op(0, "layer", kind, [0], [1], **mine)], [op(0, "net.layer", kind, [0], [1], **theirs)], **given)


def found(one: Scene, trap: str) -> list[Remedy]:
    return [remedy for remedy in proposals(one) if remedy.trap == trap]


def traps(one: Scene) -> set[str]:
    return {remedy.trap for remedy in proposals(one)}


# What is proposed.


def test_asymmetric_padding_is_said_with_its_numbers() -> None:
    (remedy,) = found(pair("conv", CONV, {**CONV, "pads": [[1, 1], [1, 1]]}), "same-padding-stride")
    assert remedy.says == "with torch padding (0, 1, 0, 1)"
    assert remedy.fix == "x = F.pad(x, (0, 1, 0, 1)) before `net.layer`, and padding=0 there"
    assert remedy.edits[0]["config"]["pads"] == [[0, 1], [0, 1]]


def test_pads_are_told_last_axis_first() -> None:
    (remedy,) = found(pair("conv", {**CONV, "pads": [[2, 3], [0, 1]]}, CONV), "same-padding-stride")
    assert "F.pad(x, (0, 1, 2, 3))" in remedy.fix


def test_equal_configurations_propose_nothing_of_the_configuration() -> None:
    assert traps(pair("conv", CONV, CONV)) <= {"input-scale", "channel-order"}
    assert traps(pair("batch_norm", {"eps": 1e-3}, {"eps": 1e-3})) <= {"input-scale", "channel-order"}


def test_a_padding_layer_on_one_side_counts_as_padding() -> None:
    layer = op(0, "pad", "zero_pad", [0], [1], pads=[[3, 3], [3, 3]])
    mine = [layer, op(1, "conv", "conv", [1], [2], **{**CONV, "pads": [[0, 0], [0, 0]]})]
    same_ = op(0, "conv", "conv", [0], [1], **{**CONV, "pads": [[3, 3], [3, 3]]})
    assert not found(scene(mine, [same_], (1, 0), ((layer,), ())), "same-padding-stride")[1:]
    other = op(0, "conv", "conv", [0], [1], **{**CONV, "pads": [[2, 2], [2, 2]]})
    best = found(scene(mine, [other], (1, 0), ((layer,), ())), "same-padding-stride")[0]
    assert best.fix == "padding=(3, 3) in `conv`"


CONFIGURED: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("stride-placement", "conv", {"strides": [2, 2]}, {"strides": [1, 1]}, {"strides": [2, 2]}),
    ("dilation-or-groups", "conv", {"dilation": [3, 1]}, {"dilation": [1, 1]}, {"dilation": [3, 1]}),
    ("dilation-or-groups", "conv", {"groups": 2}, {"groups": 1}, {"groups": 2}),
    ("padding-mode", "conv", {"pad_mode": "reflect"}, {"pad_mode": "zeros"}, {"pad_mode": "reflect"}),
    ("conv-transpose-crop", "conv_transpose", {"crops": [[0, 1], [0, 1]]}, {"crops": [[1, 0], [1, 0]]},
     {"crops": [[0, 1], [0, 1]]}),
    ("pixel-shuffle-order", "depth_to_space", {"block": 2, "order": "block-major"},
     {"block": 2, "order": "channel-major"}, {"order": "block-major"}),
    ("axis-mismatch", "softmax", {"axis": 3}, {"axis": 3}, {"axis": 1}),
    ("axis-mismatch", "concat", {"axis": 2}, {"axis": 2}, {"axis": 3}),
    ("pool-padding", "max_pool", {"pool": [3, 3], "pads": [[0, 1], [0, 1]]}, {"pool": [3, 3], "pads": [[1, 1], [1, 1]]},
     {"pads": [[0, 1], [0, 1]]}),
    ("avgpool-count-pad", "avg_pool", {"pool": [3, 3], "pads": [[1, 1], [1, 1]]},
     {"pool": [3, 3], "pads": [[1, 1], [1, 1]], "count_include_pad": True}, {"count_include_pad": False}),
    ("batchnorm-eps", "batch_norm", {"eps": 1e-3}, {"eps": 1e-5}, {"eps": 1e-3}),
    ("batchnorm-eps", "batch_norm", {"eps": 1.001e-5}, {"eps": 1e-5}, {"eps": 1.001e-5}),
    ("batchnorm-mode", "batch_norm", {"training": False}, {"training": True}, {"training": False}),
    ("layernorm-eps", "layer_norm", {"eps": 1e-3, "axes": [3]}, {"eps": 1e-5, "axes": [1]}, {"eps": 1e-3}),
    ("layernorm-eps", "rms_norm", {"eps": 1e-6}, {"eps": 2.0**-23}, {"eps": 1e-6}),
    ("norm-axes", "layer_norm", {"eps": 1e-3, "axes": [3]}, {"eps": 1e-3, "axes": [1, 2, 3]}, {"axes": [1]}),
    ("groupnorm-groups", "group_norm", {"groups": 3}, {"groups": 1}, {"groups": 3}),
    ("l2-normalize-eps", "l2_normalize", {"form": "rsqrt-floor", "eps": 1e-12}, {"form": "norm-max", "eps": 1e-12},
     {"form": "rsqrt-floor"}),
    ("gelu-approximation", "activation", {"function": "gelu"}, {"function": "gelu_tanh"}, {"function": "gelu"}),
    ("leaky-slope", "activation", {"function": "leaky_relu", "slope": 0.3}, {"function": "leaky_relu", "slope": 0.01},
     {"slope": 0.3}),
    ("elu-selu-alpha", "activation", {"function": "elu", "alpha": 0.7}, {"function": "elu", "alpha": 1.0},
     {"alpha": 0.7}),
    ("softplus-threshold", "activation", {"function": "softplus"}, {"function": "softplus", "threshold": 20.0},
     {"threshold": 40.0}),
    ("hard-sigmoid-slope", "activation", {"function": "hard_sigmoid", "slope": 0.2}, {"function": "hard_sigmoid"},
     {"slope": 0.2}),
    ("relu6-missing", "activation", {"function": "relu6"}, {"function": "relu"}, {"function": "relu6"}),
    ("activation-missing", "activation", {"function": "silu"}, {"function": "relu"}, {"function": "silu"}),
    ("gru-reset-after", "gru", {"reset_after": False}, {"reset_after": True}, {"reset_after": False}),
    ("recurrent-last-step", "lstm", {"sequences": False}, {"sequences": True}, {"sequences": False}),
    ("hard-sigmoid-slope", "lstm", {"recurrent_activation": "hard_sigmoid"}, {},
     {"recurrent_activation": "hard_sigmoid"}),
    ("axis-mismatch", "lstm", {}, {"batch_first": False}, {"batch_first": True}),
    ("attention-scale-or-heads", "attention", {"heads": 4, "scale": 0.5}, {"heads": 2, "scale": 0.5}, {"heads": 4}),
    ("attention-scale-or-heads", "sdpa", {"scale": 0.5}, {"scale": 0.25}, {"scale": 0.5}),
    ("attention-mask-polarity", "sdpa", {"causal": True}, {"causal": False}, {"causal": True}),
    ("resize-coordinates", "resize", {"method": "bilinear"}, {"method": "bilinear", "align_corners": True},
     {"align_corners": False}),
    ("resize-coordinates", "resize", {"method": "nearest", "exact": True}, {"method": "nearest", "exact": False},
     {"exact": True}),
    ("resize-coordinates", "resize", {"method": "bicubic"}, {"method": "bicubic"}, {"by": "tensorflow"}),
    ("input-scale", "rescale", {"scale": 1 / 255}, {"scale": 1.0}, {"scale": 1 / 255}),
    ("unknown", "reduce", {"function": "mean"}, {"function": "sum"}, {"function": "mean"}),
]  # fmt: skip


# What is tried whatever the configurations say.
ALWAYS_TRIED = ("input-scale", "resize-coordinates")


@pytest.mark.parametrize(("trap", "kind", "mine", "theirs", "wanted"), CONFIGURED)
def test_a_difference_of_configuration_becomes_a_remedy(
    trap: str, kind: str, mine: dict[str, Any], theirs: dict[str, Any], wanted: dict[str, Any]
) -> None:
    base = dict(CONV) if kind == "conv" else {"rank": 2} if "pool" in kind or kind == "conv_transpose" else {}
    remedies = found(pair(kind, {**base, **mine}, {**base, **theirs}), trap)
    assert any(wanted.items() <= edit["config"].items() for remedy in remedies for edit in remedy.edits)
    assert all(remedy.says and remedy.fix for remedy in remedies)
    cured = found(pair(kind, {**base, **mine}, {**base, **theirs, **wanted}), trap)
    assert trap in ALWAYS_TRIED or not cured


def test_an_activation_that_only_tensorflow_has_is_inserted_where_it_stands() -> None:
    relu = op(0, "a", "activation", [0], [1], function="relu")
    mine = [relu, op(1, "dense", "dense", [1], [2], units=3)]
    one = scene(mine, [op(0, "fc", "dense", [0], [1], units=3)], (1, 0), ((relu,), ()))
    (remedy,) = found(one, "activation-missing")
    assert (remedy.edits[0]["insert"], remedy.edits[0]["kind"]) == (0, "activation")
    after = [op(0, "dense", "dense", [0], [1], units=3), op(1, "a", "activation", [1], [2], function="tanh")]
    one = scene(after, [op(0, "fc", "dense", [0], [1], units=3)], (0, 0), ((after[1],), ()))
    (remedy,) = found(one, "activation-missing")
    assert remedy.edits[0]["insert"] == 1
    assert remedy.fix == "x = torch.tanh(x) after `fc`"


def test_what_only_torch_has_is_left_out() -> None:
    extra = [op(0, "act", "activation", [0], [1], function="relu"), op(1, "scale", "rescale", [1], [2], scale=0.5)]
    theirs = [*extra, op(2, "fc", "dense", [2], [3], units=3)]
    one = scene([op(0, "dense", "dense", [0], [1], units=3)], theirs, (0, 2), ((), extra))
    assert found(one, "activation-extra")[0].edits == ({"op": 0, "skip": True},)
    assert found(one, "residual-scale")[0].edits == ({"op": 1, "skip": True},)
    first = op(0, "scale", "rescale", [0], [1], scale=0.5)
    one = scene([op(0, "d", "dense", [0], [1])], [first, op(1, "fc", "dense", [1], [2])], (0, 1), ((), (first,)))
    assert found(one, "input-scale")[0].edits == ({"op": 0, "skip": True},)
    mine = [op(0, "pixels", "rescale", [0], [1], scale=1 / 255), op(1, "d", "dense", [1], [2])]
    theirs = [first, op(1, "div", "rescale", [1], [2], scale=1 / 255), op(2, "fc", "dense", [2], [3])]
    one = scene(mine, theirs, (1, 2), (mine[:1], theirs[:2]))
    assert found(one, "input-scale")[0].named == ("pixels", "scale")  # beside TensorFlow's own


def test_a_hard_sigmoid_that_was_written_out_is_one_cause() -> None:
    act = op(0, "act", "activation", [0], [1], function="hard_sigmoid")
    mine = [act, op(1, "conv", "conv", [1], [2], **CONV)]
    steps = [op(0, "mul", "rescale", [0], [1], scale=0.2), op(1, "add", "rescale", [1], [2], scale=1.0, offset=0.5)]
    clamp = op(2, "clamp", "activation", [2], [3], function="hard_tanh", min=0.0, max=1.0)
    theirs = [*steps, clamp, op(3, "conv", "conv", [3], [4], **CONV)]
    one = scene(mine, theirs, (1, 3), ((), steps))
    (remedy,) = found(one, "hard-sigmoid-slope")
    assert {edit["op"] for edit in remedy.edits} == {0, 1, 2}
    assert remedy.named == ("act", "clamp")
    assert [cause.trap for cause in explain(one, hidden("hard-sigmoid-slope")).causes] == ["hard-sigmoid-slope"]


def test_habits_are_tried_on_model_inputs_alone() -> None:
    one = pair("conv", CONV, CONV)
    assert {"x / 255", "2 * x - 1"} <= {
        r.fix.split(" before")[0].removeprefix("x = ") for r in found(one, "input-scale")
    }
    assert found(one, "channel-order")[0].edits[0]["config"] == {"axis": 1, "indices": [2, 1, 0]}
    conv = op(1, "b", "conv", [1], [2], **CONV)
    whole = [op(0, "a", "conv", [0], [1], **CONV), conv]
    shapes = dict.fromkeys(range(3), (2, 3, 8, 6))
    inner = scene([conv], [conv], shapes=shapes, fed={1: np.zeros((2, 3, 8, 6))}, torch_trace=trace(whole, shapes))
    assert not found(inner, "channel-order")


def test_ids_are_moved() -> None:
    one = pair("embedding", {}, {}, shapes={0: (2, 5), 1: (2, 5, 4)})
    assert {edit["config"]["offset"] for r in found(one, "embedding-offset") for edit in r.edits} == {
        -1.0,
        1.0,
        -2.0,
        2.0,
    }


def test_an_order_of_outputs_is_found_by_value() -> None:
    expected = RNG.standard_normal((4, 5))
    order = [3, 0, 4, 1, 2]
    got = np.empty_like(expected)
    got[:, order] = expected  # got[:, order] is what TensorFlow has
    (remedy,) = found(pair("dense", {}, {}, expected=expected, got=got), "output-permutation")
    assert remedy.edits[0]["config"]["indices"] == order
    assert not found(pair("dense", {}, {}, expected=expected, got=got + 1e-3), "output-permutation")


def test_state_has_traps_of_its_own() -> None:
    one = pair("batch_norm", {"momentum": 0.99}, {"momentum": 0.9}, stage=STATE, training=True)
    assert {"batchnorm-momentum", "batchnorm-running-variance"} <= traps(one)
    assert "momentum=0.01" in found(one, "batchnorm-momentum")[0].fix
    assert "batchnorm-momentum" not in traps(pair("batch_norm", {"momentum": 0.99}, {"momentum": 0.9}))


def test_another_kind_is_proved_without_an_id() -> None:
    mine, theirs = op(0, "pool", "avg_pool", [0], [1], pool=[2, 2]), op(0, "pool", "max_pool", [0], [1], pool=[2, 2])
    (remedy,) = found(scene([mine], [theirs]), "unknown")
    assert remedy.says == "with avg_pool instead of max_pool"


# Weights that were loaded wrongly.


def loaded(kind: str, carried: Mapping[str, Array], held: Mapping[str, Array], **given: Any) -> Scene:
    config = given.pop("config", {})
    weights = {role: np.asarray(array, dtype=np.float64) for role, array in held.items()}
    return pair(kind, config, config, carried=carried, torch_weights=weights, weights_mode="as-is", **given)


KERNEL = RNG.standard_normal((4, 4, 3, 3))
BIAS = RNG.standard_normal(4)
CELL = RNG.standard_normal((12, 5))
STATISTICS = {role: RNG.uniform(0.3, 2.0, 6) for role in ("weight", "bias", "running_mean", "running_var")}
WEIGHTS: list[tuple[str, str, str, Array, Callable[[Array], Array]]] = [
    ("kernel-layout", "conv", "weight", KERNEL, lambda w: w.swapaxes(0, 1)),
    ("kernel-layout", "dense", "weight", KERNEL[0, 0], lambda w: w.T),
    ("kernel-layout", "conv", "weight", KERNEL, lambda w: w.transpose(2, 3, 1, 0).reshape(w.shape)),
    ("kernel-spatial-swap", "conv", "weight", KERNEL, lambda w: w.swapaxes(2, 3)),
    ("kernel-flip", "conv", "weight", KERNEL, lambda w: w[:, :, ::-1, ::-1]),
    ("channel-order", "conv", "weight", KERNEL, lambda w: w[:, ::-1]),
    ("output-permutation", "conv", "weight", KERNEL, lambda w: w[[2, 0, 3, 1]]),
    ("weight-scale", "conv", "weight", KERNEL, lambda w: 1.25 * w),
    ("weight-scale", "conv", "weight", KERNEL, lambda w: w * np.array([1.0, 2.0, 3.0, -1.0])[:, None, None, None]),
    ("bias-missing-or-doubled", "conv", "bias", BIAS, lambda b: 0.0 * b),
    ("bias-missing-or-doubled", "conv", "bias", BIAS, lambda b: 2.0 * b),
    ("batchnorm-stats-swap", "batch_norm", "running_var", STATISTICS["running_var"], np.sqrt),
    ("batchnorm-stats-swap", "batch_norm", "running_var", STATISTICS["running_var"], lambda v: 1.0 / np.sqrt(v)),
    ("init-distribution", "batch_norm", "running_var", STATISTICS["running_var"], np.ones_like),
    ("lstm-gate-order", "lstm", "weight_ih_l0", CELL, lambda w: w.reshape(4, 3, 5)[[0, 1, 3, 2]].reshape(w.shape)),
    ("gru-gate-order", "gru", "weight_hh_l0", CELL, lambda w: w.reshape(3, 4, 5)[[1, 0, 2]].reshape(w.shape)),
    ("gru-gate-order", "gru", "biases_l0", CELL.reshape(2, 30),
     lambda b: b.reshape(2, 3, 10)[:, [1, 0, 2]].reshape(b.shape)),
    ("bias-missing-or-doubled", "gru", "biases_l0", CELL.reshape(2, 30), lambda b: np.stack([b[0], b[0]])),
    ("bias-missing-or-doubled", "gru", "biases_l0", CELL.reshape(2, 30), lambda b: np.stack([b[0], 0 * b[1]])),
    ("embedding-offset", "embedding", "weight", CELL, lambda w: np.roll(w, 1, axis=0)),
    ("embedding-padding-index", "embedding", "weight", CELL, lambda w: np.concatenate([0 * w[:1], w[1:]])),
    ("prelu-sharing", "prelu", "weight", BIAS, lambda w: np.full_like(w, w.mean())),
]  # fmt: skip


@pytest.mark.parametrize(("trap", "kind", "role", "right", "spoil"), WEIGHTS)
def test_a_weight_in_disguise_is_recognised(
    trap: str, kind: str, role: str, right: Array, spoil: Callable[[Array], Array]
) -> None:
    remedies = [r for r in found(loaded(kind, {role: right}, {role: spoil(right)}), trap) if r.cost < 1.0]
    assert len(remedies) == 1
    np.testing.assert_array_equal(remedies[0].edits[0]["weights"][role], right)
    assert not any(r.cost < 1.0 for r in proposals(loaded(kind, {role: right}, {role: right})))
    noise = right + 1e-2 * np.random.default_rng(1).standard_normal(right.shape)
    assert not [r for r in found(loaded(kind, {role: right}, {role: noise}), trap) if r.cost < 1.0]


def test_heads_that_are_interleaved() -> None:
    weight = RNG.standard_normal((6, 6))
    held = weight.reshape(2, 3, 6).swapaxes(0, 1).reshape(6, 6)
    one = loaded("attention", {"query.weight": weight}, {"query.weight": held}, config={"heads": 2})
    assert found(one, "attention-scale-or-heads")[0].edits[0]["weights"]["query.weight"] is weight


def test_biases_of_heads_that_are_interleaved() -> None:
    right = {"query.weight": RNG.standard_normal((6, 6)), "query.bias": RNG.standard_normal(6)}
    held = {role: array.reshape(2, 3, -1).swapaxes(0, 1).reshape(array.shape) for role, array in right.items()}
    one = found(loaded("attention", right, held, config={"heads": 2}), "attention-scale-or-heads")
    assert set(one[0].edits[0]["weights"]) == set(right)


def test_a_flattened_kernel_names_the_sizes() -> None:
    kernel = RNG.standard_normal((4 * 3 * 2, 5))
    right = np.moveaxis(kernel.reshape(4, 3, 2, 5), 2, 0).reshape(24, 5).T
    mine = [op(0, "flatten", "flatten", [0], [1]), op(1, "dense", "dense", [1], [2], units=5)]
    theirs = [op(0, "flat", "flatten", [0], [1]), op(1, "fc", "dense", [1], [2], units=5)]
    one = scene(
        mine, theirs, (1, 1), shapes={0: (2, 2, 4, 3), 1: (2, 24), 2: (2, 5)},
        tf_shapes={0: (2, 4, 3, 2), 1: (2, 24), 2: (2, 5)}, carried={"weight": right},
        torch_weights={"weight": kernel.T}, tensorflow_weights={"kernel": kernel},
    )  # fmt: skip
    (remedy,) = found(one, "flatten-order")
    assert remedy.fix == "kernel.reshape(4, 3, 2, -1).transpose(2, 0, 1, 3).reshape(24, -1).T into `fc.weight`"
    moved = kernel.reshape(4, 3, 2, -1).transpose(2, 0, 1, 3).reshape(24, -1).T  # what the fix says
    np.testing.assert_array_equal(moved, right)


def test_units_that_become_an_image_stand_in_the_order_of_flatten() -> None:
    right, bias = RNG.standard_normal((24, 5)), RNG.standard_normal(24)
    moved = np.arange(24).reshape(4, 3, 2).transpose(2, 0, 1).reshape(-1)  # torch's unit j is TensorFlow's moved[j]
    held = {"weight": np.empty_like(right), "bias": np.empty_like(bias)}
    held["weight"][moved], held["bias"][moved] = right, bias
    mine = [op(0, "fc", "dense", [0], [1], units=24), op(1, "image", "reshape", [1], [2])]
    for size, trap in (((2, 2, 4, 3), "flatten-order"), ((2, 24), "output-permutation")):
        one = scene(
            mine, mine, (0, 0), shapes={0: (2, 5), 1: (2, 24), 2: size}, tf_shapes={0: (2, 5), 1: (2, 24)},
            carried={"weight": right, "bias": bias}, torch_weights=held,
            tensorflow_weights={"kernel": held["weight"].T},
        )  # fmt: skip
        found_ = [remedy for remedy in proposals(one) if remedy.cost < 1.0]
        assert trap in {remedy.trap for remedy in found_}
        units = [remedy for remedy in found_ if "units" in remedy.says]
        assert bool(units) == (trap == "flatten-order")


def test_statistics_in_each_others_place() -> None:
    held = {**STATISTICS, "weight": STATISTICS["bias"], "bias": STATISTICS["weight"]}
    (remedy,) = found(loaded("batch_norm", STATISTICS, held), "batchnorm-stats-swap")
    assert set(remedy.edits[0]["weights"]) == {"weight", "bias"}


def test_a_weight_of_another_layer() -> None:
    others = {"other": {"weight": RNG.standard_normal(KERNEL.shape)}}
    one = loaded("conv", {"weight": KERNEL}, others["other"], alternatives=others)
    assert "not `other`" in found(one, "weight-wrong-layer")[0].fix


def test_a_bias_on_one_side() -> None:
    one = loaded("dense", {"weight": CELL, "bias": BIAS}, {"weight": CELL})
    assert found(one, "bias-missing-or-doubled")[0].says == "with TensorFlow's bias"
    one = loaded("dense", {"weight": CELL}, {"weight": CELL, "bias": BIAS})
    np.testing.assert_array_equal(found(one, "bias-missing-or-doubled")[0].edits[0]["weights"]["bias"], 0.0 * BIAS)


def test_depthwise_channels() -> None:
    kernel = RNG.standard_normal((3, 3, 4, 2))
    right = np.moveaxis(kernel, (2, 3), (0, 1)).reshape(8, 1, 3, 3)
    held = np.moveaxis(kernel, (3, 2), (0, 1)).reshape(8, 1, 3, 3)
    one = loaded("depthwise_conv", {"weight": right}, {"weight": held}, tensorflow_weights={"kernel": kernel},
                 config={"rank": 2, "kernel": [3, 3]})  # fmt: skip
    assert found(one, "depthwise-channel-order")


def test_a_depthwise_bias_stands_as_its_kernel_does() -> None:
    kernel, bias = RNG.standard_normal((3, 3, 4, 2)), RNG.standard_normal(8)
    right = np.moveaxis(kernel, (2, 3), (0, 1)).reshape(8, 1, 3, 3)
    held = {"weight": np.moveaxis(kernel, (3, 2), (0, 1)).reshape(8, 1, 3, 3), "bias": bias.reshape(4, 2).T.reshape(-1)}
    carried, config = {"weight": right, "bias": bias}, {"rank": 2, "kernel": [3, 3]}
    one = loaded("depthwise_conv", carried, held, tensorflow_weights={"kernel": kernel}, config=config)
    assert {remedy.trap for remedy in proposals(one) if remedy.cost < 1.0} == {"depthwise-channel-order"}
    held["weight"] = right
    one = loaded("depthwise_conv", carried, held, tensorflow_weights={"kernel": kernel}, config=config)
    assert {remedy.trap for remedy in proposals(one) if remedy.cost < 1.0} == {"output-permutation"}


def test_a_norm_that_was_never_loaded_is_one_cause() -> None:
    fresh = {"weight": np.ones(6), "bias": np.zeros(6), "running_mean": np.zeros(6), "running_var": np.ones(6)}
    halves = [r for r in proposals(loaded("batch_norm", STATISTICS, fresh)) if r.cost < 1.0]
    assert [remedy.trap for remedy in halves] == ["init-distribution"]
    assert set(halves[0].edits[0]["weights"]) == set(fresh)
    shifted = {**STATISTICS, "bias": np.zeros(6)}
    halves = [r for r in proposals(loaded("batch_norm", STATISTICS, shifted)) if r.cost < 1.0]
    assert [remedy.trap for remedy in halves] == ["bias-missing-or-doubled"]


def test_two_things_done_to_one_kernel_are_two_causes() -> None:
    flipped = KERNEL.swapaxes(0, 1)[:, :, ::-1, ::-1]
    for held, wanted in (
        (flipped, {"kernel-layout", "kernel-flip"}),
        (1.5 * KERNEL.swapaxes(2, 3), {"kernel-spatial-swap", "weight-scale"}),
    ):
        one = loaded("conv", {"weight": KERNEL}, {"weight": held})
        halves = [remedy for remedy in proposals(one) if remedy.cost < 1.0]
        assert {remedy.trap for remedy in halves} == wanted
        assert not any(np.allclose(remedy.edits[0]["weights"]["weight"], KERNEL) for remedy in halves)
        (edit,) = together(halves).edits
        np.testing.assert_array_equal(edit["weights"]["weight"], KERNEL)
        result = explain(one, hidden(*wanted))
        assert {cause.trap for cause in result.causes} == wanted


def test_what_has_no_id_is_claimed_only_where_nothing_with_one_does() -> None:
    other = RNG.standard_normal(KERNEL.shape)
    one = loaded("conv", {"weight": KERNEL}, {"weight": other})
    assert [cause.trap for cause in explain(one, hidden("unknown")).causes] == ["unknown"]
    both = pair("reduce", {"function": "mean", "axes": [3]}, {"function": "sum", "axes": [2]})
    assert [cause.trap for cause in explain(both, hidden("axis-mismatch")).causes] == ["axis-mismatch"]


def test_initial_weights_of_torch_are_told_from_trained_ones() -> None:
    limit = 1.0 / np.sqrt(36)
    held = np.random.default_rng(2).uniform(-limit, limit, KERNEL.shape)
    held.flat[0] = limit * 0.999
    assert found(loaded("conv", {"weight": KERNEL}, {"weight": held}), "init-distribution")
    normal = RNG.standard_normal(KERNEL.shape) / 6
    assert not found(loaded("conv", {"weight": KERNEL}, {"weight": normal}), "init-distribution")


def test_forms() -> None:
    square = RNG.standard_normal((3, 3))
    assert relaid(square.T, square, None)
    assert relaid(RNG.standard_normal((3, 3)), square, None) is None
    assert order_along(square[[2, 0, 1]], square, 0) == [1, 2, 0]
    assert order_along(square, square, 0) is None
    assert is_flatten_order(np.arange(24).reshape(12, 2).T.reshape(-1).tolist())
    assert not is_flatten_order([1, 0, 2, 3])
    assert not factor_per_row(RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4)))


# How remedies are combined and proved.


def hidden(*needed: str, base: float = 0.5, broken: bool = False) -> Callable[[Sequence[Remedy]], Attempt]:
    """Return an `attempt` that passes when all remedies of these traps are applied at once."""

    def attempt(remedies: Sequence[Remedy]) -> Attempt:
        names = {name for remedy in remedies for name in remedy.trap.split("+") if name}
        if broken and remedies and not names:
            return Attempt(False, 0.1)  # the canonical form does not reproduce the operation
        left = [name for name in needed if name not in names]
        return Attempt(not left, base * len(left) / len(needed) if left else 1e-16)

    return attempt


TWO = pair("conv", {**CONV, "pad_mode": "reflect", "pads": [[1, 1], [1, 1]]}, {**CONV, "pads": [[0, 0], [0, 0]]})


def test_the_cheapest_sufficient_cause_wins() -> None:
    result = explain(TWO, hidden("same-padding-stride"))
    assert [cause.trap for cause in result.causes] == ["same-padding-stride"]
    assert (result.before, result.after) == (0.5, 1e-16)


def test_two_causes_in_one_layer_are_found_together() -> None:
    result = explain(TWO, hidden("same-padding-stride", "padding-mode"))
    assert {cause.trap for cause in result.causes} == {"same-padding-stride", "padding-mode"}
    assert {"same-padding-stride", "padding-mode"}.isdisjoint(result.ruled_out)


def test_three_causes_in_one_layer_are_found_together() -> None:
    one = pair("conv", {**CONV, "pad_mode": "reflect", "pads": [[1, 1], [1, 1]], "dilation": [2, 2]},
               {**CONV, "pads": [[0, 0], [0, 0]]})  # fmt: skip
    result = explain(one, hidden("same-padding-stride", "padding-mode", "input-scale"))
    assert {cause.trap for cause in result.causes} == {"same-padding-stride", "padding-mode", "input-scale"}


def test_what_no_remedy_heals_stays_unknown_with_what_was_ruled_out() -> None:
    result = explain(TWO, hidden("something else"))
    assert result.causes == ()
    assert result.after is None
    assert {"same-padding-stride", "padding-mode"} <= set(result.ruled_out)


def test_nothing_is_claimed_of_an_operation_that_its_canonical_form_does_not_reproduce() -> None:
    result = explain(TWO, hidden("same-padding-stride", broken=True))
    assert result.causes == ()
    assert "same-padding-stride" not in result.ruled_out


def test_a_check_that_passes_has_no_cause() -> None:
    assert explain(TWO, lambda _: Attempt(True, 1e-17)).causes == ()


def test_attempts_are_bounded() -> None:
    count = 0

    def attempt(_: Sequence[Remedy]) -> Attempt:
        nonlocal count
        count += 1
        return Attempt(False, 0.5)

    many = [insert(0, f"trap-{i}", "", "", "rescale", {"scale": float(i)}, order=i) for i in range(300)]
    assert explain(TWO, attempt, many).causes == ()
    assert 100 < count <= ALL + 2


def test_a_larger_set_is_no_cause_where_a_part_would_do() -> None:
    def attempt(remedies: Sequence[Remedy]) -> Attempt:
        names = {name for remedy in remedies for name in remedy.trap.split("+")}
        return Attempt(names == {"padding-mode"}, 0.5)

    result = explain(TWO, attempt)
    assert [cause.trap for cause in result.causes] == ["padding-mode"]


def test_edits_of_one_operation_are_merged_and_inserts_at_one_place_chained() -> None:
    conv = op(7, "conv", "conv", [0], [1], **CONV)
    first, second = (
        change(conv, "a", "", "", {"pads": [[1, 1], [1, 1]]}),
        change(conv, "b", "", "", {"dilation": [2, 2]}),
    )
    (edit,) = together([first, second]).edits
    assert (edit["config"]["pads"], edit["config"]["dilation"]) == ([[1, 1], [1, 1]], [2, 2])
    assert "changes" not in edit
    late = insert(3, "c", "", "", "rescale", {"scale": 2.0}, order=5)
    early = insert(3, "d", "", "", "activation", {"function": "relu"}, order=1)
    (chain,) = merged([*late.edits, *early.edits])
    assert [step["kind"] for step in chain["config"]["steps"]] == ["activation", "rescale"]
    assert not compatible([first, change(conv, "c", "", "", {"pads": [[0, 0], [0, 0]]})])
    assert not compatible([first, skip(conv, "d", "", "")])
    assert not compatible([skip(conv, "d", "", ""), first])
    assert compatible([first, second, late])


# Small things.


def test_axes_are_mapped_by_the_sizes() -> None:
    assert axis_maps((2, 8, 6, 3), (2, 3, 8, 6)) == [(0, 2, 3, 1)]
    assert axis_maps((14, 4), (2, 7, 4)) == [(1, 2), (0, 1)]  # the batch and time together
    assert axis_maps((2, 8, 6), (2, 8, 6)) == [(0, 1, 2)]
    assert axis_maps((2, 8, 6), (2, 6, 8)) == [(0, 2, 1)]
    assert axis_maps((2, 5, 5, 5), (2, 5, 5, 5)) == [(0, 2, 3, 1), (0, 1, 2, 3)]


def test_constants_are_told_as_they_were_meant() -> None:
    assert exact_numbers(float(np.float32(0.5**0.5)))[-1] == pytest.approx(0.5**0.5, abs=2e-16)
    assert 0.1 in exact_numbers(float(np.float32(0.1)))
    assert 1.0 / 255.0 in exact_numbers(float(np.float32(1.0 / 255.0)))
    assert exact_numbers(0.1) == [0.1, float(np.float32(0.1))]  # made in float32 by the code itself
    assert exact_numbers(2.0) == [2.0]
    assert 1.0 / 8.0**0.5 in exact_numbers(1.0 / float(str(np.float32(8.0**0.5))))  # by which the code divides


def test_same_values() -> None:
    assert same([1, 2], (1, 2.0))
    assert not same([1, 2], [1, 2, 3])
    assert not same(1e-3, 1.001e-3)
    assert same(None, None)
    assert not same(None, 0.0)


# Lint.


def linted(kind: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, str]:
    differences = compare(op(0, "tf", kind, [], [], **mine), op(0, "pt", kind, [], [], **theirs))
    assert all((d.tensorflow, d.torch) == ("tf", "pt") and d.effect for d in differences)
    return {d.trap: d.what for d in differences}


LINT: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("batchnorm-eps", "batch_norm", {"eps": 1e-3}, {"eps": 1e-5}),
    ("batchnorm-momentum", "batch_norm", {"momentum": 0.99}, {"momentum": 0.9}),
    ("layernorm-eps", "layer_norm", {"eps": 1e-3}, {"eps": 1e-5}),
    ("groupnorm-groups", "group_norm", {"groups": 32}, {"groups": 8}),
    ("stride-placement", "conv", {"strides": [2, 2]}, {"strides": [1, 1]}),
    ("dilation-or-groups", "conv", {"dilation": [2, 2]}, {"dilation": [1, 1]}),
    ("same-padding-stride", "conv", {"padding": "same", "strides": [2, 2]}, {"padding": "explicit", "strides": [2, 2]}),
    ("same-padding-stride", "conv", {"pads": [[0, 1]]}, {"pads": [[1, 1]]}),
    ("bias-missing-or-doubled", "dense", {"bias": True}, {"bias": False}),
    ("avgpool-count-pad", "avg_pool", {}, {"count_include_pad": True}),
    ("gelu-approximation", "activation", {"function": "gelu"}, {"function": "gelu_tanh"}),
    ("leaky-slope", "activation", {"function": "leaky_relu", "slope": 0.3}, {"function": "leaky_relu", "slope": 0.01}),
    ("gru-reset-after", "gru", {"reset_after": False}, {"reset_after": True}),
    ("embedding-padding-index", "embedding", {"padding_index": None}, {"padding_index": 0}),
    ("init-distribution", "dense", {"initializer": "glorot_uniform"}, {"initializer": "kaiming_uniform"}),
]  # fmt: skip


@pytest.mark.parametrize(("trap", "kind", "mine", "theirs"), LINT)
def test_lint_sees_what_configurations_say(trap: str, kind: str, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert trap in linted(kind, mine, theirs)
    assert trap not in linted(kind, mine, mine)


def test_lint_knows_a_kernel_for_each_channel_in_either_words() -> None:
    mine, theirs = (
        op(0, "a", "conv", [1], [2], groups=8, filters=8),
        op(0, "b", "depthwise_conv", [1], [2], multiplier=1),
    )
    assert not compare(mine, theirs)
    whole = op(0, "a", "conv", [1], [2], groups=1, filters=8)
    assert [one.trap for one in compare(theirs, whole)] == ["dilation-or-groups"]
    few = op(0, "a", "conv", [1], [2], groups=4, filters=8)
    assert "dilation-or-groups" in {one.trap for one in compare(few, op(0, "b", "conv", [1], [2], groups=1, filters=8))}


def test_lint_calls_no_padding_even() -> None:
    kernel = {"rank": 2, "strides": [2, 2], "dilation": [1, 1], "padding": "same"}
    three, one = {**kernel, "kernel": [3, 3]}, {**kernel, "kernel": [1, 1]}
    none, even = {"pads": [[0, 0], [0, 0]]}, {"pads": [[1, 1], [1, 1]]}
    theirs = {"rank": 2, "strides": [2, 2], "dilation": [1, 1]}
    assert "pads evenly" in linted("conv", three, {**theirs, "kernel": [3, 3], **even})["same-padding-stride"]
    uneven = {"pads": [[0, 1], [0, 1]]}
    assert linted("conv", three, {**theirs, "kernel": [3, 3], **uneven}) == {}
    bare = linted("conv", three, {**theirs, "kernel": [3, 3], **none})["same-padding-stride"]
    assert bare == "SAME against no padding in the layer"
    assert linted("conv", one, {**theirs, "kernel": [1, 1], **none}) == {}
    unit = {**three, "strides": [1, 1]}
    assert linted("conv", unit, {**theirs, "kernel": [3, 3], "strides": [1, 1], **even}) == {}
    wide = {"pads": [[2, 2], [2, 2]]}
    assert "same-padding-stride" in linted("conv", unit, {**theirs, "kernel": [3, 3], "strides": [1, 1], **wide})


def test_lint_knows_what_a_layer_of_its_own_pads() -> None:
    window = {"rank": 2, "kernel": [7, 7], "strides": [2, 2], "dilation": [1, 1]}
    pad = Op(0, "pad", "zero_pad", (), (), {"pads": [[3, 3], [3, 3]], "mode": "constant", "value": 0.0})
    conv = Op(1, "conv", "conv", (), (), {**window, "padding": "valid", "pads": [[0, 0], [0, 0]]})
    port = Op(0, "conv", "conv", (), (), {**window, "pads": [[3, 3], [3, 3]]})
    assert [one.trap for one in compare(conv, port)] == ["same-padding-stride"]
    told = with_padding([pad, conv])
    assert [(one.index, one.name) for one in told] == [(0, "conv")]
    assert compare(told[0], port) == []
    mirrored = replace(pad, config={**pad.config, "mode": "reflect"})
    assert [one.trap for one in compare(port, with_padding([mirrored, conv])[0])] == ["padding-mode"]
    pool = replace(conv, kind="max_pool")
    assert with_padding([mirrored, pool])[1] == pool


def test_lint_tells_a_missing_bias_once_and_two_of_plain_cells_as_two() -> None:
    mine = {"bias": False, "initializer": "glorot_uniform"}
    theirs = {"bias": True, "initializer": "glorot_uniform, bias zeros"}
    assert set(linted("dense", mine, theirs)) == {"bias-missing-or-doubled"}
    assert "init-distribution" in linted("dense", mine, {"bias": True, "initializer": "he_normal, bias zeros"})
    assert set(linted("rnn", {}, {})) == {"bias-missing-or-doubled"}


def test_lint_counts_a_border_only_where_there_is_one() -> None:
    plain, counted = {"pads": [[0, 0]]}, {"pads": [[0, 0]], "count_include_pad": True}
    assert linted("avg_pool", plain, counted) == {}
    assert "avgpool-count-pad" in linted("avg_pool", {"pads": [[1, 1]]}, {**counted, "pads": [[1, 1]]})
    same = {"padding": "same", "pads": None}  # of a size that nobody knows yet
    unpadded = {**counted, "padding": "valid", "pads": [[0, 0]]}
    assert "avgpool-count-pad" not in linted("avg_pool", same, unpadded), "who pads nothing has nothing to count"


def test_lint_knows_one_formula_by_both_names_and_one_number_in_both_precisions() -> None:
    assert linted("l2_normalize", {"form": "norm-floor"}, {"form": "norm-max"}) == {}
    assert "l2-normalize-eps" in linted("l2_normalize", {"form": "rsqrt-floor"}, {"form": "norm-max"})
    slope = {"function": "leaky_relu", "slope": 0.2}
    assert linted("activation", slope, {**slope, "slope": 0.20000000298023224}) == {}
    assert linted("activation", {"function": "softplus"}, {"function": "softplus", "beta": 1.0}) == {}


def test_lint_says_nothing_of_what_is_written_otherwise() -> None:
    def kinds(first: str, second: str) -> list[Difference]:
        return compare(Op(0, "a", first, (), ()), Op(0, "b", second, (), ()))

    assert kinds("attention", "dense") == kinds("conv", "dense") == kinds("einsum", "dense") == []
    assert kinds("rms_norm", "multiply") == kinds("batch_norm", "conv") == []
    assert kinds("global_avg_pool", "global_max_pool")[0].trap == "unknown"
    assert kinds("lstm", "gru")[0].what == "lstm against gru"


def test_lint_compares_axes_as_far_as_both_layouts_allow_it() -> None:
    assert "norm-axes" in linted("layer_norm", {"axes": [1, 2]}, {"axes": [2]})
    assert linted("layer_norm", {"axes": [3]}, {"axes": [1]}) == {}
    runs = {AFTER: (0, "0")}
    assert "axis-mismatch" in linted("softmax", {"axis": 1}, {"axis": 0, **runs})
    assert linted("softmax", {"axis": 3}, {"axis": 1, **runs}) == {}
    assert linted("softmax", {"axis": 1}, {"axis": 0}) == {}, "without a run nobody knows how many axes there are"


def test_lint_knows_what_no_setting_shows() -> None:
    bicubic = {"method": "bicubic", "antialias": False}
    assert "-0.75" in linted("resize", bicubic, bicubic)["resize-coordinates"]
    assert linted("resize", {**bicubic, "antialias": True}, {**bicubic, "antialias": True}) == {}
    assert "batchnorm-running-variance" in linted("batch_norm", {}, {})
    assert "two" in linted("lstm", {}, {})["bias-missing-or-doubled"]
    assert "gru-gate-order" in linted("gru", {}, {})
    assert linted("dense", {}, {}) == {}


def test_lint_of_optimizers() -> None:
    adam = {"name": "adam", "learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    port = {"name": "Adam", "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
    assert {d.trap for d in compare_optimizers(adam, port)} == {"adam-epsilon"}
    slower = {d.trap for d in compare_optimizers(adam, {**port, "lr": 1e-2, "betas": [0.8, 0.999]})}
    assert slower == {"adam-epsilon", "optimizer-defaults"}
    sgd = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "l2": 1e-4}
    decayed = compare_optimizers(sgd, {"name": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4})
    assert {d.trap for d in decayed} == {"momentum-lr-change", "weight-decay-coupling", "l2-factor"}
    plain = {"name": "sgd", "learning_rate": 0.01}
    assert compare_optimizers(plain, {"name": "SGD", "lr": 0.01}) == []
    (other,) = compare_optimizers(plain, {"name": "SGD", "lr": 0.1})
    assert (other.trap, other.what) == ("optimizer-defaults", "learning_rate 0.01 against 0.1")


def test_lint_of_optimizers_by_what_they_mean() -> None:
    held = {"name": "SGD", "learning_rate": float(np.float32(0.01))}  # as Keras gives it back
    assert compare_optimizers(held, {"name": "SGD", "lr": 0.01}) == []
    keras = {"name": "Adam", "learning_rate": 1e-3, "weight_decay": 0.01}
    port = {"name": "AdamW", "lr": 1e-3, "weight_decay": 0.01, "decoupled_weight_decay": True}
    assert compare_optimizers(keras, port) == []
    (other,) = compare_optimizers({**keras, "weight_decay": None}, port)
    assert (other.trap, other.what) == ("weight-decay-coupling", "weight_decay 0 against 0.01")
    (coupled,) = compare_optimizers(
        {**keras, "name": "AdamW"}, {**port, "name": "Adam", "decoupled_weight_decay": False}
    )
    assert coupled.what == "weight_decay 0.01, decoupled, against 0.01 in the gradient"
    for switch in ("amsgrad", "nesterov", "use_ema"):
        (other,) = compare_optimizers({**keras, switch: True}, {**port, switch: False})
        assert other.what == f"{switch} True against False"
    assert compare_optimizers({**keras, "amsgrad": False}, port) == []
    assert compare_optimizers({**keras, "name": "Muon"}, {"name": "Muon", "lr": 1e-3, "weight_decay": 0.01}) == []


# The lines that a porter is to write are taken literally.


def literally(fix: str, **known: Array) -> Array:
    """Return what the expression before ` into ` or ` for ` comes to."""
    made: Array = eval(fix.partition(" into ")[0].partition(" for ")[0], {}, known)
    return made


@pytest.mark.parametrize(
    ("kind", "shape", "order"),
    [
        ("conv", (3, 3, 4, 4), (3, 2, 0, 1)),
        ("conv_transpose", (3, 3, 4, 4), (3, 2, 0, 1)),
        ("depthwise_conv", (3, 3, 4, 1), (2, 3, 0, 1)),
        ("depthwise_conv", (3, 3, 4, 2), (2, 3, 0, 1)),
    ],
)
def test_a_kernel_with_its_axes_exchanged_is_loaded_by_the_line_as_it_stands(
    kind: str, shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    kernel = RNG.standard_normal(shape)
    right = kernel.transpose(order)
    right = right.reshape(-1, 1, 3, 3) if kind == "depthwise_conv" else right
    one = loaded(kind, {"weight": right}, {"weight": right.swapaxes(2, 3)}, tensorflow_weights={"kernel": kernel})
    (remedy,) = (r for r in found(one, "kernel-spatial-swap") if r.cost < 1.0)
    np.testing.assert_array_equal(literally(remedy.fix, kernel=kernel), right)


def test_channels_of_a_depthwise_kernel_are_ordered_by_the_line_as_it_stands() -> None:
    kernel = RNG.standard_normal((3, 3, 4, 2))
    right = kernel.transpose(2, 3, 0, 1).reshape(8, 1, 3, 3)
    held = kernel.transpose(3, 2, 0, 1).reshape(8, 1, 3, 3)
    one = loaded("depthwise_conv", {"weight": right}, {"weight": held}, tensorflow_weights={"kernel": kernel})
    (remedy,) = (r for r in found(one, "depthwise-channel-order") if r.cost < 1.0)
    np.testing.assert_array_equal(literally(remedy.fix, kernel=kernel), right)


def fix_of(trap: str, kind: str, right: Mapping[str, Array], held: Mapping[str, Array]) -> str:
    return next(r.fix for r in found(loaded(kind, right, held), trap) if r.cost < 1.0)


def test_a_bias_that_is_doubled_is_halved_where_there_is_one_and_split_where_there_are_two() -> None:
    assert fix_of("bias-missing-or-doubled", "dense", {"bias": BIAS}, {"bias": 2 * BIAS}) == (
        "`net.layer.bias` / 2 when loading"
    )
    both = fix_of("bias-missing-or-doubled", "lstm", {"bias_ih_l0": BIAS}, {"bias_ih_l0": 2 * BIAS})
    assert both == "load the bias into one of the two biases of `net.layer` and zeros into the other"


def test_a_line_names_weights_that_the_layer_has() -> None:
    scale, shift = STATISTICS["weight"], STATISTICS["bias"]
    right, held = {"weight": scale, "bias": shift}, {"weight": shift, "bias": scale}
    assert fix_of("batchnorm-stats-swap", "layer_norm", right, held) == "`net.layer`: weight, bias = gamma, beta"
    biases = CELL.reshape(2, 30)
    (remedy,) = (
        r
        for r in found(loaded("gru", {"biases_l0": biases}, {"biases_l0": 0 * biases}), "bias-missing-or-doubled")
        if r.cost < 1.0
    )
    assert remedy.fix == "load both rows of Keras's bias into `net.layer`"
    assert "`bias_ih_l0`, `bias_hh_l0`" in remedy.says


def test_an_order_of_classes_goes_for_the_bias_too() -> None:
    right = {"weight": KERNEL[:, :, 0, 0], "bias": BIAS}
    held = {role: array[[1, 2, 3, 0]] for role, array in right.items()}
    fix = fix_of("output-permutation", "dense", right, held)
    assert fix.startswith("`net.layer.weight`[[3, 0, 1, 2]], and `net.layer.bias` likewise")


def test_a_row_that_was_zeroed_is_to_be_loaded() -> None:
    held = np.concatenate([0 * CELL[:1], CELL[1:]])
    assert "load row 0" in fix_of("embedding-padding-index", "embedding", {"weight": CELL}, {"weight": held})


def test_padding_of_torch_that_is_wrong_is_told_to_go() -> None:
    pad = op(0, "net.pad", "zero_pad", [0], [1], pads=[[1, 0], [1, 0]])
    theirs = [pad, op(1, "net.conv", "conv", [1], [2], **{**CONV, "pads": [[0, 0], [0, 0]]})]
    one = scene([op(0, "conv", "conv", [0], [1], **CONV)], theirs, (0, 1), ((), (pad,)))
    (remedy,) = found(one, "same-padding-stride")
    assert remedy.fix == "x = F.pad(x, (0, 1, 0, 1)) before `net.conv` in place of `net.pad`, and padding=0 there"


def test_padding_behind_another_window_is_not_the_convolutions() -> None:
    pad = op(0, "pad", "zero_pad", [0], [1], pads=[[1, 1], [1, 1]])
    blur = op(1, "blur", "depthwise_conv", [1], [2], **{**CONV, "pads": [[0, 0], [0, 0]]})
    theirs = [pad, blur, op(2, "net.conv", "conv", [2], [3], **{**CONV, "pads": [[1, 1], [1, 1]]})]
    one = scene([op(0, "conv", "conv", [0], [1], **CONV)], theirs, (0, 2), ((), (pad, blur)))
    (remedy,) = found(one, "same-padding-stride")
    assert [edit["op"] for edit in remedy.edits] == [2]


def test_a_causal_mask_is_given_to_torchs_layer_and_asked_of_its_function() -> None:
    layer, function = (
        next(r.fix for r in found(pair(kind, {"causal": True}, {"causal": False}), "attention-mask-polarity"))
        for kind in ("attention", "sdpa")
    )
    assert layer == "attn_mask=torch.ones(T, T, dtype=torch.bool).triu(1) in `net.layer`"
    assert function == "is_causal=True in `net.layer`"


def test_the_same_remedy_of_two_calls_is_told_once() -> None:
    parts = [insert(i, "residual-scale", "with x * 2", "x = x * 2", "rescale", {"scale": 2.0}) for i in (1, 2)]
    whole = together(parts)
    assert (whole.says, whole.fix) == ("with x * 2", "x = x * 2")
    assert len(whole.edits) == 2
