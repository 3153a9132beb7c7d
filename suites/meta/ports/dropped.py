"""Dropout and noise that only one side has in training, which no check compares: it is told, and no more than that."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="dropped", options=("--train",))
_OTHERS = "in training the models have different ones: TensorFlow "

DROPPED = (
    _port("dense", "dense", "8"),
    _port("dense", "dense_called", "8"),
    _port("dense", "dense_by_half", "8", says=(f"{_OTHERS}`dropout` 0.3 and PyTorch `drop` 0.5",)),
    _port("dense", "dense_undropped", "8", says=(f"{_OTHERS}`dropout` 0.3 and PyTorch none",)),
    _port("attention", "attention", "6x8"),  # which drops by itself: nothing is told
    _port("noisy", "dense_undropped", "8", says=(f"{_OTHERS}`gaussian_noise` 0.5 and PyTorch none",)),
)
