"""study_roc.png: ROC curves with their range over seeds, and how far predicted probabilities can be believed."""

from __future__ import annotations

from typing import Any

from parity.report.findings import Row, data_label
from parity.report.plots.study_cells import (
    LINES,
    MARKERS,
    SPLIT_TITLES,
    curves,
    framework_handles,
    seeds_phrase,
    splits_of,
)
from parity.report.plots.style import COLOURS, FAINT, INK, legend_over_row, new_figure
from parity.report.record import Record


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without curves."""
    rows = [row for row in curves(record) if row.get("roc")]
    if not rows:
        return None
    return (
        "ROC curves (mean and range over seeds) and calibration (all seeds together; a larger mark is more images) on"
        f" test, each framework's own defaults, n = {seeds_phrase(rows)} ({data_label(record)})"
    )


def draw(record: Record) -> Any:
    """Draw one column per split, ROC above calibration."""
    rows = [row for row in curves(record) if row.get("roc")]
    splits = splits_of(rows)
    figure = new_figure(7.4)
    axes = figure.subplots(2, len(splits), squeeze=False, sharey="row")
    for column, split in enumerate(splits):
        for row in (row for row in rows if row["split"] == split):
            _roc(axes[0][column], row)
            _calibration(axes[1][column], row)
        for axis in axes[:, column]:
            axis.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0, linestyle=(0, (2, 2)), zorder=1)
            axis.set_xlim(-0.02, 1.02)
            axis.set_ylim(-0.02, 1.02)
            axis.set_aspect("equal")
        axes[0][column].set_xlabel("false positive rate")
        axes[1][column].set_xlabel("predicted probability of pneumonia")
    axes[0][0].set_ylabel("true positive rate")
    axes[1][0].set_ylabel("share that has pneumonia")
    legend_over_row(axes[0], [SPLIT_TITLES[split].capitalize() for split in splits], framework_handles(rows))
    return figure


def _roc(axis: Any, row: Row) -> None:
    roc, name = row["roc"], str(row["framework"])
    colour = COLOURS.get(name, INK)
    x = roc["false_positive_rate"]
    axis.fill_between(x, roc["lowest"], roc["highest"], color=colour, alpha=0.15, linewidth=0, zorder=2)
    axis.plot(x, roc["mean"], color=colour, **LINES.get(name, {}))


def _calibration(axis: Any, row: Row) -> None:
    bins, name = row.get("calibration") or [], str(row["framework"])
    x, y = ([float(found[key]) for found in bins] for key in ("predicted", "observed"))
    whole = sum(found["n"] for found in bins) or 1
    sizes = [12 + 160 * found["n"] / whole for found in bins]
    colour = COLOURS.get(name, INK)
    axis.plot(x, y, color=colour, **LINES.get(name, {}))
    axis.scatter(x, y, s=sizes, color=colour, marker=MARKERS.get(name, "o"), alpha=0.7, linewidths=0, zorder=4)
