"""What the GPU did while lanes were timed: clocks, power, temperature, throttling and memory, read through NVML.

A thread of the parent asks the driver twice a second. NVML is optional (`pip install parity[gpu]`), and whatever fails
here is a note in the record: readings must never end a campaign.
"""

from __future__ import annotations

import importlib
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from parity.bench.devices import first_bus_id

PERIOD_S = 0.5
MOST_READINGS = 1200  # more are thinned out: every second one goes, and the period doubles
STOP_LIMIT_S = 5.0

# Source: nvml.h, nvmlClocksEventReasons; the numbers are part of NVML's binary interface.
REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
HARMLESS = frozenset({"idle", "application clocks", "sync boost", "display clocks"})
"""Reasons for lower clocks that were chosen, or mean that there was nothing to do; all others are throttling."""

LANES, CEILINGS = "lanes", "ceilings"  # what the machine is busy with at a reading
FIELDS = ("sm_mhz", "memory_mhz", "power_w", "temperature_c", "memory_used_bytes")


class GpuReadings:
    """Reads one GPU in the background between `start` and `stop`, or inside a `with` block; `facts` is for the record.

    `library` is NVML's Python module; unless given, `pynvml` is imported.
    """

    def __init__(self, library: Any = None, period_s: float = PERIOD_S) -> None:
        self._library = library
        self._period_s = period_s
        self._handle: Any = None
        self._notes: list[str] = []
        self._name: str | None = None
        self._driver: str | None = None
        self._readings: list[dict[str, Any]] = []
        self._reasons_of: dict[str, dict[str, int]] = {LANES: {}, CEILINGS: {}}
        self._busy_with = LANES
        self._told = 0  # readings in which the driver gave its reasons
        self._asked = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_s = 0.0

    def start(self) -> GpuReadings:
        """Begin reading; where that is not possible, note why and go on without."""
        try:
            self._open()
        except Exception as error:
            self._note(_why(error))
            return self
        self._start_s = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="parity-gpu-readings", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> dict[str, Any]:
        """End reading and return `facts`; a second call returns the same."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_LIMIT_S)  # the driver can hang; the campaign must not
            if self._thread.is_alive():
                self._note("the driver did not answer the last reading")
            else:
                self._close()
            self._thread = None
        return self.facts()

    def facts(self) -> dict[str, Any]:
        """Return name, driver, readings, their [lowest, median, highest], and whether the clocks were throttled.

        `readings`: seconds since the start, MHz, W, degrees Celsius, bytes; a figure that this device does not have is
        None, as is `throttle` where the driver keeps its reasons to itself. `throttle_reasons` counts the readings that
        showed each one. `throttled` is None where no reading gave any reasons: not to know is not to be at full speed.
        What was read in the block `ceilings` says nothing of lanes: such readings are `of` ceilings, are in no summary,
        and their reasons are `ceilings_throttle_reasons`.
        """
        readings, reasons = list(self._readings), dict(self._reasons_of[LANES])
        of_lanes = [row for row in readings if row.get("of", LANES) == LANES]
        return {
            "name": self._name,
            "driver": self._driver,
            "readings": readings,
            "summary": {name: _spread([row[name] for row in of_lanes]) for name in FIELDS},
            "throttled": any(name not in HARMLESS for name in reasons) if self._told else None,
            "throttle_reasons": dict(sorted(reasons.items())),
            "ceilings_throttle_reasons": dict(sorted(self._reasons_of[CEILINGS].items())),
            "asked": self._asked,
            "note": "; ".join(self._notes) or None,
        }

    @contextmanager
    def ceilings(self) -> Iterator[None]:
        """Mark what is read in this block as read while the machine's ceilings were measured.

        Large products drive a card into its power limit (an H100: 640 W, and 122 W under the lanes of this network).
        """
        self._busy_with = CEILINGS
        try:
            yield
        finally:
            self._busy_with = LANES

    def __enter__(self) -> GpuReadings:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open(self) -> None:
        library = self._library = self._library or importlib.import_module("pynvml")
        library.nvmlInit()
        self._handle = self._device(library)
        self._name, self._driver = (
            _text(library.nvmlDeviceGetName(self._handle)),
            _text(library.nvmlSystemGetDriverVersion()),
        )

    def _device(self, library: Any) -> Any:
        """Return the device that CUDA calls 0, by the address of its slot, which both name alike.

        The numbers of CUDA and NVML differ, and a slice of a card (MIG) has no clocks of its own: at the address is the
        whole card. Without an address it is the first of CUDA_VISIBLE_DEVICES, by identifier or number.
        """
        address = first_bus_id()
        if address is not None:
            return library.nvmlDeviceGetHandleByPciBusId(address)
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
        if first.startswith(("GPU-", "MIG-")):
            return library.nvmlDeviceGetHandleByUUID(first)
        if library.nvmlDeviceGetCount() > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            self._note("several GPUs and no CUDA_DEVICE_ORDER=PCI_BUS_ID: CUDA's first may be another than NVML's")
        return library.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)

    def _watch(self) -> None:
        while True:
            self._asked += 1
            try:
                self._readings.append(self._read())
            except Exception as error:
                self._note(f"a reading failed: {_why(error)}")
            if len(self._readings) >= MOST_READINGS:
                self._readings, self._period_s = self._readings[::2], 2 * self._period_s
            if self._stopping.wait(self._period_s):
                return

    def _read(self) -> dict[str, Any]:
        library, handle = self._library, self._handle
        busy_with = self._busy_with
        reasons = self._asked_for(self._reasons)
        names = None if reasons is None else _names(reasons)
        counts = self._reasons_of[busy_with]
        for name in names or []:
            counts[name] = counts.get(name, 0) + 1
        self._told += names is not None and busy_with == LANES
        power_mw = self._asked_for(lambda: library.nvmlDeviceGetPowerUsage(handle))
        return {
            "t_s": time.monotonic() - self._start_s,
            "sm_mhz": self._asked_for(lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM)),
            "memory_mhz": self._asked_for(lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_MEM)),
            "power_w": None if power_mw is None else power_mw / 1000,
            "temperature_c": self._asked_for(
                lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)
            ),
            "memory_used_bytes": self._asked_for(lambda: library.nvmlDeviceGetMemoryInfo(handle).used),
            "throttle": names,
            "of": busy_with,
        }

    def _reasons(self) -> int:
        # The call got its present name with driver 535: older bindings have the other one only, and newer bindings have
        # both on an older driver, which knows the other one only.
        try:
            return int(self._library.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        except Exception:
            return int(self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))

    def _asked_for(self, ask: Callable[[], Any]) -> Any:
        """Return one figure, or None where this device does not have it."""
        try:
            return ask()
        except Exception as error:
            self._note(f"a figure is missing: {_why(error)}")
            return None

    def _close(self) -> None:
        try:
            self._library.nvmlShutdown()
        except Exception as error:
            self._note(_why(error))

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def joined(earlier: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a campaign that was interrupted: what the earlier part has read counts as well.

    The `readings` that are kept, and their summary, are of the last part alone; each part has a clock of its own.
    """
    if not earlier:
        return dict(now)
    held = [part.get("throttled") for part in (earlier, now)]
    before = int(earlier.get("asked") or 0)
    note = f"{before} of the readings are of the part that was interrupted, and are counted only"
    notes = [*dict.fromkeys(part for part in (earlier.get("note"), now["note"], note) if part)]
    return {
        **now,
        "throttled": True if True in held else None if None in held else False,
        **{key: _added(earlier.get(key), now.get(key)) for key in ("throttle_reasons", "ceilings_throttle_reasons")},
        "asked": before + now["asked"],
        "note": "; ".join(notes),
    }


def _added(*counts: Mapping[str, int] | None) -> dict[str, int]:
    found: Counter[str] = Counter()
    for part in counts:
        found.update(part or {})
    return dict(sorted(found.items()))


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "pynvml":
        return "no GPU readings: the package nvidia-ml-py is not installed (pip install parity[gpu])"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _names(reasons: int) -> list[str]:
    """Return the reasons in a bit mask; one that has no name here is told by its number, and counts as throttling."""
    unknown = reasons & ~sum(REASONS)
    return [name for bit, name in REASONS.items() if bit & reasons] + ([f"unknown ({unknown:#x})"] if unknown else [])


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _spread(values: list[float | None]) -> list[float] | None:
    known = [float(value) for value in values if value is not None]
    return [min(known), float(statistics.median(known)), max(known)] if known else None
