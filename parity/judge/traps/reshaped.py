"""Reshapes of tensors whose channels come first in torch, as if they stood last: other numbers come together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from parity.judge.traps.remedy import Remedy, called, insert, numbers, together
from parity.judge.traps.scene import Scene
from parity.model.trace import MOVES, Op, Trace

IDS = ()
TRAP = "flatten-order"
KINDS = frozenset({"reshape", "flatten"})
SHORTEST, LONGEST = 3, 5  # axes: the batch, the channels, and at least one more
Shape = tuple[int, ...]


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    mine, theirs = (
        [op for op in ops if op.kind in KINDS and op.inputs] for ops in (scene.tensorflow_ops, scene.torch_ops)
    )
    if scene.expected_tensorflow is None or len(mine) != len(theirs):
        return
    found = list(_each(scene, mine, theirs))
    yield from found
    if len(found) > 1:
        yield together(found, found[0])
    if not mine:
        yield from _before(scene)


def _before(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedy of reshapes whose results were joined before, as the maps of several sizes are.

    What was joined held the same numbers on both sides, and was judged in torch's order.
    """
    for (given, value), (fed, held) in zip(scene.fed_tensorflow.items(), scene.fed.items(), strict=False):
        if value.shape != held.shape or value.ndim < SHORTEST or np.array_equal(value, held):
            continue
        mine, theirs = _made_by(scene.tensorflow_trace, given), _made_by(scene.torch_trace, fed)
        found = list(_each(scene, mine, theirs)) if len(mine) == len(theirs) else []
        if found and len(found) == len(mine) and all(one.settles[0][2] == "same" for one in found):
            one = together(found, found[0])
            settles = (*one.settles, (given, fed, "same"))
            yield dataclasses.replace(one, edits=(), feed={fed: value}, keys=frozenset({f"fed:{fed}"}), settles=settles)


def _made_by(trace: Trace, tensor: int) -> list[Op]:
    """Return the reshapes of what was joined, or only moved, to make a tensor, in order."""
    makers, open_, found = trace.producers(), [tensor], dict[int, Op]()
    while open_:
        maker = makers.get(open_.pop())
        if maker is not None and maker.kind in KINDS and maker.inputs:
            found[maker.index] = maker
        elif maker is not None and (maker.kind == "concat" or maker.effect == MOVES):
            open_ += maker.inputs
    return [found[index] for index in sorted(found)]


def _each(scene: Scene, mine: Sequence[Op], theirs: Sequence[Op]) -> Iterator[Remedy]:
    for ours, held in zip(mine, theirs, strict=True):
        before, after = (
            (scene.tensorflow_trace.shapes.get(one, ()), scene.torch_trace.shapes.get(other, ()))
            for one, other in ((ours.inputs[0], held.inputs[0]), (ours.outputs[0], held.outputs[0]))
        )
        order = _order_of(*before)
        if order is not None and after[0] == after[1]:
            yield _as_read(scene, ours, held, order)
        elif _moved(*after) and before[0] == before[1]:
            yield _channels_first(scene, ours, held, after[0])


def _moved(mine: Shape, theirs: Shape) -> bool:
    """Return whether one shape has its channels last, and the other the same ones first."""
    return len(theirs) >= SHORTEST and mine == (theirs[0], *theirs[2:], theirs[1]) and mine != theirs


def _order_of(mine: Shape, theirs: Shape) -> Shape | None:
    """Return the one order, channels last, in which torch's axes have the sizes of TensorFlow's; None if none is.

    Height and width may change places, as where lines of text are read column by column.
    """
    rank = len(theirs)
    if _moved(mine, theirs):
        return (0, *range(2, rank), 1)
    if not SHORTEST <= len(mine) == rank <= LONGEST or mine == theirs:
        return None
    orders = [order for order in permutations(range(1, rank)) if mine == (theirs[0], *(theirs[one] for one in order))]
    return (0, *orders[0]) if len(orders) == 1 and orders[0][-1] == 1 else None


def _as_read(scene: Scene, mine: Op, theirs: Op, order: Shape) -> Remedy:
    """Return torch's reshape with the axes that it reads in TensorFlow's order, as code that forgot to permute them."""
    last = order[1:] == (*range(2, len(order)), 1)
    says = f"with {'the channels last' if last else f'its axes in the order {order}'} before `{theirs.name}`"
    fix = f"x = x.permute{numbers(order)} before `{theirs.name}`, as TensorFlow's `{mine.name}` reads them"
    one = insert(theirs.inputs[0], TRAP, says, fix, "permute", {"order": list(order)}, order=theirs.index)
    at = mine.outputs[0], theirs.outputs[0], "same"
    want = scene.expected_tensorflow
    expects = want if want is not None and want.shape == scene.got.shape else None
    return called(dataclasses.replace(one, expects=expects, settles=(at,)), mine.name, theirs.name)


def _channels_first(scene: Scene, mine: Op, theirs: Op, shape: Shape) -> Remedy:
    order, sizes = (0, len(shape) - 1, *range(1, len(shape) - 1)), ", ".join(map(str, shape[1:]))
    says = f"with the channels last in `{theirs.name}`, and first behind it"
    fix = f"x = x.reshape(len(x), {sizes}).permute{numbers(order)} in place of `{theirs.name}`"
    steps = [
        {"kind": "reshape", "config": {"shape": [-1, *shape[1:]]}},
        {"kind": "permute", "config": {"order": list(order)}},
    ]
    one = insert(theirs.outputs[0], TRAP, says, fix, "chain", {"steps": steps}, order=theirs.index)
    at, want = (mine.outputs[0], theirs.outputs[0], "channels"), scene.expected_tensorflow
    expects = np.moveaxis(want, -1, 1) if want is not None and _moved(want.shape, scene.got.shape) else None
    return called(dataclasses.replace(one, expects=expects, settles=(at,)), mine.name, theirs.name)
