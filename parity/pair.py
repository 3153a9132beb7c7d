"""The story of a comparison in one page: open workers, build the pair, copy weights, observe, judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from parity.errors import PairingError, UsageError
from parity.judge.bound import Doubles, layer_bound, propagated_bound, unit_roundoff
from parity.judge.compare import Quartet, judge, missing
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, SEMANTIC, Finding
from parity.model import layout
from parity.model.layout import Array
from parity.model.spec import LayerShape, ModelSpec
from parity.pairing import weights as pairing_weights
from parity.pairing.graph import pair_layers
from parity.workers.client import Worker, WorkerOptions, usable_cpus

SIDES = ("tensorflow", "torch", "twin_tensorflow", "twin_torch")


@dataclass(frozen=True)
class PairOptions:
    """Under which interpreters and on what device the two frameworks run; the twins always compute on the CPU."""

    tensorflow_python: str | None = None
    torch_python: str | None = None
    device: str = "cpu"
    threads: int = field(default_factory=usable_cpus)
    seed: int = 0
    tensorflow_adapter: str = "tensorflow"
    torch_adapter: str = "torch"

    def worker(self, side: str) -> WorkerOptions:
        """Return how the worker of one of `SIDES` is started."""
        torch = side.endswith("torch")
        twin = side.startswith("twin")
        return WorkerOptions(
            framework=self.torch_adapter if torch else self.tensorflow_adapter,
            python=self.torch_python if torch else self.tensorflow_python,
            role="twin" if twin else "plain",
            device="cpu" if twin else self.device,
            threads=self.threads,
            seed=self.seed,
        )


class Pair:
    """One sequential model in both frameworks, in float32 and as float64 twins: four workers that hold one network."""

    def __init__(self, options: PairOptions | None = None) -> None:
        self.options = options or PairOptions()
        self.workers = {side: Worker(self.options.worker(side)) for side in SIDES}
        self.specs: dict[str, ModelSpec] = {}

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all four workers."""
        for worker in self.workers.values():
            worker.close()

    def alive(self) -> bool:
        """Return whether all four workers can still be called."""
        return all(worker.alive() for worker in self.workers.values())

    @property
    def spec(self) -> ModelSpec:
        """The description that the TensorFlow side was built from."""
        if not self.specs:
            raise UsageError("the pair has not been built yet: call `build` first")
        return self.specs["tensorflow"]

    def each(self, request: Callable[[str, Worker], Any]) -> dict[str, Any]:
        """Return what `request(side, worker)` gave for each of the four workers, asked side by side."""
        with ThreadPoolExecutor(len(SIDES)) as pool:
            futures = {side: pool.submit(request, side, worker) for side, worker in self.workers.items()}
            return {side: future.result() for side, future in futures.items()}

    def build(self, spec: ModelSpec, torch_spec: ModelSpec | None = None, seed: int = 0) -> None:
        """Build the network on all sides; `torch_spec` is for a port that is described differently."""
        self.specs = {"tensorflow": spec, "torch": torch_spec or spec}
        self.each(lambda side, worker: worker.call("build", spec=self.specs[_family(side)].to_dict(), seed=seed))

    def copy_weights(self, weights: Mapping[str, Array], torch_weights: Mapping[str, Array] | None = None) -> None:
        """Put Keras-named `weights` into all four networks, carried over by the weight map unless given for torch."""
        carried = torch_weights if torch_weights is not None else pairing_weights.to_torch(weights, self.spec)
        given = {"tensorflow": weights, "torch": carried}
        self.each(lambda side, worker: worker.call("set_weights", weights=dict(given[_family(side)])))

    def weights(self) -> dict[str, Array]:
        """Return the TensorFlow side's weights under Keras's names, float32."""
        return dict(self.workers["tensorflow"].call("get_weights"))

    def audit(self) -> pairing_weights.WeightAudit:
        """Return which weights of the built networks have a partner."""
        mine, theirs = (self.workers[side].call("get_weights") for side in ("tensorflow", "torch"))
        return pairing_weights.audit(mine, theirs, self.spec)


