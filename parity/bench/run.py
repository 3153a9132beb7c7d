"""One lane in one block: start it, warm it up, time it, take its step apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
HURRY = 0.9  # a clock that shows less than this share of what the device itself counted has not waited for it
SLACK_S = 50e-6  # what two clocks, and two readings of one result, differ by: as much as a whole step of one image
PROOFS = 3  # a stalled host spoils one proof or another; a clock that does not wait is hurried in each of so many
LEARNING_RATE, EPSILON = 1e-3, 1e-7


@dataclass(frozen=True)
class Timing:
    """How much to time; `warmup_limit` counts samples, or groups of ten where a sample is such a group."""

    batch: int = 32
    rounds: int = 8
    steps_per_round: int = 3
    warmup_limit: int = 50
    threads: int = 1
    device: str = "cpu"
    latency_rounds: int = 50
    phase_steps: int = 10
    sweep_rounds: int = 5

    def rounds_of(self, setting: Setting) -> int:
        """How many samples a setting gets."""
        if setting.work == "latency":
            return self.latency_rounds
        return self.rounds if setting.batch == self.batch else self.sweep_rounds

    def steps_of(self, setting: Setting) -> int:
        """How many consecutive steps a sample is the mean of: one for a latency, whose single values are the point."""
        return 1 if setting.work == "latency" else self.steps_per_round


@dataclass(frozen=True, order=True)
class Setting:
    """What is timed: `work` is `train`, `evaluate` or `latency`; images are (height, width, channels)."""

    work: str
    batch: int
    height: int
    width: int
    channels: int

    @property
    def name(self) -> str:
        """A short name, the same on every machine, for test ids and messages."""
        return f"{self.work}-{self.batch}x{self.height}x{self.width}x{self.channels}"

    def fields(self) -> dict[str, Any]:
        """Return the record's fields of this setting."""
        return {
            "work": self.work,
            "batch": self.batch,
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
        }


