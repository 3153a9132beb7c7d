"""Attention: what a mask means, how products are scaled and how many heads there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from parity.judge.traps import heads, masks
from parity.judge.traps.remedy import Remedy, called, change, insert, number, together
from parity.judge.traps.scene import PRODUCTS, Scene, exact_numbers, leading_to, same
from parity.model.layout import Array
from parity.model.trace import MOVES, Op, read_first

IDS = ("attention-mask-polarity", "attention-scale-or-heads")
KINDS = ("attention", "sdpa")
WHOLE = (*KINDS, "op:Attention", "op:AdditiveAttention")  # layers of which torch may have the steps
SWAP = {"kind": "permute", "config": {"order": [0, 2, 1, 3]}}  # steps before heads, or behind them
FILLING = ("op:masked_fill", "op:masked_fill_", "where", "op:where")  # numbers in the place of truth values
SPLIT = 4  # axes of scores with heads


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind in KINDS and theirs.kind in KINDS:
            yield from _mask(scene, mine, theirs)
            yield from _scale(mine, theirs)
            yield from _steps_first(theirs)
    yield from _written_out(scene)
    yield from _unscaled(scene)
    yield from masks.propose(scene)
    yield from heads.propose(scene)
    yield from _other_way_round(scene)
    yield from _along_the_keys(scene)


def _other_way_round(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies for shares that stand as keys by queries where the product with the values wants the reverse.

    Where queries and keys are made by two layers of one shape, nothing else tells which axis the softmax was taken of.
    """
    makers = scene.torch_trace.producers()
    for theirs in (op for op in scene.torch_ops if op.kind in PRODUCTS and len(op.inputs) > 1):
        for tensor in theirs.inputs:
            shape, at = scene.shapes.get(tensor, ()), makers.get(tensor)
            while at is not None and at.effect == MOVES and at.inputs:
                at = makers.get(at.inputs[0])
            if at is None or at.kind != "softmax" or len(shape) < SPLIT - 1 or shape[-1] != shape[-2]:
                continue
            order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            says, fix = (
                f"with `{at.name}` the other way round",
                f"x.transpose(-2, -1) of `{at.name}` before `{theirs.name}`",
            )
            yield insert(tensor, "axis-mismatch", says, fix, "permute", {"order": order}, cost=1.2)


