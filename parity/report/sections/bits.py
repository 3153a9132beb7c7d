"""Comparisons that must hold bit for bit: one line per file, side or copy, every tensor folded below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.report.findings import Row, rank, worst
from parity.report.text import NONE, code, folded, hypertext, integer, number, prose, table


def summary_and_details(rows: Sequence[Row], details: str, label: str) -> str:
    """Show the worst verdict of each group of `rows`, and `details`, the table of all of them, folded below.

    A tensor named `group:tensor` belongs to that group; one without a colon to its check.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        name = str(row.get("tensor") or "")
        group = name.partition(":")[0] if ":" in name else str(row.get("check"))
        groups.setdefault((group, str(row.get("weights") or NONE)), []).append(row)
    lines = [_line(group, weights, found) for (group, weights), found in groups.items()]
    header = ("what", "weights", "tensors", "values", "values that differ", "worst verdict")
    return f"{table(header, lines, '<<>>><')}\n\n{folded(f'All {len(rows)} comparisons ({hypertext(label)})', details)}"


def _line(group: str, weights: str, rows: Sequence[Row]) -> tuple[str, ...]:
    verdict = prose(worst(rows).get("verdict", "not-compared"))
    bad = any(rank(row.get("verdict")) > rank("rounding") for row in rows)
    return (
        code(group),
        prose(weights),
        integer(len(rows)),
        integer(_total(rows, "elements")),
        integer(_total(rows, "mismatched")),
        f"**{verdict}**" if bad else verdict,
    )


def _total(rows: Sequence[Row], name: str) -> int:
    values: list[Any] = [number(row.get(name)) for row in rows]
    return int(sum(value for value in values if value is not None))
