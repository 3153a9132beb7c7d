"""Ordinary networks that are wrong in one place: what each side reads there, holds or scales by is said."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Source, paired

_port = partial(paired, family="fed")
_TEXTS = "6:0:19 9:0:19"
_wrong = partial(_port, cause="unknown")

FED = (
    _port("mean_and_spread", "mean_and_spread", "9"),
    _wrong(
        "mean_and_spread", "mean_and_spread_swapped", "9", place=("decoded", "decoded"),
        says=("let `decoded` read `mean`, the partner of TensorFlow's `mean`, in place of `spread`",),
    ),
    _port("crossed", "crossed", "9"),
    _wrong(
        "crossed", "crossed_with_the_last", "9", place=("multiply_1", "mul_1"),
        says=("reads the input in TensorFlow and `add` in torch", "let `mul_1` read the input, in place of `add`"),
    ),
    _port("latents", "latents", "5x12 9x12"),
    _wrong(
        "latents", "latents_of_what_is_not_normed", "5x12 9x12", place=("normed", "attention"),
        says=("normalise the input, as TensorFlow's `normed` (keras.layers.LayerNormalization) does",),
    ),
    _port("two_texts", "two_texts", ids=_TEXTS),
    _wrong(
        "two_texts", "two_texts_of_one_table", ids=_TEXTS, place=("*", "title"),
        says=("weights of its own, as TensorFlow's", "in place of `title.weight`, which torch uses 2 times"),
    ),
    replace(
        _port("two_texts", "two_texts_on_average", ids=_TEXTS), verdict="different",
        sources=(Source(("most_title",), ("avg_pool1d",), ("unknown",)),
                 Source(("most_body",), ("avg_pool1d_1",), ("unknown",))),
        says=("F.max_pool1d(x, (6,)) in place of `avg_pool1d`", "F.max_pool1d(x, (9,)) in place of `avg_pool1d_1`"),
    ),
    _port("stars", "stars", "9"),
    _port(
        "stars", "stars_of_another_scale", "9", "residual-scale", ("*", "mul"),
        says=("x * 4.5, then x + 0.5 in place of `mul` and `add`",),
    ),
)  # fmt: skip
