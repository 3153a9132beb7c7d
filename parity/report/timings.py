"""The timing samples of a record, gathered lane by lane; samples of different settings never meet in one figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from parity.report.record import Record, why_not_run
from parity.report.text import NONE, fixed, inline, number
from parity.stats import Quartiles, quartiles

Row = Mapping[str, Any]

IMAGE: Final = ("height", "width", "channels")
SETTING: Final = ("work", "batch", *IMAGE)
CONDITIONS: Final = ("device", "threads", "allocator")
LATENCY: Final = "latency"
# The order in which a reader meets works; any other comes after these.
WORKS: Final = ("train", "evaluate", LATENCY)
GLIBC: Final = "glibc's defaults"
_NAMES: Final = (  # how the names of lanes begin, for records that do not describe their lanes
    ("keras-torch", "keras-torch"), ("torch", "torch"), ("pytorch", "torch"), ("ort", "onnxruntime"),
    ("tf", "tensorflow"), ("tensorflow", "tensorflow"), ("keras", "tensorflow"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """All samples of one way to run one work at one setting under one set of conditions; seconds and bytes.

    `setting` holds batch, height, width and channels as recorded, None where they are not. `block_medians_s` has one
    median per process. `refused` says that this lane has, here or at another setting, a step that is faster than the
    machine's hardware allows: a bug and not speed, so that none of its times may be printed as one.
    """

    work: str
    lane: str
    kind: str | None
    setting: Mapping[str, int | None]
    conditions: Mapping[str, str]
    step_s: list[float]
    stats: Quartiles
    blocks: int
    block_medians_s: list[float]
    warmups: list[Row]
    unproven_s: list[float]
    steps_per_sample: list[int]
    images_per_step: float | None
    first_step_s: float | None
    peak_bytes: float | None
    minor_faults_per_step: float | None
    cpu_per_wall: float | None
    host_reads_per_step: float | None
    floor_s: float | None
    roof_share: float | None
    roofline_share: float | None
    refused: bool

    @property
    def images_per_s(self) -> float | None:
        """Images per second at the median step."""
        if self.images_per_step is None or self.stats.median <= 0:
            return None
        return self.images_per_step / self.stats.median

    @property
    def image(self) -> str:
        """The size of an image, as height x width x channels."""
        return image_words(self.setting)


def lanes(record: Record) -> list[Lane]:
    """Gather the timing samples by work, lane, setting and conditions, works and lanes in a fixed order.

    Nothing is dropped but samples without a number.
    """
    samples = _samples(record)
    impossible = impossible_lanes(record)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for sample in samples:
        head = (str(sample["work"]), str(sample["lane"]))
        key = (*head, *_setting_of(sample).values(), *_conditions(sample).values())
        groups.setdefault(key, []).append(sample)
    found = [_lane(group, impossible) for group in groups.values()]
    order = lane_order(record)
    return sorted(found, key=lambda lane: (_place(lane.work, WORKS), _place(lane.lane, order)))


def own_lanes(record: Record) -> list[Lane]:
    """Give the lanes at the run's own setting: its batch (one image for a latency) and its image size."""
    own = own_setting(record)
    return [lane for lane in lanes(record) if is_own({"work": lane.work, **lane.setting}, own)]


def lane_order(record: Record) -> list[str]:
    """Give the names of the lanes in the order of the plan, or as they were first recorded."""
    benchmarks = record["benchmarks"]
    planned = [*((benchmarks.get("plan") or {}).get("lanes") or []), *(benchmarks.get("lanes") or {})]
    timed = [sample.get("lane") for sample in benchmarks.get("samples") or []]
    return list(dict.fromkeys(str(name) for name in [*planned, *timed]))


def own_setting(record: Record) -> dict[str, Any]:
    """Give batch, height, width and channels of the run itself, as far as they are recorded.

    The batch is that of the timing's settings, else of the first sample; the image size is that of the data, else of
    the first sample of that batch.
    """
    samples = [sample for sample in _samples(record) if sample.get("work") != LATENCY]
    first: Row = samples[0] if samples else {}
    batch = ((record.get("benchmarks") or {}).get("timing") or {}).get("batch", first.get("batch"))
    of_batch = [sample for sample in samples if sample.get("batch") == batch]
    size = {name: (of_batch[0] if of_batch else first).get(name) for name in IMAGE}
    if why_not_run(record, "data") is None:
        data = {name: record["data"].get(name) for name in IMAGE}
        if any(all(sample.get(name) == data[name] for name in IMAGE) for sample in of_batch):
            size = data
    return {"batch": batch, **size}


def is_own(row: Row, own: Mapping[str, Any]) -> bool:
    """Say whether a row is at the run's own setting; what a row does not record cannot speak against it."""
    alike = all(row.get(name) is None or row[name] == own.get(name) for name in IMAGE)
    return alike and (row.get("work") == LATENCY or row.get("batch") is None or row["batch"] == own.get("batch"))


def setting_words(row: Row, own: Mapping[str, Any]) -> str:
    """Name a row's work, and its batch and image size where they are not the run's own: `train, batch 8`."""
    parts = [str(row.get("work"))]
    if row.get("batch") is not None and row["batch"] != own.get("batch") and row.get("work") != LATENCY:
        parts.append(f"batch {row['batch']}")
    if any(row.get(name) is not None and row[name] != own.get(name) for name in IMAGE):
        parts.append(f"{image_words(row)} images")
    return ", ".join(parts)