def _along_the_keys(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedy for shares along another axis than the keys', where TensorFlow has attention as a layer."""
    mine = next((op for op in scene.tensorflow_ops if op.kind in WHOLE), None)
    if mine is None:
        return
    for theirs in (op for op in scene.torch_ops if op.kind == "softmax"):
        rank = len(scene.shapes.get(theirs.outputs[0], ()))
        held = int(theirs.config.get("axis", -1))
        if rank and held % rank != rank - 1:
            says, fix = f"along dim {rank - 1} instead of {held}", f"dim=-1 in `{theirs.name}`"
            one = change(theirs, "axis-mismatch", says, fix, {"axis": rank - 1})
            yield called(one, mine.name, theirs.name)


def _mask(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if theirs.config.get("has_mask"):
        yield from _meaning(scene, theirs)
    wanted, held_causal = (bool(op.config.get("causal", False)) for op in (mine, theirs))
    if wanted != held_causal:
        yield _causal(theirs, wanted)
    if wanted != held_causal or any(op.config.get("has_mask") for op in (mine, theirs)):
        yield from _masked_alike(scene, mine, theirs)


def _masked_alike(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy that blocks in torch's layer or function what TensorFlow's does, whatever torch's own mask."""
    blocked = _blocked_by(scene, mine, theirs)
    if blocked is None:
        return
    if not blocked.any():
        if theirs.config.get("has_mask"):
            settings = {"mask_form": "none", "causal": False}
            yield change(theirs, IDS[0], "without a mask", f"no mask in `{theirs.name}`", settings, cost=1.2)
        return
    laid = {"mask": np.where(blocked, -np.inf, 0.0)}
    fix = f"block in `{theirs.name}` what TensorFlow's mask does"
    if not _given_masks(scene, mine):
        later = "torch.ones(T, T, dtype=torch.bool).triu(1)"
        fix = f"attn_mask={later if theirs.kind == 'attention' else f'~{later}'} in `{theirs.name}`"
    elif not theirs.config.get("has_mask"):
        word = "key_padding_mask=~mask" if theirs.kind == "attention" else "attn_mask=mask"
        fix = f"{word} in `{theirs.name}`, of the mask that TensorFlow's has: True means attend there"
    settings = {"mask_form": "none", "causal": False}
    yield change(theirs, "attention-mask-polarity", "with TensorFlow's mask", fix, settings, laid, cost=1.2)


def _given_masks(scene: Scene, mine: Op) -> list[Array]:
    """Return the masks of truth values that TensorFlow's layer reads; it has them after queries and values."""
    known = {**scene.fed_tensorflow, **scene.inside}
    given = [known.get(tensor) for tensor in mine.inputs[1:]]
    return [one for one in given if one is not None and one.size and np.isin(one, (0, 1)).all()]


def _blocked_by(scene: Scene, mine: Op, theirs: Op) -> Array | None:
    """Return what TensorFlow's layer blocks of (n, heads or 1, t, s), True for blocked; None where that is not told."""
    shapes = [scene.shapes.get(tensor, ()) for tensor in theirs.inputs[:2]]
    if theirs.kind == "attention" and not theirs.config.get("batch_first", True):
        shapes = [(shape[1], shape[0], *shape[2:]) for shape in shapes if len(shape) == SPLIT - 1]
    if not shapes or any(len(shape) < SPLIT - 1 for shape in shapes):
        return None
    n, steps, places = shapes[0][0], shapes[0][-2], shapes[-1][-2]
    attended = np.ones((n, 1, steps, places), bool)
    for mask in _given_masks(scene, mine):
        axes = {2: (slice(None), None, None), 3: (slice(None), None)}.get(mask.ndim, ())
        shaped = np.asarray(mask, bool)[axes]
        if any(size not in (1, whole) for size, whole in zip(shaped.shape[-2:], (steps, places), strict=True)):
            return None
        attended = attended & shaped
    if mine.config.get("causal"):
        attended = attended & np.tril(np.ones((steps, places), bool))
    return np.asarray(~attended)


def _meaning(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """Yield what torch's mask may have been meant to say."""
    kind = scene.torch_trace.dtypes.get(theirs.inputs[3], "") if len(theirs.inputs) > 3 else "bool"
    usual = ("blocked" if theirs.kind == "attention" else "attend") if "bool" in kind else "additive"
    held = str(theirs.config.get("mask_form") or usual)
    lines = {
        "attend": ("with True meaning attend", f"mask = ~mask before `{theirs.name}`: there True means blocked"),
        "blocked": ("with True meaning blocked", f"mask = ~mask before `{theirs.name}`: there True means attend"),
    }
    for form, (says, fix) in lines.items():
        if form != held:
            line = fix if held != "additive" else _line_of_numbers(scene, theirs)
            yield change(theirs, "attention-mask-polarity", says, line, {"mask_form": form})


def _line_of_numbers(scene: Scene, theirs: Op) -> str:
    """Return the porter's line for a mask of numbers: torch's own layers make them of a mask of truth values."""
    before = leading_to(scene.torch_trace.ops, theirs.inputs[3:4])
    if any(op.kind in FILLING for op in before):
        return f"mask = ~mask before `{theirs.name}`: True means blocked there"
    return f"a bool mask in `{theirs.name}`: numbers are added to the scores"


def _causal(theirs: Op, wanted: bool) -> Remedy:
    says, fix = f"{'with' if wanted else 'without'} a causal mask", f"is_causal={wanted} in `{theirs.name}`"
    if theirs.kind == "attention":  # of torch's layer, for which is_causal is but a hint beside a mask
        mask = "torch.ones(T, T, dtype=torch.bool).triu(1)" if wanted else "None"
        fix = f"attn_mask={mask} in `{theirs.name}`"
    return change(theirs, "attention-mask-polarity", says, fix, {"causal": wanted})


def _scale(mine: Op, theirs: Op) -> Iterator[Remedy]:
    changed = {}
    heads = mine.config.get("heads")
    if heads is not None and mine.kind == theirs.kind and heads != theirs.config.get("heads"):
        changed["heads"] = heads
        yield change(
            theirs,
            "attention-scale-or-heads",
            f"with {heads} heads",
            f"num_heads={heads} in `{theirs.name}`",
            {"heads": heads, "scale": mine.config.get("scale")},
            cost=1.1,
        )
    wanted, held = _scale_of(mine), _scale_of(theirs)
    if wanted is not None and not same(wanted, held):
        yield change(
            theirs,
            "attention-scale-or-heads",
            f"with scale {number(wanted)}",
            f"scale={number(wanted)} in `{theirs.name}`",
            {"scale": wanted},
        )


def _steps_first(theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for a layer that takes its first axis for the steps, as torch's do unless they are told."""
    if theirs.config.get("batch_first") is False:
        fix = f"batch_first=True in `{theirs.name}`"
        yield change(theirs, "axis-mismatch", "with batch_first=True", fix, {"batch_first": True})


def _unscaled(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedy for torch's function where TensorFlow has a layer of one head that scales nothing by itself."""
    mine = next((op for op in scene.tensorflow_ops if op.kind == "op:Attention"), None)
    found = [op for op in scene.torch_ops if op.kind == "sdpa"]
    if mine is None or mine.weights or len(found) != 1 or same(found[0].config.get("scale"), 1.0):
        return
    fix = f"scale=1.0 in `{found[0].name}`"
    one = change(found[0], "attention-scale-or-heads", "with scale 1", fix, {"scale": 1.0})
    yield called(one, mine.name, found[0].name)


def _written_out(scene: Scene) -> Iterator[Remedy]:
    """Attention that is products around a softmax in TensorFlow, and one function in torch."""
    found = [op for op in scene.torch_ops if op.kind == "sdpa"]
    shares = [op for op in scene.tensorflow_ops if op.kind == "softmax"]
    if len(found) != 1 or len(shares) != 1:
        return
    theirs, mine = found[0], shares[0]
    before = leading_to(scene.tensorflow_ops, mine.inputs)
    products = [op for op in before if op.kind in PRODUCTS and len(op.inputs) > 1]
    if not products:
        return
    scales = exact_numbers(_scaled_by(before, products[-1]))
    for place, wanted in enumerate(scales):
        if not same(wanted, _scale_of(theirs)):
            word = f"scale={number(wanted)}"
            yield change(theirs, "attention-scale-or-heads", f"with scale {number(wanted)}",
                         f"{word} in `{theirs.name}`", {"scale": wanted}, cost=0.9 + 0.01 * place)  # fmt: skip
    if theirs.config.get("has_mask"):
        yield from _meaning(scene, theirs)
    else:
        yield _causal(theirs, not theirs.config.get("causal"))
    shape = scene.tensorflow_trace.shapes.get(read_first(mine), ())
    if len(shape) == SPLIT:
        for wanted in scales:
            yield from _split(scene, theirs, shape[1], wanted)


def _scaled_by(before: Sequence[Op], product: Op) -> float:
    """Return by what scores are multiplied, before or behind their product; masks are neither."""
    inside = [
        op for op in before
        if op in leading_to(before, product.inputs) or product in leading_to(before, op.inputs)
    ]  # fmt: skip
    return prod(float(op.config["scale"]) for op in inside if op.kind == "rescale" and not op.config.get("offset"))


def _split(scene: Scene, theirs: Op, heads: int, scale: float) -> Iterator[Remedy]:
    """Yield the remedy that gives torch's function TensorFlow's number of heads."""
    shapes = [scene.shapes.get(tensor, ()) for tensor in theirs.inputs[:3]]
    if any(len(shape) != SPLIT or shape[1] * shape[3] % heads for shape in shapes) or shapes[0][1] == heads:
        return
    split = [
        _again(tensor, shape, heads) for tensor, shape in dict(zip(theirs.inputs[:3], shapes, strict=True)).items()
    ]
    says, fix = f"with {heads} heads", f"{heads} heads instead of {shapes[0][1]} before `{theirs.name}`"
    one = change(theirs, "attention-scale-or-heads", says, fix, {"heads": heads, "scale": scale}, cost=1.1)
    whole = together([one, *split], one)
    if scene.wanted not in theirs.outputs:
        yield whole
        return
    result = (shapes[0][0], heads, shapes[0][2], shapes[2][1] * shapes[2][3] // heads)
    for expected in _in_torch_heads(scene.expected_tensorflow, result):
        yield dataclasses.replace(whole, expects=expected)


def _again(tensor: int, shape: Sequence[int], heads: int) -> Remedy:
    """Return the remedy that divides (n, heads, steps, size) into another number of heads."""
    n, held, steps, size = shape
    divided = {"kind": "reshape", "config": {"shape": [n, steps, heads, held * size // heads]}}
    return insert(tensor, "", "", "", "chain", {"steps": [SWAP, divided, SWAP]})


def _in_torch_heads(expected: Array | None, shape: Sequence[int]) -> Iterator[Array]:
    """Yield TensorFlow's result (n, heads, steps, size); steps may stand before heads there."""
    for one in () if expected is None or expected.ndim != SPLIT else (expected, np.swapaxes(expected, 1, 2)):
        if one.shape == tuple(shape):
            yield one


def _scale_of(op: Op) -> float | None:
    given, size = op.config.get("scale"), op.config.get("key_dim")
    if given is not None:
        return float(given)
    return float(size) ** -0.5 if size else None
