"""Attention: what a mask means, how products are scaled and how many heads there are."""

from __future__ import annotations

from collections.abc import Iterator

from parity.judge.traps.remedy import Remedy, change, number
from parity.judge.traps.scene import Scene, same
from parity.model.trace import Op

IDS = ("attention-mask-polarity", "attention-scale-or-heads")
KINDS = ("attention", "sdpa")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind in KINDS and theirs.kind in KINDS:
            yield from _mask(scene, mine, theirs)
            yield from _scale(mine, theirs)


def _mask(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if theirs.config.get("has_mask"):
        kind = scene.torch_trace.dtypes.get(theirs.inputs[3], "") if len(theirs.inputs) > 3 else "bool"
        usual = ("blocked" if theirs.kind == "attention" else "attend") if "bool" in kind else "additive"
        held = str(theirs.config.get("mask_form") or usual)
        lines = {
            "attend": ("with True meaning attend", f"mask = ~mask before `{theirs.name}`: there True means blocked"),
            "blocked": ("with True meaning blocked", f"mask = ~mask before `{theirs.name}`: there True means attend"),
        }
        for form, (says, fix) in lines.items():
            if form != held:
                line = fix if held != "additive" else f"a bool mask in `{theirs.name}`: numbers are added to the scores"
                yield change(theirs, "attention-mask-polarity", says, line, {"mask_form": form})
    wanted, held_causal = (bool(op.config.get("causal", False)) for op in (mine, theirs))
    if wanted != held_causal:
        word = "with" if wanted else "without"
        yield change(
            theirs,
            "attention-mask-polarity",
            f"{word} a causal mask",
            f"is_causal={wanted} in `{theirs.name}`",
            {"causal": wanted},
        )


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


def _scale_of(op: Op) -> float | None:
    given, size = op.config.get("scale"), op.config.get("key_dim")
    if given is not None:
        return float(given)
    return float(size) ** -0.5 if size else None
