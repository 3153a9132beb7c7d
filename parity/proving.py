"""Prove what is about to be timed: the pair first, layer by layer, then every lane in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.bench.gate import prove, prove_step, same_weights
from parity.bench.run import EPSILON, LEARNING_RATE, LaneRun, Setting
from parity.errors import ParityError
from parity.judge.bound import SIGMOID_ULPS, layer_bound, unit_roundoff
from parity.judge.compare import Quartet, judge
from parity.judge.verdict import Finding, overall
from parity.model.layout import Array
from parity.model.spec import ModelSpec
from parity.pair import (
    Pair,
    ask_layer,
    carried_errors,
    forced,
    in_order,
    in_tensorflow_order,
    layer_inputs,
    own_weights,
)
from parity.pairing import weights as pairing_weights
from parity.trials.modes import sampled_errors
from parity.workers.client import Worker, WorkerOptions

KERNELS = {"keras-torch": "torch"}
"""Whose kernels a lane computes with, where that is not the framework of its name."""
SIGMAS = 8.0  # a normal error passes five in one case of two million; four draws know their own size to a third
OPTIMIZERS = {"keras-torch": "tensorflow"}
"""Whose optimizer a lane steps with: Keras's Adam adds its epsilon elsewhere than torch's does."""


@dataclass(frozen=True)
class Proof:
    """The weights and the images on which the pair was proven, and what a lane is held against.

    `twin_logits` (n,), and `allowed` (n,) by framework, are in the order of `images`; `step_losses` are those of each
    framework's float64 twin, before each of the first steps on the images. `alone` names the only
    framework there is.
    """

    spec: ModelSpec
    weights: dict[str, Array]
    images: Array
    labels: Array
    twin_logits: Array
    allowed: dict[str, Array]
    step_losses: dict[str, list[float]]
    verdict: str
    proven_logits: dict[str, Array] = field(default_factory=dict)
    alone: str | None = None
    _lowered: dict[str, Array] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """How many images were proven: the batch of the run."""
        return len(self.labels)

    def lowered(self, precision: str, images: int) -> Array:
        """Return how far each logit (n,) of a lane in less than float32 may be off.

        That is `SIGMAS` times what roundings at random do: no correct lane in a million goes further, while a certain
        bound over 87,616 products would be larger than any logit.
        """
        if precision not in self._lowered:
            x = _canonical(self.images[: self.batch])
            spread = sampled_errors(self.spec.layers[:-1], self.weights, x, precision)
            self._lowered[precision] = SIGMAS * spread.reshape(-1)
        return _again(self._lowered[precision], images)

    def own_weights(self, framework: str) -> dict[str, Array]:
        """Return the weights under a framework's own names, in its own layouts."""
        torch = framework == "torch"
        return pairing_weights.to_torch(self.weights, self.spec) if torch else dict(self.weights)

    def first(self, setting: Setting) -> tuple[Array, Array]:
        """Return the images and labels of one batch; a batch larger than the proven one holds its images again."""
        return _again(self.images, setting.batch), _again(self.labels, setting.batch)


def prove_pair(
    pair: Pair, weights: Mapping[str, Array], images: Array, labels: Array, steps: int = 1
) -> tuple[Proof, list[Finding]]:
    """Prove a built pair layer by layer on the very weights and images that will be timed; the findings say how.

    The twins train on the images for `steps` steps, for lanes to be held against.
    """
    spec = pair.spec
    pair.copy_weights(weights)
    x = _canonical(images)
    inputs = layer_inputs(pair, x)
    findings = forced(pair, inputs)
    last = spec.layers[-2].name
    twin = pair.workers["twin_tensorflow"]
    logits = twin.call("forward", x=x)[last].reshape(-1)
    proven, allowed = {}, {}
    for framework in ("tensorflow", "torch"):
        allowed[framework] = _logit_bounds(spec, weights, inputs, findings, framework)
        pair.workers[framework].call("place_images", images=images, labels=labels)
        proven[framework] = pair.workers[framework].call("resident_logits")
    allowed["onnxruntime"] = np.maximum(allowed["tensorflow"], allowed["torch"])
    losses = {
        framework: _step_losses(pair.workers[f"twin_{framework}"], images, labels, steps)
        for framework in ("tensorflow", "torch")
    }
    pair.copy_weights(weights)
    proof = Proof(
        spec, dict(weights), images, labels, logits, allowed, losses, overall(findings), proven
    )  # fmt: skip
    return proof, findings


def prove_alone(
    framework: str, options: WorkerOptions, spec: ModelSpec, images: Array, labels: Array, steps: int = 1
) -> tuple[Proof, list[Finding]]:
    """Prove one framework against its own float64 twin, where the other one cannot run at all.

    `options` are those of its float32 worker; the twin computes on the CPU.
    """
    twin_options = WorkerOptions(framework, python=options.python, role="twin", threads=options.threads)
    with Worker(options) as plain, Worker(twin_options) as twin:
        for worker in (plain, twin):
            worker.call("build", spec=spec.to_dict(), seed=0)
        held = plain.call("get_weights")
        twin.call("set_weights", weights=held)
        weights = pairing_weights.to_tensorflow(held, spec) if framework == "torch" else held
        inputs, logits = _alone_inputs(framework, twin, spec, _canonical(images))
        findings = _alone_findings(framework, (plain, twin), spec, weights, inputs)
        plain.call("place_images", images=images, labels=labels)
        proven = plain.call("resident_logits")
        losses = {framework: _step_losses(twin, images, labels, steps)}
    bound = _logit_bounds(spec, weights, inputs, findings, framework)
    allowed = {framework: bound, "onnxruntime": bound}
    proof = Proof(spec, weights, images, labels, logits, allowed, losses, overall(findings),
                  {framework: proven}, framework)  # fmt: skip
    return proof, findings


