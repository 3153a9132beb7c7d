"""One small pair of networks in four workers, shared by all tests of the tool that need both frameworks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from parity.model.spec import LayerSpec, ModelSpec
from parity.pair import Pair, probe_weights

# The same examples at every run: a user's main job must not fail for a case that nobody has drawn before. New cases
# are looked for with `--hypothesis-profile=default`.
settings.register_profile("fixed", derandomize=True, deadline=None)
if not any(argument.startswith("--hypothesis-profile") for argument in sys.argv):
    settings.load_profile("fixed")

# Every axis has a size of its own, but for dense2's square kernel: transposed, it passes any check of shapes.
SMALL = ModelSpec(
    "small",
    21,
    18,
    3,
    (
        LayerSpec("conv1", "conv2d", 5, (3, 3)),
        LayerSpec("relu1", "relu"),
        LayerSpec("pool1", "max_pool2d", 2),
        LayerSpec("flatten", "flatten"),
        LayerSpec("dense1", "dense", 7),
        LayerSpec("relu2", "relu"),
        LayerSpec("dense2", "dense", 7),
        LayerSpec("relu3", "relu"),
        LayerSpec("dense3", "dense", 1),
        LayerSpec("sigmoid", "sigmoid"),
    ),
)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let this process and those that it starts be interrupted: a background job starts with that ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def small_workers() -> Iterator[Pair]:
    """Four workers, started by the first test that asks them something; use `small_pair` instead."""
    with Pair() as pair:
        yield pair


@pytest.fixture
def small_pair(small_workers: Pair) -> Pair:
    """The small pair as it should be: both sides built alike, and holding the same trained-like weights."""
    if small_workers.specs != {"tensorflow": SMALL, "torch": SMALL}:
        small_workers.build(SMALL)
    small_workers.copy_weights(probe_weights(SMALL))
    return small_workers


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two worker processes, started as somebody would on two machines."""
    known = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(known), "--no-dashboard"]
    worker = ["dask_worker", *common, "--nworkers", "1", "--nthreads", "1", "--no-nanny"]
    worker += ["--local-directory", str(tmp_path)]
    commands = [["dask_scheduler", *common, "--host", "127.0.0.1", "--port", "0"], worker, worker]
    started = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{name}", *rest],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name, *rest in commands
    ]  # fmt: skip
    try:
        while not known.exists():
            assert started[0].poll() is None
            time.sleep(0.1)
        yield str(json.loads(known.read_text())["address"])
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