@dataclass
class LaneRun:
    """A lane's fresh process with the network, its weights and one batch resident, ready to be timed."""

    lane: Lane
    timing: Timing
    worker: Worker
    block: int
    order: int
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: dict[Setting, list[dict[str, float]]] = field(default_factory=dict)
    warmups: dict[Setting, list[float]] = field(default_factory=dict)
    first_step_s: dict[Setting, float] = field(default_factory=dict)
    unproven: dict[Setting, list[float]] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """Threads of this lane's process."""
        return self.lane.threads or self.timing.threads

    @property
    def _fits(self) -> bool:
        return self.lane.options.get("run") == "fit"

    @property
    def _group(self) -> int:
        """Warm-up samples per median: entering `fit` for every single step would time the entering."""
        return 1 if self._fits else GROUP

    def _warmup_steps(self, setting: Setting) -> int:
        """Steps that a warm-up sample is the mean of; on a GPU as many as under the clock, where waiting counts.

        A step of TensorFlow under XLA took 1.31 ms on an H100 when every one was waited for, and 0.93 ms in spans of
        three: the one says nothing of whether the other has settled.
        """
        steps = self.timing.steps_of(setting) if self.timing.device == "gpu" else 1
        return max(GROUP, steps) if self._fits else steps

    def warm_up(self, setting: Setting) -> None:
        """Take the first step, then warm up until the medians agree or the limit is reached; all samples are kept."""
        self.first_step(setting)
        samples: list[float] = []
        steps, limit = self._warmup_steps(setting), self.timing.warmup_limit / GROUP
        while len(samples) / self._group < limit and not settled(samples, self._group):
            # Here a step may still compile: CUDA graphs are recorded at a step after the first.
            samples += [self._ask(setting, steps, warm=True)["step_s"] for _ in range(self._group)]
        self.warmups[setting] = samples

    def first_step(self, setting: Setting) -> None:
        """Take and time the very first step, which traces or compiles; later calls do nothing."""
        if setting not in self.first_step_s:
            self.first_step_s[setting] = float(self.worker.call("first_step", work=setting.work))

    def round(self, setting: Setting) -> None:
        """Time one round of consecutive steps and let the benchmark clock advance by the seconds of one step."""
        done = self._ask(setting, self.timing.steps_of(setting))
        self.rounds.setdefault(setting, []).append(done)
        clock.advance(done["step_s"])

    def sample(self, setting: Setting) -> dict[str, Any]:
        """Return the record's entry for one setting: every raw sample, in seconds per step, with its circumstances.

        Raises
            UsageError: the process does not run the threads any more that it was given.
        """
        verify_threads(self.lane, self.worker, self.threads)
        done = self.rounds[setting]
        seconds = [entry["step_s"] for entry in done]
        steps = sum(entry["steps"] for entry in done)
        memory = self.worker.call("memory")
        return {
            **setting.fields(),
            "lane": self.lane.name,
            "kind": self.lane.kind,
            "block": self.block,
            "order": self.order,
            "seconds": seconds,
            "warmup_seconds": self.warmups[setting],
            "unproven_seconds": self.unproven.get(setting, []),
            "warmup_settled": settled(self.warmups[setting], self._group),
            "steps_per_sample": int(done[0]["steps"]),
            "images_per_step": setting.batch,
            "images_per_s": setting.batch / statistics.median(seconds),
            "first_step_s": self.first_step_s[setting],
            # Of a GPU's memory a runtime without a count of its own knows nothing; the host's is another figure.
            "peak_bytes": memory["device_peak_bytes" if self.timing.device == "gpu" else "process_peak_bytes"],
            **memory,
            "threads": self.threads,
            "device": self.timing.device,
            "allocator": self.lane.allocator,
            "minor_faults_per_step": sum(entry["minor_faults"] for entry in done) / steps,
            "cpu_per_wall": sum(entry["cpu_s"] for entry in done) / sum(entry["seconds"] for entry in done),
            "host_reads_per_step": sum(entry.get("host_reads", 0.0) for entry in done) / steps,
        }

    def phases(self, setting: Setting) -> dict[str, Any]:
        """Take a training step apart and return the record's row: seconds of each phase of each step."""
        parts = self.worker.call("phases", steps=self.timing.phase_steps)
        return {"lane": self.lane.name, "block": self.block, "batch": setting.batch, **parts}

    def cold_start(self) -> dict[str, Any]:
        """Return the record's row about the start of this process: import, build, first step of each work."""
        first = {
            setting.work: seconds
            for setting, seconds in self.first_step_s.items()
            if setting.batch == self.timing.batch or setting.work == "latency"
        }
        return {
            "lane": self.lane.name,
            "block": self.block,
            **self.worker.call("cold_start"),
            "first_steps": first,
        }

    def restart(self) -> None:
        """Make the optimizer and the steps again, for another network in the same process."""
        self.facts = self.worker.call("start_lane", options=lane_options(self.lane))

    def close(self) -> None:
        """End the lane's process."""
        self.worker.close()

    def _ask(self, setting: Setting, steps: int, warm: bool = False) -> dict[str, float]:
        """Return a span of steps whose clock is proven to have waited; spans that were not are kept beside it.

        Raises
            ParityError: something was compiled inside the clock, a batch was not full, or the clock did not wait for
                the device in `PROOFS` spans that followed one another.
        """
        hurry = ""
        for _ in range(PROOFS):
            done = self._span(setting, steps, warm)
            hurry = self._hurry(setting, done)
            if not hurry:
                return done
            self.unproven.setdefault(setting, []).append(done["step_s"])
        raise ParityError(hurry)

    def _span(self, setting: Setting, steps: int, warm: bool) -> dict[str, float]:
        done: dict[str, float] = dict(self.worker.call("timed_steps", work=setting.work, steps=steps))
        where = f"inside the clock of `{setting.work}`"
        if done["compilations"] and not warm:
            raise ParityError(
                f"{self.lane.name} traced or compiled {done['compilations']:.0f} times {where}:"
                " the figure would not be a steady step"
            )
        images = done.get("images", steps * setting.batch)
        if images < steps * setting.batch or images % setting.batch:
            raise ParityError(
                f"{self.lane.name} worked on {images:.0f} images {where} where {steps} full batches of"
                f" {setting.batch} were due: a partial or a missing batch is not a step"
            )
        done["steps"] = images / setting.batch
        done["step_s"] = done["seconds"] / done["steps"]
        return done

    def _hurry(self, setting: Setting, done: Mapping[str, float]) -> str:
        """Say that a wall clock stopped before the device did; nothing where nothing shows it.

        Of a span of some ten microseconds nothing can be told; every lane has longer ones, by the same clock.
        """
        worked = [done["device_s"]] if done.get("device_s") is not None else []
        if done.get("after_sync_s") is not None:
            worked.append(done["seconds"] + done["after_sync_s"])
        whole = max(worked, default=0.0)
        if done["seconds"] >= HURRY * whole - SLACK_S:
            return ""
        return (
            f"{self.lane.name} stopped its clock of `{setting.work}` after {done['seconds']:.2e} s, and the device"
            f" worked for {whole:.2e} s: the clock did not wait for it"
        )


