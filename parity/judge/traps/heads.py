"""Heads of an attention whose steps torch's own code has: another number of them, or every so many numbers for one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

import numpy as np

from parity.judge.traps import fused_heads
from parity.judge.traps.parts import PARTING
from parity.judge.traps.remedy import Remedy, called, insert, together
from parity.judge.traps.scene import PRODUCTS, Scene
from parity.model.trace import MOVES, Op, Trace

TRAP = "attention-scale-or-heads"
NUMBER = re.compile(r"_\d+$")  # of an operation among others of its kind
AS_TORCH = (2, 1, 3)  # places, heads and size, as `scaled_dot_product_attention` reads them
SPLIT = 4  # axes of what has heads: batch, places, heads, size
_SAYS = "with places and heads exchanged by a transposition"
_TURNED = {"kind": "permute", "config": {"order": [0, 2, 1, 3]}}
Axes = tuple[int, int, int]  # of places, heads and size


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies for heads that torch's code divides in another way than TensorFlow's."""
    for theirs in scene.torch_ops:
        if theirs.kind in PRODUCTS and len(theirs.inputs) == 2 and not theirs.weights:
            yield from _another_number(scene, theirs)
            yield from _every_so_many(scene, theirs)
            yield from _viewed(scene, theirs)
            yield from fused_heads.propose(scene, theirs, _axes(scene, theirs))
        elif theirs.kind == "sdpa":
            yield from _before_ready_made(scene, theirs)
            yield from _viewed(scene, theirs)
            yield from fused_heads.propose(scene, theirs, [AS_TORCH] * 3)
        elif theirs.kind == "reshape":
            yield from _joined(scene, theirs)
    yield from _as_they_are_made(scene)


