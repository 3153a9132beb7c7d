"""Whole models on inputs further out, where one side bends numbers and the other does not, or not in the same place.

A clip of values that never get so far, or a ReLU behind what happens to be positive, does nothing to the samples at
hand. Whether it ever does is asked of the models themselves: what a model cannot reach is no difference. That takes one
run of each twin for each of `SCALES`, a sixth of the whole check of a ResNet-50 on two cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.judge.traps import keras_activations
from parity.judge.traps.activation import trap_of, written
from parity.judge.traps.remedy import Remedy, insert, skip
from parity.judge.traps.remedy import replace as in_place
from parity.model.trace import Op
from parity.pairing.match import Matching
from parity.porting.cuts import Cut
from parity.porting.options import TORCH_TO_TENSORFLOW, Array, arrays, to_torch
from parity.porting.orders import Orders
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, TWINS, Models, family, is_fatal
from parity.porting.verdict import Source, layer_name, message

# No `where`: masks are written with one, and their large numbers are no infinities a hundred times further out.
BENDING = frozenset({"activation", "maximum", "minimum", "op:ClipByValue", "op:clamp"})
SCALES = (1.0, -1.0, 10.0, -10.0, 100.0, -100.0)  # of further draws of the inputs
CLOSE = 1e-7  # of an output's scale: between the twins, where torch's softplus stops at 20
SAME = 1e-12  # of an output's scale: between twins that only round
DRAWN = 3  # of the further draws
SINGLE = 1e-6  # what float32 loses in a model, about
SEED = 1000
QUIET = 0.01  # of the usual: every other input, in some of the further draws


def unlike(models: Models, matching: Matching) -> tuple[list[Op], list[Op]]:
    """Return each side's operations that bend numbers and have no partner that is written alike."""
    ops = ({op.index: op for op in models[TENSORFLOW].ops}, {op.index: op for op in models[TORCH].ops})
    alike: tuple[set[int], set[int]] = (set(), set())
    for pair in matching.pairs:
        mine, theirs = ops[0][pair.tensorflow], ops[1][pair.torch]
        if mine.kind == theirs.kind and dict(mine.config) == dict(theirs.config):
            alike[0].add(mine.index)
            alike[1].add(theirs.index)
    first, second = (
        [op for op in side.values() if op.kind in BENDING and op.index not in known]
        for side, known in zip(ops, alike, strict=True)
    )
    return first, second


def compare(
    models: Models,
    matching: Matching,
    orders: Orders,
    cuts: Sequence[Cut],
    tell: Callable[[str], None] = lambda _: None,
) -> Source | None:
    """Return where the twins differ on some further inputs, if one of them bends numbers where the other does not."""
    odd = unlike(models, matching)
    if not any(odd):
        return None
    allowed = max(CLOSE, models.slack(SINGLE))
    for number, scale in enumerate(SCALES):
        tell(f"both models on inputs {scale:g} times the usual ({number + 1} of {len(SCALES)})")
        gap = _apart_there(models, orders, number, scale)
        if gap is not None and gap > allowed:
            likeliest = _likeliest(odd, cuts)
            remedy = _proved(models, orders, likeliest, cuts, allowed)
            in_keras = models.options.weights == TORCH_TO_TENSORFLOW
            return _source(likeliest, gap, scale, remedy, in_keras)
    return None


def alike(models: Models, orders: Orders, allowed: float = SAME) -> bool:
    """Return whether the twins' outputs, all of which are followed, are numbers and the same on `DRAWN` further inputs.

    Whole numbers, such as the place of the largest, may well be the same where what they are made of is not.
    """
    if models.cut_short:
        return False
    for mine, theirs in zip(models[TENSORFLOW].outputs, models[TORCH].outputs, strict=True):
        whole = not models[TENSORFLOW].dtypes.get(mine, "").startswith("float")
        if whole or orders.of(mine, theirs) is None:
            return False
    gaps = [_apart_there(models, orders, number, scale) for number, scale in enumerate(SCALES[:DRAWN])]
    return all(gap is not None and gap <= allowed for gap in gaps)


def alike_but_for_tables(models: Models, orders: Orders) -> bool:
    """Return whether the twins' outputs are the same on further inputs, but for what tables in float32 make of them."""
    return models.tables_apart > 0.0 and alike(models, orders, max(SAME, models.slack(SINGLE)))


def told_apart(models: Models, orders: Orders) -> bool:
    """Return whether one of a few further draws of the usual inputs makes the twins' outputs differ."""
    allowed = max(CLOSE, models.slack(SINGLE))
    gaps = [_apart_there(models, orders, number, 1.0) for number in range(2 * DRAWN)]
    return any(gap is not None and gap > allowed for gap in gaps)


def _proved(
    models: Models, orders: Orders, odd: tuple[Sequence[Op], Sequence[Op]], cuts: Sequence[Cut], allowed: float
) -> Remedy | None:
    """Return the remedy with which the twins' outputs agree on all further inputs, if there is one."""
    for remedy in _remedies(*odd, cuts):
        gaps = [_apart_there(models, orders, number, scale, remedy.edits) for number, scale in enumerate(SCALES)]
        if max((gap for gap in gaps if gap is not None), default=np.inf) <= allowed:
            return remedy
    return None


def _apart_there(
    models: Models, orders: Orders, number: int, scale: float, edits: Sequence[Mapping[str, Any]] = ()
) -> float | None:
    """Return how far the twins' outputs are apart on further inputs; None where these are not for this model."""
    try:
        return apart(models, orders, further(models, number, scale), edits)
    except ParityError as error:
        if is_fatal(error):
            raise
        return float("inf") if edits and _apart_there(models, orders, number, scale) is not None else None


