"""sweep.png: images per second against the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.findings import data_label, unique
from parity.report.plots.style import lane_colour, new_figure, one_line, plain_log_ticks
from parity.report.record import Record, why_not_run
from parity.report.timings import IMAGE, LATENCY, Lane, lanes, own_setting

_MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES: Final = ("-", "--", ":", "-.")


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None where no lane was timed at two batches."""
    shown = _shown(record)
    if not shown:
        return None
    steps = sum(lane.stats.n for lane in shown)
    return f"Images per second against the batch, n = {steps} samples in all, median steps ({data_label(record)})"


def _shown(record: Record) -> list[Lane]:
    """Give the settings of the lanes that were timed at more than one batch, at the run's own image size."""
    if why_not_run(record, "benchmarks") is not None:
        return []
    own = own_setting(record)
    usable = [
        lane for lane in lanes(record)
        if lane.work != LATENCY and not lane.refused and lane.setting["batch"] is not None
        and all(lane.setting[name] == own.get(name) for name in IMAGE) and (lane.images_per_s or 0) > 0
    ]  # fmt: skip
    batches: dict[tuple[str, str], set[int]] = {}
    for lane in usable:
        batches.setdefault((lane.work, lane.lane), set()).add(lane.setting["batch"] or 0)
    return [lane for lane in usable if len(batches[lane.work, lane.lane]) > 1]


def draw(record: Record) -> Any:
    """Draw a panel per work and a curve per lane, each named at its right end."""
    shown = _shown(record)
    works = unique(lane.work for lane in shown)
    figure = new_figure(4.6 if len(works) < 3 else 4.2 * ((len(works) + 1) // 2))
    axes = list(figure.subplots((len(works) + 1) // 2, min(2, len(works)), squeeze=False).flat)
    looks = _looks(shown)
    for axis, work in zip(axes, works, strict=False):
        _panel(axis, record, [lane for lane in shown if lane.work == work], looks)
        axis.set_title(f"{one_line(work).capitalize()} step")
    for axis in axes[len(works) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("images per second (log scale)")
    return figure


def _looks(shown: Sequence[Lane]) -> Mapping[str, tuple[str, str]]:
    """Give each kind of lane a marker and a dash of its own: colour tells only the framework."""
    kinds = unique(lane.kind for lane in shown)
    return {kind: (_MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]) for i, kind in enumerate(kinds)}


def _panel(axis: Any, record: Record, shown: Sequence[Lane], looks: Mapping[str, tuple[str, str]]) -> None:
    curves: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for lane in shown:
        where = (lane.lane, str(lane.kind), str(lane.conditions))
        curves.setdefault(where, []).append((lane.setting["batch"] or 0, lane.images_per_s or 0.0))
    ends = []
    for (name, kind, _), points in curves.items():
        x, y = zip(*sorted(points), strict=True)
        marker, dash = looks[kind]
        colour = lane_colour(record, name)
        axis.plot(x, y, color=colour, marker=marker, linestyle=dash, linewidth=1.8, markersize=6, alpha=0.9)
        ends.append((y[-1], name, colour))
    axis.set_xscale("log")
    axis.set_yscale("log")
    plain_log_ticks(axis.yaxis)
    batches = sorted({batch for points in curves.values() for batch, _ in points})
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.minorticks_off()
    axis.set_xlabel("batch (log scale)")
    _name_ends(axis, ends)


def _name_ends(axis: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each lane's name beside the panel at the height of its last point, spread where names would touch."""
    import math

    low, high = (math.log(limit) for limit in axis.get_ylim())
    gap = 0.052
    places = sorted(((math.log(value) - low) / (high - low), name, colour) for value, name, colour in ends)
    heights: list[float] = []
    for height, _, _ in places:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    over = max(0.0, heights[-1] - 1.0) if heights else 0.0
    for height, (real, name, colour) in zip(heights, places, strict=True):
        axis.annotate(
            one_line(name, 26), (1, real), xycoords="axes fraction", xytext=(1.05, height - over),
            textcoords="axes fraction", va="center", fontsize=8.5, color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.4, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