def _viewed(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Places and heads that one view exchanged, as if a transposition were only another shape."""
    found = []
    for tensor in dict.fromkeys(theirs.inputs):
        divider = _divider(scene, tensor)
        before, after = (scene.shapes.get(one, ()) for one in _ends(divider))
        if divider is None or len(before) != SPLIT - 1 or len(after) != SPLIT or divider not in scene.torch_ops:
            continue
        n, heads, places, size = after
        if before == (n, places, heads * size):
            steps = [{"kind": "reshape", "config": {"shape": [n, places, heads, size]}}, _TURNED]
            fix = f"view(n, places, {heads}, {size}).transpose(1, 2) in place of `{NUMBER.sub('', divider.name)}`"
            one = insert(divider.outputs[0], TRAP, _SAYS, fix, "chain", {"steps": steps}, cost=1.1)
            found.append(called(one, scene.owner(), divider.name))
    if len(found) > 1:
        yield together(found, found[0])
    yield from found


def _joined(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Heads that are made one row again while their places still stand behind them."""
    before, after = (scene.shapes.get(one, ()) for one in _ends(theirs))
    if len(before) == SPLIT and after == (before[0], before[2], before[1] * before[3]):
        fix = f"x = x.transpose(1, 2) before `{theirs.name}`"
        one = insert(theirs.inputs[0], TRAP, _SAYS, fix, "chain", {"steps": [_TURNED]}, cost=1.1)
        yield called(one, scene.owner(), theirs.name)


def _ends(op: Op | None) -> tuple[int, int]:
    return (-1, -1) if op is None or not op.inputs else (op.inputs[0], op.outputs[0])


def _before_ready_made(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Heads that code divides before one function computes all of an attention."""
    given = list(dict.fromkeys(theirs.inputs[:3]))
    if all(len(scene.shapes.get(one, ())) == SPLIT and _divider(scene, one) is not None for one in given):
        runs = [_in_runs(scene, theirs, one, AS_TORCH) for one in given]
        yield together(runs, runs[0])


def _another_number(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Scores of queries and keys, of as many places, but of another number of heads."""
    wanted = () if scene.expected_tensorflow is None else scene.expected_tensorflow.shape
    held, axes = scene.shapes.get(theirs.outputs[0], ()), _axes(scene, theirs)
    if len(wanted) != SPLIT or len(held) != SPLIT or len(axes) != 2 or wanted[1] == held[1]:
        return
    if (wanted[0], *wanted[2:]) != (held[0], *held[2:]):
        return
    given = list(zip(theirs.inputs, axes, strict=True))
    if any(_numbers_of(scene, tensor, at) % wanted[1] for tensor, at in given):
        return
    split = []
    for tensor, at in given:
        shape, numbers = scene.shapes[tensor], _numbers_of(scene, tensor, at)
        split.append(_divided(tensor, at, (0, *at), (shape[0], shape[at[0]], wanted[1], numbers // wanted[1])))
    says, fix = f"with {wanted[1]} heads", f"{wanted[1]} heads instead of {held[1]} before `{theirs.name}`"
    one = dataclasses.replace(split[0], trap=TRAP, says=says, fix=fix, cost=1.1)
    yield dataclasses.replace(together([one, *split[1:]], one), expects=scene.expected_tensorflow)


def _every_so_many(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Heads that took every so many of the numbers, where each has a run of them."""
    axes = _axes(scene, theirs)
    if len(axes) != 2:
        return
    scores = [_in_runs(scene, theirs, tensor, at) for tensor, at in zip(theirs.inputs, axes, strict=True)]
    yield together(scores, scores[0])
    yield from scores
    places, heads, size = axes[1]  # shares and values are summed over the places
    yield _in_runs(scene, theirs, theirs.inputs[1], (size, heads, places))


def _in_runs(scene: Scene, theirs: Op | None, tensor: int, at: Axes) -> Remedy:
    """Return the remedy that gives each head a run of numbers; it is told once for queries, keys and values."""
    places, heads, size = at
    shape = scene.shapes[tensor]
    sizes = (shape[0], shape[places], shape[heads], shape[size])
    divided = _divided(tensor, at, (0, places, size, heads), sizes)
    divider = _divider(scene, tensor)
    where = f"before `{theirs.name}`" if theirs else ""
    where = f"in place of `{NUMBER.sub('', divider.name)}` and of what moves its axes" if divider else where
    fix = f"view(n, places, {sizes[2]}, {sizes[3]}).transpose(1, 2), a run of numbers for each head, {where}"
    one = dataclasses.replace(divided, says="with a run of numbers for each head", fix=fix)
    return called(one, scene.owner(), divider.name if divider else None)


def _divider(scene: Scene, tensor: int) -> Op | None:
    """Return the operation that divided numbers among heads, of which a tensor is made by moves alone."""
    makers = scene.torch_trace.producers()
    maker = makers.get(tensor)
    while maker is not None and (maker.effect == MOVES or maker.kind in PARTING) and maker.inputs:
        if maker.kind == "reshape":
            return maker
        maker = makers.get(maker.inputs[0])
    return None


def _as_they_are_made(scene: Scene) -> Iterator[Remedy]:
    """What TensorFlow's layer makes with its heads as an axis, and torch's code divides behind a linear layer."""
    expected, tensor = scene.expected_tensorflow, scene.wanted
    if expected is None or expected.ndim != SPLIT or tensor is None or not _meets_another(scene.torch_trace, tensor):
        return
    n, places, heads, size = expected.shape
    held = scene.shapes.get(tensor, ())
    for at in ((2, 1, 3), (1, 2, 3)):
        fits = len(held) == SPLIT and (held[0], held[at[0]]) == (n, places)
        if fits and (held[at[1]], held[at[2]]) == (heads, size):
            yield _in_runs(scene, None, tensor, at)
        if fits and held[at[1]] != heads and held[at[1]] * held[at[2]] == heads * size:
            divided = _divided(tensor, at, (0, *at), (n, places, heads, size))
            maker = scene.maker(tensor)
            fix = f"{heads} heads instead of {held[at[1]]}" + (f" in `{maker}`" if maker else "")
            order = np.argsort((0, *at))
            yield dataclasses.replace(
                divided, says=f"with {heads} heads", fix=fix, expects=np.transpose(expected, order)
            )


def _divided(tensor: int, at: Axes, order: Sequence[int], sizes: Sequence[int]) -> Remedy:
    """Return the remedy that puts a tensor's axes in an order, divides anew, and puts places, heads and size back."""
    steps = [
        {"kind": "permute", "config": {"order": [int(axis) for axis in order]}},
        {"kind": "reshape", "config": {"shape": [int(size) for size in sizes]}},
        {"kind": "permute", "config": {"order": [int(axis) for axis in np.argsort((0, *at))]}},
    ]
    return insert(tensor, TRAP, "", "", "chain", {"steps": steps}, cost=1.1)


def _numbers_of(scene: Scene, tensor: int, at: Axes) -> int:
    shape = scene.shapes[tensor]
    return shape[at[1]] * shape[at[2]]


def _axes(scene: Scene, op: Op) -> list[Axes]:
    """Return for each input of a product that has heads, as queries and keys do, which axes mean what."""
    shapes = [scene.shapes.get(tensor, ()) for tensor in op.inputs]
    if any(len(shape) != SPLIT for shape in shapes):
        return []
    equation = str(op.config.get("equation", ""))
    if op.kind == "matmul":
        turned = [bool(op.config.get(key)) for key in ("transpose_a", "transpose_b")]
        return [(3, 1, 2) if turned[0] else (2, 1, 3), (2, 1, 3) if turned[1] else (3, 1, 2)]
    if "->" not in equation or "." in equation:
        return []
    operands, result = equation.replace(" ", "").split("->")
    first, _, second = operands.partition(",")
    common = [letter for letter in result if letter in first and letter in second]
    summed = [letter for letter in first if letter in second and letter not in result]
    if len(common) != 2 or len(summed) != 1 or result[:2] != "".join(common):
        return []
    found = []
    for letters in (first, second):
        (places,) = [one for one in range(SPLIT) if letters[one] not in (*common, *summed)]
        found.append((places, letters.index(common[1]), letters.index(summed[0])))
    return found


def _meets_another(trace: Trace, tensor: int) -> bool:
    """Return whether a tensor, moved at most, goes into a product with what is no weight."""
    readers, open_, seen = trace.consumers(), [tensor], {tensor}
    while open_:
        for reader in readers.get(open_.pop(), ()):
            if reader.kind in PRODUCTS and not reader.weights:
                return True
            if reader.effect == MOVES or reader.kind == "rescale":
                new = [made for made in reader.outputs if made not in seen]
                seen.update(new)
                open_ += new
    return False
