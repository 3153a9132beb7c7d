"""Layers that train in one framework alone: a step of training makes two functions of one."""

from __future__ import annotations

from collections.abc import Sequence

from parity.judge.verdict import SEMANTIC, Finding
from parity.model.trace import Op, weight_names, weights_that_matter, weights_that_train
from parity.pairing.copying import WeightLink, WeightPlan
from parity.pairing.match import OpPair
from parity.porting.causes import UNKNOWN
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models
from parity.porting.training import NOTHING
from parity.porting.verdict import Source, layer_name, message

FROZEN_NORM = "batchnorm-frozen"


def findings(models: Models, plan: WeightPlan) -> list[Finding]:
    """Return one finding for each weight that a step moves in one framework and not in the other."""
    return [
        Finding(
            link.tensorflow, "update", SEMANTIC,
            f"It trains in {LABELS[_trained(models, link)]} alone: a step moves it on one side only.",
            tuple(plan.tensorflow_shapes.get(link.tensorflow, ())),
        )
        for link in _halves(models, plan)
    ]  # fmt: skip


def sources(models: Models, plan: WeightPlan, told: Sequence[Source]) -> list[Source]:
    """Return one source for each pair of layers with weights that train on one side alone.

    A batch normalisation that was told to be frozen on one side has been told with all that it holds, and what cuts a
    gradient off with all that lies before it.
    """
    ops = tuple({op.index: op for op in models[side].ops} for side in (TENSORFLOW, TORCH))
    links: dict[OpPair, list[WeightLink]] = {}
    for link in _halves(models, plan):
        links.setdefault(link.pair, []).append(link)
    known = {source.tensorflow for source in told if source.cause == FROZEN_NORM}
    if any(NOTHING in source.evidence for source in told):
        links = {pair: [link for link in own if not _is_cut_off(models, link)] for pair, own in links.items()}
    pairs = [(ops[0][pair.tensorflow], ops[1][pair.torch], own) for pair, own in links.items() if own]
    return [_source(models, *pair) for pair in pairs if layer_name(pair[0].name) not in known]


def _source(models: Models, mine: Op, theirs: Op, links: Sequence[WeightLink]) -> Source:
    side = _trained(models, links[0])
    torch_names = ", ".join(f"`{name}`" for link in links for name in weight_names(link.torch))
    evidence = f"trained in {LABELS[side]} alone: {torch_names}; a step of training makes two functions of one"
    fix = _fix(models, side, (mine, theirs), links, torch_names)
    cause = FROZEN_NORM if mine.kind == theirs.kind == "batch_norm" else UNKNOWN
    pair = layer_name(mine.name), layer_name(theirs.name)
    told = message(*pair, "trains on one side alone", cause, evidence, fix)
    return Source(*pair, cause, evidence, fix, "update", told)


def _fix(models: Models, side: str, pair: tuple[Op, Op], links: Sequence[WeightLink], torch_names: str) -> str:
    """Say what makes both train, or neither: a weight stands still by itself, or because its gradient is cut off."""
    mine, theirs = (layer_name(op.name) for op in pair)
    cut_off = _is_cut_off(models, links[0])
    if side == TORCH and cut_off:
        return f"detach() behind `{theirs}`: in TensorFlow no gradient comes back to `{mine}` (tf.stop_gradient)"
    if cut_off:
        return f"take away what cuts the gradient of `{theirs}` off, such as detach() behind it"
    if side == TORCH:
        return f"requires_grad_(False) for {torch_names}, as `{mine}` has trainable=False"
    return f"requires_grad_(True) for {torch_names} (and no torch.no_grad() there)"


def _is_cut_off(models: Models, link: WeightLink) -> bool:
    """Return whether the weight that stands still is one that would train if its gradient came back."""
    side = TORCH if _trained(models, link) == TENSORFLOW else TENSORFLOW
    reference, known = link.tensorflow if side == TENSORFLOW else link.torch, models[side].weights
    return any(known[name].trainable for name in weight_names(reference) if name in known)


def _halves(models: Models, plan: WeightPlan) -> list[WeightLink]:
    """Return the links of weights that outputs depend on and that only one framework trains."""
    used = weights_that_matter(models[TENSORFLOW]), weights_that_matter(models[TORCH])
    return [
        link
        for link in plan.links
        if set(weight_names(link.tensorflow)) <= used[0]
        and set(weight_names(link.torch)) <= used[1]
        and _trains(models, TENSORFLOW, link) != _trains(models, TORCH, link)
    ]


def _trains(models: Models, side: str, link: WeightLink) -> bool:
    reference = link.tensorflow if side == TENSORFLOW else link.torch
    return bool(weights_that_train(models[side]) & set(weight_names(reference)))


def _trained(models: Models, link: WeightLink) -> str:
    return TENSORFLOW if _trains(models, TENSORFLOW, link) else TORCH
