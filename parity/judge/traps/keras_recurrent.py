"""Recurrent layers and attention as Keras's code has them, of a layer that is to be torch's."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from parity.judge.traps.keras_words import arguments, exact, is_layer, layer_class, named
from parity.judge.traps.remedy import Remedy
from parity.judge.traps.scene import SELECTS, Scene
from parity.model.constants import MASK, unpacked
from parity.model.trace import Op

RECURRENT = ("lstm", "gru", "rnn")
MERGED = {"add": "sum", "average": "ave", "multiply": "mul", "concat": "concat"}
POOLED = {"mean": "mean", "max": "max", "sum": "sum", "global_avg_pool": "mean", "global_max_pool": "max"}
ATTENTION = ("attention", "sdpa", "op:Attention", "op:AdditiveAttention")
WORDS = ("activation", "recurrent_activation", "reset_after", "go_backwards", "bias")


def line(scene: Scene, mine: Op, theirs: Op, remedy: Remedy, changed: Mapping[str, Any]) -> str | None:
    """Return the line that gives a recurrent layer of Keras what torch's has under the keys that a remedy changes."""
    inside = f"the layer inside {named(mine)}" if layer_class(mine) == "Bidirectional" else named(mine)
    if changed.get("batch_first") is True:
        turned = "x = keras.ops.transpose(x, (1, 0, 2))"
        return f"{turned} before {named(mine)}, and the same after it: torch's takes the first axis for the steps"
    if "handed" in changed or "sequences" in changed:
        return _handed(scene, mine, theirs, changed, inside)
    given = {key: _held(theirs, key) for key in WORDS if key in changed or (key == "bias" and _biased(remedy))}
    if not given or None in given.values():
        return None
    if not is_layer(mine):
        told = [f"{value} in place of {_held(mine, key)}" for key, value in given.items() if "activation" in key]
        return f"{' and '.join(told)} in {named(mine)}" if len(told) == len(given) else None
    words = {{"bias": "use_bias"}.get(key, key): value for key, value in given.items()}
    return f"{arguments(words)} in {inside}"


def _biased(remedy: Remedy) -> bool:
    return remedy.trap == "bias-missing-or-doubled"


def _held(op: Op, key: str) -> Any:
    usual = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True, "go_backwards": False}
    if key == "bias":
        return any("bias" in role for role in op.weights)
    return op.config.get(key) if op.config.get(key) is not None else usual[key]


def _handed(scene: Scene, mine: Op, theirs: Op, changed: Mapping[str, Any], inside: str) -> str | None:
    """Return the line that hands on what torch does: the sequence, one step of it, a mean of all, or c."""
    name = named(mine)
    if not is_layer(mine):
        return None
    if changed.get("handed") == "outputs":
        return f"return_state=True in {inside}, and take the last, c, of what {name} returns"
    if "sequences" in changed:
        return f"return_sequences={not changed['sequences']} in {inside}"
    behind = [op for op in scene.torch_ops if op.index > theirs.index]
    whole = next((op for op in behind if op.kind in ("reduce", *POOLED)), None)
    if whole is not None:
        function = POOLED.get(whole.kind) or POOLED.get(str(whole.config.get("function")))
        return function and f"return_sequences=True in {inside}, and x = keras.ops.{function}(x, axis=1) after {name}"
    taken = next((op for op in behind if op.kind.removeprefix("op:") in SELECTS), None)
    text = str(taken.config.get("text", "")) if taken is not None else ""
    steps = text.replace(" ", "").removeprefix(":,").partition(",")[0]
    if not steps.lstrip("-").isdigit():
        return None
    return f"return_sequences=True in {inside}, and x = x[:, {steps}] after {name}"


def merged(mine: Op, last: Op) -> str | None:
    """Return the line that puts the two directions together as torch's code does."""
    word = MERGED.get(last.kind)
    return f'merge_mode="{word}" in {named(mine)}' if word and layer_class(mine) == "Bidirectional" else None


def attention(scene: Scene, mine: Op, theirs: Op, changed: Mapping[str, Any]) -> str | None:
    """Return the line that gives an attention of Keras what torch's has."""
    if mine.kind not in ATTENTION:
        return _written_out(scene, theirs, changed)
    name, called = named(mine), f"the call of {named(mine)}"
    multi = layer_class(mine) == "MultiHeadAttention"
    if "mask_form" in changed and "causal" not in changed:
        return f"attention_mask=~mask in {called}: torch's mask means the reverse there" if multi else None
    if "causal" in changed and "mask_form" not in changed and is_layer(mine):
        return f"use_causal_mask={bool(theirs.config.get('causal'))} in {called}"
    if "mask_form" in changed:
        if theirs.config.get("causal") and not theirs.config.get("has_mask") and is_layer(mine):
            return f"use_causal_mask=True in {called}"
        if not theirs.config.get("has_mask") and multi:
            word = "use_causal_mask=False" if mine.config.get("causal") else "attention_mask=None"
            return f"{word} in {called}"
        if _is_causal(theirs) and is_layer(mine):
            return f"use_causal_mask=True in {called}"
        return f"an attention_mask of what torch's mask lets attend in {called}" if multi else None
    if "heads" in changed and multi:
        heads = int(theirs.config.get("heads") or 1)
        size = int(mine.config.get("heads") or 1) * int(mine.config.get("key_dim") or 0) // heads
        return f"num_heads={heads}, key_dim={size} in {name}"
    return None if "scale" not in changed else _scale(mine, theirs, multi)


def _is_causal(theirs: Op) -> bool:
    """Return whether torch's mask is one of the code that blocks what comes later."""
    if MASK not in theirs.config:
        return False
    mask = np.asarray(unpacked(theirs.config[MASK]))
    later = np.triu(np.ones(mask.shape[-2:], bool), 1) if mask.ndim >= 2 else np.zeros(0, bool)
    blocked = mask.astype(bool) if mask.dtype == bool else mask < 0
    return mask.ndim == 2 and np.array_equal(blocked, later)


def _scale(mine: Op, theirs: Op, multi: bool) -> str | None:
    size = theirs.config.get("key_dim")
    wanted = theirs.config.get("scale")
    wanted = 1.0 / sqrt(size) if wanted is None and size else wanted
    if wanted is None or multi:
        return None
    if layer_class(mine) == "dot_product_attention":
        return f"scale={exact(float(wanted))} in {named(mine)}"
    return None


def _written_out(scene: Scene, theirs: Op, changed: Mapping[str, Any]) -> str | None:
    """Return the line of an attention that Keras's code writes out: what is done to its scores before the softmax."""
    shares = [op for op in scene.tensorflow_ops if op.kind == "softmax"]
    if len(shares) != 1:
        return None
    before = f"before {named(shares[0])}"
    if "causal" in changed:
        return f"{'scores of later places masked' if theirs.config.get('causal') else 'no causal mask'} {before}"
    size = scene.shapes.get(theirs.inputs[0], (0,))[-1]
    wanted = theirs.config.get("scale")
    wanted = 1.0 / sqrt(size) if wanted is None and size else wanted
    if "scale" not in changed or wanted is None or "heads" in changed or "mask_form" in changed:
        return None
    return f"{exact(float(wanted))} in place of {exact(float(changed['scale']))} as the factor of the scores {before}"
