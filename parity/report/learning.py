"""The answer's sentence on training: do both frameworks learn the same, by rule, from the sections that ran?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from parity.report.findings import (
    Row,
    framework_name,
    markdown_label,
    place,
    rank,
    step_rows,
    unique,
)
from parity.report.record import Record, shape_guard, why_not_run
from parity.report.sections import kills, losses, zoo
from parity.report.sections.step import by_stage
from parity.report.sections.trajectory import twins_part
from parity.report.text import code, integer, number, prose, small

_NAMED_AT_MOST: Final = 4


@dataclass(frozen=True, slots=True)
class _Part:
    """A clause, and whether what it tells speaks for the same learning, against it, or for neither (None)."""

    text: str
    same: bool | None


def learning_sentence(record: Record) -> str:
    """Say whether the two models learn the same, then what is known of layers, losses, optimizers and speed modes.

    The verdict is that of one training step and of the trajectory; nothing else of the record decides it.
    """
    parts = [part for part in (_step(record), _trajectory(record)) if part is not None]
    beyond = [text for name, say in _BEYOND.items() if (text := _guarded(record, name, say))]
    if not parts and not beyond:
        reason = why_not_run(record, "trajectory") or "no training step and no trajectory is recorded"
        return f"**Do they learn the same? Not checked:** {prose(reason)}."
    text = f"**Do they learn the same? {_verdict(parts)}"
    if parts:
        text += f" {'; '.join(part.text for part in parts)} ({markdown_label(record)})."
    if beyond:
        text += f" On drawn numbers: {'; '.join(beyond)}."
    missing = [name for name, ran in _ran(record).items() if not ran]
    return f"{text} Not run: {', '.join(missing)}." if missing else text


def _verdict(parts: Sequence[_Part]) -> str:
    found = [part.same for part in parts]
    if False in found:
        return "No:**"
    if None in found:
        return "Not established:**"
    return {0: "Not checked.**", 1: "Yes, as far as checked:**", 2: "Yes:**"}[len(found)]


def _ran(record: Record) -> dict[str, bool]:
    """Say which questions of this sentence were asked at all; why not stands in the list of sections not run."""
    ran = {"one training step": bool(step_rows(record))}
    return ran | {
        words: why_not_run(record, name) is None
        for name, words in (
            ("trajectory", "trajectory"), ("zoo", "layer zoo"), ("losses", "losses"), ("optimizers", "optimizers"),
            ("modes", "speed modes"), ("kill_matrix", "kill matrix"),
        )
    }  # fmt: skip


def _guarded(record: Record, name: str, say: Callable[[Record], str]) -> str:
    if why_not_run(record, name) is not None:
        return ""
    with shape_guard(name):
        return say(record)


def _step(record: Record) -> _Part | None:
    rows = step_rows(record)
    if not rows:
        return None
    bad = [row for row in rows if rank(row.get("verdict")) > rank("rounding")]
    if not bad:
        blind = sum((number(row.get("d64_bound")) or 0.0) >= 1.0 for row in rows)
        text = f"one training step agrees in all {len(rows) - blind} comparisons of {_listed(rows)}"
        if blind:
            text += f" that can tell ({blind} more cannot: what rounding may do there exceeds the tensor)"
        return _Part(text, True if blind < len(rows) else None)
    worst = max(rank(row.get("verdict")) for row in bad)
    words = {rank("semantic"): ("differ", False), rank("not-compared"): ("could not be compared", None)}
    said, same = words.get(worst, ("are in less precision than said", None))
    first = next(row for row in bad if rank(row.get("verdict")) == worst)
    count = sum(rank(row.get("verdict")) == worst for row in bad)
    text = f"{count} of {len(rows)} comparisons of one training step {said}, first {code(place(first))}"
    return _Part(f"{text} ({prose(first.get('check'))} check)", same)


def _listed(rows: Sequence[Row]) -> str:
    return ", ".join(prose(stage) for stage in by_stage(rows))


def _trajectory(record: Record) -> _Part | None:
    if why_not_run(record, "trajectory") is not None:
        return None
    with shape_guard("trajectory"):
        return _courses(record["trajectory"])


def _courses(found: Row) -> _Part:
    steps, horizon, twins = integer(found.get("steps")), found.get("horizon"), found.get("twin_first")
    apart = twins_part(found)
    if not found.get("distance"):
        return _Part("no step of a trajectory is recorded", None)
    text = f"over {steps} steps"
    if horizon is None:
        text += " the float32 weights stay inside the bands that a nudge of one ulp gives"
    else:
        at = f" in {code(found['horizon_tensor'])}" if found.get("horizon_tensor") else ""
        text += f" the float32 weights part at step {integer(horizon)}{at}"
    if twins:
        text += f", the float64 twins at step {integer(twins['step'])} in {code(twins['tensor'])}"
    elif apart:
        text += f", the float64 twins by {small(found['twin_distance'])}"
    elif number(found.get("twin_distance")) is not None:
        text += f" and the float64 twins within {small(found['twin_distance'])}"
    noisy = [framework_name(side) for side in found.get("unsteady") or []]
    text += f"; {' and '.join(noisy)} did not repeat the same run" if noisy else ""
    inside = horizon is None and not apart
    return _Part(text, None if inside and len(noisy) > 1 else inside)


def _zoo(record: Record) -> str:
    found = zoo.models(record)
    return zoo.totals(found).rstrip(".") if found else "zero layer kinds compared"


def _losses(record: Record) -> str:
    rows: Sequence[Row] = record["losses"].get("rows") or []
    if not rows:
        return "zero losses compared"
    found = [[row for row in port if row.get("form") != "exact"] for port in losses.ports(rows)]
    apart = [bad for port in found if (bad := [row for row in port if not _passes(row)])]
    unnamed = sum(any(not row.get("trap") for row in port) for port in apart)
    text = f"{len(apart)} of {len(found)} ports of losses differ as written"
    if apart:
        text += f", **{unnamed} of them by no named trap**" if unnamed else ", each by a named trap"
    return f"{text}, {_exact_forms([row for row in rows if row.get('form') == 'exact'])}"


def _exact_forms(rows: Sequence[Row]) -> str:
    if not rows:
        return "no exact form was compared"
    bad = unique(f"{row.get('loss')}: {row.get('case')}" for row in rows if not _passes(row))
    return f"**the exact forms fail for {_names(bad)}**" if bad else "the exact forms all agree"


def _optimizers(record: Record) -> str:
    rows: Sequence[Row] = record["optimizers"]
    if not rows:
        return "zero optimizers compared"
    steps = " and ".join(integer(count) for count in sorted({int(row["steps"]) for row in rows}))
    bad = unique(row.get("optimizer") for row in rows if not _passes(row))
    text = f"optimizers after {steps} steps: largest adapted gap {small(_largest(rows, 'adapted'))}"
    text += f", default gap {small(_largest(rows, 'default'))}"
    return f"{text}, **adapters fail for {_names(bad)}**" if bad else text


def _largest(rows: Sequence[Row], name: str) -> float | None:
    return max((value for row in rows if (value := number(row.get(name))) is not None), default=None)


def _modes(record: Record) -> str:
    rows: Sequence[Row] = record["modes"].get("rows") or []
    ran = unique(_mode(row) for row in rows if "not_run" not in row)
    if not ran:
        return "zero speed modes compared"
    bad = unique(_mode(row) for row in rows if "not_run" not in row and not _passes(row))
    text = f"{len(bad)} of {len(ran)} speed modes do less than they say"
    return f"{text} ({_names(bad)})" if bad else text


def _mode(row: Row) -> str:
    return f"{framework_name(row.get('framework'))} {row.get('mode')}"


def _kills(record: Record) -> str:
    rows: Sequence[Row] = record["kill_matrix"]
    if not rows:
        return "zero traps planted"
    lost = kills.survivors(rows)
    if not lost:
        return f"all {len(rows)} planted faults were caught"
    named = _names(unique(row.get("trap") for row in lost))
    return f"**{len(lost)} of {len(rows)} planted faults were not caught where they are** ({named})"


_BEYOND: Final[Mapping[str, Callable[[Record], str]]] = {
    "zoo": _zoo,
    "losses": _losses,
    "optimizers": _optimizers,
    "modes": _modes,
    "kill_matrix": _kills,
}


def _passes(row: Row) -> bool:
    return rank(row.get("verdict")) <= rank("rounding")


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    shown = ", ".join(code(name) for name in names[:_NAMED_AT_MOST])
    return f"{shown} and {more} more" if more > 0 else shown
