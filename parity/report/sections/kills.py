"""The kill matrix: which planted traps the checks caught, at which stage; what slipped through comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from parity.report.findings import Row, unique
from parity.report.record import Record
from parity.report.text import NONE, code, folded, integer, prose, small, table

# Stages that share a column, in the order in which training meets them; other stages get a column of their own.
_COLUMNS: Final[Mapping[str, str]] = {
    "forward": "forward",
    "loss": "loss",
    "gradient": "gradient",
    "input-gradient": "gradient",
    "parameter-gradient": "gradient",
    "state": "state",
    "schedule": "schedule",
    "slot": "slot",
    "update": "update",
    "after-training": "after training",
}


def render(record: Record) -> str:
    """Show the totals, the survivors, traps against stages, and every planted fault folded below."""
    rows: Sequence[Row] = record["kill_matrix"]
    if not rows:
        return "Zero traps were planted, which proves nothing."
    lost = survivors(rows)
    parts = [totals(rows)]
    if lost:
        parts.append("**Survivors**\n\n" + "\n".join(f"- {_survivor(row)}" for row in lost))
    ordered = [*lost, *(row for row in rows if row not in lost)]
    parts.append(f"**Planted faults by trap and by the stage that saw them first**\n\n{_matrix(ordered)}")
    parts.append(folded(f"All {len(rows)} planted faults", _list(ordered)))
    return "\n\n".join(parts)


def survivors(rows: Sequence[Row]) -> list[Row]:
    """Give the planted faults that were not caught where they were planted; a missing word is no catch."""
    return [row for row in rows if row.get("caught") is not True]


def totals(rows: Sequence[Row]) -> str:
    """Say in one sentence how many planted faults were caught."""
    caught = len(rows) - len(survivors(rows))
    traps = len(unique(row.get("trap") for row in rows))
    planted = f"{integer(len(rows))} planted faults ({integer(traps)} traps)"
    text = f"{integer(caught)} of {planted} were caught: seen first where they were planted"
    return f"{text}." if caught == len(rows) else f"**{text}**."


def seen_stage(row: Row) -> str | None:
    """Give the stage that saw a fault first.

    A suite that plants in a stage rather than in a layer names the stage in `seen_at`.
    """
    if row.get("seen_at") is None:
        return None
    seen = str(row["seen_at"])
    return _COLUMNS.get(seen) or _COLUMNS.get(str(row.get("stage")), str(row.get("stage")))


def _survivor(row: Row) -> str:
    pair = prose(row.get("pair")) + _mode(row)
    head = f"**{code(row.get('trap'))} in {pair}**, planted at {code(row.get('planted_at'))}"
    seen = f"seen at {code(row['seen_at'])}" if row.get("seen_at") is not None else "**nothing saw it**"
    note = f" ({prose(row['note']).rstrip('.')})" if row.get("note") else ""
    return f"{head}: {seen}{note}."


def _mode(row: Row) -> str:
    return f" ({prose(row['mode'])})" if row.get("mode") else ""


def _matrix(rows: Sequence[Row]) -> str:
    seen = {stage for row in rows if (stage := seen_stage(row)) is not None}
    stages = [*dict.fromkeys(s for s in _COLUMNS.values() if s in seen), *sorted(seen - set(_COLUMNS.values()))]
    traps: dict[str, list[Row]] = {}
    for row in rows:
        traps.setdefault(str(row.get("trap")), []).append(row)
    lines = [_trap(trap, own, stages) for trap, own in traps.items()]
    return table(("trap", *map(prose, stages), "caught"), lines, "<" + ">" * (len(stages) + 1))


def _trap(trap: str, rows: Sequence[Row], stages: Sequence[str]) -> tuple[str, ...]:
    counts = [sum(seen_stage(row) == stage for row in rows) for stage in stages]
    caught = len(rows) - len(survivors(rows))
    word = f"{caught} of {len(rows)}"
    survived = caught < len(rows)
    name = f"**{code(trap)}**" if survived else code(trap)
    return name, *(str(count) if count else "·" for count in counts), f"**{word}**" if survived else word


def _list(rows: Sequence[Row]) -> str:
    lines = [
        (
            code(row.get("trap")), prose(row.get("pair")) + _mode(row), code(row.get("planted_at")),
            code(row["seen_at"]) if row.get("seen_at") is not None else NONE, prose(seen_stage(row) or NONE),
            small(row.get("d64")), "yes" if row.get("caught") is True else "**no**", prose(row.get("note") or ""),
        )
        for row in rows
    ]  # fmt: skip
    return table(("trap", "pair", "planted at", "seen at", "stage", "d64", "caught", "note"), lines, "<<<<<><<")
