"""How one weight of a pair of operations is carried: by the table of its kind, or by what its two shapes allow.

A pair of different kinds (a Dense and a 1x1 convolution, a depthwise and a grouped convolution, an attention layer that
one side wrote as projections) still has weights that fit each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from parity.model.layout import Array
from parity.model.trace import Op
from parity.pairing.carry import Carry, Link, links_of
from parity.pairing.references import Shape

IMAGES = 4  # axes of a batch of images
MATRIX = 2

# Roles that mean the same, where the tables of `carry.py` do not say so because the kinds differ.
_SAME_ROLES: Mapping[str, tuple[str, ...]] = {
    "kernel": ("weight", "other"),
    "depthwise_kernel": ("weight",),
    "embeddings": ("weight", "other"),
    "alpha": ("weight", "other"),
    "gamma": ("weight", "scale", "other"),
    "scale": ("weight", "other"),
    "bias": ("bias", "other"),
    "beta": ("bias", "other"),
    "other": ("other", "weight"),
    "moving_mean": ("running_mean",),
    "moving_variance": ("running_var",),
}


def role_pairs(tensorflow: Op, torch: Op) -> list[tuple[str, str, Link | None]]:
    """Return which role of TensorFlow's operation belongs to which of torch's, each once at most.

    With the table's link where there is one.
    """
    there = {_without_layer_number(role): role for role in torch.weights}
    found: list[tuple[str, str, Link | None]] = []
    for link in _table(tensorflow, torch):
        if link.tensorflow in tensorflow.weights and link.torch in there:
            found.append((link.tensorflow, there[link.torch], link))
    taken = {role for pair in found for role in pair[:2]}
    for role in tensorflow.weights:
        if role in taken:
            continue
        for other in (*_SAME_ROLES.get(role, ()), role):
            if other in torch.weights and other not in taken:
                found.append((role, other, None))
                taken |= {role, other}
                break
    more = [
        [role for role in op.weights if role.startswith("other_") and role not in taken] for op in (tensorflow, torch)
    ]
    found.extend((role, other, None) for role, other in zip(*more, strict=False))
    return found


def fitting(
    tensorflow: Op, torch: Op, link: Link | None, mine: Shape, other: Shape, rows: Array | None = None
) -> tuple[Carry, Carry] | None:
    """Return how to carry a weight of shape `mine` to torch's shape `other` and back; None if it cannot be.

    `rows` is torch's order of the numbers of a patch, where a matrix of its stands for a convolution.
    """
    if rows is not None and of_patches(tensorflow, mine, other):
        return _matrix_of_patches(mine, rows, bool(rows_are_inputs(torch)))
    options = ([(link.to_torch, link.to_tensorflow)] if link else []) + list(_by_shape(tensorflow, torch, mine, other))
    for forth, back in options:
        if _leads_there_and_back(forth, back, mine, other):
            return forth, back
    return None


def _table(tensorflow: Op, torch: Op) -> tuple[Link, ...]:
    config = dict(tensorflow.config)
    if tensorflow.kind == "attention":
        config.setdefault("heads", torch.config.get("heads", 1))
    if tensorflow.kind == "prelu":
        return ()  # what is shared shows in the shapes
    if config.get("transpose_kernel"):
        return ()  # a tied embedding: its rows are the units, as in torch
    return links_of(tensorflow.kind, config)


def _without_layer_number(role: str) -> str:
    """Return the role with the number of a stacked recurrent layer set to 0; each such layer is an operation."""
    return re.sub(r"_l\d+(?=_reverse$|$)", "_l0", role)


def _leads_there_and_back(forth: Carry, back: Carry, mine: Shape, other: Shape) -> bool:
    """Whether the shapes come out right; every way permutes, so nothing else can be wrong."""
    nothing = np.int8(0)  # repeated without memory of its own: weights may be large
    try:
        there = forth(np.broadcast_to(nothing, mine)).shape
        return there == other and back(np.broadcast_to(nothing, other)).shape == mine
    except (ValueError, IndexError, TypeError):  # not what this way of carrying expects
        return False


def of_patches(op: Op, shape: Shape, theirs: Shape) -> bool:
    """Return whether a convolution's kernel is a matrix in torch, which multiplies patches."""
    return op.kind == "conv" and len(theirs) == MATRIX < len(shape)


