"""Keras on its torch backend as a referee: does a difference come from the kernels, or from what the models mean?

It runs the layers that TensorFlow's side describes on the kernels of PyTorch's side. Who agrees with it tells where a
difference comes from. Every node is judged alone, all three fed the same input and upstream gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.judge.compare import Quartet, judge
from parity.judge.verdict import NOT_COMPARED, SEMANTIC, Finding
from parity.model.network import Array, Network, Node
from parity.pair import Pair, PairOptions
from parity.trials.networks import (
    FORWARD,
    INPUT_GRADIENT,
    PARAMETER_GRADIENT,
    STATE,
    TO_FLOAT64,
    NetworkPair,
    is_single,
    probe_inputs,
    probe_weights,
    upstream_of,
)
from parity.trials.zoo import BATCH, TWO_MODES
from parity.workers.client import Worker, WorkerOptions

ALL_SAME = "same"
MEANING = "meaning"  # PyTorch's model alone is another function
KERNEL = "kernel"  # TensorFlow alone differs
PRECISION_OF_TORCH = "precision"  # PyTorch alone is less precise than float32; the function is the same
REFEREE_ALONE = "referee"  # Keras on torch alone differs: its own fault, which says nothing of the pair
EACH_DIFFERS = "each differs"
UNDECIDED = "undecided"  # something was not comparable, or the referee lies between two that differ

NOTE = (
    "Keras on its torch backend as a third party, node by node on equal input and upstream gradient. `meaning`: it"
    " agrees with TensorFlow and not with PyTorch. `kernel`: it agrees with PyTorch and not with TensorFlow."
    " `precision`: the function is one, and PyTorch alone is less precise than float32. `referee`: it alone differs,"
    " which is a matter of Keras's torch backend. Bounds are those of the network as TensorFlow's side describes it."
)

Label = tuple[str, str]  # stage and tensor
Tensors = dict[Label, Array]
Spoil = Callable[[dict[str, Array], dict[str, Array]], dict[str, Array]]


class Referee:
    """Keras on torch in two workers, float32 and the float64 twin, beside the four of a pair."""

    def __init__(self, options: PairOptions | None = None) -> None:
        given = options or PairOptions()
        self.workers = {
            side: Worker(
                WorkerOptions(
                    "keras-torch",
                    python=given.torch_python,
                    role=role,
                    device="cpu" if role == "twin" else given.device,
                    threads=given.threads,
                    seed=given.seed,
                )
            )
            for side, role in (("referee", "plain"), ("twin_referee", "twin"))
        }

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both workers."""
        for worker in self.workers.values():
            worker.close()

    def versions(self) -> dict[str, str]:
        """Return the versions that the referee runs on."""
        return dict(self.workers["referee"].call("environment")["versions"])

    def hold(self, network: Network, weights: Mapping[str, Array], seed: int) -> None:
        """Build the network as TensorFlow's side describes it, with TensorFlow's weights."""
        for worker in self.workers.values():
            worker.call("build_network", network=network.to_dict(), seed=seed)
            worker.call("set_network_weights", weights=dict(weights))


@dataclass(frozen=True)
class Judgement:
    """One tensor of one node: each of the three parties against each other one."""

    model: str
    node: str
    stage: str
    tensor: str
    training: bool
    tensorflow: Finding  # TensorFlow against the referee
    torch: Finding  # PyTorch against the referee
    between: Finding  # TensorFlow against PyTorch

    @property
    def conclusion(self) -> str:
        """Whose matter a difference is."""
        return conclude(self.tensorflow, self.torch, self.between)

    def row(self) -> dict[str, Any]:
        """Return the record's line; figures are fractions of max|twin|."""
        found = {"tensorflow": self.tensorflow, "torch": self.torch, "between": self.between}
        return {
            **{key: getattr(self, key) for key in ("model", "node", "stage", "tensor", "training")},
            **{f"verdict_{name}": finding.verdict for name, finding in found.items()},
            **{f"d64_{name}": finding.d64 for name, finding in found.items()},
            "d64_bound": self.torch.d64_bound,
            "error_tensorflow": self.tensorflow.error_tensorflow,
            "error_referee": self.tensorflow.error_torch,
            "error_torch": self.between.error_torch,
            "bound": self.between.bound,
            "conclusion": self.conclusion,
        }


