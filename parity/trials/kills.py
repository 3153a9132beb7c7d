"""Known traps, each planted on torch's side of a correct pair: does the forced check fail, and just there?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from parity.judge.verdict import SEMANTIC
from parity.model import zoo
from parity.model.network import SAME as SAME_ORDER
from parity.model.network import Array, Input, Network
from parity.pair import Pair
from parity.trials.networks import (
    ADAM,
    FORWARD,
    LOSS,
    SLOT,
    STAGES,
    STATE,
    UPDATE,
    NetworkPair,
    Staged,
    forced,
    probe_inputs,
    probe_weights,
    propagated,
    upstream_of,
)
from parity.workers.client import Worker

Weights = dict[str, Array]


@dataclass(frozen=True)
class Plant:
    """One trap in one correct network: `port` and `spoil` say what the careless port does at `node`.

    `scale` multiplies the probe, for traps that only large or tiny inputs show; `spoil` gets torch's weights (torch's
    names and layouts) and TensorFlow's, and returns what the port loads.
    """

    trap: str
    network: Network
    node: str
    port: Mapping[str, Any] = field(default_factory=dict)
    spoil: Callable[[Weights, Weights], Weights] | None = None
    training: bool = True
    scale: float = 1.0
    original: Mapping[str, Any] = field(default_factory=dict)  # what the Keras model has that the port cannot say

    @property
    def name(self) -> str:
        """The trap and the network it is planted in."""
        return f"{self.trap} in {self.network.name}"


@dataclass(frozen=True)
class Kill:
    """What became of one plant: a row of the record's kill matrix."""

    trap: str
    pair: str
    stage: str | None
    planted_at: str
    seen_at: str | None
    caught: bool
    d64: float | None
    note: str = ""
    verdict: str | None = None


def run(workers: Pair, plant: Plant, seed: int = 0, known: dict[str, list[str]] | None = None) -> Kill:
    """Check the correct pair, plant the trap, and say where it was seen.

    It counts as caught when the correct pair passes, the planted one is called semantic, and every failing forced check
    is of the node that holds the trap. `known` keeps the alarms of correct pairs between calls, so that each is checked
    once.
    """
    known = {} if known is None else known
    probe = json.dumps([plant.network.to_dict(), plant.training, plant.scale, seed])
    if probe not in known:
        clean = _findings(workers, plant, seed, planted=False)
        known[probe] = [s.finding.tensor for s in clean if not s.finding.passed]
    alarms = known[probe]
    failing = [s for s in _findings(workers, plant, seed, planted=True) if not s.finding.passed]
    nodes = list(dict.fromkeys(plant.network.node(node_of(s)).holder for s in failing))
    note = f"false alarm in the correct pair at {alarms}" if alarms else ""
    if len(nodes) > 1:
        note = f"seen at {nodes}"
    first = failing[0] if failing else None
    return Kill(
        plant.trap,
        plant.network.name,
        first.stage if first else None,
        plant.node,
        nodes[0] if nodes else None,
        not alarms and nodes == [plant.node] and first is not None and first.finding.verdict == SEMANTIC,
        first.finding.d64 if first else None,
        note,
        first.finding.verdict if first else None,
    )


@dataclass(frozen=True)
class StepPlant:
    """One trap in what torch does with the whole network in a training step: `change` alters what it is asked to do.

    `stage` is where it must be seen first, no earlier stage failing; with `port`, at the node that is ported.
    """

    trap: str
    network: Network
    stage: str
    change: Callable[[dict[str, Any]], dict[str, Any]]
    port: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by node


