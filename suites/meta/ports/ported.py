"""Published PyTorch code that was ported to Keras: torch has the weights that both get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, paired

TO_KERAS = ("--weights", "torch-to-tf")


_port = partial(paired, family="ported", options=TO_KERAS)


def _cases() -> Iterator[Case]:
    # AutoInt stacks its heads before the samples, of which there are as many as numbers in a head.
    yield _port("fields", "fields_by_heads", "4x5")
    yield _port("padded", "padded", ids="9:0:4")
    mask = "attention-mask-polarity", ("*softmax*", "*softmax")
    yield _port("padded_in_reverse", "padded", "", *mask, ids="9:0:4")
    waves = tuple(Source((f"*multiply{end}",), (f"mul{end}",), ("input-scale",)) for end in ("", "_1"))
    case = _port("waves_of_pi", "waves", "3", "input-scale", says=("remove `multiply`", "x = x * 2 in place"))
    yield replace(case, sources=waves)
    # A mask that torch alone has, of the code, in either direction.
    masked = partial(paired, "self_attention", "causal_attention", "7x12", mask[0], family="attention")
    yield masked(options=TO_KERAS, says=("use_causal_mask=True in the call of `attention`",))
    yield masked(says=("no mask in `attention`",))
    yield _port("two_towers", "one_tower_written_out", "5x8 6x12")


PORTED = tuple(_cases())
