"""One part of a result read in the place of another: the halves of a gated unit, a scale and a shift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from parity.judge.traps.remedy import Remedy
from parity.judge.traps.scene import Scene, axis_maps, same_numbers
from parity.model.layout import Array
from parity.model.trace import Op, Trace, read_first

IDS = ()
PARTING = frozenset({"split", "slice", "unpack"})  # what makes parts of one result
COST = 2.5
MOST = 3  # equal parts of which every order is tried


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    makers = {tensor: _parting(scene.tensorflow_trace, tensor) for tensor in scene.fed_tensorflow}
    parted = [op for op in scene.tensorflow_ops if op.kind in PARTING]
    for tensor, held in scene.fed.items():
        theirs = _parting(scene.torch_trace, tensor)
        for other, array in scene.fed_tensorflow.items() if theirs else ():
            mine = makers[other]
            if theirs and mine and not same_numbers(held, array):
                yield from _another(scene, (mine, other), (theirs, tensor))
            elif theirs and any(read_first(op) == other for op in parted):
                yield from _of_whole(scene, other, (theirs, tensor))
        if parted or any(makers.values()):
            yield from _exchanged(scene, tensor, held)


def _another(scene: Scene, mine: tuple[Op, int], theirs: tuple[Op, int]) -> Iterator[Remedy]:
    """Yield the remedy that gives torch's reader the part that TensorFlow's reads."""
    read = theirs[1]
    array, held = scene.fed_tensorflow[mine[1]], scene.fed[read]
    wanted, given = _called(*mine), _called(*theirs)
    if mine[0].kind == theirs[0].kind == "split":  # both count their parts in one order
        wanted = _called(theirs[0], theirs[0].outputs[mine[0].outputs.index(mine[1])])
        if wanted == given:
            return
    says, fix = f"with {wanted} in the place of {given}", f"read {wanted} where {given} is read"
    for moved in _moved(array, held.shape):
        if moved.shape == held.shape:
            yield _fed({read: moved}, says, fix)


def _moved(array: Array, shape: Sequence[int]) -> Iterator[Array]:
    """Yield one of TensorFlow's arrays with its axes as torch may have them, whose array of the kind has a shape."""
    for axes in axis_maps(array.shape, tuple(shape)):
        if sorted(axes) == list(range(array.ndim)):
            yield np.transpose(array, np.argsort(axes))


def _of_whole(scene: Scene, whole: int, theirs: tuple[Op, int]) -> Iterator[Remedy]:
    """Yield the remedies that give torch's reader any part of what TensorFlow's side is fed whole, and parts itself."""
    array, held = scene.fed_tensorflow[whole], scene.fed[theirs[1]]
    of, given = _of(scene, read_first(theirs[0])), _called(*theirs)
    for moved in _moved(array, held.shape):
        for blocks in _ways(moved, held.shape):
            for block in blocks if len(blocks) <= MOST else ():
                what = f"{block.text} of {of}"
                yield _fed({theirs[1]: block.array}, f"with {what}", f"read {what} where {given} is read")


def _exchanged(scene: Scene, whole: int, array: Array) -> Iterator[Remedy]:
    """Yield the remedies that give torch's readers other parts of what was fed, where it is parted within the segment.

    Which part a slice is does not matter: the one that is read already changes nothing.
    """
    made = [(op, tensor) for op in scene.torch_ops if _parts_of(scene, op, whole) for tensor in op.outputs]
    shape = scene.shapes.get(made[0][1], ()) if made else ()
    if any(scene.shapes.get(tensor) != shape for _, tensor in made):
        return
    plain = all(read_first(op) == whole and "::" not in str(op.config.get("text", "")) for op, _ in made)
    for number, blocks in enumerate(_ways(array, shape)):
        if not 1 < len(blocks) <= MOST or len(made) > len(blocks):
            continue
        for order in permutations(range(len(blocks)), len(made)):
            if number == 0 and plain and order == tuple(range(len(blocks))):
                continue
            read = [(blocks[place], *one) for place, one in zip(order, made, strict=True)]
            feed = {tensor: block.array for block, _, tensor in read}
            what = f"{' and '.join(block.text for block, *_ in read)} of {_of(scene, whole)}"
            where = " and ".join(_called(op, tensor) for _, op, tensor in read)
            yield _fed(feed, f"with {what}", f"read {what} where {where} {'is' if len(read) == 1 else 'are'} read")


def _parts_of(scene: Scene, op: Op, whole: int) -> bool:
    """Return whether an operation takes parts of a tensor, maybe in another shape."""
    if op.kind not in PARTING:
        return False
    maker = next((one for one in scene.torch_ops if read_first(op) in one.outputs), None)
    return read_first(op) == whole or (maker is not None and maker.kind == "reshape" and read_first(maker) == whole)


def _of(scene: Scene, whole: int) -> str:
    name = scene.maker(whole)
    return f"`{name}`" if name is not None else "the input"


def _fed(feed: Mapping[int, Array], says: str, fix: str) -> Remedy:
    return Remedy("operand-order", (), says, fix, COST, frozenset(f"feed:{tensor}" for tensor in feed), feed)


@dataclass(frozen=True)
class Block:
    """A part of an array, and the slice that code takes it by."""

    array: Array
    text: str


def _ways(array: Array, shape: Sequence[int]) -> Iterator[list[Block]]:
    """Yield the equal parts of an array that have a shape: one behind the other, and, of a few, taken in turns.

    They lie along the one axis on which a part is shorter.
    """
    if len(shape) != array.ndim or not all(shape):
        return
    axes = [axis for axis, size in enumerate(shape) if size != array.shape[axis]]
    if len(axes) != 1 or array.shape[axes[0]] % shape[axes[0]]:
        return
    axis, size = axes[0], shape[axes[0]]
    count = array.shape[axis] // size
    start = "x[..., " if axis == array.ndim - 1 else f"x[{':, ' * axis}"
    blocks = np.split(array, count, axis)
    yield [Block(block, f"{start}{at * size}:{(at + 1) * size}]") for at, block in enumerate(blocks)]
    if count == 2 < array.shape[axis]:
        turns = [np.take(array, range(at, array.shape[axis], count), axis) for at in range(count)]
        yield [Block(block, f"{start}{at}::{count}]") for at, block in enumerate(turns)]


def _parting(trace: Trace, tensor: int) -> Op | None:
    """Return the operation that makes a tensor, if what it reads is parted."""
    maker = trace.producers().get(tensor)
    if maker is None or maker.kind not in PARTING:
        return None
    readers = [op for op in trace.ops if op.kind in PARTING and op.inputs[:1] == (read_first(maker),)]
    return maker if sum(len(op.outputs) for op in readers) > 1 else None


def _called(op: Op, tensor: int) -> str:
    """Return what a reader calls a result: that of an operation, or one of its several, counted from 0."""
    return f"`{op.name}`" if len(op.outputs) == 1 else f"part {op.outputs.index(tensor)} of `{op.name}`"
