"""Adapters of NumPy alone that pretend to be lanes, honest and otherwise, for the tests of the benchmark's rules."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.bench.lanes import ALLOCATOR


class HonestLane:
    """Reports steps of 2 ms each, the first of them 500 ms; what it was told is kept for `told`."""

    compiled_per_call = 0.0
    threads_over = 0

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self._told: dict[str, Any] = {}
        self._calls = 0

    def environment(self) -> dict[str, Any]:
        return {"threads": self.settings.threads + self.threads_over}

    def build(self, spec: dict[str, Any], seed: int) -> None:
        self._told |= {"layers": len(spec["layers"]), "seed": seed}

    def set_weights(self, weights: dict[str, Array]) -> None:
        self._told["weights"] = sorted(weights)

    def place_images(self, images: Array, labels: Array) -> None:
        self._told |= {"images": list(images.shape), "labels": list(labels.shape)}
        self._batch = len(images)

    def start_lane(self, options: dict[str, Any]) -> dict[str, Any]:
        self._told["options"] = options
        return {"run": options.get("run"), "starts": self._told.get("starts", 0)}

    def told(self) -> dict[str, Any]:
        """Return what this process was given, and the variables that it started with."""
        names = [*ALLOCATOR, "OMP_NUM_THREADS"]
        given = {"environment": {name: os.environ.get(name) for name in names}}
        return {**self._told, **given, "whole_import": self.settings.whole_import}

    def first_step(self, work: str) -> float:
        self._told.setdefault("first_steps", []).append(work)
        return 0.5

    def timed_steps(self, work: str, steps: int) -> dict[str, float]:
        assert work in ("train", "evaluate", "latency")
        self._calls += 1
        return {
            "host_reads": 2.0 * steps,
            "images": float(self._images(steps)),
            "seconds": 0.002 * steps * self._slowness(),
            "minor_faults": 3.0 * steps,
            "cpu_s": 0.004 * steps * self._slowness(),
            "compilations": self.compiled_per_call,
        }

    def calls(self) -> int:
        """Return how often it was timed."""
        return self._calls

    def phases(self, steps: int) -> dict[str, Any]:
        return {"forward_s": [0.001] * steps, "how": "made up"}

    def cold_start(self) -> dict[str, float]:
        return {"import_s": 2.0, "build_s": 0.25}

    def memory(self) -> dict[str, int | None]:
        return {"process_peak_bytes": 1_000_000, "device_peak_bytes": None}

    def logits(self, x: Array) -> Array:
        return np.zeros(len(x))

    def _slowness(self) -> float:
        return 1.0

    def _images(self, steps: int) -> int:
        return steps * self._batch


class PartialBatch(HonestLane):
    """Cuts the last batch of every span."""

    def _images(self, steps: int) -> int:
        return steps * self._batch - 1


class MissingBatch(HonestLane):
    """Takes one step less than it was asked for."""

    def _images(self, steps: int) -> int:
        return (steps - 1) * self._batch


class ByTens(HonestLane):
    """Can only run ten steps at once, as a compiled loop does, and says so."""

    def timed_steps(self, work: str, steps: int) -> dict[str, float]:
        return super().timed_steps(work, 10 * -(-steps // 10))


class Unsynchronised(HonestLane):
    """Stops its clock when the work has been handed to the device, which is busy for ten times as long."""

    def timed_steps(self, work: str, steps: int) -> dict[str, float]:
        done = super().timed_steps(work, steps)
        return {**done, "device_s": 10.0 * done["seconds"]}


class WaitsAfterwards(HonestLane):
    """Stops its clock early: reading a result afterwards takes as long again."""

    def timed_steps(self, work: str, steps: int) -> dict[str, float]:
        done = super().timed_steps(work, steps)
        return {**done, "after_sync_s": done["seconds"]}


class UnsettledLane(HonestLane):
    """Gets slower all the time, so that no warm-up is ever long enough."""

    def _slowness(self) -> float:
        return float(self._calls)


class CompilingLane(HonestLane):
    """Compiles once more within every clocked span."""

    compiled_per_call = 1.0


class ThreadLiar(HonestLane):
    """Runs one thread more than it was given."""

    threads_over = 1


class ThreadChanger(HonestLane):
    """Runs the threads that it was given until its first step, and one more from then on."""

    def first_step(self, work: str) -> float:
        self.threads_over = 1
        return super().first_step(work)
