"""A torch adapter whose training steps can be made wrong on purpose, for the tests of the trajectory."""

from __future__ import annotations

from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.adapters.torch_trajectory import TorchTrajectory
from parity.errors import UsageError

FAULTS = ("", "epsilon", "stock-adam", "learning-rate", "dropout", "dropout-seeded")


class FaultyTrajectory(TorchAdapter, TorchTrajectory):
    """Trains with the planted fault; the float32 side and the twin alike."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault = ""

    def plant(self, fault: str) -> None:
        """Plant `fault` into every run that starts from now on."""
        if fault not in FAULTS:
            raise UsageError(f"unknown fault `{fault}`")
        self.fault = fault

    def _trajectory_optimizer(self, learning_rate: float, epsilon: float) -> Any:
        if self.fault == "stock-adam":  # torch's own epsilon in torch's own place
            return self.torch.optim.Adam(self._built().parameters(), lr=learning_rate)
        if self.fault == "epsilon":
            epsilon = 1e-3
        if self.fault == "learning-rate":
            learning_rate *= 1 + 1e-4
        return super()._trajectory_optimizer(learning_rate, epsilon)

    def _logits(self, x: Any) -> Any:
        if not self.fault.startswith("dropout"):
            return super()._logits(x)
        if self.fault == "dropout-seeded":  # the same mask in every run, as a seeded port would have
            self.torch.manual_seed(int(x.abs().sum().item()))
        return super()._logits(self.torch.nn.functional.dropout(x, 0.001))
