"""Weights where an ONNX file has no batch normalisations any more: the other side's as an exporter folds them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace

from parity.model.trace import used_weights
from parity.pairing.copying import WeightPlan
from parity.pairing.folded import Fold
from parity.porting.cuts import Step
from parity.porting.options import Array
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models
from parity.porting.verdict import Source, layer_name, listed, message

EPS = "batchnorm-eps"
USUAL_EPS = (1e-3, 1e-5, 1e-6, 1e-4, 1e-2)  # those of Keras, torch and published networks

Held = dict[str, dict[str, Array]]  # by side and name


def shifts(models: Models, side: str, names: Container[str]) -> list[str]:
    """Return the weights that are added to some shifts where a normalisation is folded."""
    return [term for fold in models.folds.get(side, ()) if fold.shift in names for term in fold.shifts]


def fold(models: Models, held: Held, side: str) -> list[str]:
    """Give one side, in place, the weights as an exporter folds them, and return a note on it."""
    return _give(models, held, side, Fold.made)


def rest(models: Models, held: Held, side: str) -> list[str]:
    """Let what is folded away do nothing, in place, on the side that weights are carried to, and return a note."""
    return _give(models, held, side, Fold.nothing)


def _give(
    models: Models, held: Held, side: str, made: Callable[[Fold, Mapping[str, Array]], Mapping[str, Array]]
) -> list[str]:
    folds = models.folds.get(side, ())
    for one in folds:
        held[side].update(made(one, held[side]))
    return [_note(side, folds)] if folds else []


def as_is(models: Models, weight_plan: WeightPlan, held: Held) -> list[str]:
    """Fold both sides' own weights, in place; a file's that are the other side's but for rounding become these."""
    notes = list[str]()
    ways = weight_plan.to_tensorflow, weight_plan.to_torch
    for side, other, (back, forth) in ((TENSORFLOW, TORCH, ways), (TORCH, TENSORFLOW, ways[::-1])):
        folds, before = models.folds.get(side, ()), dict(held[side])
        notes += fold(models, held, side)
        theirs = back(held[other])
        near = [one for one in folds if one.near(before, theirs)]
        held[other].update(forth({name: held[side][name] for one in near for name in one.left}))
        if near:
            notes.append(
                f"{LABELS[other]}'s file holds these numbers but for rounding, in {len(near)} of {len(folds)}: both"
                " were compared with them"
            )
        for one in folds:
            eps = next((eps for eps in USUAL_EPS if replace(one, eps=eps).near(before, theirs)), one.eps)
            if one not in near and eps != one.eps:
                models.other_eps[side, one.left[0]] = one.eps, eps
    return notes


def of_eps(models: Models, step: Step) -> list[Source]:
    """Return the one source of a step whose weights are the other side's folded with another eps, if they are."""
    found = next(_of_eps(models, step), None)
    mains = step.cut.main_tensorflow, step.cut.main_torch
    if found is None or mains[0] is None or mains[1] is None:
        return []
    side, mine, theirs = found
    pair = layer_name(mains[0].name), layer_name(mains[1].name)
    evidence = f"the file's numbers are {LABELS[side]}'s, folded with an eps of {theirs:g} in place of {mine:g}"
    fix = f"export the model with an eps of {mine:g} in this batch normalisation (the file was made with {theirs:g})"
    told = message(*pair, "computes something else", EPS, evidence, fix, [step.finding])
    return [Source(*pair, EPS, evidence, fix, step.cut.kind, told, mends="")]


def _of_eps(models: Models, step: Step) -> Iterator[tuple[str, float, float]]:
    for side, ops in ((TENSORFLOW, step.cut.segment_tensorflow), (TORCH, step.cut.segment_torch)):
        for _, _, name in used_weights(ops):
            if (side, name) in models.other_eps:
                yield side, *models.other_eps[side, name]


def _note(side: str, folds: Sequence[Fold]) -> str:
    names = [one.left[0] for one in folds]
    return (
        f"{LABELS[side]}'s {listed(names)}: with the batch normalisation folded in"
        " for the check, as the ONNX file has it; its eps and statistics cannot be seen any more"
    )
