"""What a gap in test accuracy is made of: one change at a time, each with its interval, and what they do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.errors import UsageError
from parity.study.inference import Estimate, mean_interval, paired_difference

PUBLISHED: Mapping[str, float] = {"tensorflow": 0.98, "torch": 0.7228}
"""Test accuracies that a published comparison reports for this network on this data set (DESIGN, section 1)."""

PUBLISHED_GAP = PUBLISHED["tensorflow"] - PUBLISHED["torch"]


@dataclass(frozen=True)
class Waterfall:
    """From a default recipe to one with every factor changed, over `seeds`; all figures are fractions of accuracy.

    `start` and `end`: accuracy of the two. `changes`: factor -> how far that change alone moves the accuracy, seed by
    seed. `interaction`: what is left of the way from start to end when all single changes are taken off it, seed by
    seed: none in a world where changes add up.
    """

    start: Estimate
    changes: Mapping[str, Estimate]
    interaction: Estimate
    end: Estimate
    seeds: int


def waterfall(start: Sequence[float], alone: Mapping[str, Sequence[float]], everything: Sequence[float]) -> Waterfall:
    """Return the waterfall of accuracies, entry i of every sequence belonging to one seed.

    `start`: of the default recipe; `alone`: factor -> with that factor changed; `everything`: with all of them changed.

    Raises
        UsageError: no factor, or sequences of unequal lengths.
    """
    if not alone:
        raise UsageError("a waterfall needs a factor")
    changes = {name: paired_difference(values, start) for name, values in alone.items()}
    together = [end - begin for end, begin in zip(everything, start, strict=True)]
    added = [sum(values[i] - start[i] for values in alone.values()) for i in range(len(start))]
    return Waterfall(
        mean_interval(start), changes, paired_difference(together, added), mean_interval(everything), len(start)
    )


def gap_rows(framework: str, found: Waterfall) -> list[dict[str, Any]]:
    """Return the waterfall as rows of the record: each factor, then the interaction."""
    bars = {**found.changes, "interaction": found.interaction}
    return [
        {"framework": framework, "factor": name, "change": bar.mean, "low": bar.low, "high": bar.high, "n": bar.n}
        for name, bar in bars.items()
    ]


def shows(found: Estimate) -> bool:
    """Tell whether an interval leaves 0 out; never for one seed."""
    return found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)


def answer(
    difference: Estimate, decision: str, splits: Mapping[str, Estimate], names: Mapping[str, str], *, margin: float
) -> str:
    """Return the answer to the published claim in one sentence, by rule.

    `difference`: TensorFlow less PyTorch on the official split with the frameworks' own defaults; `decision`: that of
    `equivalence` on the same figures; `splits`: framework -> how far a random split moves its accuracy; `names`:
    framework -> name to print. The split is named as what the gap is made of only if, in both frameworks, the lower end
    of its interval exceeds whatever the framework may still do by its own interval; the framework, if its interval
    leaves 0 out and exceeds whatever the split may do; else neither is.
    """
    seeds = f"{difference.n} seed{'s' * (difference.n != 1)}"
    first = {
        "equivalent": f"are equivalent within {margin:g}",
        "different": "differ",
        "undecided": f"are neither shown to differ nor to be equivalent within {margin:g}",
    }[decision]
    moved = " and ".join(f"{_signed(change)} in {names[framework]}" for framework, change in splits.items())
    return (
        f"With their own defaults on the official split, TensorFlow and PyTorch {first} in test accuracy"
        f" (TensorFlow less PyTorch: {_signed(difference)} over {seeds}); testing on a random part of train instead"
        f" moves it by {moved}, where the published gap is {PUBLISHED_GAP:+.3f}:"
        f" {_conclusion(difference, list(splits.values()))}."
    )


def _conclusion(difference: Estimate, splits: Sequence[Estimate]) -> str:
    if difference.low is None or difference.high is None or any(split.low is None for split in splits):
        return "one seed settles nothing"
    framework_most = max(abs(difference.low), abs(difference.high))
    framework_least = min(abs(difference.low), abs(difference.high)) if shows(difference) else 0.0
    split_least = min(split.low for split in splits if split.low is not None)
    split_most = max(abs(end) for split in splits for end in (split.low, split.high) if end is not None)
    if split_least > framework_most:
        return "the split moves accuracy more than the framework can"
    if framework_least > split_most:
        return "the framework moves accuracy more than the split can"
    return "neither the split nor the framework is shown to be what it is made of"


def _signed(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
