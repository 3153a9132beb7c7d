"""Normalisation: its epsilon, its groups and axes, and which statistics it uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.judge.traps.geometry import axis
from parity.judge.traps.remedy import UNKNOWN, Remedy, change, number, numbers, replace
from parity.judge.traps.scene import STATE, Scene, same
from parity.model.layout import Array
from parity.model.trace import SPREAD, Op, read_first

IDS = (
    "batchnorm-eps", "layernorm-eps", "batchnorm-mode", "batchnorm-frozen", "batchnorm-momentum",
    "batchnorm-running-variance", "groupnorm-groups", "norm-axes",
)  # fmt: skip
SCALES = {"gamma": "weight", "scale": "weight", "beta": "bias"}  # TensorFlow's roles of weights, and torch's
LAYERED = ("layer_norm", "group_norm", "instance_norm", "rms_norm")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind == "batch_norm":
            yield from _eps(mine, theirs, "batchnorm-eps")
            yield from _mode(scene, mine, theirs)
            yield from _made_otherwise(scene, mine, theirs)
            yield from _spread(mine, theirs)
            if scene.stage == STATE:
                yield from _statistics(mine, theirs)
        elif mine.kind == theirs.kind and mine.kind in LAYERED:
            yield from _eps(mine, theirs, "layernorm-eps")
            yield from _spread(mine, theirs)
            yield from _groups(mine, theirs)
            if mine.kind in ("layer_norm", "rms_norm"):
                yield from _axes(scene, mine, theirs)
        elif _each_channel(scene, mine, theirs):
            yield from _eps(mine, theirs, "layernorm-eps")
        elif mine.kind in LAYERED and theirs.kind in LAYERED and mine.kind != theirs.kind:
            yield from _another(scene, mine, theirs)
        if mine.kind == theirs.kind and mine.kind in ("batch_norm", *LAYERED):
            yield from _affine(scene, mine, theirs)


def _eps(mine: Op, theirs: Op, trap: str) -> Iterator[Remedy]:
    wanted = mine.config.get("eps")
    if wanted is not None and not same(wanted, theirs.config.get("eps")) and not theirs.config.get(SPREAD):
        word = f"eps={number(wanted)}"
        fix = f"{word} in `{theirs.name}`"
        if not theirs.made_by:  # steps that somebody wrote out
            fix = f"{number(wanted)} in place of {number(theirs.config.get('eps'))} in the steps up to `{theirs.name}`"
        yield change(theirs, trap, f"with {word}", fix, {"eps": wanted})


def _each_channel(scene: Scene, mine: Op, theirs: Op) -> bool:
    """Return whether an instance norm meets a group norm that has a group for each channel."""
    groups = next((op.config.get("groups") for op in (mine, theirs) if op.kind == "group_norm"), None)
    shape = scene.shapes.get(read_first(theirs), ())
    return {mine.kind, theirs.kind} == {"group_norm", "instance_norm"} and len(shape) > 1 and groups == shape[1]


def _mode(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    modes = [bool(op.config.get("training", False)) for op in (mine, theirs)]
    frozen = [bool(op.config.get("frozen", False)) for op in (mine, theirs)]
    live = [mode and not still for mode, still in zip(modes, frozen, strict=True)]
    if live[0] == live[1]:
        return
    says = "with the statistics of the batch" if live[0] else "with the running statistics"
    trap = "batchnorm-frozen" if scene.training and frozen[0] != frozen[1] else "batchnorm-mode"
    if live[0]:
        fix = f"`{theirs.name}`.train() before the forward pass: its statistics are those of the batch in TensorFlow"
    elif trap == "batchnorm-frozen":
        fix = f"`{theirs.name}`.eval() after model.train(): requires_grad=False alone does not freeze the statistics"
    elif theirs.made_by.endswith("batch_norm"):  # the function: it is told by each call
        fix = f"training=False and the running statistics in `{theirs.name}`: TensorFlow uses the moving ones here"
    else:
        fix = f"`{theirs.name}`.eval(), and track_running_stats=True: TensorFlow uses the moving statistics here"
    weights = {}
    if not live[0] and theirs is scene.torch and "running_mean" not in scene.torch_weights:
        kept = {"running_mean": "moving_mean", "running_var": "moving_variance"}
        weights = {
            role: scene.tensorflow_weights[name] for role, name in kept.items() if name in scene.tensorflow_weights
        }
    yield change(theirs, trap, says, fix, {"training": live[0], "frozen": False}, weights)


def _made_otherwise(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Statistics, a scale or a shift of which torch's code makes others first, such as the root of a variance."""
    makers = [op for op in scene.torch_ops if not op.inputs and set(op.outputs) & set(theirs.inputs)]
    names = {**SCALES, "moving_mean": "running_mean", "moving_variance": "running_var"}
    left = {role: name for name, role in names.items() if name in mine.weights and role not in theirs.weights}
    if not makers or not left or theirs is not scene.torch:
        return
    said = " and ".join(f"`{role}`" for role in left)
    fix = f"{said} as it is in `{theirs.name}`, without {' and '.join(f'`{op.name}`' for op in makers)}"
    weights = {role: scene.tensorflow_weights[name] for role, name in left.items()}
    yield replace(theirs, "batchnorm-stats-swap", f"with {said} as it is", fix, theirs.kind, theirs.config, weights)