def probe_weights(spec: ModelSpec, seed: int = 0) -> dict[str, Array]:
    """Return trained-like Keras-named weights, float32: He-scaled kernels without symmetry, biases far from zero.

    A fresh Keras network has all biases at zero, which would hide a bias that a port forgot.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for link in pairing_weights.weight_map(spec):
        shape = link.weight.shape
        scale = (2.0 / np.prod(shape[:-1])) ** 0.5 if link.weight.role == "kernel" else 0.3
        found[link.tensorflow] = (rng.standard_normal(shape) * scale).astype(np.float32)
    return found


def noise_probe(spec: ModelSpec, batch: int, seed: int = 0) -> Array:
    """Return signed noise (batch, h, w, c), float32, each axis modulated differently so that no swap goes unseen."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, spec.height, spec.width, spec.channels))
    ramp = np.linspace(0.2, 1.0, spec.height)[:, None, None] + np.linspace(-0.7, 0.0, spec.width)[None, :, None]
    return (x * ramp * (1.0 + np.arange(spec.channels))).astype(np.float32)


def sparse_inputs(spec: ModelSpec, batch: int, seed: int = 0) -> dict[str, Array]:
    """Return, for each layer, an input with few non-zero numbers, float32.

    With k products that are not zero, a sum of any length is bounded by gamma_k: a layer that rounds its operands to
    TF32 or bfloat16 stands out, which a dense input over a long reduction would hide.
    """
    rng = np.random.default_rng(seed)
    inputs = {}
    for step in spec.shapes():
        shape = (batch, *step.input_shape)
        size = int(np.prod(step.input_shape))
        keep = min(1.0, 4.0 / size) if step.layer.kind == "dense" else 1.0 / 9.0
        values = rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape) * (rng.random(shape) < keep)
        if not values.any(axis=tuple(range(1, len(shape)))).all():
            values.reshape(batch, -1)[:, 0] = 1.0 / 3.0
        inputs[step.layer.name] = values.astype(np.float32)
    return inputs


def layer_inputs(pair: Pair, x: Array) -> dict[str, Array]:
    """Return what each layer is fed when `x` (n, h, w, c) goes through the TensorFlow twin, rounded to float32."""
    outputs = pair.workers["twin_tensorflow"].call("forward", x=x)
    names = [layer.name for layer in pair.spec.layers]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and the judge says so
        return {name: outputs[before].astype(np.float32) if before else x for name, before in _previous(names)}


def forced(pair: Pair, inputs: Mapping[str, Array]) -> list[Finding]:
    """Return one finding per layer, each layer alone and fed the same `inputs` (TensorFlow's order) on every side."""
    weights = pair.weights()
    findings, absent = [], _absent(pair)
    for step in pair.spec.shapes():
        layer = step.layer
        if layer.name in absent:
            findings.append(absent[layer.name])
            continue
        x, own = inputs[layer.name], own_weights(weights, layer.name)
        given = pair.each(partial(ask_layer, step, x))
        quartet = Quartet(
            *(
                given[side] if _family(side) == "tensorflow" else in_tensorflow_order(given[side], step)
                for side in SIDES
            )
        )
        bounds = [
            layer_bound(layer, x, own, quartet.twin_tensorflow, unit_roundoff(p), pair.options.device)
            for p in ("float32", "float64")
        ]
        findings.append(judge(layer.name, layer.kind, quartet, *bounds))
    return findings + [finding for name, finding in absent.items() if name not in {f.tensor for f in findings}]


@dataclass(frozen=True)
class Observation:
    """The whole network fed one batch: every side's outputs by layer, and how far a correct one may be off.

    `outputs[side][layer]` is in that side's own order of axes; `bounds[layer]` holds the absolute float32 and float64
    bounds per element, in TensorFlow's order.
    """

    outputs: Mapping[str, Mapping[str, Array]]
    bounds: Mapping[str, tuple[Doubles, Doubles]]

    def ordered(self, side: str, step: LayerShape) -> Array:
        """Return one side's output of one layer in TensorFlow's order."""
        array = self.outputs[side][step.layer.name]
        return array if _family(side) == "tensorflow" else in_tensorflow_order(array, step)


def observe(pair: Pair, x: Array) -> Observation:
    """Run `x` (n, h, w, c) through the whole network on all sides, and bound the rounding on the way."""
    weights = pair.weights()
    outputs = pair.each(lambda side, worker: worker.call("forward", x=in_order(side, x, "image", {})))
    device = pair.options.device
    return Observation(outputs, network_bounds(pair.spec, weights, x, outputs["twin_tensorflow"], device))


