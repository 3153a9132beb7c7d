"""Batch normalisations that keep statistics for evaluation in TensorFlow, where torch's have nowhere to keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parity.errors import ParityError
from parity.judge.verdict import SEMANTIC, Finding
from parity.model.trace import Op, weight_names
from parity.pairing.copying import WeightPlan
from parity.pairing.match import Matching
from parity.porting.options import Array
from parity.porting.sides import TENSORFLOW, TORCH, Models, is_fatal
from parity.porting.verdict import Source, layer_name, message

CAUSE = "batchnorm-mode"
STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


@dataclass(frozen=True)
class Kept:
    """What is known of statistics without a partner: where they differ, and whose no evaluation uses."""

    sources: tuple[Source, ...] = ()
    findings: tuple[Finding, ...] = ()
    settled: frozenset[str] = frozenset()  # weights that need no partner, or whose lack of one was told
    notes: tuple[str, ...] = ()


def find(models: Models, matching: Matching, plan: WeightPlan, inputs: Sequence[Array]) -> Kept:
    """Return what becomes of statistics that only TensorFlow keeps; a training step alone shows no difference.

    TensorFlow's model is run once in evaluation, to see whether it uses them there.
    """
    ops = tuple({op.index: op for op in models[side].ops} for side in (TENSORFLOW, TORCH))
    pairs = [(ops[0][pair.tensorflow], ops[1][pair.torch]) for pair in matching.pairs]
    alone = {mine.name: (mine, theirs) for mine, theirs in pairs if _only_tensorflow(mine, theirs, plan)}
    if not alone or _kept_by_hand(models, plan, alone.values()):
        return Kept()
    try:
        found = models.workers.call(TENSORFLOW, "trace_model", inputs=list(inputs), training=False)
    except ParityError as error:
        if is_fatal(error):
            raise
        return Kept()
    used = {op["name"] for op in found["ops"] if op["kind"] == "batch_norm" and not op["config"].get("training")}
    told = [pair for name, pair in alone.items() if name in used]
    idle = [mine for name, (mine, _) in alone.items() if name not in used]
    return Kept(
        sources=tuple(_source(*pair) for pair in told),
        findings=tuple(
            Finding(name, "state", SEMANTIC, "PyTorch keeps no such statistic, and TensorFlow evaluates with it.")
            for mine, _ in told
            for name in _statistics(mine)
        ),
        settled=frozenset(name for mine, _ in alone.values() for name in _statistics(mine)),
        notes=tuple(
            f"`{layer_name(mine.name)}` normalises with the statistics of the batch in evaluation as well, as torch's"
            " does: those that it keeps are of no use"
            for mine in idle
        ),
    )


def _kept_by_hand(models: Models, plan: WeightPlan, pairs: Iterable[tuple[Op, Op]]) -> bool:
    """Return whether torch has buffers without a partner that may be such statistics, written by its own code."""
    shapes = {models[TENSORFLOW].weights[name].shape for mine, _ in pairs for name in _statistics(mine)}
    linked = {name for link in plan.links for name in weight_names(link.torch)}
    held = (weight for name, weight in models[TORCH].weights.items() if name not in linked)
    return any(not weight.trainable and weight.shape in shapes for weight in held)


def _only_tensorflow(mine: Op, theirs: Op, plan: WeightPlan) -> bool:
    both = mine.kind == theirs.kind == "batch_norm" and not set(STATISTICS.values()) & set(theirs.weights)
    return both and bool(_statistics(mine)) and set(_statistics(mine)) <= set(plan.unmatched_tensorflow)


def _statistics(op: Op) -> list[str]:
    return [name for role in STATISTICS if role in op.weights for name in weight_names(op.weights[role])]


def _source(mine: Op, theirs: Op) -> Source:
    pair = layer_name(mine.name), layer_name(theirs.name)
    evidence = (
        "training agrees; in evaluation TensorFlow normalises with the statistics that it kept, and torch, which keeps"
        " none, with those of the batch"
    )
    fix = f"`{pair[1]}` with running_mean and running_var (track_running_stats=True), and training=self.training"
    told = message(*pair, "evaluates differently after training", CAUSE, evidence, fix)
    return Source(*pair, CAUSE, evidence, fix, "batch_norm", told)
