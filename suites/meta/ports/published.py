"""Parts of published models: tables, heads, windows and roots as two libraries of pretrained models write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, ported

_port = partial(ported, "published")


def _cases() -> Iterator[Case]:
    yield _port("looked_up", ids="7:0:19")
    yield _port("looked_up", "looked_up_by_rows", ids="7:0:19")
    yield _port("looked_up", "looked_up_from_one", "", "embedding-offset", ("*", "places"), ids="7:0:19")
    case = _port("looked_up", "looked_up_as_the_other_kind", "", "embedding-offset", ("*", "types"), ids="7:0:19")
    yield replace(case, says=("look up row 0 of `types` instead of row 1",))
    yield _port("row_biases", inputs="6x8")
    yield _port("row_biases", "row_biases_with_the_exact_gelu", "6x8", "gelu-approximation")
    yield _port("window", inputs="4x6")
    yield _port("window", "window_turned", "4x6", "unknown")
    yield _port("headed", inputs="7x8")
    yield _port("headed", "headed_by_all", "7x8", "attention-scale-or-heads")
    yield _port("relative", inputs="6x8")
    yield _port("relative", "relative_with_another_eps", "6x8", "unknown")
    yield _port("rooted", inputs="6x8")
    yield _port("rooted", "rooted_by_another", "6x8", "attention-scale-or-heads")
    yield _port("grouped", inputs="7x10")
    yield _port("grouped", "grouped_values_first", "7x10")
    tiled = _port("grouped", "grouped_tiled", "7x10", "output-permutation", ("repeat*", "repeat_1"))
    yield replace(tiled, tolerated=("unknown",))
    yield _port("boxes", inputs="10")
    yield _port("boxes", "boxes_behind", "10")
    yield _port("rows_of_three", inputs="7x8")
    yield _port("rows_of_three", "rows_of_three_scaled_by_all", "7x8", "attention-scale-or-heads")
    yield _port("reversible", ids="7:0:19")
    yield _port("reversible", "reversible_scaled", "", "residual-scale", ids="7:0:19")
    yield _port("biased", inputs="6x8")
    yield _port("biased", "biased_but_one", "6x8", "unknown")
    yield from (_port("kept", name, "6x8") for name in ("kept", "kept_when_first_used"))
    yield _port("kept", "kept_from_behind", "6x8", "unknown")
    yield _port("rotated", inputs="6x16")
    yield _port("rotated", "rotated_on_another_base", "6x16", "unknown")
    yield _port("crossed", "crossed_as_one", "9")
    yield _port("crossed_as_one", "crossed", "9")
    yield replace(_port("crossed_as_one", "crossed_as_one", "9"), name="published-crossed_as_one_on_both_sides")
    yield _port("crossed", "crossed_short", "9", "unknown")


PUBLISHED = tuple(_cases())
