"""Memory: what the allocator and the process peaked at, beside what a training step must hold at once."""

from __future__ import annotations

from typing import Final

from parity.report.findings import Row, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, fixed, inline, integer, mebibytes, table
from parity.report.timings import lane_order, numbers

_PARTS: Final = ("weights", "gradients", "slots", "activations")


def render(record: Record) -> list[str]:
    """Show the peaks of each lane, the highest over its blocks, and the computed floor with its parts."""
    rows = record["benchmarks"].get("memory") or []
    if not rows:
        return []
    names = [name for name in lane_order(record) if any(row.get("lane") == name for row in rows)]
    lines = [_line(name, [row for row in rows if row.get("lane") == name]) for name in names]
    header = ("lane", "blocks", "batch", "allocator peak", "process peak", "floor", *_PARTS, "allocator/floor")
    return [
        f"In MiB ({markdown_label(record)}). The floor is what a training step must hold at once without recomputing:"
        " weights, gradients, the optimizer's slots and the activations that the backward pass needs. The process peak"
        " holds the framework's own code as well; an allocator's peak is known on a GPU only.",
        table(header, lines, "<" + ">" * (len(header) - 1)),
    ]


def _line(name: str, rows: list[Row]) -> tuple[str, ...]:
    device, process, floor = (
        max(numbers(row.get(key) for row in rows), default=None)
        for key in ("device_peak_bytes", "process_peak_bytes", "floor_bytes")
    )
    parts: Row = next((row["parts"] for row in rows if row.get("parts")), {})
    batches = sorted({row["batch"] for row in rows if row.get("batch") is not None})
    return (
        code(name), integer(len({row.get("block") for row in rows})), inline(batches) if batches else NONE,
        mebibytes(device), mebibytes(process), mebibytes(floor), *(mebibytes(parts.get(part)) for part in _PARTS),
        fixed(device / floor if device is not None and floor else None, 2),
    )  # fmt: skip
