"""The same weights on all four sides: carried from one model to the other, as near as each can hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from parity.model.trace import weight_names
from parity.pairing.copying import WeightPlan, settling
from parity.porting import folding, waking
from parity.porting.folding import Held
from parity.porting.fresh import left_neutral, neutral_values, set_apart, trained_like
from parity.porting.options import AS_IS, TENSORFLOW_TO_TORCH, Array, is_onnx
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models, family
from parity.porting.verdict import listed

TURNS: Mapping[str, Callable[[Array], Array]] = {
    "add": np.negative, "subtract": np.negative, "multiply": np.reciprocal, "divide": np.reciprocal,
}  # fmt: skip
ROUNDINGS = 4 * float(np.finfo(np.float32).eps)
HELD = 1e-5  # of its largest number: how near a computed weight comes to one that it can hold


def share_weights(
    models: Models,
    weight_plan: WeightPlan,
    built: Mapping[str, Mapping[str, Array]],
    of_constants: Mapping[str, Array],
    instead: Mapping[str, Array],
) -> tuple[Held, list[str]]:
    """Give all four sides the weights that the check is about, and return what the float32 sides hold, and notes.

    `of_constants` are numbers for weights of torch's that TensorFlow's model holds as constants, `instead` others for
    some weights of the side that they are carried from.
    """
    held: Held = {side: dict(built[side]) for side in (TENSORFLOW, TORCH)}
    if models.options.weights == AS_IS:
        notes = [*folding.as_is(models, weight_plan, held), *_rounded(models, weight_plan, held)]
    else:
        notes = _carried(models, weight_plan, held, of_constants, instead)
    settled = weight_plan.settled(held[TENSORFLOW], held[TORCH])
    for side, values in zip((TENSORFLOW, TORCH), settled, strict=True):
        held[side].update(values)
        notes += [settling(LABELS[side], values)] if values else []
    models.workers.each(lambda side: models.set_weights(side, held[family(side)]))
    return held, notes


def _carried(
    models: Models,
    weight_plan: WeightPlan,
    held: Held,
    of_constants: Mapping[str, Array],
    instead: Mapping[str, Array],
) -> list[str]:
    """Carry, in place, one side's weights to the other, those that nobody trained yet with other values."""
    to_torch = models.options.weights == TENSORFLOW_TO_TORCH
    source, target = (TENSORFLOW, TORCH) if to_torch else (TORCH, TENSORFLOW)
    notes, options = list[str](), models.options
    left_out = _left_out(models, weight_plan, held, target)
    if left_out:
        notes.append(
            f"{listed(left_out)}: no"
            " shift and no scale for the check, as the ONNX file has none: exporters leave out those that do nothing"
        )
    if options.fresh:
        alone = weight_plan.unmatched_tensorflow if to_torch else weight_plan.unmatched_torch
        filled_in = not to_torch or is_onnx(models.builders[source])  # an ONNX norm has both
        lone = [
            *left_out,
            *models.constants.get(source, ()),
            *folding.shifts(models, source, left_out),
            *(left_neutral(alone, held[source], models[source]) if filled_in else ()),
        ]
        changed = trained_like(held[source], models[source], options.seed, lone)
        held[source].update(changed)
        if changed:
            notes.append(
                f"{len(changed)} of {len(held[source])} weights were one number throughout, as in a fresh model, and"
                " got trained-like values for the check"
            )
        apart = set_apart(held[source], models[source], options.seed, {*lone, *_held_as_one(weight_plan, to_torch)})
        held[source].update(apart)
        if apart:
            notes.append(
                f"{listed(sorted(apart))}: the numbers of another weight, as one seed or a copy makes them, and got"
                " others for the check"
            )
    held[source].update(instead)
    if instead:
        notes.append(waking.note(sorted(instead)))
    notes += folding.fold(models, held, source)
    carried = (weight_plan.to_torch if to_torch else weight_plan.to_tensorflow)(held[source])
    carried |= _turned(models, weight_plan, held[target], carried, to_torch)
    held[target].update({**carried, **of_constants})
    notes += folding.rest(models, held, target)
    if to_torch:
        made = _computed_otherwise(models, weight_plan, carried)
        held[TORCH].update(made)
        notes += [
            f"torch's `{name}`, which is computed from other weights, cannot hold TensorFlow's: it was compared as"
            " torch computes it of them"
            for name in made
        ]
    return notes


