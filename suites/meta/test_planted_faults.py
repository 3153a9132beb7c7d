"""Planted faults: each is found, at the layer where it was planted, and a correct pair raises no alarm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.errors import PairingError, UsageError
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PASSING, PRECISION, SEMANTIC, Finding
from parity.model.layout import Array
from parity.pair import (
    Pair,
    PairOptions,
    exact_weights,
    forced,
    layer_inputs,
    modes,
    noise_probe,
    probe_weights,
    propagated,
    raise_for,
    sparse_inputs,
)
from parity.pairing.weights import to_torch
from parity.workers.client import Worker

FAULTY = f"{Path(__file__).with_name('faulty_torch.py')}:FaultyTorch"
BATCH = 3
Weights = Mapping[str, Array]


def failing(findings: list[Finding]) -> dict[str, str]:
    """Return tensor -> verdict of all that did not pass, in order."""
    return {finding.tensor: finding.verdict for finding in findings if not finding.passed}


def forced_on_noise(pair: Pair, seed: int = 0) -> list[Finding]:
    return forced(pair, layer_inputs(pair, noise_probe(pair.spec, BATCH, seed)))


# No false alarm.


@pytest.mark.parametrize("seed", range(4))
def test_a_correct_pair_passes_everything(small_pair: Pair, seed: int) -> None:
    pair, names = small_pair, [layer.name for layer in small_pair.spec.layers]
    pair.copy_weights(probe_weights(pair.spec, seed))
    x = noise_probe(pair.spec, BATCH, seed)
    for findings in (
        forced(pair, layer_inputs(pair, x)),
        forced(pair, sparse_inputs(pair.spec, BATCH, seed)),
        propagated(pair, x),
    ):
        assert [finding.tensor for finding in findings] == names
        assert failing(findings) == {}
        raise_for(findings)
    assert failing(modes(pair, x)) == {}
    assert failing(exact_weights(pair)) == {}


@pytest.mark.parametrize("value", [0.0, 1.0, 1.0 / 255.0, 1e-30, 1e30])
def test_a_constant_image_raises_no_alarm(small_pair: Pair, value: float) -> None:
    spec = small_pair.spec
    x = np.full((BATCH, spec.height, spec.width, spec.channels), value, np.float32)
    assert failing(forced(small_pair, layer_inputs(small_pair, x))) == {}
    assert failing(propagated(small_pair, x)) == {}


def test_fresh_weights_raise_no_alarm(small_pair: Pair) -> None:
    small_pair.build(small_pair.spec, seed=5)
    fresh = small_pair.weights()
    assert not fresh["dense1/bias"].any()  # Keras's own: this is why the other tests use probe weights
    small_pair.copy_weights(fresh)
    x = np.zeros((BATCH, *small_pair.spec.shapes()[0].input_shape), np.float32)
    assert {finding.verdict for finding in forced(small_pair, layer_inputs(small_pair, x))[:-1]} == {IDENTICAL}
    assert failing(forced_on_noise(small_pair)) == {}


def test_weights_come_back_bit_for_bit(small_pair: Pair) -> None:
    weights = small_pair.weights()
    back = small_pair.workers["torch"].call("get_weights")
    for name, array in to_torch(weights, small_pair.spec).items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == np.float32
    assert [finding.verdict for finding in exact_weights(small_pair)] == [IDENTICAL] * len(weights)
    audit = small_pair.audit()
    assert (audit.copied, audit.unmatched_tensorflow, audit.unmatched_torch) == (8, (), ())


# Weights that went wrong on their way to torch.


def flatten_order(keras: Weights, torch: Weights) -> Weights:
    return {**torch, "dense1.weight": np.ascontiguousarray(keras["dense1/kernel"].T)}


def transposed(keras: Weights, torch: Weights) -> Weights:
    assert keras["dense2/kernel"].shape == torch["dense2.weight"].shape
    return {**torch, "dense2.weight": np.array(keras["dense2/kernel"])}


def spatial_swap(_: Weights, torch: Weights) -> Weights:
    return {**torch, "conv1.weight": np.ascontiguousarray(torch["conv1.weight"].transpose(0, 1, 3, 2))}


def flipped(_: Weights, torch: Weights) -> Weights:
    return {**torch, "conv1.weight": np.ascontiguousarray(torch["conv1.weight"][:, :, ::-1, ::-1])}


def channels_reversed(_: Weights, torch: Weights) -> Weights:
    return {**torch, "conv1.weight": np.ascontiguousarray(torch["conv1.weight"][:, ::-1])}


def other_seed(_: Weights, torch: Weights) -> Weights:
    drawn = np.random.default_rng(99).standard_normal(torch["dense2.weight"].shape)
    return {**torch, "dense2.weight": drawn.astype(np.float32)}


def nan_planted(_: Weights, torch: Weights) -> Weights:
    kernel = np.array(torch["dense2.weight"])
    kernel[3, 5] = np.nan
    return {**torch, "dense2.weight": kernel}


def without_bias(layer: str) -> Callable[[Weights, Weights], Weights]:
    return lambda _, torch: {**torch, f"{layer}.bias": np.zeros_like(torch[f"{layer}.bias"])}


def scaled(layer: str) -> Callable[[Weights, Weights], Weights]:
    return lambda _, torch: {**torch, f"{layer}.weight": torch[f"{layer}.weight"] * np.float32(1 + 1e-6)}


WEIGHT_FAULTS: dict[str, tuple[Callable[[Weights, Weights], Weights], str, str]] = {
    "flatten-order": (flatten_order, "dense1", "kernel"),
    "kernel-transposed": (transposed, "dense2", "kernel"),
    "spatial-swap": (spatial_swap, "conv1", "kernel"),
    "kernel-flipped": (flipped, "conv1", "kernel"),
    "channels-reversed": (channels_reversed, "conv1", "kernel"),
    "other-layers-weights": (other_seed, "dense2", "kernel"),
    "nan": (nan_planted, "dense2", "kernel"),
    **{f"bias-dropped-{layer}": (without_bias(layer), layer, "bias") for layer in ("conv1", "dense1", "dense3")},
    **{f"scaled-{layer}": (scaled(layer), layer, "kernel") for layer in ("conv1", "dense1", "dense2", "dense3")},
}


@pytest.mark.parametrize("fault", WEIGHT_FAULTS)
def test_a_weight_fault_is_found_where_it_was_planted(small_pair: Pair, fault: str) -> None:
    plant, layer, role = WEIGHT_FAULTS[fault]
    weights = probe_weights(small_pair.spec, seed=1)
    small_pair.copy_weights(weights, plant(weights, to_torch(weights, small_pair.spec)))
    found = forced_on_noise(small_pair)
    assert failing(found) == {layer: SEMANTIC}
    with pytest.raises(AssertionError, match=re.escape(f"1 of {len(found)} comparisons failed\n`{layer}` (")):
        raise_for(found)
    whole = failing(propagated(small_pair, noise_probe(small_pair.spec, BATCH)))
    assert next(iter(whole.items())) == (layer, SEMANTIC)
    assert list(failing(exact_weights(small_pair))) == [f"{layer}/{role}"]


def test_a_sparse_probe_finds_weight_faults_too(small_pair: Pair) -> None:
    weights = probe_weights(small_pair.spec)
    carried = flatten_order(weights, transposed(weights, to_torch(weights, small_pair.spec)))
    small_pair.copy_weights(weights, carried)
    found = forced(small_pair, sparse_inputs(small_pair.spec, BATCH))
    assert failing(found) == {"dense1": SEMANTIC, "dense2": SEMANTIC}


def test_exchanged_biases_are_found_in_both_layers(small_pair: Pair) -> None:
    weights = probe_weights(small_pair.spec)
    carried = to_torch(weights, small_pair.spec)
    carried["dense1.bias"], carried["dense2.bias"] = carried["dense2.bias"], carried["dense1.bias"]
    small_pair.copy_weights(weights, carried)
    assert failing(forced_on_noise(small_pair)) == {"dense1": SEMANTIC, "dense2": SEMANTIC}
    assert list(failing(exact_weights(small_pair))) == ["dense1/bias", "dense2/bias"]


def test_a_nan_is_counted_and_located(small_pair: Pair) -> None:
    weights = probe_weights(small_pair.spec)
    small_pair.copy_weights(weights, nan_planted(weights, to_torch(weights, small_pair.spec)))
    finding = next(finding for finding in forced_on_noise(small_pair) if not finding.passed)
    # Row 3 of torch's kernel makes unit 3: one value of each image, in torch and in its twin.
    assert f"tensorflow 0, torch {BATCH}, tensorflow's twin 0, torch's twin {BATCH}" in finding.note
    assert (finding.where, finding.mismatched, finding.elements) == ((0, 3), BATCH, 7 * BATCH)


def test_a_nan_on_both_sides_is_no_agreement(small_pair: Pair) -> None:
    weights = probe_weights(small_pair.spec)
    weights["conv1/kernel"][0, 1, 2, 3] = np.nan
    small_pair.copy_weights(weights)
    assert failing(forced_on_noise(small_pair))["conv1"] == NOT_COMPARED
    assert failing(propagated(small_pair, noise_probe(small_pair.spec, BATCH)))["conv1"] == NOT_COMPARED
    # Numbers that cannot be compared are no proof of equal bits either.
    assert failing(exact_weights(small_pair)) == {"conv1/kernel": NOT_COMPARED}


def test_a_small_scale_is_below_what_float32_alone_could_see(small_pair: Pair) -> None:
    weights = probe_weights(small_pair.spec)
    small_pair.copy_weights(weights, scaled("conv1")(weights, to_torch(weights, small_pair.spec)))
    found = {finding.tensor: finding for finding in forced_on_noise(small_pair)}["conv1"]
    assert found.d64 is not None
    assert found.d32 is not None
    assert found.d64_bound is not None
    assert found.bound is not None
    assert 5e-7 < found.d64 < 2e-6
    assert found.d64_bound < found.d64
    assert found.d32 < 2.0 * found.bound


# Networks that were described wrongly on torch's side.


@pytest.mark.parametrize(("side", "layer"), [("torch", "relu2"), ("tensorflow", "relu2"), ("torch", "sigmoid")])
def test_a_missing_layer_is_not_compared_and_the_others_are(small_pair: Pair, side: str, layer: str) -> None:
    full, weights = small_pair.spec, probe_weights(small_pair.spec)
    short = full.without(layer)
    small_pair.build(*((full, short) if side == "torch" else (short, full)))
    small_pair.copy_weights(weights)
    found = forced_on_noise(small_pair)
    assert failing(found) == {layer: NOT_COMPARED}
    assert len(found) == len(full.layers)
    finding = next(finding for finding in found if not finding.passed)
    assert (finding.side, finding.note) == (side, f"{side} has no layer of this name.")
    assert finding.kind == next(entry.kind for entry in full.layers if entry.name == layer)
    whole = failing(propagated(small_pair, noise_probe(small_pair.spec, BATCH)))
    assert whole[layer] == NOT_COMPARED
    assert side == "tensorflow" or next(iter(whole)) == layer
    if layer == "relu2":
        assert whole["dense2"] == SEMANTIC


def test_weights_of_another_pool_size_cannot_be_copied(small_pair: Pair) -> None:
    spec = small_pair.spec
    small_pair.build(spec, spec.with_layer("pool1", size=3))
    said = "torch weights do not fit the built model: `dense1.weight` has shape (7, 360), not (7, 150)"
    with pytest.raises(UsageError, match=re.escape(said)):
        small_pair.copy_weights(probe_weights(spec))


def test_another_bias_setting_is_a_weight_without_a_partner(small_pair: Pair) -> None:
    spec = small_pair.spec
    small_pair.build(spec, spec.with_layer("dense2", bias=False))
    audit = small_pair.audit()
    assert (audit.copied, audit.unmatched_tensorflow, audit.unmatched_torch) == (7, ("dense2/bias",), ())
    with pytest.raises(UsageError, match=re.escape("unknown `dense2.bias` (7,)")):
        small_pair.copy_weights(probe_weights(spec))


def test_layers_of_other_names_do_not_pair(small_pair: Pair) -> None:
    spec = small_pair.spec
    renamed = replace(spec, layers=tuple(replace(layer, name=f"my_{layer.name}") for layer in spec.layers))
    small_pair.build(spec, renamed)
    with pytest.raises(PairingError, match="no layer pairs"):
        forced(small_pair, sparse_inputs(spec, BATCH))


# Layers that compute something else than they say.


@pytest.fixture(scope="module")
def faulty_workers() -> Iterator[dict[str, Worker]]:
    options = PairOptions(torch_adapter=FAULTY)
    workers = {side: Worker(options.worker(side)) for side in ("torch", "twin_torch")}
    yield workers
    for worker in workers.values():
        worker.close()


@pytest.fixture
def plant(small_pair: Pair, faulty_workers: dict[str, Worker]) -> Callable[[str, str], Pair]:
    """Return what makes a pair whose torch side has a fault in a layer; TensorFlow's workers are the shared ones."""

    def planted(fault: str, at: str) -> Pair:
        pair = Pair()
        pair.workers = {**small_pair.workers, **faulty_workers}
        for worker in faulty_workers.values():
            worker.call("plant", fault=fault, at=at)
        pair.build(small_pair.spec)
        pair.copy_weights(probe_weights(pair.spec, seed=2))
        return pair

    return planted


