"""What every adapter is given, and what it must offer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker wants its adapter to compute."""

    role: str  # "plain" (float32, as a user runs it) or "twin" (the same in float64)
    device: str  # "cpu" or "gpu"
    threads: int
    seed: int
