"""The line that mends a port in Keras's code, where torch's model is the one that was ported.

A remedy is made in torch's twin whichever of the two is the port. What it changes there is what Keras's code has to
change the other way round: torch's own values are the ones to take, what only torch has is missing in Keras, and what
only TensorFlow has is too much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parity.judge.traps import (
    keras_activations,
    keras_moves,
    keras_norms,
    keras_numbers,
    keras_recurrent,
    keras_resize,
    keras_windows,
)
from parity.judge.traps.keras_places import partner
from parity.judge.traps.keras_words import is_layer, named
from parity.judge.traps.remedy import Edit, Remedy
from parity.judge.traps.scene import SELECTS, Scene, same
from parity.model.trace import Op

NORMS, RECURRENT = keras_norms.NORMS, keras_recurrent.RECURRENT
LAYERS = ("conv", "conv_transpose", "depthwise_conv", "dense")
AXES = frozenset({"softmax", "concat", "stack", "reduce", "argmax"})
ATTENTION = keras_recurrent.ATTENTION


def in_keras(scene: Scene, remedy: Remedy) -> str | None:
    """Return the line of Keras's code that does what a remedy undoes in torch's; None where none is known."""
    if remedy.in_keras is not None:
        return remedy.in_keras(scene)
    edits = _told(scene, remedy)
    whole = keras_numbers.pipeline(scene, edits) if len(edits) > 1 else None
    lines = [whole] if whole else [_of_edit(scene, remedy, edit) for edit in edits]
    if not lines or None in lines:
        return None
    return "; ".join(dict.fromkeys(line for line in lines if line)) or None


def _told(scene: Scene, remedy: Remedy) -> Sequence[Edit]:
    """Return the edits that a line has to tell: padding that goes with a window is told with it."""
    edits = [edit for edit in remedy.edits if "insert" in edit or "op" in edit]
    ops = {op.index: op for op in scene.torch_ops}
    windows = [edit for edit in edits if "config" in edit and _is_window(ops.get(int(edit.get("op", -1))))]
    if windows:
        return windows[:1]
    changed = [edit for edit in edits if not edit.get("skip") and "insert" not in edit]
    if not changed and remedy.trap == "activation-extra" and len(edits) > 1:  # written out: the last is told for all
        return edits[-1:]
    # Steps that are left out beside one that is replaced were written out: these are told as one.
    return changed[:1] if changed else edits


def _is_window(op: Op | None) -> bool:
    return op is not None and op.kind in (*keras_windows.CONVOLUTIONS, *keras_windows.POOLS, "conv_transpose")


def _of_edit(scene: Scene, remedy: Remedy, edit: Edit) -> str | None:
    if "insert" in edit:
        return _of_insert(scene, remedy, edit)
    theirs = next((op for op in scene.torch_ops if op.index == int(edit["op"])), None)
    if theirs is None:
        return None
    if edit.get("skip"):
        return _of_skip(scene, remedy, theirs)
    mine, named_ = partner(scene, theirs), _by_name(scene, remedy)
    mine = named_ if named_ is not None and named_.name != (mine or named_).name else mine or named_
    if mine is None:
        return None
    changed = {key: value for key, value in edit["config"].items() if not same(value, theirs.config.get(key))}
    if "changes" in edit:
        changed |= edit["changes"]
    if edit["kind"] != theirs.kind and mine.kind != theirs.kind:
        return _replaced(scene, mine, theirs)
    return _changed(scene, remedy, mine, theirs, changed, edit)


def _by_name(scene: Scene, remedy: Remedy) -> Op | None:
    name = (remedy.named or (None, None))[0]
    return next((op for op in scene.tensorflow_ops if op.name == name), None)


Line = Callable[[], str | None]


def _changed(
    scene: Scene, remedy: Remedy, mine: Op, theirs: Op, changed: Mapping[str, Any], edit: Edit
) -> str | None:  # fmt: skip
    """Return the line for two operations of one kind, or family, that are set otherwise."""
    kind, roles = theirs.kind, frozenset(edit.get("weights") or ())
    if kind in LAYERS and mine.kind in LAYERS and remedy.trap == "bias-missing-or-doubled":
        return f"use_bias={'bias' in theirs.weights} in {named(mine)}" if is_layer(mine) else None
    mains = [op for op in (scene.tensorflow, scene.torch) if op is not None]
    ways: list[tuple[bool, Line]] = [
        (kind == "zero_pad" and mine.kind != kind and len(mains) == 2 and all(map(_is_window, mains)),
         lambda: keras_windows.line(scene, mains[0], mains[1])),
        (kind in NORMS and mine.kind in NORMS, lambda: keras_norms.line(scene, mine, theirs, changed, roles)),
        (kind == "conv_transpose", lambda: keras_windows.crops(scene, mine, theirs)),
        (_is_window(theirs) and _is_window(mine) and _alike(mine, theirs),
         lambda: keras_windows.line(scene, mine, theirs)),
        (kind == mine.kind == "zero_pad", lambda: keras_windows.of_padding(mine, theirs)),
        (kind in RECURRENT, lambda: keras_recurrent.line(scene, mine, theirs, remedy, changed)),
        (kind in ATTENTION, lambda: keras_recurrent.attention(scene, mine, theirs, changed)),
        (kind == mine.kind == "resize", lambda: keras_resize.line(scene, mine, theirs)),
        (kind in ("depth_to_space", "space_to_depth"), lambda: keras_moves.shuffle(scene, mine, theirs)),
        ("order" in changed, lambda: keras_moves.inputs(mine, changed["order"])),
        (kind in AXES and kind == mine.kind and bool({"axis", "axes"} & set(changed)),
         lambda: keras_norms.of_axis(scene, mine, theirs)),
        (kind in ("l2_normalize", "cosine_similarity"), lambda: keras_numbers.length(scene, mine, theirs)),
        (kind == "embedding", lambda: keras_numbers.padding_row(mine, theirs)),
        ("alpha" in changed and kind in keras_moves.SUMS, lambda: keras_moves.alpha(mine, theirs)),
    ]  # fmt: skip
    for applies, line in ways:
        if applies:
            return line()
    return _replaced(scene, mine, theirs)


def _alike(mine: Op, theirs: Op) -> bool:
    convolutions = keras_windows.CONVOLUTIONS
    return mine.kind == theirs.kind or (mine.kind in convolutions and theirs.kind in convolutions)


def _replaced(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that puts what torch does in the place of what Keras's code does."""
    if mine.kind in ("activation", "softmax") and theirs.kind not in ("activation", "softmax", "prelu"):
        return keras_activations.spelt_out(scene, mine, theirs)
    if theirs.kind in NORMS and mine.kind in NORMS:
        return keras_norms.other(scene, mine, theirs)
    if theirs.kind in ("activation", "softmax", "prelu"):
        return keras_activations.instead(scene, mine, theirs)
    return keras_numbers.instead(scene, mine, theirs) or keras_moves.instead(scene, mine, theirs)


