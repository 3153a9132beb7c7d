"""Complex numbers that one side alone computes with: a rotation of pairs, written out with two halves on the other."""

from __future__ import annotations

from dataclasses import replace

from parity.model.trace import Op, Trace
from parity.pairing.families import WITHIN


def within(tensorflow: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Return both traces, with what makes complex numbers marked where the other side has none.

    Nothing there can be compared with them; what is made real of them again can.
    """
    own = [{tensor for tensor, dtype in trace.dtypes.items() if "complex" in dtype} for trace in (tensorflow, torch)]
    if bool(own[0]) == bool(own[1]):
        return tensorflow, torch
    return _marked(tensorflow, own[0]), _marked(torch, own[1])


def _marked(trace: Trace, complex_: set[int]) -> Trace:
    def inner(op: Op) -> bool:
        return bool(op.outputs) and complex_.issuperset(op.outputs)

    ops = (replace(op, config={**op.config, WITHIN: True}) if inner(op) else op for op in trace.ops)
    return replace(trace, ops=tuple(ops)) if complex_ else trace
