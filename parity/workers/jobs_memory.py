"""One epoch from image files in one of two ways, with what it made this process and its children hold at most."""

from __future__ import annotations

import multiprocessing
import resource
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

Array = NDArray[Any]
WAYS = ("load", "stream")
SAMPLE_S = 0.005


def memory_held(adapter: Any) -> dict[str, int]:  # noqa: ARG001 - every job is given it
    """Return the bytes that this process holds: at most so far with mapped files (VmHWM), and of its own now (RssAnon).

    Source: proc(5).
    """
    return {"peak_bytes": _status_bytes("VmHWM"), "anonymous_bytes": _status_bytes("RssAnon")}


def memory_epoch(
    adapter: Any,
    way: str,
    files: list[str],
    labels: Array,
    size: list[int],
    batch: int,
    loaders: int,
    allowance_bytes: int | None = None,
) -> dict[str, Any]:
    """Train one epoch on the built network and return what was delivered and how much memory it took.

    `way`: `load` everything first, or `stream` batch by batch with `loaders` loaders. `size`: (height, width,
    channels). `allowance_bytes`: how much more data this process and its children may each hold from here on.

    `delivered`: positions in `files` that were trained on. `pixel_sum` over them, equal for both ways.
    `process_peak_bytes`: most that this process held since its start, mapped files of libraries among it, which the
    kernel takes back when it likes. `own_peak_bytes`: most memory of its own (anonymous), looked at every few
    milliseconds. `children_peak_bytes`: most that its children wrote for themselves, at the end of a step; pages that
    a fork shares are not counted. `stage_bytes`: memory of its own after each stage of loading.

    Raises
        UsageError: no such way.
    """
    if way not in WAYS:
        raise UsageError(f"no way `{way}` to feed images: {' or '.join(WAYS)}")
    if allowance_bytes is not None:
        _allow(allowance_bytes)
    stages: dict[str, int] = {}
    delivered: list[int] = []
    losses, pixel_sum, children, children_bytes = [], 0.0, 0, 0
    start_s = time.perf_counter()

    def note(stage: str) -> None:
        stages[stage] = _status_bytes("RssAnon")

    feed: Iterator[Any] = (
        adapter.loaded_batches(files, labels, size, batch, note)
        if way == "load"
        else adapter.streamed_batches(files, labels, size, batch, loaders)
    )
    with _watched() as peak:
        for x, y, numbers in feed:
            losses.append(adapter.train_batch(x, y))
            delivered += numbers
            pixel_sum += float(np.sum(x, dtype=np.float64))
            held = [_private_bytes(child.pid) for child in multiprocessing.active_children() if child.pid is not None]
            children, children_bytes = max(children, len(held)), max(children_bytes, sum(held))
    return {
        "delivered": delivered,
        "steps": len(losses),
        "last_loss": losses[-1] if losses else None,
        "pixel_sum": pixel_sum,
        "process_peak_bytes": _status_bytes("VmHWM"),
        "own_peak_bytes": max([*peak, *stages.values()]),
        "children": children,
        "children_peak_bytes": children_bytes,
        "stage_bytes": stages,
        "seconds": time.perf_counter() - start_s,
    }


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Look at this process's own memory while the block runs; the list holds the most that was seen."""
    peak, ended = [_status_bytes("RssAnon")], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            peak[0] = max(peak[0], _status_bytes("RssAnon"))

    watching = threading.Thread(target=watch, name="parity-memory", daemon=True)
    watching.start()
    try:
        yield peak
    finally:
        ended.set()
        watching.join()
        peak[0] = max(peak[0], _status_bytes("RssAnon"))


def _allow(more_bytes: int) -> None:
    """Let this process hold that much more private data than now; an allocation beyond it fails, as on a full machine.

    Not RLIMIT_AS: both frameworks reserve address space that they never touch. Source: setrlimit(2), RLIMIT_DATA.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_status_bytes("VmData") + more_bytes, hard))


def _status_bytes(name: str) -> int:
    return _kibibytes(Path("/proc/self/status"))[name] * 1024


def _private_bytes(pid: int) -> int:
    """Return what a process has written for itself alone; 0 for one that has ended. Source: proc(5), smaps_rollup."""
    with suppress(OSError, KeyError):
        return _kibibytes(Path(f"/proc/{pid}/smaps_rollup"))["Private_Dirty"] * 1024
    return 0


def _kibibytes(path: Path) -> Mapping[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
