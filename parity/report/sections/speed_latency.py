"""Latency of one image: percentiles of single steps, from the samples themselves."""

from __future__ import annotations

from parity.report.findings import markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, integer, prose, seconds, table
from parity.report.timings import LATENCY, Lane, lanes
from parity.stats import P99_SAMPLES, percentiles


def render(record: Record) -> list[str]:
    """Show the 50th, 90th and 99th percentile, or why there is none."""
    measured = [lane for lane in lanes(record) if lane.work == LATENCY]
    if not measured:
        return []
    header = ("lane", "image", "n", "blocks", "p50_s", "p90_s", "p99_s", "kind")
    return [
        f"One image, forward pass, all processes of a lane together ({markdown_label(record)}; times in seconds). A"
        f" p99 needs {P99_SAMPLES} samples: of fewer, even the largest is more often below it than 1 time in 20.",
        table(header, [_line(lane) for lane in measured], "<>>>>>><"),
    ]


def _line(lane: Lane) -> tuple[str, ...]:
    head = (code(lane.lane), lane.image, integer(lane.stats.n), integer(lane.blocks))
    kind = prose(lane.kind or NONE)
    if lane.refused:
        return (*head, "refused", NONE, NONE, kind)
    if any(steps > 1 for steps in lane.steps_per_sample):  # percentiles of means say nothing about single steps
        return (*head, "means of several steps have none", NONE, NONE, kind)
    seen = percentiles(lane.step_s)
    p99 = f"{seen.n} of {P99_SAMPLES} samples" if seen.p99 is None else seconds(seen.p99)
    return (*head, seconds(seen.p50), seconds(seen.p90), p99, kind)
