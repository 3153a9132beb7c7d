"""Parts of published networks, as Keras's examples and the repositories of both frameworks write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, ported

_port = partial(ported, "networks")


def _cases() -> Iterator[Case]:
    for torch in ("patches_by_rows", "patches_by_columns", "patches_by_channels", "patches_unfolded"):
        yield _port("patches_convolved", torch, "12x16x3")
        yield replace(_port("patches_extracted", torch, "12x16x3"), name=f"networks-extracted_{torch}")
    yield _port("enlarged", inputs="7x6x3")
    at = "last/*", "*"
    for torch in ("bent", "bent_by_hand"):
        yield _port("bent", torch, "9x8x3")
    yield _port("bent", "bent_by_relu", "9x8x3", "activation-missing", at)
    yield _port("bent", "bent_not_at_all", "9x8x3", "activation-missing", at)
    yield _port("bent_by_relu", "bent_by_hand_last", "9x8x3", "activation-missing", ("last", "*"))
    case = _port("bent_not_at_all", "bent_by_hand_last", "9x8x3", "activation-extra")
    yield replace(case, name="networks-bent_by_hand_for_nothing")
    yield _port("near", inputs="6x8")
    yield _port("near", "near_by_one_more", "6x8", "unknown", ("near_1/*", "1.*"))
    yield _port("shuffled", inputs="7x6x3")
    for wrong in ("shuffled_by_torch", "shuffled_by_channels"):
        yield _port("shuffled", wrong, "7x6x3", "pixel-shuffle-order")


NETWORKS = tuple(_cases())
