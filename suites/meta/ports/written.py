"""Right ports whose code is another than TensorFlow's, beside wrong ones that are written alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from suites.meta.ports.case import Case, Source, ported


def _port(
    tensorflow: str, torch: str, inputs: str, cause: str = "", place: tuple[str, str] = ("", ""), *,
    options: tuple[str, ...] = (),
) -> Case:  # fmt: skip
    """Return a case; with a `cause`, at the `place` (TensorFlow's and torch's name) it must be found."""
    name = f"written-{tensorflow}-{torch}" + "".join(one.replace("--", "-") for one in options)
    return replace(ported("written", tensorflow, torch, inputs, cause, place), name=name, options=options)


def _masks() -> Iterator[Case]:
    """Yield couplings whose masks stand in TensorFlow's code, and are rows of a weight that torch does not train."""
    yield _port("uncoupled", "uncoupled", "4")
    yield _port("masked_once", "masked_twice", "4")


def _numbers() -> Iterator[Case]:
    """Yield numbers of the code that TensorFlow computes others of, which are no less exact for the twin."""
    yield _port("gelu_by_hand", "gelu", "6")
    yield _port("elu", "elu_by_expm1", "6")
    yield _port("tanh", "tanh_by_sigmoid", "6")
    yield _port("sloped", "sloped_where", "6x5x3")
    yield _port("sloped", "sloped_by_two", "6x5x3")
    for name, function in (("leaking_less", "leaky_relu"), ("leaking_not_at_all", "relu")):
        yield _port("leaking", name, "6", "leaky-slope", ("act", function))


def _lines() -> Iterator[Case]:
    """Yield a dense layer that torch's code writes out, with something done to its weight or its bias."""
    yield _port("places", "places_by_tensordot", "6x5x3")
    yield _port("lines", "lines_of_half_a_weight", "6", "weight-scale", ("body", "einsum"))
    biases = {"without_bias": "einsum", "of_a_double_bias": "linear", "with_the_bias_again": "add"}
    for name, function in biases.items():
        yield _port("lines", f"lines_{name}", "6", "bias-missing-or-doubled", ("body", function))


def _statistics() -> Iterator[Case]:
    """Yield a variance of which the root is taken, in code, and one that was exchanged for the mean, made positive."""
    place, as_is = ("norm", "batch_norm"), ("--weights", "as-is")
    yield _port("normed", "normed_by_the_root", "6", "batchnorm-stats-swap", place)
    yield _port("normed", "normed_exchanged", "6", "batchnorm-stats-swap", ("norm", "1"), options=as_is)


def _gates() -> Iterator[Case]:
    """Yield gates that one function of torch's applies, and TensorFlow's code in steps; two faults of their weights."""
    as_is, place = ("--weights", "as-is"), ("gru", "gru")
    case = _port("gated", "gated_in_its_order_with_one_bias", "5x4", "gru-gate-order", place, options=as_is)
    bias = Source(("gru",), ("gru",), ("bias-missing-or-doubled",))
    yield replace(case, sources=(*case.sources, bias))
    yield _port("steps", "steps", "8")


def _calls() -> Iterator[Case]:
    """Yield models that are called otherwise than with all inputs in a row."""
    yield _port("masked_sum", "masked_sum", "5x4 5")
    yield _port("shares", "labelled_shares", "6")
    yield _port("shares_by_sample", "shares", "6")


def _scales() -> Iterator[Case]:
    """Yield weights that are one layer's own on one side, and a layer on the other."""
    yield _port("additive", "additive", "10x4 5x3")
    yield _port("codebook", "codebook", "6")


def _products() -> Iterator[Case]:
    """Yield products of several matrices that are multiplied in another order."""
    yield _port("linear_attention", "linear_attention", "10x8")
    yield _port("powers", "powers", "5x4 5x5")


def _kernels() -> Iterator[Case]:
    """Yield kernels of TensorFlow's code that a layer of torch's has in another order, or computes by itself."""
    yield _port("bilinear", "bilinear", "6 5")
    for torch in ("directed", "directed_by_a_hook"):
        yield _port("directed", torch, "9x6")
        yield _port("convolved", torch, "9x6")
    yield _port("directed", "directed", "9x6", options=("--train",))
    at = (("conv*",), ("conv*",), ("weight-scale", "unknown"))
    yield replace(
        _port("directed_at_any_length", "directed", "9x6"), verdict="different", sources=(Source(*at),)
    )  # fmt: skip


WRITTEN = (
    *_masks(), *_numbers(), *_lines(), *_statistics(), *_gates(), *_calls(), *_scales(), *_products(), *_kernels(),
)  # fmt: skip
