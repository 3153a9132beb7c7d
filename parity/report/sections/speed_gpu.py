"""GPU readings: clocks, power, temperature and throttling while lanes were timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parity.report import plots
from parity.report.findings import markdown_label
from parity.report.record import Record
from parity.report.text import NONE, fixed, integer, number, prose, table
from parity.report.timings import median, numbers

_FIELDS: Final = (
    ("sm_mhz", "SM clock, MHz", 1),
    ("memory_mhz", "memory clock, MHz", 1),
    ("power_w", "power, W", 1),
    ("temperature_c", "temperature, °C", 1),
    ("memory_used_bytes", "memory in use, MiB", 2**20),
)


def render(record: Record) -> list[str]:
    """Show the spread of each reading, and whether the clocks were held back."""
    gpu = record["benchmarks"].get("gpu")
    if not isinstance(gpu, Mapping):
        return []
    readings, label = gpu.get("readings") or [], markdown_label(record)
    name = f"{prose(gpu.get('name') or 'The GPU')}, driver {prose(gpu.get('driver') or 'not recorded')}"
    asked = int(number(gpu.get("asked")) or 0)
    kept = f", of which {integer(len(readings))} are kept" if asked > len(readings) else ""
    parts = [f"{name}: {_throttled(gpu)} ({label}; n = {integer(max(asked, len(readings)))} readings{kept})."]
    lines = [line for field in _FIELDS if (line := _line(gpu, *field)) is not None]
    if lines:
        parts.append(table(("reading", "lowest", "median", "highest"), lines, "<>>>"))
    parts += plots.references(record, "gpu.png")
    parts += [f"Note: {prose(gpu['note'])}."] if gpu.get("note") else []
    return parts


def _throttled(gpu: Mapping[str, Any]) -> str:
    if gpu.get("throttled") is None:
        return "whether its clocks were held back was not read"
    seen, aside = (_counted(gpu.get(key)) for key in ("throttle_reasons", "ceilings_throttle_reasons"))
    apart = f", and beside the lanes, while the machine's ceilings were measured: {aside}" if aside else ""
    if gpu["throttled"]:
        return f"**its clocks were held back** ({seen or 'reasons not recorded'}{apart})"
    return f"its clocks were not held back{f' (harmless: {seen})' if seen else ''}{apart}"


def _counted(reasons: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{prose(name)} in {integer(count)} readings" for name, count in (reasons or {}).items())


def _line(gpu: Mapping[str, Any], field: str, title: str, unit: int) -> tuple[str, ...] | None:
    spread = (gpu.get("summary") or {}).get(field)
    if not spread:
        found = numbers(row.get(field) for row in gpu.get("readings") or [])
        spread = [min(found), median(found), max(found)] if found else None
    if not spread:
        return None
    return (title, *(NONE if value is None else fixed(value / unit, 0) for value in spread))
