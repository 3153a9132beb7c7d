"""Exponential units that a graph has step by step: elu is an operation of TensorFlow's only where its alpha is 1."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from math import isclose
from typing import Any

from parity.adapters.tensorflow_model_tensors import Step
from parity.model import constants

_SELECTS = ("op:SelectV2", "op:Select")
_ABOVE_ZERO = ("op:Greater", "op:GreaterEqual")


def with_elus(steps: Sequence[Step], outputs: Container[int]) -> list[Step]:
    """Return the steps with `where(x > 0, elu(x), alpha * elu(x))`, which is how Keras writes it, as one step.

    So is `where(x > 0, x, alpha * (exp(x) - 1))`, as code without Keras has it.
    """
    if not any(step.kind in _SELECTS for step in steps):
        return list(steps)
    makers = {tensor: step for step in steps for tensor in step.outputs}
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(step)
    gone: set[int] = set()
    found: list[Step] = []
    for step in reversed(steps):
        whole = _elu(step, makers)
        inner = whole[1] if whole is not None and _by_themselves(whole[1], step, readers, outputs) else []
        if whole is not None and inner:
            gone.update(map(id, inner))
            _become(step, whole[0], [one for one in steps if any(one is other for other in inner)])
        if id(step) not in gone:
            found.append(step)
    return found[::-1]


def _elu(select: Step, makers: Mapping[int, Step]) -> tuple[float, list[Step]] | None:
    """Return the alpha of an exponential unit that ends with a selection, and the steps before it; None for others."""
    asked = makers.get(select.inputs[0]) if select.kind in _SELECTS and len(select.inputs) == 3 else None
    if asked is None or asked.kind not in _ABOVE_ZERO or asked.config.get(constants.NUMBER) != 0.0:
        return None
    x = asked.inputs[0]
    below = _below(select.inputs[2], x, makers)
    above = makers.get(select.inputs[1])
    if below is None:
        return None
    if select.inputs[1] == x:
        return below[0], [asked, *below[1]]
    if above is None or above.inputs != [x] or above.config != {"function": "elu"}:
        return None
    return below[0], [asked, above, *(step for step in below[1] if step is not above)]


def _below(tensor: int, x: int, makers: Mapping[int, Step]) -> tuple[float, list[Step]] | None:
    """Return what `exp(x) - 1` is multiplied by, and the steps; None for anything else."""
    scale, offset, steps = 1.0, 0.0, []
    step = makers.get(tensor)
    while step is not None and step.kind == "rescale" and len(step.inputs) == 1:
        offset += scale * float(step.config.get("offset", 0.0))
        scale *= float(step.config.get("scale", 1.0))
        steps.append(step)
        step = makers.get(step.inputs[0])
    if step is None or step.kind != "activation" or step.inputs != [x]:
        return None
    lowered = {"elu": 0.0, "exponential": -scale}.get(str(step.config.get("function")))
    plain = set(step.config) == {"function"} and lowered is not None and isclose(offset, lowered)
    return (scale, [*steps, step]) if plain else None


def _by_themselves(
    inner: Sequence[Step], last: Step, readers: Mapping[int, Sequence[Step]], outputs: Container[int]
) -> bool:
    """Return whether nothing else reads what some steps make, and nothing but numbers of the code is in them."""
    own = {id(step) for step in (*inner, last)}
    made = [tensor for step in inner for tensor in step.outputs]
    alone = all(id(one) in own for tensor in made for one in readers.get(tensor, ()))
    return alone and not any(tensor in outputs for tensor in made) and not any(step.variables for step in inner)


def _become(select: Step, alpha: float, inner: Sequence[Step]) -> None:
    """Make, in place, a selection the whole of it and the steps before it, in the order in which they ran."""
    x = inner[0].inputs[0]
    select.run, select.inputs = _all_of([*inner, _copied(select)], x, select.outputs), [x]
    select.kind, select.spelt, select.sources = "activation", "", ()
    select.config = {"function": "elu"} if alpha == 1.0 else {"function": "elu", "alpha": alpha}


def _copied(step: Step) -> Step:
    return Step(step.name, step.kind, list(step.inputs), list(step.outputs), step.run)


def _all_of(steps: Sequence[Step], x: int, outputs: Sequence[int]) -> Callable[[list[Any]], list[Any]]:
    def run(tensors: list[Any]) -> list[Any]:
        held = {x: tensors[0]}
        for step in steps:
            held.update(zip(step.outputs, step.run([held[tensor] for tensor in step.inputs]), strict=True))
        return [held[tensor] for tensor in outputs]

    return run
