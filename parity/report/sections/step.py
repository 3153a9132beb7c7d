"""One training step, taken apart: loss, gradients, state, update, slots, and evaluation with the new weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from parity.report.findings import (
    Row,
    data_label,
    framework_name,
    markdown_label,
    rank,
    row_share,
    stage_of,
    step_rows,
    twin_gap,
    unique,
    vanishes,
    worst,
)
from parity.report.record import Record
from parity.report.sections.parity import details, grouped, where_seen, worst_word
from parity.report.text import NONE, code, number, percent, prose, small, table

# In the order in which a step makes them; the text tells what was compared.
STAGES: Final[Mapping[str, str]] = {
    "loss": "the loss of the batch",
    "input-gradient": "the gradient of the loss with respect to each tensor between the layers",
    "parameter-gradient": "the gradient with respect to each weight",
    "state": "statistics that training keeps, after the step",
    "update": "each weight after the step",
    "slot": "the optimizer's own memory after the step",
    "after-training": "what each layer puts out in evaluation mode with the new weights",
}
_HEADER: Final = ("tensor", "forced", "propagated", "d64", "d64 bound", "share", "closer", "worst at")
_PAGE: Final = ("model", "weights", "probe")


def render(record: Record) -> str:
    """Show a table for each stage of a training step, and every comparison folded below."""
    rows, label = step_rows(record), markdown_label(record)
    if not rows:
        return "Not run: no training step is recorded."
    parts = [_intro(rows, label)]
    parts += [_stage(stage, group, label) for stage, group in by_stage(rows).items()]
    if any(vanishes(row) for row in rows):
        parts.append("\\* Zero but for rounding: the figures are fractions of the size of what cancels.")
    return "\n\n".join(parts + [details(group, data_label(record)) for group in grouped(rows, _PAGE)])


def by_stage(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Gather rows by stage, in the order of a step; a stage of a later version comes last."""
    found: dict[str, list[Row]] = {stage: [] for stage in (*STAGES, *unique(map(stage_of, rows)))}
    for row in rows:
        found[stage_of(row)].append(row)
    return {stage: group for stage, group in found.items() if group}


# Rounding explains no more than about this in double precision, unless something is undecided.
_BLUNT: Final = 1e-10


def _intro(rows: Sequence[Row], label: str) -> str:
    bad = [row for row in rows if rank(row.get("verdict")) > rank("rounding")]
    text = f"{len(rows)} comparisons in {len(by_stage(rows))} stages"
    text += f": **{len(bad)} not identical or rounding**" if bad else ": all identical or rounding"
    gap = twin_gap(rows)
    text += f"; d64 at most {small(gap)}" if gap is not None else ""
    loose = sum((number(row.get("bound")) or 0.0) >= 1 for row in rows)
    text = f"{text} ({label})."
    if loose:
        text += f" In {loose} of them float32's largest bound exceeds the tensor itself: there d64 decides."
    blunt = sum((number(row.get("d64_bound")) or 0.0) > _BLUNT for row in rows)
    if blunt:
        text += (
            f" In {blunt} even the float64 bound is above {small(_BLUNT)}: rounding could choose another maximum in a"
            " pooling window or another side of a ReLU, or the worst case adds up. Gradients and statistics have forced"
            " checks that decide then; loss, update, slots and evaluation afterwards have the other probes."
        )
    return text


def _stage(stage: str, rows: Sequence[Row], label: str) -> str:
    lines = [_line(group) for group in grouped(rows, ("tensor",))]
    what = f": {STAGES[stage]}" if stage in STAGES else ""
    title = f"**{prose(stage)}**{what} ({len(rows)} comparisons; {label})"
    return f"{title}\n\n{table(_HEADER, lines, '<<<>>><<')}"


def _line(rows: Sequence[Row]) -> tuple[str, ...]:
    shown, apart = worst(rows), max(rows, key=lambda row: number(row.get("d64")) or 0.0)
    checks = (worst_word([row for row in rows if row.get("check") == check]) for check in ("forced", "propagated"))
    return (
        code(shown.get("tensor")), *checks, small(apart.get("d64")) + (" \\*" if vanishes(apart) else ""),
        small(apart.get("d64_bound")), percent(row_share(shown)), framework_name(shown.get("closer") or NONE),
        where_seen(shown),
    )  # fmt: skip