def network_bounds(
    spec: ModelSpec, weights: Mapping[str, Array], x: Array, twin: Mapping[str, Array], device: str = "cpu"
) -> dict[str, tuple[Doubles, Doubles]]:
    """Return layer -> how far its output may be off in float32 and in float64, absolute, when `x` goes through it all.

    `weights` under Keras's names; `twin`: layer -> its float64 output for `x` (n, h, w, c), in TensorFlow's order;
    `device`: where the float32 outputs are computed.
    """
    value, low, high = x, np.zeros(1), np.zeros(1)
    bounds = {}
    for step in spec.shapes():
        layer, exact = step.layer, twin[step.layer.name]
        own = own_weights(weights, layer.name)
        low = propagated_bound(layer, value, own, exact, low, unit_roundoff("float32"), device)
        high = propagated_bound(layer, value, own, exact, high, unit_roundoff("float64"))
        bounds[layer.name], value = (low, high), exact
    return bounds


def propagated(pair: Pair, x: Array) -> list[Finding]:
    """Return one finding per layer of the whole network fed `x` (n, h, w, c), errors accumulating."""
    seen, absent = observe(pair, x), _absent(pair)
    findings = []
    for step in pair.spec.shapes():
        layer = step.layer
        if layer.name in absent:
            findings.append(absent[layer.name])
        else:
            quartet = Quartet(*(seen.ordered(side, step) for side in SIDES))
            findings.append(judge(layer.name, layer.kind, quartet, *seen.bounds[layer.name]))
    known = {finding.tensor for finding in findings}
    extra = [finding for name, finding in absent.items() if name not in known]
    return [*findings, *extra, *_whole(seen.outputs)]


def measured_bounds(
    pair: Pair, inputs: Mapping[str, Array], findings: Iterable[Finding], side: str
) -> dict[str, Doubles]:
    """Return how far one side's output of each layer may be off, from the rounding that it showed layer by layer.

    `findings` are the forced checks of `inputs`. Each layer's own measured error is added, and what came before it is
    carried on by |W| in the worst case: after a reduction over 87,616 numbers this is thousands of times sharper than
    the a-priori bound, which holds for any order of summation that somebody could choose.
    Source: Higham, section 3.3 (running error analysis).
    """
    return carried_errors(pair.spec, pair.weights(), inputs, findings, side)


def carried_errors(
    spec: ModelSpec,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
    findings: Iterable[Finding],
    side: str,
) -> dict[str, Doubles]:
    """Return `measured_bounds` of a network that no pair holds; `weights` under Keras's names."""
    own_error = {}
    for finding in findings:
        error = finding.error_torch if side == "torch" else finding.error_tensorflow
        own_error[finding.tensor] = np.inf if error is None else error * finding.scale
    bounds, carried = {}, np.zeros(1)
    for step in spec.shapes():
        layer, x = step.layer, inputs[step.layer.name]
        shape = np.zeros((len(x), *step.output_shape))
        before = propagated_bound(layer, x, own_weights(weights, layer.name), shape, carried, 0.0)
        carried = before + own_error[layer.name]
        bounds[layer.name] = carried
    return bounds


def modes(pair: Pair, x: Array) -> list[Finding]:
    """Return, per framework, whether training mode computes what evaluation mode does, layer by layer.

    A network without dropout or normalisation must be the same function in both, bit for bit.
    """
    findings = []
    for side in ("tensorflow", "torch"):
        fed = in_order(side, x, "image", {})
        quiet, training = (pair.workers[side].call("forward", x=fed, training=mode) for mode in (False, True))
        for name, array in quiet.items():
            findings.append(same_bits(f"{side}:{name}", array, training[name]))
    return findings


def exact_weights(pair: Pair) -> list[Finding]:
    """Return one finding per weight: is what torch holds, carried back, bit for bit what TensorFlow holds?"""
    mine, theirs = pair.weights(), pair.workers["torch"].call("get_weights")
    back = pairing_weights.to_tensorflow(theirs, pair.spec)
    return [same_bits(name, mine[name], back[name]) for name in mine]


