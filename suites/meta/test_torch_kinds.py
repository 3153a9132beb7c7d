"""The canonical form of every kind computes in float64 what Keras does when it is given Keras's own configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.model import zoo
from parity.model.network import Array, Input, Network, Node, to_tensorflow, to_torch
from parity.pairing import carry
from parity.trials.networks import probe_inputs
from parity.workers.client import Worker, WorkerOptions

pytestmark = pytest.mark.whole_run  # half a minute; the same kinds are checked in both frameworks by suites/test_zoo.py

# TensorFlow computes these in float32 whatever it is given.
SINGLE = frozenset({("resize", "bilinear"), ("resize", "bicubic"), ("upsample", "bilinear")})
# TensorFlow's operation holds its slope as float32, where the canonical form takes it as it was written.
ROUNDED = frozenset({"leaky_relu"})
HALF_AN_ULP = 2.0**-24  # of a number of float32, in relation
LEFT_OUT = frozenset({"separable_conv", "to_sequence", "select", "dropout"})


def _pads(sizes: tuple[int, ...], kernel: list[int], strides: list[int], dilation: list[int]) -> list[list[int]]:
    found = []
    for n, k, s, d in zip(sizes, kernel, strides, dilation, strict=True):
        total = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        found.append([total // 2, total - total // 2])
    return found


def _axis(axis: int, ndim: int, image: bool) -> int:
    axis %= ndim
    return axis if not image or axis == 0 else 1 if axis == ndim - 1 else axis + 1


def _windowed(node: Node, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return the configuration with the padding of a convolution or pool resolved for the size of its input."""
    given = dict(node.config)
    rank = int(given["rank"])
    kernel: list[int] = given.get("kernel") or given["pool"]
    strides: list[int] = given.get("strides") or ([1] * rank if "kernel" in given else kernel)
    given |= {"strides": strides, "dilation": given.get("dilation", [1] * rank)}
    same = given.get("padding") == "same"
    if node.kind == "conv_transpose":
        crops = []
        for n, k, s in zip(sizes, kernel, strides, strict=True):
            full, low = (n - 1) * s + k, max(k - s, 0) // 2 if same else 0
            crops.append([low, full - (n * s if same else n * s + max(k - s, 0)) - low])
        return {**given, "crops": crops}
    return {**given, "pads": _pads(sizes, kernel, strides, given["dilation"]) if same else [[0, 0]] * rank}


def _config(network: Network) -> tuple[str, dict[str, Any]]:
    """Return kind and configuration as an adapter would record them, axes in torch's order."""
    node, shape = network.nodes[0], network.inputs[0].shape
    given, image = dict(node.config), network.inputs[0].layout == "channels" and len(shape) > 1
    ndim = len(shape) + 1
    if node.kind in ("conv", "depthwise_conv", "conv_transpose", "max_pool", "avg_pool"):
        return node.kind, _windowed(node, shape[:-1])
    if node.kind in ("softmax", "concat"):
        return node.kind, {**given, "axis": _axis(int(given.get("axis", -1)), ndim, image)}
    if node.kind in ("layer_norm", "rms_norm"):
        return node.kind, {**given, "axes": [_axis(-1, ndim, image)]}
    if node.kind == "l2_normalize":
        return node.kind, {"axis": -1, "eps": 1e-12, "form": "rsqrt-floor"}
    if node.kind == "resize":
        return node.kind, {**given, "exact": given["method"] == "nearest", "by": "tensorflow"}
    if node.kind == "upsample":
        return "resize", {"factor": given["size"], "method": given.get("method", "nearest")}
    if node.kind == "attention":
        return node.kind, {**given, "has_mask": len(network.inputs) > 2, "mask_form": "attend"}
    return node.kind, given


CASES = {
    network.name: network
    for network in [
        *zoo.kinds(),
        zoo.single("resize-bilinear-down", "resize", (zoo.image(),), size=[4, 3], method="bilinear"),
        zoo.single("resize-bicubic-fraction", "resize", (zoo.image(),), size=[17, 5], method="bicubic"),
        zoo.single("resize-area", "resize", (zoo.image(),), size=[4, 5], method="area"),
        zoo.single("resize-lanczos", "resize", (zoo.image(),), size=[17, 5], method="lanczos3"),
        zoo.single("gru-reset-before", "gru", (zoo.sequence(),), units=4, reset_after=False),
        zoo.single("gru-reset-before-bidirectional", "gru", (zoo.sequence(),), units=3, reset_after=False,
                   bidirectional=True, sequences=False),
    ]
    if network.nodes[0].kind not in LEFT_OUT
}  # fmt: skip


@pytest.fixture(scope="module")
def workers() -> Iterator[Mapping[str, Worker]]:
    with (
        Worker(WorkerOptions("tensorflow", role="twin", threads=1)) as tensorflow,
        Worker(WorkerOptions("torch", role="twin", threads=1)) as torch,
    ):
        yield {"tensorflow": tensorflow, "torch": torch}


def _weights(fresh: Mapping[str, Array]) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        name: rng.uniform(0.3, 1.7, array.shape) * (1.0 if "variance" in name else rng.choice([-1, 1], array.shape))
        for name, array in fresh.items()
    }


