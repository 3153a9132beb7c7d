"""How wide the bound of a pair is where one side rounds more often than the operations that the bound counts."""

from __future__ import annotations

import pytest

from parity.model.trace import Op
from parity.porting.cuts import Cut
from parity.porting.walk import POWER, ROOT, _roundings_unseen


@pytest.mark.parametrize(
    ("tensorflow", "torch", "wanted"),
    [
        ("standardize", "multiply", ROOT),  # Keras takes the root of a variance; torch may hold its reciprocal
        ("power", "multiply", POWER),
        ("power", "power", 0.0),
        ("conv", "conv", 0.0),
        (None, "multiply", 0.0),
    ],
)
def test_roundings_of_tensorflow_that_torch_does_not_make_are_counted(
    tensorflow: str | None, torch: str, wanted: float
) -> None:
    mine = Op(0, "mine", tensorflow, (0,), (1,)) if tensorflow else None
    theirs = Op(0, "theirs", torch, (0,), (1,))
    cut = Cut(1, 1, None, "one", mine, theirs, (mine,) if mine else (), (theirs,), (0,), (0,))
    assert _roundings_unseen(cut) == wanted
    assert 0.0 < ROOT < POWER
