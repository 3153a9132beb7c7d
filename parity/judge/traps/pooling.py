"""Pooling: padding that is asymmetric, and whether an average counts it."""

from __future__ import annotations

from collections.abc import Iterator

from parity.judge.traps.geometry import around, flat_pads, padding_layers, padding_line, per_axis, with_pads
from parity.judge.traps.remedy import UNKNOWN, Remedy, change, insert, numbers, replace, skip, together
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

IDS = ("pool-padding", "avgpool-count-pad")
POOLS = ("max_pool", "avg_pool")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in POOLS:
            yield from _geometry(scene, mine, theirs)
        if mine.kind == theirs.kind == "avg_pool":
            yield from _counted(scene, mine, theirs)
        if mine.kind != theirs.kind and {mine.kind, theirs.kind} == set(POOLS):
            yield from _other(scene, mine, theirs)


def _geometry(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    # What TensorFlow pads in a layer of its own is zero, not -inf: there the padding layer is inserted instead.
    apart = mine.kind == "max_pool"
    wanted = [list(p) for p in mine.config.get("pads") or []] if apart else around(scene, mine, "tensorflow")
    held = [list(p) for p in theirs.config.get("pads") or []] if apart else around(scene, theirs, "torch")
    rank = len(wanted) or int(mine.config.get("rank", 2))
    ceil = bool(theirs.config.get("ceil"))
    moved = {"pads": wanted, "ceil": False}
    line = _line(mine, theirs, wanted)
    if wanted and (wanted != held or ceil):
        says = f"with torch padding {flat_pads(wanted)}" + (" and ceil_mode off" if ceil else "")
        remedy = change(theirs, "pool-padding", says, line, moved)
        yield remedy if apart else with_pads(scene, theirs, remedy)
    if apart:
        yield from _as_one(scene, mine, theirs)
        yield from _padded_before(scene, mine, theirs)
        yield from _zeros_before(scene, mine, theirs)
    pools = [per_axis(op.config, "pool", rank, 2) for op in (mine, theirs)]
    steps = [per_axis(op.config, "strides", rank, 0) for op in (mine, theirs)]
    steps = [pool if not any(step) else step for pool, step in zip(pools, steps, strict=True)]
    if pools[0] != pools[1]:
        fix = f"kernel_size={numbers(pools[0])} in `{theirs.name}`"
        yield change(
            theirs,
            "pool-padding",
            f"with a window of {numbers(pools[0])}",
            fix,
            {"pool": pools[0], "strides": steps[0], **moved},
            cost=1.2,
        )
    elif steps[0] != steps[1]:
        says, fix = f"with torch stride {numbers(steps[0])}", f"stride={numbers(steps[0])} in `{theirs.name}`"
        yield change(theirs, "stride-placement", says, fix, {"strides": steps[0]})
        if wanted != held or ceil:
            yield change(
                theirs,
                "stride-placement",
                f"{says} and padding {flat_pads(wanted)}",
                f"{fix}, and {line}",
                {"strides": steps[0], **moved},
                cost=1.2,
            )


def _other(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """The other pooling, where TensorFlow pads in a layer of its own and torch, if at all, as its own pooling does."""
    rank = len(mine.config.get("pads") or [])
    layers = [padding_layers(ops, rank) for ops in (scene.extra_tensorflow, scene.extra_torch)]
    if layers[0]:
        fix = f"TensorFlow's {mine.made_by or mine.kind} in place of `{theirs.name}`"
        one = replace(theirs, UNKNOWN, f"with {mine.kind} instead of {theirs.kind}", fix, mine.kind, mine.config)
        added = [insert(theirs.inputs[0], "", "", "", op.kind, op.config, order=op.index) for op in layers[0]]
        yield together([one, *added, *(skip(op, "", "", "") for op in layers[1])], one)


def _as_one(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy that pads in the pooling what TensorFlow pads before it, where no number is below zero."""
    whole = around(scene, mine, "tensorflow")
    if whole == [list(p) for p in mine.config.get("pads") or []] or padding_layers(scene.extra_torch, len(whole)):
        return
    says = f"with torch padding {flat_pads(whole)}" + (" and ceil_mode off" if theirs.config.get("ceil") else "")
    yield change(theirs, "pool-padding", says, _line(mine, theirs, whole), {"pads": whole, "ceil": False}, cost=1.1)


def _padded_before(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for a maximum that torch pads in an operation of its own, with another number or elsewhere."""
    wanted = [list(p) for p in mine.config.get("pads") or []]
    layers = [
        op
        for op in scene.extra_torch
        if op.kind == "zero_pad"
        and len(op.config.get("pads") or []) == len(wanted)
        and op.config.get("mode", "constant") == "constant"
    ]
    if not layers:
        return
    says = f"with torch padding {flat_pads(wanted)} of -inf in the pooling"
    fix = f"F.pad(x, {flat_pads(wanted)}, value=-math.inf) in place of `{layers[-1].name}`"
    fix += _nothing_of_its_own(theirs)
    moved = change(theirs, "pool-padding", says, fix, {"pads": wanted, "ceil": False}, cost=1.1)
    yield together([moved, *(skip(op, "", "", "") for op in layers)], moved)


def _zeros_before(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for a maximum over zeros that TensorFlow pads in a layer of its own, where torch pads -inf."""
    own = [list(p) for p in mine.config.get("pads") or []]
    layers = padding_layers(scene.extra_tensorflow, len(own))
    if not layers or padding_layers(scene.extra_torch, len(own)) or any(map(any, own)):
        return
    given = flat_pads(around(scene, mine, "tensorflow"))
    says, fix = f"with zeros {given} before torch's pooling", f"x = F.pad(x, {given}) before `{theirs.name}`"
    fix += _nothing_of_its_own(theirs)
    moved = change(theirs, "pool-padding", says, fix, {"pads": own, "ceil": False})
    added = [insert(theirs.inputs[0], "", "", "", op.kind, op.config, order=op.index) for op in layers]
    yield together([moved, *added], moved)


def _nothing_of_its_own(theirs: Op) -> str:
    """Return what a fix says of a pooling that is to pad nothing by itself, nor to round the size of its result up."""
    options = [
        ("padding=0", any(map(any, theirs.config.get("pads") or []))),
        ("ceil_mode=False", theirs.config.get("ceil")),
    ]
    return "".join(f", and {option} in `{theirs.name}`" for option, needed in options if needed)


def _line(mine: Op, theirs: Op, pads: list[list[int]]) -> str:
    if mine.kind == "max_pool":
        return padding_line(theirs, pads, ", value=-math.inf")
    if all(lo == hi for lo, hi in pads):
        return padding_line(theirs, pads)
    given = flat_pads(pads)
    if mine.config.get("count_include_pad"):
        return f"x = F.pad(x, {given}) before `{theirs.name}`, and padding=0 there"
    return (
        f"`{theirs.name}` with padding=0 on F.pad(x, {given}), divided by the same pooling of"
        f" F.pad(torch.ones_like(x), {given})"
    )


def _counted(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for an average that counts its padding on one side alone; zeros padded before it do count."""
    wanted, counts = (
        around(scene, theirs, "torch"),
        (_counts(scene, mine, "tensorflow"), _counts(scene, theirs, "torch")),
    )
    if counts[0] == counts[1]:
        return
    word = f"count_include_pad={counts[0]}"
    if wanted == [list(p) for p in theirs.config.get("pads") or []]:
        change_ = {"count_include_pad": counts[0]}
        yield change(theirs, "avgpool-count-pad", f"with {word}", f"{word} in `{theirs.name}`", change_)
        return
    moved = {"pads": wanted, "count_include_pad": counts[0]}
    yield with_pads(
        scene, theirs, change(theirs, "avgpool-count-pad", f"with {word}", _line(mine, theirs, wanted), moved)
    )


def _counts(scene: Scene, op: Op, side: str) -> bool:
    """Return whether an average is divided by the size of its window where that reaches into the padding, too."""
    own = [list(p) for p in op.config.get("pads") or []]
    if own and not any(map(any, own)) and around(scene, op, side) != own:
        return True
    return bool(op.config.get("count_include_pad", False))
