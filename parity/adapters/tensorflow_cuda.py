"""The CUDA libraries that came with TensorFlow as packages, loaded before TensorFlow looks for them itself."""

from __future__ import annotations

import ctypes
from pathlib import Path

# What TensorFlow opens by name, each after those that it needs in turn.
LIBRARIES = (
    "libcudart.so.*", "libnvJitLink.so.*", "libcublasLt.so.*", "libcublas.so.*", "libcufft.so.*", "libcusparse.so.*",
    "libcusolver.so.*", "libcudnn.so.*",
)  # fmt: skip


def preload(packages: Path) -> dict[str, str]:
    """Load what lies in `nvidia/*/lib` of a folder of packages; return why by file name for each that would not load.

    TensorFlow's own search path lacks some of those folders, and without a single library it sees no GPU at all: that
    of TensorFlow 2.21 has no `cusolver` (measured on an H100: no device, and with that one folder more, one). A library
    that is loaded already is found by its name, wherever it lies.

    Source: ld.so(8), on names and on DT_RUNPATH, which counts for the library that calls `dlopen` alone.
    """
    failed = {}
    for pattern in LIBRARIES:
        for file in sorted(packages.glob(f"nvidia/*/lib/{pattern}")):
            try:
                ctypes.CDLL(str(file))
            except OSError as error:
                failed[file.name] = " ".join(str(error).split())
    return failed
