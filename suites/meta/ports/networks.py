"""Parts of published networks, as Keras's examples and the repositories of both frameworks write them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from suites.meta.ports.case import Case, ported

_port = partial(ported, "networks")


def _cases() -> Iterator[Case]:
    for torch in ("patches_by_rows", "patches_by_columns", "patches_by_channels", "patches_unfolded"):
        yield _port("patches_convolved", torch, "12x16x3")
        yield _port("patches_extracted", torch, "12x16x3")
    yield _port("enlarged", inputs="7x6x3")


NETWORKS = tuple(_cases())
