"""Rotary positions in the spellings of published models, right and with other numbers of a head turned together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, paired

_port = partial(paired, family="rotary", inputs="6x16")


def _mixed(tensorflow: str, torch: str) -> Case:
    """Return a case where halves are turned on one side and pairs on the other: queries and keys of two layers."""
    places = [((f"attention{n}/*",), (f"attention{n}.*{end}",)) for n in (1, 2) for end in ("", "_1")]
    sources = tuple(Source(mine, theirs, ("channel-order",)) for mine, theirs in places)
    return replace(_port(tensorflow, torch), verdict="different", sources=sources)


ROTARY = (
    _port("turning_halves", "turning_halves"),
    _port("turning_halves", "turning_halves_apart"),
    _port("turning_pairs", "turning_pairs"),
    _port("turning_pairs", "turning_pairs_repeated"),
    _port("turning_pairs", "turning_complex_pairs"),
    _port("turning_complex_pairs", "turning_pairs"),
    _port("turning_complex_pairs", "turning_complex_pairs"),
    _port("turning_halves_of_places", "turning_halves"),
    _port("turning_halves_of_some", "turning_halves_of_some"),
    _mixed("turning_halves", "turning_pairs"),
    _mixed("turning_pairs", "turning_halves"),
    _mixed("turning_halves_of_places", "turning_pairs"),
    _mixed("turning_halves_of_some", "turning_pairs_of_some"),
)
