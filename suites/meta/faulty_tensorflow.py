"""A TensorFlow adapter whose kernels can be made wrong on purpose, for the tests of the referee."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.tensorflow import TensorflowAdapter
from parity.errors import UsageError
from parity.model.network import Node

FAULTS = ("", "bfloat16", "other-function")


class FaultyTensorflow(TensorflowAdapter):
    """Runs one node with the planted fault; the networks and weights are those that it is told to hold."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault, self.at = "", ""

    def plant(self, fault: str, at: str = "") -> None:
        """Plant `fault` into the node `at`, until the next call."""
        if fault not in FAULTS:
            raise UsageError(f"unknown fault `{fault}`")
        self.fault, self.at = fault, at

    def _call(self, node: Node, fed: Sequence[Any], training: bool) -> Any:
        if node.name != self.at:
            return super()._call(node, fed, training)
        if self.fault == "bfloat16" and self.settings.role == "plain":
            # Operands rounded to bfloat16, sums in float32, as matrix units compute.
            fed = [self.tf.cast(self.tf.cast(x, "bfloat16"), x.dtype) for x in fed]
        result = super()._call(node, fed, training)
        return result * (1.0 + 2.0**-20) if self.fault == "other-function" else result