def _matrix_of_patches(mine: Shape, rows: Array, turned: bool) -> tuple[Carry, Carry]:
    """Return the way of a convolution's kernel to the matrix that multiplies patches, ordered as `rows` says."""
    inverse = np.argsort(rows)

    def forth(kernel: Array) -> Array:
        matrix = kernel.reshape(rows.size, -1)[rows]
        return matrix if turned else matrix.T

    return forth, lambda matrix: (matrix if turned else matrix.T)[inverse].reshape(mine)


def along(ways: tuple[Carry, Carry], order: Array, axis: int) -> tuple[Carry, Carry]:
    """Return the way of a weight of which an axis, by TensorFlow's number, stands in another order in torch."""
    forth, back = ways
    inverse = np.argsort(order)
    return (lambda array: forth(np.take(array, order, axis))), (lambda array: np.take(back(array), inverse, axis))


def _by_shape(tensorflow: Op, torch: Op, mine: Shape, other: Shape) -> Iterator[tuple[Carry, Carry]]:
    """Yield ways to carry that might fit, the likeliest first."""
    kind = tensorflow.kind
    turned = rows_are_inputs(tensorflow), rows_are_inputs(torch)
    if len(mine) == len(other) == 2 and None not in turned:  # a square one fits both ways
        if turned[0] == turned[1]:
            yield (lambda a: a), (lambda a: a)
        else:
            yield (lambda a: a.T), (lambda a: a.T)
    made = "op:weight" in (tensorflow.kind, torch.kind)  # something is made of the weight before it is read
    if mine == other and made:
        yield (lambda a: a), (lambda a: a)
    if kind == "gru" and len(mine) == 1 and other == (2, *mine):
        yield from _one_bias_of_two()
    if kind == torch.kind == "einsum":
        yield from _by_letters(_letters(tensorflow), _letters(torch), mine, other)
    elif "einsum" in (kind, torch.kind):
        yield from _as_matrices(tensorflow, torch, mine, other)
    if kind in ("dense", "einsum", "conv", "conv_transpose", "depthwise_conv") and len(mine) > 1 and other:
        if turned[0] is False and len(mine) == 2 < len(other):
            yield from (_first_turned(*ways) for ways in _kernels(kind, mine[::-1], other))
        if turned[1] and len(other) == 2 < len(mine):
            yield from (_last_turned(*ways) for ways in _kernels(kind, mine, other[::-1]))
        yield from _kernels(kind, mine, other)
    if kind == "depthwise_conv" and torch.kind == "conv" and len(mine) == len(other) > 2:
        yield from _of_groups(mine, other)
    if len(mine) == len(other) == IMAGES and not tensorflow.inputs and not torch.inputs:
        yield (lambda a: np.moveaxis(a, -1, 1)), (lambda a: np.moveaxis(a, 1, -1))
    if mine == other:
        yield (lambda a: a), (lambda a: a)
    yield from _vectors(mine, other)
    if len(mine) == len(other) > 1:
        yield (lambda a: np.moveaxis(a, -1, 0)), (lambda a: np.moveaxis(a, 0, -1))
        yield (lambda a: a.T), (lambda a: a.T)


def _letters(op: Op) -> tuple[str, str]:
    """Return the letters of an equation's kernel, and the same as what is summed, then what is left, as results go."""
    given, _, result = str(op.config.get("equation", "")).replace(" ", "").partition("->")
    operands = given.split(",")
    if len(operands) != 2 or not result or len(op.inputs) != 1:  # what is fed, and a kernel
        return "", ""
    fed, kernel = operands if result[0] in operands[0] else operands[::-1]
    summed = [letter for letter in fed if letter in kernel and letter not in result]
    return kernel, "".join(summed + [letter for letter in result if letter in kernel])