def test_the_adapter_without_a_fault_is_correct(plant: Callable[[str, str], Pair]) -> None:
    pair = plant("", "dense1")
    assert failing(forced_on_noise(pair)) == {}


def test_another_pool_window_of_the_same_shape_is_found(plant: Callable[[str, str], Pair]) -> None:
    pair = plant("pool-window", "pool1")
    found = forced_on_noise(pair)
    assert failing(found) == {"pool1": SEMANTIC}
    finding = next(finding for finding in found if not finding.passed)
    assert finding.note.startswith("Two different functions")  # and not: another shape
    assert next(iter(failing(propagated(pair, noise_probe(pair.spec, BATCH))))) == "pool1"


@pytest.mark.parametrize("layer", ["conv1", "dense1", "dense2"])
def test_rounded_operands_are_precision_and_the_side_is_named(plant: Callable[[str, str], Pair], layer: str) -> None:
    pair = plant("bfloat16", layer)
    found = forced(pair, sparse_inputs(pair.spec, BATCH))
    assert failing(found) == {layer: PRECISION}
    finding = next(finding for finding in found if not finding.passed)
    assert (finding.side, finding.closer) == ("torch", "tensorflow")
    assert finding.note == "torch computes in less precision than float32."
    assert finding.share_torch is not None
    assert finding.share_torch > 1.0
    assert finding.share_tensorflow is not None
    assert finding.share_tensorflow <= 1.0


