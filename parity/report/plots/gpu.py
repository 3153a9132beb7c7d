"""gpu.png: clocks, power and temperature of the GPU while the lanes were timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from parity.report.findings import Row, data_label
from parity.report.plots.style import BAD, FAINT, new_figure, one_line
from parity.report.record import Record, why_not_run
from parity.report.text import number

_FIELDS: Final = (
    ("sm_mhz", "SM clock (MHz)", "#0072B2"),
    ("memory_mhz", "memory clock (MHz)", "#56B4E9"),
    ("power_w", "power (W)", "#E69F00"),
    ("temperature_c", "temperature (°C)", "#D55E00"),
)
# Reasons for lower clocks that were chosen, or mean that there was nothing to do.
_HARMLESS: Final = frozenset({"idle", "application clocks", "sync boost", "display clocks"})


def caption(record: Record) -> str | None:
    """Say what is drawn, n and the data; None without readings."""
    readings = _readings(record)
    if not readings:
        return None
    gpu = record["benchmarks"]["gpu"]
    name = one_line(gpu.get("name") or "the GPU")
    seen = f"n = {len(readings)} readings, {_said(gpu, readings)}"
    return f"{name} while the lanes were timed, {seen} ({data_label(record)})"


def _said(gpu: Mapping[str, Any], readings: Sequence[Row]) -> str:
    """Say whether clocks were held back; long runs keep some of their readings only, and count all."""
    held = sum(_is_throttled(row) for row in readings)
    if held:
        return f"clocks held back in {held} of them"
    if gpu.get("throttled") is None:
        return "whether clocks were held back was not read"
    return "clocks held back in others than these" if gpu["throttled"] else "clocks never held back"


def _readings(record: Record) -> list[Row]:
    if why_not_run(record, "benchmarks") is not None:
        return []
    gpu = record["benchmarks"].get("gpu")
    rows = gpu.get("readings") or [] if isinstance(gpu, Mapping) else []
    found = [row for row in rows if number(row.get("t_s")) is not None]
    return found if any(_series(found, key) for key, *_ in _FIELDS) else []


def _series(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    return [(float(row["t_s"]), value) for row in rows if (value := number(row.get(key))) is not None]


def _is_throttled(row: Row) -> bool:
    """Whether the clocks were held back under a lane: what ceilings are measured with is meant to reach every limit."""
    harmful = any(str(name) not in _HARMLESS for name in row.get("throttle") or [])
    return harmful and not _is_ceiling(row)


def _is_ceiling(row: Row) -> bool:
    return row.get("of") == "ceilings"


def draw(record: Record) -> Any:
    """Draw one panel per kind of reading over time; the time in which the clocks were held back is shaded."""
    readings = _readings(record)
    fields = [field for field in _FIELDS if _series(readings, field[0])]
    figure = new_figure(1.2 + 1.3 * len(fields))
    axes = figure.subplots(len(fields), 1, squeeze=False, sharex=True)[:, 0]
    spans, aside = _spans(readings, _is_throttled), _spans(readings, _is_ceiling)
    for axis, (key, title, colour) in zip(axes, fields, strict=True):
        x, y = zip(*_series(readings, key), strict=True)
        axis.plot(x, y, color=colour, linewidth=1.4)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, 1.12 * max(*y, 1.0))
        for colour, held in ((BAD, spans), (FAINT, aside)):
            for start, end in held:
                axis.axvspan(start, end, color=colour, alpha=0.18, linewidth=0)
    meant = [*["red: clocks held back"] * bool(spans), *["grey: the machine's ceilings are measured"] * bool(aside)]
    axes[-1].set_xlabel("seconds since the campaign began" + (f" ({', '.join(meant)})" if meant else ""))
    return figure


def _spans(readings: Sequence[Row], meets: Callable[[Row], bool]) -> list[tuple[float, float]]:
    """Give from when to when readings are of a kind; a reading speaks for the time up to the next."""
    times = [float(row["t_s"]) for row in readings]
    ends = [*times[1:], times[-1]]
    return [(start, end) for start, end, row in zip(times, ends, readings, strict=True) if meets(row)]
