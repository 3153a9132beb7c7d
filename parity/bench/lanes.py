"""The lanes: one entry each. A lane is one way to run the work, in a fresh process of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass

from parity.errors import UsageError

# glibc gives large blocks back to the kernel after every step and faults them in again at the next: tens of thousands
# of page faults that are no property of a framework. These settings keep the memory, in every lane alike.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "68719476736"}


@dataclass(frozen=True)
class Lane:
    """One way to run the work: its name in records, the framework that runs it, and what a reader must know of it."""

    name: str
    framework: str
    description: str


LANES = (
    Lane("torch-eager", "torch", "eager modules, torch.optim.Adam as it comes (not fused), no host reads"),
    Lane("tf-graph", "tensorflow", "tf.function without XLA, keras.optimizers.Adam, no host reads"),
)


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that pools read at start; the frameworks' own calls repeat the number later."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: str(threads) for name in names}


def lane(name: str) -> Lane:
    """Return the lane of that name."""
    for entry in LANES:
        if entry.name == name:
            return entry
    raise UsageError(f"no lane `{name}`; lanes: {', '.join(entry.name for entry in LANES)}")


def schedule(blocks: int, seed: int) -> list[tuple[int, int, str]]:
    """Return (block, order within the block, lane name) for a randomised complete block design."""
    shuffler = random.Random(seed)
    rows = []
    for block in range(blocks):
        names = [entry.name for entry in LANES]
        shuffler.shuffle(names)
        rows += [(block, order, name) for order, name in enumerate(names)]
    return rows
