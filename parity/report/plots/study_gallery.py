"""study_gallery.png: the official test images on which the two frameworks' models decide differently in most seeds."""

from __future__ import annotations

import base64
from typing import Any, Final

from parity.report.findings import Row, data_label, framework_name
from parity.report.plots.study_cells import study
from parity.report.plots.style import COLOURS, FAINT, INK, new_figure, one_line
from parity.report.record import Record

_COLUMNS: Final = 6


def caption(record: Record) -> str | None:
    """Say what is shown, n and the data; None without a picture."""
    rows = _rows(record)
    if not rows:
        return None
    found = record["study"]["disagreement"]
    some = sum(arm.get("in_some_seed", len(arm["images"])) for arm in found["arms"])
    shown = f"{len(rows)} of the {some}" if some > len(rows) else f"all {some}" if some > 1 else "the one"
    return (
        "Official test images on which the two frameworks' models of one seed disagree, those with the most seeds, with"
        f" each one's mean probability of pneumonia: {shown}, n = {found['n']} images ({data_label(record)})"
    )


def _rows(record: Record) -> list[Row]:
    found = study(record)
    held = {} if found is None else found.get("disagreement") or {}
    return [row for row in held.get("gallery") or [] if row.get("pixels")]


def draw(record: Record) -> Any:
    """Draw each image with its number in the table, its class, and what the models of each framework say of it."""
    rows = _rows(record)
    lines = -(-len(rows) // _COLUMNS)
    figure = new_figure(0.85 + 2.6 * lines)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (axis, row) in enumerate(zip(axes.flat, rows, strict=False), start=1):
        _picture(axis, row)
        _words(axis, row, number)
    return figure


def _picture(axis: Any, row: Row) -> None:
    import numpy as np

    height, width, channels = (int(row[key]) for key in ("height", "width", "channels"))
    pixels = np.frombuffer(base64.b64decode(row["pixels"]), dtype=np.uint8).reshape(height, width, channels)
    shown = pixels[..., 0] if channels == 1 else pixels
    axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="equal")


def _words(axis: Any, row: Row, number: int) -> None:
    axis.set_title(f"{number}. {one_line(row['class'], 14)}", fontsize=10, pad=4)
    lines = [(f"{row['arm']}: {row['seeds']} of {row['of']} seeds", FAINT)]
    lines += [(f"{framework_name(name)} {p:.2f}", COLOURS.get(name, INK)) for name, p in row["probability"].items()]
    for line, (text, colour) in enumerate(lines):
        axis.annotate(
            text, (0, 0), xycoords="axes fraction", xytext=(0, -11 - 12 * line), textcoords="offset points",
            fontsize=8.5, color=colour, annotation_clip=False, va="center",
        )  # fmt: skip
