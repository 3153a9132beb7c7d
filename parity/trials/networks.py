"""Do both frameworks run, differentiate and train a network alike: node by node, and from end to end?

Every bound comes from a running error analysis of the network itself in the torch twin, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.judge.bound import UNIT_ROUNDOFF, Doubles
from parity.judge.compare import Quartet, judge
from parity.judge.verdict import SEMANTIC, Finding
from parity.model import draws
from parity.model.network import FLAT, Array, Network, Node, to_tensorflow, to_torch
from parity.pair import SIDES, Pair
from parity.pairing import carry

# Where nothing is undecided, every bound is proportional to the unit roundoff.
TO_FLOAT64 = UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"]
# Every number is a float32, so that none is rounded on its way into a framework: the step itself is what is compared.
ADAM: Mapping[str, Any] = {
    "name": "adam",
    "learning_rate": 2.0**-10,
    "beta_1": 0.875,
    "beta_2": 1.0 - 2.0**-10,
    "epsilon": 2.0**-23,
}

FORWARD, LOSS, INPUT_GRADIENT = "forward", "loss", "input-gradient"
PARAMETER_GRADIENT, STATE, UPDATE, SLOT, AFTER = "parameter-gradient", "state", "update", "slot", "after-training"
STAGES = (FORWARD, LOSS, INPUT_GRADIENT, PARAMETER_GRADIENT, STATE, UPDATE, SLOT, AFTER)

PRECISIONS = (("bounds", "float32"), ("bounds64", "float64"))

# Kinds whose twin is no better than float32, because one framework computes them so whatever it is given.
SINGLE_TWINS = frozenset({("resize", "bilinear"), ("upsample", "bilinear"), ("resize", "bicubic")})


@dataclass(frozen=True)
class Staged:
    """One finding, and the stage of a training step that it belongs to."""

    check: str  # "forced" or "propagated"
    stage: str
    finding: Finding


class NetworkPair:
    """One network in the four workers of a pair, with the map between its weights."""

    def __init__(self, pair: Pair, network: Network, torch_network: Network | None = None, seed: int = 0) -> None:
        self.pair, self.network = pair, network
        self.torch_network = torch_network or network
        described = {"tensorflow": network.to_dict(), "torch": self.torch_network.to_dict()}
        built = pair.each(
            lambda side, worker: worker.call("build_network", network=described[_family(side)], seed=seed)
        )
        if pair.options.device == "gpu":
            pair.workers["twin_torch"].call("bound_for", device="gpu")
        self.shapes = {name: tuple(shape) for name, shape in built["tensorflow"].items()}
        self.torch_shapes = {name: tuple(shape) for name, shape in built["torch"].items()}
        self.weights: dict[str, Array] = {}

    def copy_weights(self, weights: Mapping[str, Array], torch_weights: Mapping[str, Array] | None = None) -> None:
        """Put `node/role` weights into all four networks; `torch_weights` is for a port that copied them wrongly."""
        self.weights = dict(weights)
        moved = torch_weights if torch_weights is not None else self.to_torch(weights)
        given = {"tensorflow": self.weights, "torch": dict(moved)}
        self.pair.each(lambda side, worker: worker.call("set_network_weights", weights=given[_family(side)]))

    def to_torch(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return torch's names and layouts of TensorFlow's weights."""
        return carry.to_torch(weights, self.network, self.shapes)

    def to_tensorflow(self, weights: Mapping[str, Array], partial: bool = False) -> dict[str, Array]:
        """Return TensorFlow's names and layouts of torch's weights, gradients, slots or bounds."""
        return carry.to_tensorflow(weights, self.network, self.shapes, partial)

    def in_torch_order(self, name: str, array: Array) -> Array:
        """Return an activation as torch orders it."""
        return to_torch(array, self.network.layouts()[name], self._flattened(name))

    def in_tensorflow_order(self, name: str, array: Array) -> Array:
        """Return torch's activation as TensorFlow orders it."""
        return to_tensorflow(array, self.network.layouts()[name], self._flattened(name))

    def _flattened(self, name: str) -> tuple[int, ...]:
        return self.shapes[self.network.flattened()[name]] if self.network.layouts()[name] == FLAT else ()


