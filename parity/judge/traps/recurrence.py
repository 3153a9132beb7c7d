"""Recurrent layers: how the gates are computed, and which axis is time. The order of gates is a matter of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from parity.judge.traps.remedy import UNKNOWN, Remedy, called, change, replace
from parity.judge.traps.scene import Scene, leading_to
from parity.model.layout import Array
from parity.model.trace import Op

IDS = ("gru-reset-after", "recurrent-last-step")
STATES: Mapping[str, int] = {"lstm": 2, "gru": 1, "rnn": 1}
RECURRENT = tuple(STATES)
POOLED = ("reduce", "global_avg_pool", "global_max_pool")
MERGES = ("add", "subtract", "multiply", "average", "maximum", "minimum")
# What Keras's Bidirectional does with its two directions, and how that is written.
MERGED: Mapping[str, tuple[str, str]] = {
    "sum": ("add", "a + b"), "ave": ("average", "(a + b) / 2"), "mul": ("multiply", "a * b"),
}  # fmt: skip
DEFAULTS: Mapping[str, str] = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in RECURRENT:
            yield from _reset(scene, mine, theirs)
            yield from _functions(mine, theirs)
            yield from _axes(mine, theirs)
            yield from _handed_on(scene, mine, theirs)
            yield from _initial(scene, mine, theirs)
            yield from _both_ways(scene, mine, theirs)
            yield from _bias(scene, mine, theirs)


def _reset(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if mine.kind != "gru" or mine.config.get("reset_after", True) == theirs.config.get("reset_after", True):
        return
    wanted = bool(mine.config.get("reset_after", True))
    weights: dict[str, Array] = dict(scene.carried) if theirs is scene.torch else {}
    fix = (
        f"no nn.GRU computes this: write `{theirs.name}` as a loop with n = tanh(W x + b + U (r * h)), or train"
        " TensorFlow's with reset_after=True"
    )
    if wanted:  # torch's is somebody's own code, for its layers all have it there
        fix = f"n = tanh(W x + b + r * (U h + c)) in `{theirs.name}`: the reset gate after the product, with its bias"
        if theirs is scene.torch and not any("bias" in role for role in weights):  # one bias has no room for two
            weights |= _in_torch_order(mine, scene.tensorflow_weights)
    says = f"with the reset gate {'after' if wanted else 'before'} the product"
    yield change(theirs, "gru-reset-after", says, fix, {"reset_after": wanted}, weights)


def _functions(mine: Op, theirs: Op) -> Iterator[Remedy]:
    for key, usual in DEFAULTS.items():
        if mine.kind == "rnn" and key == "recurrent_activation":
            continue
        wanted, held = (str(op.config.get(key) or usual) for op in (mine, theirs))
        if wanted == held:
            continue
        trap = "hard-sigmoid-slope" if "hard_sigmoid" in (wanted, held) else "activation-missing"
        if written_out(theirs):
            fix = f"{wanted} in place of {held} in `{theirs.name}`"
        elif mine.kind == "rnn":
            fix = f'nonlinearity="{wanted}" in `{theirs.name}`'
        else:
            layer = f"nn.{mine.kind.upper()}"
            fix = f"{layer} has no {wanted}: write `{theirs.name}` as a loop, or use {held} in TensorFlow"
        yield change(theirs, trap, f"with {wanted} as {key.replace('_', ' ')}", fix, {key: wanted})


def written_out(op: Op) -> bool:
    """Return whether a cell is somebody's own code, and no layer of the framework."""
    return bool(op.config.get("cell")) and not op.made_by.startswith("torch.nn.")


def _axes(mine: Op, theirs: Op) -> Iterator[Remedy]:
    if mine.config.get("go_backwards", False) != theirs.config.get("go_backwards", False):
        fix = f"x = x.flip(1) before `{theirs.name}`"
        wanted = bool(mine.config.get("go_backwards", False))
        yield change(theirs, "axis-mismatch", "with time running backwards", fix, {"go_backwards": wanted})
    if theirs.config.get("batch_first") is False:
        fix = f"batch_first=True in `{theirs.name}`"
        yield change(theirs, "axis-mismatch", "with batch_first=True", fix, {"batch_first": True})


