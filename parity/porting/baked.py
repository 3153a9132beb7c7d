"""Tables that TensorFlow's model holds as constant numbers and torch's as a weight, such as positions.

Keras makes a constant of an embedding that is called on a constant while a functional model is built: the layer is no
part of the model, and nobody trains it. For the check torch's weight is given those numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.errors import ParityError
from parity.model.trace import Op, used_weights
from parity.pairing.copying import WeightPlan
from parity.porting.options import Array
from parity.porting.sides import TENSORFLOW, TORCH, Models, is_fatal

AXES = 2  # of a table


def find(models: Models, plan: WeightPlan) -> dict[str, tuple[Array, str]]:
    """Return the numbers for each of torch's weights that have no partner but a constant, and who holds it.

    Only where one constant that is added has the weight's shape, and no other weight does. A table of more positions
    than the model ever reads begins with the constant's.
    """
    tables: dict[tuple[int, ...], list[Op]] = {}
    for op in models[TENSORFLOW].ops:
        shape = _long(op.config.get("constant_shape") or ())
        if op.kind == "add" and len(op.inputs) == 1 and len(shape) == AXES:
            tables.setdefault(shape, []).append(op)
    readers = {name for _, _, name in used_weights(models[TORCH].ops)}
    alone = [name for name in plan.unmatched_torch if name in readers and name not in plan.misfits[1]]
    shapes = {name: _long(models[TORCH].weights[name].shape) for name in alone}
    found: dict[str, tuple[Array, str]] = {}
    for name in alone if tables else ():
        begun = [shape for shape in tables if _begins(shape, shapes[name])]
        wanted = shapes[name] if shapes[name] in tables else begun[0] if len(begun) == 1 else None
        if wanted is None:
            continue
        alike = [other for other in alone if shapes[other] == wanted or _begins(wanted, shapes[other])]
        numbers = _numbers(models, tables[wanted][0]) if len(tables[wanted]) == len(alike) == 1 else None
        if numbers is not None and numbers.size == int(np.prod(wanted)):
            found[name] = _filled(models, name, numbers.reshape(-1)), tables[wanted][0].name
    return found


def _begins(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a table could be the first rows of another."""
    return len(shape) == len(whole) == AXES and shape[0] < whole[0] and shape[1:] == whole[1:]


def _filled(models: Models, name: str, first: Array) -> Array:
    """Return torch's weight with its first numbers replaced."""
    table = np.array(models.weights(TORCH)[name], np.float32)
    table.reshape(-1)[: first.size] = first
    return table


def _numbers(models: Models, op: Op) -> Array | None:
    """Return what an operation adds."""
    nothing = np.zeros(models[TENSORFLOW].shapes[op.inputs[0]], np.float32)
    try:
        answer = models.segment(TENSORFLOW, {op.inputs[0]: nothing}, op.outputs[0])
    except ParityError as error:
        if is_fatal(error):
            raise
        return None
    made: Array = np.asarray(answer["value"], np.float32)
    return np.asarray(made[0])


def _long(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size > 1)