def probe_weights(pair: NetworkPair, seed: int = 0) -> dict[str, Array]:
    """Return trained-like weights for a network as built: nothing symmetric, statistics far from (0, 1); float32."""
    rng = np.random.default_rng(seed)
    fresh = pair.pair.workers["tensorflow"].call("get_network_weights")
    return {name: _drawn(rng, name.partition("/")[2], array.shape).astype(np.float32) for name, array in fresh.items()}


def _drawn(rng: np.random.Generator, role: str, shape: tuple[int, ...]) -> Array:
    uniform = {"moving_variance": (0.02, 3.0), "gamma": (0.5, 1.5), "scale": (0.5, 1.5), "alpha": (0.05, 0.5)}
    normal = {"moving_mean": (0.5, 1.5), "beta": (0.0, 0.3), "embeddings": (0.0, 1.0)}
    if role in uniform:
        values = rng.uniform(*uniform[role], shape)
        return values * rng.choice([-1.0, 1.0], shape) if role in ("gamma", "scale") else values
    if role in normal or "bias" in role:
        return rng.normal(*normal.get(role, (0.0, 0.3)), shape)
    fan_in = int(np.prod(shape[:-2] if role == "depthwise_kernel" else shape[:-1]))
    return rng.normal(0.0, (1.5 / max(fan_in, 1)) ** 0.5, shape)


def probe_inputs(network: Network, batch: int = 3, seed: int = 0) -> dict[str, Array]:
    """Return one batch for every input: signed noise with another trend along each axis, or whole numbers."""
    rng = np.random.default_rng(seed)
    found = {}
    for given in network.inputs:
        shape = (batch, *given.shape)
        if given.below is not None:
            found[given.name] = rng.integers(0, given.below, shape).astype(np.int32)
            if given.below == 2:  # a mask: nowhere may a whole row be empty
                found[given.name][..., 0] = 1
            continue
        x = rng.standard_normal(shape)
        for axis in range(1, len(shape)):
            ramp = np.linspace(0.4, 1.3, shape[axis]) * (1.0 + 0.2 * axis)
            x = x * ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        found[given.name] = x.astype(np.float32)
    return found


def upstream_of(pair: NetworkPair, batch: int, seed: int = 0) -> Array:
    """Return a gradient with respect to the network's output, float32, none of it zero."""
    rng = np.random.default_rng(seed + 1)
    shape = (batch, *pair.shapes[pair.network.output])
    return draws.upstream(shape, rng)


def forced(pair: NetworkPair, inputs: Mapping[str, Array], upstream: Array, training: bool = True) -> list[Staged]:
    """Return the findings of every node alone: equal inputs and equal upstream gradient on all sides.

    What a node is fed comes from the TensorFlow twin's own run, rounded to float32.
    """
    loss = {"kind": "linear", "upstream": upstream}
    return forced_along(pair, inputs, loss, training)


def forced_along(
    pair: NetworkPair, inputs: Mapping[str, Array], loss: Mapping[str, Any], training: bool = True
) -> list[Staged]:
    """Return the findings of every node alone, fed what a run under `loss` gives it."""
    run = pair.pair.workers["twin_tensorflow"].call(
        "network_step", inputs=dict(inputs), loss=dict(loss), training=training
    )
    known = {**inputs, **{name: value.astype(np.float32) for name, value in run["outputs"].items()}}
    found = []
    for node in pair.network.nodes:
        gradient = run["tensor_gradients"][node.name].astype(np.float32)
        found += forced_node(pair, node, [known[name] for name in node.inputs], gradient, training)
    return found


