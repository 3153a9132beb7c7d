"""Training runs of the TensorFlow adapter that are advanced a few steps at a time, every step's weights handed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array
from parity.errors import UsageError


class _Trainer(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    tf: Any
    optimizer: Any
    _trajectory: dict[str, Any]

    def _tensor(self, x: Array) -> Any: ...

    def _train_function(self) -> Any: ...

    def _variables(self) -> dict[str, Any]: ...

    def start_training(self, learning_rate: float, epsilon: float) -> None: ...

    def set_weights(self, weights: Mapping[str, Array]) -> None: ...

    def get_weights(self) -> dict[str, Array]: ...

    def _trajectory_state(self) -> list[Any]: ...


class TensorflowTrajectory:
    """Several runs of the built network; one traced step serves all, each run's variables being put in its place."""

    _trajectory: dict[str, Any]

    def trajectory_begin(self: _Trainer, x: Array, y: Array, learning_rate: float, epsilon: float) -> None:
        """Keep the training images `x` (n, h, w, c) and labels `y` (n,) at hand; earlier runs are forgotten."""
        self.start_training(learning_rate, epsilon)
        fresh = [variable.numpy() for variable in self._trajectory_state()]
        self._trajectory = {"x": self._tensor(x), "y": self._tensor(y), "fresh": fresh, "runs": {}}

    def trajectory_steps(
        self: _Trainer, run: str, order: Array, weights: Mapping[str, Array] | None = None
    ) -> dict[str, Any]:
        """Take one step for each row of `order` (k, batch), indices into the images; `weights` start the run afresh.

        Returns `losses`, k floats before each step, and `weights`: for every name the k states after the steps,
        stacked along a new first axis, in the adapter's dtype.

        Raises
            UsageError: no images yet, or a run that was never started.
        """
        held = getattr(self, "_trajectory", None)
        if held is None:
            raise UsageError("no training images in this worker: call `trajectory_begin` first")
        before = held["fresh"] if weights is not None else held["runs"].get(run)
        if before is None:
            raise UsageError(f"no run `{run}` has been started: give its first weights")
        variables, train = self._trajectory_state(), self._train_function()
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        if weights is not None:
            self.set_weights(weights)
        losses, states = [], []
        for rows in np.asarray(order):
            chosen = self.tf.constant(rows, dtype="int32")
            x, y = self.tf.gather(held["x"], chosen), self.tf.gather(held["y"], chosen)
            losses.append(float(train(x, y).numpy()))
            states.append({name: np.array(value) for name, value in self.get_weights().items()})
        held["runs"][run] = [np.array(variable.numpy()) for variable in variables]
        return {"losses": losses, "weights": {name: np.stack([s[name] for s in states]) for name in states[0]}}

    def trajectory_end(self: _Trainer) -> None:
        """Forget the images and all runs."""
        self._trajectory = {}
        del self._trajectory

    def _trajectory_state(self: _Trainer) -> list[Any]:
        """Everything that a step changes: the weights, and the optimizer's counter, rate and moments."""
        return [*self._variables().values(), *self.optimizer.variables]
