"""Speed modes: what precision each one says it keeps, and how far from the float64 twin it really is."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report.findings import Row, framework_name, rank
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, folded, inline, number, percent, prose, small, table

_HEADER = (
    "mode", "framework", "says", "worst forward error (in u)", "worst gradient error (in u)", "share of bound",
    "verdict", "where",
)  # fmt: skip
_DETAIL = ("mode", "framework", "layer", "tensor", "stage", "probe", "came as", "error (u)", "bound (u)", "share",
           "verdict", "note")  # fmt: skip


def render(record: Record) -> str:
    """Show one line per mode, then what broke its word, then every judged tensor folded."""
    rows = record["modes"].get("rows") or []
    ran = [row for row in rows if "not_run" not in row]
    if not ran:
        reasons = "; ".join(sorted({prose(row["not_run"]) for row in rows})) or "no mode is recorded"
        return f"Zero modes were compared, which is no pass: {reasons}."
    parts = [
        "Each mode against the float64 twin of its own framework. Errors are fractions of max|twin| in units of the"
        " mode's own unit roundoff u; the bound is derived, per element, from what the mode says: operands and results"
        " rounded to its precision, sums in float32.",
        table(_HEADER, [_line(group) for group in _by_mode(rows)], "<<<>>><<"),
    ]
    broken = [row for row in ran if rank(row.get("verdict")) > rank("rounding")]
    if broken:
        parts.append("**Modes that do less than they say**\n\n" + "\n".join(f"- {_breach(row)}" for row in broken))
    parts.append(folded(f"Every judged tensor ({len(ran)})", table(_DETAIL, [_detail(r) for r in ran], "<<<<<<<>>><<")))
    return "\n\n".join(parts)


def _by_mode(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row.get("framework")), str(row.get("mode"))), []).append(row)
    return list(groups.values())


def _line(rows: Sequence[Row]) -> tuple[str, ...]:
    first = rows[0]
    head = (code(first.get("mode")), framework_name(str(first.get("framework"))), prose(first.get("says", NONE)))
    if "not_run" in first:
        return (*head, NONE, NONE, NONE, f"not run: {prose(first['not_run'])}", NONE)
    shown = max(rows, key=lambda row: (rank(row.get("verdict")), number(row.get("share")) or 0.0))
    errors = (small(_largest(rows, stage)) for stage in ("forward", "gradient"))
    return (*head, *errors, percent(shown.get("share")), verdict_word(shown), _where(shown))


def _largest(rows: Sequence[Row], stage: str) -> float | None:
    found = [number(row.get("error_in_u")) for row in rows if row.get("stage") == stage]
    return max((value for value in found if value is not None), default=None)


def _where(row: Row) -> str:
    return f"{code(row.get('layer'))} {prose(row.get('tensor'))} ({prose(row.get('probe'))} probe)"


def _breach(row: Row) -> str:
    known = f" Known: {prose(row['known'])}" if row.get("known") else ""
    return (
        f"{framework_name(str(row.get('framework')))} {code(row.get('mode'))}, {_where(row)}: {verdict_word(row)};"
        f" {small(row.get('error_in_u'))} u where {small(row.get('bound_in_u'))} u are allowed,"
        f" {percent(row.get('share'))} of an element's own bound. {prose(row.get('note') or '')}{known}"
    )


def _detail(row: Row) -> tuple[str, ...]:
    return (
        code(row.get("mode")), framework_name(str(row.get("framework"))), code(row.get("layer")),
        code(row.get("tensor")), prose(row.get("stage", NONE)), prose(row.get("probe", NONE)),
        inline(row.get("dtype")), small(row.get("error_in_u")), small(row.get("bound_in_u")),
        percent(row.get("share")), verdict_word(row), prose(row.get("note") or ""),
    )  # fmt: skip
