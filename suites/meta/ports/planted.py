"""Faults of whole networks that were planted early, deep and inside a branch, where the check once lost its way."""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source

FLOATS = ("9x24", "7x24")


def _source(tensorflow: str, torch: str, cause: str) -> Source:
    return Source(tuple(tensorflow.split()), tuple(torch.split()), (cause,))


def _port(
    tensorflow: str,
    torch: str,
    inputs: tuple[str, ...],
    *sources: Source,
    ids: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> Case:
    return Case(
        name=f"planted-{torch}",
        tensorflow=f"planted_tensorflow.py:{tensorflow}",
        torch=f"planted_torch.py:{torch}",
        inputs=inputs,
        int_inputs=ids,
        options=options,
        verdict="different" if sources else "same",
        sources=sources,
    )


def _attention() -> Iterator[Case]:
    mask = "attention-mask-polarity"
    ids = ("9:0:30",)
    yield _port("padded", "padded", (), ids=ids)
    yield _port("padded", "padding_forgotten", (), _source("attention", "attention", mask), ids=ids)
    yield _port("causal", "causal", ("9x24",))
    yield _port("causal", "causal_as_keras", ("9x24",), _source("attention", "attention", mask))
    yield _port("causal", "causal_forgotten", ("9x24",), _source("attention", "attention", mask))
    yield _port("by_hand", "by_hand", (), ids=ids)
    yield _port("by_hand", "by_hand_unscaled", (), _source("*", "*", "attention-scale-or-heads"), ids=ids)
    yield _port("by_hand", "by_hand_unmasked", (), _source("*", "*", mask), ids=ids)
    yield _port("later", "later", ("9x24",))
    yield _port("later", "later_by_one", ("9x24",), _source("*", "*", mask))
    yield _port("crossed", "crossed", FLOATS)
    yield _port("crossed", "crossed_along_queries", FLOATS, _source("*", "softmax*", "axis-mismatch"))


def _norms() -> Iterator[Case]:
    eps = "layernorm-eps"
    yield _port("normed", "normed_by_hand", ("7x24",))
    yield _port("normed", "normed_with_eps_outside", ("7x24",), _source("norm", "*", eps))
    yield _port("normed", "normed_as_annotated", ("7x24",), _source("norm", "*", eps))
    yield _port("normed_pixels", "normed_pixels_unbiased", ("7x6x12",), _source("norm", "*", "unknown"))


def _images() -> Iterator[Case]:
    yield _port("shares", "shares", ("9x8x3",))
    yield _port("shares", "shares_forgotten", ("9x8x3",), _source("shares", "*", "activation-missing"))
    yield _port("blurred", "blurred", ("14x18x3",))
    yield _port("blurred", "blurred_and_symmetric", ("14x18x3",), _source("conv", "conv", "same-padding-stride"))
    yield _port("blocks", "blocks", ("5x6x12",))
    yield _port("blocks", "blocks_turned", ("5x6x12",), _source("*", "*", "pixel-shuffle-order"))


def _both_ways() -> Iterator[Case]:
    for layer in ("lstm", "gru"):
        yield _port(f"both_ways_{layer}", f"both_ways_{layer}", ("5x4",))
        yield _port(f"both_ways_{layer}", f"both_ways_{layer}_backwards_first", ("5x4",))
    yield _port("both_ways_lstm", "both_ways_by_hand", ("5x4",))
    doubled = _source("*", "tanh*", "activation-extra")
    yield _port("both_ways_behind_tanh", "both_ways_behind_a_fault", ("5x4",), doubled)
    yield _port("gru", "gru_reset_before", ("5x4",), _source("gru", "*", "gru-reset-after"))


def _gates() -> Iterator[Case]:
    as_is = ("--weights", "as-is")
    wrong = [_source(name, name, "weight-wrong-layer") for name in ("gate", "value")]
    yield _port("two_gates", "two_gates", ("13",), options=as_is)
    yield _port("two_gates", "two_gates_exchanged", ("13",), *wrong, options=as_is)


PLANTED = (*_attention(), *_norms(), *_images(), *_both_ways(), *_gates())