def conclude(tensorflow: Finding, torch: Finding, between: Finding) -> str:
    """Return whose matter a difference is, from the verdicts of the three pairs; float64 decides before float32."""
    findings = (tensorflow, torch, between)
    if any(finding.verdict == NOT_COMPARED for finding in findings):
        return UNDECIDED
    semantic = any(finding.verdict == SEMANTIC for finding in findings)
    agree = [(f.verdict != SEMANTIC) if semantic else f.passed for f in findings]
    return {
        (True, True, True): ALL_SAME,
        (True, False, False): MEANING if semantic else PRECISION_OF_TORCH,
        (False, True, False): KERNEL,
        (False, False, True): REFEREE_ALONE,
        (False, False, False): EACH_DIFFERS,
    }.get((agree[0], agree[1], agree[2]), UNDECIDED)


@dataclass(frozen=True)
class Probe:
    """What one node is fed, in TensorFlow's order, and the absolute float32 bounds of all that it returns."""

    node: Node
    inputs: list[Array]
    upstream: Array
    training: bool
    bounds: Tensors


def examine(
    workers: Pair,
    referee: Referee,
    network: Network,
    port: Network | None = None,
    spoil: Spoil | None = None,
    seed: int = 0,
) -> list[Judgement]:
    """Return a judgement per tensor of every node: outputs, gradients and running statistics, in both modes.

    `port` is what PyTorch's side builds where it is not `network`; `spoil` gets torch's weights and TensorFlow's, and
    returns what the port loads.
    """
    pair = NetworkPair(workers, network, seed=seed)
    weights = probe_weights(pair, seed)
    pair.copy_weights(weights)
    referee.hold(network, weights, seed)
    modes = (True, False) if any(node.kind in TWO_MODES for node in network.nodes) else (True,)
    probes = [probe for training in modes for probe in _probes(pair, training, seed)]
    if port is not None or spoil is not None:
        pair = NetworkPair(workers, network, port, seed)
        carried = pair.to_torch(weights)
        pair.copy_weights(weights, spoil(carried, weights) if spoil else carried)
    return [judged for probe in probes for judged in _judged(pair, referee, probe)]


def rows(found: Iterable[Judgement]) -> list[dict[str, Any]]:
    """Return the record's lines."""
    return [judged.row() for judged in found]


def message(judged: Judgement) -> str:
    """Return one readable line about a tensor on which the three do not agree."""
    figures = ", ".join(
        f"{name}: {finding.verdict}" + ("" if finding.d64 is None else f" (d64 {finding.d64:.1e})")
        for name, finding in (
            ("TensorFlow and the referee", judged.tensorflow),
            ("PyTorch and the referee", judged.torch),
            ("TensorFlow and PyTorch", judged.between),
        )
    )
    mode = "training" if judged.training else "evaluation"
    return f"{judged.model}, `{judged.tensor}`, {judged.stage}, {mode}: {judged.conclusion}. {figures}"


def raise_for(found: Iterable[Judgement]) -> None:
    """Raise AssertionError with a line per tensor that is not the same for all three; silent when all are.

    Raises
        AssertionError: somebody differs, or nothing was compared at all.
    """
    __tracebackhide__ = True
    listed = list(found)
    if not listed:
        raise AssertionError("nothing was compared: zero comparisons is a failure")
    failing = [message(judged) for judged in listed if judged.conclusion != ALL_SAME]
    if failing:
        raise AssertionError(f"{len(failing)} of {len(listed)} comparisons failed\n" + "\n".join(failing))


def _probes(pair: NetworkPair, training: bool, seed: int) -> list[Probe]:
    """Return what a run of TensorFlow's twin feeds every node, and the bounds of a faultless port."""
    network = pair.network
    inputs = probe_inputs(network, BATCH, seed)
    loss = {"kind": "linear", "upstream": upstream_of(pair, BATCH, seed)}
    run = pair.pair.workers["twin_tensorflow"].call("network_step", inputs=inputs, loss=loss, training=training)
    known = {**inputs, **{name: value.astype(np.float32) for name, value in run["outputs"].items()}}
    found = []
    for node in network.nodes:
        fed = [known[name] for name in node.inputs]
        upstream = run["tensor_gradients"][node.name].astype(np.float32)
        probe = Probe(node, fed, upstream, training, {})
        bounds = _torch_step(pair, pair.pair.workers["twin_torch"], probe, bounds=True)["bounds"]
        found.append(replace(probe, bounds=_tensors(pair, node, bounds, torch=True)))
    return found


