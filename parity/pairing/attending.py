"""Which layers make the queries, keys and values of an attention, told from how their results are used.

Layers that read one tensor and are of one size look alike from anywhere else in the graph, and frameworks call them in
orders of their own: Keras's `Attention` takes query, value, key. What meets what before and behind the softmax tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from parity.model.trace import ELEMENTWISE, MOVES, Op, Trace

QUERY, KEY, VALUE = 0, 1, 2
_CORES: Mapping[str, tuple[int, ...]] = {  # the role of each argument
    "sdpa": (QUERY, KEY, VALUE),
    "attention": (QUERY, KEY, VALUE),
    "op:Attention": (QUERY, VALUE, KEY),
    "op:AdditiveAttention": (QUERY, VALUE, KEY),
}
_PRODUCTS = frozenset({"matmul", "einsum", "op:bmm", "op:baddbmm"})
_MASKING = frozenset({"where", "op:where", "op:SelectV2", "masked_fill", "op:masked_fill"})
_ON_THE_WAY = _MASKING | {"add", "subtract", "multiply", "divide", "rescale"}
_LEARNED = frozenset({"add", "multiply", "divide"})
Core = tuple[tuple[int, int], ...]  # (tensor, role)


def roles(trace: Trace) -> dict[int, int]:
    """Return the role of each operation with weights that makes queries, keys or values and nothing else."""
    return {index: next(iter(some)) for index, some in all_roles(trace).items() if len(some) == 1}


def all_roles(trace: Trace) -> dict[int, frozenset[int]]:
    """Return the roles of each operation with weights that makes queries, keys or values, or several of them."""
    makers = trace.producers()
    found: dict[int, set[int]] = {}
    for core in cores(trace):
        for tensor, role in core:
            for op in _weighted_before(tensor, makers):
                found.setdefault(op.index, set()).add(role)
    return {index: frozenset(some) for index, some in found.items()}


def cores(trace: Trace) -> Iterator[Core]:
    """Yield for each attention of a trace which tensors are its queries, keys and values."""
    makers, readers = trace.producers(), trace.consumers()
    for op in trace.ops:
        if op.kind in _CORES:
            yield tuple(zip(op.inputs, _CORES[op.kind], strict=False))
        elif op.kind == "softmax" and op.inputs:
            scores, mixed = _product_before(op.inputs[0], makers), _product_behind(op.outputs[0], readers)
            if scores is not None:
                query, key = _sides(scores, op, trace, makers, mixed)
                values = [] if mixed is None else [t for t in mixed[0].inputs if t != mixed[1]]
                yield ((query, QUERY), (key, KEY), *((tensor, VALUE) for tensor in values))


def _sides(
    scores: Op, softmax: Op, trace: Trace, makers: Mapping[int, Op], mixed: tuple[Op, int] | None
) -> tuple[int, int]:
    """Return the tensors of queries and keys: the softmax runs along the places of the keys.

    Where there are more places of the one than of the other, it is the values that tell: a port's softmax may be wrong.
    """
    first, second = scores.inputs[:2]
    rank = len(trace.shapes.get(scores.outputs[0], ()))
    along = softmax.config.get("axis", -1)  # several where a layer attends over rows and columns at once
    last = int(along[-1] if isinstance(along, list | tuple) else along)
    axis = _axis_before(last % max(rank, 1), softmax.inputs[0], scores, makers)
    axis = _axis_of_values(scores, trace, mixed, axis)
    equation = str(scores.config.get("equation", ""))
    if "->" in equation and "." not in equation:
        operands, result = equation.replace(" ", "").split("->")
        letter = result[axis] if axis < len(result) else ""
        return (second, first) if letter and letter in operands.split(",")[0] else (first, second)
    return (second, first) if axis == rank - 2 else (first, second)


def _axis_of_values(scores: Op, trace: Trace, mixed: tuple[Op, int] | None, axis: int) -> int:
    """Return along which of the last two axes of scores the values stand, by its length; `axis` where none tells."""
    shape = trace.shapes.get(scores.outputs[0], ())
    if mixed is None or mixed[0].kind != "matmul" or len(shape) < 2 or shape[-1] == shape[-2]:
        return axis
    product, tensor = mixed
    place = product.inputs.index(tensor)
    turned = bool(product.config.get("transpose_b" if place else "transpose_a"))
    summed = trace.shapes.get(tensor, (0, 0))[-1 if turned == bool(place) else -2]
    found = [len(shape) - n for n in (1, 2) if shape[-n] == summed]
    return found[0] if found else axis


def _axis_before(axis: int, tensor: int, scores: Op, makers: Mapping[int, Op]) -> int:
    """Return which axis of the scores, as they were made, an axis of them is after what transposes them."""
    while tensor not in scores.outputs:
        maker = makers[tensor]
        order = maker.config.get("order", ())
        if maker.kind == "permute" and axis < len(order):
            axis = int(order[axis])
        tensor = next(given for given in maker.inputs if _product_before(given, makers) is scores)
    return axis


def _is_product(op: Op) -> bool:
    return op.kind in _PRODUCTS and not op.weights and len(op.inputs) == 2


def _passes(op: Op) -> bool:
    if op.effect in (MOVES, ELEMENTWISE):
        return True
    learned = op.kind in _LEARNED and len(op.inputs) == 1  # a scale of the scores, or a bias of positions
    return op.kind in _ON_THE_WAY and (learned or not op.weights)


def _product_before(tensor: int, makers: Mapping[int, Op]) -> Op | None:
    open_, seen = [tensor], set[int]()
    while open_:
        maker = makers.get(open_.pop(0))
        if maker is None or maker.index in seen:
            continue
        seen.add(maker.index)
        if _is_product(maker):
            return maker
        if _passes(maker):
            open_.extend(maker.inputs)
    return None


def _product_behind(tensor: int, readers: Mapping[int, Sequence[Op]]) -> tuple[Op, int] | None:
    """Return the product that a tensor goes into, and as which of its arguments."""
    open_ = [tensor]
    for known in open_:
        for op in readers.get(known, ()):
            if _is_product(op):
                return op, known
            if _passes(op):
                open_.extend(made for made in op.outputs if made not in open_)
    return None


def _weighted_before(tensor: int, makers: Mapping[int, Op]) -> list[Op]:
    """Return the nearest operations with weights on every way back; none where a way leads through other products."""
    found: dict[int, Op] = {}
    open_, seen = [tensor], set[int]()
    while open_:
        maker = makers.get(open_.pop())
        if maker is None or maker.index in seen:
            continue
        seen.add(maker.index)
        if maker.weights and maker.inputs and maker.kind not in _ON_THE_WAY:
            found[maker.index] = maker
        elif maker.kind == "softmax" or _is_product(maker) or maker.kind in _CORES:
            return []
        else:
            open_.extend(maker.inputs)
    return list(found.values())
