"""Input supply: how fast images arrive, with pixels proven equal first, against how fast the lanes eat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.report import plots
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, fixed, folded, hypertext, inline, integer, prose, table
from parity.report.timings import impossible_lanes, median, numbers


def render(record: Record) -> list[str]:
    """Show the crossover, every source, what the lanes ask for, and how the pixels compare."""
    supply = record["benchmarks"].get("supply")
    if not isinstance(supply, Mapping):
        return []
    if "not_run" in supply:
        return [f"Not run: {prose(supply['not_run'])}."]
    label = markdown_label(record)
    parts = [f"**{prose(supply['crossover'])}** ({label})"] if supply.get("crossover") else []
    parts += plots.references(record, "supply.png")
    rows = supply.get("rows") or []
    if rows:
        parts += [f"Images per second that each source delivers ({label}).", _sources(rows)]
    impossible = impossible_lanes(record)
    demand = [row for row in supply.get("demand") or [] if str(row.get("lane")) not in impossible]
    if demand:
        header = ("lane", "work", "batch", "images_per_s")
        lines = [(code(row.get("lane")), prose(row.get("work")), inline(row.get("batch")),
                  fixed(row.get("images_per_s"), 1)) for row in demand]  # fmt: skip
        body = table(header, lines, "<<>>")
        parts.append(folded(f"What {len(demand)} lanes and batches ask for ({hypertext(label)})", body))
    parts += _pixels(supply.get("pixels") or [], label)
    parts += _notes(supply)
    return parts


def _sources(rows: Sequence[Row]) -> str:
    header = ("source", "stage", "workers", "order", "images", "n", "median images/s", "lowest to highest", "usable")
    return table(header, [_source_line(row) for row in rows], "<<><>>>><")


def _source_line(row: Row) -> tuple[str, ...]:
    rates = numbers(row.get("images_per_s") or [])
    spread = f"{fixed(min(rates), 1)} to {fixed(max(rates), 1)}" if len(rates) > 1 else NONE
    return (
        code(row.get("source")), prose(row.get("stage")), inline(row.get("workers")), prose(row.get("order") or NONE),
        integer(row.get("images")), integer(len(rates)), fixed(median(rates), 1), spread,
        "yes" if row.get("usable", True) else "**no: other pixels**",
    )  # fmt: skip


def _pixels(rows: Sequence[Row], label: str) -> list[str]:
    if not rows:
        return []
    same = sum(row.get("identical") is True for row in rows)
    header = ("a", "b", "stage", "verdict", "largest difference of 255", "note")
    lines = [
        (code(row.get("a")), code(row.get("b")), prose(row.get("stage") or NONE), _verdict(row),
         integer(row.get("largest_difference")), prose(row.get("note") or ""))
        for row in rows
    ]  # fmt: skip
    body = table(header, lines, "<<<<>")
    return [folded(f"Pixels: {same} of {len(rows)} comparisons identical ({hypertext(label)})", body)]


def _verdict(row: Row) -> str:
    found = str(row.get("verdict") or ("identical" if row.get("identical") else "different"))
    return f"**{prose(found)}**" if found not in ("identical", "rounding") else found


def _notes(supply: Mapping[str, Any]) -> list[str]:
    copies = ((supply.get("cache") or {}).get("zero_copy") or {}).items()
    words = {True: "maps the prepared cache without a copy", False: "**copies the prepared cache**"}
    lines = [
        f"{prose(framework_name(name))} {words.get(shared, 'and the prepared cache: not measured')}."
        for name, shared in copies
    ]
    lines += [f"Measured {prose(supply['where'])}."] if supply.get("where") else []
    if supply.get("left_out"):
        lines.append(f"{integer(supply['left_out'])} files were left out: the decoders do not read them alike.")
    lines += [f"**Problem:** {prose(problem)}" for problem in supply.get("problems") or []]
    return ["\n".join(f"- {line}" for line in lines)] if lines else []