class _PortedPair:
    """A pair whose torch side is asked something else than what the caller says."""

    each = Pair.each

    def __init__(self, pair: Pair, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.options = pair.options
        self.workers = {side: _Port(w, change) if side.endswith("torch") else w for side, w in pair.workers.items()}


class _Port:
    def __init__(self, worker: Worker, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.worker, self.change = worker, change

    def call(self, method: str, **arguments: Any) -> Any:
        return self.worker.call(method, **(self.change(arguments) if method == "network_step" else arguments))


def run_step(workers: Pair, plant: StepPlant, seed: int = 0) -> Kill:
    """Take the step rightly and with the trap, and say at which stage and tensor it was first seen."""
    clean = _step(workers, plant.network, plant.network, seed)
    ported = plant.network
    for name, port in plant.port.items():
        ported = ported.with_port(name, **port)
    spoilt = _step(cast(Pair, _PortedPair(workers, plant.change)), plant.network, ported, seed)
    alarms = [s.finding.tensor for s in clean if not s.finding.passed]
    failing = sorted((s for s in spoilt if not s.finding.passed), key=lambda s: STAGES.index(s.stage))
    first = failing[0] if failing else None
    stages = list(dict.fromkeys(s.stage for s in failing))
    note = f"false alarm in the correct pair at {alarms}" if alarms else f"fails from there on: {', '.join(stages)}"
    at = next(iter(plant.port), plant.stage)
    seen = None if first is None else node_of(first) if plant.port else first.stage
    right = first is not None and first.finding.verdict == SEMANTIC and (first.stage, seen) == (plant.stage, at)
    return Kill(
        plant.trap,
        plant.network.name,
        first.stage if first else None,
        at,
        seen,
        not alarms and right,
        first.finding.d64 if first else None,
        note if first or alarms else "",
        first.finding.verdict if first else None,
    )


def _step(workers: Pair, network: Network, ported: Network, seed: int) -> list[Staged]:
    pair = NetworkPair(workers, network, ported, seed)
    pair.copy_weights(probe_weights(pair, seed))
    logits = {"small-cnn": "dense2"}.get(network.name)
    inputs, upstream = probe_inputs(network, seed=seed), upstream_of(pair, 3, seed)
    loss: dict[str, Any] = {"kind": "linear", "upstream": upstream}
    if logits is not None and pair.shapes[logits] == (1,):
        loss = {"kind": "bce_logits", "tensor": logits, "labels": np.array([0.0, 1.0, 1.0], dtype=np.float32)}
    return propagated(pair, inputs, loss)


def node_of(staged: Staged) -> str:
    """Return the node that a finding belongs to."""
    return staged.finding.tensor.partition("<-")[0].partition("/")[0]


def _findings(workers: Pair, plant: Plant, seed: int, planted: bool) -> list[Staged]:
    ported = plant.network.with_port(plant.node, **plant.port) if planted and plant.port else plant.network
    original = plant.network.with_config(plant.node, **plant.original) if planted else plant.network
    pair = NetworkPair(workers, original, ported, seed)
    weights = probe_weights(pair, seed)
    torch = pair.to_torch(weights)
    pair.copy_weights(weights, plant.spoil(torch, weights) if planted and plant.spoil else torch)
    inputs = {
        name: (x * np.float32(plant.scale) if np.issubdtype(x.dtype, np.floating) else x)
        for name, x in probe_inputs(plant.network, seed=seed).items()
    }
    return forced(pair, inputs, upstream_of(pair, 3, seed), training=plant.training)


def _with(weights: Weights, name: str, array: Array) -> Weights:
    return {**weights, name: np.ascontiguousarray(array)}


def _on(name: str, change: Callable[[Array], Array]) -> Callable[[Weights, Weights], Weights]:
    return lambda torch, _: _with(torch, name, change(torch[name]))


def _exchange(first: str, second: str) -> Callable[[Weights, Weights], Weights]:
    return lambda torch, _: {**torch, first: torch[second], second: torch[first]}


def _gates(order: tuple[int, ...]) -> Callable[[Array], Array]:
    """Reorder the gates that torch stacks along a weight's first axis."""
    return lambda w: np.concatenate([np.split(w, len(order))[i] for i in order])


def _all(change: Callable[[Array], Array], *names: str) -> Callable[[Weights, Weights], Weights]:
    return lambda torch, _: {**torch, **{name: np.ascontiguousarray(change(torch[name])) for name in names}}


def _layer(kind: str, *inputs: Input, **config: Any) -> Network:
    return zoo.single(f"{kind.replace('_', '-')}-alone", kind, inputs, **config)


def plants() -> list[Plant]:
    """Return every plant of the forward and backward traps and of the state that training keeps."""
    return [*_layout_plants(), *_geometry_plants(), *_norm_plants(), *_function_plants(), *_sequence_plants(),
            *_model_plants(), *_training_plants()]  # fmt: skip


def step_plants() -> list[StepPlant]:
    """Return the plants of a whole training step: its loss, its update and slots, its state."""
    cnn = zoo.small_cnn().with_config("dense2", units=1)

    def optimizer(**words: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda asked: {**asked, "optimizer": {**asked["optimizer"], **words}}

    def smoothed(asked: dict[str, Any]) -> dict[str, Any]:
        labels = asked["loss"]["labels"]
        return {**asked, "loss": {**asked["loss"], "labels": labels * np.float32(0.875) + np.float32(0.0625)}}

    unscaled = float(ADAM["epsilon"]) * (1.0 - float(ADAM["beta_2"])) ** 0.5
    return [
        StepPlant("label-smoothing-binary", cnn, LOSS, smoothed),
        StepPlant("adam-epsilon", cnn, UPDATE, optimizer(epsilon=unscaled)),
        StepPlant("optimizer-defaults", cnn, UPDATE, optimizer(learning_rate=2.0**-9)),
        StepPlant("optimizer-defaults", cnn, SLOT, optimizer(beta_1=0.75)),
        StepPlant("hyperparameter-float32", cnn, UPDATE, optimizer(learning_rate=2.0**-10 * (1.0 + 2.0**-25))),
        StepPlant("weight-decay-coupling", cnn, UPDATE, optimizer(weight_decay=2.0**-6)),
        StepPlant("clip-norm-kind", cnn, UPDATE, optimizer(clipnorm=2.0**-4)),
        StepPlant("batchnorm-running-variance", zoo.resnet_v2_block(), STATE, dict, {"bn1": {"unbiased": True}}),
        StepPlant("batchnorm-momentum", zoo.resnet_v2_block(), STATE, dict, {"bn2": {"momentum": 0.01}}),
        StepPlant("residual-scale", zoo.resnet_v2_block(), FORWARD, dict, {"add": {"scale": 0.5}}),
    ]


def _layout_plants() -> list[Plant]:
    cnn, conv = zoo.small_cnn(), _layer("conv", zoo.image(), rank=2, filters=4, kernel=[3, 3])
    depthwise = _layer("depthwise_conv", zoo.image(), rank=2, kernel=[3, 3], multiplier=2)
    square = _layer("dense", Input("input", (7,), SAME_ORDER), units=7)
    return [
        Plant("flatten-order", cnn, "dense1",
              spoil=lambda torch, tf: _with(torch, "dense1.weight", tf["dense1/kernel"].T)),
        Plant("kernel-layout", square, "layer", spoil=_on("layer.weight", lambda w: w.T)),
        Plant("kernel-layout", conv, "layer", spoil=_on("layer.weight", lambda w: w.swapaxes(0, 1))),
        Plant("kernel-spatial-swap", conv, "layer", spoil=_on("layer.weight", lambda w: w.swapaxes(2, 3))),
        Plant("kernel-flip", conv, "layer", spoil=_on("layer.weight", lambda w: w[:, :, ::-1, ::-1])),
        Plant("depthwise-channel-order", depthwise, "layer",
              spoil=lambda torch, tf: _with(torch, "layer.weight", _multiplier_major(tf["layer/kernel"]))),
    ]  # fmt: skip


def _multiplier_major(kernel: Array) -> Array:
    """Return a depthwise kernel whose output channels are ordered m*C + c."""
    moved = np.moveaxis(kernel, (-1, -2), (0, 1))
    return moved.reshape(-1, 1, *kernel.shape[:-2])


def _geometry_plants() -> list[Plant]:
    small = zoo.image()  # 11 x 8: the parity of the size decides how SAME pads
    strided = {"rank": 2, "filters": 5, "kernel": [3, 3], "strides": [2, 2], "padding": "same"}
    pool = {"rank": 2, "pool": [3, 3], "strides": [2, 2], "padding": "same"}
    up = {"rank": 2, "filters": 3, "kernel": [3, 3], "strides": [2, 2], "padding": "same"}
    wide = _layer("avg_pool", small, **{**pool, "strides": [1, 1]})
    return [
        Plant("same-padding-stride", _layer("conv", small, **strided), "layer", {"padding": "symmetric"}),
        Plant("pool-padding", _layer("max_pool", small, **pool), "layer", {"padding": "symmetric"}),
        Plant("avgpool-count-pad", wide, "layer", {"count_include_pad": True}),
        Plant("conv-transpose-crop", _layer("conv_transpose", small, **up), "layer", {"crop": "symmetric"}),
        Plant("pixel-shuffle-order", _layer("depth_to_space", zoo.image(channels=12), block=2), "layer",
              {"order": "torch"}),
        Plant("dilation-or-groups", _layer("conv", small, rank=2, filters=5, kernel=[2, 2], dilation=[3, 3]), "layer",
              {"dilation": 1}),
        Plant("resize-coordinates", _layer("resize", small, size=[7, 13], method="bilinear"), "layer",
              {"align_corners": True}),
        Plant("resize-coordinates", _layer("resize", small, size=[7, 13], method="nearest"), "layer",
              {"method": "nearest"}),
        Plant("axis-mismatch", _layer("softmax", small, axis=-1, image=True), "layer", {"axis": -1}),
    ]  # fmt: skip


def _norm_plants() -> list[Plant]:
    batch, image = _layer("batch_norm", zoo.image()), zoo.image(channels=6)
    slight = _layer("batch_norm", zoo.image(), eps=1.001e-5)
    layer = _layer("layer_norm", zoo.image(), image=True)
    return [
        Plant("batchnorm-eps", batch, "layer", {"eps": 1e-5}, training=False),
        Plant("batchnorm-eps", slight, "layer", {"eps": 1e-5}, training=False),
        Plant("batchnorm-mode", batch, "layer", {"mode": "train"}, training=False),
        Plant("batchnorm-stats-swap", batch, "layer", spoil=_exchange("layer.weight", "layer.bias")),
        Plant("batchnorm-stats-swap", batch, "layer", training=False,
              spoil=_exchange("layer.running_mean", "layer.running_var")),
        Plant("batchnorm-stats-swap", batch, "layer", spoil=_on("layer.running_var", np.sqrt), training=False),
        Plant("layernorm-eps", layer, "layer", {"eps": 1e-5}),
        Plant("layernorm-eps", _layer("group_norm", image, groups=3), "layer", {"eps": 1e-5}),
        Plant("layernorm-eps", _layer("rms_norm", zoo.sequence()), "layer", {"eps": 2.0**-52}),
        Plant("groupnorm-groups", _layer("group_norm", image, groups=3), "layer", {"groups": 2}),
        Plant("norm-axes", layer, "layer", {"axes": "all"}),
        Plant("l2-normalize-eps", _layer("l2_normalize", zoo.sequence()), "layer", {"form": "torch"}, scale=1e-7),
    ]  # fmt: skip


def _function_plants() -> list[Plant]:
    def activation(function: str, **config: Any) -> Network:
        return zoo.single(f"activation-{function.replace('_', '-')}", "activation", (zoo.image(),), function=function,
                          **config)  # fmt: skip

    prelu = zoo.single("prelu", "prelu", (zoo.image(),), rank=3)
    return [
        Plant("gelu-approximation", activation("gelu"), "layer", {"approximate": "tanh"}),
        Plant("leaky-slope", activation("leaky_relu"), "layer", {"slope": 0.01}),
        Plant("prelu-sharing", prelu, "layer", spoil=_on("layer.weight", lambda w: np.full_like(w, w.mean()))),
        Plant("elu-selu-alpha", activation("elu", alpha=0.7), "layer", {"alpha": 1.0}),
        Plant("elu-selu-alpha", activation("selu"), "layer", {"function": "elu"}),
        Plant("softplus-threshold", activation("softplus"), "layer", {"threshold": 20.0}, scale=8.0),
        Plant("hard-sigmoid-slope", activation("hard_sigmoid"), "layer", {"function": "hard_sigmoid_keras2"}),
        Plant("relu6-missing", activation("relu6"), "layer", {"function": "relu"}, scale=4.0),
    ]  # fmt: skip


def _sequence_plants() -> list[Plant]:
    lstm, gru = (_layer(kind, zoo.sequence(), units=4) for kind in ("lstm", "gru"))
    query, value = Input("query", (6, 8), SAME_ORDER), Input("value", (4, 8), SAME_ORDER)
    masked = _layer("attention", query, value, Input("mask", (6, 4), SAME_ORDER, below=2), heads=4, key_dim=2)
    tokens = _layer("embedding", Input("input", (6,), SAME_ORDER, below=11), tokens=11, units=5)
    recurrent = ("layer.weight_ih_l0", "layer.weight_hh_l0", "layer.bias_ih_l0")
    return [
        Plant("lstm-gate-order", lstm, "layer", spoil=_all(_gates((0, 1, 3, 2)), *recurrent)),
        Plant("gru-gate-order", gru, "layer", spoil=_all(_gates((1, 0, 2)), *recurrent[:2])),
        Plant("gru-reset-after", gru, "layer",
              spoil=lambda torch, tf: _with(torch, "layer.biases_l0", _only_input_bias(tf["layer/bias"])),
              original={"reset_after": False}),
        Plant("bias-missing-or-doubled", gru, "layer",
              spoil=_on("layer.biases_l0", lambda b: np.stack([b[0], b[0]]))),
        Plant("bias-missing-or-doubled", zoo.small_cnn(), "dense2", spoil=_on("dense2.bias", np.zeros_like)),
        Plant("attention-mask-polarity", masked, "layer", {"mask": "inverted"}),
        Plant("attention-scale-or-heads", masked, "layer", {"heads": 2}),
        Plant("attention-scale-or-heads", masked, "layer", {"scale": 0.5**0.5}),
        Plant("embedding-offset", tokens, "layer", spoil=_on("layer.weight", lambda w: np.roll(w, 1, axis=0))),
        Plant("embedding-padding-index", tokens, "layer", {"padding_idx": 0}),
    ]  # fmt: skip


def _only_input_bias(bias: Array) -> Array:
    """Return torch's two biases for Keras's single one of a GRU that resets before: z, r, h to r, z, n."""
    z, r, h = np.split(bias, 3)
    return np.stack([np.concatenate([r, z, h]), np.zeros_like(bias)])


def _model_plants() -> list[Plant]:
    cnn, block = zoo.small_cnn(), zoo.inverted_residual()
    scaled = _layer("rescale", zoo.image(channels=3), scale=1.0 / 255.0)
    ordered = _layer("select", Input("input", (5,), SAME_ORDER), order=[0, 1, 2, 3, 4])
    extra = zoo.single("no-activation", "activation", (zoo.image(),), function="linear")
    twice = zoo.shared_layers()
    return [
        Plant("input-scale", scaled, "layer", {"scale": 1.0}),
        Plant("input-scale", scaled, "layer", {"scale": 1.0 / 256.0}),
        Plant("channel-order", scaled, "layer", {"flip_channels": True}),
        Plant("activation-missing", cnn, "relu1", {"function": "linear"}),
        Plant("activation-extra", extra, "layer", {"function": "relu"}),
        Plant("residual-scale", block, "add", {"scale": 0.5}),
        Plant("weight-wrong-layer", zoo.densenet_block(), "conv1", spoil=_wrong_layer),
        Plant("weight-scale", cnn, "dense1", spoil=_on("dense1.weight", lambda w: w * np.float32(1.0001))),
        Plant("output-permutation", ordered, "layer", {"order": [1, 0, 2, 3, 4]}),
        Plant("bias-missing-or-doubled", twice, "conv", spoil=_on("conv.bias", lambda b: 2 * b)),
    ]  # fmt: skip


def _wrong_layer(torch: Weights, _: Weights) -> Weights:
    """Load the part of another layer's kernel that has this one's shape."""
    own = torch["conv1.weight"].shape
    return _with(torch, "conv1.weight", torch["conv2.weight"][:, : own[1]])


def _training_plants() -> list[Plant]:
    batch = _layer("batch_norm", zoo.image(), momentum=0.9)
    frozen = _layer("batch_norm", zoo.image(), frozen=True)
    mask = Input("mask", (*zoo.SIZES[2], zoo.CHANNEL_COUNT), below=2)
    dropout = _layer("dropout", zoo.image(), mask, rate=0.4)
    return [
        Plant("batchnorm-momentum", batch, "layer", {"momentum": 0.1}),
        Plant("batchnorm-running-variance", batch, "layer", {"unbiased": True}),
        Plant("batchnorm-frozen", frozen, "layer", {"updates": True}),
        Plant("dropout-active", dropout, "layer", {"mode": "train"}, training=False),
        Plant("dropout-rng", dropout, "layer", {"other_mask": True}),
        Plant("init-distribution", _layer("dense", Input("input", (9,), SAME_ORDER), units=5), "layer",
              spoil=_uniform_init),
    ]  # fmt: skip


def _uniform_init(torch: Weights, _: Weights) -> Weights:
    """Keep torch's own initial weights, U(+-1/sqrt(fan_in)), as a port does that never copies them."""
    rng = np.random.default_rng(5)
    limit = 1.0 / np.sqrt(torch["layer.weight"].shape[1])
    return {name: rng.uniform(-limit, limit, w.shape).astype(np.float32) for name, w in torch.items()}
