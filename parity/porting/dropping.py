"""What only training drops, which no check compares: dropout is off, so that a port without it looks the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from parity.model.trace import Trace
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models

DROPOUT = "dropout"
SHOWN = 3  # dropouts of either model
DROP_WITHIN = ("attention", "sdpa", "lstm", "gru", "rnn", "cell", "transformer")  # where no operation shows it


def notes(models: Models) -> list[str]:
    """Return a sentence where the two models do not drop the same shares in training.

    None where the one that has less of it may drop within a layer.
    """
    if not models.options.train:
        return []
    mine, theirs = _shares(models[TENSORFLOW]), _shares(models[TORCH])
    less = Counter(theirs.values()) - Counter(mine.values()), Counter(mine.values()) - Counter(theirs.values())
    lacking = [side for side, missing in zip((TENSORFLOW, TORCH), less, strict=True) if missing]
    if not lacking or any(_may_drop_within(models[side]) for side in lacking):
        return []
    told = " and ".join(_told(LABELS[side], found) for side, found in ((TENSORFLOW, mine), (TORCH, theirs)))
    return [f"dropout and noise are off for the check, and in training the models have different ones: {told}"]


def _may_drop_within(trace: Trace) -> bool:
    """Return whether a layer may drop shares by itself, as `MultiHeadAttention` does behind its softmax."""
    if any(op.kind == "softmax" and not set(op.outputs) & set(trace.outputs) for op in trace.ops):
        return True
    return any(word in f"{op.kind} {op.made_by}".lower() for op in trace.ops for word in DROP_WITHIN)


def _told(label: str, found: Mapping[str, float]) -> str:
    shown = [f"`{name}` {share:g}" for name, share in found.items()]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return f"{label} {', '.join(shown[:SHOWN]) or 'none'}{more}"


def _shares(trace: Trace) -> dict[str, float]:
    """Return the share that each dropout of a model drops, by its name."""
    found = {op.name: float(op.config.get("rate") or 0.0) for op in trace.ops if op.kind == DROPOUT}
    return {name: share for name, share in found.items() if share}
