"""ratios.png: every headline ratio with its interval, beside the margin and what this machine calls a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from parity.report.claims import headlines, kind_of, settled
from parity.report.findings import data_label, framework_name, no_winner_reason, unique
from parity.report.plots.style import COLOURS, FAINT, INK, legend_on_top, new_figure, one_line, plain_log_ticks
from parity.report.record import Record, why_not_run
from parity.report.text import factor, factor_interval, number
from parity.report.timings import framework_of, is_own, own_setting
from parity.stats import DEFAULT_MARGIN

_EQUAL: Final = "#009E73"
_WIDEST: Final = 16.0  # a ratio or interval beyond this is cut off, with an arrow: it says no more than "unknown"
_TICKS: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class _Line:
    """One ratio, turned so that above 1 torch is faster wherever it is one of the two."""

    title: str
    lanes: str
    value: float
    low: float | None
    high: float | None
    colour: str
    solid: bool
    said: str


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a headline ratio."""
    ratios = _drawable(record)
    if not ratios:
        return None
    counts = sorted({int(number(row.get("blocks")) or 0) for row in ratios})
    blocks = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    against = no_winner_reason(record)
    warning = f". No winner is named, because {against}" if against else ""
    return f"Speed of lanes of equal kind, n = {blocks} blocks, 95 % intervals ({data_label(record)}){warning}"


def _drawable(record: Record) -> list[Any]:
    if why_not_run(record, "benchmarks") is not None:
        return []
    return [row for row in headlines(record) if (number(row.get("ratio")) or 0) > 0]


def draw(record: Record) -> Any:
    """Draw one panel per work, the step lanes first."""
    ratios = _drawable(record)
    works = unique(row["work"] for row in ratios)
    panels = [[_line(row, record) for row in ratios if str(row["work"]) == work] for work in works]
    figure = new_figure(1.7 + 0.5 * len(works) + 0.46 * len(ratios))
    axes = figure.subplots(
        len(works), 1, squeeze=False, sharex=True, height_ratios=[len(lines) + 0.8 for lines in panels]
    )[:, 0]
    reach = _reach([line for lines in panels for line in lines])
    for axis, work, lines in zip(axes, works, panels, strict=True):
        axis.set_xscale("log")
        axis.set_xlim(1 / reach, reach)
        _bands(axis, record, work)
        for place, line in enumerate(lines):
            _forest(axis, line, place, reach)
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.set_yticks(range(len(lines)), [f"{line.title}\n{line.lanes}" for line in lines], fontsize=9)
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False, axis="y")
        axis.set_title(one_line(work))
    _ticks(axes[-1].xaxis, reach)
    axes[-1].set_xlabel("←  TensorFlow faster        ratio of times (log scale)        PyTorch faster  →")
    legend_on_top(axes[0], _legend(record), title=axes[0].get_title(loc="left"))
    return figure


def _line(row: Any, record: Record) -> _Line:
    value, low, high = number(row["ratio"]) or 1.0, number(row.get("low")), number(row.get("high"))
    a, b = str(row["a"]), str(row["b"])
    if framework_of(record, a) != "torch" and framework_of(record, b) == "torch":
        a, b, value = b, a, 1 / value
        low, high = (1 / high if high else None), (1 / low if low else None)
    sure = settled(row, record) and no_winner_reason(record) is None
    faster = framework_of(record, a if value > 1 else b)
    if not sure:
        colour, said = FAINT, "no winner"
    elif row["decision"] == "within margin":
        colour, said = _EQUAL, "equally fast"
    else:
        colour, said = COLOURS.get(faster, INK), f"{framework_name(faster)} faster"
    spread = "" if low is None else f" ({factor_interval(low, high, 2)})"
    lanes = f"{one_line(a, 28)} against {one_line(b, 28)}"
    return _Line(one_line(kind_of(row)), lanes, value, low, high, colour, sure, f"{factor(value, 2)}{spread}  {said}")


def _reach(lines: Sequence[_Line]) -> float:
    """Give the factor up to which the axis reaches on both sides of 1."""
    ends = [end for line in lines for end in (line.value, line.low, line.high) if end]
    widest = max([max(end, 1 / end) for end in ends] + [1.2])
    return float(min(1.08 * widest, _WIDEST))


def _bands(axis: Any, record: Record, work: str) -> None:
    axis.axvspan(1 / (1 + DEFAULT_MARGIN), 1 + DEFAULT_MARGIN, color="#EDEDED", zorder=0, linewidth=0)
    low, high = _aa(record, work)
    if low is not None and high is not None:
        axis.axvspan(low, high, facecolor="#F0E442", alpha=0.45, zorder=0.5, linewidth=0)
    axis.axvline(1, color=INK, linewidth=1.3, zorder=2)


def _aa(record: Record, work: str) -> tuple[float | None, float | None]:
    """Give the A/A interval of a work at the run's own setting."""
    check = record["benchmarks"].get("aa_check") or {}
    own = own_setting(record)
    for row in check.get("settings") or []:
        if str(row.get("work")) == work and is_own(row, own):
            return number(row.get("low")), number(row.get("high"))
    return None, None


def _forest(axis: Any, line: _Line, place: int, reach: float) -> None:
    inside = min(max(line.value, 1 / reach), reach)
    if line.low is not None and line.high is not None:
        left, right = max(line.low, 1 / reach), min(line.high, reach)
        axis.hlines(place, left, right, color=line.colour, linewidth=2.6, zorder=3)
        for end, edge, mark in ((line.low, left, "<"), (line.high, right, ">")):
            if end != edge:  # the interval goes on beyond the axis
                axis.plot([edge], [place], marker=mark, color=line.colour, markersize=8, clip_on=False, zorder=4)
    face = line.colour if line.solid else "white"
    axis.plot(
        [inside], [place], marker="D" if line.solid else "o", markersize=8, markerfacecolor=face,
        markeredgecolor=line.colour, markeredgewidth=1.8, linestyle="", zorder=5, clip_on=False,
    )  # fmt: skip
    axis.annotate(
        line.said, (1, place), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
        va="center", fontsize=9, color=INK if line.solid else FAINT, annotation_clip=False,
    )  # fmt: skip


def _ticks(axis: Any, reach: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if reach >= _WIDEST:
        plain_log_ticks(axis)
        return
    shown = [tick for tick in _TICKS if 1 / reach <= tick <= reach]
    if reach > 2:  # the fine ones would touch
        shown = [tick for tick in shown if tick not in (0.7, 0.8, 0.9, 1.1, 1.25, 1.5)]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _legend(record: Record) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], marker="D", markersize=7, label="settled", color=INK, linestyle=""),
        Line2D([], [], marker="o", markersize=7, markerfacecolor="white", label="no winner", color=FAINT, linestyle=""),
        Patch(facecolor="#E2E2E2", label=f"margin of {100 * DEFAULT_MARGIN:.0f} %"),
    ]
    if record["benchmarks"].get("aa_check"):
        handles.append(Patch(facecolor="#F0E442", alpha=0.6, label="A/A: one lane against itself"))
    return handles
