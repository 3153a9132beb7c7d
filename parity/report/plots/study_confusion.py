"""study_confusion.png: what each framework's models say of healthy and of ill patients, by split."""

from __future__ import annotations

from typing import Any, Final

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.study_cells import SPLIT_TITLES, curves, seeds_phrase, splits_of
from parity.report.plots.style import COLOURS, INK, new_figure
from parity.report.record import Record

_CLASSES: Final = ("NORMAL", "PNEUMONIA")


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a confusion matrix."""
    rows = _rows(record)
    if not rows:
        return None
    return (
        "Confusion matrices on test at a probability of 0.5, all seeds together, each framework's own defaults,"
        f" n = {seeds_phrase(rows)} ({data_label(record)})"
    )


def _rows(record: Record) -> list[Row]:
    return [row for row in curves(record) if row.get("confusion") and row.get("framework") in COLOURS]


def draw(record: Record) -> Any:
    """Draw one matrix per framework and split, shaded by the share of each true class."""
    rows = _rows(record)
    splits = splits_of(rows)
    frameworks = list(dict.fromkeys(str(row["framework"]) for row in rows))
    figure = new_figure(1.4 + 2.6 * len(frameworks))
    axes = figure.subplots(len(frameworks), len(splits), squeeze=False)
    for line, framework in enumerate(frameworks):
        for column, split in enumerate(splits):
            cell = [row for row in rows if (row["framework"], row["split"]) == (framework, split)]
            _matrix(axes[line][column], cell, framework)
            axes[line][column].set_title(f"{framework_name(framework)}, {SPLIT_TITLES[split]}", fontsize=9.5)
        axes[line][0].set_ylabel("what is")
    for axis in axes[-1]:
        axis.set_xlabel("what the model says")
    return figure


def _matrix(axis: Any, cell: list[Row], framework: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axis.grid(visible=False)
    axis.set_xticks((0, 1), _CLASSES, fontsize=9)
    axis.set_yticks((0, 1), _CLASSES, fontsize=9, rotation=90, va="center")
    axis.tick_params(length=0)
    if not cell:
        return
    counts = cell[0]["confusion"]
    shares = [[value / (sum(row) or 1) for value in row] for row in counts]
    shades = LinearSegmentedColormap.from_list("share", ["#FFFFFF", COLOURS[framework]])
    axis.imshow(shares, vmin=0, vmax=1, cmap=shades, aspect="auto", zorder=1)
    for i in (0, 1):
        for j in (0, 1):
            axis.text(
                j, i, f"{100 * shares[i][j]:.1f} %\n{counts[i][j]:,}", ha="center", va="center", fontsize=10,
                color="white" if shares[i][j] > 0.6 else INK, zorder=3,
            )  # fmt: skip
