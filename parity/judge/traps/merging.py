"""Where branches meet: the order of what is merged, and branches that are scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from parity.judge.traps.remedy import Remedy, called, change, replace
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import Op, Trace

IDS = ("operand-order",)
ORDERED = ("concat", "stack", "subtract", "divide", "matmul")
QUOTIENTS = ("subtract", "divide")
NEAR = 1e-6  # of one: what a gate and its complement add up to in float32
FEW = 4  # inputs of which every order is tried
SUMS = ("add", "subtract", "average", "multiply", "maximum", "minimum")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    yield from _complements(scene)
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in ORDERED:
            yield from _order(scene, mine, theirs)
        elif {mine.kind, theirs.kind} == {"add", "average"}:
            word = "the mean" if mine.kind == "average" else "the sum"
            fix = (
                f"x / {len(theirs.inputs)} after `{theirs.name}`"
                if mine.kind == "average"
                else (f"x * {len(theirs.inputs)} after `{theirs.name}`")
            )
            yield replace(theirs, "residual-scale", f"with {word}", fix, mine.kind, {})
        if mine.kind == theirs.kind and mine.kind in SUMS and float(theirs.config.get("alpha") or 1.0) != 1.0:
            yield change(
                theirs,
                "residual-scale",
                f"without alpha={theirs.config['alpha']:g}",
                f"no alpha in `{theirs.name}`",
                {"alpha": 1.0},
            )


def _complements(scene: Scene) -> Iterator[Remedy]:
    """Yield a gate for its complement, 1 - gate, and the other way round: which of two things it lets through."""
    products = [op for op in scene.torch_ops if op.kind == "multiply" and len(op.inputs) > 1]
    makers = scene.torch_trace.producers()
    for tensor, value in scene.fed.items() if products else ():
        meant = next((one for one in _fed_so(scene, value.shape) if np.allclose(one, 1 - value, 0, NEAR)), None)
        if meant is None or np.allclose(meant, value, 0, NEAR):
            continue
        maker, product = makers.get(tensor), products[-1].name
        name = maker.name if maker is not None else "x"
        if maker is not None and maker.kind == "rescale":
            says, fix = f"without 1 - x in `{name}`", f"what `{name}` reads in place of `{name}` in `{product}`"
        else:
            says, fix = f"with 1 - `{name}`", f"1 - `{name}` in place of `{name}` in `{product}`"
        feed = {tensor: meant.astype(value.dtype)}
        yield Remedy("operand-order", (), says, fix, 1.2, frozenset({f"feed:{tensor}"}), feed)


def _fed_so(scene: Scene, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield what TensorFlow was fed of a shape, as it is and with the channels first."""
    for value in scene.fed_tensorflow.values():
        for one in (value, np.moveaxis(value, -1, 1) if value.ndim > 2 else value):
            if one.shape == shape:
                yield one


def _order(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    count = len(theirs.inputs)
    turned = bool(mine.config.get("reversed"))
    if mine.weights and theirs.weights and mine.kind in QUOTIENTS and turned != bool(theirs.config.get("reversed")):
        sign = "-" if mine.kind == "subtract" else "/"
        says = "with the weight first" if turned else "with the weight second"
        fix = f"{f'weight {sign} x' if turned else f'x {sign} weight'} in `{theirs.name}`"
        yield change(theirs, "operand-order", says, fix, {"reversed": turned})
    seen = _seen_order(scene, theirs) if count > FEW else None
    orders = permutations(range(count)) if count <= FEW else [seen] if seen else []
    for number, order in enumerate(orders):
        if order == tuple(range(count)):
            continue
        one = change(
            theirs,
            "operand-order",
            f"with its inputs in the order {order}",
            f"take the inputs of `{theirs.name}` in the order {order}",
            {"order": list(order)},
            cost=2.0 + 0.05 * number,
        )
        yield one
        if scene.weights_mode == "as-is":
            yield from _loaded_crosswise(scene, mine, theirs, order, one)


def _loaded_crosswise(scene: Scene, mine: Op, theirs: Op, order: Sequence[int], other: Remedy) -> Iterator[Remedy]:
    """Two layers side by side that were loaded with one another's weights: what they make stands in the other order.

    No number tells this from branches that are merged in the wrong order; their names may.
    """
    moved = [place for place, source in enumerate(order) if place != source]
    if len(moved) != 2 or len(mine.inputs) != len(theirs.inputs):
        return
    first, second = (
        [_layer_of(trace, op.inputs[place]) for place in moved]
        for trace, op in ((scene.tensorflow_trace, mine), (scene.torch_trace, theirs))
    )
    layers = [*first, *second]
    if any(chain is None for chain in layers):
        return
    here, there = ([chain[-1] for chain in some if chain is not None] for some in (first, second))
    if [_alike(*[c for c in some if c is not None]) for some in (first, second)] != [True, True]:
        return
    names = [[op.name.rpartition("/")[2].rpartition(".")[2] for op in some] for some in (here, there)]
    if names[0][0] == names[1][1] or names[0][1] == names[1][0]:
        return
    what = f"the weights of `{there[0].name}` and `{there[1].name}`"
    told = dataclasses.replace(
        other, trap="weight-wrong-layer", says=f"with {what} exchanged", fix=f"exchange {what}", cost=other.cost - 0.5
    )
    yield called(told, here[0].name, there[0].name)


def _layer_of(trace: Trace, tensor: int) -> list[Op] | None:
    """Return the operations from a tensor back to the layer with weights that it is made by, through no others."""
    makers, found = trace.producers(), list[Op]()
    while True:
        maker = makers.get(tensor)
        if maker is None or len(maker.inputs) != 1:
            return None
        found.append(maker)
        if maker.weights:
            return found
        tensor = maker.inputs[0]


def _alike(one: Sequence[Op], other: Sequence[Op]) -> bool:
    """Return whether two branches of one tensor are the same but for what their weights hold."""
    kinds = [[(op.kind, op.config) for op in some] for some in (one, other)]
    return kinds[0] == kinds[1] and one[-1].inputs == other[-1].inputs


def _seen_order(scene: Scene, theirs: Op) -> tuple[int, ...] | None:
    """Return in which order the inputs of a concatenation follow one another in what is expected of it."""
    parts = [scene.fed.get(tensor) for tensor in theirs.inputs]
    whole, axis = np.asarray(scene.expected, np.float64), int(theirs.config.get("axis", 1))
    if theirs.kind != "concat" or theirs is not scene.torch or not -whole.ndim <= axis < whole.ndim:
        return None
    found: list[int] = []
    at, far = 0, 1e-6 * float(np.abs(whole).max(initial=0.0))
    for _ in parts:
        for number, part in enumerate(parts):
            if number in found or part is None or part.ndim != whole.ndim:
                continue
            piece = whole.take(np.arange(at, min(at + part.shape[axis], whole.shape[axis])), axis)
            if piece.shape == part.shape and np.allclose(piece, part, rtol=1e-5, atol=far):
                found.append(number)
                at += part.shape[axis]
                break
    return tuple(found) if len(found) == len(parts) else None
