"""Where the time of a training step goes, and which part of it carries the difference between two lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.claims import headlines, settled
from parity.report.findings import Row, markdown_label, no_winner_reason, unique
from parity.report.phases import PHASES, REST, Apart, taken_apart
from parity.report.record import Record
from parity.report.text import NONE, code, fixed, integer, milliseconds, number, percent, prose, table
from parity.report.timings import impossible_lanes, own_setting

_NAMES: Final[Mapping[str, str]] = {**PHASES, REST: "what no phase explains"}


def render(record: Record) -> list[str]:
    """Show the phases of each lane, why the winner wins, and how the phases were taken."""
    apart, label = taken_apart(record), markdown_label(record)
    impossible = impossible_lanes(record)
    recorded = record["benchmarks"].get("why") or []
    why = [row for row in recorded if not {str(row.get("a")), str(row.get("b"))} & impossible]
    parts: list[str] = []
    if apart:
        header = ("lane", "steps", "blocks", *PHASES.values(), "rest", "step as timed")
        parts += [
            f"Milliseconds, medians over blocks ({label}). The device is synchronised between phases, so they can add"
            " up to more than the step as it was timed; the rest is then negative. In brackets: not part of that step.",
            table(header, [_line(row) for row in apart], "<" + ">" * (len(header) - 1)),
            *plots.references(record, "phases.png"),
        ]
    if why:
        parts += [*_reasons(why, record, label)]
    if apart:
        parts += [_how(apart)]
    return [part for part in parts if part]


def _line(row: Apart) -> tuple[str, ...]:
    cells = [_cell(row, phase) for phase in PHASES]
    return (code(row.lane), integer(row.steps), integer(row.blocks), *cells, _ms(row.rest_s), _ms(row.step_s))


def _cell(row: Apart, phase: str) -> str:
    shown = _ms(row.phases.get(phase))
    return shown if shown == NONE or phase in row.within else f"({shown})"


def _ms(value: float | None) -> str:
    return NONE if value is None else milliseconds(value).removesuffix(" ms")


def _reasons(why: Sequence[Row], record: Record, label: str) -> list[str]:
    """Say for each settled pair which part carries the difference, and show the parts of all pairs."""
    claimed = {(str(row["a"]), str(row["b"])): str(row["decision"]) for row in _claimed(record)}
    told = [_sentence(row, claimed[pair]) for row in why if (pair := (str(row.get("a")), str(row.get("b")))) in claimed]
    phases = [phase for phase in _NAMES if any(phase in (row.get("by_phase") or {}) for row in why)]
    header = ("a", "b", "work", "batch", "blocks", "b minus a", *(_NAMES[phase] for phase in phases))
    parts = [f"**Why the winner wins** ({label})\n\n" + "\n".join(f"- {text}" for text in told)] if told else []
    parts += [
        f"Milliseconds by which b takes longer than a, part by part, mean over blocks and 95 % interval ({label}).",
        table(header, [_why_line(row, phases) for row in why], "<<<" + ">" * (len(header) - 3)),
    ]
    return parts


def _claimed(record: Record) -> list[Row]:
    """Give the pairs whose difference is a claim, so that there is something to explain."""
    if no_winner_reason(record) is not None:
        return []
    own = own_setting(record)
    return [
        row for row in headlines(record)
        if row.get("work") == "train" and row.get("batch", own.get("batch")) == own.get("batch")
        and settled(row, record) and row["decision"] != "within margin"
    ]  # fmt: skip


def _sentence(row: Row, decision: str) -> str:
    difference, share = number(row.get("difference_s")) or 0.0, number(row.get("share"))
    if (difference > 0) != (decision == "faster"):  # a mean and a ratio may differ where a few blocks are far off
        winner, other = (row["a"], row["b"]) if decision == "faster" else (row["b"], row["a"])
        return f"{prose(winner)} does not take less than {prose(other)} in the mean over blocks: no phase is named."
    fast, slow = (row["a"], row["b"]) if difference > 0 else (row["b"], row["a"])
    carrier = f"{row.get('carrier')}_s"
    name = _NAMES.get(carrier, str(row.get("carrier")).replace("_", " "))
    part = number((row.get("by_phase") or {}).get(carrier))
    text = f"{prose(fast)} takes {milliseconds(abs(difference))} less per step than {prose(slow)}."
    if part is None or share is None or row.get("carrier") is None:
        return f"{text} No phase is recorded as the carrier."
    where = name if carrier == REST else f"the {prose(name)}"
    if share > 1:
        text += (
            f" {_capital(where)} alone accounts for {milliseconds(abs(part))}, more than all of it: other parts go the"
        )
        text += " other way."
    else:
        text += f" {_capital(where)} carries {milliseconds(abs(part))} of that ({percent(share)})."
    return text + _doubt((row.get("intervals_s") or {}).get(carrier))


def _doubt(interval: Any) -> str:
    """Say so where the carrying part itself may be nothing."""
    if not isinstance(interval, list) or len(interval) != 2:
        return " How sure that is, is not recorded."
    low, high = (number(end) for end in interval)
    if low is None or high is None or low <= 0 <= high:
        return " Its own interval holds 0, so that this is a lead and not a finding."
    return ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _why_line(row: Row, phases: Sequence[str]) -> tuple[str, ...]:
    parts, intervals = row.get("by_phase") or {}, row.get("intervals_s") or {}
    cells = (_with_interval(parts.get(phase), intervals.get(phase)) for phase in phases)
    return (
        code(row.get("a")), code(row.get("b")), prose(row.get("work")), integer(row.get("batch")),
        integer(row.get("blocks")), _ms(number(row.get("difference_s"))), *cells,
    )  # fmt: skip


def _with_interval(value: Any, interval: Any) -> str:
    shown = _ms(number(value))
    if shown == NONE or not isinstance(interval, list) or len(interval) != 2:
        return shown
    low, high = (fixed(None if number(end) is None else 1000 * end, 2) for end in interval)
    return f"{shown} ({low} to {high})"


def _how(apart: Sequence[Apart]) -> str:
    """Say once for each way how the phases were taken."""
    ways = unique(row.how for row in apart if row.how)
    lines = [f"- {', '.join(code(row.lane) for row in apart if row.how == way)}: {prose(way)}" for way in ways]
    return "How the phases were taken:\n\n" + "\n".join(lines) if lines else ""
