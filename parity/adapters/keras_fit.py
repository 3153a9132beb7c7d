"""Keras's own `fit` and `evaluate` on one resident batch, timed per execution from inside by a callback."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parity.errors import ParityError

READ = "every callback is handed loss and accuracy as numbers, so `fit` reads both to the host after each execution"


@dataclass
class Stopwatch:
    """What the callback saw: the first execution is a lead-in, whose end starts the clock."""

    executions: int
    synchronise: Callable[[], None]
    images_seen: Callable[[], float]
    ended: int = 0
    seconds: float = 0.0
    images: float = 0.0
    host_reads: float = 0.0
    minor_faults: float = 0.0
    cpu_s: float = 0.0
    _start: Any = None

    def end_execution(self, logs: dict[str, Any]) -> None:
        """Note the end of one execution; `logs` are the numbers that Keras read to the host."""
        self.ended += 1
        if self.ended == 1:
            self.synchronise()
            before = self.images_seen()
            self._start = (before, resource.getrusage(resource.RUSAGE_SELF), time.perf_counter())
            return
        self.host_reads += sum(isinstance(value, float) for value in logs.values())
        if self.ended == self.executions + 1:
            self._stop()

    def _stop(self) -> None:
        self.synchronise()
        stop_s, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        images, before, start_s = self._start
        self.seconds, self.images = stop_s - start_s, self.images_seen() - images
        self.minor_faults = float(after.ru_minflt - before.ru_minflt)
        self.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def figures(self) -> dict[str, float]:
        """Return what was measured over the clocked executions.

        Raises
            ParityError: not all of them ran.
        """
        if self.ended != self.executions + 1:
            raise ParityError(f"`fit` ended after {self.ended} executions where {self.executions + 1} were due")
        return {
            "seconds": self.seconds,
            "minor_faults": self.minor_faults,
            "cpu_s": self.cpu_s,
            "host_reads": self.host_reads,
            "images": self.images,
        }


class KerasFit:
    """A compiled Keras model that is fed one batch over and over.

    `model` ends in logits of shape (n, 1); `dataset` gives that batch for ever; `noted` wraps a step's Python code, so
    that its traces are counted. The optimizer's state lives on in `optimizer`.
    """

    def __init__(
        self,
        keras: Any,
        model: Any,
        optimizer: Any,
        steps_per_execution: int,
        noted: Callable[[str, Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self.keras, self.model, self.per_execution = keras, model, steps_per_execution
        model.train_step = noted("train", model.train_step)
        model.test_step = noted("evaluate", model.test_step)
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            # A logit above 0 is a probability above one half; the default threshold would be laid on logits.
            metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
            steps_per_execution=steps_per_execution,
            jit_compile=False,
        )

    def facts(self) -> dict[str, Any]:
        """Return how the model is compiled, as read back from it."""
        model = self.model
        return {
            "jit_compile": bool(model.jit_compile),
            "run_eagerly": bool(model.run_eagerly),
            "steps_per_execution": int(model.steps_per_execution),
            "host_reads_per_step": 2.0 / model.steps_per_execution,
            "reads": READ,
            "timed": (
                "from the end of a lead-in execution to the end of the last one, so that entering `fit` is left out"
            ),
        }

    def run(self, work: str, dataset: Any, executions: int, ended: Callable[[dict[str, Any]], None]) -> Any:
        """Run `fit` (work "train") or `evaluate` for so many executions and return what it returns."""
        steps, callbacks = executions * self.per_execution, [_callback(self.keras, ended)]
        if work == "train":
            return self.model.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=callbacks)
        return self.model.evaluate(dataset, steps=steps, verbose=0, callbacks=callbacks, return_dict=True)

    def timed(self, work: str, dataset: Any, steps: int, synchronise: Callable[[], None]) -> dict[str, float]:
        """Return the figures of at least `steps` steps, in whole executions."""
        executions = math.ceil(steps / self.per_execution)
        watch = Stopwatch(executions, synchronise, self.images_seen)
        self.run(work, dataset, executions + 1, watch.end_execution)
        return watch.figures()

    def host_reads(self, work: str, dataset: Any, executions: int, synchronise: Callable[[], None]) -> list[float]:
        """Return the seconds from the device's end of each execution to when Keras hands on what it read."""
        model, done_s, read_s = self.model, [], []
        model.make_train_function()
        own = model.train_function

        def then_wait(iterator: Any) -> Any:
            logs = own(iterator)
            synchronise()
            done_s.append(time.perf_counter())
            return logs

        model.train_function = then_wait
        try:
            self.run(work, dataset, executions, lambda _: read_s.append(time.perf_counter()))
        finally:
            model.train_function = own
        return [read - done for read, done in zip(read_s, done_s, strict=True)]

    def images_seen(self) -> float:
        """Return how many images went through the steps of this epoch, as Keras's own mean of the loss weighs them."""
        loss = next(metric for metric in self.model.metrics if metric.name == "loss")
        return float(loss.count)


def _callback(keras: Any, ended: Callable[[dict[str, Any]], None]) -> Any:
    class Ended(keras.callbacks.Callback):
        """Hands on what Keras read; having batch hooks of its own, it makes Keras read at once and not in a thread."""

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
            ended(logs or {})

        def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
            ended(logs or {})

    return Ended()
