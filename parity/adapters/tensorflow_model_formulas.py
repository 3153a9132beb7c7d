"""What an operand is that was made of a few weights by arithmetic, in words of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_layers import as_written
from parity.adapters.tensorflow_model_tensors import Derived, WeightRead

_MEANS = {
    "Mul": "multiply", "AddV2": "add", "Add": "add", "Sub": "subtract", "RealDiv": "divide", "Rsqrt": "rsqrt",
    "Sqrt": "sqrt", "Pow": "power",
}  # fmt: skip
_SHAPES = frozenset({"Reshape", "ExpandDims", "Squeeze", "Identity", "StridedSlice"})
_DEEPEST = 8

Formula = Any  # a number, a weight's role, or a list of a function's name and what it is given


def formula(source: Any, roles: Mapping[str, Any], depth: int = 0) -> Formula | None:
    """Return how an operand is made of weights, which have roles; None where it is more than arithmetic."""
    if isinstance(source, WeightRead):
        return next((role for role, variable in roles.items() if variable is source.variable), None)
    if not isinstance(source, Derived):
        return _number(source)
    if depth > _DEEPEST:
        return None
    if source.op_type in _SHAPES:
        return formula(source.sources[0], roles, depth + 1)
    parts = [formula(part, roles, depth + 1) for part in source.sources]
    if source.op_type not in _MEANS or any(part is None for part in parts):
        return None
    return [_MEANS[source.op_type], *parts]


def told(sources: Sequence[Any], roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the configuration of arithmetic on two operands tells of the one that is made of weights."""
    made = [(place, formula(source, roles)) for place, source in enumerate(sources) if isinstance(source, Derived)]
    if len(made) != 1 or made[0][1] is None or len(sources) != len(made) + 1:
        return {}
    place, found = made[0]
    return {"made": found} | ({"reversed": True} if place == 0 else {})


def _number(constant: Any) -> float | None:
    try:
        value = np.asarray(constant.numpy())
    except Exception:  # no tensor, or a resource or variant, of which TensorFlow says so in many ways
        return None
    return as_written(value.reshape(())[()]) if value.size == 1 and value.dtype.kind in "fiu" else None
