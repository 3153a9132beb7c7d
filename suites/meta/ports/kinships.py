"""Pairs of one function that sizes alone would take for two, and faults whose line must be one that can be typed."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="kinships")

KINSHIPS = (
    _port("two_heads", inputs="3x4x2"),
    _port("two_heads", "two_heads_channels_last", "3x4x2"),
    _port("four_of_four", inputs="7x16"),
    _port(
        "four_of_four", "four_of_four_unscaled", "7x16", "attention-scale-or-heads",
        ("*", "scaled_dot_product_attention"),
    ),
    _port("gated", inputs="6"),
    _port("mirrored", inputs="9x11x3"),
    _port(
        "mirrored", "mirrored_by_edges", "9x11x3", "padding-mode", ("around*", "first"),
        says=('padding_mode="reflect" in `first`',),
    ),
    _port(
        "mirrored", "mirrored_with_a_bias", "9x11x3", "bias-missing-or-doubled", ("second", "*conv2d"),
        says=("bias=None in `",),
    ),
    _port("centred", inputs="6"),
    _port(
        "centred", "centred_by_the_batch", "6", "axis-mismatch", ("mean", "mean"),
        says=("dim=(1,), keepdim=True in `mean`",),
    ),
    _port(
        "centred", "centred_by_the_batch", "6", "axis-mismatch", ("mean", "mean"),
        options=("--weights", "torch-to-tf"), says=("axis=(0, 1) in `mean`",),
    ),
)  # fmt: skip
