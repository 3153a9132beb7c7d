"""A training step taken apart, lane by lane: what table and picture share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from parity.report.findings import Row
from parity.report.record import Record, why_not_run
from parity.report.timings import impossible_lanes, lane_order, median, own_lanes, own_setting

# The parts of a step in the order in which they run, and what they are called.
PHASES: Final[Mapping[str, str]] = {
    "input_s": "input",
    "forward_s": "forward",
    "backward_s": "backward",
    "optimizer_s": "optimizer",
    "host_read_s": "host read",
}
REST: Final = "rest_s"
_COMPUTED: Final = ("forward_s", "backward_s", "optimizer_s")


@dataclass(frozen=True, slots=True)
class Apart:
    """One lane's training step: the median of each phase over blocks, and of the step as it was timed; seconds.

    `within` are the phases that the timed step contains: it reads to the host, or feeds its input, only where the lane
    does. `rest_s` is what the step took beyond them; it is negative where the phases, synchronised one by one, take
    longer than the step as a whole.
    """

    lane: str
    blocks: int
    steps: int
    phases: Mapping[str, float]
    within: tuple[str, ...]
    step_s: float | None
    how: str

    @property
    def rest_s(self) -> float | None:
        """The part of the timed step that no phase explains."""
        if self.step_s is None or not self.within:
            return None
        return self.step_s - sum(self.phases[name] for name in self.within)


def taken_apart(record: Record) -> list[Apart]:
    """Give every lane whose phases are recorded at the run's own batch; one that beats a limit is left out."""
    if why_not_run(record, "benchmarks") is not None:
        return []
    own, impossible = own_setting(record).get("batch"), impossible_lanes(record)
    rows = [row for row in record["benchmarks"].get("phases") or [] if row.get("batch", own) == own]
    steps = {lane.lane: lane for lane in own_lanes(record) if lane.work == "train"}
    found = []
    for name in lane_order(record):
        of_lane = [row for row in rows if row.get("lane") == name]
        if of_lane and name not in impossible:
            step = steps.get(name)
            reads = bool(step and step.host_reads_per_step)
            feeds = bool(step and step.kind == "fit")
            found.append(_apart(name, of_lane, step.stats.median if step else None, reads, feeds))
    return found


def _apart(name: str, rows: list[Row], step_s: float | None, reads: bool, feeds: bool) -> Apart:
    phases = {}
    for phase in PHASES:
        middle = median(median(row.get(phase) or []) for row in rows)
        if middle is not None:
            phases[phase] = middle
    belongs = {*_COMPUTED, *(["host_read_s"] if reads else []), *(["input_s"] if feeds else [])}
    within = tuple(phase for phase in phases if phase in belongs)
    steps = sum(max((len(row.get(phase) or []) for phase in PHASES), default=0) for row in rows)
    how = next((str(row["how"]) for row in rows if row.get("how")), "")
    return Apart(name, len({row.get("block") for row in rows}), steps, phases, within, step_s, how)
