"""trajectory.png: how far the weights of the two frameworks part in training."""

from __future__ import annotations

from typing import Any

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.style import BAD, COLOURS, INK, OTHER_COLOURS, new_figure
from parity.report.record import Record, why_not_run
from parity.report.text import integer, number, small


def caption(record: Record) -> str | None:
    found = _trajectory(record)
    if found is None:
        return None
    return (
        f"Distance of the weights in training, n = {integer(found['steps'])} steps,"
        f" {integer(found.get('draws'))} one-ulp draws per framework ({data_label(record)})"
    )


def draw(record: Record) -> Any:
    found = record["trajectory"]
    figure = new_figure(4.8)
    axis = figure.subplots()
    axis.set_yscale("log")
    handles = [_self_band(axis, found, side) for side in COLOURS]
    handles += [
        _distance_curve(axis, found.get(key), label, **style)
        for key, label, style in (
            ("distance", "TensorFlow to PyTorch, float32", {"color": INK, "linewidth": 2.2, "zorder": 5}),
            (
                "twin_by_step", "TensorFlow to PyTorch, float64 twins",
                {"color": OTHER_COLOURS[0], "linewidth": 1.6, "linestyle": "--", "zorder": 4},
            ),
        )
    ]  # fmt: skip
    horizon = number(found.get("horizon"))
    if horizon is not None:
        axis.axvline(horizon, color=BAD, linewidth=1.6, zorder=6)
        where = f" in {found['horizon_tensor']}" if found.get("horizon_tensor") else ""
        axis.annotate(
            f"parts at step {horizon:.0f}{where}", (horizon, 0.02), xycoords=("data", "axes fraction"),
            xytext=(5, 0), textcoords="offset points", color=BAD, weight="bold", va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}, zorder=7,
            ha="left" if horizon < 0.7 * float(found["steps"]) else "right",
        )  # fmt: skip
    axis.set_xlim(0, 1.01 * float(found["steps"]))
    axis.set_xlabel("training step")
    axis.set_ylabel("distance of the weights, fraction (log scale)")
    axis.yaxis.set_major_formatter(lambda value, _: small(value).replace(".0e", "e"))
    axis.legend(
        handles=[handle for handle in handles if handle is not None], loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
        borderaxespad=0.2, fontsize=9, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _self_band(axis: Any, found: Row, side: str) -> Any:
    """Fill a framework's band from its nearest draw up to the edge, the draws as faint lines within it."""
    from matplotlib.patches import Patch

    colour, edge = COLOURS[side], _floats(found.get(f"band_{side}"))
    draws = [_floats(draw) for draw in found.get(f"self_{side}") or []]
    for draw in draws:
        axis.plot(range(1, len(draw) + 1), draw, color=colour, linewidth=0.6, alpha=0.45, zorder=3)
    whole = [values for values in draws if len(values) == len(edge)]
    low = [min(column) for column in zip(*whole, strict=True)] if whole else [value / 10 for value in edge]
    steps = range(1, len(edge) + 1)
    axis.fill_between(steps, low, edge, color=colour, alpha=0.16, linewidth=0, zorder=1)
    axis.plot(steps, edge, color=colour, linewidth=1.2, alpha=0.9, zorder=2)
    label = f"{framework_name(side)} to itself, weights nudged by one ulp"
    return Patch(facecolor=colour, alpha=0.4, edgecolor=colour, label=label)


def _distance_curve(axis: Any, values: Any, label: str, **style: Any) -> Any:
    if not values:
        return None
    numbers = _floats(values)
    return axis.plot(range(1, len(numbers) + 1), numbers, label=label, **style)[0]


def _floats(values: Any) -> list[float]:
    """Give numbers that a logarithmic axis can show: what is missing or zero leaves a gap."""
    return [value if (value := number(entry)) else float("nan") for entry in values or []]


def _trajectory(record: Record) -> Row | None:
    """Give the section when it has a curve to draw."""
    if why_not_run(record, "trajectory") is not None:
        return None
    found: Row = record["trajectory"]
    return found if any(number(value) for value in found.get("distance") or []) else None
