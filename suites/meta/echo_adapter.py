"""An adapter of NumPy alone, for the tests of the workers: it echoes, reports on itself, and dies on demand."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import parity
from parity.adapters.base import WorkerSettings
from parity.errors import PairingError


class EchoAdapter:
    """Its methods are called through a worker, by name."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        if settings.role == "raises":
            raise ValueError("this role cannot be constructed")

    def echo(self, **values: Any) -> dict[str, Any]:
        return values

    def facts(self) -> dict[str, Any]:
        """Return what the process knows about itself."""
        settings = self.settings
        return {
            "settings": [settings.role, settings.device, settings.threads, settings.seed, settings.whole_import],
            "prefix": sys.prefix,
            "path": list(sys.path),
            "package": str(Path(parity.__file__).resolve().parent),
            "session": os.getsid(0),
            "pid": os.getpid(),
            "marker": os.environ.get("PARITY_TEST_MARKER"),
        }

    def checksum(self, x: np.ndarray) -> float:
        return float(x.sum())

    def ask(self, x: float = 0.0) -> float:
        return x

    def raise_value(self) -> None:
        raise ValueError("the third axis is wrong")

    def raise_pairing(self) -> None:
        raise PairingError("conv1 has no partner")

    def raise_memory(self) -> np.ndarray:
        return np.zeros(2**60, np.uint8)

    def leave(self) -> None:
        raise SystemExit(3)

    def unsendable(self) -> Any:
        return {"layers": [1, {2, 3}]}

    def exit_at_once(self, status: int, said: str = "") -> None:
        os.write(2, said.encode())
        os._exit(status)

    def kill_self(self, x: np.ndarray) -> None:
        assert x.size
        os.kill(os.getpid(), signal.SIGKILL)

    def read_null(self) -> None:
        ctypes.string_at(0)

    def hang(self, marker: str | None = None) -> None:
        if marker is not None:
            Path(marker).write_text(str(os.getpid()))
        time.sleep(600)

    def hang_holding_the_interpreter(self, marker: str) -> None:
        """Sleep inside C with the interpreter's lock held, so that no other thread of this process can run."""
        Path(marker).write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)

    def chatter(self, size_bytes: int) -> int:
        for stream in (sys.stdout, sys.stderr):
            stream.write("chatter\n" * (size_bytes // 8))
            stream.write("the last line\n")
            stream.flush()
        return size_bytes

    def start_process(self) -> int:
        """Start a process that would outlive this one, and return its id."""
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    def close_the_line(self) -> None:
        os.closerange(3, 64)
        time.sleep(600)

    def _secret(self) -> str:
        return "never called"


class NeedsAbsentPackage:
    """An adapter whose framework no interpreter has."""

    def __init__(self, _settings: WorkerSettings) -> None:
        import parity_absent_framework  # type: ignore[import-not-found]  # noqa: F401