def _compared(workers: Mapping[str, Worker], network: Network, training: bool = False) -> tuple[Array, Array]:
    tensorflow, node = workers["tensorflow"], network.nodes[0]
    shapes = {name: tuple(shape) for name, shape in
              tensorflow.call("build_network", network=network.to_dict()).items()}  # fmt: skip
    weights = _weights(tensorflow.call("get_network_weights"))
    tensorflow.call("set_network_weights", weights=weights)
    inputs = probe_inputs(network)
    fed = [inputs[name] for name in node.inputs]
    expected = tensorflow.call("network_forward", inputs=inputs, training=training)["outputs"]["layer"]
    kind, config = _config(network)
    roles = {name.partition(".")[2]: w for name, w in carry.to_torch(weights, network, shapes).items()}
    given = [to_torch(x, entry.layout) for x, entry in zip(fed, network.inputs, strict=True)]
    got = workers["torch"].call(
        "run_kind", kind=kind, config=config, weights=roles, inputs=[np.asarray(x) for x in given], training=training
    )
    layout = network.layouts()["layer"]
    if kind == "flatten":
        return np.sort(expected), np.sort(got)
    return expected, to_tensorflow(got, layout)


@pytest.mark.parametrize("name", CASES)
def test_kind_is_keras(workers: Mapping[str, Worker], name: str) -> None:
    network = CASES[name]
    node = network.nodes[0]
    expected, got = _compared(workers, network)
    assert got.shape == expected.shape
    rank3 = node.kind in ("max_pool", "avg_pool") and node.config["rank"] == 3
    single = rank3 or node.kind == "resize" or (node.kind, node.config.get("method")) in SINGLE
    tolerance = 2e-6 if single else HALF_AN_ULP if node.config.get("function") in ROUNDED else 1e-12
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def test_batch_norm_in_training_uses_the_batch(workers: Mapping[str, Worker]) -> None:
    network = CASES["batch-norm-2d"]
    expected, got = _compared(workers, network, training=True)
    assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()
    kept, _ = _compared(workers, network, training=False)
    assert np.abs(kept - expected).max() > 0.1


def test_batch_norm_needs_its_axis(workers: Mapping[str, Worker]) -> None:
    """The comparison can fail: another epsilon is seen."""
    network = zoo.single("batch-norm", "batch_norm", (Input("input", (7,)),), eps=1e-3)
    expected, _ = _compared(workers, network)
    _, got = _compared(workers, zoo.single("batch-norm", "batch_norm", (Input("input", (7,)),), eps=1e-5))
    assert np.abs(got - expected).max() > 1e-5 * np.abs(expected).max()


def _run(
    workers: Mapping[str, Worker], kind: str, config: Mapping[str, Any], *inputs: Array, **weights: Array
) -> Array:
    found = workers["torch"].call(
        "run_kind", kind=kind, config=dict(config), weights=weights, inputs=list(inputs), training=False
    )
    return np.asarray(found)


def test_pooling_with_ceil_counts_as_torch_does(workers: Mapping[str, Worker]) -> None:
    x = np.arange(1.0, 7.0).reshape(1, 1, 6)
    config = {"rank": 1, "pool": [3], "strides": [2], "pads": [[1, 1]], "ceil": True, "count_include_pad": True}
    # By hand: windows of 3 at -1, 1, 3, 5; the last holds 6, one padding, and a place beyond it that counts for none.
    np.testing.assert_allclose(_run(workers, "avg_pool", config, x)[0, 0], [1.0, 3.0, 5.0, 3.0])
    np.testing.assert_allclose(
        _run(workers, "avg_pool", {**config, "count_include_pad": False}, x)[0, 0], [1.5, 3.0, 5.0, 6.0]
    )
    np.testing.assert_allclose(_run(workers, "max_pool", config, -x)[0, 0], [-1.0, -2.0, -4.0, -6.0])


def test_crops_may_append_zeros_that_hold_the_bias(workers: Mapping[str, Worker]) -> None:
    x, weight, bias = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0]]]), np.array([0.5])
    config = {"rank": 1, "strides": [3], "crops": [[1, -2]]}
    got = _run(workers, "conv_transpose", config, x, weight=weight, bias=bias)
    np.testing.assert_allclose(got[0, 0], [10.5, 0.5, 2.5, 20.5, 0.5, 0.5])


def test_masks_of_attention(workers: Mapping[str, Worker]) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, n, 4)) for n in (5, 6, 6))
    mask = rng.random((5, 6)) > 0.4
    mask[:, 0] = True
    attend = _run(workers, "sdpa", {"has_mask": True}, q, k, v, mask)
    blocked = _run(workers, "sdpa", {"has_mask": True, "mask_form": "blocked"}, q, k, v, ~mask)
    added = _run(workers, "sdpa", {"has_mask": True}, q, k, v, np.where(mask, 0.0, -np.inf))
    np.testing.assert_allclose(attend, blocked, rtol=1e-13)
    np.testing.assert_allclose(attend, added, rtol=1e-13)
    assert np.abs(attend - _run(workers, "sdpa", {}, q, k, v)).max() > 1e-3


def test_a_chain_and_a_gather(workers: Mapping[str, Worker]) -> None:
    x = np.arange(6.0).reshape(1, 3, 2)
    steps = [
        {"kind": "gather", "config": {"axis": 1, "indices": [2, 1, 0]}},
        {"kind": "rescale", "config": {"scale": 2.0, "offset": 1.0}},
    ]
    np.testing.assert_allclose(_run(workers, "chain", {"steps": steps}, x), 2 * x[:, ::-1] + 1)


def test_unknown_kind_is_refused(workers: Mapping[str, Worker]) -> None:
    with pytest.raises(UsageError, match=r"`slice`"):
        _run(workers, "slice", {"text": "x[1:]"}, np.zeros(3))
