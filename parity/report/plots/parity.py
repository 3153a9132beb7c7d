"""parity.png: the share of its rounding bound that each layer and each gradient used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.findings import (
    Row,
    badness,
    data_label,
    forward_rows,
    framework_name,
    rank,
    side_share,
    step_rows,
    unique,
    worst,
)
from parity.report.plots.style import BAD, COLOURS, FAINT, INK, legend_above, new_figure
from parity.report.record import Record

_LAYERS_SHOWN: Final = 40
_LOWEST_SHARE: Final = 1e-6  # an error of zero is drawn here, at the edge of a logarithmic axis


def caption(record: Record) -> str | None:
    panels = panels_of(record)
    if not panels:
        return None
    which = " and ".join(_which(*panel) for panel in panels.items())
    compared = f"n = {sum(map(len, panels.values()))} forced comparisons"
    return f"Share of the float32 rounding bound used by {which}, {compared} ({data_label(record)})"


def draw(record: Record) -> Any:
    panels = panels_of(record)
    layers = {what: worst_layers(rows) for what, rows in panels.items()}
    shown = [
        share
        for what, rows in panels.items() for row in rows if str(row.get("tensor")) in layers[what]
        for share in _both(row)
    ] or [0.0]  # fmt: skip
    left = max(_LOWEST_SHARE, 0.4 * min((share for share in shown if share > 0), default=0.1))
    figure = new_figure(1.3 + sum(0.6 + 0.34 * len(names) for names in layers.values()))
    heights = [1.5 + len(names) for names in layers.values()]
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (what, rows) in zip(axes, panels.items(), strict=True):
        _parity_panel(axis, rows, layers[what], left)
        if len(panels) > 1:
            axis.set_title({"layer": "Forward", "gradient": "Gradients"}[what])
    axes[0].set_xlim(left, max(3.0, 2 * max(shown)))
    axes[0].xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    zero = "; at the left edge: no error at all" if 0.0 in shown else ""
    axes[-1].set_xlabel(f"float32 error as a share of its derived bound (log scale; further left is better{zero})")
    legend_above(axes[0], [_dot_handle(side) for side in COLOURS])
    return figure


def _parity_panel(axis: Any, rows: Sequence[Row], layers: Sequence[str], left: float) -> None:
    axis.set_xscale("log")
    for height, layer in enumerate(layers):
        of_layer = [row for row in rows if str(row.get("tensor")) == layer]
        for side, offset in (("tensorflow", -0.14), ("torch", 0.14)):
            _dots(axis, of_layer, side, height + offset, left)
        _verdict_mark(axis, worst(of_layer), height)
    axis.axvline(1, color=INK, linewidth=1.4)
    axis.set_ylim(len(layers) - 0.5, -0.7)
    axis.set_yticks(range(len(layers)), layers)
    axis.tick_params(axis="y", length=0)
    axis.annotate("bound", (1, -0.7), xytext=(4, -2), textcoords="offset points", va="top", fontsize=9)


def worst_layers(rows: Sequence[Row]) -> list[str]:
    """Give the layers to show in the network's order: all, or the worst when a page could not hold them."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get("tensor")), []).append(row)
    ranked = sorted(groups, key=lambda layer: badness(worst(groups[layer])), reverse=True)
    chosen = frozenset(ranked[:_LAYERS_SHOWN])
    return [layer for layer in groups if layer in chosen]


def _both(row: Row) -> list[float]:
    return [share for side in COLOURS if (share := side_share(row, side)) is not None]


def _dots(axis: Any, rows: Sequence[Row], side: str, height: float, left: float) -> None:
    """Draw every comparison of a layer faintly, and the worst of them in full."""
    shares = [share for row in rows if (share := side_share(row, side)) is not None]
    if not shares:
        return
    x = [max(share, left) for share in shares]
    style = {"color": COLOURS[side], "marker": "s" if side == "tensorflow" else "o", "linewidths": 0}
    axis.scatter(x, [height] * len(x), s=16, alpha=0.3, clip_on=False, zorder=3, **style)
    axis.scatter([max(x)], [height], s=46, clip_on=False, zorder=4, **style)


def _verdict_mark(axis: Any, row: Row, place: float) -> None:
    verdict = str(row.get("verdict"))
    bad = rank(verdict) > rank("rounding")
    axis.annotate(
        verdict, (1, place), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
        va="center", fontsize=9, color=BAD if bad else FAINT, weight="bold" if bad else "normal",
        annotation_clip=False,
    )  # fmt: skip


def _dot_handle(side: str) -> Any:
    from matplotlib.lines import Line2D

    marker = "s" if side == "tensorflow" else "o"
    label = f"{framework_name(side)} (worst in full, others faint)"
    return Line2D([], [], color=COLOURS[side], marker=marker, linestyle="", markersize=7, label=label)


def panels_of(record: Record) -> dict[str, list[Row]]:
    """Give the forced rows by panel, those without a figure too: a layer that was not compared must not vanish."""
    panels = {
        "layer": [row for row in forward_rows(record) if row.get("check") == "forced"],
        "gradient": [row for row in step_rows(record) if row.get("check") == "forced" and _is_gradient(row)],
    }
    return {what: rows for what, rows in panels.items() if any(_both(row) for row in rows)}


def _is_gradient(row: Row) -> bool:
    return str(row.get("stage")).endswith("gradient")


def _which(what: str, rows: Sequence[Row]) -> str:
    names = len(unique(row.get("tensor") for row in rows))
    return f"the {_LAYERS_SHOWN} worst of {names} {what}s" if names > _LAYERS_SHOWN else f"each {what}"
