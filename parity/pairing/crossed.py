"""Layers whose places pair them crosswise to their names: right or wrong, somebody should have a look at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from parity.model.trace import Trace


def notes(tensorflow: Trace, torch: Trace, pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Return a sentence for each two layers that would be the other's partner by their names alone."""
    mine, other = _only_names(tensorflow), _only_names(torch)
    by_name = {mine[one]: other[two] for one, two in pairs if one in mine and two in other}
    return [
        f"`{one}` is paired with torch's `{two}` and `{two}` with `{one}`: where they stand says so, and"
        " their names say the reverse; if those are right, pair them with --map"
        for one, two in by_name.items()
        if one < two and by_name.get(two) == one
    ]


def _only_names(trace: Trace) -> dict[int, str]:
    """Return the last part of the names of operations with weights, of those that no other one has."""
    names = {op.index: op.name.rpartition("/")[2].rpartition(".")[2] for op in trace.ops if op.weights}
    count = Counter(names.values())
    return {index: name for index, name in names.items() if count[name] == 1}
