"""The lanes: what each of them is, that it computes what was proven, the plan, and which did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.findings import gate_passed, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, folded, hypertext, inline, integer, number, percent, prose, table
from parity.report.timings import lane_order

_ERRORS: Final = (("logit", "logits"), ("loss", "loss"), ("step_loss", "loss after a step"))
_GATE_SHOWN: Final = frozenset({"lanes", "passed"})


def render_gate(record: Record) -> list[str]:
    """Show the gate before the timing, and each lane's own errors as shares of what rounding allows."""
    gate, label = record["benchmarks"].get("parity_gate"), markdown_label(record)
    if not isinstance(gate, Mapping) or not gate:
        return [f"Parity gate before timing ({label}): not recorded."] if record["benchmarks"].get("samples") else []
    known = isinstance(gate.get("passed"), bool)
    passed = ("passed" if gate_passed(gate) else "**did not pass**") if known else "has no recorded outcome"
    rest = {key: value for key, value in gate.items() if key not in _GATE_SHOWN}
    facts = f": {inline(rest)}" if rest else ""
    parts = [f"The parity gate before timing {passed} ({label}){facts}."]
    lanes = gate.get("lanes") or {}
    if lanes:
        header = ("lane", "precision", *(f"{title}: share of allowed" for _, title in _ERRORS), "bit for bit as proven")
        body = table(header, [_gate_line(name, lanes[name]) for name in _ordered(lanes, record)], "<<>>><")
        parts.append(folded(f"What each of {len(lanes)} lanes computed before it was timed ({hypertext(label)})", body))
    return parts


def _gate_line(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    same = figures.get("identical_to_proven")
    return (
        code(name), prose(figures.get("precision") or NONE), *(_share(figures, key) for key, _ in _ERRORS),
        NONE if same is None else inline(same),
    )  # fmt: skip


def _share(figures: Mapping[str, Any], key: str) -> str:
    error, allowed = number(figures.get(f"{key}_error")), number(figures.get(f"{key}_allowed"))
    return NONE if error is None or not allowed else percent(error / allowed)


def render(record: Record) -> list[str]:
    """Show the plan, each lane's own words and what it reported back, and every lane that did not run."""
    benchmarks, label = record["benchmarks"], markdown_label(record)
    parts = _plan(benchmarks, label)
    described = benchmarks.get("lanes") or {}
    if isinstance(described, Mapping) and described:
        header = ("lane", "framework", "kind", "what it is", "read back from the framework")
        rows = [_lane_line(name, described[name]) for name in _ordered(described, record)]
        body = table(header, rows)
        parts.append(folded(f"The {len(described)} lanes, and what they say of themselves ({hypertext(label)})", body))
    absent = benchmarks.get("lanes_not_run") or []
    if absent:
        lines = [(code(row.get("lane")), prose(row.get("why") or "no reason is recorded")) for row in absent]
        parts += [f"**Lanes not run** ({label})", table(("lane", "why"), lines)]
    return parts


def _lane_line(name: str, lane: Any) -> tuple[str, ...]:
    facts = lane if isinstance(lane, Mapping) else {"description": lane}  # early records hold the words alone
    said = facts.get("facts")
    return (
        code(name), prose(facts.get("framework") or NONE), prose(facts.get("kind") or NONE),
        prose(facts.get("description") or NONE), inline(said) if said else NONE,
    )  # fmt: skip


def _plan(benchmarks: Mapping[str, Any], label: str) -> list[str]:
    plan, timing = benchmarks.get("plan") or {}, benchmarks.get("timing") or {}
    if not plan and not timing:
        return []
    text = []
    if plan:
        text.append(
            f"{integer(plan.get('blocks'))} blocks; in each, every lane ran once in a fresh process of its own, in a"
            f" random order drawn from seed {inline(plan.get('seed'))} ({label})."
        )
    text += [f"Interrupted and gone on with: {prose(row.get('sentence'))}." for row in benchmarks.get("resumed") or []]
    if timing:
        text.append(f"Settings: {'; '.join(f'{prose(key)} {inline(value)}' for key, value in timing.items())}.")
    if benchmarks.get("environment"):
        text.append(f"Environment of every process: {inline(benchmarks['environment'])}.")
    return [" ".join(text)]


def _ordered(lanes: Mapping[str, Any], record: Record) -> Sequence[str]:
    order = lane_order(record)
    return sorted(lanes, key=lambda name: order.index(name) if name in order else len(order))
