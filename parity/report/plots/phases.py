"""phases.png: where the time of a training step goes, lane by lane."""

from __future__ import annotations

from typing import Any, Final

from parity.report.findings import data_label
from parity.report.phases import PHASES, Apart, taken_apart
from parity.report.plots.style import INK, legend_on_top, new_figure, one_line
from parity.report.record import Record
from parity.report.text import milliseconds

_COLOURS: Final = {
    "input_s": "#F0E442",
    "forward_s": "#56B4E9",
    "backward_s": "#0072B2",
    "optimizer_s": "#E69F00",
    "host_read_s": "#CC79A7",
    "rest_s": "#C9C9C9",
}


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without phases."""
    shown = _shown(record)
    if not shown:
        return None
    steps = sum(row.steps for row in shown)
    return f"A training step taken apart, n = {steps} steps in all, medians ({data_label(record)})"


def _shown(record: Record) -> list[Apart]:
    found = [row for row in taken_apart(record) if row.within or row.step_s is not None]
    return sorted(found, key=_whole)


def _whole(row: Apart) -> float:
    return row.step_s if row.step_s is not None else sum(row.phases[name] for name in row.within)


def draw(record: Record) -> Any:
    """Draw one stacked bar per lane, the fastest first, and a mark where the timed step ends."""
    shown = _shown(record)
    figure = new_figure(1.5 + 0.32 * len(shown))
    axis = figure.subplots()
    right = 0.0
    for place, row in enumerate(shown):
        right = max(right, _bar(axis, row, place))
    axis.set_xlim(0, 1.02 * right)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.set_yticks(range(len(shown)), [one_line(row.lane) for row in shown])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("milliseconds per training step")
    legend_on_top(axis, _legend(shown))
    return figure


def _bar(axis: Any, row: Apart, place: int) -> float:
    """Draw one lane and give where its bar ends, milliseconds."""
    left = 0.0
    rest = row.rest_s if row.within else row.step_s
    parts = {**{name: row.phases[name] for name in row.within}, **({"rest_s": rest} if rest and rest > 0 else {})}
    for name, length in parts.items():
        axis.barh(place, 1000 * length, left=left, height=0.68, color=_COLOURS[name], edgecolor="white", linewidth=0.5)
        left += 1000 * length
    end = left
    if row.step_s is not None:
        step = 1000 * row.step_s
        axis.vlines(step, place - 0.42, place + 0.42, color=INK, linewidth=2.2, zorder=4)
        end = max(left, step)
        axis.annotate(
            milliseconds(row.step_s), (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
    return end


def _legend(shown: list[Apart]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    used = {name for row in shown for name in row.within}
    handles: list[Any] = [Patch(facecolor=_COLOURS[name], label=PHASES[name]) for name in PHASES if name in used]
    handles.append(Patch(facecolor=_COLOURS["rest_s"], label="not explained by a phase"))
    handles.append(Line2D([], [], color=INK, linewidth=2.2, marker="|", linestyle="", markersize=11,
                          markeredgewidth=2.2, label="step as timed"))  # fmt: skip
    return handles
