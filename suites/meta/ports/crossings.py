"""Layers and places of one shape that torch takes crosswise: kept as one weight, or named alike in each block."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, paired

_port = partial(paired, family="crossings")


def _in_another_order(torch: str) -> Case:
    """Return a case in which torch looks its first and its last layer up in the other one's place."""
    case = _port("kernels", torch, "8", "unknown", ("own/matmul", "matmul"), says=("torch takes in another order",))
    return replace(case, sources=(*case.sources, Source(("own/matmul_2",), ("matmul_2",), ("unknown",))))


CROSSINGS = (
    _port("kernels", "kernels", "8"),
    _in_another_order("kernels_from_the_last"),
    _port("kernels", "layers", "8"),
    _port("blocks", "blocks", "6x8"),
    _port(
        "blocks", "blocks_with_keys_as_queries", "6x8",
        says=("`block0_q` with `0.k` (and 2 more layers likewise)", "their names say the reverse"),
    ),
    _port(
        "experts", "experts_all_round", "8",
        says=("`expert_2` with `experts.0`: where they stand says so, and their names say something else",),
    ),
    _port("score", "score_of_no_axis", "8", says=("(3, 1) in TensorFlow and (3,) in torch: only its numbers",)),
)  # fmt: skip