def forced_node(pair: NetworkPair, node: Node, inputs: list[Array], upstream: Array, training: bool) -> list[Staged]:
    """Return the findings of one node on given inputs and upstream gradient, all in TensorFlow's order."""

    def ask(side: str, worker: Any) -> Any:
        if _family(side) == "tensorflow":
            return worker.call("node_step", name=node.name, inputs=inputs, upstream=upstream, training=training)
        fed = [pair.in_torch_order(name, x) for name, x in zip(node.inputs, inputs, strict=True)]
        above, wants = pair.in_torch_order(node.name, upstream), side == "twin_torch"
        if tuple(above.shape[1:]) != pair.torch_shapes[node.name]:
            return None  # the port's output has another shape: it can be run, not differentiated
        return worker.call("node_step", name=node.name, inputs=fed, upstream=above, training=training, bounds=wants)

    given = pair.pair.each(ask)
    if given["torch"] is None:
        return [Staged("forced", FORWARD, _other_shape(pair, node))]
    bounds = given["twin_torch"]["bounds"]
    single = is_single(node)
    low, outputs = pair.in_tensorflow_order(node.name, bounds["output"]), _ordered(pair, node.name, given, "output")
    found = [_staged("forced", FORWARD, node.name, node.kind, outputs, *_scaled(low, single))]
    for index, name in enumerate(node.inputs):
        if bounds["input_gradients"][index] is None:
            continue
        arrays = {
            side: g["input_gradients"][index] if _family(side) == "tensorflow"
            else pair.in_tensorflow_order(name, g["input_gradients"][index]) for side, g in given.items()
        }  # fmt: skip
        bound = pair.in_tensorflow_order(name, bounds["input_gradients"][index])
        label = f"{node.name}<-{name}"
        found.append(_staged("forced", INPUT_GRADIENT, label, node.kind, _quartet(arrays), *_scaled(bound, single)))
    for stage, key in ((PARAMETER_GRADIENT, "weight_gradients"), (STATE, "state")):
        found += _weight_findings(pair, node, given, key, stage, single)
    return found


def propagated(
    pair: NetworkPair,
    inputs: Mapping[str, Array],
    loss: Mapping[str, Any],
    training: bool = True,
    step: Mapping[str, Any] | None = ADAM,
) -> list[Staged]:
    """Return the findings of one training step of the whole network, errors accumulating, and of evaluation after it.

    The networks hold their new weights afterwards when `step` is given: copy weights again before the next question.
    """

    frozen = {node.name for node in pair.network.nodes if node.config.get("frozen")}
    trainable = any("/moving_" not in name and name.partition("/")[0] not in frozen for name in pair.weights)

    def ask(side: str, worker: Any) -> Any:
        fed, above = dict(inputs), dict(loss)
        extra = {}
        if _family(side) == "torch":
            fed = {name: pair.in_torch_order(name, x) for name, x in inputs.items()}
            if "upstream" in above:
                above["upstream"] = pair.in_torch_order(pair.network.output, above["upstream"])
            extra = {"bounds": True} if side == "twin_torch" else {}
        optimizer = dict(step) if step and trainable else None
        return worker.call("network_step", inputs=fed, loss=above, training=training, optimizer=optimizer, **extra)

    wrong = [n for n in pair.network.nodes if _expected(pair, n.name) != pair.torch_shapes[n.name]]
    if wrong:
        return [Staged("propagated", FORWARD, _other_shape(pair, node)) for node in wrong]
    given = pair.pair.each(ask)
    bounds = (given["twin_torch"]["bounds"], given["twin_torch"]["bounds64"])
    found = _activation_findings(pair, given, bounds)
    if given["tensorflow"]["loss"] is not None:
        losses = _quartet({side: np.reshape(g["loss"], (1,)) for side, g in given.items()})
        low, high = (np.reshape(bound["loss"], (1,)) for bound in bounds)
        found.append(_staged("propagated", LOSS, "loss", str(loss["kind"]), losses, low, high))
    for stage, key in ((PARAMETER_GRADIENT, "weight_gradients"), (STATE, "state")):
        found += _all_weight_findings(pair, given, key, stage)
    if step and trainable:
        found += _step_findings(pair, inputs, given, step)
    return found


