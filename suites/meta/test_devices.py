"""What the question for a CUDA device says with, without and behind a driver that refuses."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.bench import devices

ROOT = Path(__file__).resolve().parents[2]


class _Driver:
    """Answers as libcuda does: a status, and the count through a pointer."""

    def __init__(
        self, count: int, init_status: int = 0, count_status: int = 0, mode: int = 0, mode_status: int = 0
    ) -> None:
        self.count, self.init_status, self.count_status = count, init_status, count_status
        self.mode, self.mode_status = mode, mode_status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self.init_status

    def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        pointer._obj.value = self.count
        return self.count_status

    def cuDeviceGet(self, pointer: Any, ordinal: int) -> int:  # noqa: N802
        assert ordinal == 0
        pointer._obj.value = 7
        return 0 if self.count else 101  # CUDA_ERROR_INVALID_DEVICE

    def cuDeviceGetPCIBusId(self, text: Any, length: int, device: Any) -> int:  # noqa: N802
        assert (device.value, len(text)) == (7, length)
        text.value = b"0000:3B:00.0"
        return 0

    def cuDeviceGetAttribute(self, pointer: Any, attribute: int, device: Any) -> int:  # noqa: N802
        assert (attribute, device.value) == (20, 7)
        pointer._obj.value = self.mode
        return self.mode_status


def _install(monkeypatch: pytest.MonkeyPatch, driver: _Driver | None) -> None:
    def load(name: str) -> _Driver:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_drivers_count_is_returned(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    _install(monkeypatch, _Driver(count))
    assert devices.cuda_devices() == count


@pytest.mark.parametrize(
    "driver",
    [None, _Driver(4, init_status=100), _Driver(4, init_status=999), _Driver(4, count_status=3)],
    ids=["no driver", "CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_UNKNOWN", "count refused"],
)
def test_no_usable_driver_means_no_device(monkeypatch: pytest.MonkeyPatch, driver: _Driver | None) -> None:
    _install(monkeypatch, driver)
    assert devices.cuda_devices() == 0


def test_required_and_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _install(monkeypatch, _Driver(2))
    assert devices.main(["--require"]) == 0
    assert capsys.readouterr() == ("2 CUDA devices visible\n", "")


@pytest.mark.parametrize("mode", [2, 3], ids=["prohibited", "exclusive process"])
def test_required_and_serving_one_process_only_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    """A pair's workers and a lane's process hold the device at the same time."""
    _install(monkeypatch, _Driver(1, mode=mode))
    assert devices.serves_one_process()
    assert devices.main(["--require"]) == 2
    assert capsys.readouterr() == ("", devices.ONE_PROCESS + "\n")
    assert devices.main([]) == 0


def test_a_mode_that_cannot_be_asked_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _Driver(1, mode=3, mode_status=1))
    assert not devices.serves_one_process()
    _install(monkeypatch, None)
    assert not devices.serves_one_process()


def test_the_address_is_that_of_the_device_that_cuda_calls_0(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _Driver(2))
    assert devices.first_bus_id() == "0000:3B:00.0"
    for driver in (None, _Driver(0), _Driver(1, init_status=100)):
        _install(monkeypatch, driver)
        assert devices.first_bus_id() is None


def test_none_is_no_error_unless_required(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _install(monkeypatch, None)
    assert devices.main([]) == 0
    assert capsys.readouterr() == ("0 CUDA devices visible\n", "")


def test_required_and_hidden_is_one_line_and_needs_no_package() -> None:
    """`-S` leaves out every installed package: `tox -e gpu` asks before it installs anything."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "parity.bench.devices", "--require"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == devices.NONE_VISIBLE + "\n"
    assert "\n" not in devices.NONE_VISIBLE