def open_lane(
    lane: Lane,
    spec: ModelSpec,
    weights: Mapping[str, Array],
    batch: tuple[Array, Array],
    timing: Timing,
    place: tuple[int, int],
    python: str | None = None,
    graph: Path | None = None,
) -> LaneRun:
    """Start a fresh process for `lane`, with these weights (the framework's own names) and this batch of uint8 images.

    `place` is (block, order within the block); `graph` an exported file, for a lane that runs one in place of weights.

    Raises
        UsageError: the framework does not use the number of threads that it was given.
    """
    threads = lane.threads or timing.threads
    # A lane with glibc's own settings must not inherit others from whoever started the run.
    environment = {**dict.fromkeys(ALLOCATOR), **lane.allocator, **thread_environment(threads)}
    options = WorkerOptions(
        framework=lane.framework, python=python, device=timing.device, threads=threads, environment=environment,
        whole_import=True,
    )  # fmt: skip
    worker = Worker(options)
    try:
        verify_threads(lane, worker, threads)
        if graph is not None:
            worker.call("load", path=str(graph))
        else:
            worker.call("build", spec=spec.to_dict(), seed=0)
            worker.call("set_weights", weights=dict(weights))
        worker.call("place_images", images=batch[0], labels=batch[1])
        facts = worker.call("start_lane", options={**lane.options, "learning_rate": LEARNING_RATE, "epsilon": EPSILON})
    except BaseException:
        worker.close()
        raise
    return LaneRun(lane, timing, worker, *place, facts=facts)


def verify_threads(lane: Lane, worker: Worker, threads: int) -> None:
    """Ask a lane's process how many threads it runs: before its clock, and after it, since a library may change them.

    Raises
        UsageError: not as many as it was given.
    """
    seen = worker.call("environment")["threads"]
    if seen != threads:
        raise UsageError(f"{lane.name} runs {seen} threads where {threads} were asked for")


def lane_options(lane: Lane) -> dict[str, Any]:
    """Return what a lane's adapter is told: the lane's own options, and the optimizer's numbers, the same for all."""
    return {**lane.options, "learning_rate": LEARNING_RATE, "epsilon": EPSILON}


def settled(samples: list[float], group: int = GROUP) -> bool:
    """Return whether the last five medians of `group` samples agree within 2 %; always False before five of them."""
    if len(samples) < 5 * group:
        return False
    medians = [statistics.median(samples[i : i + group]) for i in range(len(samples) - 5 * group, len(samples), group)]
    return max(medians) - min(medians) <= AGREE * statistics.median(medians)