def _handed_on(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield what else of a sequence may be handed on: the backward direction ends at the first step, not at the last.

    Whichever step, or mean of steps, is taken behind the layer: where each one holds the last state, that comes out.
    """
    trap, name = "recurrent-last-step", theirs.name
    wanted, held = (op.config.get("sequences") for op in (mine, theirs))
    both = bool(mine.config.get("bidirectional") and theirs.config.get("bidirectional"))
    states = "the last state of each direction" if both else "the last state"
    if scene.wanted in theirs.outputs:
        if None not in (wanted, held) and wanted != held:
            said = "the whole sequence" if wanted else f"{states} (h_n), not the last step"
            yield change(theirs, trap, f"with {said}", f"return {said} of `{name}`", {"sequences": wanted})
        return
    if wanted is False and held is not False:
        fix = "torch.cat([h_n[-2], h_n[-1]], 1)" if both else "h_n[-1]"
        whole = next((op for op in scene.torch_ops if op.index > theirs.index and op.kind in POOLED), None)
        what = f"what `{whole.name}` makes of its sequence" if whole is not None else "a step of its sequence"
        line = f"take {fix} of `{name}` in place of {what}"
        says = f"with {states} in place of {what.replace('its', 'the')}"
        yield change(theirs, trap, says, line, {"handed": "states"})
    if theirs.kind == "lstm" and wanted is False:
        line = f"take the first, h_n, of the two states (h_n, c_n) of `{name}`"
        yield change(theirs, trap, "with the output h_n in place of the cell's state c_n", line, {"handed": "outputs"})


def _initial(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield what else a layer may start from: its two states exchanged, those of TensorFlow's layer, or zeros."""
    held, count = list(theirs.inputs[1:]), STATES[mine.kind] * (2 if mine.config.get("bidirectional") else 1)
    if mine.kind == "lstm" and len(held) == 2:
        fix = f"hand `{theirs.name}` its initial states in the other order: (h, c)"
        one = change(theirs, "operand-order", "with its two initial states exchanged", fix, {})
        yield _reading(one, theirs, [theirs.inputs[0], *held[::-1]])
    if len(mine.inputs) == 1 and len(held) == count:
        fix = f"no initial states for `{theirs.name}`: TensorFlow's layer starts from zeros"
        yield _reading(change(theirs, UNKNOWN, "with zeros to start from", fix, {}), theirs, list(theirs.inputs[:1]))
    given = [array for tensor in mine.inputs[1:] if (array := scene.fed_tensorflow.get(tensor)) is not None]
    fits = len(given) == count == len(mine.inputs) - 1 and all(array.shape == given[0].shape for array in given)
    if theirs is scene.torch and fits and given[0].ndim == 2:
        makers = scene.tensorflow_trace.producers()
        names = dict.fromkeys(f"`{makers[tensor].name}`" for tensor in mine.inputs[1:] if tensor in makers)
        what = "(h, c)" if mine.kind == "lstm" else "h"
        fix = f"start `{theirs.name}` from {what} of TensorFlow's {' and '.join(names) or 'inputs'}"
        states = {f"initial_{number}": array for number, array in enumerate(given)}
        yield change(theirs, UNKNOWN, "with the initial states of TensorFlow's layer", fix, weights=states, cost=1.5)


def _both_ways(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for two directions that are put together otherwise: Keras's layer does that itself."""
    kind, written = MERGED.get(str(mine.config.get("merge")), ("", ""))
    last = next((op for op in scene.torch_ops if scene.wanted in op.outputs), None)
    if not kind or last is None or last.kind == kind or last.kind not in MERGES or len(last.inputs) != 2:
        return
    if theirs not in leading_to(scene.torch_ops, last.inputs):
        return
    trap = "residual-scale" if {kind, last.kind} == {"add", "average"} else UNKNOWN
    says = f"with the two directions, a and b, put together as {written}"
    fix = f"{written} of the two directions, a and b, in place of `{last.name}`"
    yield called(replace(last, trap, says, fix, kind, {}, cost=1.3), mine.name, last.name)


def _reading(remedy: Remedy, op: Op, inputs: list[int]) -> Remedy:
    """Return a remedy of one operation that reads other tensors, too."""
    edits = tuple({**edit, "inputs": inputs} for edit in remedy.edits)
    return dataclasses.replace(remedy, edits=edits, keys=frozenset({f"{op.index}:inputs"}))


def _bias(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if theirs is not scene.torch:
        return
    missing = {
        role: array for role, array in scene.carried.items() if "bias" in role and role not in scene.torch_weights
    }
    if not any("bias" in role for role in (*scene.torch_weights, *scene.carried)):
        missing = _in_torch_order(mine, scene.tensorflow_weights)
    if missing:
        yield change(
            theirs,
            "bias-missing-or-doubled",
            "with TensorFlow's bias",
            f"bias=True in `{theirs.name}`",
            {"bias": True},
            missing,
        )
    if mine.config.get("bias", True) is False:
        surplus = {role: 0.0 * array for role, array in scene.torch_weights.items() if "bias" in role}
        if surplus:
            yield change(
                theirs, "bias-missing-or-doubled", "without a bias", f"bias=False in `{theirs.name}`", weights=surplus
            )


def _in_torch_order(mine: Op, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the biases of TensorFlow's layer under the roles, and with the gates in the order, of torch's."""
    found: dict[str, Array] = {}
    for role, bias in weights.items():
        if not role.endswith("bias"):
            continue
        suffix = "_reverse" if role.startswith("backward_") else ""
        if mine.kind == "gru":
            update, reset, new = np.split(bias, 3, axis=-1)
            found[f"biases_l0{suffix}"] = np.concatenate([reset, update, new], axis=-1)
        else:
            found[f"bias_ih_l0{suffix}"] = bias
    return found
