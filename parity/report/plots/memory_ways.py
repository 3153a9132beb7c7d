"""memory_ways.png: peak memory against the number of images, both frameworks and both ways, with the floor."""

from __future__ import annotations

from typing import Any, Final

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.style import COLOURS, INK, legend_on_top, new_figure
from parity.report.record import Record, why_not_run

_GIB: Final = 2**30
_MARKS: Final = {"load": ("o", "-"), "stream": ("s", "--")}


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without a measured process."""
    rows = _rows(record)
    if not rows:
        return None
    sizes = " and ".join(dict.fromkeys("x".join(map(str, row["size"])) for row in rows))
    return f"Memory of loading and of streaming images of {sizes}, n = {len(rows)} processes ({data_label(record)})"


def _rows(record: Record) -> list[Row]:
    if why_not_run(record, "memory_ways") is not None:
        return []
    return [row for row in record["memory_ways"].get("rows") or [] if "error" not in row]


def draw(record: Record) -> Any:
    """Draw a panel per image size: a mark per process, the fitted lines, and one copy of the images as the floor."""
    rows = _rows(record)
    sizes = list(dict.fromkeys(tuple(row["size"]) for row in rows))
    figure = new_figure(4.6)
    axes = figure.subplots(1, len(sizes), squeeze=False)[0]
    for axis, size in zip(axes, sizes, strict=True):
        mine = [row for row in rows if tuple(row["size"]) == size]
        _panel(axis, mine, [fit for fit in record["memory_ways"].get("fits") or [] if tuple(fit["size"]) == size])
        name = "x".join(map(str, size))
        if size == sizes[0]:
            axis.set_ylabel("peak memory above import (GiB)")
            legend_on_top(axis, _handles(mine), title=f"Images of {name}", columns=3 if len(sizes) == 1 else 2)
        else:
            axis.set_title(f"Images of {name}")
    return figure


def _panel(axis: Any, rows: list[Row], fits: list[Row]) -> None:
    most = max(row["images"] for row in rows)
    for fit in fits:
        ends = [(fit["intercept"] + fit["slope"] * count) / _GIB for count in (0, most)]
        style = _MARKS[fit["way"]][1]
        axis.plot((0, most), ends, linestyle=style, color=COLOURS.get(fit["framework"], INK), linewidth=1.6, zorder=3)
    for row in rows:
        above = (row["peak_bytes"] - row["import_bytes"]) / _GIB
        look = {"marker": _MARKS[row["way"]][0], "color": COLOURS.get(row["framework"], INK)}
        axis.plot([row["images"]], [above], linestyle="", markersize=7, zorder=4, **look)
    floor = max(row["floor_bytes"] / row["images"] for row in rows)
    axis.fill_between((0, most), (0, 0), (0, floor * most / _GIB), color="#DDDDDD", zorder=1, linewidth=0)
    axis.set_xlim(0, most * 1.05)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("images")


def _handles(rows: list[Row]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    pairs = dict.fromkeys((row["framework"], row["way"]) for row in rows)
    found: list[Any] = [
        Line2D(
            [], [], color=COLOURS.get(framework, INK), marker=_MARKS[way][0], linestyle=_MARKS[way][1],
            label=f"{framework_name(framework)}, {way}",
        )
        for framework, way in pairs
    ]  # fmt: skip
    return [*found, Patch(facecolor="#DDDDDD", label="floor: the images once, as float32")]
