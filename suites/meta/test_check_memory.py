"""A model that is too large for the machine: one clear line before its twins are built, and no process is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from parity import port
from parity.errors import UsageError
from parity.porting import memory, sides

GIB = 2**30
KERAS = """
import keras
def build():
    open({seen!r}, "a").write("tensorflow ")
    image = keras.Input((6,))
    return keras.Model(image, keras.layers.Dense(4)(image))
"""
TORCH = """
from torch import nn
def build():
    open({seen!r}, "a").write("torch ")
    return nn.Sequential(nn.Linear(6, 4))
"""


def test_ten_gigabytes_of_weights_are_refused_where_there_are_24_and_said_in_one_line() -> None:
    line = memory.too_large(10 * GIB // 4, 24 * GIB)
    assert line is not None
    assert "\n" not in line
    assert "10.0 GiB in float32" in line
    assert "24.0 GiB are free" in line


@pytest.mark.parametrize(("values", "room_gib"), [(60_000_000, 8), (138_000_000, 8), (10 * GIB // 4, 128), (0, 4)])
def test_what_has_room_is_not_refused(values: int, room_gib: int) -> None:
    assert memory.too_large(values, room_gib * GIB) is None


def _pair(folder: Path) -> tuple[Path, Path, Path]:
    seen, tensorflow, torch = folder / "seen.txt", folder / "of_keras.py", folder / "of_torch.py"
    tensorflow.write_text(KERAS.format(seen=str(seen)))
    torch.write_text(TORCH.format(seen=str(seen)))
    return tensorflow, torch, seen


@pytest.mark.whole_run
def test_a_check_without_room_ends_before_a_twin_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow, torch, seen = _pair(tmp_path)
    monkeypatch.setattr(sides, "room_bytes", lambda _: GIB)  # less than the four processes alone take
    with pytest.raises(UsageError, match=r"^too large for this machine: [^\n]*$") as caught:
        port.check(f"{tensorflow}:build", f"{torch}:build", ["6"])
    assert caught.value.exit_status == 2
    built = seen.read_text().split()
    assert built, "the size is known from a model that was built"
    assert built.count("tensorflow") <= 1
    assert built.count("torch") <= 1
    monkeypatch.undo()
    assert port.check(f"{tensorflow}:build", f"{torch}:build", ["6"]).same
    assert seen.read_text().split()[len(built) :].count("tensorflow") == 2, "the model and its twin"


DEEP = """
import keras
class Counted(keras.layers.Layer):
    def call(self, x):
        return x + 1.0
def build():
    image = keras.Input((64, 64, 16))
    x = image
    for _ in range(60):
        x = Counted()(x)
    return keras.Model(image, keras.layers.Add()([x, image]))
"""


@pytest.mark.whole_run
def test_a_functional_model_is_run_without_holding_every_activation(tmp_path: Path) -> None:
    """60 activations of 8 MiB: held together they would add half a gigabyte to what the worker has."""
    from parity.workers.client import Worker, WorkerOptions

    builder = tmp_path / "deep.py"
    builder.write_text(DEEP)
    with Worker(WorkerOptions("tensorflow", threads=1)) as worker:
        worker.call("load_model", source=f"{builder}:build")
        given = [np.random.default_rng(0).normal(size=(32, 64, 64, 16)).astype(np.float32)]
        assert worker.pid is not None
        before = memory.resident_bytes(worker.pid)
        highest = []
        watching = threading.Event()

        def watch(pid: int) -> None:
            while not watching.wait(0.005):
                highest.append(memory.resident_bytes(pid))

        thread = threading.Thread(target=watch, args=(worker.pid,))
        thread.start()
        trace = worker.call("trace_model", inputs=given)
        watching.set()
        thread.join()
    assert len(trace["ops"]) == 61, "every layer was seen"
    assert max(highest) - before < 300 * 2**20


def test_the_guard_ends_a_worker_before_the_next_look_would_be_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([4 * GIB, 3 * GIB, 2 * GIB])
    last = [GIB]

    def falling() -> int:
        last[0] = next(left, last[0])
        return last[0]

    monkeypatch.setattr(memory, "available_bytes", falling)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    guard = memory.MemoryGuard(lambda: child.pid, least_bytes=GIB // 2)
    try:
        assert child.wait(timeout=30) < 0
    finally:
        child.kill()
        guard.stop()
    assert "2048 MiB were left" in guard.said, "twice what was taken since the last look may go at once"
