"""Small networks as people publish them whole, where several things meet that each go well alone."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="complete")

COMPLETE = (
    *(
        _port(
            "borders", torch, "7x9x3", "padding-mode", says=("x = torch.cat([x[:, :, :1].flip(2), x, x[:, :, -2:].f",)
        )
        for torch in ("borders_reflected", "borders_of_zeros")
    ),
    _port("graph_attention", inputs="9x5 9x9"),
    _port("heads_behind_samples", ids="7:0:10"),
    _port("masked_by_hand", inputs="6x4", ids="6:0:1"),
    _port("padded_queries", ids="9:0:19"),
    _port("sparse_shares", inputs="6"),
    _port("tensordots", "tensordots_exact", "7x6", "gelu-approximation", ("gelu", "3")),
    _port("text_lines", inputs="8x20x3"),
    _port(
        "text_lines",
        "text_lines_viewed",
        "8x20x3",
        "flatten-order",
        ("steps", "view"),
        says=("x = x.permute(0, 3, 2, 1) before `view`",),
    ),
    _port("time_steps", ids="1:0:900"),
    _port("time_steps", "time_steps_one_less", cause="input-scale", ids="1:0:900"),
)
