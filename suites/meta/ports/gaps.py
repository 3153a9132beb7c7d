"""Ports with faults that had no name, or the wrong one, beside right ports that are written alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, paired

_port = partial(paired, family="gaps")
IMAGE = "12x10x3"


def _frozen() -> Iterator[Case]:
    """Yield layers that one side trains and the other does not: only a step of training tells."""
    port = partial(_port, inputs=IMAGE, options=("--train",))
    for first in ("frozen_first", "frozen_first_of_keras_2"):
        yield port(first, "convolutions", cause="unknown", place=("first", "first"))
        yield port(first, "frozen_first")
    yield port("convolutions", "frozen_first", cause="unknown", place=("first", "first"))
    yield _port("frozen_first", "convolutions", IMAGE)


def _statistics() -> Iterator[Case]:
    """Yield batch normalisations whose torch side keeps no statistics: TensorFlow's may need none, either."""
    port, train = partial(_port, inputs=IMAGE), ("--train",)
    for options in ((), train):
        yield port("normalised", "without_statistics", cause="batchnorm-mode", place=("norm", "norm"), options=options)
        yield port("always_of_the_batch", "without_statistics", options=options)
    yield port("always_of_the_batch", "without_buffers", options=train)


def _kernels() -> Iterator[Case]:
    """Yield kernels that code makes of a weight as it runs: turned round, or of length one along an axis."""
    port = partial(_port, inputs=IMAGE)
    flipped, place = "kernel-flip", ("second*", "conv2d")
    yield port("convolutions", "kernel_flipped", cause=flipped, place=place)
    case = port("convolutions", "kernel_flipped_without_bias", cause=flipped, place=place)
    bias = Source((place[0],), (place[1],), ("bias-missing-or-doubled",))
    yield replace(case, sources=(*case.sources, bias))
    yield port("convolutions", "kernel_turned", cause="kernel-spatial-swap", place=place)
    yield port("true_convolution", "convolutions", cause=flipped, place=("second*", "second"))
    yield port("true_convolution", "kernel_flipped")
    yield port("directions", "directions")
    for name, torch in (("other_directions", "linear"), ("other_directions_in_columns", "matmul")):
        yield port("directions", name, cause="axis-mismatch", place=("directions/*", torch))
    yield port("directions", "no_directions", cause="weight-scale", place=("directions/*", "linear"))


def _activations() -> Iterator[Case]:
    """Yield activations on the wrong side of a sum, and hard sigmoids that are written out with other numbers."""
    port = partial(_port, inputs=IMAGE)
    yield port("residual", "residual")
    yield port("residual", "rectified_before", cause="activation-missing", place=("behind", "add"))
    for first in ("gated", "gated_by_hand"):
        yield port(first, "gated")
        for name in ("gated_unshifted", "gated_further", "gated_by_fifths"):
            yield port(first, name, cause="hard-sigmoid-slope", place=("gate*", "gate.*"))
    for first, second in (("normalised_first", "rectified_first"), ("rectified_first", "normalised_first")):
        yield port(first, second, cause="activation-missing", place=("behind", "*"))
    yield port("two_pools", "two_pools")
    yield port("two_pools", "one_pool_twice", cause="unknown", place=("mean", "adaptive_max_pool2d"))


def _dropping() -> Iterator[Case]:
    """Yield dropouts that work in evaluation, as Monte Carlo dropout asks for."""
    port = partial(_port, inputs=IMAGE)
    yield port("drops", "drops")
    yield port("drops", "drops_always", cause="dropout-active", place=("*", "*dropout"))
    yield port("drops_always", "drops_always")
    yield port("drops_always", "drops_always", options=("--train",))
    yield port("drops_always", "drops", cause="dropout-active", place=("drop", "*"))
    yield port("drops_channels", "drops_channels")
    built = port("drops_as_built", "drops")
    yield replace(built, says=("with training=True while the model was built",))
    yield port("drops_by_function", "drops_always")
    yield port("drops_by_function", "drops", cause="dropout-active", place=("dropout", "*"))
    yield port("noisy_always", "drops", cause="dropout-active", place=("drop", "*"))
    yield port("drops", "noisy_always", cause="dropout-active", place=("*", "add"))


def _slopes() -> Iterator[Case]:
    """Yield a slope for each element, which torch's function takes as a vector of another weight's numbers."""
    yield _port("slopes", "slopes_in_a_row", "6x5x3")
    yield _port("slopes", "one_slope", "6x5x3", cause="prelu-sharing", place=("slopes", "prelu"))


def _never_below_zero() -> Iterator[Case]:
    """Yield a difference that has one sign for all inputs of one size, of which only one side takes the absolute."""
    port = partial(_port, inputs="9x8x3 9x8x3")
    yield port("distance", "distance")
    yield port("distance", "difference", cause="activation-missing", place=("abs*", "*"))


def _beside_something_else() -> Iterator[Case]:
    """Yield faults beside what both sides write in a way of their own, and an activation that TensorFlow has not."""
    place = ("up*", "up")
    yield _port("cut_to_size", "cut_to_size_unbiased", "7x6x3", cause="bias-missing-or-doubled", place=place)
    yield _port("centred_backwards", "centred", "8x7x3", cause="channel-order", place=("*", "sub"))
    yield _port("no_activation", "rectified", "9", cause="activation-extra", place=("nothing", "relu"))


