"""Numbers that a formula gave and code keeps in float32: the root of a head's size, as NumPy's or as a tensor."""

from __future__ import annotations

from functools import partial
from itertools import product

from suites.meta.ports.case import paired

_port = partial(paired, inputs="7x12", family="singles")
_TENSORFLOW = ("number", "single", "array")
_TORCH = ("number", "single", "buffer", "tensor")

SINGLES = (
    *(_port(mine, theirs) for mine, theirs in product(_TENSORFLOW, _TORCH)),
    *(_port(mine, "another_number", cause="residual-scale", place=("*", "div")) for mine in _TENSORFLOW),
    *(_port(mine, f"bent_by_{n}_digits") for mine in ("bent", "bent_by_digits") for n in ("eight", "ten")),
    _port("bent", "bent_by_four_digits", cause="gelu-approximation"),
    _port("single", "another_single", cause="residual-scale", place=("*", "div")),
)
