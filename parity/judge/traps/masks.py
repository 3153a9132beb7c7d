"""Masks that a model's own code lays over the scores of an attention: which of them are blocked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parity.judge.traps.remedy import Remedy, insert, replace
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import MOVES, Op, Trace, read_first

TRAP = "attention-mask-polarity"
LAYING = ("op:masked_fill", "where", "op:where", "add", "subtract")
ON_THE_WAY = frozenset({"add", "subtract", "multiply", "rescale", "where", "op:where", "op:masked_fill"})
ATTENDING = frozenset({"softmax", "sdpa", "attention"})
LARGE = 1e3  # what is added to a score to block it, at least
Blocked = NDArray[np.bool_]


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies for a mask that says the reverse, stands on its head, or is missing."""
    if np.iscomplexobj(scene.expected) or np.iscomplexobj(scene.got):
        return
    yield from _turned_round(scene)
    wanted, held = _blocked(scene.expected), _blocked(scene.got)
    if wanted is None or held is None or wanted.shape != held.shape:
        return
    told = _told(wanted, held)
    if told is None:
        return
    for op in reversed([one for one in scene.torch_ops if one.kind in LAYING]):
        for place, tensor in enumerate(op.inputs):
            if scene.shapes.get(tensor) == scene.shapes.get(op.outputs[0]) == wanted.shape:
                yield from _laid(scene, op, place, wanted, told)
    yield from _left_out(scene, wanted, told)


def _turned_round(scene: Scene) -> Iterator[Remedy]:
    """A mask by itself that has its two values the other way round."""
    expected, got = (one.astype(np.float64) for one in (scene.expected, scene.got))
    if expected.shape != got.shape or scene.wanted is None or not expected.size or not np.isfinite(expected).all():
        return
    low, high = float(expected.min()), float(expected.max())
    if low == high or not np.isin(expected, (low, high)).all() or not np.array_equal(got, low + high - expected):
        return
    if _is_of_scores(scene.torch_trace, scene.wanted):
        name = scene.maker(scene.wanted) or "the input"
        says = "with the mask's two values exchanged"
        config = {"scale": -1.0, "offset": low + high}
        yield insert(scene.wanted, TRAP, says, f"mask = ~mask after `{name}`", "rescale", config, cost=0.5)


def _is_of_scores(trace: Trace, tensor: int) -> bool:
    """Return whether a tensor is a mask: through arithmetic alone it comes to what an attention divides up."""
    readers, open_, seen = trace.consumers(), [tensor], {tensor}
    while open_:
        for reader in readers.get(open_.pop(), ()):
            if reader.kind in ATTENDING:
                return True
            if (reader.kind in ON_THE_WAY and not reader.weights) or reader.effect == MOVES:
                new = [made for made in reader.outputs if made not in seen]
                seen.update(new)
                open_ += new
    return False


def _blocked(scores: Array) -> Blocked | None:
    """Return which scores are blocked, or which shares of a softmax are none; None if these are neither.

    Where all scores of a row are filled with one number, its shares are equal, to the last bit.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim < 2 or np.isnan(x).any() or not x.size:
        return None
    if x.min() >= 0.0 and x.max() <= 1.0 + 1e-6 and np.allclose(x.sum(-1), 1.0):
        filled = (x == x[..., :1]).all(-1, keepdims=True) & (x.shape[-1] > 1)
        return np.asarray((x == 0.0) | filled)
    return np.asarray(x <= -LARGE) if x.max() < LARGE else None


def _told(wanted: Blocked, held: Blocked) -> tuple[str, str] | None:
    """Return what is wrong with which scores torch blocks, and what mends it; None if it is nothing that is known."""
    if np.array_equal(wanted, held) or not wanted.any():
        return None
    if np.array_equal(held, ~wanted) or _but_for_whole_rows(wanted, held):
        return "with the mask saying the reverse", "mask = ~mask"
    square = wanted.shape[-1] == wanted.shape[-2]
    if square and np.array_equal(held, np.swapaxes(wanted, -1, -2)):
        return "with the mask's triangle on the other side", "mask = mask.transpose(-1, -2)"
    later = np.triu(np.ones(wanted.shape[-2:], np.bool_), 1)
    causal = square and np.array_equal(wanted, np.broadcast_to(later, wanted.shape))
    for diagonal in (0, 2) if causal else ():
        if np.array_equal(held, np.broadcast_to(np.triu(np.ones_like(later), diagonal), wanted.shape)):
            told = "each place itself" if diagonal == 0 else "the place after each"
            return f"with {told} {'attended to' if diagonal == 0 else 'blocked'}", "mask = ones.triu(1), True blocked,"
    if not held.any():
        return ("with a causal mask", "mask what comes later") if causal else _OMITTED
    return None


_OMITTED = ("with TensorFlow's mask", "mask what TensorFlow masks")


def _but_for_whole_rows(wanted: Blocked, held: Blocked) -> bool:
    """Return whether the one is the reverse of the other but for rows that are blocked as a whole.

    A softmax divides these up, so that nothing of them looks blocked.
    """
    whole = ~wanted.any(-1) | ~held.any(-1)
    return bool((~whole).any()) and np.array_equal(held[~whole], ~wanted[~whole])


def _left_out(scene: Scene, wanted: Blocked, told: tuple[str, str]) -> Iterator[Remedy]:
    """Yield the remedy that lays a mask over scores where torch's code has none."""
    for op in scene.torch_ops:
        if op.kind == "softmax" and scene.shapes.get(read_first(op)) == wanted.shape:
            config, weights = {"input": 0, "how": "fill", "value": -1e9}, {"blocked": wanted.astype(np.float64)}
            fix = f"{told[1]} before `{op.name}`"
            yield insert(op.inputs[0], TRAP, told[0], fix, "masked_scores", config, weights=weights)


def _laid(scene: Scene, op: Op, place: int, wanted: Blocked, told: tuple[str, str]) -> Iterator[Remedy]:
    """Yield the remedies that block what TensorFlow blocks: by a number added to scores, or in their place."""
    scores = np.asarray(scene.expected, dtype=np.float64)
    far = scores[wanted & np.isfinite(scores)]
    value = float(np.median(far)) if far.size and scores.min() <= -LARGE else -1e9
    ways = {"add": float(f"{value:.2g}"), "fill": value}
    for number, (how, filled) in enumerate(ways.items()):
        config = {"input": place, "how": how, "value": filled}
        yield replace(op, TRAP, told[0], f"{told[1]} before `{op.name}`", "masked_scores", config,
                      {"blocked": wanted.astype(np.float64)}, cost=0.9 + 0.01 * number)  # fmt: skip