def _remedies(mine: Sequence[Op], theirs: Sequence[Op], cuts: Sequence[Cut]) -> Iterator[Remedy]:
    """Yield what would make torch bend the numbers that TensorFlow bends, and no others."""
    if mine and theirs and mine[-1].kind == theirs[-1].kind == "activation":
        wanted, held = (str(op.config.get("function")) for op in (mine[-1], theirs[-1]))
        says, fix = f"with {wanted} instead of {held}", f"{written(mine[-1])} in place of `{theirs[-1].name}`"
        one = in_place(theirs[-1], trap_of(wanted, held), says, fix, "activation", dict(mine[-1].config))
        yield dataclasses.replace(one, in_keras=lambda _: keras_activations.alone(mine[-1], theirs[-1]))
    elif theirs and not mine:
        told = theirs[-1].config.get("function", theirs[-1].kind)
        one = skip(theirs[-1], "activation-extra", f"without torch's {told}", f"remove `{theirs[-1].name}`")
        where = next((cut.main_tensorflow for cut in cuts if cut.torch == theirs[-1].inputs[0]), None)
        yield dataclasses.replace(one, in_keras=lambda _: keras_activations.behind(theirs[-1], where))
    elif mine and not theirs and mine[-1].kind == "activation":
        op = mine[-1]
        for place in (cut for cut in cuts if cut.tensorflow == op.inputs[0]):
            at = f"after `{place.main_torch.name}`" if place.main_torch is not None else "there"
            says, fix = f"with a {op.config.get('function')} {at}", f"x = {written(op)} {at}"
            one = insert(place.torch, "activation-missing", says, fix, op.kind, dict(op.config))
            yield dataclasses.replace(one, in_keras=lambda _: keras_activations.removed(op))


def _likeliest(odd: tuple[list[Op], list[Op]], cuts: Sequence[Cut]) -> tuple[list[Op], list[Op]]:
    """Return, of the operations that are written otherwise, those where only one side has any; else all."""
    for cut in cuts:
        mine = [op for op in odd[0] if op in cut.segment_tensorflow]
        theirs = [op for op in odd[1] if op in cut.segment_torch]
        if bool(mine) != bool(theirs):
            return mine, theirs
    return odd


def further(models: Models, number: int, scale: float) -> dict[str, list[Array]]:
    """Return other draws of the inputs, scaled; arrays that were given are only scaled."""
    options = replace(models.options, seed=models.options.seed + SEED + number)
    mine = arrays(options)
    scaled = [index for index, x in enumerate(mine) if x.dtype.kind == "f"]
    for place, index in enumerate(scaled):
        mine[index] = mine[index] * np.float32(scale * (_share(number, place) if len(scaled) > 1 else 1.0))
    return {TENSORFLOW: mine, TORCH: [to_torch(x, options) for x in mine]}


def _share(number: int, place: int) -> float:
    """Return by what one of several inputs is scaled beside the others: a difference may never change its sign else."""
    quiet = number > 1 and place % 2 == number // 2 % 2  # the first two draws have all of them as they are
    return QUIET if quiet else 1.0


def apart(
    models: Models, orders: Orders, fed: Mapping[str, Sequence[Array]], edits: Sequence[Mapping[str, Any]] = ()
) -> float:
    """Return how far the twins' outputs are apart at most, in relation; `edits` are made in torch's."""
    found = models.workers.each(
        lambda side: models.workers.call(side, "model_outputs", inputs=list(fed[family(side)])), TWINS
    )
    if edits:
        feed = dict(zip(models[TORCH].inputs, fed[TORCH], strict=True))
        ends = models[TORCH].outputs
        remedied = [models.segment(TWIN_TORCH, feed, end, edits=list(edits))["value"] for end in ends]
        found[TWIN_TORCH] = {models.places[index]: value for index, value in enumerate(remedied)}
    worst = 0.0
    for index, (mine, theirs) in enumerate(zip(models[TENSORFLOW].outputs, models[TORCH].outputs, strict=True)):
        relation = orders.of(mine, theirs)
        if relation is None:
            continue
        a = np.asarray(found[TWIN_TENSORFLOW][index]).astype(np.float64)
        b = np.asarray(relation.to_tensorflow(np.asarray(found[TWIN_TORCH][models.places[index]]))).astype(np.float64)
        alike = a.shape == b.shape and bool(np.isfinite(b).all())
        if edits and np.isfinite(a).all() and not alike:
            return float("inf")  # no remedy
        if alike and np.isfinite(a).all():
            worst = max(worst, float(np.abs(a - b).max(initial=0.0)) / (float(np.abs(a).max(initial=0.0)) or 1.0))
    return worst


def _source(
    odd: tuple[Sequence[Op], Sequence[Op]],
    gap: float,
    scale: float,
    remedy: Remedy | None = None,
    in_keras: bool = False,
) -> Source:
    mine, theirs = (layer_name(ops[-1].name) if ops else None for ops in odd)
    evidence = f"the outputs' d64 is {gap:.2g} on inputs {scale:g} times the usual; on those at hand it bends nothing"
    fix = "give both sides the same function there, or neither"
    does = "bends numbers where the other side does not, or elsewhere"
    if remedy is not None:
        evidence, fix = f"{evidence}; on all of these they agree {remedy.says}", remedy.fix
        line = remedy.in_keras(None) if in_keras and remedy.in_keras is not None else None
        fix, mends = (fix, TORCH) if line is None else (line, TENSORFLOW)
        told = message(mine, theirs, does, f"{remedy.trap}: {remedy.says}.", evidence, fix)
        return Source(mine, theirs, remedy.trap, evidence, fix, "activation", told, mends=mends)
    told = message(mine, theirs, does, "unknown: no remedy helps.", evidence, fix)
    return Source(mine, theirs, "unknown", evidence, fix, "activation", told, mends="")
