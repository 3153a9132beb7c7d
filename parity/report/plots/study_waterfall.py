"""study_waterfall.png: what moves the test accuracy of each framework, one change at a time, and all at once."""

from __future__ import annotations

from typing import Any, Final

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.study_cells import study
from parity.report.plots.style import BAD, COLOURS, FAINT, INK, new_figure
from parity.report.record import Record
from parity.report.text import number

_UP: Final = "#009E73"
_INTERACTION: Final = "interaction"


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a waterfall."""
    found = study(record)
    if found is None or not found.get("waterfalls") or not found.get("gap"):
        return None
    seeds = "/".join(str(count) for count in dict.fromkeys(fall["seeds"] for fall in found["waterfalls"]))
    return (
        "What moves test accuracy, one change at a time from each framework's default recipe, and what is left over,"
        f" n = {seeds} seed{'s' * (seeds != '1')} ({data_label(record)})"
    )


def draw(record: Record) -> Any:
    """Draw one panel per framework: bars from the default recipe to all changes, with 95 % intervals over seeds."""
    found = record["study"]
    falls = found["waterfalls"]
    bars = {fall["framework"]: [row for row in found["gap"] if row["framework"] == fall["framework"]] for fall in falls}
    longest = max(len(rows) for rows in bars.values())
    figure = new_figure(2.1 + 0.36 * (longest + 2))
    axes = figure.subplots(1, len(falls), squeeze=False, sharey=True, sharex=True)[0]
    published = {row["framework"]: float(row["accuracy"]) for row in found.get("published") or []}
    limits = _limits(falls, bars, list(published.values()))
    for axis, fall in zip(axes, falls, strict=True):
        _panel(axis, fall, bars[fall["framework"]], published.get(fall["framework"]), limits)
    axes[0].set_xlim(*limits)
    # Not the figure's own label: the source of the data stands there.
    axes[0].set_xlabel(
        "test accuracy (fraction of 1); lines: 95 % t intervals over seeds, of a change at its end; arrows: it goes on",
        loc="left",
    )
    return figure


def _panel(axis: Any, fall: Row, rows: list[Row], published: float | None, limits: tuple[float, float]) -> None:
    start, end, colour = fall["start"], fall["end"], COLOURS.get(fall["framework"], INK)
    at = float(start["mean"])
    _point(axis, 0, start, limits, colour)
    for height, row in enumerate(rows, start=1):
        change = float(row["change"])
        left_over = row["factor"] == _INTERACTION
        axis.barh(
            height, change, left=at, height=0.56, color="white" if left_over else _UP if change >= 0 else BAD,
            edgecolor=FAINT if left_over else "none", hatch="////" if left_over else None, zorder=3,
            alpha=1.0 if left_over else 0.85,
        )  # fmt: skip
        axis.plot([at, at], [height - 0.72, height + 0.28], color=FAINT, linewidth=0.8, zorder=2)
        _line(axis, height, (at, row.get("low"), row.get("high")), limits, color=INK, linewidth=1.2)
        at += change
        _figure_at_the_right(axis, height, f"{change:+.3f}")
    axis.plot([at, at], [len(rows) + 0.28, len(rows) + 1], color=FAINT, linewidth=0.8, zorder=2)
    _point(axis, len(rows) + 1, end, limits, colour)
    names = ["default recipe", *(_label(str(row["factor"])) for row in rows), "everything changed"]
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(names) - 0.4, -0.9)
    axis.grid(visible=False, axis="y")
    axis.set_title(framework_name(fall["framework"]))
    axis.axvline(1.0, color=FAINT, linewidth=1.0, zorder=1)  # no accuracy lies beyond; a sum of single changes may
    if published is not None:
        axis.axvline(published, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        low, high = limits
        side = -1 if published > (low + high) / 2 else 1
        axis.annotate(
            f"published {published:g}", (published, -0.9), xytext=(4 * side, -2), textcoords="offset points",
            fontsize=9, ha="right" if side < 0 else "left", va="top", zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
        )  # fmt: skip


def _label(factor: str) -> str:
    return "interaction, left over" if factor == _INTERACTION else factor


def _point(axis: Any, height: float, estimate: Row, limits: tuple[float, float], colour: str) -> None:
    mean = float(estimate["mean"])
    _line(axis, height, (0.0, estimate.get("low"), estimate.get("high")), limits, color=colour, linewidth=2.0)
    axis.scatter([mean], [height], s=64, color=colour, zorder=5)
    _figure_at_the_right(axis, height, f"{mean:.3f}", weight="bold", color=colour)


def _figure_at_the_right(axis: Any, height: float, text: str, **style: Any) -> None:
    axis.annotate(
        text, (1, height), xycoords=("axes fraction", "data"), xytext=(38, 0), textcoords="offset points",
        ha="right", va="center", fontsize=9, annotation_clip=False, **style,
    )  # fmt: skip


def _line(axis: Any, height: float, ends: tuple[float, Any, Any], limits: tuple[float, float], **style: Any) -> None:
    """Draw an interval, its ends counted from the first number, with an arrow where it goes on beyond the axis."""
    at, *found = ends
    low, high = (number(end) for end in found)
    if low is None or high is None:
        return
    shown = max(at + low, limits[0]), min(at + high, limits[1])
    axis.plot(shown, [height, height], zorder=4, **style)
    inside = 0.012 * (limits[1] - limits[0])
    for end, whole, marker, move in zip(shown, (at + low, at + high), "<>", (inside, -inside), strict=True):
        if end != whole:
            axis.plot([end + move], [height], marker=marker, markersize=6, zorder=6, **style)


def _limits(falls: list[Row], bars: dict[str, list[Row]], published: list[float]) -> tuple[float, float]:
    """Give the part of the axis that holds all bars and what is published; wide intervals are cut off at its ends."""
    seen = list(published)
    for fall in falls:
        at = float(fall["start"]["mean"])
        seen += [at, float(fall["end"]["mean"])]
        for row in bars[fall["framework"]]:
            at += float(row["change"])
            seen.append(at)
    low, high = min(seen), max(seen)
    pad = 0.08 * max(high - low, 0.05)
    return low - pad, high + pad
