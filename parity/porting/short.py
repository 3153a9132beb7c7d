"""Divisions by a length with a floor under it: TensorFlow's is higher than torch's, and shows in short vectors only.

The vectors at hand are hardly ever so short. Whether a model ever meets such is asked of the model itself, on inputs
near zero: where no bias lies in between, what is divided shrinks with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt

from parity.errors import ParityError
from parity.judge.traps.normalisation import lengths
from parity.judge.traps.remedy import Remedy
from parity.judge.traps.scene import same
from parity.model.trace import Op
from parity.pairing.match import Matching
from parity.porting.elsewhere import CLOSE, SINGLE, apart, further
from parity.porting.orders import Orders
from parity.porting.sides import TENSORFLOW, TORCH, Models, is_fatal
from parity.porting.verdict import Source, layer_name, names

KIND = "l2_normalize"
SCALES = (1e-5, 1e-8, 1e-11)  # of the usual inputs: shorter than floors of 1e-4, 1e-6 and 1e-10


def unlike(models: Models, matching: Matching) -> list[tuple[Op, Op]]:
    """Return the pairs of such divisions whose floors are not the same."""
    ops = ({op.index: op for op in models[TENSORFLOW].ops}, {op.index: op for op in models[TORCH].ops})
    pairs = [(ops[0][pair.tensorflow], ops[1][pair.torch]) for pair in matching.pairs]
    return [pair for pair in pairs if pair[0].kind == pair[1].kind == KIND and not same(*map(floor, pair))]


def floor(op: Op) -> float:
    """Return the length below which a division is by this number instead."""
    eps = float(op.config.get("eps", 1e-12))
    return sqrt(eps) if op.config.get("form", "rsqrt-floor") == "rsqrt-floor" else eps


def compare(
    models: Models, matching: Matching, orders: Orders, tell: Callable[[str], None] = lambda _: None
) -> tuple[list[Source], list[str]]:
    """Return the sources, one for each pair, where the twins differ on inputs near zero; else what is to be noted."""
    odd = unlike(models, matching)
    if not odd:
        return [], []
    allowed = max(CLOSE, models.slack(SINGLE))
    remedies = [next(lengths(*pair)) for pair in odd]
    for number, scale in enumerate(SCALES):
        tell(f"both models on inputs {scale:g} times the usual ({number + 1} of {len(SCALES)})")
        try:
            fed = further(models, number, scale)
            gap = apart(models, orders, fed)
            if gap > allowed:
                edits = [dict(edit) for remedy in remedies for edit in remedy.edits]
                after = apart(models, orders, fed, edits)
                if after <= allowed:
                    return list(_sources(odd, remedies, (gap, after), scale)), []
        except ParityError as error:
            if is_fatal(error):
                raise
    return [], [_note(pair) for pair in odd]


def _note(pair: Sequence[Op]) -> str:
    mine, theirs = pair
    return (
        f"l2-normalize-eps: `{layer_name(mine.name)}` divides by no less than {floor(mine):g}, and torch's"
        f" `{layer_name(theirs.name)}` by no less than {floor(theirs):g}; no vector that was tried is so short"
    )


def _sources(
    odd: Sequence[tuple[Op, Op]], remedies: Sequence[Remedy], gaps: tuple[float, float], scale: float
) -> Iterator[Source]:
    for (mine, theirs), remedy in zip(odd, remedies, strict=True):
        told = layer_name(mine.name), layer_name(theirs.name)
        evidence = f"on inputs {scale:g} times the usual, the outputs' d64 falls from {gaps[0]:.2g} to {gaps[1]:.1g}"
        evidence += f" {remedy.says}"
        message = "\n".join([
            f"{names(*told)} divides short vectors by another number.",
            f"  cause: {remedy.trap}", f"  {evidence}", f"  fix: {remedy.fix}",
        ])  # fmt: skip
        yield Source(*told, remedy.trap, evidence, remedy.fix, KIND, message)
