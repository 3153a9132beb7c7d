"""study_seeds.png: test accuracy of every seed by split, in both arms, with the published figures."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.study_cells import (
    ARM_TITLES,
    MARKERS,
    SPLIT_TITLES,
    framework_handles,
    seeds_phrase,
    splits_of,
    study,
)
from parity.report.plots.style import COLOURS, legend_over_row, new_figure
from parity.report.record import Record
from parity.report.text import number


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without runs."""
    rows = _rows(record)
    if not rows:
        return None
    cells = Counter((row.get("framework"), row.get("arm"), row.get("split")) for row in rows)
    counts = [{"seeds": count} for count in cells.values()]
    return f"Test accuracy of each seed by split, n = {seeds_phrase(counts)} in each cell ({data_label(record)})"


def _rows(record: Record) -> list[Row]:
    found = study(record)
    runs = [] if found is None else found.get("runs") or []
    return [row for row in runs if row.get("changed") is None and number(row.get("accuracy")) is not None]


def draw(record: Record) -> Any:
    """Draw one panel per arm: a dot per seed, a bar at the mean; published accuracies as lines in the own arm."""
    rows = _rows(record)
    arms = [arm for arm in ARM_TITLES if any(row["arm"] == arm for row in rows)]
    splits = splits_of(rows)
    figure = new_figure(4.6)
    axes = figure.subplots(1, len(arms), squeeze=False, sharey=True)[0]
    for axis, arm in zip(axes, arms, strict=True):
        for place, split in enumerate(splits):
            for side, framework in enumerate(COLOURS):
                cell = [
                    float(row["accuracy"]) for row in rows
                    if (row["arm"], row["split"], row["framework"]) == (arm, split, framework)
                ]  # fmt: skip
                _strip(axis, place + (-0.17, 0.17)[side], cell, framework)
        axis.set_xticks(range(len(splits)), [textwrap.fill(SPLIT_TITLES[split], 14) for split in splits])
        axis.tick_params(axis="x", length=0)
        axis.grid(visible=False, axis="x")
        axis.set_xlim(-0.5, len(splits) - 0.5)
    _published(axes[-1], record["study"])
    axes[0].set_ylabel("test accuracy (fraction of 1)")
    titles = [ARM_TITLES[arm].capitalize() for arm in arms]
    legend_over_row(axes, titles, framework_handles(rows, linestyle="", alpha=1.0))
    return figure


def _strip(axis: Any, x: float, values: list[float], framework: str) -> None:
    if not values:
        return
    # A fixed weave instead of random jitter: the same record must give the same picture.
    places = [x + 0.16 * ((index * 0.618034) % 1 - 0.5) for index in range(len(values))]
    style = {"color": COLOURS[framework], "marker": MARKERS[framework], "linewidths": 0}
    axis.scatter(places, values, s=30, alpha=0.6, zorder=3, **style)
    mean = sum(values) / len(values)
    axis.hlines(mean, x - 0.13, x + 0.13, color=COLOURS[framework], linewidth=2.4, zorder=4)


def _published(axis: Any, found: Row) -> None:
    for framework, accuracy in {row["framework"]: row["accuracy"] for row in found.get("published") or []}.items():
        colour = COLOURS.get(str(framework), "black")
        axis.axhline(float(accuracy), color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axis.annotate(
            f"published,\n{framework_name(framework)}:\n{accuracy:g}", (1, float(accuracy)),
            xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9,
            color=colour, annotation_clip=False,
        )  # fmt: skip
