"""A torch adapter whose modes secretly compute in less than they say, for the tests of what the trial finds."""

from __future__ import annotations

from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.adapters.torch_modes import TorchModes
from parity.errors import UsageError
from parity.model.modes import Mode
from parity.model.spec import ModelSpec

FAULTS = ("", "tf32-operands", "bfloat16-sums")


class FaultyModes(TorchAdapter, TorchModes):
    """Runs every mode with the planted fault in its dense layers, forward and backward."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.fault = ""

    def plant(self, fault: str) -> None:
        """Plant `fault` into every mode that runs from now on."""
        if fault not in FAULTS:
            raise UsageError(f"unknown fault `{fault}`")
        self.fault = fault

    def _mode_part(self, mode: Mode, spec: ModelSpec, name: str) -> Any:
        part = super()._mode_part(mode, spec, name)
        for module in part:
            if self.fault and isinstance(module, self.torch.nn.Linear):
                module.register_forward_hook(self._badly)
        return part

    def _badly(self, layer: Any, given: tuple[Any, ...], result: Any) -> Any:
        torch, x = self.torch, given[0]
        if self.fault == "tf32-operands":
            # Adding and taking away 2^13 times a number leaves the eleven leading bits of it.
            short = [(t + t * 2.0**13) - t * 2.0**13 for t in (x, layer.weight)]
            return torch.nn.functional.linear(*short, layer.bias)
        columns = zip(x.to(result.dtype).unbind(1), layer.weight.to(result.dtype).unbind(1), strict=True)
        total = torch.zeros_like(result)
        for a, w in columns:
            total = total + a[:, None] * w[None, :]  # each product and each partial sum rounded to the result's dtype
        return total + layer.bias.to(result.dtype)
