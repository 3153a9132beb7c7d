"""Pair layers of the two frameworks by name, and say which have no partner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parity.errors import PairingError


@dataclass(frozen=True)
class LayerPairing:
    """The layers that both sides have, in TensorFlow's order, and those that only one side has."""

    paired: tuple[str, ...]
    only_tensorflow: tuple[str, ...]
    only_torch: tuple[str, ...]


def pair_layers(tensorflow: Sequence[str], torch: Sequence[str]) -> LayerPairing:
    """Return which of the named layers correspond.

    Raises
        PairingError: a name stands twice on one side, or nothing pairs at all.
    """
    for side, names in (("tensorflow", tensorflow), ("torch", torch)):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise PairingError(f"{side} has two layers named `{twice[0]}`; give each layer a name of its own")
    known = set(torch)
    paired = tuple(name for name in tensorflow if name in known)
    if not paired:
        raise PairingError(f"no layer pairs: tensorflow has {list(tensorflow)}, torch has {list(torch)}")
    return LayerPairing(
        paired,
        tuple(name for name in tensorflow if name not in known),
        tuple(name for name in torch if name not in set(tensorflow)),
    )
