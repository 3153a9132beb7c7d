"""Four copies of a model may be more than a machine holds: end the check with one line, before the kernel does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

LEAST_BYTES = 512 * 2**20  # what must stay free: for the parent, and for what the kernel needs
LOOK_S = 0.1
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Return how much more memory can be used: the machine's, or the control group's where that is less."""
    found = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        limit = int((CGROUP / "memory.max").read_text())
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
        found = min(found, limit - used)
    return found


def resident_bytes(pid: int) -> int:
    """Return the resident size of a process; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class MemoryGuard:
    """Watches from a thread; when memory runs short it kills the largest worker and keeps one line that says so."""

    def __init__(self, largest: Callable[[], int | None], least_bytes: int = LEAST_BYTES) -> None:
        self.said = ""
        self._largest, self._least = largest, least_bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="parity-memory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            left = available_bytes()
            if left >= self._least:
                continue
            pid = self._largest()
            if pid is None:
                continue
            gigabytes = resident_bytes(pid) / 2**30
            self.said = (
                f"memory ran short: {left / 2**20:.0f} MiB were left, and the largest of the four workers held"
                f" {gigabytes:.1f} GiB. A check holds each model twice, once in float64; use a smaller input,"
                " --batch 1, or a machine with more memory"
            )
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
