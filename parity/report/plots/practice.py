"""practice.png: losses and learning rates of both frameworks, epoch by epoch, with where each one stopped."""

from __future__ import annotations

from typing import Any

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.style import framework_colour, legend_on_top, new_figure
from parity.report.record import Record, why_not_run
from parity.report.text import integer


def caption(record: Record) -> str | None:
    runs = _runs(record)
    if not runs:
        return None
    plan = record["practice"]["plan"]
    ends = ", ".join(
        f"{framework_name(run['framework'])} "
        + (f"stopped after epoch {run['stopped_epoch']}" if run.get("stopped_epoch") else "trained to the end")
        for run in runs
    )
    return (
        f"Training with augmentation, class weights and a learning rate that falls at need: {ends},"
        f" n = {integer(plan['images'])}"
        f" training and {integer(plan['held_out_images'])} held-out images, one seed ({data_label(record)})"
    )


def draw(record: Record) -> Any:
    runs = _runs(record)
    figure = new_figure(4.4)
    axes = figure.subplots(1, 3)
    for axis, key, title in zip(
        axes,
        ("loss", "val_loss", "learning_rate"),
        ("Training loss", "Validation loss", "Learning rate"),
        strict=True,
    ):
        for order, run in enumerate(runs):
            _curve(axis, run, key, order)
        axis.set_title(title, pad=25)
        axis.set_xlabel("epoch")
        axis.set_ylim(0, 1.08 * axis.dataLim.y1 or 1.0)
        axis.locator_params(axis="x", integer=True)
    axes[0].set_ylabel("mean per image")
    legend_on_top(axes[0], axes[0].get_legend_handles_labels()[0], title="Training loss")
    return figure


def _curve(axis: Any, run: Row, key: str, order: int) -> None:
    colour, broad = framework_colour(str(run["framework"])), order == 0
    x, y = [row["epoch"] for row in run["epochs"]], [row[key] for row in run["epochs"]]
    axis.plot(
        x, y, color=colour, linewidth=5.0 if broad else 1.6, alpha=0.45 if broad else 1.0,
        marker="s" if broad else "o", markersize=8 if broad else 4, label=framework_name(run["framework"]),
        zorder=2 + order,
    )  # fmt: skip
    if key == "val_loss":
        best = run["best_epoch"]
        axis.plot([best], [y[best - 1]], marker="*", markersize=15, color=colour, markeredgecolor="black", zorder=9)
        axis.annotate("kept", (best, y[best - 1]), xytext=(0, -16), textcoords="offset points", ha="center", fontsize=8)


def _runs(record: Record) -> list[Row]:
    if why_not_run(record, "practice") is not None:
        return []
    return [run for run in record["practice"].get("runs") or [] if run.get("epochs")]
