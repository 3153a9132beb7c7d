"""Several operations seen as one, because they are one in their author's mind: written norms, and sums of many terms.

A trace with them is paired and compared; the workers run the steps as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from parity.model.trace import Op, Trace


@dataclass(frozen=True)
class Whole:
    """A trace in which some operations stand for several, and the steps of each of them by its index."""

    trace: Trace
    parts: Mapping[int, tuple[Op, ...]] = field(default_factory=dict)

    def together(self, groups: Sequence[tuple[Op, tuple[Op, ...]]]) -> Whole:
        """Return the same with more operations, each in the place of its last step, whose index it has."""
        inside = {op.index for _, steps in groups for op in steps}
        stands = {one.index: one for one, _ in groups}
        ops = [stands.get(op.index, op) for op in self.trace.ops if op.index not in inside or op.index in stands]
        return Whole(replace(self.trace, ops=tuple(ops)), {**self.parts, **{one.index: steps for one, steps in groups}})
