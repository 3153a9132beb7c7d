"""Normalisations as Keras's code has them, of a layer that is to be torch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.judge.traps.keras_words import (
    arguments,
    axes_there,
    axis_there,
    exact,
    is_layer,
    layer_class,
    named,
    of_layers,
)
from parity.judge.traps.scene import Scene, same
from parity.model.trace import SPREAD, Op, read_first

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
AFFINE = {"bias": ("center", ("beta",)), "weight": ("scale", ("gamma", "scale"))}
EPS = {"batch_normalization": "variance_epsilon"}  # what functions of TensorFlow call it


def line(scene: Scene, mine: Op, theirs: Op, changed: Mapping[str, Any], roles: frozenset[str]) -> str | None:
    """Return the line that gives a normalisation of Keras what torch's has under the keys that a remedy changes."""
    if theirs.config.get(SPREAD):
        return f"divide by {theirs.config[SPREAD]}, as torch does, in place of what {named(mine)} divides by"
    if mine.kind != theirs.kind:
        return other(scene, mine, theirs)
    if "training" in changed:
        return _mode(scene, mine, theirs)
    if "eps" in changed:
        return _eps(mine, theirs)
    if "groups" in changed and is_layer(mine):
        return f"groups={theirs.config.get('groups')} in {named(mine)}"
    if "axes" in changed or "axis" in changed:
        return _axes(scene, mine, theirs)
    return _affine(mine, theirs, roles)


def _eps(mine: Op, theirs: Op) -> str | None:
    wanted, held = theirs.config.get("eps"), mine.config.get("eps")
    if wanted is None:
        return None
    if not mine.made_by:  # steps that somebody wrote out
        return f"{exact(wanted)} in place of {exact(held)} in the steps up to {named(mine)}"
    word = "epsilon" if is_layer(mine) or "keras" in mine.made_by else EPS.get(layer_class(mine), "epsilon")
    return f"{word}={exact(wanted)} in {named(mine)}"


def _mode(scene: Scene, mine: Op, theirs: Op) -> str | None:
    live = [bool(op.config.get("training")) and not op.config.get("frozen") for op in (mine, theirs)]
    if not is_layer(mine):
        what = "the statistics of the batch" if live[1] else "the moving statistics"
        return f"{what} in {named(mine)}"
    if mine.config.get("frozen") and live[1]:
        return f"trainable=True in {named(mine)}"
    if live[0] and not _trains(scene, theirs):
        return f"trainable=False in {named(mine)}"
    told = live[1] or scene.training  # of a functional model, which hands its own setting to every layer
    own = f", in a call() of your own: a functional model says training={not live[1]}" if told else ""
    return f"training={live[1]} in the call of {named(mine)}{own}"


def _trains(scene: Scene, theirs: Op) -> bool:
    """Return whether torch trains the scale and the shift of a norm, whatever becomes of its statistics."""
    known = scene.torch_trace.weights
    own = [known[name] for role, name in theirs.weights.items() if role in AFFINE and name in known]
    return not scene.training or any(weight.trainable for weight in own)


def _axes(scene: Scene, mine: Op, theirs: Op) -> str | None:
    key = "axes" if "axes" in theirs.config else "axis"
    found = axes_there(scene, mine, theirs, theirs.config.get(key))
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    if found is None or not rank:
        return None
    if not is_layer(mine):
        word = "statistics over axis" if isinstance(found, int) or len(found) == 1 else "statistics over the axes"
        shown = found[0] if isinstance(found, list) and len(found) == 1 else exact(found)
        return f"{word} {shown} in the steps up to {named(mine)}"
    return f"axis={_shown(found, rank)} in {named(mine)}"


def _shown(axes: Any, rank: int) -> str:
    if isinstance(axes, int):
        return str(axes)
    if len(axes) == 1:
        return "-1" if axes[0] == rank - 1 else str(axes[0])
    return str(list(axes))


def _affine(mine: Op, theirs: Op, roles: frozenset[str]) -> str | None:
    if not is_layer(mine):
        return None
    given = {}
    for role, (word, own) in AFFINE.items():
        if role in roles and (role in theirs.weights) != bool(set(own) & set(mine.weights)):
            given[word] = role in theirs.weights
    return f"{arguments(given)} in {named(mine)}" if given else None


def other(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that puts torch's normalisation in the place of another one of Keras's."""
    layer = written(scene, mine, theirs)
    return None if layer is None or not of_layers(scene) else f"{layer} in place of {named(mine)}"


def written(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return torch's normalisation as a layer of Keras."""
    config, rank = theirs.config, len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    given: dict[str, Any] = {}
    if config.get("eps") is not None and not same(config["eps"], 1e-3):
        given["epsilon"] = config["eps"]
    if theirs.kind != "rms_norm":
        given |= {word: False for role, (word, _) in AFFINE.items() if role not in theirs.weights}
    text = arguments(given)
    if theirs.kind in ("group_norm", "instance_norm"):
        groups = -1 if theirs.kind == "instance_norm" else int(config.get("groups") or 1)
        return f"layers.GroupNormalization({', '.join(one for one in (f'groups={groups}', text) if one)})"
    kinds = {"layer_norm": "LayerNormalization", "batch_norm": "BatchNormalization", "rms_norm": "RMSNormalization"}
    axes = config.get("axes") if theirs.kind != "batch_norm" else config.get("axis", 1)
    found = axes_there(scene, mine, theirs, axes) if axes is not None else None
    if found is None:
        return None
    shown = _shown(found, rank)
    own = [] if shown == "-1" else [f"axis={shown}"]
    return f"layers.{kinds[theirs.kind]}({', '.join([*own, *([text] if text else [])])})"


def of_axis(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line of a softmax, a sum or a concatenation that goes along another axis in torch."""
    key = "axes" if "axes" in theirs.config else "axis"
    given = theirs.config.get(key)
    if given is None:
        return None
    found = (
        axes_there(scene, mine, theirs, given)
        if isinstance(given, list)
        else axis_there(scene, mine, theirs, int(given))
    )
    return (
        None
        if found is None
        else f"axis={exact(found[0] if isinstance(found, list) and len(found) == 1 else found)} in {named(mine)}"
    )
