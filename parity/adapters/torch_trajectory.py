"""Training runs of the torch adapter that are advanced a few steps at a time, every step's weights handed out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError

SMALL = 1_000_000  # parameters; in a smaller network the threads wait for one another longer than they work


class _Trainer(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    torch: Any
    settings: WorkerSettings
    model: Any
    optimizer: Any
    _trajectory: dict[str, Any]

    def _built(self) -> Any: ...

    def _tensor(self, x: Array) -> Any: ...

    def _train(self, x: Any, y: Any) -> Any: ...

    def set_weights(self, weights: Mapping[str, Array]) -> None: ...

    def get_weights(self) -> dict[str, Array]: ...

    def _trajectory_optimizer(self, learning_rate: float, epsilon: float) -> Any: ...


class TorchTrajectory:
    """Several runs of the built network side by side, each with weights and an optimizer of its own."""

    _trajectory: dict[str, Any]

    def trajectory_begin(self: _Trainer, x: Array, y: Array, learning_rate: float, epsilon: float) -> None:
        """Keep the training images `x` (n, c, h, w) and labels `y` (n,) at hand; earlier runs are forgotten."""
        self._built()
        self._trajectory = {
            "x": self._tensor(x), "y": self._tensor(y), "adam": (learning_rate, epsilon), "runs": {},
        }  # fmt: skip

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
        kept = self.model, self.optimizer
        if sum(parameter.numel() for parameter in self._built().parameters()) < SMALL:
            self.torch.set_num_threads(1)
        try:
            if weights is not None:
                self.model = copy.deepcopy(self._built())
                self.set_weights(weights)
                held["runs"][run] = (self.model, self._trajectory_optimizer(*held["adam"]))
            if run not in held["runs"]:
                raise UsageError(f"no run `{run}` has been started: give its first weights")
            self.model, self.optimizer = held["runs"][run]
            losses, states = [], []
            for rows in np.asarray(order):
                chosen = self._tensor(rows).long()
                losses.append(float(self._train(held["x"][chosen], held["y"][chosen]).item()))
                states.append(self.get_weights())
        finally:
            self.model, self.optimizer = kept
            self.torch.set_num_threads(self.settings.threads)
        return {"losses": losses, "weights": {name: np.stack([s[name] for s in states]) for name in states[0]}}

    def trajectory_end(self: _Trainer) -> None:
        """Forget the images and all runs."""
        self._trajectory = {}
        del self._trajectory

    def _trajectory_optimizer(self: _Trainer, learning_rate: float, epsilon: float) -> Any:
        # Keras's Adam to the last bit of float64: torch's own adds epsilon elsewhere. The TensorFlow twin's constants
        # are made exact, and so are this twin's.
        from parity.optimizers import keras_like

        return keras_like(
            "adam",
            self._built().parameters(),
            exact_constants=self.settings.role == "twin",
            learning_rate=learning_rate,
            epsilon=epsilon,
        )
