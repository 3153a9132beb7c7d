"""GPU readings: what NVML says reaches the record, and whatever goes wrong is a note and no failure."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from parity.bench import gpu
from parity.bench.gpu import GpuReadings


class NvmlError(Exception):
    """As pynvml.NVMLError."""


class FakeNvml:
    """Answers as pynvml does for one T4 at work."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, reasons: int = 0, count: int = 1, **failing: Exception) -> None:
        self.reasons, self.count, self.failing = reasons, count, failing
        self.asked: list[str] = []
        self.handles: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": self.count,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetHandleByPciBusId": "handle",
            "nvmlDeviceGetName": b"Tesla T4",
            "nvmlSystemGetDriverVersion": "580.82",
            "nvmlDeviceGetPowerUsage": 68_500,
            "nvmlDeviceGetTemperature": 71,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=123_456_789),
            "nvmlDeviceGetCurrentClocksEventReasons": self.reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self.reasons,
        }
        if name != "nvmlDeviceGetClockInfo" and name not in answers:
            raise AttributeError(name)

        def answer(*given: Any) -> Any:
            self.asked.append(name)
            if name.startswith("nvmlDeviceGetHandle"):
                self.handles += given
            if name in self.failing:
                raise self.failing[name]
            return {1: 1590, 2: 5001}[given[1]] if name == "nvmlDeviceGetClockInfo" else answers[name]

        return answer


def facts(library: Any, readings: int = 3) -> dict[str, Any]:
    """Read until that many readings were asked for, and return the facts."""
    watching = GpuReadings(library, period_s=0.001).start()
    deadline = time.monotonic() + 10
    while watching.facts()["asked"] < readings and time.monotonic() < deadline and watching._thread:
        time.sleep(0.001)
    return watching.stop()


@pytest.fixture(autouse=True)
def no_real_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver of a machine that has one must not answer for the one that is made up."""
    monkeypatch.setattr(gpu, "first_bus_id", lambda: None)


def test_what_the_driver_says_is_kept() -> None:
    found = facts(FakeNvml())
    assert (found["name"], found["driver"], found["throttled"], found["note"]) == ("Tesla T4", "580.82", False, None)
    assert len(found["readings"]) >= 3
    row = dict(found["readings"][0])
    assert 0 <= row.pop("t_s") < 10
    assert row == {
        "sm_mhz": 1590,
        "memory_mhz": 5001,
        "power_w": 68.5,
        "temperature_c": 71,
        "memory_used_bytes": 123_456_789,
        "throttle": [],
        "of": "lanes",
    }
    assert found["summary"]["power_w"] == [68.5, 68.5, 68.5]
    assert json.loads(json.dumps(found)) == found
    times = [reading["t_s"] for reading in found["readings"]]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("reasons", "names", "throttled"),
    [
        (0x4, ["power cap"], True),
        (0x8 | 0x40, ["hardware slowdown", "hardware thermal slowdown"], True),
        (0x20 | 0x1, ["idle", "software thermal slowdown"], True),
        (0x80, ["power brake"], True),
        (0x1, ["idle"], False),
        (0x2 | 0x10 | 0x100, ["application clocks", "sync boost", "display clocks"], False),
        (0x200, ["board limit"], True),
        (0x1000 | 0x1, ["idle", "unknown (0x1000)"], True),
    ],
)
def test_throttling_is_reported_and_idling_is_not(reasons: int, names: list[str], throttled: bool) -> None:
    found = facts(FakeNvml(reasons))
    assert found["throttled"] is throttled
    assert found["readings"][0]["throttle"] == names
    assert found["throttle_reasons"] == dict.fromkeys(sorted(names), len(found["readings"]))


def test_what_the_ceilings_do_to_the_clocks_is_not_the_lanes_doing() -> None:
    library = FakeNvml()
    watching = GpuReadings(library, period_s=0.001).start()

    def read(more: int) -> None:
        until, deadline = watching.facts()["asked"] + more, time.monotonic() + 10
        while watching.facts()["asked"] < until and time.monotonic() < deadline:
            time.sleep(0.0005)

    read(2)
    with watching.ceilings():
        read(2)  # one may have begun before
        library.reasons = 0x4
        read(4)
        library.reasons = 0
        read(2)
    read(2)
    found = watching.stop()
    assert (found["throttled"], found["throttle_reasons"]) == (False, {})
    assert found["ceilings_throttle_reasons"]["power cap"] >= 2
    assert {row["of"] for row in found["readings"] if row["throttle"]} == {"ceilings"}
    again = gpu.joined(found, found)
    assert again["ceilings_throttle_reasons"]["power cap"] == 2 * found["ceilings_throttle_reasons"]["power cap"]


def test_throttling_in_a_single_reading_is_not_thinned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "MOST_READINGS", 4)
    library = FakeNvml(0x4)
    watching = GpuReadings(library, period_s=0.001).start()
    deadline = time.monotonic() + 10
    while watching.facts()["asked"] < 12 and time.monotonic() < deadline:
        library.reasons = 0x4 if watching.facts()["asked"] < 2 else 0
        time.sleep(0.0001)
    found = watching.stop()
    assert len(found["readings"]) <= 4
    assert found["throttle_reasons"]["power cap"] >= 1
    assert found["throttled"] is True


def test_a_missing_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    found = facts(None)
    assert found["note"] == "no GPU readings: the package nvidia-ml-py is not installed (pip install parity[gpu])"
    assert (found["readings"], found["throttled"], found["name"]) == ([], None, None)


def test_a_driver_that_does_not_start_is_a_note() -> None:
    found = facts(FakeNvml(nvmlInit=NvmlError("NVML Shared Library Not Found")))
    assert found["note"] == "NvmlError: NVML Shared Library Not Found"
    assert found["throttled"] is None


def test_a_figure_that_the_device_lacks_is_none_and_the_others_stay() -> None:
    found = facts(FakeNvml(0x4, nvmlDeviceGetPowerUsage=NvmlError("Not Supported")))
    assert found["readings"][0]["power_w"] is None
    assert found["readings"][0]["sm_mhz"] == 1590
    assert found["summary"]["power_w"] is None
    assert found["throttled"] is True
    assert found["note"] == "a figure is missing: NvmlError: Not Supported"


def test_reasons_that_cannot_be_read_are_not_full_speed() -> None:
    """A slice of a card, and a card whose driver says so little, must not pass for one that was never held back."""
    refused = NvmlError("Not Supported")
    found = facts(
        FakeNvml(nvmlDeviceGetCurrentClocksEventReasons=refused, nvmlDeviceGetCurrentClocksThrottleReasons=refused)
    )
    assert found["readings"][0]["sm_mhz"] == 1590
    assert found["readings"][0]["throttle"] is None
    assert (found["throttled"], found["throttle_reasons"]) == (None, {})
    assert found["note"] == "a figure is missing: NvmlError: Not Supported"


def test_a_newer_binding_on_an_older_driver_is_asked_by_the_older_name() -> None:
    found = facts(FakeNvml(0x8, nvmlDeviceGetCurrentClocksEventReasons=NvmlError("Function Not Found")))
    assert (found["throttled"], found["note"]) == (True, None)
    assert found["throttle_reasons"].keys() == {"hardware slowdown"}


def test_the_device_is_found_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's first device by its own order, a shortened identifier and a slice of a card: all have one address."""
    monkeypatch.setattr(gpu, "first_bus_id", lambda: "0000:3b:00.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-5a2b")
    library = FakeNvml(count=4)
    found = facts(library, readings=1)
    assert (
        library.asked[1], library.handles, found["note"]
    ) == ("nvmlDeviceGetHandleByPciBusId", ["0000:3b:00.0"], None)  # fmt: skip


