"""Rotary positions behind queries, keys and values that torch makes in one layer and Keras in three."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, inputs="7x16", family="rotated")

ROTATED = (
    _port("as_many_keys", "as_many_keys"),
    _port("fewer_keys", "fewer_keys"),
    _port("fewer_keys", "fewer_keys_apart"),
    *(
        _port(name.removesuffix("_apart"), f"{name}_scaled", cause="attention-scale-or-heads")
        for name in ("as_many_keys", "fewer_keys", "fewer_keys_apart")
    ),
    _port("fewer_keys", "fewer_keys_tiled", cause="output-permutation"),
)
