"""Equal numbers told apart."""

from __future__ import annotations

import numpy as np

from parity.porting.ties import apart, repeated


def test_equal_numbers_become_distinct_and_others_stay() -> None:
    x = np.array([[0.0, 2.0, 0.0], [-1.5, 6.0, 6.0]], np.float32)
    moved = apart(x, 1)
    assert np.array_equal(repeated(x), [[True, False, True], [False, True, True]])
    assert np.array_equal(moved[~repeated(x)], x[~repeated(x)])
    assert len(np.unique(moved)) == x.size
    assert ((moved >= x) & (moved - x < 0.1)).all()
    assert moved.dtype == x.dtype


def test_whole_numbers_and_what_is_not_finite_stay() -> None:
    for x in (np.array([3, 3, 1]), np.array([0.0, 0.0, np.inf])):
        assert np.array_equal(apart(x, 0), x)
