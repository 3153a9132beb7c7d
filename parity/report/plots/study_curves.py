"""study_curves.png: loss and accuracy epoch by epoch, with bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import Row, data_label
from parity.report.plots.study_cells import (
    LINES,
    MARKERS,
    SPLIT_TITLES,
    band,
    curves,
    framework_handles,
    seeds_phrase,
    splits_of,
)
from parity.report.plots.style import COLOURS, INK, legend_over_row, new_figure
from parity.report.record import Record

_LOOKS: Final = {
    "loss": (("loss", "-", "training"), ("test_loss", "--", "test")),
    "accuracy (fraction of 1)": (("val_accuracy", ":", "validation"), ("test_accuracy", "--", "test")),
}

_BAND_SEEDS: Final = 3  # the t band of two seeds is wider than any axis


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without curves."""
    rows = [row for row in curves(record) if row.get("learning")]
    if not rows:
        return None
    banded = max(int(row["seeds"]) for row in rows) >= _BAND_SEEDS
    over = "mean and 95 % t band over" if banded else "mean over"
    return f"Learning curves with each framework's own defaults, {over} n = {seeds_phrase(rows)} ({data_label(record)})"


def draw(record: Record) -> Any:
    """Draw one column per split, loss above accuracy."""
    rows = [row for row in curves(record) if row.get("learning")]
    splits = splits_of(rows)
    figure = new_figure(6.4)
    axes = figure.subplots(2, len(splits), squeeze=False, sharex=True, sharey="row")
    for line, (title, figures) in enumerate(_LOOKS.items()):
        for axis, split in zip(axes[line], splits, strict=True):
            for row in rows:
                if row["split"] == split:
                    _lines(axis, row, figures)
            _limit(axis, [row for row in rows if row["split"] in splits], figures)
        axes[line][0].set_ylabel(title)
    for axis in axes[1]:
        axis.set_xlabel("epoch")
        _whole_numbers(axis, len(rows[0]["learning"]))
    titles = [SPLIT_TITLES[split].capitalize() for split in splits]
    legend_over_row(axes[0], titles, [*framework_handles(rows), *_line_handles()])
    return figure


def _lines(axis: Any, row: Row, figures: Sequence[tuple[str, str, str]]) -> None:
    learning, name = row["learning"], str(row["framework"])
    colour = COLOURS.get(name, INK)
    x = [float(epoch["epoch"]) for epoch in learning]
    for key, dashes, _ in figures:
        mean, low, high = band(learning, key)
        if int(row["seeds"]) >= _BAND_SEEDS:
            axis.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)
        mark = MARKERS.get(name) if len(x) <= 20 else None
        size = 6 if name == "tensorflow" else 3.5
        axis.plot(x, mean, color=colour, linestyle=dashes, marker=mark, markersize=size, **LINES.get(name, {}))


def _limit(axis: Any, rows: Sequence[Row], figures: Sequence[tuple[str, str, str]]) -> None:
    """Show all means with room around them; a band of two seeds may be wider than any axis."""
    means = [value for row in rows for key, *_ in figures for value in band(row["learning"], key)[0]]
    low, high = min(means), max(means)
    pad = 0.35 * max(high - low, 0.02)
    axis.set_ylim(max(0.0, low - pad), high + pad if "loss" in figures[0][0] else min(1.02, high + pad))


def _whole_numbers(axis: Any, epochs: int) -> None:
    step = max(1, epochs // 6)
    axis.set_xticks(range(1, epochs + 1, step))
    axis.set_xlim(0.7, epochs + 0.3)


def _line_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    looks = {name: dashes for figures in _LOOKS.values() for _, dashes, name in figures}
    return [Line2D([], [], color=INK, linestyle=dashes, linewidth=1.8, label=name) for name, dashes in looks.items()]