def _spread(mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A formula of torch's code that divides by something else than the root of the variance with its eps."""
    held = theirs.config.get(SPREAD)
    if not held or mine.config.get(SPREAD):
        return
    eps, kept = number(mine.config.get("eps")), mine.kind == "batch_norm"
    what, variance = ("variance", "running_var" if kept else "x.var(dim, unbiased=False)")
    if mine.kind == "rms_norm":
        what, variance = "mean of the squares", "x.pow(2).mean(dim, keepdim=True)"
    trap = ("batchnorm-eps" if kept else "layernorm-eps") if "eps" in held else UNKNOWN
    trap = "batchnorm-stats-swap" if kept and trap == UNKNOWN else trap
    config = {key: value for key, value in theirs.config.items() if key != SPREAD} | {"eps": mine.config.get("eps")}
    fix = f"divide by torch.sqrt({variance} + {eps}) in the steps up to `{theirs.name}`"
    says = f"divided by the root of the {what} + {eps}: torch divides by {held}"
    yield replace(theirs, trap, says, fix, theirs.kind, config)


def _statistics(mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted = mine.config.get("momentum")
    if wanted is not None and not same(wanted, theirs.config.get("momentum")):
        fix = f"momentum={number(round(1.0 - float(wanted), 12))} in `{theirs.name}`: torch's is the weight of the new"
        yield change(theirs, "batchnorm-momentum", f"with Keras's momentum {number(wanted)}", fix, {"momentum": wanted})
    if not bool(mine.config.get("unbiased", False)) and bool(theirs.config.get("unbiased", True)):
        fix = f"after each step of `{theirs.name}`: running_var = 0.9 * old + 0.1 * var * (N - 1) / N"
        yield change(theirs, "batchnorm-running-variance", "with the biased variance (N)", fix, {"unbiased": False})


def _groups(mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted = mine.config.get("groups")
    if wanted is not None and wanted != theirs.config.get("groups"):
        says, fix = f"with {wanted} groups", f"num_groups={wanted} in `{theirs.name}`"
        if any(word in theirs.made_by for word in ("layer_norm", "instance_norm", "batch_norm")):
            fix = f"{wanted} groups in what `{theirs.name}` is given, as by x.view(x.shape[0], {wanted}, -1)"
        yield change(theirs, "groupnorm-groups", says, fix, {"groups": wanted})


def _axes(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    own = theirs is scene.torch
    weights = {role: array for role, array in scene.carried.items() if own and role in ("weight", "bias")}
    weights |= _of_their_own(scene) if own else {}
    shape = scene.shapes.get(read_first(theirs), ())
    for remedy in axis(scene, mine, theirs, "norm-axes"):
        sizes = tuple(shape[int(one)] for one in remedy.edits[0]["config"].get("axes", ()) if int(one) < len(shape))
        weights = {role: _as_sized(array, sizes) for role, array in weights.items()}
        if own and any(scene.torch_weights.get(role, array).shape != array.shape for role, array in weights.items()):
            edits = tuple({**edit, "weights": weights} for edit in remedy.edits)
            remedy = Remedy(remedy.trap, edits, remedy.says, remedy.fix, remedy.cost, remedy.keys)
        fix = _over(scene, theirs, remedy)
        yield dataclasses.replace(remedy, fix=fix) if fix else remedy


def _over(scene: Scene, theirs: Op, remedy: Remedy) -> str:
    """Return the porter's line for a LayerNorm over other axes: torch's knows no axes but the last ones."""
    axes = remedy.edits[0]["config"].get("axes") if theirs.kind == "layer_norm" else None
    shape = scene.shapes.get(read_first(theirs), ())
    if not axes or max(axes) >= len(shape):  # as where one side picks a token before its norm, and the other none
        return ""
    sizes = [shape[int(one)] for one in axes]
    norm = f"nn.LayerNorm({sizes[0] if len(sizes) == 1 else sizes}) in place of `{theirs.name}`"
    last = list(range(len(shape) - len(axes), len(shape)))
    if list(axes) == last:
        return norm
    there, back = (f"{numbers(axes)}, {numbers(last)}", f"{numbers(last)}, {numbers(axes)}")
    if len(axes) == 1:
        there, back = f"{axes[0]}, -1", f"-1, {axes[0]}"
    return f"{norm}, on x.movedim({there}), and .movedim({back}) of what it returns"


def _scales(scene: Scene) -> dict[str, Array]:
    """Return TensorFlow's scale and shift under torch's names."""
    return {role: scene.tensorflow_weights[name] for name, role in SCALES.items() if name in scene.tensorflow_weights}


def _of_their_own(scene: Scene) -> dict[str, Array]:
    """Return TensorFlow's weights where torch has more numbers, or fewer, so that none could be carried."""
    return {
        role: array
        for role, array in _scales(scene).items()
        if role not in scene.carried and array.size != scene.torch_weights.get(role, array).size
    }


def _as_sized(array: Array, sizes: tuple[int, ...]) -> Array:
    """Return the weights of a norm over several axes with those axes in torch's order: channels first, or the same."""
    orders = (array, np.moveaxis(array, -1, 0)) if array.ndim > 1 else (array,)
    return next((one for one in orders if one.shape == sizes), array)


def _another(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A norm over other axes: each image, or channel, as a whole where TensorFlow takes each place of its own."""
    weights = _scales(scene)
    own = theirs is scene.torch
    trap = "groupnorm-groups" if {mine.kind, theirs.kind} == {"group_norm", "instance_norm"} else "norm-axes"
    key = "axes" if "axes" in mine.config else "axis"
    given: Any = mine.config.get(key)
    for places in scene.axis_maps(mine, theirs) if own and given is not None else ():
        many = [given] if isinstance(given, int) else list(given)
        moved = sorted(places[int(one) % len(places)] for one in many)
        dims = ", ".join(map(str, moved))
        says = f"with a {mine.kind} {'of' if key == 'axis' else 'over'} dim {dims} instead of a {theirs.kind}"
        fix = f"TensorFlow's {mine.kind} {'of' if key == 'axis' else 'over'} dim {dims} in place of `{theirs.name}`"
        config = {**mine.config, key: moved[0] if isinstance(given, int) else moved}
        yield replace(theirs, trap, says, fix, mine.kind, config, weights)


def _affine(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A scale or shift on one side only, which no weight of the other can fill."""
    if theirs is not scene.torch:
        return
    neutral: dict[str, tuple[str, Any, str]] = {
        "bias": ("center", np.zeros_like, "bias-missing-or-doubled"),
        "weight": ("scale", np.ones_like, "weight-scale"),
    }
    for role, (word, make, trap) in neutral.items():
        held = scene.torch_weights.get(role)
        if held is not None and role not in scene.carried and not mine.config.get(word, True):
            fix = f"no learned {role} in `{theirs.name}`: {word}=False in TensorFlow"
            yield change(theirs, trap, f"without a learned {role}", fix, weights={role: make(held)})
        elif held is None and role in scene.carried:
            fix = f"affine=True in `{theirs.name}`: TensorFlow has a learned {role}"
            yield change(theirs, trap, f"with TensorFlow's {role}", fix, {word: True}, {role: scene.carried[role]})