def _of_skip(scene: Scene, remedy: Remedy, theirs: Op) -> str | None:
    """Return the line that adds to Keras's code what only torch has."""
    if remedy.trap == "activation-extra" and len(remedy.edits) > 1:
        return keras_activations.spelt_out(scene, None, theirs)
    if theirs.kind in ("activation", "softmax"):
        return keras_activations.added(scene, theirs)
    if "dropout" in theirs.kind:
        return keras_moves.dropped(scene, theirs)
    if theirs.kind.removeprefix("op:") in SELECTS:
        return keras_moves.chosen(scene, theirs)
    if theirs.effect == "moves":
        return None
    return keras_numbers.added(scene, remedy, theirs)


def _of_insert(scene: Scene, remedy: Remedy, edit: Edit) -> str | None:
    """Return the line that takes out of Keras's code what only it has, or that undoes what is done there."""
    if remedy.trap == "flatten-order":
        return keras_moves.flattened(scene, remedy, edit)
    mine = _only_there(scene, remedy, edit)
    if mine is not None:
        return keras_activations.removed(mine) if mine.kind in ("activation", "softmax") else f"remove {named(mine)}"
    if remedy.trap == "bias-missing-or-doubled" and scene.tensorflow is not None:
        return keras_numbers.bias(scene.tensorflow)
    if edit["kind"] == "gather":
        return keras_moves.reordered(scene, edit)
    return keras_numbers.undone(scene, remedy, edit)


def _only_there(scene: Scene, remedy: Remedy, edit: Edit) -> Op | None:
    """Return the operation of TensorFlow's alone that a remedy passes torch's tensor through."""
    found = [op for op in scene.extra_tensorflow if op.kind == edit["kind"]]
    name = (remedy.named or (None, None))[0]
    told = [op for op in found if op.name == name or op.index == edit.get("order")]
    if remedy.trap == "embedding-offset":
        told = [op for op in found if op.config.get("offset") == edit["config"].get("offset")]
    return told[0] if told else None
