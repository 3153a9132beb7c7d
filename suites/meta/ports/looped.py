"""Loops of fewer whole steps than the layer makes: which step is not whole, or how many there are."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="looped", inputs="5x4")
_wrong = partial(_port, cause="unknown", place=("lstm", "gates"))

LOOPED = (
    _port("lstm", "lstm"),
    _wrong(
        "lstm", "lstm_handing_on_its_state",
        says=("of the last one of `gates` the state c is read", "hand on h of the last step of `gates`, not c"),
    ),
    _wrong(
        "lstm", "lstm_of_a_step_too_few",
        says=("`lstm` makes 5 steps, the loop of `gates` 4", "as many steps of `gates` as of `lstm`"),
    ),
)  # fmt: skip
