"""Cold start: what a process pays before its first steady step."""

from __future__ import annotations

from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, markdown_label, unique
from parity.report.record import Record
from parity.report.text import code, integer, prose, seconds, table
from parity.report.timings import WORKS, lane_order, median

_SPANS: Final = ("import_s", "build_s", "start_s")


def render(record: Record) -> list[str]:
    """Show import, build, start of the lane and first step per work, medians over blocks."""
    rows = record["benchmarks"].get("cold_start") or []
    warm = plots.references(record, "warmup.png")
    if not rows:
        return warm
    works = unique(work for row in rows for work in row.get("first_steps") or {})
    works.sort(key=lambda work: WORKS.index(work) if work in WORKS else len(WORKS))
    names = [name for name in lane_order(record) if any(row.get("lane") == name for row in rows)]
    lines = [_line(name, [row for row in rows if row.get("lane") == name], works) for name in names]
    header = ("lane", "blocks", *_SPANS, *(f"first {prose(work)} step_s" for work in works))
    return [
        f"Medians over blocks, one fresh process each ({markdown_label(record)}; seconds). `start_s` makes the"
        " optimizer and the steps, with what they import only then. The first step traces or compiles and allocates;"
        " files of the framework are in the page cache.",
        table(header, lines, "<" + ">" * (len(header) - 1)),
        *warm,
    ]


def _line(name: str, rows: list[Row], works: list[str]) -> tuple[str, ...]:
    spans = (seconds(median(row.get(span) for row in rows)) for span in _SPANS)
    first: list[dict[str, Any]] = [row.get("first_steps") or {} for row in rows]
    steps = (seconds(median(found.get(work) for found in first)) for work in works)
    return (code(name), integer(len({row.get("block") for row in rows})), *spans, *steps)
