"""Pairs that are none: steps to a length that each side writes otherwise, and a whole layer with one step of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.judge.traps.lengths import units
from parity.model.trace import Trace
from parity.pairing.free import ATTENTIONS
from parity.pairing.match import BY_HAND, Matching, OpPair


def as_wholes(tensorflow: Trace, torch: Trace, matching: Matching) -> Matching:
    """Return the matching without pairs among the steps to two lengths of which something else keeps off zero.

    `x / (norm + eps)` and `x / sqrt(sum + eps)` have a sum, a root and an addition each, in another order.
    """
    found = units(tensorflow.ops, tensorflow.producers()), units(torch.ops, torch.producers())
    if len(found[0]) != len(found[1]):
        return matching
    unlike = [(mine, theirs) for mine, theirs in zip(*found, strict=True) if not mine.is_like(theirs)]
    inside = [{step for one in side for step in one.steps} for side in zip(*unlike, strict=True)] or [set(), set()]
    return _without(
        matching,
        [
            pair
            for pair in matching.pairs
            if pair.how != BY_HAND and (pair.tensorflow in inside[0] or pair.torch in inside[1])
        ],
    )


def without_steps(tensorflow: Trace, torch: Trace, matching: Matching) -> Matching:
    """Return the matching without pairs of a whole attention with the one step of torch's that scales its scores.

    Both hold the scale, and that is all that they have in common: one returns values, the other scores.
    """
    wholes = {op.index for op in tensorflow.ops if op.kind in ATTENTIONS}
    steps = {op.index for op in torch.ops if op.kind in ("multiply", "divide", "rescale")}
    gone = [pair for pair in matching.pairs if pair.tensorflow in wholes and pair.torch in steps]
    return _without(matching, [pair for pair in gone if pair.how != BY_HAND])


def _without(matching: Matching, gone: Sequence[OpPair]) -> Matching:
    return replace(
        matching,
        pairs=tuple(pair for pair in matching.pairs if pair not in gone),
        only_tensorflow=tuple(sorted({*matching.only_tensorflow, *(pair.tensorflow for pair in gone)})),
        only_torch=tuple(sorted({*matching.only_torch, *(pair.torch for pair in gone)})),
    )
