"""Small models of public example galleries, ported by hand: right ones beside those with one fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, ported

_port = partial(ported, "galleries")


def _decoders() -> Iterator[Case]:
    """Yield transposed convolutions whose result is cut to size behind the activation, on the right side or not."""
    cut = partial(_port, "decoder", inputs="6x7x3")
    yield cut("decoder")
    yield cut("decoder_cut_in_front", cause="conv-transpose-crop", place=("up", "up"))


def _gates() -> Iterator[Case]:
    """Yield halves of one result, of which one multiplies the other: ported right, and with the halves exchanged."""
    for tensorflow in ("gated", "gated_by_slices"):
        for torch in ("gated", "gated_by_slices", "gated_by_the_first_half", "gated_by_the_first_slice"):
            one = _port(tensorflow, torch, "9x6", "operand-order" if "first" in torch else "", ("*", "*"))
            yield replace(one, name=f"galleries-{tensorflow}-{torch}")


def _written_otherwise() -> Iterator[Case]:
    """Yield what one side makes anew for each layer, and masks that layers hand on to what reads them."""
    yield _port("graph", inputs="7x5 7x7")
    yield _port("two_embeddings", ids="6:1:8")
    yield _port("decoding_twice", ids="6:1:8")
    yield _port("flow", inputs="2")
    yield _port("scaled", inputs="5x6 9x6")
    patches = _port("attending_to_patches", inputs="4x5x8")
    yield replace(patches, options=("--torch-layout", "same"))


def _orders() -> Iterator[Case]:
    """Yield tokens in another order than TensorFlow's, which nothing tells until they are put back, or not."""
    tolerated = ("output-permutation", "unknown", "flatten-order", "axis-mismatch")
    yield _port("unfolded", inputs="4x6x5")
    wrong = _port("unfolded", "unfolded_for_good", "4x6x5")
    yield replace(wrong, verdict="different", tolerated=tolerated)


GALLERIES: tuple[Case, ...] = (*_decoders(), *_gates(), *_written_otherwise(), *_orders())
