"""Parity by layer: a summary of the worst of each tensor first, every comparison folded below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.report import plots
from parity.report.findings import (
    Row,
    data_label,
    forward_rows,
    framework_name,
    markdown_label,
    rank,
    row_share,
    rows_of,
    same_function,
    worst,
)
from parity.report.record import Record
from parity.report.sections.bits import summary_and_details
from parity.report.text import NONE, code, folded, hypertext, inline, integer, number, percent, prose, small, table

_DETAIL_HEADER = (
    "check", "stage", "layer", "kind", "shape", "verdict", "d64", "d64 bound", "error TF", "error torch",
    "bound", "share", "closer", "note",
)  # fmt: skip
_DETAIL_ALIGN = "<<<<<<>>>>>><<"


def render(record: Record) -> str:
    """Show forced and propagated comparisons: summary, plot, and one folded table per weights and probe."""
    rows = forward_rows(record)
    if not rows:
        return "Zero layers were compared, which is a failure and not a pass."
    finding, label = same_function(record), markdown_label(record)
    word = {True: "the same function", False: "**not the same function**", None: "**not established**"}
    counted = f"{len(rows)} forced and propagated comparisons of what the layers put out"
    parts = [f"{counted}; verdict of all checks: {word[finding.same]} ({label})."]
    parts += [_summary(model_rows, label) for model_rows in grouped(rows, ("model",))]
    parts += plots.references(record, "parity.png")
    parts += [details(group, data_label(record)) for group in grouped(rows, ("model", "weights", "probe"))]
    return "\n\n".join(parts)


def render_modes(record: Record) -> str:
    """Show what training mode changes against evaluation mode, in one table."""
    rows = rows_of(record, ("training-mode",))
    if not rows:
        return "Not run: no training-mode comparison is recorded."
    body = summary_and_details(rows, _detail_table(rows), data_label(record))
    return f"**Training mode against evaluation mode** ({markdown_label(record)})\n\n{body}"


def _summary(rows: Sequence[Row], label: str) -> str:
    lines = []
    for group in grouped(rows, ("tensor", "stage")):
        forced = [row for row in group if row.get("check") == "forced"]
        propagated = [row for row in group if row.get("check") == "propagated"]
        shown = worst(forced or propagated)
        lines.append(
            (
                code(shown.get("tensor")), prose(shown.get("stage")), worst_word(forced),
                worst_word(propagated), *figures(shown), where_seen(shown),
            )
        )  # fmt: skip
    header = (
        "layer", "stage", "forced", "propagated", "d64", "error TF", "error torch", "bound", "share",
        "closer", "worst at",
    )  # fmt: skip
    title = f"**Worst of each layer, model {code(rows[0].get('model'))}** ({len(rows)} comparisons; {label})"
    return f"{title}\n\n{table(header, lines, '<<<<>>>>><<')}"


def details(rows: Sequence[Row], label: str) -> str:
    """Fold the table of comparisons that share model, weights and probe, with their verdicts in its heading."""
    first = rows[0]
    bad = sum(rank(row.get("verdict")) > rank("rounding") for row in rows)
    verdicts = "all identical or rounding" if not bad else f"<b>{bad} not identical or rounding</b>"
    summary = (
        f"{hypertext(first.get('model'))}, {hypertext(first.get('weights'))} weights,"
        f" probe {hypertext(first.get('probe'))}"
        f": {len(rows)} comparisons, {verdicts} ({hypertext(label)})"
    )
    return folded(summary, _detail_table(rows))


def _detail_table(rows: Sequence[Row]) -> str:
    return table(_DETAIL_HEADER, [detail_line(row) for row in rows], _DETAIL_ALIGN)


def detail_line(row: Row) -> tuple[str, ...]:
    """Give every cell of one comparison's line."""
    shape = row.get("shape")
    d64, *rest = figures(row)
    return (
        prose(row.get("check")), prose(row.get("stage")), code(row.get("tensor")), prose(row.get("kind", NONE)),
        "x".join(map(str, shape)) if shape else NONE, verdict_word(row), d64, small(row.get("d64_bound")),
        *rest, _note(row),
    )  # fmt: skip


def verdict_word(row: Row) -> str:
    """Write a verdict: bold when it is no pass, with the side that a `precision` verdict blames."""
    verdict = prose(row.get("verdict", "not-compared"))
    if row.get("side"):
        verdict += f" ({framework_name(row['side'])})"
    return verdict if rank(row.get("verdict")) <= rank("rounding") else f"**{verdict}**"


def figures(row: Row) -> tuple[str, ...]:
    """Give the cells d64, error TF, error torch, bound, share and closer."""
    errors = (small(row.get("error_tensorflow")), small(row.get("error_torch")), small(row.get("bound")))
    closer = framework_name(row.get("closer") or NONE)
    return small(row.get("d64")), *errors, percent(row_share(row)), closer


def _note(row: Row) -> str:
    parts = [prose(row["note"])] if row.get("note") else []
    if rank(row.get("verdict")) > rank("rounding") and number(row.get("mismatched")):
        where = f", worst at [{inline(row['where'])}]" if row.get("where") else ""
        parts.append(f"{integer(row['mismatched'])} of {integer(row.get('elements'))} differ{where}")
    return "; ".join(parts)


def worst_word(rows: Sequence[Row]) -> str:
    """Write the worst verdict of some rows, or a dash where there are none."""
    return verdict_word(worst(rows)) if rows else NONE


def where_seen(row: Row) -> str:
    """Name the weights and the probe of a comparison."""
    return ", ".join(prose(row[key]) for key in ("weights", "probe") if row.get(key)) or NONE


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> list[list[Row]]:
    """Gather rows that are equal in some keys, in the order of their first sight."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key)) for key in keys), []).append(row)
    return list(groups.values())