def _held_as_one(weight_plan: WeightPlan, to_torch: bool) -> set[str]:
    """Return the weights of the side that is carried from of which the other holds several as one weight."""
    ends = [(link.tensorflow, link.torch) if to_torch else (link.torch, link.tensorflow) for link in weight_plan.links]
    sources: dict[str, set[str]] = {}
    for source, target in ends:
        sources.setdefault(target, set()).add(source)
    return {source for some in sources.values() if len(some) > 1 for source in some}


def _turned(
    models: Models, weight_plan: WeightPlan, own: Mapping[str, Array], carried: Mapping[str, Array], to_torch: bool
) -> dict[str, Array]:
    """Return the numbers that are an ONNX file's with the other sign, or its reciprocals, as they stand on this side.

    Exporters write x - mean as x + (-mean). Only what nobody trains is taken so, and what was so in both as built:
    where one side should subtract what it adds that is to be seen.
    """
    if not any(map(is_onnx, models.builders.values())):
        return {}
    kinds = [{op.index: op.kind for op in models[side].ops} for side in (TENSORFLOW, TORCH)]
    known = [models[side].weights for side in (TENSORFLOW, TORCH)]
    found = dict[str, Array]()
    for link in weight_plan.links:
        turns = [TURNS.get(kinds[0].get(link.pair.tensorflow, "")), TURNS.get(kinds[1].get(link.pair.torch, ""))]
        turn = turns[0] if turns[0] is turns[1] else None
        name = link.torch if to_torch else link.tensorflow
        sides = zip(known, (link.tensorflow, link.torch), strict=True)
        if turn is None or name not in carried or all(one not in some or some[one].trainable for some, one in sides):
            continue
        with np.errstate(divide="ignore"):
            value = turn(carried[name].astype(np.float64))
        if value.shape == own[name].shape and np.allclose(value, own[name], rtol=ROUNDINGS, atol=0.0):
            found[name] = value
    return found


def _left_out(models: Models, weight_plan: WeightPlan, held: Held, target: str) -> list[str]:
    """Let shifts and scales that the other side's ONNX file lacks do nothing, in place, and return their names.

    The side that weights are carried from keeps one that does something.
    """
    found: list[str] = []
    alone = {TENSORFLOW: weight_plan.unmatched_tensorflow, TORCH: weight_plan.unmatched_torch}
    for side, other in ((TENSORFLOW, TORCH), (TORCH, TENSORFLOW)):
        if not is_onnx(models.builders[other]):
            continue
        for name, value in neutral_values(alone[side], models[side]).items():
            terms = folding.shifts(models, side, [name])
            if side == target or all(bool((held[side][n] == value).all()) for n in (name, *terms)):
                held[side] |= {n: np.full_like(held[side][n], value) for n in (name, *terms)}
                found.append(name)
    return found


def _rounded(models: Models, weight_plan: WeightPlan, held: Held) -> list[str]:
    """Give torch, in place, TensorFlow's numbers for weights that it computes and that are these but for rounding."""
    rounded = weight_plan.rounded(held[TENSORFLOW], held[TORCH], models.about[TORCH].get("computed", ()))
    held[TORCH].update(rounded)
    return [
        f"torch's `{name}`, which is computed from other weights, is TensorFlow's but for rounding: both were"
        " compared with TensorFlow's"
        for name in rounded
    ]


def _computed_otherwise(models: Models, weight_plan: WeightPlan, carried: Mapping[str, Array]) -> dict[str, Array]:
    """Return what torch computes for weights that cannot hold what was carried, such as one of a spectral norm.

    One that TensorFlow normalises as well, which it does as it trains, is left as it is.
    """
    computed = {name for name in models.about[TORCH].get("computed", ()) if name in carried}
    if not computed:
        return {}
    alike = set(models.workers.call(TENSORFLOW, "normalised_weights"))
    for link in weight_plan.links:
        if alike & set(weight_names(link.tensorflow)):
            computed -= set(weight_names(link.torch))
    given = {name: carried[name] for name in sorted(computed)}
    return dict(models.workers.call(TORCH, "computed_weights", weights=given, close=HELD))
