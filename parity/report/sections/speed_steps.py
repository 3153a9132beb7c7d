"""Steady steps at the run's own setting, and the conditions under which the clock ran."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report.findings import markdown_label
from parity.report.record import Record
from parity.report.text import (
    NONE,
    code,
    fixed,
    folded,
    hypertext,
    inline,
    integer,
    mebibytes,
    percent,
    prose,
    seconds,
    table,
)
from parity.report.timings import GLIBC, LATENCY, Lane, lanes, own_lanes, own_setting

_UNFOLDED_AT_MOST = 12


def render(record: Record) -> list[str]:
    """Show every lane's steps; single images have their own table, other settings too."""
    measured = [lane for lane in own_lanes(record) if lane.work != LATENCY]
    if not measured:
        return []
    own = own_setting(record)
    batch = f"batch {inline(own['batch'])}" if own.get("batch") is not None else "batch not recorded"
    image = measured[0].image
    setting = batch if image == NONE else f"{batch}, {image} images"
    refused = any(lane.refused for lane in measured)
    parts = [f"{setting} ({markdown_label(record)}; times in seconds)", _steps(measured)]
    if refused:
        parts.append("A refused lane has a step that is faster than this machine's hardware allows: a fault, no speed.")
    return parts


def _steps(measured: Sequence[Lane]) -> str:
    with_roof = any(lane.roof_share is not None for lane in measured)
    header = [
        "work", "lane", "n", "blocks", "median_s", "quartiles_s", "IQR/median", "images_per_s",
        "first_step_s", "peak_MiB", "kind",
    ]  # fmt: skip
    lines = [_step_line(lane) + ([_share(lane)] if with_roof else []) for lane in measured]
    return table(header + (["share of roof"] if with_roof else []), lines, "<<>>>>>>>><>")


def _share(lane: Lane) -> str:
    return "refused" if lane.refused else percent(lane.roof_share)


def _step_line(lane: Lane) -> list[str]:
    stats = lane.stats
    head = [prose(lane.work), code(lane.lane), integer(stats.n), integer(lane.blocks)]
    tail = [seconds(lane.first_step_s), mebibytes(lane.peak_bytes), prose(lane.kind or NONE)]
    if lane.refused:  # a step faster than the hardware allows is a bug, so it is not printed as a speed
        return [*head, "refused", NONE, NONE, NONE, *tail]
    quartiles_s = NONE if stats.q1 is None else f"{seconds(stats.q1)} to {seconds(stats.q3)}"
    spread = f"{percent(stats.spread)} {stats.flag}".strip()
    return [*head, seconds(stats.median), quartiles_s, spread, fixed(lane.images_per_s, 1), *tail]


def render_conditions(record: Record) -> list[str]:
    """Show threads, allocator, page faults, CPU time, host reads and warm-up of every lane and setting."""
    measured = lanes(record)
    if not measured:
        return []
    label = markdown_label(record)
    own = {id(lane) for lane in measured} if len(measured) <= _UNFOLDED_AT_MOST else set()
    shown = [lane for lane in measured if id(lane) in own]
    allocators = _allocators(measured)
    body = _conditions(measured, allocators)
    shown_body = body if shown else folded(f"All {len(measured)} lanes and settings ({hypertext(label)})", body)
    parts = [f"Medians over blocks ({label}).", shown_body]
    settings = [f"{name}: {prose(text)}" for text, name in allocators.items() if name.startswith("set")]
    parts += [f"Allocator {'; '.join(settings)}."] if settings else []
    return parts + _unproven(measured)


def _unproven(measured: Sequence[Lane]) -> list[str]:
    """Say which spans are no samples, since nothing proved that their clock had waited for the device."""
    counts = [f"{code(lane.lane)} {prose(lane.work)} {len(lane.unproven_s)}" for lane in measured if lane.unproven_s]
    if not counts:
        return []
    return [
        f"Timed again, since it was not proven that the clock had waited for the device (spans): {', '.join(counts)}."
        " What the first clock showed is in the record, as `unproven_seconds`, and in no figure here."
    ]


def _conditions(measured: Sequence[Lane], allocators: dict[str, str]) -> str:
    lines = [
        (
            prose(lane.work), code(lane.lane), inline(lane.setting["batch"]), lane.image, lane.conditions["device"],
            lane.conditions["threads"], allocators[lane.conditions["allocator"]], integer(lane.minor_faults_per_step),
            fixed(lane.cpu_per_wall, 2), fixed(lane.host_reads_per_step, 1), _settled(lane),
        )
        for lane in measured
    ]  # fmt: skip
    header = (
        "work", "lane", "batch", "image", "device", "threads", "allocator", "minor faults/step", "CPU/wall",
        "host reads/step", "warm-up settled",
    )  # fmt: skip
    return table(header, lines, "<<>><><>>>>")


def _allocators(measured: Sequence[Lane]) -> dict[str, str]:
    """Give each allocator's settings a short name for the table."""
    texts = list(dict.fromkeys(lane.conditions["allocator"] for lane in measured))
    own = [text for text in texts if text not in (GLIBC, NONE)]
    names = {text: "set" if len(own) == 1 else f"set {index}" for index, text in enumerate(own, start=1)}
    return {text: names.get(text, text) for text in texts}


def _settled(lane: Lane) -> str:
    known = [row for row in lane.warmups if row.get("warmup_settled") is not None]
    if not known:
        return NONE
    return f"{sum(bool(row['warmup_settled']) for row in known)} of {len(known)}"
