"""Four copies of a model may be more than a machine holds: end the check with one line, before the kernel does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

LEAST_BYTES = 512 * 2**20  # what must stay free: for the parent, and for what the kernel needs
LOOK_S = 0.1
AHEAD = 2.0  # looks that are thought ahead: what was taken since the last one may be taken again
WORKER_BYTES = 450 * 2**20  # of each worker with its framework, before any model
# Bytes of the whole check for each byte of a model in float32: both models in float32 and float64 make 6, their
# weights on the way from one to the other the rest. Measured: 7.6 with 1 GiB of Dense layers. What activations need is
# not known before anything runs: the guard looks after it.
COPIES = 8.0
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


def room_bytes(pids: Iterable[int]) -> int:
    """Return how much these processes may use in all: what they have, and what is free."""
    return available_bytes() + sum(map(resident_bytes, pids))


def too_large(values: int, room: int) -> str | None:
    """Return the line that says that a model of so many numbers cannot be checked in so many bytes, if it cannot."""
    model = 4 * values
    needed = 4 * WORKER_BYTES + int(COPIES * model) + LEAST_BYTES
    if needed <= room:
        return None
    return (
        f"too large for this machine: {values / 1e6:,.0f} million weights are {model / 2**30:.1f} GiB in float32; a"
        f" check holds both models in float32 and in float64 and needs about {needed / 2**30:.0f} GiB, and"
        f" {room / 2**30:.1f} GiB are free: check a smaller configuration of the same code, or use a larger machine"
    )


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
        before = available_bytes()
        while not self._stop.wait(LOOK_S):
            left = available_bytes()
            taken, before = max(0, before - left), left
            if left - AHEAD * taken >= self._least:
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
