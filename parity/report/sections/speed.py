"""Speed: what may be claimed, and everything that a reader needs who does not believe it, one small module per part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from parity.report import plots
from parity.report.claims import STEP, headlines, kind_of, ratio_phrase
from parity.report.findings import markdown_label, no_winner_reason
from parity.report.record import Record
from parity.report.sections import (
    speed_claims,
    speed_cold,
    speed_gpu,
    speed_lanes,
    speed_latency,
    speed_limits,
    speed_memory,
    speed_phases,
    speed_proof,
    speed_sensitivity,
    speed_steps,
    speed_supply,
    speed_sweeps,
)
from parity.report.text import prose
from parity.report.timings import lanes

# Heading, and what gives the paragraphs below it: none where the record has nothing. A new part is one entry here.
PARTS: Final[Sequence[tuple[str, Callable[[Record], list[str]]]]] = (
    ("Claims", speed_claims.render),
    ("A/A check and detection limits", speed_claims.render_check),
    ("Steady steps", speed_steps.render),
    ("Conditions of the clock", speed_steps.render_conditions),
    ("Latency of one image", speed_latency.render),
    ("Batch and image size", speed_sweeps.render),
    ("Cold start", speed_cold.render),
    ("Where the time of a training step goes", speed_phases.render),
    ("Memory", speed_memory.render),
    ("Limits of this machine", speed_limits.render),
    ("What would change the answer", speed_sensitivity.render),
    ("Input supply", speed_supply.render),
    ("GPU readings", speed_gpu.render),
    ("Against the baseline", speed_proof.render_baseline),
    ("Parity gate", speed_lanes.render_gate),
    ("Lanes and plan", speed_lanes.render),
    ("How often this method errs", speed_proof.render),
)


def render(record: Record) -> str:
    """Show the headline, then every part that the record holds, and name those that it does not."""
    parts = [*_headline(record)] if lanes(record) else ["No timing sample is recorded."]
    absent = []
    for heading, show in PARTS:
        shown = show(record)
        if shown:
            parts += [f"### {heading}", *shown]
        else:
            absent.append(heading)
    if absent:
        parts.append(f"Not in this record: {'; '.join(absent)}.")
    return "\n\n".join(parts)


def _headline(record: Record) -> list[str]:
    label, against = markdown_label(record), no_winner_reason(record)
    ratios = headlines(record)
    ratios = [row for row in ratios if kind_of(row) == STEP] or ratios  # the other kinds stand under Claims
    if against:
        parts = [f"> **No winner is named**, because {prose(against)}."]
    elif ratios:
        parts = ["\n".join(f"- {ratio_phrase(ratio, record)} ({label})" for ratio in ratios)]
    else:
        parts = [f"No ratio is recorded, so no lane is called faster ({label})."]
    return [*parts, *plots.references(record, "speed.png")]
