"""roofline.png: how near each lane comes to the least time that this machine allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import data_label, unique
from parity.report.plots.style import (
    FAINT,
    INK,
    lane_colour,
    lane_legend,
    legend_on_top,
    new_figure,
    one_line,
    plain_log_ticks,
)
from parity.report.record import Record, why_not_run
from parity.report.text import percent
from parity.report.timings import LATENCY, Lane, own_lanes

_LOWEST: Final = 1e-5


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a floor."""
    shown = _shown(record)
    if not shown:
        return None
    steps = sum(lane.stats.n for lane in shown)
    return f"Share of what this machine allows, by lane, n = {steps} samples in all ({data_label(record)})"


def _shown(record: Record) -> list[Lane]:
    if why_not_run(record, "benchmarks") is not None:
        return []
    return [lane for lane in own_lanes(record) if (lane.roof_share or 0) > 0 and not lane.refused]


def draw(record: Record) -> Any:
    """Draw a dot per lane on a logarithmic axis up to 100 %, and a ring for its share of the roofline."""
    shown = _shown(record)
    works = unique(lane.work for lane in shown)
    panels = [sorted((lane for lane in shown if lane.work == work), key=_share, reverse=True) for work in works]
    figure = new_figure(1.5 + 0.65 * len(works) + 0.25 * len(shown))
    axes = figure.subplots(
        len(works), 1, squeeze=False, sharex=True, height_ratios=[len(lanes) + 1.2 for lanes in panels]
    )[:, 0]
    shares = [share for lane in shown for share in (lane.roof_share, lane.roofline_share) if share]
    left = max(_LOWEST, 0.6 * min(shares))
    for axis, work, of_work in zip(axes, works, panels, strict=True):
        axis.set_xscale("log")
        axis.set_xlim(left, max(1.25, 1.2 * max(shares)))
        _panel(axis, record, of_work, left)
        axis.set_title("One image" if work == LATENCY else f"{one_line(work).capitalize()} step")
    plain_log_ticks(axes[-1].xaxis, steps=(1, 2, 5) if left > 0.003 else (1,))
    axes[-1].xaxis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")
    axes[-1].set_xlabel("share of a step's time (log scale; dot: floor, which nothing passes; ring: roofline)")
    handles = lane_legend(record, [lane.lane for lane in shown])
    legend_on_top(axes[0], handles, title=axes[0].get_title(loc="left"))
    return figure


def _share(lane: Lane) -> float:
    return lane.roof_share or 0.0


def _panel(axis: Any, record: Record, lanes: Sequence[Lane], left: float) -> None:
    for place, lane in enumerate(lanes):
        colour = lane_colour(record, lane.lane)
        axis.hlines(place, left, _share(lane), color=colour, linewidth=1.6, alpha=0.6, zorder=2)
        axis.plot([_share(lane)], [place], marker="o", color=colour, markersize=7, zorder=4)
        if lane.roofline_share:
            axis.plot([lane.roofline_share], [place], marker="o", markerfacecolor="white", markeredgecolor=colour,
                      markeredgewidth=1.5, markersize=7, zorder=3)  # fmt: skip
        axis.annotate(
            percent(lane.roof_share), (1, place), xycoords=("axes fraction", "data"), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
    axis.axvline(1, color=INK, linewidth=1.5)
    axis.set_ylim(len(lanes) - 0.4, -0.6)
    axis.set_yticks(range(len(lanes)), [one_line(lane.lane) for lane in lanes])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.annotate(
        "floor", (1, -0.6), xytext=(-3, -2), textcoords="offset points", va="top", ha="right", fontsize=9, color=FAINT
    )
