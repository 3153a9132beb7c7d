"""Complex numbers that one side alone computes with: a rotation of pairs, written out with two halves on the other."""

from __future__ import annotations

from dataclasses import replace

from parity.model.trace import Op, Trace
from parity.pairing.families import WITHIN


def within(tensorflow: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Return both traces, with what makes complex numbers marked where the other side has none.

    Nothing there can be compared with them; what is made real of them again can. A view of both parts as an axis is
    what the other side stacks.
    """
    own = [{tensor for tensor, dtype in trace.dtypes.items() if "complex" in dtype} for trace in (tensorflow, torch)]
    alone = bool(own[0]) != bool(own[1])
    return _seen(tensorflow, own[0], alone), _seen(torch, own[1], alone)


def _seen(trace: Trace, complex_: set[int], alone: bool) -> Trace:
    def seen(op: Op) -> Op:
        if alone and op.outputs and complex_.issuperset(op.outputs):
            return replace(op, config={**op.config, WITHIN: True})
        apart = op.kind == "identity" and bool(op.inputs) and complex_.issuperset(op.inputs)
        return replace(op, kind="stack", config={"axis": len(trace.shapes[op.outputs[0]]) - 1}) if apart else op

    return replace(trace, ops=tuple(map(seen, trace.ops))) if complex_ else trace
