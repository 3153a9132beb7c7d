"""loss_comparison.png: loss and accuracy of both frameworks, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.style import framework_colour, legend_above, new_figure
from parity.report.record import Record, why_not_run
from parity.report.text import integer, number


def caption(record: Record) -> str | None:
    runs = _curves(record)
    if not runs:
        return None
    epochs = max(len(run["epochs"]) for run in runs)
    after = f"{epochs} epoch{'s' * (epochs != 1)}"
    return f"Loss and accuracy over {after}, {_image_counts(record)}, one seed ({data_label(record)})"


def draw(record: Record) -> Any:
    runs = _curves(record)
    figure = new_figure(4.6)
    axes = figure.subplots(1, 2)
    for axis, (train, held_out), title in zip(
        axes, (("loss", "val_loss"), ("accuracy", "val_accuracy")), ("Loss", "Accuracy"), strict=True
    ):
        ends = []
        for order, run in enumerate(runs):
            ends += [_curve(axis, run, train, order, held_out=False)]
            ends += [_curve(axis, run, held_out, order, held_out=True)]
        axis.set_title(title)
        axis.set_xlabel("epoch")
        _whole_epochs(axis, runs)
        if title == "Loss":  # from zero, so that a small difference does not look like a large one
            axis.set_ylim(0, 1.08 * axis.dataLim.y1 or 1.0)
        _label_ends(axis, [end for end in ends if end is not None])
    axes[0].set_ylabel("loss (mean per image)")
    axes[1].set_ylabel("accuracy (fraction of 1)")
    _framework_legend(axes[0], [str(run["framework"]) for run in runs])
    return figure


def _curve(axis: Any, run: Row, key: str, order: int, *, held_out: bool) -> tuple[float, float, str] | None:
    points = [
        (float(epoch["epoch"]), value) for epoch in run["epochs"] if (value := number(epoch.get(key))) is not None
    ]
    if not points:
        return None
    colour = framework_colour(str(run["framework"]))
    # Equal models give curves on top of one another: the first is broad and pale, later ones thin and dark.
    broad = order == 0
    x, y = zip(*points, strict=True)
    axis.plot(
        x, y, color=colour, linewidth=5.0 if broad else 1.6, alpha=0.45 if broad else 1.0,
        linestyle="--" if held_out else "-", marker="s" if broad else "o", markersize=9 if broad else 5,
        markerfacecolor="white" if held_out else colour, markeredgecolor=colour, markeredgewidth=1.6,
        dash_capstyle="butt", solid_capstyle="round", zorder=2 + order,
    )  # fmt: skip
    return x[-1], y[-1], "validation" if held_out else "training"


def _label_ends(axis: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write each kind of curve's name at its end, spread where they would overlap."""
    if not ends:
        return
    low, high = axis.get_ylim()
    gap, right = (high - low) * 0.065, max(x for x, *_ in ends)
    heights: dict[str, list[float]] = {}
    for _, y, kind in ends:
        heights.setdefault(kind, []).append(y)
    last = float("-inf")
    for y, kind in sorted((sum(found) / len(found), kind) for kind, found in heights.items()):
        last = max(y, last + gap)
        axis.annotate(
            kind, (right, last), xytext=(10, 0), textcoords="offset points", va="center", annotation_clip=False,
        )  # fmt: skip


def _whole_epochs(axis: Any, runs: Sequence[Row]) -> None:
    numbers = sorted({float(epoch["epoch"]) for run in runs for epoch in run["epochs"]})
    step = max(1, len(numbers) // 8)
    axis.set_xticks(numbers[::step])
    axis.set_xticklabels([f"{x:g}" for x in numbers[::step]])
    axis.set_xlim(numbers[0] - 0.3, numbers[-1] + 0.3)


def _framework_legend(axis: Any, frameworks: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=framework_colour(name),
            linewidth=5.0 if order == 0 else 1.6, alpha=0.45 if order == 0 else 1.0,
            marker="s" if order == 0 else "o", markersize=9 if order == 0 else 5, label=framework_name(name),
        )
        for order, name in enumerate(frameworks)
    ]  # fmt: skip
    legend_above(axis, handles)


def _curves(record: Record) -> list[Row]:
    if why_not_run(record, "training") is not None:
        return []
    return [run for run in record["training"].get("runs") or [] if run.get("epochs")]


def _image_counts(record: Record) -> str:
    text = f"n = {integer(record['training'].get('train_images'))} training images"
    if why_not_run(record, "data") is None and (record["data"].get("counts") or {}).get("val"):
        text += f", {integer(sum(record['data']['counts']['val'].values()))} validation images"
    return text
