"""What is flattened in another order and then repeated for each step of a decoder: right ports, and a wrong one."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="repeated")

REPEATED = (
    _port("lstm", "lstm_repeated", "9x3"),
    _port("lstm", "lstm_expanded", "9x3"),
    _port("lstm", "lstm_stacked", "9x3"),
    _port("lstm", "lstm_interleaved", "9x3"),
    _port("lstm", "lstm_repeated_within", "9x3", "unknown", ("repeat", "*")),
    _port("gru", "gru_expanded", "9x3"),
    _port("dense", "dense_expanded", "9x3"),
    _port("image", "image_repeated", "7x6x2"),
    _port("joined", "joined_expanded", "9x3 6x7"),
)