def _channels() -> Iterator[Case]:
    """Yield channels that code behind a depthwise convolution, or a grouped one, puts into an order of its own."""
    port = partial(_port, inputs="9x8x4")
    for name in ("channels_turned", "channels_shuffled"):
        yield port("depthwise", name, cause="depthwise-channel-order", place=("inner", "*"))
    for name in ("four_heads", "four_heads_of_the_library"):
        yield _port("attends", name, "7x12", cause="attention-scale-or-heads", place=("attends/*", "*"))
    yield _port("equations", "equations", "5x12")  # heads times size are as many as what is summed
    # As many places as a head has numbers.
    yield _port("attends_to_five", "five_heads", "5x10", cause="attention-scale-or-heads", place=("attends/*", "*"))
    yield port("shuffled", "shuffled_by_threes")
    yield port("shuffled", "shuffled_by_fours", cause="channel-order", place=("reshape*", "reshape"))


def _norms() -> Iterator[Case]:
    """Yield normalisations whose scale is divided by the deviation before anything else, and other unusual ones."""
    port = partial(_port, inputs="7x6")
    for options in ((), ("--train",)):
        yield port("layer_norm", "norm_scale_first", options=options)
        yield port("norm_scale_first", "layer_norm", options=options)
    yield port("norm_scale_first", "layer_norm_eps", cause="layernorm-eps", place=("norm", "norm"))
    yield port("attention_unbiased", "attention_biased")
    yield _port("normalised_without_batch", "named_as_in_keras", IMAGE)


def _calls() -> Iterator[Case]:
    """Yield models called in unusual ways: inputs in a list, a number or some rows returned, sums of products."""
    for options in ((), ("--train",)):
        yield _port("listed_and_summed", "listed_and_summed", "6 4", options=options)
    yield _port("rows_kept", "rows_kept", "6")
    for name in ("repeated", "stacked"):
        yield _port(name, "repeated", "6")
        yield _port(name, "tiled", "6", "output-permutation", ("*", "repeat"))
    yield _port("highway", "highway", "6")
    yield _port("highway", "highway_turned", "6", "operand-order")
    yield _port("highway", "highway_lerped", "6", "residual-scale", ("subtract*", "sigmoid*"))
    yield _port("crossed", "crossed", "7x9x3")
    yield _port("involved", "involved", "6x6x3")
    yield _port("fused", "fused", "6")
    yield _port("fused", "fused_by_another", "6", "residual-scale", ("multiply*", "mul*"))
    yield _port("rows_kept", "rows_left_out", "6", "residual-scale", ("stridedslice", "mul"))


def _spectra() -> Iterator[Case]:
    """Yield complex numbers inside a model, which TensorFlow's code casts to."""
    port = partial(_port, inputs="6x4")
    yield port("spectrum", "spectrum")
    yield port("spectrum", "spectrum_of_one_axis", cause="unknown", place=("spectrum/fft2d", "fft_fftn"))


def _lengths() -> Iterator[Case]:
    """Yield vectors divided by their length, to which a small number is added: before the root, or behind it."""
    port, cause = partial(_port, inputs=IMAGE), "l2-normalize-eps"
    yield port("beyond_the_root", "beyond_the_root")
    for name, place in (("within_the_root", "div"), ("within_an_inverse_root", "mul_1")):
        yield port("beyond_the_root", name, cause=cause, place=("unit/*", place))
    yield port("within_the_root", "beyond_the_root", cause=cause, place=("unit/*", "div"))


def _unrolled() -> Iterator[Case]:
    """Yield recurrent cells that one side writes out step by step, against layers and cells written otherwise."""
    port = partial(_port, inputs="7x5", family="unrolled")
    for name in ("apart", "apart_in_another_order", "joined", "matrices", "gates"):
        yield port("lstm", name)
    yield port("cell", "layer")
    for first, second in (("both_ways", "each_way"), ("each_way", "both_ways")):
        yield port(first, second)
    yield port("lstm_steps", "apart_steps")
    yield port("lstm", "joined", options=("--train",))
    yield port("lstm", "joined", options=("--weights", "torch-to-tf"))
    for name in ("gated", "blended"):
        yield port("gru", name)
    yield port("gru_opened", "opened")
    for name in ("plain", "squares"):
        yield port("rnn", name)
    yield _port("words", "words", "", family="unrolled", ids="7:0:19")
    for first in ("written", "written_joined"):
        yield port(first, "layer")
    yield port("written_joined", "apart_in_another_order")
    cause, place = "unknown", ("reader", "cell")
    yield port("lstm", "unsquashed", cause=cause, place=place)
    yield port("lstm_hard", "apart", cause="hard-sigmoid-slope", place=place)
    for name in ("gates_shifted", "gates_inverted"):
        yield port("lstm", name, cause=cause, place=place)
    yield port("gru", "shares_exchanged", cause=cause, place=place)
    film = partial(port, "film", inputs="4x8x9x3")
    yield film("film")
    yield film("film_other_eps", cause="batchnorm-eps", place=("norm", "norm"))
    yield film("film_unsquashed", cause=cause, place=("second", "second"))


GAPS = (
    *_unrolled(),
    *_frozen(),
    *_statistics(),
    *_kernels(),
    *_activations(),
    *_dropping(),
    *_slopes(),
    *_channels(),
    *_beside_something_else(),
    *_never_below_zero(),
    *_norms(),
    *_calls(),
    *_lengths(),
    *_spectra(),
)
