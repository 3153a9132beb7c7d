"""Weights as they were loaded, one number of which is another: behind a unit that is dead for the usual inputs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="loaded", options=("--weights", "as-is"))
_DIFFER = "`second/kernel` and torch's `second.weight` differ in 1 of 64 numbers, by up to 0.0001: "

LOADED = (
    _port("hidden", "hidden", "8"),
    replace(_port("hidden", "hidden_but_one", "8", says=(f"{_DIFFER}the outputs differ",)), verdict="different"),
    _port("dead", "dead_but_one", "8", says=(f"{_DIFFER}no input that was tried shows it",)),
)