def test_a_layer_that_knows_its_mode_is_found(plant: Callable[[str, str], Pair]) -> None:
    pair = plant("mode-dependent", "relu2")
    x = noise_probe(pair.spec, BATCH)
    assert failing(forced(pair, layer_inputs(pair, x))) == {}
    found = failing(modes(pair, x))
    assert next(iter(found.items())) == ("torch:relu2", SEMANTIC)
    assert not any(name.startswith("tensorflow:") for name in found)


def test_a_model_that_is_not_the_chain_of_its_layers_is_found(plant: Callable[[str, str], Pair]) -> None:
    pair = plant("other-output", "")
    assert failing(forced_on_noise(pair)) == {}
    found = [finding for finding in propagated(pair, noise_probe(pair.spec, BATCH)) if not finding.passed]
    assert [(finding.tensor, finding.verdict, finding.side) for finding in found] == [
        ("output", NOT_COMPARED, "torch"),
        ("output", NOT_COMPARED, "twin_torch"),
    ]


def test_zero_comparisons_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="zero comparisons is a failure"):
        raise_for([])


def test_failing_findings_are_listed_in_order_and_passing_ones_are_not() -> None:
    found = [Finding(name, "dense", verdict, "") for name, verdict in (("a", IDENTICAL), ("b", SEMANTIC), ("c", "x"))]
    assert "x" not in PASSING
    with pytest.raises(AssertionError) as caught:
        raise_for(found)
    said = str(caught.value)
    assert said.startswith("2 of 3 comparisons failed\n`b` (dense, shape ()): semantic.")
    assert said.index("`b`") < said.index("`c`")
    assert "`a`" not in said