def _by_letters(
    first: tuple[str, str], second: tuple[str, str], mine: Shape, other: Shape
) -> Iterator[tuple[Carry, Carry]]:
    """Yield the way between the kernels of two equations that sum and leave as many axes."""
    (kernel, order), (theirs, their_order) = first, second
    same_axes = len(kernel) == len(order) == len(mine) == len(other) == len(theirs) == len(their_order)
    if not same_axes or len(mine) < 3 or {*kernel} != {*order} or {*theirs} != {*their_order}:
        return
    axes = [kernel.index(order[their_order.index(letter)]) for letter in theirs]
    if tuple(mine[axis] for axis in axes) == other:
        yield (lambda k: np.transpose(k, axes)), (lambda w: np.transpose(w, np.argsort(axes)))


def _as_matrices(tensorflow: Op, torch: Op, mine: Shape, other: Shape) -> Iterator[tuple[Carry, Carry]]:
    """Yield the way between an equation's kernel and a matrix of inputs and units."""
    first, second = _of_matrix(tensorflow, mine), _of_matrix(torch, other)
    if first is not None and second is not None:
        yield (lambda k: second[1](first[0](k))), (lambda w: first[1](second[0](w)))


def _of_matrix(op: Op, shape: Shape) -> tuple[Carry, Carry] | None:
    """Return how a kernel becomes a matrix whose rows are its inputs, and back; None where nothing says so."""
    if op.kind != "einsum":
        rows = rows_are_inputs(op) if len(shape) == 2 else None
        return None if rows is None else (lambda a: a if rows else a.T, lambda a: a if rows else a.T)
    kernel, order = _letters(op)
    if len(kernel) != len(shape) or {*kernel} != {*order} or len(order) != len(kernel):
        return None
    axes = [kernel.index(letter) for letter in order]
    result = str(op.config["equation"]).rpartition("->")[2]
    turned = tuple(shape[axis] for axis in axes)
    depth = prod(size for size, letter in zip(turned, order, strict=True) if letter not in result)
    return (
        lambda k: np.transpose(k, axes).reshape(depth, -1),
        lambda m: np.transpose(m.reshape(turned), np.argsort(axes)),
    )


def rows_are_inputs(op: Op) -> bool | None:
    """Whether the rows of a product's matrix belong to its inputs; None for what is no product."""
    if op.kind == "dense":
        # Keras's (inputs, units); torch's `weight` is (units, inputs), and so is a tied embedding.
        return "kernel" in op.weights and not op.config.get("transpose_kernel")
    if op.kind == "einsum":
        return _summed_along_rows(str(op.config.get("equation", "")).replace(" ", ""))
    if op.kind != "matmul":
        return None
    if "weight" in op.weights:
        return False
    return not op.config.get("transpose_b") and not op.config.get("reversed")


def _summed_along_rows(equation: str) -> bool | None:
    """Whether an equation sums along the rows of its matrix, not along its columns; None where it says neither.

    The matrix may stand before what it is multiplied with, but no equation sums along the batch, which comes first.
    """
    given, _, result = equation.partition("->")
    operands = given.split(",")
    if len(operands) != 2:
        return None
    for matrix, other in (operands[::-1], operands):
        summed = [letter not in result for letter in matrix]
        if len(matrix) == 2 and other[:1] in result and sum(summed) == 1:
            return summed[0]
    return None


def _first_turned(forth: Carry, back: Carry) -> tuple[Carry, Carry]:
    return (lambda matrix: forth(matrix.T)), (lambda weight: back(weight).T)


def _last_turned(forth: Carry, back: Carry) -> tuple[Carry, Carry]:
    return (lambda kernel: forth(kernel).T), (lambda matrix: back(matrix.T))


