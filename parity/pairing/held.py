"""Numbers that one side holds as a weight which nobody trains, such as a mask, and that stand in the other's code.

What is read and made of them alone is no layer that the other side could have, and must not part those that it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import replace
from math import prod

from parity.model.trace import Op, Trace, used_weights, weight_names

PRODUCTS = frozenset({"matmul", "einsum", "dense", "conv"})


def constants(trace: Trace) -> set[str]:
    """Return the weights that nobody trains and that are but operands: means to subtract, a mask, positions.

    They are part of what a model computes, as a number in its code is; the other side may well have written it as one.
    """
    return {name for name in operands(trace) if not trace.weights[name].trainable}


def operands(trace: Trace) -> set[str]:
    """Return the weights that are but operands, whoever trains them."""
    roles: dict[str, set[str]] = {}
    for op, role, name in used_weights(trace.ops):
        roles.setdefault(name, set()).add(role.partition("_")[0] if op.kind != "op:weight" else "other")
    return {name for name, found in roles.items() if found == {"other"}}


def products(trace: Trace, other: Trace, names: Container[str]) -> set[str]:
    """Return which of these weights are the matrices of products that the other side's code has with constants.

    Only where it has as many of them, of results as large.
    """
    by_weight = [op for op in trace.ops if op.kind in PRODUCTS and len(op.weights) == len(op.inputs) == 1]
    held = {op.index: weight_names(next(iter(op.weights.values()))) for op in by_weight}
    mine = [op for op in by_weight if all(name in names for name in held[op.index])]
    in_code = [op for op in other.ops if op.kind in PRODUCTS and len(op.inputs) == 1 and not op.weights]
    if Counter(_made(trace, op) for op in mine) != Counter(_made(other, op) for op in in_code):
        return set()
    return {name for op in mine for name in held[op.index]}


def _made(trace: Trace, op: Op) -> int:
    """Return how many numbers an operation makes."""
    return prod(trace.shapes[op.outputs[0]])


def as_code(tensorflow: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Return both traces without the constants that only one side holds, and without what it makes of them alone.

    Operations keep their indices.
    """
    return _as_code(tensorflow, torch), _as_code(torch, tensorflow)


def _as_code(trace: Trace, other: Trace) -> Trace:
    held = constants(trace)
    if not held:
        return trace
    sizes = [Counter(prod(weight.shape) for weight in side.weights.values()) for side in (trace, other)]
    mine = Counter(prod(trace.weights[name].shape) for name in held)
    # Those of its size that the other side has are the partners of this side's further ones.
    alone = {size for size in mine if sizes[1][size] <= sizes[0][size] - mine[size]}
    dropped = {name for name in held if prod(trace.weights[name].shape) in alone}
    made = {_sizes(other, op) for op in other.ops if _is_made_of(op, constants(other))}
    ops = []
    for op in trace.ops:
        if _is_made_of(op, dropped) or (_is_made_of(op, held) and _sizes(trace, op) not in made):
            continue
        kept = {role: name for role, name in op.weights.items() if not dropped.issuperset(weight_names(name))}
        ops.append(op if len(kept) == len(op.weights) else replace(op, weights=kept))
    return replace(trace, ops=tuple(ops))


def _is_made_of(op: Op, names: Container[str]) -> bool:
    """Whether an operation reads nothing but some of these weights."""
    read = [name for reference in op.weights.values() for name in weight_names(reference)]
    return not op.inputs and bool(read) and all(name in names for name in read)


def _sizes(trace: Trace, op: Op) -> tuple[int, ...]:
    """Return the sizes of the weights that an operation reads."""
    return tuple(sorted(prod(trace.weights[name].shape) for one in op.weights.values() for name in weight_names(one)))
