"""The study's disagreements: how often the two frameworks' models decide differently, and on which images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, framework_name
from parity.report.record import Record
from parity.report.text import NONE, code, fixed, folded, integer, number, percent, prose, table

_SAID: Final = {
    "more": "two frameworks disagree more often than two seeds of one framework",
    "less": "two frameworks disagree less often than two seeds of one framework",
    "undecided": "two frameworks are not shown to disagree more or less often than two seeds of one framework",
}


def render(record: Record, label: str) -> list[str]:
    """Show the rates beside their yardstick, the gallery, and the images that seeds disagree on most."""
    found = record["study"].get("disagreement") or {}
    arms = found.get("arms") or []
    if not arms:
        return []
    parts = [_rates(found, arms, label), *plots.references(record, "study_gallery.png")]
    most = sum(len(arm["images"]) for arm in arms)
    if most:
        shown = {(row["arm"], row["file"]): place for place, row in enumerate(found.get("gallery") or [], start=1)}
        summary = f"The {most} images on which seeds disagree most" if most > 1 else "The image on which seeds disagree"
        parts.append(folded(summary, _images(arms, shown)))
    return parts


def _rates(found: Row, arms: Sequence[Row], label: str) -> str:
    names = [str(row["framework"]) for row in arms[0]["within"]]
    lines = [
        (
            prose(arm["arm"]), integer(len(arm["seeds"])), _share(arm["between"]), *map(_share, arm["within"]),
            _signed(arm["excess"]), _spread(arm["per_seed"]), integer(arm.get("in_some_seed")),
            integer(arm.get("in_most_seeds")),
        )
        for arm in arms
    ]  # fmt: skip
    header = (
        "arm", "seeds", "TensorFlow / PyTorch, same seed", *(f"two seeds of {framework_name(name)}" for name in names),
        "excess in points", "images per seed", "images in any seed", "images in most seeds",
    )  # fmt: skip
    by_decision: dict[str, list[str]] = {}
    for arm in arms:
        by_decision.setdefault(_SAID.get(arm["decision"], _SAID["undecided"]), []).append(code(arm["arm"]))
    said = "; ".join(
        f"in the arm{'s' * (len(found_in) > 1)} {' and '.join(found_in)} {words}"
        for words, found_in in by_decision.items()
    )
    title = (
        f"**How often two models decide differently** (share of the {integer(found['n'])} official test images at a"
        " probability of 0.5, with 95 % intervals over seeds; the excess is the share between frameworks less the mean"
        " of the two others, in percentage points: none where the framework does not matter and each model is drawn"
        f" for itself, less where both frameworks share a start; {label})"
    )
    return f"{title}\n\n{table(header, lines, '<>>>>>>>>')}\n\n{said[0].upper()}{said[1:]}."


def _share(found: Row) -> str:
    mean, low, high = (number(found.get(key)) for key in ("mean", "low", "high"))
    if mean is None:
        return NONE
    if low is None or high is None or low == high:  # no spread at all: an interval would claim to be sure
        return percent(mean)
    return f"{percent(mean)} ({percent(max(low, 0.0))} to {percent(min(high, 1.0))})"


def _signed(found: Row) -> str:
    mean, low, high = (number(found.get(key)) for key in ("mean", "low", "high"))
    if mean is None:
        return NONE
    shown = f"{100 * mean:+.1f}"
    return shown if low is None or high is None or low == high else f"{shown} ({100 * low:+.1f} to {100 * high:+.1f})"


def _spread(counts: Sequence[Any]) -> str:
    low, high = min(counts), max(counts)
    return integer(low) if low == high else f"{integer(low)} to {integer(high)}"


def _images(arms: Sequence[Row], shown: dict[tuple[Any, Any], int]) -> str:
    names = [str(row["framework"]) for row in arms[0]["within"]]
    lines = [
        (
            prose(arm["arm"]), integer(shown.get((arm["arm"], image["file"]))), code(image["file"]),
            prose(image["class"]), f"{integer(image['seeds'])} of {len(arm['seeds'])}",
            *(fixed(image["probability"].get(name), 3) for name in names),
        )
        for arm in arms for image in arm["images"]
    ]  # fmt: skip
    header = (
        "arm", "in the picture", "file", "class", "seeds that disagree",
        *(f"{framework_name(name)}, mean probability" for name in names),
    )  # fmt: skip
    return table(header, lines, "<><<>>>")