def _activation_findings(
    pair: NetworkPair, given: Mapping[str, Any], bounds: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[Staged]:
    found, single = [], False
    for node in pair.network.nodes:
        single = single or is_single(node)
        low, high = (pair.in_tensorflow_order(node.name, bound["outputs"][node.name]) for bound in bounds)
        quartet = _activations(pair, node.name, given, "outputs")
        found.append(_staged("propagated", FORWARD, node.name, node.kind, quartet, low, None if single else high))
    for name in bounds[0]["tensor_gradients"]:
        low, high = (pair.in_tensorflow_order(name, bound["tensor_gradients"][name]) for bound in bounds)
        quartet = _activations(pair, name, given, "tensor_gradients")
        found.append(_staged("propagated", INPUT_GRADIENT, name, "gradient", quartet, low, None if single else high))
    return found


def _step_findings(
    pair: NetworkPair, inputs: Mapping[str, Array], given: Mapping[str, Any], step: Mapping[str, Any]
) -> list[Staged]:
    exact = given["twin_tensorflow"]["weight_gradients"]
    after = {side: _tensorflow_weights(pair, side, g["weights_after"]) for side, g in given.items()}
    errors = [
        _errors_after(pair, given["twin_torch"][key], after["twin_tensorflow"], exact, step, UNIT_ROUNDOFF[precision])
        for key, precision in PRECISIONS
    ]
    found = []
    for name in exact:
        quartet = _quartet({side: after[side][name] for side in SIDES})
        found.append(Staged("propagated", UPDATE, judge(name, "weight", quartet, *(e[name] for e in errors))))
    found += _slot_findings(pair, given, exact, step)
    return [*found, *_after_findings(pair, inputs, errors)]


def _errors_after(
    pair: NetworkPair,
    bounds: Mapping[str, Any],
    weights: Mapping[str, Array],
    gradients: Mapping[str, Array],
    step: Mapping[str, Any],
    u: float,
) -> dict[str, Array]:
    """Return how far each weight and statistic may be off after the step."""
    carried = pair.to_tensorflow(bounds["weight_gradients"], partial=True)
    states = pair.to_tensorflow(bounds["state"], partial=True)
    found = {}
    for name, value in weights.items():
        if name in gradients:
            found[name] = _updated_bound(value, gradients[name], carried[name], step, u)
        else:
            found[name] = np.broadcast_to(states.get(name, np.zeros(1)) + u * np.abs(value), value.shape)
    return found


def _updated_bound(value: Array, gradient: Array, error: Array, step: Mapping[str, Any], u: float) -> Doubles:
    """Return how far a weight may be off after the first step, when its gradient may be off by `error`.

    The first step of Adam moves a weight by lr*g / (|g| + eps'), eps' = eps / sqrt(1 - beta_2), which grows with g:
    so its interval is that of its ends. Sixteen roundings cover the operations of either framework's formula.
    """
    g = gradient.astype(np.float64)
    if step["name"] == "sgd":
        rate = float(step["learning_rate"])
        return rate * (error + 2 * u * np.abs(g)) + u * np.abs(value)
    move = _adam_move(step)
    spread = np.maximum(move(g + error) - move(g), move(g) - move(g - error))
    return np.asarray(spread + 16 * u * np.abs(move(g)) + u * np.abs(value))


def _adam_move(step: Mapping[str, Any]) -> Callable[[Array], Array]:
    rate, eps = float(step["learning_rate"]), float(step["epsilon"]) / (1.0 - float(step["beta_2"])) ** 0.5
    return lambda g: rate * g / (np.abs(g) + eps)


def _slot_findings(
    pair: NetworkPair, given: Mapping[str, Any], exact: Mapping[str, Array], step: Mapping[str, Any]
) -> list[Staged]:
    if step["name"] != "adam" or not exact:
        return []
    errors = [pair.to_tensorflow(given["twin_torch"][key]["weight_gradients"], partial=True) for key, _ in PRECISIONS]
    found = []
    for slot, decay, power in (("momentum", float(step["beta_1"]), 1), ("velocity", float(step["beta_2"]), 2)):
        held = {side: _slots(pair, side, g["slots"][slot]) for side, g in given.items()}
        for name, gradient in exact.items():
            size, bounds = np.abs(gradient.astype(np.float64)), []
            for error, (_, precision) in zip(errors, PRECISIONS, strict=True):
                # A square of a tiny gradient may fall below what the format can hold, and is zero then.
                rounding = 8 * UNIT_ROUNDOFF[precision] * size**power + float(np.finfo(np.dtype(precision)).tiny) / (
                    1.0 - decay
                )
                bounds.append((1.0 - decay) * ((size + error[name]) ** power - size**power + rounding))
            quartet = _quartet({side: held[side][name] for side in SIDES})
            found.append(Staged("propagated", SLOT, judge(f"{name}:{slot}", "slot", quartet, *bounds)))
    return found


def _slots(pair: NetworkPair, side: str, slots: Mapping[str, Array]) -> dict[str, Array]:
    return dict(slots) if _family(side) == "tensorflow" else pair.to_tensorflow(slots, partial=True)


def _after_findings(pair: NetworkPair, inputs: Mapping[str, Array], errors: list[dict[str, Array]]) -> list[Staged]:
    """Evaluate with the new weights and statistics: what is wrong with either shows here, whatever training hid."""
    fed = {name: pair.in_torch_order(name, x) for name, x in inputs.items()}

    def ask(side: str, worker: Any) -> Any:
        if _family(side) == "tensorflow":
            return worker.call("network_forward", inputs=dict(inputs))
        if side == "torch":
            return worker.call("network_forward", inputs=fed)
        found = [
            worker.call("network_forward", inputs=fed, weight_errors=pair.to_torch(off), roundoff=UNIT_ROUNDOFF[p])
            for off, (_, p) in zip(errors, PRECISIONS, strict=True)
        ]
        return {**found[0], "bounds64": found[1]["bounds"]}

    given = pair.pair.each(ask)
    bounds, single, found = [given["twin_torch"][key]["outputs"] for key, _ in PRECISIONS], False, []
    for node in pair.network.nodes:
        single = single or is_single(node)
        low, high = (pair.in_tensorflow_order(node.name, bound[node.name]) for bound in bounds)
        quartet = _activations(pair, node.name, given, "outputs")
        found.append(_staged("propagated", AFTER, node.name, node.kind, quartet, low, None if single else high))
    return found


def _weight_findings(
    pair: NetworkPair, node: Node, given: Mapping[str, Any], key: str, stage: str, single: bool
) -> list[Staged]:
    owner = node.holder
    carried = {
        side: {f"{owner}/{k}": v for k, v in g[key].items()}
        if _family(side) == "tensorflow"
        else pair.to_tensorflow({f"{owner}.{k}": v for k, v in g[key].items()}, partial=True)
        for side, g in given.items()
    }
    own = {f"{owner}.{k}": v for k, v in given["twin_torch"]["bounds"][key].items()}
    bounds = {name: _scaled(low, single) for name, low in pair.to_tensorflow(own, partial=True).items()}
    return _compared(carried, bounds, "forced", stage)


def _all_weight_findings(pair: NetworkPair, given: Mapping[str, Any], key: str, stage: str) -> list[Staged]:
    carried = {
        side: g[key] if _family(side) == "tensorflow" else pair.to_tensorflow(g[key], partial=True)
        for side, g in given.items()
    }
    low, high = (pair.to_tensorflow(given["twin_torch"][b][key], partial=True) for b in ("bounds", "bounds64"))
    single = any(is_single(node) for node in pair.network.nodes)
    bounds = {name: (low[name], None if single else high[name]) for name in low}
    return _compared(carried, bounds, "propagated", stage)


def _compared(
    carried: Mapping[str, Mapping[str, Array]],
    bounds: Mapping[str, tuple[Array, Array | None]],
    check: str,
    stage: str,
) -> list[Staged]:
    found = []
    names = dict.fromkeys(name for own in carried.values() for name in own)
    for name in names:
        absent = [side for side in SIDES if name not in carried[side]]
        if absent:
            note = f"{' and '.join(absent)} has no such tensor: a weight that one side trains and the other does not."
            found.append(Staged(check, stage, Finding(name, "weight", SEMANTIC, note, side=_family(absent[0]))))
            continue
        quartet = _quartet({side: carried[side][name] for side in SIDES})
        found.append(_staged(check, stage, name, "weight", quartet, *bounds[name]))
    return found


def _staged(check: str, stage: str, tensor: str, kind: str, quartet: Quartet, low: Array, high: Array | None) -> Staged:
    """Judge by the float32 and float64 bounds; no float64 bound means that the twins are no better than float32."""
    finding = judge(tensor, kind, quartet, low, low if high is None else high)
    if high is None and finding.passed:
        finding = replace(finding, note="No float64 kernel: the twins are judged by the float32 bound.")
    return Staged(check, stage, finding)


def _scaled(low: Array, single: bool) -> tuple[Array, Array | None]:
    """Return a node's float32 bound and its float64 one: fed exact inputs, it grows in proportion to the roundoff."""
    return low, None if single else low * TO_FLOAT64


def is_single(node: Node) -> bool:
    """Whether a framework computes this node in float32 even in its twin."""
    return (node.kind, node.config.get("method")) in SINGLE_TWINS or (
        node.kind in ("max_pool", "avg_pool") and node.config.get("rank") == 3
    )


def _other_shape(pair: NetworkPair, node: Node) -> Finding:
    mine, theirs = pair.shapes[node.name], pair.torch_shapes[node.name]
    note = f"The shapes differ (without the batch axis): tensorflow {mine}, torch {theirs}."
    return Finding(node.name, node.kind, SEMANTIC, note, shape=mine)


def _expected(pair: NetworkPair, name: str) -> tuple[int, ...]:
    return pair.in_torch_order(name, np.empty((1, *pair.shapes[name]), dtype=np.int8)).shape[1:]


def _ordered(pair: NetworkPair, name: str, given: Mapping[str, Any], key: str) -> Quartet:
    return _quartet(
        {
            side: g[key] if _family(side) == "tensorflow" else pair.in_tensorflow_order(name, g[key])
            for side, g in given.items()
        }
    )


def _activations(pair: NetworkPair, name: str, given: Mapping[str, Any], key: str) -> Quartet:
    return _ordered(pair, name, {side: {key: g[key][name]} for side, g in given.items()}, key)


def _tensorflow_weights(pair: NetworkPair, side: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    return dict(weights) if _family(side) == "tensorflow" else pair.to_tensorflow(weights)


def _quartet(arrays: Mapping[str, Array]) -> Quartet:
    return Quartet(*(np.asarray(arrays[side]) for side in SIDES))


def _family(side: str) -> str:
    return "torch" if side.endswith("torch") else "tensorflow"


def raise_for(found: Iterable[Staged]) -> None:
    """Raise AssertionError with every failing finding's message; silent when all pass.

    Raises
        AssertionError: something differs by more than rounding, or nothing was compared at all.
    """
    __tracebackhide__ = True
    listed = list(found)
    if not listed:
        raise AssertionError("nothing was compared: zero comparisons is a failure")
    failing = [s for s in listed if not s.finding.passed]
    if failing:
        messages = [f"[{s.check}, {s.stage}] {s.finding.message()}" for s in failing]
        raise AssertionError(f"{len(failing)} of {len(listed)} comparisons failed\n" + "\n".join(messages))


def first_failure(found: Iterable[Staged]) -> Staged | None:
    """Return the first failing finding, forced checks first: where the difference starts."""
    failing = sorted((s for s in found if not s.finding.passed), key=lambda s: s.check != "forced")
    return failing[0] if failing else None
