"""Layouts and weights: every move is a bit-for-bit permutation, and every weight is accounted for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.errors import PairingError, UsageError
from parity.model.layout import LAYOUTS, Array, activation_layout, to_tensorflow, to_torch
from parity.model.spec import LayerSpec, ModelSpec, example_cnn
from parity.pair import probe_weights
from parity.pairing import weights as pairing
from parity.pairing.graph import pair_layers

AXES = {name: re.findall(r"\w+", patterns[0]) for name, patterns in LAYOUTS.items()}


def bits(shape: tuple[int, ...], seed: int, dtype: str = "float32") -> Array:
    """Return arbitrary bit patterns, NaNs with payloads and subnormals among them."""
    raw = np.random.default_rng(seed).integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, np.uint8)
    return raw.view(dtype).reshape(shape)


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def shape_of(pattern: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """Return the shape that a pattern such as `n (h w c)` stands for."""
    groups = re.findall(r"\(([^)]*)\)|(\w+)", pattern)
    return tuple(int(np.prod([sizes[axis] for axis in (inside or single).split()])) for inside, single in groups)


def draw_sizes(data: st.DataObject, axes: list[str]) -> dict[str, int]:
    """Draw a size for each axis, no two alike: with equal ones a swap would go unseen."""
    drawn = data.draw(st.lists(st.integers(1, 9), min_size=len(axes), max_size=len(axes), unique=True))
    return dict(zip(axes, drawn, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**31), dtype=st.sampled_from(["float32", "float64", "uint8"]))
def test_every_layout_round_trips_bit_for_bit(layout: str, data: st.DataObject, seed: int, dtype: str) -> None:
    sizes = draw_sizes(data, AXES[layout])
    source, target = (shape_of(pattern, sizes) for pattern in LAYOUTS[layout])
    array = bits(source, seed, dtype)
    moved = to_torch(array, layout, sizes)
    assert moved.shape == target
    assert moved.flags.c_contiguous
    assert same_bits(to_tensorflow(moved, layout, sizes), array)
    other = bits(target, seed + 1, dtype)
    assert same_bits(to_torch(to_tensorflow(other, layout, sizes), layout, sizes), other)


def test_flatten_order_by_hand() -> None:
    # A picture of 2 rows, 3 columns and 2 channels whose values say where they are: row, column, channel.
    image = np.array([[[[100 * h + 10 * w + c for c in range(2)] for w in range(3)] for h in range(2)]])
    keras = [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121]
    torch = [0, 10, 20, 100, 110, 120, 1, 11, 21, 101, 111, 121]
    assert image.reshape(1, -1).tolist() == [keras]
    sizes = {"h": 2, "w": 3, "c": 2}
    assert to_torch(image.reshape(1, -1), "flat-image", sizes).tolist() == [torch]
    assert to_tensorflow(np.array([torch]), "flat-image", sizes).tolist() == [keras]
    assert to_torch(image, "image").reshape(1, -1).tolist() == [torch]


def test_dense_after_flatten_by_hand() -> None:
    image = np.arange(12.0).reshape(1, 2, 3, 2)
    kernel = np.random.default_rng(0).integers(-9, 9, (12, 5)).astype(float)
    moved = to_torch(kernel, "dense-kernel-after-flatten", {"h": 2, "w": 3, "c": 2})
    flat_torch = image.transpose(0, 3, 1, 2).reshape(1, -1)
    np.testing.assert_array_equal(flat_torch @ moved.T, image.reshape(1, -1) @ kernel)
    # The plain transpose is the mistake of careless ports, and is another function.
    assert not np.array_equal(flat_torch @ kernel, image.reshape(1, -1) @ kernel)


def test_kernels_by_hand() -> None:
    conv = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    moved = to_torch(conv, "conv2d-kernel")
    assert moved.shape == (5, 4, 2, 3)
    assert moved[4, 3, 1, 2] == conv[1, 2, 3, 4]
    assert moved[2, 1, 0, 2] == conv[0, 2, 1, 2]
    np.testing.assert_array_equal(to_torch(np.arange(6).reshape(2, 3), "dense-kernel"), [[0, 3], [1, 4], [2, 5]])


def test_activation_layouts() -> None:
    assert [activation_layout(name) for name in ("vector", "image", "flat-image")] == [
        "batch-vector",
        "image",
        "flat-image",
    ]


def test_layouts_that_cannot_be_meant() -> None:
    with pytest.raises(PairingError, match="unknown layout `images`; known: image, flat-image"):
        to_torch(np.zeros(3), "images")
    with pytest.raises(PairingError, match=re.escape("an array of shape (3,) is no `image` (n h w c): ")):
        to_torch(np.zeros(3), "image")
    with pytest.raises(PairingError, match=re.escape("an array of shape (1, 11) is no `flat-image` (n (h w c)): ")):
        to_torch(np.zeros((1, 11)), "flat-image", {"h": 2, "w": 3, "c": 2})


# Whole networks.


@st.composite
def networks(draw: st.DrawFn) -> ModelSpec:
    """Draw a small network with axes of different sizes, with and without biases, with one or two convolutions."""
    height, width, channels = draw(st.tuples(st.integers(8, 12), st.integers(13, 16), st.sampled_from([1, 3])))
    kernel, filters = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.integers(2, 6))
    layers = [
        LayerSpec("conv1", "conv2d", filters, kernel, draw(st.booleans())),
        LayerSpec("relu1", "relu"),
        LayerSpec("pool1", "max_pool2d", draw(st.integers(1, 3))),
    ]
    if draw(st.booleans()):
        layers.append(LayerSpec("conv2", "conv2d", 4, (2, 1), draw(st.booleans())))
    layers += [
        LayerSpec("flatten", "flatten"),
        LayerSpec("relu0", "relu"),  # the order of the flattened image passes through it
        LayerSpec("dense1", "dense", draw(st.integers(2, 7)), bias=draw(st.booleans())),
        LayerSpec("dense2", "dense", 1, bias=draw(st.booleans())),
        LayerSpec("sigmoid", "sigmoid"),
    ]
    return ModelSpec("drawn", height, width, channels, tuple(layers))


@settings(deadline=None, max_examples=60)
@given(spec=networks(), seed=st.integers(0, 2**31))
def test_a_whole_network_round_trips_bit_for_bit(spec: ModelSpec, seed: int) -> None:
    links = pairing.weight_map(spec)
    weights = {link.tensorflow: bits(link.weight.shape, seed + i) for i, link in enumerate(links)}
    moved = pairing.to_torch(weights, spec)
    assert list(moved) == [link.torch for link in links]
    assert [moved[link.torch].shape for link in links] == [pairing.torch_shape(link.weight) for link in links]
    back = pairing.to_tensorflow(moved, spec)
    assert list(back) == list(weights)
    assert all(same_bits(back[name], weights[name]) for name in weights)
    assert sum(array.size for array in moved.values()) == spec.parameters()
    audit = pairing.audit(weights, moved, spec)
    assert (audit.copied, audit.unmatched_tensorflow, audit.unmatched_torch) == (len(links), (), ())


@settings(deadline=None, max_examples=60)
@given(spec=networks())
def test_a_description_survives_json(spec: ModelSpec) -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert hash(spec) == hash(ModelSpec.from_dict(spec.to_dict()))


def test_the_map_of_the_example() -> None:
    links = pairing.weight_map(example_cnn(channels=3))
    assert [(link.tensorflow, link.torch, link.weight.shape, pairing.torch_shape(link.weight)) for link in links] == [
        ("conv1/kernel", "conv1.weight", (3, 3, 3, 16), (16, 3, 3, 3)),
        ("conv1/bias", "conv1.bias", (16,), (16,)),
        ("dense1/kernel", "dense1.weight", (87_616, 64), (64, 87_616)),
        ("dense1/bias", "dense1.bias", (64,), (64,)),
        ("dense2/kernel", "dense2.weight", (64, 1), (1, 64)),
        ("dense2/bias", "dense2.bias", (1,), (1,)),
    ]
    # 3*3*3*16 + 16, 74*74*16 = 87,616 inputs of dense1 and 64 biases, 64 + 1
    assert example_cnn(channels=3).parameters() == 448 + 87_616 * 64 + 64 + 65


SPEC = ModelSpec(
    "tiny",
    5,
    6,
    1,
    (
        LayerSpec("conv1", "conv2d", 2, (2, 3)),
        LayerSpec("flatten", "flatten"),
        LayerSpec("dense1", "dense", 3),
        LayerSpec("dense2", "dense", 1, bias=False),
    ),
)
Change = Callable[[dict[str, Array]], Any]
MISFITS: list[tuple[Change, str]] = [
    (
        lambda w: w.pop("dense1/bias"),
        "tensorflow weights do not fit the model (missing: `dense1/bias`); each must be used exactly once",
    ),
    (
        lambda w: w.update({"dense2/bias": np.zeros(1)}),
        "weights do not fit the model (used by no layer: `dense2/bias` (1,)); each must be used exactly once",
    ),
    (
        lambda w: w.update({"dense3/kernel": w.pop("dense2/kernel")}),
        "(missing: `dense2/kernel`; used by no layer: `dense3/kernel` (3, 1))",
    ),
    (
        lambda w: w.update({"dense2/kernel": np.zeros((1, 3))}),
        "tensorflow weight `dense2/kernel` has shape (1, 3), and the map expects (3, 1)",
    ),
    (lambda w: w.clear(), "missing: `conv1/kernel`, `conv1/bias`, `dense1/kernel`, `dense1/bias`, `dense2/kernel`"),
]


@pytest.mark.parametrize(("change", "said"), MISFITS, ids=["missing", "extra", "renamed", "shape", "all"])
def test_misfits_are_named_with_their_shapes(change: Change, said: str) -> None:
    weights = probe_weights(SPEC)
    change(weights)
    with pytest.raises(PairingError, match=re.escape(said)):
        pairing.to_torch(weights, SPEC)


def test_misfits_on_torch_s_side() -> None:
    state = pairing.to_torch(probe_weights(SPEC), SPEC)
    with pytest.raises(PairingError, match=re.escape("torch weights do not fit the model (missing: `conv1.bias`)")):
        pairing.to_tensorflow({name: a for name, a in state.items() if name != "conv1.bias"}, SPEC)
    with pytest.raises(PairingError, match=re.escape("used by no layer: `dense2.bias` (1,)")):
        pairing.to_tensorflow({**state, "dense2.bias": np.zeros(1)}, SPEC)
    said = "torch weight `conv1.weight` has shape (2, 1, 3, 2), and the map expects (2, 1, 2, 3)"
    with pytest.raises(PairingError, match=re.escape(said)):
        pairing.to_tensorflow({**state, "conv1.weight": state["conv1.weight"].swapaxes(2, 3)}, SPEC)


def test_the_audit_names_both_sides() -> None:
    weights = probe_weights(SPEC)
    state = pairing.to_torch(weights, SPEC)
    del weights["conv1/bias"], state["dense1.weight"]
    weights["extra/kernel"] = np.zeros(1)
    assert pairing.audit(weights, state, SPEC) == pairing.WeightAudit(
        3, ("dense1/kernel", "extra/kernel"), ("conv1.bias",)
    )


def test_probe_weights_have_no_symmetry_to_hide_in() -> None:
    weights = probe_weights(example_cnn(20, 17))
    kernel = weights["conv1/kernel"]
    assert not np.array_equal(kernel, kernel.swapaxes(0, 1))
    assert not np.array_equal(kernel, kernel[::-1, ::-1])
    assert all(array.dtype == np.float32 and array.all() for array in weights.values())
    assert all(
        same_bits(a, b) for a, b in zip(weights.values(), probe_weights(example_cnn(20, 17)).values(), strict=True)
    )


# Descriptions.


def network(*layers: LayerSpec) -> ModelSpec:
    return ModelSpec("n", 6, 7, 1, layers)


REFUSED = [
    (network(LayerSpec("c", "conv2d", 2, (7, 3))), "layer `c` (conv2d) leaves nothing of an input of shape (6, 7, 1)"),
    (network(LayerSpec("p", "max_pool2d", 7)), "layer `p` (max_pool2d) leaves nothing of an input of shape (6, 7, 1)"),
    (network(LayerSpec("d", "dense", 7)), "layer `d` (dense) needs a vector, and is given shape (6, 7, 1)"),
    (
        network(LayerSpec("f", "flatten"), LayerSpec("c", "conv2d", 2)),
        "layer `c` (conv2d) needs an image, and is given shape (42,)",
    ),
    (
        network(LayerSpec("f", "flatten"), LayerSpec("g", "flatten")),
        "layer `g` (flatten) needs an image, and is given shape (42,)",
    ),
    (network(LayerSpec("x", "lstm", 7)), "layer `x` has kind `lstm`; known kinds: conv2d, relu, max_pool2d, flatten"),
]


@pytest.mark.parametrize(("spec", "said"), REFUSED, ids=[spec.layers[-1].name for spec, _ in REFUSED])
def test_layers_that_do_not_fit(spec: ModelSpec, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        spec.shapes()


def test_channels_that_are_no_picture() -> None:
    with pytest.raises(UsageError, match=re.escape("`channels` (=2) must be 1 (grey) or 3 (RGB)")):
        example_cnn(channels=2)


def test_shapes_of_the_example() -> None:
    assert [step.output_shape for step in example_cnn().shapes()] == [
        (148, 148, 16),
        (148, 148, 16),
        (74, 74, 16),
        (87_616,),
        (64,),
        (64,),
        (1,),
        (1,),
    ]
    assert [step.input_layout for step in example_cnn().shapes()] == [
        *["image"] * 4,
        "flat-image",
        *["vector"] * 3,
    ]


def test_relatives_of_a_network() -> None:
    spec = example_cnn(20, 17)
    assert [layer.name for layer in spec.without("relu2").layers].count("relu2") == 0
    assert len(spec.without("relu2").layers) == len(spec.layers) - 1
    changed = spec.with_layer("pool1", size=3)
    assert [a.name for a, b in zip(spec.layers, changed.layers, strict=True) if a != b] == ["pool1"]
    assert changed.with_layer("pool1", size=2) == spec
    assert replace(spec, name="other") != spec


# Pairing by name.


def test_pairing_names_what_has_no_partner() -> None:
    found = pair_layers(["a", "b", "c"], ["c", "x", "a"])
    assert (found.paired, found.only_tensorflow, found.only_torch) == (("a", "c"), ("b",), ("x",))


def test_pairs_that_cannot_be_made() -> None:
    with pytest.raises(PairingError, match="torch has two layers named `a`; give each layer a name of its own"):
        pair_layers(["a"], ["a", "a"])
    with pytest.raises(PairingError, match=re.escape("no layer pairs: tensorflow has ['a'], torch has ['b']")):
        pair_layers(["a"], ["b"])
