"""Other batches and image sizes, one table each; a cell never mixes two settings."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report import plots
from parity.report.findings import markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, integer, milliseconds, prose, table
from parity.report.timings import IMAGE, LATENCY, Lane, lanes, own_setting


def render(record: Record) -> list[str]:
    """Show images per second by batch and the step by image size, as far as more than one of them was timed."""
    measured = [lane for lane in lanes(record) if lane.work != LATENCY]
    own, label = own_setting(record), markdown_label(record)
    own_image = [lane for lane in measured if all(lane.setting[name] == own.get(name) for name in IMAGE)]
    own_batch = [lane for lane in measured if lane.setting["batch"] == own.get("batch")]
    parts: list[str] = []
    by_batch = swept(own_image, "batch")
    if by_batch:
        parts += [
            f"Images per second, with the median time of a step in brackets, by batch ({label}; {_counts(by_batch)}).",
            _table(by_batch, "batch"),
            *plots.references(record, "sweep.png"),
        ]
    by_image = swept(own_batch, "image")
    if by_image:
        parts += [
            f"The same by image size, batch {own.get('batch')} ({label}; {_counts(by_image)}).",
            _table(by_image, "image"),
        ]
    return parts


def swept(measured: Sequence[Lane], by: str) -> list[Lane]:
    """Give the lanes that were timed at more than one value of `batch` or `image`, refused ones left out."""
    values: dict[tuple[str, str], set[str]] = {}
    for lane in measured:
        values.setdefault((lane.work, lane.lane), set()).add(_value(lane, by))
    return [lane for lane in measured if len(values[lane.work, lane.lane]) > 1 and not lane.refused]


def _value(lane: Lane, by: str) -> str:
    return lane.image if by == "image" else str(lane.setting["batch"])


def _size(lane: Lane) -> tuple[int, ...]:
    return tuple(lane.setting[name] or 0 for name in (*IMAGE, "batch"))


def _table(measured: Sequence[Lane], by: str) -> str:
    columns = list(dict.fromkeys(_value(lane, by) for lane in sorted(measured, key=_size)))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for lane in measured:
        cell = f"{integer(lane.images_per_s)} ({milliseconds(lane.stats.median)})"
        rows.setdefault((lane.work, lane.lane), {})[_value(lane, by)] = cell
    header = ("work", "lane", *(f"batch {column}" if by == "batch" else column for column in columns))
    lines = [
        (prose(work), code(name), *(cells.get(column, NONE) for column in columns))
        for (work, name), cells in rows.items()
    ]
    return table(header, lines, "<<" + ">" * len(columns))


def _counts(measured: Sequence[Lane]) -> str:
    counts = sorted({lane.stats.n for lane in measured})
    spread = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"n = {spread} samples in a cell"
