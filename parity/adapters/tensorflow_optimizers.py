"""Keras optimizers driven by given gradients, without any network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError
from parity.model.optimizers import STEPS_PER_EPOCH

CLASSES: Mapping[str, str] = {
    "sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adamax": "Adamax", "nadam": "Nadam", "rmsprop": "RMSprop",
    "adagrad": "Adagrad", "adadelta": "Adadelta",
}  # fmt: skip

# Where each of Keras's classes keeps its slots, by the name of the slot's variables.
SLOTS: Mapping[str, Mapping[str, str]] = {
    "sgd": {"momentum": "momentums"},
    "adam": {"momentum": "_momentums", "velocity": "_velocities", "velocity_hat": "_velocity_hats"},
    "adamw": {"momentum": "_momentums", "velocity": "_velocities", "velocity_hat": "_velocity_hats"},
    "adamax": {"momentum": "_m", "norm": "_u"},
    "nadam": {"momentum": "_momentums", "velocity": "_velocities"},
    "rmsprop": {"velocity": "_velocities", "momentum": "_momentums", "average_gradient": "_average_gradients"},
    "adagrad": {"accumulator": "_accumulators"},
    "adadelta": {"accumulated_grad": "_accumulated_grads", "accumulated_delta_var": "_accumulated_delta_vars"},
}

SCHEDULES: Mapping[str, str] = {
    "exponential_decay": "ExponentialDecay", "cosine_decay": "CosineDecay",
    "cosine_decay_restarts": "CosineDecayRestarts", "inverse_time_decay": "InverseTimeDecay",
    "polynomial_decay": "PolynomialDecay", "piecewise_constant_decay": "PiecewiseConstantDecay",
}  # fmt: skip


class TensorflowOptimizers:
    """The TensorFlow adapter's `optimizer_run`."""

    settings: WorkerSettings
    tf: Any
    keras: Any

    def optimizer_run(
        self,
        optimizer: str,
        setup: Mapping[str, Any],
        weights: Mapping[str, Array],
        gradients: Mapping[str, Array],
        form: str = "stock",
        metrics: Sequence[float] = (),
        dtype: str | None = None,
    ) -> dict[str, Any]:
        """Take one step per row of `gradients`, and return weights, slots and learning rates.

        `setup`: `Setup.to_dict()`; `form`: "stock" or "torch_like". `gradients`: by variable, (steps, *shape), float64.
        `dtype`: "float64" computes in doubles in a worker whose constants are Keras's own, unrepaired.
        Returns `weights`, `first` (after one step), `slots` (named `slot/variable`, whole-optimizer ones plainly) and
        `rates` (steps,), all as float64.
        """
        with self._optimizer_precision(dtype) as used:
            variables = {name: self.keras.Variable(np.asarray(w), dtype=used) for name, w in weights.items()}
            rate = self._optimizer_rate(setup, used)
            made = self._optimizer_stepper(optimizer, setup, form, rate)
            made.build(list(variables.values()))
            loop = self._optimizer_loop(made, variables, gradients, setup.get("l2"), used)
            steps = len(next(iter(gradients.values())))
            change = self._optimizer_changes(made, setup.get("schedule"), steps, metrics)
            rates: list[Any] = []
            first: dict[str, Array] = {}
            for start, stop in _segments(steps, change):
                if start in change:
                    change[start]()
                rates.append(loop(self.tf.constant(start), self.tf.constant(stop)).numpy())
                first = first or self._optimizer_doubles(variables)
            return {
                "weights": self._optimizer_doubles(variables),
                "first": first,
                "slots": self._optimizer_slots(made, optimizer, form, list(variables)),
                "rates": np.concatenate(rates),
            }

    @contextmanager
    def _optimizer_precision(self, dtype: str | None) -> Iterator[str]:
        kept = self.keras.config.floatx()
        self.keras.config.set_floatx(dtype or kept)
        try:
            yield dtype or kept
        finally:
            self.keras.config.set_floatx(kept)

    def _optimizer_rate(self, setup: Mapping[str, Any], dtype: str) -> Any:
        schedule = setup.get("schedule")
        if schedule is None or schedule["kind"] not in SCHEDULES:
            return None
        words = {key: value for key, value in schedule.items() if key not in ("kind", "unit")}
        if self.settings.role == "twin":  # a Python float would make the whole schedule float32
            words = {k: np.dtype(dtype).type(v) if isinstance(v, float) else v for k, v in words.items()}
        return getattr(self.keras.optimizers.schedules, SCHEDULES[schedule["kind"]])(**words)

    def _optimizer_stepper(self, optimizer: str, setup: Mapping[str, Any], form: str, rate: Any) -> Any:
        config = dict(setup["config"])
        if form == "stock":
            if rate is not None:
                config["learning_rate"] = rate
            return getattr(self.keras.optimizers, CLASSES[optimizer])(**config)
        if form != "torch_like" or rate is not None:
            raise UsageError(f"optimizer_run: no form `{form}` with this schedule")
        from parity.optimizers import torch_like

        clip = setup.get("clip") or {}
        return torch_like(
            optimizer, **config, clip_grad_norm=clip.get("norm"), clip_grad_value=clip.get("value")
        )  # fmt: skip

    def _optimizer_loop(
        self, made: Any, variables: Mapping[str, Any], gradients: Mapping[str, Array], l2: float | None, dtype: str
    ) -> Any:
        tf, listed = self.tf, list(variables.values())
        given = [tf.convert_to_tensor(gradients[name].astype(dtype)) for name in variables]

        @tf.function(jit_compile=False, reduce_retracing=True)
        def loop(start: Any, stop: Any) -> Any:
            rates = tf.TensorArray(tf.float64, size=stop - start)
            for step in tf.range(start, stop):
                rates = rates.write(step - start, tf.cast(tf.convert_to_tensor(made.learning_rate), tf.float64))
                found = [rows[step] for rows in given]
                if l2 is not None:
                    found = [g + p for g, p in zip(found, self._optimizer_penalty(listed, l2), strict=True)]
                made.apply(found, listed)
            return rates.stack()

        return loop

    def _optimizer_penalty(self, variables: Sequence[Any], l2: float) -> list[Any]:
        with self.tf.GradientTape() as tape:
            loss = self.tf.add_n([self.keras.regularizers.L2(l2)(variable.value) for variable in variables])
        return list(tape.gradient(loss, [variable.value for variable in variables]))

    def _optimizer_changes(
        self, made: Any, schedule: Mapping[str, Any] | None, steps: int, metrics: Sequence[float]
    ) -> dict[int, Any]:
        """Return what happens to the rate before which steps."""
        if schedule is None or schedule["kind"] in SCHEDULES:
            return {}
        if schedule["kind"] == "drop":

            def drop() -> None:
                made.learning_rate = float(made.learning_rate.numpy()) * schedule["factor"]

            return {schedule["at"]: drop}
        if schedule["kind"] != "plateau":
            raise UsageError(f"optimizer_run: Keras has no schedule `{schedule['kind']}`")
        words = {key: value for key, value in schedule.items() if key not in ("kind", "unit")}
        callback = self.keras.callbacks.ReduceLROnPlateau(monitor="loss", mode="min", **words)
        callback.set_model(SimpleNamespace(optimizer=made))
        callback.on_train_begin()
        ends = enumerate(range(STEPS_PER_EPOCH, steps, STEPS_PER_EPOCH))
        return {
            at: (lambda epoch=epoch: callback.on_epoch_end(epoch, {"loss": metrics[epoch]}))
            for epoch, at in ends
            if epoch < len(metrics)
        }

    def _optimizer_slots(self, made: Any, optimizer: str, form: str, names: Sequence[str]) -> dict[str, Array]:
        if form == "torch_like":
            kept = dict(made._torch_slots)
        else:
            kept = {slot: getattr(made, place, None) for slot, place in SLOTS[optimizer].items()}
        slots = {
            f"{slot}/{name}": _double(variable)
            for slot, variables in kept.items()
            for name, variable in zip(names, variables or (), strict=False)
        }
        slots["iterations"] = _double(made.iterations)
        for scalar in ("_u_product", "_mu_product"):
            if hasattr(made, scalar):
                slots[scalar.strip("_")] = _double(getattr(made, scalar))
        return slots

    def _optimizer_doubles(self, variables: Mapping[str, Any]) -> dict[str, Array]:
        return {name: _double(variable) for name, variable in variables.items()}


def _double(variable: Any) -> Array:
    return np.asarray(variable.numpy()).astype(np.float64)


def _segments(steps: int, change: Mapping[int, Any]) -> list[tuple[int, int]]:
    """Cut the steps after the first one and before every change."""
    cuts = sorted({0, 1, steps, *(at for at in change if at < steps)})
    return list(pairwise(cuts))