def _kernels(kind: str, mine: Shape, other: Shape) -> Iterator[tuple[Carry, Carry]]:
    if kind == "depthwise_conv":
        for link in links_of(kind, {"multiplier": mine[-1], "bias": False}):
            yield link.to_torch, link.to_tensorflow
            if len(other) > len(mine) and other[1] == 1:  # of a signal, as one row of a picture
                yield _as_picture(link, other)
    if kind == "conv" and len(mine) == IMAGES - 1 and len(other) == IMAGES and other == (mine[2], 1, *mine[:2]):
        # A text as a picture of one channel, as wide as its words are deep: (k, deep, wide) and (wide, 1, k, deep).
        yield (lambda k: np.moveaxis(k, -1, 0)[:, None]), (lambda w: np.moveaxis(w[:, 0], 0, -1))
    if kind == "conv" and len(mine) == IMAGES and mine[2] == 1 and other == (mine[3], mine[1], mine[0]):
        yield (lambda k: k[:, :, 0].T), (lambda w: w.T[:, :, None])
    for inputs in (1, len(mine) - 1) if kind in ("dense", "einsum") else ():
        if prod(mine[inputs:]) == other[0]:  # else as many numbers, but other sums
            yield _matrix(mine, other, inputs)
    # A convolution, also one that a Linear or Dense computes: over one pixel, or over all that there are.
    spatial, (deep, wide) = mine[:-2], mine[-2:]
    whole = (wide, deep, *spatial)
    if wide != other[0]:
        return
    yield (
        lambda k: np.moveaxis(k, (-1, -2), (0, 1)).reshape(other),
        lambda w: np.moveaxis(w.reshape(whole), (0, 1), (-1, -2)),
    )


def _as_picture(link: Link, other: Shape) -> tuple[Carry, Carry]:
    """Return the way of a signal's kernel (outputs, inputs, k) to torch's shape with axes of one before k."""
    return (
        lambda k: link.to_torch(k).reshape(other),
        lambda w: link.to_tensorflow(w.reshape(*other[:2], -1)),
    )


def _of_groups(mine: Shape, other: Shape) -> Iterator[tuple[Carry, Carry]]:
    """Yield the way of a depthwise kernel whose results are summed over each group's channels, as ResNeXt is written.

    A convolution in groups does both at once: (k.., groups * deep, wide) and (groups * wide, deep, k..).
    """
    (*spatial, channels, wide), deep = mine, other[1]
    if not deep or channels % deep or other != (channels // deep * wide, deep, *spatial):
        return
    groups = channels // deep
    yield (
        lambda k: np.moveaxis(k.reshape(*spatial, groups, deep, wide), (-3, -1, -2), (0, 1, 2)).reshape(other),
        lambda w: np.moveaxis(w.reshape(groups, wide, deep, *spatial), (0, 1, 2), (-3, -1, -2)).reshape(mine),
    )


def _matrix(mine: Shape, other: Shape, inputs: int) -> tuple[Carry, Carry]:
    """Return the way of a kernel whose first `inputs` axes are summed over, the others being heads and units."""
    depth, width = prod(mine[:inputs]), prod(mine[inputs:])
    return (
        lambda k: k.reshape(depth, width).T.reshape(other),
        lambda w: w.reshape(width, depth).T.reshape(mine),
    )


def _vectors(mine: Shape, other: Shape) -> Iterator[tuple[Carry, Carry]]:
    """Yield the way of the same numbers with other axes of one, or with heads and units as one axis."""
    if prod(mine) != prod(other):
        return
    long_mine, long_other = ([size for size in shape if size > 1] for shape in (mine, other))
    if len(long_mine) < 2 or len(long_other) < 2 or long_mine == long_other:
        yield (lambda a: a.reshape(other)), (lambda a: a.reshape(mine))


def _one_bias_of_two() -> Iterator[tuple[Carry, Carry]]:
    """Yield the way of a GRU's only bias to the first of torch's two; the second is zero."""
    link = next(link for link in links_of("gru", {}) if link.tensorflow == "bias")

    def forth(bias: Array) -> Array:
        moved = link.to_torch(bias)
        return np.stack([moved, np.zeros_like(moved)])

    def back(biases: Array) -> Array:
        both = biases[0] + biases[1] if np.any(biases[1]) else biases[0]
        return link.to_tensorflow(both)

    yield forth, back
