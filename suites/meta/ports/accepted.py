"""Networks that were written before the tool was read, in which something was told wrongly: spelt in several ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, ported

_port = partial(ported, "accepted")


def _cases() -> Iterator[Case]:
    yield _port("leaky", "leaky_by_the_larger", "9")
    yield _port("leaky", "leaky_by_the_larger_of_torch", "9", "leaky-slope", ("leaky", "mul"))
    yield _port("elu", "elu_in_parts", "9")
    yield _port("elu", "elu_in_parts_halved", "9", "elu-selu-alpha")
    yield _port("mixed", "mixed_by_tanh", "6x8", "gelu-approximation", ("wide", "mul*"))
    yield _port("each_step", inputs="6x5")
    yield _port("both_ways", inputs="7x5")
    yield _port("normed", "normed_as_a_whole", "6x5", "norm-axes", ("norm", "norm*"))
    yield _port("square", "square_turned", "6", "kernel-layout", ("square", "square"))
    place = "depthwise", "depthwise"
    yield _port("multiplied", "multiplied_the_other_way", "9x7x3", "depthwise-channel-order", place)
    yield _port("heads", "heads_of_one_matrix", "6x8")
    as_is = ("--weights", "as-is")
    case = _port("gated", "gated_in_another_order", "5x3", "gru-gate-order", ("gru", "gru"))
    yield replace(case, options=as_is)
    yield replace(_port("turned", "turned_not_at_all", "5", "kernel-layout", ("turned", "*")), options=as_is)
    yield _port("bent_twice", "bent_twice_by_equations", "7")
    yield _port("tokens", inputs="16x12x3")
    yield _port("tokens", "tokens_of_channels", "16x12x3", "flatten-order", ("tokens", "reshape"))
    yield _port("tokens", "tokens_as_channels", "16x12x3", "flatten-order", ("image", "reshape_1"))
    yield _port("largest", inputs="8x6x3")
    yield _port("largest", "largest_of_the_negative", "8x6x3", "residual-scale", ("scores", "mul"))
    yield replace(_port("spare", inputs="7x8"), says=("no output depends on either",))
    case = _port("spare", "spare_of_another_size", "7x8")
    yield replace(case, verdict="undecided", says=("no output depends on them",))
    yield _port("columns", inputs="9")
    yield _port("columns", "columns_turned", "9")
    yield _port("doubled", inputs="8x6x3")
    yield _port("each_normed", "each_normed", "8x6x3", "bias-missing-or-doubled", ("conv", "conv"))
    yield _port("pictures", inputs="8x6x3")
    yield _port("powers", inputs="9")
    yield replace(_port("stepped", inputs="5x3"), options=as_is)
    case = _port("stepped", "stepped_in_another_order", "5x3", "lstm-gate-order", ("lstm", "cell"))
    yield replace(case, options=as_is)
    yield _port("opened", inputs="5x3")
    yield _port("opened", "opened_by_relu", "5x3", "activation-missing", ("gru", "*"))
    yield replace(_port("apart", inputs="8x6x4"), options=("--train",))
    yield _port("placed", inputs="8x6x3")
    yield _port("frozen", inputs="8x6x3")
    yield _port("frozen", "frozen_without_a_root", "8x6x3", "batchnorm-stats-swap", ("norm", "add*"))
    yield _port("frozen", "frozen_with_two_roots", "8x6x3", "batchnorm-stats-swap", ("norm", "add*"))
    yield _port("frozen", "frozen_with_eps_outside", "8x6x3", "batchnorm-eps", ("norm", "add*"))


ACCEPTED = tuple(_cases())