def prove_lane(run: LaneRun, proof: Proof, setting: Setting) -> dict[str, Any]:
    """Let a lane's fresh process through the gate on one setting and return the figures.

    Raises
        ParityError: its weights, logits or loss, or what its first steps do to the loss, are not what was proven.
    """
    lane, kernels = run.lane, KERNELS.get(run.lane.framework, run.lane.framework)
    if lane.framework != "onnxruntime" and not same_weights(
        run.worker.call("get_weights"), proof.own_weights(lane.framework)
    ):
        raise ParityError(f"{lane.name} is not timed: it does not hold the weights that it was given")
    images, labels = proof.first(setting)
    run.first_step(setting)  # before anything else traces it
    logits = np.asarray(run.worker.call("resident_logits"))
    precision = str(lane.options.get("precision", "float32"))
    allowed = _again(proof.allowed[kernels], len(images))
    twin = _again(proof.twin_logits, len(images))
    if precision != "float32":
        allowed = proof.lowered(precision, len(images))
    if lane.framework == "onnxruntime":
        allowed = allowed + _through_sigmoid(twin)
    loss = None if lane.framework == "onnxruntime" else run.worker.call("loss")
    figures = prove(lane.name, logits, loss, labels, twin, allowed, precision)
    proven = proof.proven_logits.get(kernels)
    if proven is not None and setting.batch == proof.batch:
        figures["identical_to_proven"] = bool(np.array_equal(logits, proven))
    return figures


def prove_training(run: LaneRun, proof: Proof, setting: Setting) -> dict[str, Any]:
    """Hold what a lane's first training steps did to the loss against the float64 twin's; call it after them.

    Raises
        ParityError: the loss moved otherwise, or the optimizer has taken no step at all.
    """
    twin = proof.step_losses.get(OPTIMIZERS.get(run.lane.framework, run.lane.framework))
    taken = int(run.worker.call("optimizer_steps"))
    # Loss scaling to float16 may skip the first steps of all: their gradients overflow until the scale has come down.
    if taken < 1 and run.lane.options.get("precision") != "float16":
        raise ParityError(f"{run.lane.name} is not timed: its training step leaves the optimizer where it was")
    if twin is None or setting.batch != proof.batch or not 0 < taken < len(twin):
        return {}
    loss = float(run.worker.call("loss"))
    precision = str(run.lane.options.get("precision", "float32"))
    return prove_step(run.lane.name, loss, twin, taken, precision)


def _through_sigmoid(logits: Array) -> Array:
    """Return what a float32 probability, which is all that an exported graph puts out, may move its logit by.

    The derivative of the logit is 1 / (p (1 - p)), and the error of p is at most that many roundoffs times p.
    """
    return SIGMOID_ULPS * unit_roundoff("float32") * (1.0 + np.exp(np.asarray(logits, dtype=np.float64)))


def _again(rows: Array, count: int) -> Array:
    """Return the first `count` rows, from the start again where there are fewer."""
    return rows[np.arange(count) % len(rows)]


def _canonical(images: Array) -> Array:
    return images.astype(np.float32) / np.float32(255.0)


def _logit_bounds(
    spec: ModelSpec, weights: Mapping[str, Array], inputs: Mapping[str, Array], findings: list[Finding], framework: str
) -> Array:
    return carried_errors(spec, weights, inputs, findings, framework)[spec.layers[-2].name].reshape(-1)


def _step_losses(twin: Worker, images: Array, labels: Array, steps: int) -> list[float]:
    """Return the twin's loss before each of its first training steps, and after the last."""
    twin.call("start_training", learning_rate=LEARNING_RATE, epsilon=EPSILON)
    twin.call("place_images", images=images, labels=labels)
    losses = [float(twin.call("loss"))]
    for _ in range(steps):
        twin.call("timed_steps", work="train", steps=1)
        losses.append(float(twin.call("loss")))
    return losses


def _alone_inputs(framework: str, twin: Worker, spec: ModelSpec, x: Array) -> tuple[dict[str, Array], Array]:
    outputs = twin.call("forward", x=in_order(framework, x, "image", {}))
    inputs, value = {}, x
    for step in spec.shapes():
        inputs[step.layer.name] = value.astype(np.float32)
        value = outputs[step.layer.name]
        value = in_tensorflow_order(value, step) if framework == "torch" else value
    return inputs, np.asarray(outputs[spec.layers[-2].name]).reshape(-1)


def _alone_findings(
    framework: str,
    workers: tuple[Worker, Worker],
    spec: ModelSpec,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
) -> list[Finding]:
    findings = []
    for step in spec.shapes():
        layer, x = step.layer, inputs[step.layer.name]
        plain, twin = (ask_layer(step, x, framework, worker) for worker in workers)
        if framework == "torch":
            plain, twin = in_tensorflow_order(plain, step), in_tensorflow_order(twin, step)
        own = own_weights(weights, layer.name)
        device = workers[0].options.device
        bounds = [layer_bound(layer, x, own, twin, unit_roundoff(p), device) for p in ("float32", "float64")]
        findings.append(judge(layer.name, layer.kind, Quartet(plain, plain, twin, twin), *bounds))
    return findings
