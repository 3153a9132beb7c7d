"""One training step: gradients of every layer alone, moving statistics, and one optimizer step of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.compare import Quartet, judge
from parity.judge.verdict import IDENTICAL, ROUNDING, SEMANTIC, Finding
from parity.model import draws
from parity.model.trace import Op, Trace, cuts_gradients, weight_names, weights_that_train
from parity.pairing.copying import WeightLink, WeightPlan, read
from parity.pairing.relations import Relation
from parity.porting.cuts import Step
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import LABELS, SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, TWINS, Models, family
from parity.porting.verdict import Source, layer_name, message

SGD: Mapping[str, Any] = {"name": "sgd", "learning_rate": 2.0**-7}  # linear in the gradient: no division blurs it
SAFETY = 256.0  # as for whole outputs
CLOSE = 1e-10  # of the scale: between statistics that a formula predicts
DOUBLED = "bias-missing-or-doubled"
GRADIENT_OF = "gradient of "  # how the name of a weight's gradient begins
NOTHING, TIMES = "zero throughout", "times"  # how the sentence about two gradients says what became of one

Sides = Mapping[str, Mapping[str, Any]]


def gradients(step: Step, plan: WeightPlan, orders: Orders) -> list[Finding]:
    """Return one finding per gradient, and per moving statistic, of the layer that a step compared alone."""
    if any("input_gradients" not in step.answers.get(side, {}) for side in SIDES):
        return []
    return [*_of_inputs(step, orders), *_of_weights(step, plan), *_of_state(step, plan)]


@dataclass(frozen=True)
class Training:
    """What a step of training moves in one framework: its weights, and the tensors that depend on one of them."""

    weights: frozenset[str]
    tensors: frozenset[int]

    @staticmethod
    def of(trace: Trace) -> Training:
        """Return what trains of a model that ran once."""
        weights, found = weights_that_train(trace), set[int]()
        for op in trace.ops:
            names = {name for reference in op.weights.values() for name in weight_names(reference)}
            if (found & set(op.inputs) or names & weights) and not cuts_gradients(op):
                found |= set(op.outputs)
        return Training(weights, frozenset(found))


def without_idle(
    step: Step, findings: Sequence[Finding], plan: WeightPlan, training: Sequence[Training]
) -> list[Finding]:
    """Return the findings without gradients that nobody uses: one side has none there, and on neither a weight trains.

    As of a backbone that is frozen on one side, and on the other under `torch.no_grad()` or before `tf.stop_gradient`.
    `training` is TensorFlow's, and torch's.
    """
    mine, theirs = training
    still = {
        link.tensorflow
        for link in plan.links
        if not set(weight_names(link.tensorflow)) & mine.weights and not set(weight_names(link.torch)) & theirs.weights
    }
    idle = step.answers.get(TORCH, {}).get("without_gradients")
    before = mine.tensors & set(step.cut.feeds_tensorflow) or theirs.tensors & set(step.cut.feeds_torch)

    def unused(finding: Finding) -> bool:
        if finding.kind == "input-gradient":
            return not before and bool(idle or NOTHING in finding.note)
        return finding.kind == "parameter-gradient" and finding.tensor.removeprefix(GRADIENT_OF) in still

    return [finding for finding in findings if not unused(finding)]


def fed_pairs(step: Step, orders: Orders) -> list[tuple[int, int, Relation]]:
    """Return which tensors that a layer is fed hold the same numbers on both sides, and in which order."""
    pairs = [(mine, theirs) for mine in step.cut.feeds_tensorflow for theirs in step.cut.feeds_torch]
    found = [(mine, theirs, orders.of(mine, theirs)) for mine, theirs in pairs]
    return [
        (mine, theirs, relation)
        for mine, theirs, relation in found
        if relation is not None and orders.partners(mine, theirs)
    ]


def _of_inputs(step: Step, orders: Orders) -> list[Finding]:
    found = []
    for mine, theirs, relation in fed_pairs(step, orders):
        arrays = {}
        for side in SIDES:
            tensor = mine if family(side) == TENSORFLOW else theirs
            gradient = step.answers[side]["input_gradients"].get(tensor)
            fed = step.fed if family(side) == TENSORFLOW else step.fed_torch
            array = np.zeros(fed[tensor].shape) if gradient is None else np.asarray(gradient)
            arrays[side] = array if family(side) == TENSORFLOW else relation.to_tensorflow(array)
        bounds = _bounds(step, "inputs", theirs, relation.to_tensorflow, arrays)
        if step.single:
            bounds = bounds[0], bounds[0]
        if step.slack:
            largest = float(np.abs(arrays[TWIN_TENSORFLOW]).max(initial=0.0))
            bounds = bounds[0], np.maximum(bounds[1], step.slack * largest)
        found.append(_judged(f"{step.cut.name}: gradient of its input", "input-gradient", arrays, bounds))
    return found


def _of_weights(step: Step, plan: WeightPlan) -> list[Finding]:
    given = {side: step.answers[side].get("weight_gradients", {}) for side in SIDES}
    found = []
    for link in plan.links:
        if not _held(link.tensorflow, given[TENSORFLOW]) or not _held(link.torch, given[TORCH]):
            continue
        arrays = {
            side: _first(link.tensorflow, held)
            if family(side) == TENSORFLOW
            else np.asarray(link.to_tensorflow(_first(link.torch, held)))
            for side, held in given.items()
        }
        bounds = _bounds(step, "weights", link.torch, link.to_tensorflow, arrays)
        bounds = (bounds[0], bounds[0]) if step.single else bounds
        found.append(_judged(f"{GRADIENT_OF}{link.tensorflow}", "parameter-gradient", arrays, bounds))
    return found


def _of_state(step: Step, plan: WeightPlan) -> list[Finding]:
    given = {side: step.answers[side].get("state", {}) for side in SIDES}
    found = []
    for link in plan.links:
        if link.tensorflow not in given[TENSORFLOW] or link.torch not in given[TORCH]:
            continue
        arrays = {
            side: np.asarray(held[link.tensorflow])
            if family(side) == TENSORFLOW
            else np.asarray(link.to_tensorflow(np.asarray(held[link.torch])))
            for side, held in given.items()
        }
        # A mean, or a variance, of at most all the numbers that the layer was fed.
        terms = max([x.size for x in step.fed.values()] or [1])
        largest = max([float(np.square(x.astype(np.float64)).max(initial=0.0)) for x in step.fed.values()] or [1.0])
        scale = max(float(np.abs(arrays[TWIN_TENSORFLOW]).max(initial=0.0)), largest)
        bounds = [np.full(arrays[TENSORFLOW].shape, _gamma(terms, unit) * scale) for unit in UNIT_ROUNDOFF.values()]
        low, high = max(bounds, key=np.max), min(bounds, key=np.max)
        found.append(_judged(f"{link.tensorflow} after the step", "state", arrays, (low, high)))
    return found


def _gamma(terms: int, unit: float) -> float:
    """Return the probable growth of a sum (Higham & Mary 2019), with lambda 9, twice over for mean and variance."""
    return 2.0 * float(np.expm1(9.0 * np.sqrt(terms) * unit))


def _bounds(
    step: Step, group: str, key: Any, carry: Callable[[Array], Array], arrays: Mapping[str, Array]
) -> tuple[Array, Array]:
    answer = step.answers[TWIN_TORCH]
    found = []
    for name in ("gradient_bounds32", "gradient_bounds64"):
        held = answer.get(name, {}).get(group, {})
        if group == "weights":
            found.append(_first(key, held) if _held(key, held) else None)
        else:
            found.append(held.get(key))
    if found[0] is None or found[1] is None:
        lost = max(
            float(np.abs(arrays[a].astype(np.float64) - arrays[b]).max(initial=0.0))
            for a, b in ((TENSORFLOW, TWIN_TENSORFLOW), (TORCH, TWIN_TORCH))
        )
        low = np.full(arrays[TENSORFLOW].shape, SAFETY * lost + 1e-30)
        return low, low * (UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"])
    return np.asarray(carry(np.asarray(found[0]))), np.asarray(carry(np.asarray(found[1])))


def _judged(name: str, stage: str, arrays: Mapping[str, Array], bounds: tuple[Array, Array]) -> Finding:
    found = judge(name, stage, Quartet(*(arrays[side] for side in SIDES)), *bounds)
    if found.verdict != SEMANTIC or stage == "state":
        return found
    return replace(found, note=_factor(arrays[TWIN_TENSORFLOW], arrays[TWIN_TORCH]) or found.note)


def _factor(mine: Array, theirs: Array) -> str:
    """Return in a sentence which number PyTorch's gradient is TensorFlow's multiplied by, if it is by one number."""
    a, b = (np.asarray(one, dtype=np.float64).ravel() for one in (mine, theirs))
    if not a.any() or not b.any():
        none, other = (TENSORFLOW, TORCH) if not a.any() else (TORCH, TENSORFLOW)
        return f"{LABELS[none]}'s is {NOTHING}, {LABELS[other]}'s is not."
    factor = float(a @ b) / float(a @ a)
    if factor and float(np.abs(b - factor * a).max()) <= CLOSE * float(np.abs(b).max()):
        return f"PyTorch's is {factor:.6g} {TIMES} TensorFlow's."
    return ""


def _held(reference: str, held: Mapping[str, Any]) -> bool:
    return all(name in held for name in weight_names(reference))


def _first(reference: str, held: Mapping[str, Any]) -> Array:
    """Return a gradient by reference: of two weights that are added, each has the gradient of the sum."""
    return np.asarray(read(reference.partition("+")[0], {name: np.asarray(value) for name, value in held.items()}))


def sources(
    step: Step,
    findings: Sequence[Finding],
    plan: WeightPlan,
    held: Sides,
    proved: Callable[[Step, Sequence[Finding]], list[Source]],
) -> list[Source]:
    """Return why the gradients or statistics of a layer differ whose forward pass agrees; `proved` tries remedies."""
    failing = [finding for finding in findings if finding.verdict == SEMANTIC]
    if not failing:
        return []
    cut = step.cut
    mine = layer_name(cut.main_tensorflow.name) if cut.main_tensorflow else cut.name
    theirs = layer_name(cut.main_torch.name) if cut.main_torch else cut.name
    states = [finding for finding in failing if finding.kind == "state"]
    causes = of_statistics(step, states, plan, held) if states else []
    if causes:  # gradients that differ as well have a reason of their own
        failing = [finding for finding in failing if finding.kind != "state"]
    found = proved(step, failing) if failing else []
    if found or not failing:
        return [*causes, *found]
    evidence = f"its forward pass agrees; {failing[0].message().splitlines()[0]}"
    fix = _look_for(step, failing)
    message = _message(mine, theirs, failing, "unknown", evidence, fix)
    return [Source(mine, theirs, "unknown", evidence, fix, cut.kind, message, mends=""), *causes]


def _look_for(step: Step, failing: Sequence[Finding]) -> str:
    """Return what to look for in a layer whose forward pass agrees, by what its gradients have in common."""
    notes = [finding.note for finding in failing]
    if all(finding.kind == "state" for finding in failing):
        return "compare when, and by which formula, the two change what they keep from step to step"
    if all(NOTHING in note for note in notes):
        torch = all(note.startswith(LABELS[TORCH]) for note in notes)
        words = "detach(), torch.no_grad() or .data" if torch else "tf.stop_gradient, or an operation without gradient,"
        cut = step.cut.main_torch if torch else step.cut.main_tensorflow
        return f"look for {words} in `{layer_name(cut.name) if cut else step.cut.name}` or right before it"
    if all(TIMES in note for note in notes):
        return "look for what scales or reverses the gradient in this layer or right before it"
    return "look for what detaches, scales or replaces a gradient in this layer or right before it"


def of_statistics(step: Step, findings: Sequence[Finding], plan: WeightPlan, held: Sides) -> list[Source]:
    """Return why the kept statistics of a layer differ, as far as its momentum and its variance explain that.

    Both are of what the layer is fed, so that it does not matter what else it does with that, such as with another eps.
    """
    failing = [finding for finding in findings if finding.verdict == SEMANTIC and finding.kind == "state"]
    cut = step.cut
    if not failing or cut.main_tensorflow is None or cut.main_torch is None:
        return []
    mine, theirs = layer_name(cut.main_tensorflow.name), layer_name(cut.main_torch.name)
    return [
        Source(mine, theirs, cause, evidence, fix, cut.kind, _message(mine, theirs, failing, cause, evidence, fix))
        for cause, evidence, fix in _statistics(step, cut.main_tensorflow, cut.main_torch, plan, held)
    ]


def _message(mine: str, theirs: str, failing: Sequence[Finding], cause: str, evidence: str, fix: str) -> str:
    return message(mine, theirs, "trains differently", cause, evidence, fix, failing[:3])


def _statistics(step: Step, mine: Op, theirs: Op, plan: WeightPlan, held: Sides) -> list[tuple[str, str, str]]:
    """Return which differences of batch normalisation explain its statistics: momentum, variance or both."""
    keep_a, keep_b = mine.config.get("momentum"), theirs.config.get("momentum")
    averages = keep_b is None and "running_mean" in theirs.weights
    if averages and keep_a is not None:
        keep_b = _kept(step, float(keep_a), plan, held)
    if keep_a is None or keep_b is None or keep_b == 1.0:
        return []
    count = next((_normalised(x.shape, mine) for x in step.fed.values()), 0)
    tries = [(False, False), (True, False), (False, True), (True, True)]
    for momentum, variance in sorted(tries, key=sum)[1:]:
        worst = 0.0
        for link in plan.links:
            if link.tensorflow not in step.answers[TWIN_TENSORFLOW]["state"]:
                continue
            worst = max(worst, _left(link, step, held, (keep_a, keep_b), count, momentum, variance))
        if worst < CLOSE:
            instead = f"None, which averages all batches: {1.0 - keep_b:g}" if averages else f"{1.0 - keep_b:g}"
            return _causes(momentum, variance, float(keep_a), instead, count, worst, theirs.name)
    return []


def _kept(step: Step, keep: float, plan: WeightPlan, held: Sides) -> float | None:
    """Return the share of the old mean that torch kept; TensorFlow's own share is known, and so is the batch's mean."""
    for link in plan.links:
        if link.role != "moving_mean" or link.tensorflow not in step.answers[TWIN_TENSORFLOW]["state"]:
            continue
        before = read(link.tensorflow, held[TENSORFLOW]).astype(np.float64).ravel()
        mine = np.asarray(step.answers[TWIN_TENSORFLOW]["state"][link.tensorflow]).astype(np.float64).ravel() - before
        theirs = np.asarray(link.to_tensorflow(np.asarray(step.answers[TWIN_TORCH]["state"][link.torch])))
        moved = float(mine @ mine)
        return None if moved == 0.0 else 1.0 - (1.0 - keep) * float((theirs.ravel() - before) @ mine) / moved
    return None


def _normalised(shape: Sequence[int], norm: Op) -> int:
    """Return how many numbers each statistic of a norm is of."""
    axis = norm.config.get("axis", -1)
    kept = {axis} if isinstance(axis, int) else set(axis)
    return math.prod(size for place, size in enumerate(shape) if not {place, place - len(shape)} & kept)


def _left(
    link: WeightLink, step: Step, held: Sides, keep: tuple[float, float], count: int, momentum: bool, variance: bool
) -> float:
    expected = np.asarray(step.answers[TWIN_TENSORFLOW]["state"][link.tensorflow]).astype(np.float64)
    after = np.asarray(link.to_tensorflow(np.asarray(step.answers[TWIN_TORCH]["state"][link.torch]))).astype(np.float64)
    before = read(link.tensorflow, held[TENSORFLOW]).astype(np.float64)
    batch = (after - keep[1] * before) / (1.0 - keep[1])
    if variance and link.role == "moving_variance" and count > 1:
        batch = batch * (count - 1) / count
    kept = keep[0] if momentum else keep[1]
    predicted = kept * before + (1.0 - kept) * batch
    return float(np.abs(predicted - expected).max(initial=0.0) / (np.abs(expected).max(initial=0.0) or 1.0))


def _causes(
    momentum: bool, variance: bool, keep_a: float, instead: str, count: int, left: float, name: str
) -> list[tuple[str, str, str]]:
    found = []
    both = " together with the other one" if momentum and variance else ""
    agree = f"agree to {left:.0e}" if left else "agree exactly"
    if momentum:
        new = 1.0 - keep_a
        found.append((
            "batchnorm-momentum",
            f"the statistics {agree} with torch momentum {new:g} instead of {instead}{both}",
            f"momentum={new:g} in `{name}` (torch's momentum is the weight of the new value)",
        ))  # fmt: skip
    if variance:
        found.append((
            "batchnorm-running-variance",
            f"the statistics {agree} with the biased variance, (N-1)/N of torch's, N = {count}{both}",
            f"parity.optimizers.biased_running_variance(model), for `{name}`: Keras keeps the biased variance",
        ))  # fmt: skip
    return found


def whole_step(models: Models, inputs: Mapping[str, list[Array]], plan: WeightPlan, orders: Orders) -> list[Finding]:
    """Return one finding per weight: how far one optimizer step of the whole model moved it on either side."""
    upstreams = _upstreams(models, orders)
    found = models.workers.each(
        lambda side: models.workers.call(
            side,
            "train_step",
            inputs=list(inputs[family(side)]),
            upstreams=models.as_returned(family(side), upstreams[family(side)]),
            optimizer=dict(SGD),
        )
    )
    before = models.workers.each(models.weights, TWINS)
    findings = []
    for link in plan.links:
        after = {side: found[side]["weights_after"] for side in SIDES}
        if not _held(link.tensorflow, after[TENSORFLOW]) or not _held(link.torch, after[TORCH]):
            continue
        moved = {}
        for side in SIDES:
            mine = family(side) == TENSORFLOW
            start = before[TWIN_TENSORFLOW if mine else TWIN_TORCH]
            reference = link.tensorflow if mine else link.torch
            change = read(reference, after[side]).astype(np.float64) - read(reference, start)
            moved[side] = change if mine else np.asarray(link.to_tensorflow(change))
        largest = float(np.abs(read(link.tensorflow, before[TWIN_TENSORFLOW])).max(initial=0.0))
        findings.append(_moved(link, moved, largest, models))
    return findings


def _moved(link: WeightLink, moved: Mapping[str, Array], largest: float, models: Models) -> Finding:
    a64, b64 = moved[TWIN_TENSORFLOW], moved[TWIN_TORCH]
    scale = max(float(np.abs(a64).max(initial=0.0)), float(np.abs(b64).max(initial=0.0))) or 1.0
    # A step below the last place of what it is added to, as of a bias before a norm, shows in neither number format.
    lost = max(
        float(np.abs(moved[TENSORFLOW] - a64).max(initial=0.0)), float(np.abs(moved[TORCH] - b64).max(initial=0.0)),
        UNIT_ROUNDOFF["float32"] * largest,
    )  # fmt: skip
    ratio = UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"]
    allowed = max(SAFETY * ratio * lost / scale + 1e-12, models.slack(lost / scale))
    gap = float(np.abs(a64 - b64).max(initial=0.0)) / scale
    verdict = SEMANTIC if gap > allowed else IDENTICAL if np.array_equal(moved[TENSORFLOW], moved[TORCH]) else ROUNDING
    note = (
        ""
        if gap <= allowed
        else f"One step moves it differently: {gap:.2g} of the step, rounding explains {allowed:.1g}."
    )
    if verdict == SEMANTIC and "+" in link.torch and _doubled(a64, b64):
        note = f"Torch trains two biases that are added: the step of their sum is twice Keras's ({DOUBLED})."
    elif verdict == SEMANTIC and (factor := _factor(a64, b64)):
        note = f"One step moves it differently: {factor}"
    return Finding(
        link.tensorflow, "update", verdict, note, tuple(a64.shape), scale, d64=gap, d64_bound=allowed,
        d32=float(np.abs(moved[TENSORFLOW] - moved[TORCH]).max(initial=0.0)) / scale, elements=int(a64.size),
    )  # fmt: skip


def _doubled(a: Array, b: Array) -> bool:
    return bool(np.allclose(2.0 * a, b, rtol=1e-6, atol=0.0))


def _upstreams(models: Models, orders: Orders) -> dict[str, list[Array]]:
    rng = np.random.default_rng(models.options.seed + 2)
    given: dict[str, list[Array]] = {TENSORFLOW: [], TORCH: []}
    for mine, theirs in zip(models[TENSORFLOW].outputs, models[TORCH].outputs, strict=True):
        shape = models[TENSORFLOW].shapes[mine]
        upstream = draws.upstream(shape, rng)
        relation = orders.of(mine, theirs)
        given[TENSORFLOW].append(upstream)
        given[TORCH].append(upstream if relation is None else relation.to_torch(upstream))
    return given


def step_sources(findings: Sequence[Finding], plan: WeightPlan, models: Models) -> list[Source]:
    """Return a source for each weight whose step is that of two: the rest follows from what was said layer by layer."""
    links = {link.tensorflow: link for link in plan.links}
    named = ({op.index: op.name for op in models[TENSORFLOW].ops}, {op.index: op.name for op in models[TORCH].ops})
    found = []
    for finding in findings:
        if finding.verdict == SEMANTIC and DOUBLED in finding.note:
            link = links[finding.tensor]
            pair, second = link.pair, link.torch.rpartition("+")[2].partition("@")[0]
            mine, theirs = layer_name(named[0][pair.tensorflow]), layer_name(named[1][pair.torch])
            both = " and ".join(f"`{name}`" for name in weight_names(link.torch))
            evidence = f"torch trains {both}, so one step moves their sum twice as far as Keras's `{finding.tensor}`"
            fix = f"freeze one of the two biases of `{theirs}`: {second}.requires_grad_(False)"
            message = _message(mine, theirs, [finding], DOUBLED, evidence, fix)
            found.append(Source(mine, theirs, DOUBLED, evidence, fix, "update", message))
    return found
