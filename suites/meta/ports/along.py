"""Operations that torch's code does along another axis than TensorFlow's."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_SEQUENCE, _IMAGE = "7x6", "9x11x5"
_port = partial(paired, family="along")
_wrong = partial(_port, cause="axis-mismatch")

ALONG = (
    *(
        _port(name, f"{name}_of_steps", _SEQUENCE)
        for name in ("sums", "products", "turned", "shifted", "logs", "units")
    ),
    _wrong("sums", "sums_of_features", _SEQUENCE, place=("cumsum", "cumsum"), says=("dim=1 in `cumsum`",)),
    _wrong("products", "products_of_features", _SEQUENCE, place=("cumprod", "cumprod")),
    _wrong("turned", "turned_of_features", _SEQUENCE, place=("flip", "flip"), says=("dims=[1] in `flip`",)),
    _wrong("shifted", "shifted_of_features", _SEQUENCE, place=("roll", "roll"), says=("dims=1 in `roll`",)),
    _wrong("logs", "logs_of_features", _SEQUENCE, place=("logsumexp*", "logsumexp")),
    _wrong("units", "units_of_features", _SEQUENCE, place=("normalize*", "normalize")),
    _port("sums_of_rows", "sums_of_rows", _IMAGE),
    _wrong("sums_of_rows", "sums_of_columns", _IMAGE, place=("cumsum", "cumsum"), says=("dim=2 in `cumsum`",)),
    _wrong("turned_rows", "turned_channels", _IMAGE, place=("flip", "flip"), says=("dims=[2] in `flip`",)),
    _wrong(
        "turned_rows", "turned_columns", _IMAGE, place=("flip", "flip"), options=("--weights", "torch-to-tf"),
        says=("axis=2 in `flip`",),
    ),
)  # fmt: skip
