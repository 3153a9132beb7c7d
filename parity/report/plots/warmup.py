"""warmup.png: how each lane came to its steady step, one small panel per lane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import data_label
from parity.report.plots.style import BAD, INK, lane_colour, new_figure, one_line, plain_log_ticks
from parity.report.record import Record, why_not_run
from parity.report.timings import LATENCY, Lane, median, numbers, own_lanes

_COLUMNS: Final = 4
_WORKS: Final = ("train", "evaluate")
_HIGHEST: Final = 20.0  # a first sample of a compiling lane may be thousands of times the steady step
_NARROW: Final = 2.0  # up to here the coarse ticks would be a single one
_STEPS: Final = (1, 2, 5)
_FINE_STEPS: Final = (1, 1.1, 1.25, 1.5, 8, 9)


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without warm-up samples."""
    shown = _shown(record)
    if not shown:
        return None
    n = sum(len(_curve(row)) for lane in shown for row in lane.warmups)
    works = " and ".join(dict.fromkeys(lane.work for lane in shown))
    return (
        f"Warm-up before the clock, {one_line(works)}, one line per process over its own steady median (dashed),"
        f" n = {n} samples ({data_label(record)})"
    )


def draw(record: Record) -> Any:
    """Draw every process's warm-up as a share of its own steady median: it should have come down to 1."""
    shown = _shown(record)
    rows = math.ceil(len(shown) / _COLUMNS)
    columns = min(_COLUMNS, len(shown))
    figure = new_figure(1.5 + 1.35 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    top = min(max([1.5, *(1.1 * max(_curve(row)) for lane in shown for row in lane.warmups)]), _HIGHEST)
    for index, axis in enumerate(axes.flat):
        if index >= len(shown):
            axis.set_visible(False)
            continue
        _panel(axis, record, shown[index], top)
    for axis in axes[:, 0]:
        axis.set_ylabel("× steady", fontsize=9)
    for index in range(max(0, len(shown) - columns), len(shown)):  # the lowest panel of each column
        axes.flat[index].set_xlabel("warm-up sample", fontsize=9)
    return figure


def _shown(record: Record) -> list[Lane]:
    """Give each lane once, with the first of the works that it has warm-up samples of."""
    if why_not_run(record, "benchmarks") is not None:
        return []
    found: dict[str, Lane] = {}
    measured = [lane for lane in own_lanes(record) if lane.work != LATENCY and not lane.refused]
    for lane in sorted(measured, key=lambda lane: lane.work not in _WORKS[:1]):
        if any(_curve(row) for row in lane.warmups):
            found.setdefault(lane.lane, lane)
    order = list(dict.fromkeys(lane.lane for lane in measured))
    return sorted(found.values(), key=lambda lane: order.index(lane.lane))


def _curve(row: Any) -> list[float]:
    steady = median(row.get("seconds") or [])
    return [time / steady for time in numbers(row.get("warmup_seconds") or [])] if steady else []


def _panel(axis: Any, record: Record, lane: Lane, top: float) -> None:
    colour = lane_colour(record, lane.lane)
    axis.set_yscale("log")
    axis.set_ylim(0.75, top)
    plain_log_ticks(axis.yaxis, steps=_STEPS if top > _NARROW else _FINE_STEPS)
    for row in lane.warmups:
        curve = _curve(row)
        marker = "o" if len(curve) <= 5 else ""
        axis.plot(range(1, len(curve) + 1), curve, color=colour, alpha=0.55, linewidth=1.0, marker=marker, markersize=3)
        high = [(x, y) for x, y in enumerate(curve, start=1) if y > top]
        if high:  # cut off, and said so
            axis.plot([x for x, _ in high], [top] * len(high), marker="^", color=colour, linestyle="", markersize=4,
                      clip_on=False)  # fmt: skip
    axis.axhline(1, color=INK, linewidth=0.9, linestyle="--")
    axis.set_title(one_line(lane.lane, 27), fontsize=9)
    axis.tick_params(labelsize=8)
    _outcome(axis, lane.warmups)


def _outcome(axis: Any, rows: Sequence[Any]) -> None:
    known = [row for row in rows if row.get("warmup_settled") is not None]
    if not known:
        return
    settled = sum(bool(row["warmup_settled"]) for row in known)
    axis.annotate(
        f"{settled} of {len(known)} settled", (0.97, 0.93), xycoords="axes fraction", ha="right", va="top", fontsize=8,
        color=INK if settled == len(known) else BAD,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
    )  # fmt: skip