def raise_for(findings: Iterable[Finding]) -> None:
    """Raise AssertionError with every failing finding's message, first diverging layer first; silent when all pass.

    Raises
        AssertionError: something differs by more than rounding, or nothing was compared at all.
    """
    __tracebackhide__ = True
    found = list(findings)
    if not found:
        raise AssertionError("nothing was compared: zero comparisons is a failure")
    failing = [finding.message() for finding in found if not finding.passed]
    if failing:
        raise AssertionError(f"{len(failing)} of {len(found)} comparisons failed\n" + "\n".join(failing))


def _family(side: str) -> str:
    return "torch" if side.endswith("torch") else "tensorflow"


def _previous(names: list[str]) -> list[tuple[str, str | None]]:
    return list(zip(names, [None, *names[:-1]], strict=True))


def own_weights(weights: Mapping[str, Array], layer: str) -> dict[str, Array]:
    """Return one layer's weights by their role, out of Keras-named ones."""
    return {name.partition("/")[2]: array for name, array in weights.items() if name.partition("/")[0] == layer}


def in_order(side: str, x: Array, named: str, sizes: Mapping[str, int]) -> Array:
    """Return `x`, in TensorFlow's order and of a named layout, in the order of one side."""
    if _family(side) == "tensorflow":
        return x
    return layout.to_torch(x, layout.activation_layout(named), sizes)


def ask_layer(step: LayerShape, x: Array, side: str, worker: Worker) -> Array:
    """Return what one side's layer makes of `x` (TensorFlow's order), in that side's own order."""
    fed = in_order(side, x, step.input_layout, dict(step.input_sizes))
    return np.asarray(worker.call("layer_forward", name=step.layer.name, x=fed))


def in_tensorflow_order(array: Array, step: LayerShape) -> Array:
    """Return torch's output of one layer with TensorFlow's order of axes.

    An array of another rank than expected comes back as it is: the judge sees its shape, and says so.
    """
    try:
        return layout.to_tensorflow(array, layout.activation_layout(step.output_layout), dict(step.output_sizes))
    except PairingError:
        return array


def _absent(pair: Pair) -> dict[str, Finding]:
    mine, theirs = (pair.workers[side].call("layers") for side in ("tensorflow", "torch"))
    pairing = pair_layers(mine, theirs)
    kinds = {layer.name: layer.kind for spec in pair.specs.values() for layer in spec.layers}
    return {
        **{name: missing(name, kinds.get(name, "?"), "torch") for name in pairing.only_tensorflow},
        **{name: missing(name, kinds.get(name, "?"), "tensorflow") for name in pairing.only_torch},
    }


def _whole(outputs: Mapping[str, Mapping[str, Array]]) -> list[Finding]:
    """Return a finding for each side whose model, called as a whole, is not the chain of its own layers."""
    broken = []
    for side, found in outputs.items():
        last = list(found)[-2]  # the layers in order, then `output`
        if not np.allclose(found[last], found["output"], rtol=1e-5, atol=1e-6, equal_nan=True):
            broken.append(
                Finding(
                    "output", "model", NOT_COMPARED, f"{side}: the model's output is not its last layer's.", side=side
                )
            )
    return broken


def same_bits(name: str, a: Array, b: Array) -> Finding:
    """Return the finding `name`: are two arrays equal bit for bit, dtype and shape included?"""
    if a.shape != b.shape or a.dtype != b.dtype:
        return Finding(
            name, "bits", SEMANTIC, f"{a.dtype} {a.shape} against {b.dtype} {b.shape}.", shape=tuple(a.shape)
        )
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return Finding(name, "bits", NOT_COMPARED, "Not finite.", shape=tuple(a.shape), elements=int(a.size))
    gap: Doubles = np.abs(a.astype(np.float64) - b.astype(np.float64))
    scale = float(np.abs(a).max()) or 1.0
    differing = int(np.count_nonzero(gap))
    where = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)) if differing else None
    verdict = SEMANTIC if differing else IDENTICAL
    note = "Meant to be bit for bit, and is not." if differing else "Bit for bit."
    return Finding(
        name,
        "bits",
        verdict,
        note,
        tuple(a.shape),
        scale,
        d32=float(gap.max()) / scale,
        elements=int(a.size),
        mismatched=differing,
        where=where,
    )
