"""What the pictures of the study share: its cells, their names, and the axis of a fraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import Row, framework_name
from parity.report.plots.style import COLOURS
from parity.report.record import Record, why_not_run
from parity.report.text import number

SPLITS: Final = ("official", "random", "patient")
SPLIT_TITLES: Final = {
    "official": "official test", "random": "random part of train", "patient": "part of train by patient",
}  # fmt: skip
ARM_TITLES: Final = {"shared": "same weights, same batches", "own": "each framework's own defaults"}
MARKERS: Final = {"tensorflow": "s", "torch": "o"}
# Equal models give curves on top of one another: the first is broad and pale, the second thin and dark.
LINES: Final = {
    "tensorflow": {"linewidth": 4.5, "alpha": 0.45, "zorder": 3.0},
    "torch": {"linewidth": 1.6, "alpha": 1.0, "zorder": 4.0},
}  # fmt: skip


def study(record: Record) -> Row | None:
    """Give the section when it ran."""
    if why_not_run(record, "study") is not None:
        return None
    found: Row = record["study"]
    return found


def curves(record: Record, arm: str = "own") -> list[Row]:
    """Give the curves of one arm, in recorded order."""
    found = study(record)
    return [] if found is None else [row for row in found.get("curves") or [] if row.get("arm") == arm]


def splits_of(rows: Sequence[Row]) -> list[str]:
    """Give the splits that rows belong to, in the order in which they are always shown."""
    present = {str(row.get("split")) for row in rows}
    return [split for split in SPLITS if split in present]


def seeds_phrase(rows: Sequence[Row]) -> str:
    """Say how many seeds the rows are over."""
    counts = sorted({int(row["seeds"]) for row in rows})
    text = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{text} seed{'s' * (text != '1')}"


def framework_handles(rows: Sequence[Row], **style: Any) -> list[Any]:
    """Give one handle of the legend for each framework among the rows."""
    from matplotlib.lines import Line2D

    names = dict.fromkeys(str(row.get("framework")) for row in rows)
    return [
        Line2D(
            [], [], color=COLOURS[name], marker=MARKERS[name], label=framework_name(name),
            **{"markersize": 7 if name == "tensorflow" else 5, **LINES[name], **style},
        )
        for name in names if name in COLOURS
    ]  # fmt: skip


def band(rows: Sequence[Row], key: str) -> tuple[list[float], list[float], list[float]]:
    """Give mean, lower and upper end of a figure along rows; where there is no interval the mean thrice."""
    means = [float(row[key]["mean"]) for row in rows]
    ends = [
        [mean if (value := number(row[key].get(end))) is None else value for row, mean in zip(rows, means, strict=True)]
        for end in ("low", "high")
    ]
    return means, ends[0], ends[1]
