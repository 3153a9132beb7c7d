"""Whether this machine has a CUDA device, asked of the driver itself: no framework, no package, no context.

`python -m parity.bench.devices` prints how many there are; with `--require` it fails with one line where there is none.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Sequence

from parity.errors import MissingDevice

DRIVER = "libcuda.so.1"
NONE_VISIBLE = (
    "no CUDA device is visible: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, or compare on the CPU with `tox -e cpu`"
)


def cuda_devices() -> int:
    """Return how many CUDA devices this process can see; 0 where there is no driver, or one that will not start.

    CUDA_VISIBLE_DEVICES is honoured, as the driver does it; no context is made, so that no device memory is taken.

    Source: CUDA Driver API, cuInit and cuDeviceGetCount; both return 0 (CUDA_SUCCESS) when they worked.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how many devices there are and return the exit status: 2 when one is required and none is there."""
    parser = argparse.ArgumentParser(prog="python -m parity.bench.devices", description=cuda_devices.__doc__)
    parser.add_argument("--require", action="store_true", help="fail with one line when no CUDA device is visible")
    required: bool = parser.parse_args(arguments).require
    found = cuda_devices()
    if required and found == 0:
        print(NONE_VISIBLE, file=sys.stderr)
        return MissingDevice.exit_status
    print(f"{found} CUDA device{'' if found == 1 else 's'} visible")
    return 0


if __name__ == "__main__":
    sys.exit(main())
