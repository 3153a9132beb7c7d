"""A skip connection that the port left out, where one of the two models pads before the convolution that reads it."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="forgotten", inputs="10x8x6")
_FIX = "add the input and `project`, as TensorFlow's `joined` does (a residual connection), before `after`"
_lost = partial(_port, cause="unknown", place=("joined", "after"), says=(_FIX,))

FORGOTTEN = (
    _port("same", "padded"),
    _port("padded", "symmetric"),
    _lost("same", "padded_without_skip"),
    _lost("same", "padded_without_skip", options=("--train",)),
    _lost("padded", "symmetric_without_skip"),
)
