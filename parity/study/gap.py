"""What a gap in test accuracy is made of: one change at a time, each with its interval, and what they do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.errors import UsageError
from parity.study.inference import COARSE_SEEDS, Estimate, mean_interval, paired_difference

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
    difference: Estimate,
    decision: str,
    splits: Mapping[str, Estimate],
    names: Mapping[str, str],
    *,
    margin: float,
    balanced: Mapping[str, Estimate] | None = None,
    patients: tuple[float, float] | None = None,
    failed: int = 0,
) -> str:
    """Return the answer to the published claim in one sentence, by rule.

    `difference`: TensorFlow less PyTorch on the official split with the frameworks' own defaults; `decision`: that of
    `equivalence` on the same figures; `splits`, `balanced`: framework -> how far a random split moves its accuracy and
    its balanced accuracy, which the share of the larger class does not move; `names`: framework -> name to print;
    `patients`: interval of the difference over patients; `failed`: how many trainings are missing.

    The split is named as what moves accuracy only if, in both frameworks, the lower end of its interval exceeds
    whatever the framework may still do by its own interval; the framework, if it is not shown to do nothing, its
    interval leaves 0 out and exceeds whatever the split may do; else neither is. What is named is held against the
    published gap: its direction, its size, and whether it is more than another share of the larger class.
    """
    seeds = f"{difference.n} seed{'s' * (difference.n != 1)}"
    missing = f", {failed} training{'s' * (failed != 1)} failed and left out" if failed else ""
    moved = _each(splits, names)
    if balanced:
        moved += f", and balanced accuracy by {_each(balanced, names)}"
    over = "" if patients is None else f", {patients[0]:+.3f} to {patients[1]:+.3f} over patients"
    return (
        f"With their own defaults on the official split, TensorFlow and PyTorch"
        f" {_verdict(decision, margin, patients)} in test accuracy"
        f" (TensorFlow less PyTorch: {_signed(difference)} over {seeds}{over}{missing}); testing on a random part of"
        f" train instead moves it by {moved}, where the published gap is {PUBLISHED_GAP:+.3f}:"
        f" {_conclusion(difference, decision, list(splits.values()), list((balanced or {}).values()))}."
    )


def _each(found: Mapping[str, Estimate], names: Mapping[str, str]) -> str:
    return " and ".join(f"{_signed(change)} in {names[framework]}" for framework, change in found.items())


def _verdict(decision: str, margin: float, patients: tuple[float, float] | None) -> str:
    """Say what is shown of the frameworks, and whether of these test images alone or of other patients as well."""
    alone = ""
    if patients is not None:
        low, high = patients
        holds = -margin < low and high < margin if decision == "equivalent" else low > 0.0 or high < 0.0
        alone = "" if holds else " on these images, if not surely on others,"
    return {
        "equivalent": f"are equivalent within {margin:g}{alone}",
        "different": f"differ{alone}",
        "undecided": f"are neither shown to differ nor to be equivalent within {margin:g}",
    }[decision]


def _conclusion(difference: Estimate, decision: str, splits: Sequence[Estimate], balanced: Sequence[Estimate]) -> str:
    ends = [(found.low, found.high) for found in (difference, *splits)]
    if any(low is None for low, _ in ends):
        return "one seed settles nothing"
    if difference.n < COARSE_SEEDS and any(low == high for low, high in ends):
        return "so few seeds that agree to the last image settle nothing"
    low, high = difference.low or 0.0, difference.high or 0.0
    framework_least = min(abs(low), abs(high)) if shows(difference) and decision != "equivalent" else 0.0
    split_least = min(split.low for split in splits if split.low is not None)
    split_most = max(abs(end) for split in splits for end in (split.low, split.high) if end is not None)
    if split_least > max(abs(low), abs(high)):
        reach = f"the split moves accuracy more than the framework can, by {_share(splits)} of that gap"
        if any(found.low is None or found.low <= 0.0 for found in balanced):
            reach += ", though not shown to move balanced accuracy: it may be the share of the larger class alone"
        return reach
    if framework_least > split_most:
        if difference.mean < 0.0:
            return "the framework moves accuracy more than the split can, but the other way round"
        return f"the framework moves accuracy more than the split can, by {_share([difference])} of that gap"
    return "neither the split nor the framework is shown to be what it is made of"


def _share(found: Sequence[Estimate]) -> str:
    shares = sorted({round(100 * change.mean / PUBLISHED_GAP) for change in found})
    return f"{shares[0]} %" if len(shares) == 1 else f"{shares[0]} to {shares[-1]} %"


def _signed(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
