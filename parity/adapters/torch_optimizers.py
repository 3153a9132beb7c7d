"""Torch optimizers driven by given gradients, without any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError
from parity.model.optimizers import STEPS_PER_EPOCH

CLASSES: Mapping[str, str] = {
    "sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adamax": "Adamax", "nadam": "NAdam", "rmsprop": "RMSprop",
    "adagrad": "Adagrad", "adadelta": "Adadelta",
}  # fmt: skip

# The slots of stock torch under Keras's names, where the two mean the same.
KERAS_NAMES: Mapping[str, Mapping[str, str]] = {
    "sgd": {"momentum_buffer": "momentum"},
    "adam": {"exp_avg": "momentum", "exp_avg_sq": "velocity", "max_exp_avg_sq": "velocity_hat"},
    "adamw": {"exp_avg": "momentum", "exp_avg_sq": "velocity", "max_exp_avg_sq": "velocity_hat"},
    "adamax": {"exp_avg": "momentum", "exp_inf": "norm"},
    "nadam": {"exp_avg": "momentum", "exp_avg_sq": "velocity", "mu_product": "u_product"},
    "rmsprop": {"square_avg": "velocity", "momentum_buffer": "momentum", "grad_avg": "average_gradient"},
    "adagrad": {"sum": "accumulator"},
    "adadelta": {"square_avg": "accumulated_grad", "acc_delta": "accumulated_delta_var"},
}


class TorchOptimizers:
    """The torch adapter's `optimizer_run`."""

    settings: WorkerSettings
    torch: Any
    dtype: Any
    device: Any

    def optimizer_run(
        self,
        optimizer: str,
        setup: Mapping[str, Any],
        weights: Mapping[str, Array],
        gradients: Mapping[str, Array],
        form: str = "stock",
        metrics: Sequence[float] = (),
        dtype: str | None = None,
        exact_constants: bool = True,
        keras_slots: bool = False,
        per_step_epsilon: float | None = None,
    ) -> dict[str, Any]:
        """Take one step per row of `gradients`, and return weights, slots and learning rates.

        `setup`: `Setup.to_dict()`, in torch's words for `form` "stock", in Keras's for "keras_like". `gradients`: by
        variable, (steps, *shape), float64. `exact_constants`: as in `keras_like`. `keras_slots`: give stock slots
        Keras's names and meaning. `per_step_epsilon`: hang that helper on a stock optimizer.
        Returns `weights`, `first` (after one step), `slots` (named `slot/variable`, whole-optimizer ones plainly) and
        `rates` (steps,), all as float64.
        """
        kind = getattr(self.torch, dtype) if dtype else self.dtype
        parameters = {
            name: self.torch.nn.Parameter(self.torch.from_numpy(np.array(w)).to(self.device, kind))
            for name, w in weights.items()
        }
        made = self._optimizer_stepper(optimizer, setup, form, list(parameters.values()), exact_constants)
        if per_step_epsilon is not None:
            from parity import optimizers

            optimizers.per_step_epsilon(made, per_step_epsilon)
        after = self._optimizer_after_step(made, setup.get("schedule"), metrics, kind, exact_constants)
        given = {name: self.torch.from_numpy(np.array(g)).to(self.device, kind) for name, g in gradients.items()}
        first: dict[str, Array] = {}
        rates = []
        for step in range(len(next(iter(gradients.values())))):
            for name, parameter in parameters.items():
                parameter.grad = given[name][step].clone()
            self._optimizer_clip(list(parameters.values()), setup, form)
            rates.append(float(made.param_groups[0]["lr"]))
            made.step()
            after(step)
            first = first or {name: _double(p) for name, p in parameters.items()}
        slots = self._optimizer_slots(made, parameters)
        return {
            "weights": {name: _double(p) for name, p in parameters.items()},
            "first": first,
            "slots": _as_keras(slots, optimizer, made) if keras_slots and form == "stock" else slots,
            "rates": np.array(rates),
        }

    def _optimizer_stepper(
        self, optimizer: str, setup: Mapping[str, Any], form: str, parameters: list[Any], exact: bool
    ) -> Any:
        config = dict(setup["config"])
        if form == "stock":
            return getattr(self.torch.optim, CLASSES[optimizer])(parameters, **config)
        if form != "keras_like":
            raise UsageError(f"optimizer_run: no form `{form}`")
        from parity.optimizers import keras_like

        return keras_like(optimizer, parameters, exact_constants=exact, **config)

    def _optimizer_clip(self, parameters: list[Any], setup: Mapping[str, Any], form: str) -> None:
        clip = setup.get("clip") or {}
        if form != "stock" or not clip:
            return
        if "norm" in clip:
            self.torch.nn.utils.clip_grad_norm_(parameters, clip["norm"])
        if "value" in clip:
            self.torch.nn.utils.clip_grad_value_(parameters, clip["value"])

    def _optimizer_after_step(
        self, made: Any, schedule: Mapping[str, Any] | None, metrics: Sequence[float], kind: Any, exact: bool
    ) -> Callable[[int], None]:
        """Return what the training loop does after each step."""
        if schedule is None:
            return lambda _: None
        words = {key: value for key, value in schedule.items() if key not in ("kind", "unit")}
        if schedule["kind"] == "drop":
            return lambda step: _drop(made, words["factor"]) if step + 1 == words["at"] else None
        scheduler = self._optimizer_scheduler(made, schedule["kind"], words, kind == self.torch.float32, exact)
        if "lateau" in schedule["kind"]:

            def end_of_epoch(step: int) -> None:
                epoch = step // STEPS_PER_EPOCH
                if (step + 1) % STEPS_PER_EPOCH == 0 and epoch < len(metrics):
                    scheduler.step(metrics[epoch])

            return end_of_epoch
        unit = STEPS_PER_EPOCH if schedule["unit"] == "epoch" else 1
        return lambda step: scheduler.step() if (step + 1) % unit == 0 else None

    def _optimizer_scheduler(self, made: Any, kind: str, words: Mapping[str, Any], float32: bool, exact: bool) -> Any:
        if kind == "plateau":
            from parity.optimizers import keras_plateau

            return keras_plateau(made, **words, float32=float32)
        if hasattr(self.torch.optim.lr_scheduler, kind):
            return getattr(self.torch.optim.lr_scheduler, kind)(made, **words)
        from parity.optimizers import keras_schedule

        return keras_schedule(made, kind, exact_constants=exact and not float32, **words)

    def _optimizer_slots(self, made: Any, parameters: Mapping[str, Any]) -> dict[str, Array]:
        slots: dict[str, Array] = {}
        for name, parameter in parameters.items():
            for slot, value in made.state.get(parameter, {}).items():
                if not isinstance(value, self.torch.Tensor):
                    continue
                whole = {"step": "iterations"}.get(slot, slot)
                slots[f"{slot}/{name}" if value.shape == parameter.shape else whole] = _double(value)
        head = made.param_groups[0]
        for slot in ("iterations", "u_product"):
            if slot in head and (slot != "u_product" or head["kind"] == "nadam"):
                slots[slot] = np.asarray(float(head[slot]))
        return slots


def _drop(made: Any, factor: float) -> None:
    for group in made.param_groups:
        group["lr"] = float(group["lr"]) * factor


def _double(tensor: Any) -> Array:
    return np.array(tensor.detach().cpu().numpy()).astype(np.float64)


def _as_keras(slots: Mapping[str, Array], optimizer: str, made: Any) -> dict[str, Array]:
    """Name stock slots as Keras does, and put the rate in where Keras keeps it inside."""
    rate, found = float(made.param_groups[0]["lr"]), {}
    for name, value in slots.items():
        slot, _, variable = name.partition("/")
        named = KERAS_NAMES[optimizer].get(slot, slot)
        factor = {"sgd": -rate, "rmsprop": rate}.get(optimizer, 1.0) if slot == "momentum_buffer" else 1.0
        found[f"{named}/{variable}" if variable else named] = value * factor
    return found
