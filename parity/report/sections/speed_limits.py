"""Limits of this machine: its ceilings, what a step costs at least, and how near each lane comes to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, markdown_label, unique
from parity.report.record import Record
from parity.report.text import (
    NONE,
    code,
    fixed,
    folded,
    hypertext,
    inline,
    integer,
    number,
    percent,
    prose,
    seconds,
    table,
)
from parity.report.timings import Lane, image_words, impossible_lanes, own_lanes

_UNITS: Final = (("_gflops", "GFLOP/s"), ("_gb_s", "GB/s"))
_NOT_CEILINGS: Final = frozenset({"measured", "passed", "refused"})


def render(record: Record) -> list[str]:
    """Show the ceilings, the floors with every count of operations, each lane's share, and what was refused."""
    label = markdown_label(record)
    limits = record["benchmarks"].get("limits") or {}
    floors = record["benchmarks"].get("floors") or []
    parts = [*_refused(limits, sorted(impossible_lanes(record)), label), *_ceilings(limits, label)]
    parts += [*_shares(record, label), *_floors(floors, label)]
    return parts


def _refused(limits: Mapping[str, Any], impossible: Sequence[str], label: str) -> list[str]:
    """Name the steps that were faster than the machine allows, without their times: those are not speeds."""
    rows = limits.get("refused") or []
    if not rows and impossible:  # by the samples themselves, whatever the check says
        return [f"**Refused: {', '.join(map(code, impossible))}** is faster than this machine's limit ({label})."]
    if not rows:
        return [f"No step is faster than this machine's limit ({label})."] if limits.get("passed") is True else []
    lines = [(prose(row.get("work")), code(row.get("lane")), inline(row.get("block")), seconds(row.get("floor_s")))
             for row in rows]  # fmt: skip
    header = ("work", "lane", "block", "least seconds that a step can take")
    title = f"**Refused: {len(rows)} measurements are faster than this machine's limit** ({label}). Their times are a"
    return [f"{title} fault of the measurement and are not printed.", table(header, lines, "<<>>")]


def _ceilings(limits: Mapping[str, Any], label: str) -> list[str]:
    names = [name for name in limits if name not in _NOT_CEILINGS and number(limits[name]) is not None]
    if not names:
        return []
    measured: Sequence[Row] = limits.get("measured") or []
    header = ("measured by", "when", *(_ceiling_name(name) for name in names))
    lines = [
        (prose(row.get("framework", NONE)), prose(row.get("where", NONE)), *(fixed(row.get(name), 1) for name in names))
        for row in measured
    ]
    lines.append(("**best of all**", NONE, *(fixed(limits[name], 1) for name in names)))
    ways = unique(f"{row.get('framework')}: {row['how']}" for row in measured if row.get("how"))
    text = f"The machine's ceilings, measured in this campaign ({label}). A disturbance only lowers a ceiling, so that"
    text += " the best of all counts."
    return [
        text,
        table(header, lines, "<<" + ">" * len(names)),
        *(["\n".join(f"- {prose(w)}" for w in ways)] if ways else []),
    ]


def _ceiling_name(name: str) -> str:
    for end, unit in _UNITS:
        if name.endswith(end):
            return f"{prose(name.removesuffix(end).replace('_', ' '))}, {unit}"
    return prose(name.replace("_", " "))


def _shares(record: Record, label: str) -> list[str]:
    measured = [lane for lane in own_lanes(record) if lane.floor_s is not None or lane.roof_share is not None]
    if not measured:
        return []
    header = ("work", "lane", "floor_s", "median_s", "share of roof", "share of roofline")
    return [
        "A lane's share of its roof is the least time that a step can take here (the floor) over the time"
        " that it took: 100 % cannot be passed. The roofline is what a very good program reaches: plain algorithms in"
        f" fused kernels, data from memory; caches and fast convolutions can pass it ({label}).",
        table(header, [_share_line(lane) for lane in measured], "<<>>>>"),
        *plots.references(record, "roofline.png"),
    ]


def _share_line(lane: Lane) -> tuple[str, ...]:
    head = (prose(lane.work), code(lane.lane), seconds(lane.floor_s))
    if lane.refused:
        return (*head, "refused", "refused", NONE)
    return (*head, seconds(lane.stats.median), percent(lane.roof_share), percent(lane.roofline_share))


def _floors(floors: Sequence[Row], label: str) -> list[str]:
    if not floors:
        return []
    frameworks = unique(count.get("framework") for row in floors for count in row.get("counted") or [])
    header = (
        "work", "batch", "image", "precision", "parameters", "FLOP by formula",
        *(f"FLOP by {prose(name)}" for name in frameworks), "bytes", "saved bytes", "floor_s", "bound by", "roofline_s",
    )  # fmt: skip
    align = "<>><>>" + ">" * len(frameworks) + ">>><>"
    wrong = [row for row in floors if any(count.get("agrees") is False for count in row.get("counted") or [])]
    parts = [
        f"What a step costs at least, by formula and as each framework's own counter says ({label})."
        + (" **A counter disagrees with the formula.**" if wrong else ""),
    ]
    shown = table(header, [_floor_line(row, frameworks) for row in floors], align)
    many = len(floors) > 6
    parts.append(folded(f"All {len(floors)} settings ({hypertext(label)})", shown) if many else shown)
    counters = unique(_counter(count) for row in floors for count in row.get("counted") or [])
    return [*parts, *(["\n".join(f"- {prose(text)}" for text in counters)] if counters else [])]


def _counter(count: Row) -> str:
    """Name a framework's counter, and what it counts."""
    name = f"{count.get('framework')}: {count.get('counter')}"
    return f"{name}; {count['note']}" if count.get("note") else name


def _floor_line(row: Row, frameworks: Sequence[str]) -> tuple[str, ...]:
    counted = {str(count.get("framework")): count for count in row.get("counted") or []}
    return (
        prose(row.get("work")), inline(row.get("batch")), image_words(row), prose(row.get("precision", "float32")),
        integer(row.get("parameters")), integer(row.get("flops")),
        *(_count(counted.get(name)) for name in frameworks),
        integer(row.get("bytes")), integer(row.get("saved_bytes")), seconds(row.get("floor_s")),
        prose(row.get("by") or NONE), seconds(row.get("roofline_s")),
    )  # fmt: skip


def _count(count: Row | None) -> str:
    if count is None:
        return NONE
    if count.get("flops") is None:
        return "no counter"
    if count.get("agrees") is None:
        return integer(count["flops"])
    return "agrees" if count["agrees"] else f"**{integer(count['flops'])}**"
