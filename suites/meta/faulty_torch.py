"""A torch adapter whose networks can be built wrongly on purpose, for the tests of what the tool finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.errors import UsageError
from parity.model.spec import LayerShape

FAULTS = ("", "bfloat16", "mode-dependent", "other-output", "pool-window")


class FaultyTorch(TorchAdapter):
    """Builds the network that it is told to, with the planted fault in the layer that is named with it."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault, self.at = "", ""

    def plant(self, fault: str, at: str = "") -> None:
        """Plant `fault` into the layer `at`; the next `build` has it."""
        if fault not in FAULTS:
            raise UsageError(f"unknown fault `{fault}`")
        self.fault, self.at = fault, at

    def build(self, spec: Mapping[str, Any], seed: int | None = None) -> None:
        super().build(spec, seed)
        if self.fault == "other-output":
            self.model.register_forward_hook(lambda _module, _given, result: result * 1.01)

    def _module(self, shape: LayerShape) -> Any:
        module = super()._module(shape)
        if shape.layer.name != self.at:
            return module
        if self.fault == "pool-window":
            # Overlapping windows, padded where that is needed to get the same shape out of the shared small network.
            return self.torch.nn.MaxPool2d(3, 2, padding=(0, 1))
        if self.fault == "mode-dependent":
            module.register_forward_hook(lambda layer, _given, result: result * 0.5 if layer.training else result)
        if self.fault == "bfloat16" and self.settings.role == "plain":
            module.register_forward_hook(self._in_bfloat16)
        return module

    def _in_bfloat16(self, layer: Any, given: tuple[Any, ...], _result: Any) -> Any:
        """Compute with operands rounded to bfloat16 and sums in float32, as matrix units do."""
        functional, low = self.torch.nn.functional, self.torch.bfloat16
        compute = functional.conv2d if layer.weight.dim() == 4 else functional.linear
        with self.torch.no_grad():
            return compute(given[0].to(low).to(self.dtype), layer.weight.to(low).to(self.dtype), layer.bias)
