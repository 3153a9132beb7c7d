"""Weights of a fresh model that would hide faults get numbers of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from parity.model.trace import Trace
from parity.porting.fresh import set_apart


def _trace(*idle: str, **weights: Any) -> Trace:
    known = {name: SimpleNamespace(trainable=name not in idle) for name in weights}
    return cast(Trace, SimpleNamespace(weights=known))


def test_a_weight_with_the_numbers_of_another_gets_its_own_and_the_first_keeps_them() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    weights = {"query": one, "key": one.copy(), "value": one.copy(), "out": other}
    found = set_apart(weights, _trace(**weights), 0)
    assert list(found) == ["key", "value"]
    assert all(array.dtype == np.float32 and array.shape == one.shape for array in found.values())
    assert not np.array_equal(found["key"], found["value"])
    assert not np.array_equal(found["key"], one)
    assert np.array_equal(set_apart(weights, _trace(**weights), 0)["key"], found["key"]), "by the seed alone"


def test_masks_single_numbers_other_shapes_and_those_left_out_stay() -> None:
    table = np.arange(6, dtype=np.float32)
    weights: dict[str, Any] = {
        "a": table, "buffer": table.copy(), "tied": table.copy(), "turned": table.reshape(2, 3), "whole": np.arange(6),
        "again": np.arange(6), "scale": table[1:2], "scale_2": table[1:2],
    }  # fmt: skip
    assert set_apart(weights, _trace("buffer", **weights), 0, {"tied"}) == {}
