"""Sensitivity: the headline ratio measured again with one thing changed."""

from __future__ import annotations

from parity.report.claims import why_no_winner
from parity.report.findings import Row, markdown_label, no_winner_reason
from parity.report.record import Record
from parity.report.text import code, factor, factor_interval, inline, integer, number, prose, table
from parity.report.timings import image_words, impossible_lanes
from parity.stats import DEFAULT_MARGIN


def render(record: Record) -> list[str]:
    """Show each changed condition, the ratio then and before, and whether the answer would be another."""
    impossible = impossible_lanes(record)
    rows = [
        row for row in record["benchmarks"].get("sensitivity") or []
        if not {str(row.get("a")), str(row.get("b"))} & impossible
    ]  # fmt: skip
    if not rows:
        return []
    against = no_winner_reason(record)
    header = (
        "factor", "change", "work", "batch", "image", "a", "b", "as timed", "changed", "95 % interval", "blocks",
        "a is", "the answer",
    )  # fmt: skip
    return [
        f"The headline ratio (time of b over time of a) with one thing changed ({markdown_label(record)}).",
        table(header, [_line(row, record, against) for row in rows], "<<<>><<>>>><<"),
    ]


def _line(row: Row, record: Record, against: str | None) -> tuple[str, ...]:
    # The lanes of a row may be of unequal kind on purpose: the change itself is then what sets them apart.
    why = "withheld" if against else why_no_winner({**row, "headline": False}, record)
    said = prose(row["decision"]) if why is None else prose(why)
    return (
        prose(row.get("factor")), prose(row.get("change")), prose(row.get("work")), inline(row.get("batch")),
        image_words(row), code(row.get("a")), code(row.get("b")), factor(row.get("baseline_ratio"), 2),
        factor(row.get("ratio"), 2), factor_interval(row.get("low"), row.get("high"), 2), integer(row.get("blocks")),
        said, _answer(row) if why is None else "open",
    )  # fmt: skip


def _answer(row: Row) -> str:
    """Say whether the settled ratio names another lane than the one before it did."""
    if row["decision"] == "within margin":
        return "no difference left"
    before, now = number(row.get("baseline_ratio")), number(row.get("ratio"))
    if before is None or now is None:
        return "open"
    hardly = 1 / (1 + DEFAULT_MARGIN) < before < 1 + DEFAULT_MARGIN
    if hardly or row.get("baseline_decision", "undecided") not in ("faster", "slower"):  # there was no winner to lose
        return "a difference appears"
    return "stays" if (before > 1) == (now > 1) else "**turns round**"
