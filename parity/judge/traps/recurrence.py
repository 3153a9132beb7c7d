"""Recurrent layers: how the gates are computed, and which axis is time. The order of gates is a matter of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from parity.judge.traps.remedy import Remedy, change
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import Op

IDS = ("gru-reset-after",)
RECURRENT = ("lstm", "gru", "rnn")
DEFAULTS: Mapping[str, str] = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind and mine.kind in RECURRENT:
            yield from _reset(scene, mine, theirs)
            yield from _functions(mine, theirs)
            yield from _axes(scene, mine, theirs)
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
        fix = (
            f'nonlinearity="{wanted}" in `{theirs.name}`'
            if mine.kind == "rnn"
            else (
                f"nn.{mine.kind.upper()} has no {wanted}: write `{theirs.name}` as a loop, or use {held} in TensorFlow"
            )
        )
        yield change(theirs, trap, f"with {wanted} as {key.replace('_', ' ')}", fix, {key: wanted})


def _axes(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if mine.config.get("go_backwards", False) != theirs.config.get("go_backwards", False):
        fix = f"x = x.flip(1) before `{theirs.name}`"
        wanted = bool(mine.config.get("go_backwards", False))
        yield change(theirs, "axis-mismatch", "with time running backwards", fix, {"go_backwards": wanted})
    if theirs.config.get("batch_first") is False:
        fix = f"batch_first=True in `{theirs.name}`"
        yield change(theirs, "axis-mismatch", "with batch_first=True", fix, {"batch_first": True})
    sequences = [op.config.get("sequences") for op in (mine, theirs)]
    if None not in sequences and sequences[0] != sequences[1] and scene.wanted in theirs.outputs:
        said = "the whole sequence" if sequences[0] else "the last state of each direction (h_n), not the last step"
        yield change(
            theirs, "unknown", f"with {said}", f"return {said} of `{theirs.name}`", {"sequences": sequences[0]}
        )


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