def test_the_real_library_has_every_call_and_number() -> None:
    """What stands in for it here must not know more than it does."""
    pynvml = pytest.importorskip("pynvml")
    asked = FakeNvml()
    facts(asked)
    for name in {*asked.asked, "nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetCurrentClocksThrottleReasons"}:
        assert callable(getattr(pynvml, name)), name
    for name in ("NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU"):
        assert getattr(pynvml, name) == getattr(FakeNvml, name)
    named = {
        value
        for name, value in vars(pynvml).items()
        if name.startswith(("nvmlClocksEventReason", "nvmlClocksThrottleReason")) and not name.endswith("All")
    }
    assert named - {0} <= set(gpu.REASONS)  # older bindings have no names for the newer ones
    assert ctypes.sizeof(pynvml.c_nvmlMemory_t()) == 3 * 8  # total, free, used


def test_a_reader_that_raises_goes_on_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: GpuReadings) -> dict[str, Any]:
        raise RuntimeError("the device fell\noff the bus")

    monkeypatch.setattr(GpuReadings, "_read", fail)
    found = facts(FakeNvml(), readings=5)
    assert found["asked"] >= 5
    assert found["note"] == "a reading failed: RuntimeError: the device fell off the bus"
    assert found["throttled"] is None


def test_a_driver_that_hangs_does_not_hold_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "STOP_LIMIT_S", 0.05)
    released = threading.Event()
    monkeypatch.setattr(GpuReadings, "_read", lambda _self: released.wait(20) and {})
    watching = GpuReadings(FakeNvml()).start()
    thread = watching._thread
    found = watching.stop()
    released.set()
    assert thread is not None
    thread.join(10)
    assert found["note"] == "the driver did not answer the last reading"


def test_an_older_binding_is_asked_by_its_own_name() -> None:
    class Older(FakeNvml):
        def __getattr__(self, name: str) -> Any:
            if name == "nvmlDeviceGetCurrentClocksEventReasons":
                raise AttributeError(name)
            if name == "nvmlDeviceGetCurrentClocksThrottleReasons":
                return lambda _handle: 0x40
            return super().__getattr__(name)

    assert facts(Older())["throttle_reasons"].keys() == {"hardware thermal slowdown"}


@pytest.mark.parametrize(
    ("visible", "asked", "given"),
    [("", "nvmlDeviceGetHandleByIndex", 0), ("3,1", "nvmlDeviceGetHandleByIndex", 3),
     ("GPU-5a2b", "nvmlDeviceGetHandleByUUID", "GPU-5a2b")],
)  # fmt: skip
def test_the_device_is_the_one_that_cuda_uses(
    monkeypatch: pytest.MonkeyPatch, visible: str, asked: str, given: Any
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    library = FakeNvml(count=4)
    found = facts(library, readings=1)
    assert asked in library.asked
    assert library.handles == [given]
    assert ("PCI_BUS_ID" in (found["note"] or "")) is not visible.startswith("GPU-")


def test_the_library_is_closed_and_a_second_stop_changes_nothing() -> None:
    library = FakeNvml()
    with GpuReadings(library, period_s=0.001) as watching:
        pass
    assert library.asked.count("nvmlShutdown") == 1
    assert watching.stop() == watching.stop()
    assert library.asked.count("nvmlShutdown") == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "parity-gpu-readings"]


def test_no_gpu_here_is_a_note_with_the_real_library() -> None:
    pytest.importorskip("pynvml")
    found = facts(None, readings=1)
    assert found["note"] or found["readings"]
