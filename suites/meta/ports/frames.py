"""Frames of a clip that torch's code takes one by one, and Keras's as one long batch."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_CLIP = "3x4x6x2"
_port = partial(paired, family="frames")

FRAMES = (
    _port("flattened", "flattened", _CLIP),
    _port("flattened", "flattened_channels_last", _CLIP),
    _port("flattened", "flattened_with_relu", _CLIP, "activation-extra", ("*", "relu*")),
    _port("flattened", "flattened_back_to_front", _CLIP, "channel-order"),
)
