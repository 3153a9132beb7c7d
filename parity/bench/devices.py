"""Whether this machine has a CUDA device, asked of the driver itself: no framework, no package, no context.

`python -m parity.bench.devices` prints how many there are; with `--require` it fails with one line where there is none.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Sequence
from typing import Any

from parity.errors import MissingDevice

DRIVER = "libcuda.so.1"
SUCCESS = 0
COMPUTE_MODE, DEFAULT_MODE = 20, 0  # CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT
ADDRESS_CHARACTERS = 32  # 13 are enough for domain:bus:device.function
ONE_PROCESS = (
    "the CUDA device serves one process only (compute mode), and a comparison needs several at once:"
    " `nvidia-smi --compute-mode=0` lets it serve all"
)
NONE_VISIBLE = (
    "no CUDA device is visible: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, or compare on the CPU with `tox -e cpu`"
)


def cuda_devices() -> int:
    """Return how many CUDA devices this process can see; 0 where there is no driver, or one that will not start.

    CUDA_VISIBLE_DEVICES is honoured, as the driver does it; no context is made, so that no device memory is taken.

    Source: CUDA Driver API, cuInit and cuDeviceGetCount; both return 0 (CUDA_SUCCESS) when they worked.
    """
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != SUCCESS:
        return 0
    return count.value


def first_bus_id() -> str | None:
    """Return the PCI address of the device that CUDA calls 0 in this process, such as `0000:3b:00.0`; None without one.

    A slice of a card (MIG) has the address of the card.

    Source: CUDA Driver API, cuDeviceGetPCIBusId; the string is what NVML and `nvidia-smi --id` take.
    """
    driver, device = _driver(), ctypes.c_int(0)
    address = ctypes.create_string_buffer(ADDRESS_CHARACTERS)
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), 0) != SUCCESS:
        return None
    if driver.cuDeviceGetPCIBusId(address, ADDRESS_CHARACTERS, device) != SUCCESS:
        return None
    return address.value.decode("ascii", "replace") or None


def serves_one_process() -> bool:
    """Return whether the first device refuses a second process: its compute mode is not the default one.

    Source: CUDA Driver API, cuDeviceGetAttribute.
    """
    driver, device, mode = _driver(), ctypes.c_int(0), ctypes.c_int(DEFAULT_MODE)
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), 0) != SUCCESS:
        return False
    asked = driver.cuDeviceGetAttribute(ctypes.byref(mode), COMPUTE_MODE, device)
    return bool(asked == SUCCESS and mode.value != DEFAULT_MODE)


def _driver() -> Any:
    """Return the driver's library, started, or None."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    return driver if driver.cuInit(0) == SUCCESS else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how many devices there are and return the exit status: 2 when one is required and none is there."""
    parser = argparse.ArgumentParser(prog="python -m parity.bench.devices", description=cuda_devices.__doc__)
    parser.add_argument("--require", action="store_true", help="fail with one line when no CUDA device is visible")
    required: bool = parser.parse_args(arguments).require
    found = cuda_devices()
    if required and found == 0:
        print(NONE_VISIBLE, file=sys.stderr)
        return MissingDevice.exit_status
    if required and serves_one_process():
        print(ONE_PROCESS, file=sys.stderr)
        return MissingDevice.exit_status
    print(f"{found} CUDA device{'' if found == 1 else 's'} visible")
    return 0


if __name__ == "__main__":
    sys.exit(main())