def _judged(pair: NetworkPair, referee: Referee, probe: Probe) -> list[Judgement]:
    given = _asked(pair, referee, probe)
    single, name = is_single(probe.node), pair.network.name
    found = []
    for label in dict.fromkeys(label for tensors in given.values() for label in tensors):
        bound = probe.bounds.get(label)
        pairs = [("tensorflow", "referee", single), ("referee", "torch", False), ("tensorflow", "torch", single)]
        three = [_compared(given, label, probe.node.kind, one, other, bound, low) for one, other, low in pairs]
        found.append(Judgement(name, probe.node.name, *label, probe.training, *three))
    return found


def _compared(
    given: Mapping[str, Tensors], label: Label, kind: str, one: str, other: str, bound: Array | None, single: bool
) -> Finding:
    """Judge one party against another; `single` is for a node that TensorFlow's twin computes in float32."""
    sides = (one, other, f"twin_{one}", f"twin_{other}")
    absent = [side for side in sides if label not in given[side]]
    if absent or bound is None:
        note = f"{' and '.join(absent) or 'torch, as described,'} has no such tensor, or one of another shape."
        return Finding(label[1], kind, NOT_COMPARED if len(absent) == len(sides) else SEMANTIC, note)
    low = np.asarray(bound, dtype=np.float64)
    quartet = Quartet(*(np.asarray(given[side][label]) for side in sides))
    return judge(label[1], kind, quartet, low, low if single else low * TO_FLOAT64)


def _asked(pair: NetworkPair, referee: Referee, probe: Probe) -> dict[str, Tensors]:
    """Return what each of the six workers makes of one probe, side by side, in TensorFlow's order."""
    workers = {**pair.pair.workers, **referee.workers}

    def ask(side: str) -> Tensors:
        if not side.endswith("torch"):
            return _tensors(pair, probe.node, _step(workers[side], probe), torch=False)
        if _other_shape(pair, probe):
            return {}
        return _tensors(pair, probe.node, _torch_step(pair, workers[side], probe), torch=True)

    with ThreadPoolExecutor(len(workers)) as pool:
        return dict(zip(workers, pool.map(ask, workers), strict=True))


def _step(worker: Worker, probe: Probe) -> dict[str, Any]:
    found = worker.call(
        "node_step", name=probe.node.name, inputs=probe.inputs, upstream=probe.upstream, training=probe.training
    )
    return dict(found)


def _torch_step(pair: NetworkPair, worker: Worker, probe: Probe, bounds: bool = False) -> dict[str, Any]:
    node = probe.node
    fed = [pair.in_torch_order(name, x) for name, x in zip(node.inputs, probe.inputs, strict=True)]
    above = pair.in_torch_order(node.name, probe.upstream)
    found = worker.call("node_step", name=node.name, inputs=fed, upstream=above, training=probe.training, bounds=bounds)
    return dict(found)


def _other_shape(pair: NetworkPair, probe: Probe) -> bool:
    expected = pair.in_torch_order(probe.node.name, probe.upstream).shape[1:]
    return tuple(expected) != pair.torch_shapes[probe.node.name]


def _tensors(pair: NetworkPair, node: Node, given: Mapping[str, Any], torch: bool) -> Tensors:
    """Return all that a node's step gave, by stage and name, in TensorFlow's names, layouts and order of axes."""

    def ordered(name: str, array: Array) -> Array:
        return pair.in_tensorflow_order(name, array) if torch else array

    found: Tensors = {(FORWARD, node.name): ordered(node.name, given["output"])}
    for index, name in enumerate(node.inputs):
        gradient = given["input_gradients"][index]
        if gradient is not None:
            again = f" ({index})" if node.inputs.count(name) > 1 else ""
            found[INPUT_GRADIENT, f"{node.name}<-{name}{again}"] = ordered(name, gradient)
    for stage, key in ((PARAMETER_GRADIENT, "weight_gradients"), (STATE, "state")):
        if torch:
            own = pair.to_tensorflow({f"{node.holder}.{k}": v for k, v in given[key].items()}, partial=True)
        else:
            own = {f"{node.holder}/{k}": v for k, v in given[key].items()}
        found |= {(stage, name): array for name, array in own.items()}
    return found
