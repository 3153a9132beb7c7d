"""Channels moved to places by one call on one side and by reshapes on the other, and channels that are repeated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import paired

_IMAGE = "4x6x3"
_port = partial(paired, family="spread")

SPREAD = (
    _port("rows", "rows", _IMAGE),
    _port("rows", "rows_by_channel", _IMAGE),
    _port("rows", "rows_of_other_blocks", _IMAGE, "pixel-shuffle-order"),
    _port("row_by_row", "row_by_row", _IMAGE),
    _port("flattened", "flattened", _IMAGE),
    _port("flattened", "flattened_of_other_blocks", _IMAGE, "output-permutation"),
    _port("gated", "gated", _IMAGE),
    # The gates of single elements were carried in the order that the fault gives to the images that they are of.
    replace(
        _port("gated", "gated_in_turn", _IMAGE, "output-permutation", ("repeat*", "repeat")), tolerated=("unknown",)
    ),
    _port("repeated", "repeated", _IMAGE),
    _port("repeated", "repeated_in_turn", _IMAGE, "output-permutation", ("repeat*", "repeat")),
    _port("convolved", "convolved", _IMAGE),
    _port("convolved", "convolved_of_other_blocks", _IMAGE, "pixel-shuffle-order", ("smaller*", "reshape*")),
)
