"""Sums of three and more terms, seen as one operation: in which order they are added is nobody's meaning."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from parity.model.trace import MOVES, Op, Trace
from parity.pairing.whole import Whole


def sums_as_one(whole: Whole, apart: Container[str] = ()) -> Whole:
    """Return the trace with one addition in place of several whose partial sums nothing else reads.

    Operations with one of the names in `apart` stay on their own.
    """
    trace = whole.trace
    readers, weighty = trace.consumers(), _made_of_weights(trace)
    sums = {op.index: op for op in trace.ops if _is_sum(op, weighty) and op.name not in apart}
    terms: dict[int, tuple[int, ...]] = {}
    steps: dict[int, tuple[Op, ...]] = {}
    inner: dict[int, int] = {}  # a partial sum, and the addition that made it
    for index, op in sums.items():
        parts = [terms[inner[given]] if given in inner else (given,) for given in op.inputs]
        terms[index] = tuple(term for part in parts for term in part)
        before = [step for given in dict.fromkeys(op.inputs) if given in inner for step in steps[inner[given]]]
        steps[index] = (*before, op)
        made = op.outputs[0]
        read = readers.get(made, [])
        if made not in trace.outputs and len(read) == 1 and read[0].index in sums and read[0].inputs.count(made) == 1:
            inner[made] = index
    ends = [index for index in sums if sums[index].outputs[0] not in inner and len(steps[index]) > 1]
    return whole.together([(replace(sums[index], inputs=terms[index]), steps[index]) for index in ends])


def _is_sum(op: Op, weighty: Container[int]) -> bool:
    """Return whether an operation does nothing but add tensors, none of which is a weight."""
    plain = op.kind == "add" and not op.weights and len(op.inputs) > 1 and len(op.outputs) == 1
    return (
        plain
        and not {"alpha", "constant", "constant_shape"} & set(op.config)
        and not any(tensor in weighty for tensor in op.inputs)
    )


def _made_of_weights(trace: Trace) -> set[int]:
    found: set[int] = set()
    for op in trace.ops:
        if op.kind == "op:weight" or (op.effect == MOVES and op.inputs and set(op.inputs) <= found):
            found.update(op.outputs)
    return found
