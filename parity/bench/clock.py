"""The clock that pytest-benchmark reads: seconds measured inside a worker, transport left out.

Use it as `@pytest.mark.benchmark(timer=clock.read)` under `benchmark.pedantic(..., iterations=1)`: each round's target
calls `advance` with what the worker measured, and the difference of two readings is exactly that.
"""

from __future__ import annotations

_elapsed_s = 0.0


def read() -> float:
    """Return the seconds accumulated so far."""
    return _elapsed_s


def advance(seconds: float) -> None:
    """Add what a worker measured."""
    global _elapsed_s
    _elapsed_s += seconds
