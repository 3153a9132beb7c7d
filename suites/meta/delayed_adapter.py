"""The torch adapter with a known delay in every step, for a benchmark that must find it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from parity.adapters.torch import TorchAdapter

DELAY_S = 0.004


class DelayedLane(TorchAdapter):
    """Torch as it is, except that each step waits."""

    def step(self, work: str) -> Callable[[], Any]:
        """Return the real step with the delay in front."""
        real = super().step(work)

        def step() -> Any:
            time.sleep(DELAY_S)
            return real()

        return step
