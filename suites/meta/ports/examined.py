"""Models of an examiner who had not read the tool, in which something was told wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, ported

_port = partial(ported, "examined")


def _cases() -> Iterator[Case]:
    yield _port("keys_first", inputs="8x12")
    yield _port("keys_first", "keys_first_with_another_eps", "8x12", "layernorm-eps", ("norm", "norm"))
    yield _port("joined_heads", inputs="7x8")
    place = "matmul*", "mul*"
    yield _port("joined_heads", "joined_heads_scaled", "7x8", "attention-scale-or-heads", place)
    yield _port("normed_map", inputs="8x12x3")
    yield _port("normed_map", "normed_map_as_a_whole", "8x12x3", "norm-axes", ("norm", "norm"))
    yield _port("halved", inputs="5")
    yield _port("halved", "halved_not_at_all", "5", "residual-scale", ("multiply*", "mul*"))
    yield _port("responding", inputs="11x13x3")
    place = "lrn", "norm"
    yield _port("responding", "responding_by_a_fifth", "11x13x3", "unknown", place)
    yield _port("rotating", ids="7:0:19")
    yield replace(_port("rotating_by_rounded_tables", "rotating", ids="7:0:19"), name="examined-rounded_tables")
    place = "turned0/*", "scaled_dot_product_attention"
    case = _port("rotating", "rotating_first_sees_all", "", "attention-mask-polarity", place, ids="7:0:19")
    yield case
    eps = Source(("norm0",), ("norm.0",), ("layernorm-eps",))
    torch = "rotating_first_sees_all_behind_an_eps"
    yield replace(case, name=f"examined-{torch}", torch=f"examined_torch.py:{torch}", sources=(eps, *case.sources))
    yield _port("pyramid", inputs="13x17x3")
    yield _port("pyramid", "pyramid_from_the_last", "13x17x3", "operand-order", ("joined", "cat"))
    place = "rate5", "branches.4.0"
    yield _port("pyramid", "pyramid_of_four", "13x17x3", "dilation-or-groups", place)
    two = "5x6 9x6"
    yield _port("asked", inputs=two)
    yield _port("asked", "asked_along_the_queries", two, "axis-mismatch", ("asking", "softmax"))
    yield _port("asked", "asked_by_a_quarter", two, "attention-scale-or-heads", ("asking", "mul"))
    yield _port("turned_by_halves", inputs="5x6")
    yield _port("fading", inputs="300")
    yield _port("normed", "normed_by_each_batch", "6x5x3", "batchnorm-mode", ("norm", "batch_norm"))
    case = _port("remembering", "remembering_without_biases", "7x5", "bias-missing-or-doubled", ("gru", "gru"))
    lstm = Source(("lstm",), ("lstm",), ("bias-missing-or-doubled",))
    yield replace(case, sources=(*case.sources, lstm))
    yield _port("rooted", "rooted_not_at_all", "5x6", "attention-scale-or-heads", ("sought/divide", "div"))
    yield _port("graded", "graded_twice_as_steep", "9", "weight-scale", ("body", "linear"))
    yield _port("graded", "graded_otherwise", "9", "output-permutation", ("head", "getitem"))
    place = "attention", "attention"
    case = _port("drawn_heads", "drawn_heads", "5x12", "attention-scale-or-heads", place)
    yield replace(case, options=("--weights", "as-is"))
    place = "attention", "qkv"
    case = _port("drawn_heads", "drawn_heads_of_one_layer", "5x12", "attention-scale-or-heads", place)
    yield replace(case, options=("--weights", "as-is"))
    place = "attention", "reshape"
    yield _port("drawn_heads", "every_so_many", "5x12", "attention-scale-or-heads", place)
    said = ("is made of none of its inputs by operations of TensorFlow",)
    yield replace(_port("through_numpy", inputs="9"), verdict="error", says=said)
    yield replace(_port("kept", inputs="6x5x3"), options=("--train",))
    case = _port("kept", "kept_the_other_way", "6x5x3", "unknown", ("norm", "1*"))
    yield replace(case, options=("--train",))
    yield _port("bent", "bent_exactly", "5x6", "gelu-approximation", ("multiply*", "act"))
    yield _port("bent_at_once", "bent", "5x6", "gelu-approximation", ("act", "act.mul*"))
    yield _port("tagging", "tagging_words", "7x6", "axis-mismatch", ("tags/tag", "softmax"))
    yield _port("spectrum", inputs="120")
    yield _port("spectrum", "spectrum_through_another_window", "120", "unknown", ("complexabs", "abs"))
    yield _port("scored", inputs="7x12")
    place = "attention/multiply", "mul"
    yield _port("scored", "scored_by_all_heads", "7x12", "attention-scale-or-heads", place)


EXAMINED = tuple(_cases())
