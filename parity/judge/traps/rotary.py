"""Rotary positions: which numbers of a head turn together, those half a head apart or neighbours.

Both are in use: RoFormer turns neighbouring pairs, GPT-NeoX and the LLaMA of Hugging Face halves. With the rows of each
head's query and key kernels in the other's order they are one function.

Source: Su et al., RoFormer, arXiv:2104.09864, section 3.2.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from parity.judge.traps.remedy import Remedy, insert
from parity.judge.traps.scene import SELECTS, Scene
from parity.model.layout import Array
from parity.model.trace import MOVES, Op

IDS = ()
TRAP = "channel-order"
SMALLEST = 4  # numbers of a head: of two, the halves are the pair
AXES = 3
SHOWN = 5  # rows of an order that a line shows
HALVES = (
    "x1, x2 = {halves}; x = {cat}((x1 * cos - x2 * sin, x2 * cos + x1 * sin), {axis}-1)",
    "half a head apart",
)
PAIRS = (
    "x1, x2 = x[..., 0::2], x[..., 1::2]; x = {stack}((x1 * cos - x2 * sin, x1 * sin + x2 * cos), {axis}-1){flat}",
    "that are neighbours",
)
IN_TORCH = {"halves": "x.chunk(2, -1)", "cat": "torch.cat", "stack": "torch.stack", "axis": "", "flat": ".flatten(-2)"}
IN_KERAS = {
    "halves": "ops.split(x, 2, -1)", "cat": "ops.concatenate", "stack": "ops.stack", "axis": "axis=",
    "flat": ", then reshaped to the shape of x",
}  # fmt: skip


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    want = scene.expected_tensorflow
    if want is None or want.size != scene.got.size or not all(map(_turns, (scene.tensorflow_ops, scene.torch_ops))):
        return
    width = max(want.shape[-1], scene.got.shape[-1])  # what turns pairs may give them an axis of their own
    heads = _heads(scene, width) if width >= SMALLEST and width % 2 == 0 else None
    rows = _as_rows(want, width, scene.shapes[heads][:-1]) if heads is not None else None
    if heads is None or rows is None:
        return
    to_pairs = np.arange(width).reshape(2, -1).T.reshape(-1)  # the numbers that halves turn, as neighbours
    order_of = _as_rows(np.arange(want[0].size).reshape(1, *want.shape[1:]), width, (1, *scene.shapes[heads][1:-1]))
    found = [
        _in_order(scene, heads, rows, to_pairs, (HALVES, PAIRS)),
        _in_order(scene, heads, rows, np.argsort(to_pairs), (PAIRS, HALVES)),
    ]
    if order_of is None or scene.wanted is None:
        yield from found
        return
    # Scores know of no order within a head, so that what reads both is the same whichever is turned.
    at = scene.tensorflow_ops[-1].outputs[0], scene.wanted, order_of.reshape(-1)
    yield from (dataclasses.replace(one, settles=(at,)) for one in found)


def _heads(scene: Scene, width: int) -> int | None:
    """Return the last tensor of torch's that holds the numbers of each head that are turned, before they are."""
    fed = [tensor for tensor, value in scene.fed.items() if value.size >= scene.got.size]
    tensor, found = fed[0] if len(fed) == 1 else None, None
    while tensor is not None:
        alone = scene.shapes.get(tensor, ())[-1:] == (width,)
        if found is not None and not alone:
            break
        found = tensor if alone else None
        readers = [op for op in scene.torch_ops if tensor in op.inputs]
        moved = len(readers) == 1 and (readers[0].effect == MOVES or readers[0].kind in SELECTS)
        tensor = readers[0].outputs[0] if moved else None
    return found


def _as_rows(want: Array, width: int, lead: tuple[int, ...]) -> Array | None:
    """Return what should come out with torch's axes, one row for each head and place; None if these do not fit."""
    apart = want if want.shape[-1] == width else want.reshape(*want.shape[:-2], -1)
    if apart.shape[-1] != width or apart.ndim < AXES:
        return None
    if apart.shape[:-1] == lead:
        return apart
    return np.swapaxes(apart, 1, 2) if np.swapaxes(apart, 1, 2).shape[:-1] == lead else None


def _turns(ops: Sequence[Op]) -> bool:
    """Return whether operations are as of rotations: nothing has weights, and two products at least are summed."""
    return sum(op.kind == "multiply" for op in ops) > 1 and not any(op.weights for op in ops)


def _in_order(
    scene: Scene, heads: int, want: Array, order: Array, forms: tuple[tuple[str, str], tuple[str, str]]
) -> Remedy:
    """Return the remedy that turns with the numbers of each head in an order, and gives back what comes out in it."""
    (form, meant), (other, instead) = forms
    rows = ", ".join(map(str, order[:SHOWN])) + ", ..." * (order.size > SHOWN)
    fix = (
        f"{form.format(**IN_TORCH)} where heads are turned, or each head's rows of the query's and key's kernels in the"
        f" order {rows}"
    )
    one = insert(
        heads, TRAP, f"if numbers {meant} are turned together, not those {instead}", fix, "gather",
        {"axis": len(scene.shapes[heads]) - 1, "indices": [int(place) for place in order]}, cost=1.3,
    )  # fmt: skip
    line = f"{other.format(**IN_KERAS)} where heads are turned"
    return dataclasses.replace(one, expects=want[..., order].reshape(scene.got.shape), in_keras=lambda _: line)
