"""Speed: what may be claimed, the steps of each lane, and the conditions of the clock."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report import plots
from parity.report.answer import ratio_phrase, settled
from parity.report.findings import Lane, lanes, markdown_label, no_winner_reason
from parity.report.record import Record
from parity.report.text import (
    NONE,
    code,
    fixed,
    inline,
    integer,
    interval,
    mebibytes,
    percent,
    prose,
    seconds,
    table,
)


def render(record: Record) -> str:
    """Show the claims, the step table, the settings, the ratios and the machine's limits."""
    measured, label = lanes(record), markdown_label(record)
    if not measured:
        return "No timing sample is recorded."
    against = no_winner_reason(record)
    parts = [f"> **No winner is named**, because {prose(against)}."] if against else []
    parts += _ratios(record, against, label)
    parts.append(f"**Steady steps** ({label}; times in seconds)\n\n{_steps(measured)}")
    parts += plots.references(record, "speed.png")
    parts.append(f"**Conditions of the clock** ({label})\n\n{_conditions(measured)}")
    limits = record["benchmarks"].get("limits")
    if limits:
        facts = "; ".join(f"{prose(key)} {inline(value)}" for key, value in limits.items())
        parts.append(f"Limits of this machine, measured in the same run: {facts}.")
    gate = record["benchmarks"].get("parity_gate")
    parts.append(f"Parity gate before timing ({label}): {inline(gate) if gate else 'not recorded'}.")
    return "\n\n".join(parts)


def _steps(measured: Sequence[Lane]) -> str:
    with_roof = any(lane.roof_share is not None for lane in measured)
    header = [
        "work", "lane", "n", "blocks", "median_s", "quartiles_s", "IQR/median", "images_per_s",
        "first_step_s", "peak_MiB",
    ]  # fmt: skip
    lines = [_step_line(lane) + ([percent(lane.roof_share)] if with_roof else []) for lane in measured]
    return table(header + (["share of roof"] if with_roof else []), lines, "<<>>>>>>>>>")


def _step_line(lane: Lane) -> list[str]:
    stats = lane.stats
    head = [prose(lane.work), code(lane.lane), integer(stats.n), integer(lane.blocks)]
    if lane.impossible:  # a step faster than the hardware allows is a bug, so it is not printed as a speed
        return [*head, "refused", NONE, NONE, NONE, seconds(lane.first_step_s), mebibytes(lane.peak_bytes)]
    quartiles_s = NONE if stats.q1 is None else f"{seconds(stats.q1)} to {seconds(stats.q3)}"
    return [
        *head, seconds(stats.median), quartiles_s, f"{percent(stats.spread)} {stats.flag}".strip(),
        fixed(lane.images_per_s, 1), seconds(lane.first_step_s), mebibytes(lane.peak_bytes),
    ]  # fmt: skip


def _conditions(measured: Sequence[Lane]) -> str:
    lines = [
        (
            prose(lane.work), code(lane.lane), lane.conditions["batch"], lane.conditions["device"],
            lane.conditions["threads"], lane.conditions["allocator"], integer(lane.minor_faults_per_step),
            fixed(lane.cpu_per_wall, 2),
        )
        for lane in measured
    ]  # fmt: skip
    header = ("work", "lane", "batch", "device", "threads", "allocator", "minor faults/step", "CPU/wall")
    return table(header, lines, "<<><><>>")


def _ratios(record: Record, against: str | None, label: str) -> list[str]:
    ratios = record["benchmarks"].get("ratios") or []
    if not ratios:
        return [f"No ratio is recorded, so no lane is called faster ({label})."]
    lines = [
        (
            prose(ratio["work"]), code(ratio["a"]), code(ratio["b"]), fixed(ratio.get("ratio"), 3),
            interval(ratio.get("low"), ratio.get("high"), 3), integer(ratio.get("blocks")),
            "withheld" if against else _decision(ratio["decision"], settled(ratio, record)),
        )
        for ratio in ratios
    ]  # fmt: skip
    limit = record["benchmarks"].get("detection_limit")
    limited = f"; detection limit {percent(limit)}" if limit is not None else "; detection limit not measured"
    header = ("work", "a", "b", "time b / time a", "95 % interval", "blocks", "a is")
    text = [f"**Ratios of medians, paired by block** ({label}{limited})\n\n{table(header, lines, '<<<>>><')}"]
    if not against:
        text.append("\n".join(f"- {ratio_phrase(ratio, record)} ({label})" for ratio in ratios))
    return text


def _decision(decision: str, is_settled: bool) -> str:
    return prose(decision) if is_settled or decision == "undecided" else "preliminary, no winner"
