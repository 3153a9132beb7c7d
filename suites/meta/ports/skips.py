"""Residuals and skips that are two convolutions on one side and one on the other, which nobody wholly reads."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="skips", inputs="11x3")

SKIPS = (
    _port("stack", "split"),
    _port("stack", "slices"),
    _port("stack", "slices", options=("--weights", "torch-to-tf")),
    _port("stack_of_one_size", "chunks"),
    _port("stack_together", "apart"),
    _port("stack", "slices_without_relu", cause="activation-missing", place=("relu", "*")),
    _port("stack", "slices_without_the_first_tanh", cause="activation-missing", place=("wide0", "wide.0")),
)
