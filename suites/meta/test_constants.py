"""Numbers in a model's code: which one a formula had."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.model.constants import written


@pytest.mark.parametrize(
    ("number", "formula"),
    [
        (0.79788456, math.sqrt(2 / math.pi)),
        (0.7978845608, math.sqrt(2 / math.pi)),
        (-3.14159265, -math.pi),
        (0.7071067812, 1 / math.sqrt(2)),
        (1.41421356, math.sqrt(2)),
        (0.33333334, 1 / 3),
        (float(np.float32(0.001)), 0.001),
    ],
)
def test_a_number_that_was_copied_out_is_the_formulas(number: float, formula: float) -> None:
    assert written(number) == formula
    assert np.float32(written(number)) == np.float32(number)


@pytest.mark.parametrize(
    "number",
    # Other numbers in float32, numbers of no formula, whole ones, and what has all the digits that there are.
    [
        0.7978,
        0.797885,
        0.7071067,
        0.3333333,
        0.48145466,
        1e-5,
        1.001e-5,
        0.044715,
        1234567.0,
        2.0**-23,
        1 / 255,
        0.0,
        math.inf,
    ],
)
def test_every_other_number_stays(number: float) -> None:
    assert written(number) == number
