"""Heads of an attention that torch's code divides by a view alone, or joins without turning them back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

from suites.meta.ports.case import Case, Source, paired

_port = partial(paired, inputs="7x8", family="joined_heads")
_HEADS = ("attention-scale-or-heads",)


def _wrong(tensorflow: str, torch: str, places: tuple[str, ...], says: str) -> Case:
    found = _port(tensorflow, torch, cause=_HEADS[0], says=(says,))
    return replace(found, sources=tuple(Source(("attention",), (place,), _HEADS) for place in places))


_VIEW = "view(n, places, 2, 4).transpose(1, 2) in place of `view`"
_THIRDS = "reshape(n, places, 3, 2, 4).permute(2, 0, 3, 1, 4) and its three parts, in place of `reshape`"
_BACK = "x = x.transpose(1, 2) before `reshape`"

JOINED_HEADS = (
    *(_port(*both) for both in product(("by_hand", "ready_made"), repeat=2)),
    *(
        _wrong(tensorflow, torch, places, says)
        for tensorflow in ("by_hand", "ready_made")
        for torch, places, says in (
            ("viewed", ("view", "view_2"), _VIEW),
            ("viewed_ready_made", ("view",), _VIEW),
            ("joined", ("reshape",), _BACK),
            ("joined_ready_made", ("reshape",), _BACK),
        )
    ),
    _port("fused", "fused"),
    _wrong("fused", "fused_by_heads", ("reshape",), _THIRDS),
    _wrong("fused", "fused_by_view", ("reshape",), _THIRDS),
    _wrong("fused", "fused_by_heads_ready_made", ("reshape",), _THIRDS),
)
