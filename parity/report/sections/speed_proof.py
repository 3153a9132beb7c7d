"""What the method itself is worth: simulated campaigns of known truth, and this run against an earlier one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from parity.report.findings import Row, markdown_label
from parity.report.record import Record
from parity.report.text import (
    NONE,
    code,
    factor,
    factor_interval,
    inline,
    integer,
    number,
    percent,
    prose,
    seconds,
    table,
)
from parity.report.timings import image_words

_LEAST_COVERAGE: Final = 0.93
_MOST_FALSE: Final = 0.05


def render(record: Record) -> list[str]:
    """Show how often the interval covers the truth, and how often equals get a winner, in simulated campaigns."""
    rows = record["benchmarks"].get("self_proof") or []
    if not rows:
        return []
    header = ("noise", "blocks", "campaigns", "95 % interval covers", "winner of equals", "10 % slower is found")
    return [
        "Simulated campaigns whose truth is known, judged by the code that judges this one: drawn from a seed, neither"
        " images nor this machine are part of it. The interval should cover the truth in at least"
        f" {percent(_LEAST_COVERAGE)} of them, and equals should get a winner in at most {percent(_MOST_FALSE)}.",
        table(header, [_line(row) for row in rows], "<>>>>>"),
    ]


def _line(row: Row) -> tuple[str, ...]:
    covers, false = number(row.get("coverage")), number(row.get("false_winners"))
    return (
        prose(row.get("noise")), integer(row.get("blocks")), integer(row.get("campaigns")),
        _marked(covers, covers is not None and covers < _LEAST_COVERAGE),
        _marked(false, false is not None and false > _MOST_FALSE), _marked(number(row.get("found_10_percent")), False),
    )  # fmt: skip


def _marked(share: float | None, bad: bool) -> str:
    shown = NONE if share is None else f"{100 * share:.1f} %"
    return f"**{shown}**" if bad else shown


def render_baseline(record: Record) -> list[str]:
    """Show this run against an earlier one, lane by lane, or why the two cannot be compared."""
    found = record["benchmarks"].get("baseline")
    if not isinstance(found, Mapping):
        return []
    label, rows = markdown_label(record), found.get("settings") or []
    if not rows:
        return [f"Not compared with the baseline: {prose(found.get('why_not') or 'no reason is recorded')}."]
    header = (
        "lane", "work", "batch", "image", "then_s", "now_s", "then / now", "95 % interval", "blocks", "this run is",
    )  # fmt: skip
    parts = [
        f"{_verdict(rows)} ({label}; above 1, this run is faster; the two runs' blocks belong to no pairs, so that the"
        " interval is Welch's; decisions allow for the number of settings, the printed interval is that of each alone)."
        f"{''.join(f' {prose(note)}' for note in found.get('notes') or [])}",
        table(header, [_baseline_line(row) for row in rows], "<<>>>>>>><"),
    ]
    notes = [
        f"Not compared: {code(row.get('lane'))}: {prose(row.get('why'))}" for row in found.get("not_compared") or []
    ]
    notes += [f"Differs between the runs: {prose(phrase)}" for phrase in found.get("versions") or []]
    return parts + (["\n".join(f"- {note}" for note in notes)] if notes else [])


def _verdict(rows: Sequence[Row]) -> str:
    slower = [row for row in rows if row.get("decision") == "slower" and not row.get("preliminary")]
    if not slower:
        return f"No settled regression among {len(rows)} settings"
    return f"**{len(slower)} of {len(rows)} settings are slower than in the baseline**"


def _baseline_line(row: Row) -> tuple[str, ...]:
    said = prose(row.get("decision") or NONE)
    return (
        code(row.get("lane")), prose(row.get("work")), inline(row.get("batch")), image_words(row),
        seconds(row.get("then_s")), seconds(row.get("now_s")), factor(row.get("ratio"), 3),
        factor_interval(row.get("low"), row.get("high"), 3), integer(row.get("blocks")),
        f"{said} (preliminary)" if row.get("preliminary") else f"**{said}**" if said == "slower" else said,
    )  # fmt: skip
