"""Saved weights: what came back from each file format and each way across."""

from __future__ import annotations

from parity.report.findings import STORAGE_CHECKS, data_label, rows_of
from parity.report.record import Record
from parity.report.sections.bits import summary_and_details
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, integer, number, prose, small, table


def render(record: Record) -> str:
    """Show one line per tensor or file that was written and read back."""
    rows = rows_of(record, STORAGE_CHECKS)
    if not rows:
        return "Not run: no saved weights are recorded."
    lines = [
        (
            prose(row.get("check")), prose(row.get("stage", NONE)), code(row.get("tensor")),
            prose(row.get("weights") or NONE), verdict_word(row),
            integer(row.get("mismatched")) if number(row.get("elements")) is not None else NONE,
            integer(row.get("elements")), small(row.get("d64")), prose(row.get("note") or ""),
        )
        for row in rows
    ]  # fmt: skip
    header = ("check", "stage", "what", "weights", "verdict", "mismatched", "elements", "d64", "note")
    body = summary_and_details(rows, table(header, lines, "<<<<<>>><"), data_label(record))
    return f"Written, read back and compared bit for bit.\n\n{body}"
