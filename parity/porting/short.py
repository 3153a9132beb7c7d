"""Divisions by a length with a floor under it: TensorFlow's is higher than torch's, and shows in short vectors only.

The vectors at hand are hardly ever so short. Whether a model ever meets such is asked of the model itself, on inputs
near zero: where no bias lies in between, what is divided shrinks with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from parity.errors import ParityError
from parity.judge.traps import keras_numbers
from parity.judge.traps.lengths import Unit, paired, remedy, units
from parity.judge.traps.remedy import Remedy
from parity.model.trace import Op
from parity.porting.cuts import Cut
from parity.porting.elsewhere import CLOSE, SINGLE, apart, further
from parity.porting.options import TORCH_TO_TENSORFLOW
from parity.porting.orders import Orders
from parity.porting.sides import TENSORFLOW, TORCH, Models, is_fatal
from parity.porting.verdict import Source, layer_name, message

KIND = "l2_normalize"
SCALES = (1e-5, 1e-8, 1e-11)  # of the usual inputs: shorter than floors of 1e-4, 1e-6 and 1e-10
Pair = tuple[Unit | None, Unit | None]


def unlike(models: Models, cuts: Sequence[Cut]) -> list[Pair]:
    """Return the pairs of such divisions whose floors are not the same; one whose partner is not known stands alone."""
    makers = models[TENSORFLOW].producers(), models[TORCH].producers()
    seen: tuple[set[int], set[int]] = (set(), set())
    found: list[Pair] = []
    for cut in cuts:
        sides = zip((cut.segment_tensorflow, cut.segment_torch), makers, seen, strict=True)
        mine, theirs = (_new(units(ops, made), known) for ops, made, known in sides)
        found += [pair for pair in paired(mine, theirs) if None in pair or not _alike(*pair)]
    return found


def _new(some: Sequence[Unit], seen: set[int]) -> list[Unit]:
    new = [one for one in some if one.op.index not in seen]
    seen.update(one.op.index for one in new)
    return new


def _alike(mine: Unit | None, theirs: Unit | None) -> bool:
    return mine is not None and theirs is not None and mine.is_like(theirs)


def compare(
    models: Models, cuts: Sequence[Cut], orders: Orders, tell: Callable[[str], None] = lambda _: None
) -> tuple[list[Source], list[str]]:
    """Return the sources, one for each pair, where the twins differ on inputs near zero; else what is to be noted."""
    odd = unlike(models, cuts)
    if not odd:
        return [], []
    known = [(mine, theirs) for mine, theirs in odd if mine is not None and theirs is not None]
    remedies = _remedies(known)
    allowed = max(CLOSE, models.slack(SINGLE))
    for number, scale in enumerate(SCALES):
        tell(f"both models on inputs {scale:g} times the usual ({number + 1} of {len(SCALES)})")
        try:
            fed = further(models, number, scale)
            gap = apart(models, orders, fed)
            if gap <= allowed:
                continue
            edits = [dict(edit) for one in remedies.values() for edit in one.edits]
            after = apart(models, orders, fed, edits) if edits else gap
        except ParityError as error:
            if is_fatal(error):
                raise
            continue
        if after <= allowed:
            found = list(_sources(known, remedies, (gap, after), scale))
            return (_in_keras(found, known) if models.options.weights == TORCH_TO_TENSORFLOW else found), []
        return [_unproved(odd, gap, scale)], []
    return [], [_note(*pair) for pair in known]


def _in_keras(found: Sequence[Source], known: Sequence[tuple[Unit, Unit]]) -> list[Source]:
    """Return the sources with what torch divides by as lines of Keras's code, where its axis is told."""
    lines = {layer_name(theirs.op.name): keras_numbers.divided_alike(mine, theirs) for mine, theirs in known[::-1]}
    return [
        source if (line := lines.get(source.torch or "")) is None
        else replace(source, fix=line, message=source.message.replace(source.fix, line), mends=TENSORFLOW)
        for source in found
    ]  # fmt: skip


def _remedies(known: Sequence[tuple[Unit, Unit]]) -> Mapping[int, Remedy]:
    """Return one remedy for each operation of torch's: a cosine stands for two divisions."""
    found: dict[int, Remedy] = {}
    for mine, theirs in known:
        found.setdefault(theirs.op.index, remedy(mine, theirs))
    return found


def _note(mine: Unit, theirs: Unit) -> str:
    return (
        f"l2-normalize-eps: `{layer_name(mine.op.name)}` divides by no less than {mine.limit:g}, and torch's"
        f" `{layer_name(theirs.op.name)}` by no less than {theirs.limit:g}; no vector that was tried is so short"
    )


def _sources(
    known: Sequence[tuple[Unit, Unit]], remedies: Mapping[int, Remedy], gaps: tuple[float, float], scale: float
) -> Iterator[Source]:
    told = {theirs.op.index: (layer_name(mine.op.name), layer_name(theirs.op.name)) for mine, theirs in known[::-1]}
    for index, one in remedies.items():
        evidence = f"on inputs {scale:g} times the usual, the outputs' d64 falls from {gaps[0]:.2g} to {gaps[1]:.1g}"
        evidence += f" {one.says}"
        yield _source(*told[index], one.trap, evidence, one.fix)


def _unproved(odd: Sequence[Pair], gap: float, scale: float) -> Source:
    ops = [[one.op for one in some if one is not None] for some in zip(*odd, strict=True)]
    evidence = f"the outputs' d64 is {gap:.2g} on inputs {scale:g} times the usual"
    return _source(_first(ops[0]), _first(ops[1]), "unknown", evidence, "give both sides the same floor under a length")


def _first(ops: Sequence[Op]) -> str | None:
    return layer_name(ops[0].name) if ops else None


def _source(mine: str | None, theirs: str | None, cause: str, evidence: str, fix: str) -> Source:
    told = message(mine, theirs, "divides short vectors by another number", cause, evidence, fix)
    return Source(mine, theirs, cause, evidence, fix, KIND, told)
