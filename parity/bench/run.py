"""One lane in one block: start it, prove it, warm it up, time it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from parity.bench import clock
from parity.bench.lanes import ALLOCATOR, Lane, thread_environment
from parity.errors import ParityError, UsageError
from parity.model.spec import ModelSpec
from parity.workers.client import Worker, WorkerOptions

Array = NDArray[Any]
GROUP = 10  # steps per warm-up median
AGREE = 0.02  # how closely the last five medians must agree


@dataclass(frozen=True)
class Timing:
    """How much to time."""

    batch: int = 32
    rounds: int = 8
    steps_per_round: int = 3
    warmup_limit: int = 50
    threads: int = 1
    device: str = "cpu"


@dataclass
class LaneRun:
    """A lane's fresh process with the network, its weights and one batch resident, ready to be timed."""

    lane: Lane
    timing: Timing
    worker: Worker
    block: int
    order: int
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    warmups: dict[str, list[float]] = field(default_factory=dict)
    first_step_s: dict[str, float] = field(default_factory=dict)

    def warm_up(self, work: str) -> None:
        """Take the first step, then warm up until the medians agree or the limit is reached; all samples are kept."""
        self.first_step(work)
        samples: list[float] = []
        while len(samples) < self.timing.warmup_limit and not settled(samples):
            samples += [self._ask(work, 1)["seconds"] for _ in range(GROUP)]
        self.warmups[work] = samples

    def first_step(self, work: str) -> None:
        """Take and time the very first step of `work`, which traces or compiles; later calls do nothing."""
        if work not in self.first_step_s:
            self.first_step_s[work] = float(self.worker.call("first_step", work=work))

    def round(self, work: str) -> None:
        """Time one round of consecutive steps and let the benchmark clock advance by the seconds of one step."""
        done = self._ask(work, self.timing.steps_per_round)
        self.rounds.setdefault(work, []).append(done)
        clock.advance(done["seconds"] / self.timing.steps_per_round)

    def sample(self, work: str) -> dict[str, Any]:
        """Return the record's entry for one work: every raw sample, in seconds per step, with its circumstances."""
        steps, done = self.timing.steps_per_round, self.rounds[work]
        seconds = [entry["seconds"] / steps for entry in done]
        wall_s = sum(entry["seconds"] for entry in done)
        memory = self.worker.call("memory")
        return {
            "work": work,
            "lane": self.lane.name,
            "block": self.block,
            "order": self.order,
            "seconds": seconds,
            "warmup_seconds": self.warmups[work],
            "warmup_settled": settled(self.warmups[work]),
            "steps_per_sample": steps,
            "batch": self.timing.batch,
            "images_per_step": self.timing.batch,
            "images_per_s": self.timing.batch / statistics.median(seconds),
            "first_step_s": self.first_step_s[work],
            "peak_bytes": memory["device_peak_bytes"] or memory["process_peak_bytes"],
            **memory,
            "threads": self.timing.threads,
            "device": self.timing.device,
            "allocator": dict(ALLOCATOR),
            "minor_faults_per_step": sum(entry["minor_faults"] for entry in done) / (steps * len(done)),
            "cpu_per_wall": sum(entry["cpu_s"] for entry in done) / wall_s,
        }

    def close(self) -> None:
        """End the lane's process."""
        self.worker.close()

    def _ask(self, work: str, steps: int) -> dict[str, float]:
        done: dict[str, float] = self.worker.call("timed_steps", work=work, steps=steps)
        if done["compilations"]:
            raise ParityError(
                f"{self.lane.name} traced or compiled {done['compilations']:.0f} times inside the clock of `{work}`:"
                " the figure would not be a steady step"
            )
        return done


def open_lane(
    lane: Lane,
    spec: ModelSpec,
    weights: Mapping[str, Array],
    batch: tuple[Array, Array],
    timing: Timing,
    place: tuple[int, int],
    python: str | None = None,
) -> LaneRun:
    """Start a fresh process for `lane`, with these weights (the framework's own names) and this batch of uint8 images.

    `place` is (block, order within the block).

    Raises
        UsageError: the framework does not use the number of threads that it was given.
    """
    environment = {**ALLOCATOR, **thread_environment(timing.threads)}
    options = WorkerOptions(
        framework=lane.framework, python=python, device=timing.device, threads=timing.threads, environment=environment
    )
    worker = Worker(options)
    try:
        seen = worker.call("environment")["threads"]
        if seen != timing.threads:
            raise UsageError(f"{lane.name} runs {seen} threads where {timing.threads} were asked for")
        worker.call("build", spec=spec.to_dict(), seed=0)
        worker.call("set_weights", weights=dict(weights))
        worker.call("place_images", images=batch[0], labels=batch[1])
        worker.call("start_training", learning_rate=1e-3, epsilon=1e-7)
    except BaseException:
        worker.close()
        raise
    return LaneRun(lane, timing, worker, *place)


def settled(samples: list[float]) -> bool:
    """Return whether the last five medians of ten steps agree within 2 %; always False before fifty steps."""
    if len(samples) < 5 * GROUP:
        return False
    medians = [statistics.median(samples[i : i + GROUP]) for i in range(len(samples) - 5 * GROUP, len(samples), GROUP)]
    return max(medians) - min(medians) <= AGREE * statistics.median(medians)