def image_words(row: Row) -> str:
    """Write an image's size as `150x150x1`, or a dash where it is not recorded."""
    sizes = [fixed(row.get(name), 0) for name in IMAGE]
    return NONE if NONE in sizes else "x".join(sizes)


def impossible_lanes(record: Record) -> frozenset[str]:
    """Name the lanes with a step that is faster than the machine's own limit allows, by any record of it."""
    benchmarks = record["benchmarks"]
    found = {str(sample["lane"]) for sample in _samples(record) if _beats_the_floor(sample)}
    limits = benchmarks.get("limits")
    listed = limits.get("refused") if isinstance(limits, Mapping) else None
    return frozenset(found | {str(row["lane"]) for row in listed or []})


def framework_of(record: Record, lane: str) -> str:
    """Give the framework of a lane: as recorded, else as its name says; `other` where neither tells."""
    described = (record["benchmarks"].get("lanes") or {}).get(lane)
    if isinstance(described, Mapping) and described.get("framework"):
        return str(described["framework"])
    lowered = lane.lower()
    return next((framework for start, framework in _NAMES if lowered.startswith(start)), "other")


def numbers(values: Iterable[Any]) -> list[float]:
    """Give the numbers among recorded values."""
    return [found for value in values if (found := number(value)) is not None]


def median(values: Iterable[Any]) -> float | None:
    """Give the median of the numbers among recorded values, or None without any."""
    found = numbers(values)
    return statistics.median(found) if found else None  # what `quartiles` gives, without its cost for every process


def _samples(record: Record) -> list[Row]:
    if why_not_run(record, "benchmarks") is not None:
        return []
    samples = record["benchmarks"].get("samples") or []
    return [row for row in samples if any(number(time) is not None for time in row.get("seconds") or [])]


def _setting_of(row: Row) -> dict[str, int | None]:
    return {name: None if row.get(name) is None else int(row[name]) for name in ("batch", *IMAGE)}


def _conditions(sample: Row) -> dict[str, str]:
    """Give a sample's conditions as text; glibc's own allocator settings are not the same as none recorded."""
    found = {name: NONE if sample.get(name) is None else inline(sample[name]) for name in CONDITIONS}
    return {**found, "allocator": GLIBC if sample.get("allocator") == {} else found["allocator"]}


def _beats_the_floor(sample: Row) -> bool:
    share, floor_s = number(sample.get("roof_share")), number(sample.get("floor_s"))
    shortest = min(numbers(sample["seconds"]))
    if shortest <= 0 or (share is not None and share > 1):
        return True
    if floor_s is None or shortest >= floor_s:
        return False
    middle = median(sample["seconds"])
    return middle is not None and middle < floor_s


def _lane(samples: Sequence[Row], impossible: frozenset[str]) -> Lane:
    step_s = [time for sample in samples for time in numbers(sample["seconds"])]
    first = samples[0]
    setting = _setting_of(first)
    per_step = number(first.get("images_per_step"))
    middle = quartiles(step_s)
    by_block: dict[Any, list[float]] = {}
    for sample in samples:
        by_block.setdefault(sample.get("block"), []).extend(numbers(sample["seconds"]))
    return Lane(
        work=str(first["work"]),
        lane=str(first["lane"]),
        kind=None if first.get("kind") is None else str(first["kind"]),
        setting=setting,
        conditions=_conditions(first),
        step_s=step_s,
        stats=middle,
        blocks=len(by_block),
        block_medians_s=[statistics.median(times) for times in by_block.values()],
        warmups=[sample for sample in samples if sample.get("warmup_seconds")],
        unproven_s=[step_s for sample in samples for step_s in numbers(sample.get("unproven_seconds") or [])],
        steps_per_sample=sorted(
            {int(count) for count in numbers(sample.get("steps_per_sample") for sample in samples)}
        ),
        images_per_step=number(first.get("batch")) if per_step is None else per_step,
        first_step_s=_median_of(samples, "first_step_s"),
        peak_bytes=max(numbers(sample.get("peak_bytes") for sample in samples), default=None),
        minor_faults_per_step=_median_of(samples, "minor_faults_per_step"),
        cpu_per_wall=_median_of(samples, "cpu_per_wall"),
        host_reads_per_step=_median_of(samples, "host_reads_per_step"),
        floor_s=_median_of(samples, "floor_s"),
        roof_share=_share_of(samples, "roof_share", middle.median),
        roofline_share=_share_of(samples, "roofline_share", middle.median),
        refused=str(first["lane"]) in impossible,
    )


def _median_of(samples: Sequence[Row], name: str) -> float | None:
    return median(sample.get(name) for sample in samples)


def _share_of(samples: Sequence[Row], name: str, step_s: float) -> float | None:
    """Give a limit as a share of a lane's median step, which is the time that stands beside it.

    Each sample holds the limit's share of its own median, and so the limit itself.
    """
    shares = ((number(sample.get(name)), median(sample["seconds"])) for sample in samples)
    limit_s = median(share * own_s for share, own_s in shares if share is not None and own_s is not None)
    return limit_s / step_s if limit_s is not None and step_s > 0 else None


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
