"""Scores that a mask has blocked: what a softmax makes zero of is one number to it, however a mask was laid over it."""

from __future__ import annotations

import numpy as np

from parity.judge.compare import doubles
from parity.model.layout import Array
from parity.model.trace import Trace

BELOW = 746.0  # under the largest of a row: exp of it is zero in double precision, subnormal numbers included


def axis_of_shares(trace: Trace, tensor: int) -> int | None:
    """Return the axis of the softmax that alone reads a tensor; None where something else does."""
    readers = trace.consumers().get(tensor, ())
    axes = {int(op.config.get("axis", -1)) for op in readers if op.kind == "softmax"}
    only = bool(readers) and all(op.kind == "softmax" for op in readers) and tensor not in trace.outputs
    return next(iter(axes)) if only and len(axes) == 1 else None


def without(value: Array, expected: Array, axis: int) -> tuple[Array, Array]:
    """Return both with zeros where a softmax along an axis makes nothing of either."""
    if value.shape != expected.shape or not value.size or np.iscomplexobj(value) or np.iscomplexobj(expected):
        return value, expected
    both = [np.asarray(doubles(one)) for one in (value, expected)]
    nothing = np.logical_and(*(one < one.max(axis, keepdims=True) - BELOW for one in both))
    return np.where(nothing, 0.0, both[0]), np.where(nothing, 0.0, both[1])
