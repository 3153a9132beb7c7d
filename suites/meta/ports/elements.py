"""Weights for each element, convolutions of unfolded patches, kernels scaled for each sample."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Source, paired

_IMAGE, _CUBE, _PATCHES, _STYLE = "9x7x6", "10x10x6", "11x9x3", "4x4x8 8"
_port = partial(paired, family="elements")
_RESIZED = tuple(Source((name,), ("*",), ("resize-coordinates",)) for name in ("up", "up_image"))

ELEMENTS = (
    _port("slopes", "slopes_permuted", _IMAGE),
    _port("slopes", "slopes_of_two_relus", _IMAGE),
    _port("slopes_of_a_cube", "slopes_of_a_cube", _CUBE),
    _port("slopes_of_a_cube", "slopes_of_a_cube_permuted", _CUBE),
    _port("norm_of_a_cube", "norm_of_a_cube", _CUBE),
    _port("added", "added", _CUBE),
    _port("added", "added_permuted", _CUBE),
    _port("added", "added_to_the_last", _CUBE),
    _port("taken_from", "taken_from", _CUBE),
    _port("taken_from", "taken_from_permuted", _CUBE),
    _port("taken_from", "taken_away", _CUBE, "operand-order"),
    _port("multiplied", "multiplied", _CUBE),
    _port("multiplied", "multiplied_turned", _CUBE, "unknown", ("table/*", "mul")),
    _port("convolution", "unfolded", _PATCHES),
    _port("convolution", "unfolded_and_folded", _PATCHES),
    _port("convolution", "unfolded_channels_last", _PATCHES, "unknown", ("conv", "*")),
    _port("convolution", "patches", _PATCHES),
    _port("patches", "patches", _PATCHES),
    _port("patches", "unfolded", _PATCHES),
    _port("patches", "patches_dilated", _PATCHES, "unknown", ("patches/*", "unfold")),
    _port("generator", "generator", _STYLE),
    replace(_port("generator", "generator_of_corners", _STYLE), verdict="different", sources=_RESIZED),
    _port("generator", "generator_of_eps", _STYLE, "l2-normalize-eps", ("conv_1/*", "convs.1.*")),
)
