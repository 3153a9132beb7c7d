"""Losses: what happens to a loss as people port it, which trap explains it, and how close its exact form comes."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report.findings import VERDICTS, Row, rank, row_share, unique, worst
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, folded, integer, number, percent, prose, small, table

_HEADER = (
    "loss", "case", "Keras mode", "as written: value / gradient", "TensorFlow", "torch", "trap", "exact: worst d64",
    "share of bound", "fix",
)  # fmt: skip
_DETAIL_HEADER = (
    "loss", "case", "mode", "form", "stage", "verdict", "d64", "d64 bound", "error TF", "error torch", "bound", "share",
    "value TF", "value torch",
)  # fmt: skip


def render(record: Record) -> str:
    """Show the ports that are another function, those that agree below them, and every comparison folded."""
    rows: Sequence[Row] = record["losses"].get("rows") or []
    if not rows:
        return "Zero losses were compared, which is no pass."
    lines = [_line(port) for port in ports(rows)]
    apart = [line for line in lines if line[0]]
    alike = [line for line in lines if not line[0]]
    parts = [_summary(rows, len(apart), len(lines))]
    for title, found in (("Another function, as written", apart), ("The same function, as written", alike)):
        if found:
            parts.append(f"**{title}**\n\n{table(_HEADER, [line[1] for line in found], '<<<<>><>><')}")
    parts.append(folded(f"All {len(rows)} comparisons of losses", _details(rows)))
    return "\n\n".join(parts)


def _summary(rows: Sequence[Row], apart: int, total: int) -> str:
    exact = [row for row in rows if row.get("form") == "exact"]
    if not exact:
        return f"{apart} of {total} ports are another function as people write them; no exact form was compared."
    shown = worst(exact)
    d64 = max((number(row.get("d64")) or 0.0 for row in exact), default=0.0)
    share = percent(max((row_share(row) or 0.0 for row in exact), default=0.0))
    return (
        f"{apart} of {total} ports (one line per case, or per mode of Keras where it matters) are another function as"
        f" people write them. Worst of {integer(len(exact))} comparisons of the exact forms: {verdict_word(shown)},"
        f" d64 at most {small(d64)}, {share} of the bound."
    )


def ports(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows by loss and case, and by mode unless every mode comes to the same."""
    cases: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cases.setdefault((str(row.get("loss")), str(row.get("case"))), []).append(row)
    found = []
    for group in cases.values():
        modes = [[row for row in group if row.get("mode") == mode] for mode in unique(r.get("mode") for r in group)]
        alike = len({_meaning(mode) for mode in modes}) == 1
        found += [group] if alike else modes
    return found


def _meaning(rows: Sequence[Row]) -> tuple[tuple[object, ...], ...]:
    """Give what must be equal for two modes to share a line; `identical` and `rounding` mean the same here."""
    passing = rank("rounding")
    return tuple(
        (row.get("stage"), row.get("form"), max(rank(row.get("verdict")), passing), row.get("trap"), row.get("fix"))
        for row in rows
    )


def _line(rows: Sequence[Row]) -> tuple[bool, tuple[str, ...]]:
    """Give whether the port is another function as written, and its line."""
    first = rows[0]
    written = [row for row in rows if row.get("form") != "exact"]
    exact = [row for row in rows if row.get("form") == "exact"]
    stages = unique(row.get("stage") for row in rows)
    words = [_word([row for row in written if row.get("stage") == stage]) for stage in stages]
    value: Row = next((row for row in written if row.get("stage") == "loss"), {})
    traps = unique(row.get("trap") for row in written if row.get("trap"))
    apart = any(rank(row.get("verdict")) > rank("rounding") for row in written)
    return apart, (
        prose(first.get("loss")),
        prose(first.get("case")),
        " and ".join(unique(prose(row.get("mode")) for row in rows)),
        " / ".join(words),
        _value(value.get("value_tensorflow")),
        _value(value.get("value_torch")),
        ", ".join(code(trap) for trap in traps) or NONE,
        small(max((number(row.get("d64")) or 0.0 for row in exact), default=None)),
        percent(max((row_share(row) or 0.0 for row in exact), default=None)) + _broken(exact),
        code(first.get("fix")) if apart and first.get("fix") else NONE,
    )


def _value(recorded: object) -> str:
    """Write a loss with the digits by which traps such as another epsilon show."""
    found = number(recorded)
    return NONE if found is None else f"{found:.6g}"


def _word(rows: Sequence[Row]) -> str:
    return verdict_word(worst(rows)) if rows else NONE


def _broken(exact: Sequence[Row]) -> str:
    """Say so where an exact form is not exact."""
    verdict = max((rank(row.get("verdict")) for row in exact), default=0)
    return f" **{VERDICTS[verdict]}**" if verdict > rank("rounding") else ""


def _details(rows: Sequence[Row]) -> str:
    lines = [
        (
            prose(row.get("loss")), prose(row.get("case")), prose(row.get("mode")), prose(row.get("form")),
            prose(row.get("stage")), verdict_word(row), small(row.get("d64")), small(row.get("d64_bound")),
            small(row.get("error_tensorflow")), small(row.get("error_torch")), small(row.get("bound")),
            percent(row_share(row)), _value(row.get("value_tensorflow")), _value(row.get("value_torch")),
        )
        for row in rows
    ]  # fmt: skip
    return table(_DETAIL_HEADER, lines, "<<<<<<>>>>>>>>")
