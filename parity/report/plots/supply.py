"""supply.png: how fast each source delivers images, against how fast the lanes eat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.findings import Row, data_label
from parity.report.plots.style import INK, lane_colour, legend_on_top, new_figure, one_line, plain_log_ticks
from parity.report.record import Record, why_not_run
from parity.report.timings import LATENCY, framework_of, impossible_lanes, lanes, median, numbers, own_setting

_STAGES: Final = {"decode": "#BFD9EA", "resize": "#56B4E9", "supply": "#0072B2"}
_STAGE_NAMES: Final = {"decode": "decode alone", "resize": "decode and resize", "supply": "delivered to the consumer"}
_STARVED: Final = "starves the fastest lane"


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a measured source."""
    rows = _rows(record)
    if not rows:
        return None
    images = sorted({int(row["images"]) for row in rows if row.get("images")})
    spread = " to ".join(f"{count:,}" for count in dict.fromkeys((images[0], images[-1]))) if images else ""
    n = f"n = {spread} images" if images else f"n = {len(rows)} sources"
    return f"Image supply against the demand of training, {n} ({data_label(record)})"


def _rows(record: Record) -> list[Row]:
    if why_not_run(record, "benchmarks") is not None:
        return []
    supply = record["benchmarks"].get("supply")
    rows = supply.get("rows") or [] if isinstance(supply, Mapping) else []
    return [row for row in rows if row.get("usable", True) and (median(row.get("images_per_s") or []) or 0) > 0]


def draw(record: Record) -> Any:
    """Draw a bar per source and stage on a logarithmic axis, with the range of what the lanes ask for."""
    rows = _rows(record)
    demand = _demand(record)
    figure = new_figure(2.2 + 0.3 * len(rows))
    axis = figure.subplots()
    axis.set_xscale("log")
    rates = [rate for row in rows for rate in numbers(row["images_per_s"])]
    ends = [*rates, *demand.values()]
    left, right = min(ends) / 1.8, max(ends) * 1.3
    axis.set_xlim(left, right)
    plain_log_ticks(axis.xaxis, steps=(1, 2, 5) if right / left < 300 else (1,))
    wanted = max(demand.values(), default=None)
    for place, row in enumerate(rows):
        _bar(axis, row, place, left, wanted)
    if demand:
        _demand_lines(axis, record, demand)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("images per second (log scale; bar: median, line: lowest to highest; hatched: " + _STARVED + ")")
    legend_on_top(axis, _legend(rows, record, demand), columns=3)
    return figure


def _demand(record: Record) -> dict[str, float]:
    """Give what each lane asks for at the run's own batch, in images per second."""
    batch, impossible = own_setting(record).get("batch"), impossible_lanes(record)
    rows = record["benchmarks"]["supply"].get("demand") or []
    return {
        str(row["lane"]): rate for row in rows
        if row.get("batch", batch) == batch and (rate := number_above_zero(row)) and str(row["lane"]) not in impossible
    }  # fmt: skip


def number_above_zero(row: Row) -> float | None:
    """Give a row's images per second where they can be drawn on a logarithmic axis."""
    found = median([row.get("images_per_s")])
    return found if found is not None and found > 0 else None


def _bar(axis: Any, row: Row, place: int, left: float, wanted: float | None) -> None:
    rates = numbers(row["images_per_s"])
    middle = median(rates) or left
    stage = str(row.get("stage"))
    starved = wanted is not None and stage == "supply" and middle < wanted
    axis.barh(
        place, middle - left, left=left, height=0.66, color=_STAGES.get(stage, "#C9C9C9"), zorder=2,
        hatch="///" if starved else None, edgecolor="white", linewidth=0,
    )  # fmt: skip
    if len(rates) > 1:
        axis.hlines(place, min(rates), max(rates), color=INK, linewidth=1.2, zorder=3)
    axis.annotate(
        f"{middle:,.0f}", (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
        va="center", fontsize=9, annotation_clip=False,
    )  # fmt: skip


def _demand_lines(axis: Any, record: Record, demand: Mapping[str, float]) -> None:
    axis.axvspan(min(demand.values()), max(demand.values()), color="#8A8A8A", alpha=0.18, zorder=1, linewidth=0)
    for lane in _named(record, demand):
        style = "-" if framework_of(record, lane) == "torch" else "--"
        axis.axvline(demand[lane], color=lane_colour(record, lane), linewidth=2.0, linestyle=style, zorder=4)


def _named(record: Record, demand: Mapping[str, float]) -> list[str]:
    """Give the lanes whose demand is drawn as a line: those of kind `step`, else the hungriest."""
    steps = {lane.lane for lane in lanes(record) if lane.kind == "step" and lane.work != LATENCY}
    again = str((record["benchmarks"].get("aa_check") or {}).get("again"))
    chosen = [lane for lane in demand if lane in steps and lane != again]
    return chosen[:4] or [max(demand, key=lambda lane: demand[lane])]


def _name(row: Row) -> str:
    parts = [one_line(row.get("source"), 26)]
    if row.get("stage") == "supply":
        workers = row.get("workers")
        if not str(row.get("source")).startswith("cache-") and workers is not None:
            parts.append(f"{workers} worker{'s' * (workers != 1)}")
        parts += [str(row["order"])] if row.get("order") else []
    else:
        parts.append(one_line(row.get("stage"), 12))
    return ", ".join(parts)


def _legend(rows: Sequence[Row], record: Record, demand: Mapping[str, float]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    stages = dict.fromkeys(str(row.get("stage")) for row in rows)
    handles: list[Any] = [
        Patch(facecolor=_STAGES.get(stage, "#C9C9C9"), label=_STAGE_NAMES.get(stage, one_line(stage)))
        for stage in stages
    ]
    if demand:
        handles.append(Patch(facecolor="#8A8A8A", alpha=0.3, label="range of all lanes' demand"))
        for lane in _named(record, demand):
            style = "-" if framework_of(record, lane) == "torch" else "--"
            label = f"{one_line(lane, 28)} asks for {demand[lane]:,.0f}"
            handles.append(Line2D([], [], color=lane_colour(record, lane), linewidth=2.0, linestyle=style, label=label))
    return handles
