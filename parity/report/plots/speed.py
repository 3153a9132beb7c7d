"""speed.png: the time of a step, lane by lane, the fastest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import data_label, no_winner_reason, unique
from parity.report.plots.style import (
    INK,
    lane_colour,
    lane_legend,
    legend_on_top,
    new_figure,
    one_line,
    plain_log_ticks,
)
from parity.report.record import Record
from parity.report.text import NONE, milliseconds
from parity.report.timings import LATENCY, Lane, own_lanes

_LOG_FROM: Final = 6.0  # slowest over fastest, from which a linear axis would crush the fast lanes


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None when no lane may be shown."""
    measured = drawable(record)
    if not measured:
        return None
    steps = sum(lane.stats.n for lane in measured)
    blocks = max(lane.blocks for lane in measured)
    processes = f" in {blocks} blocks" if blocks > 1 else ""
    against = no_winner_reason(record)
    warning = f". No winner is named, because {against}" if against else ""
    return f"Time per step of each lane, n = {steps} samples in all{processes} ({data_label(record)}){warning}"


def drawable(record: Record) -> list[Lane]:
    """Give the lanes at the run's own setting that do not beat the machine's limit."""
    return [] if "benchmarks" not in record else [lane for lane in own_lanes(record) if not lane.refused]


def draw(record: Record) -> Any:
    """Draw one panel per work: a dot per process, or per sample where there is one process only, and the median."""
    measured = drawable(record)
    works = unique(lane.work for lane in measured)
    counts = [sum(lane.work == work for lane in measured) for work in works]
    figure = new_figure(1.4 + 0.7 * len(works) + 0.27 * len(measured))
    axes = figure.subplots(len(works), 1, squeeze=False, height_ratios=[count + 1.2 for count in counts])
    for axis, work in zip(axes[:, 0], works, strict=True):
        _panel(axis, record, [lane for lane in measured if lane.work == work], work)
    handles = lane_legend(record, [lane.lane for lane in measured])
    legend_on_top(axes[0, 0], handles, title=axes[0, 0].get_title(loc="left"))
    dots = "one process's median" if any(lane.blocks > 1 for lane in measured) else "one sample"
    axes[-1, 0].set_xlabel(f"milliseconds per step (dot: {dots}; bar: median of all samples; left is faster)")
    return figure


def _panel(axis: Any, record: Record, of_work: Sequence[Lane], work: str) -> None:
    ranked = sorted(of_work, key=lambda lane: lane.stats.median)
    everything = [time for lane in ranked for time in _points(lane)]
    low, high = min(everything), max(everything)
    if low > 0 and high / low > _LOG_FROM:
        axis.set_xscale("log")
        axis.set_xlim(1000 * low / 1.15, 1000 * high * 1.15)
        plain_log_ticks(axis.xaxis)
    else:
        axis.set_xlim(0, 1050 * high)
    for place, lane in enumerate(ranked):
        _strip(axis, lane, place, lane_colour(record, lane.lane))
    axis.set_ylim(len(ranked) - 0.4, -0.6)
    axis.set_yticks(range(len(ranked)), [one_line(lane.lane) for lane in ranked])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    what = "One image" if work == LATENCY else f"{work.capitalize()} step"
    axis.set_title(f"{one_line(what)}: {_setting(ranked)}")


def _points(lane: Lane) -> list[float]:
    return lane.block_medians_s if lane.blocks > 1 else lane.step_s


def _setting(of_work: Sequence[Lane]) -> str:
    """Name what the lanes of a panel share; what differs stands in the table."""
    parts = []
    batches = unique(lane.setting["batch"] for lane in of_work)
    images = unique(lane.image for lane in of_work)
    parts += [f"batch {batches[0]}"] if len(batches) == 1 and batches[0] != "None" else []
    parts += [images[0]] if len(images) == 1 and images[0] != NONE else []
    for key, form in (("device", "{}"), ("threads", "{} threads")):
        values = unique(lane.conditions[key] for lane in of_work)
        if len(values) == 1 and values[0] != NONE:
            parts.append(form.format(values[0]))
    return ", ".join(parts) or "settings in the table"


def _strip(axis: Any, lane: Lane, place: float, colour: str) -> None:
    times = [1000 * time for time in _points(lane)]
    # A fixed weave instead of random jitter: the same record must give the same picture.
    heights = [place + 0.4 * ((index * 0.618034) % 1 - 0.5) for index in range(len(times))]
    axis.scatter(times, heights, s=16, color=colour, alpha=0.5, linewidths=0, zorder=3)
    middle = 1000 * lane.stats.median
    axis.vlines(middle, place - 0.34, place + 0.34, color=colour, linewidth=2.8, zorder=4)
    rate = f", {lane.images_per_s:,.0f} images/s" if lane.images_per_s is not None else ""
    axis.annotate(
        f"{milliseconds(lane.stats.median)}{rate}, n = {lane.stats.n}", (1, place), xycoords=("axes fraction", "data"),
        xytext=(6, 0), textcoords="offset points", va="center", fontsize=9, color=INK, annotation_clip=False,
    )  # fmt: skip
