"""Whole networks from tutorials and repositories: correct ports in several hands' ways, and faulty ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source


def _port(
    tensorflow: str,
    torch: str = "",
    inputs: str = "",
    ids: str = "",
    options: tuple[str, ...] = (),
    cause: str = "",
    place: tuple[str, str] = ("", ""),
    verdict: str = "",
    says: tuple[str, ...] = (),
    family: str = "further",
) -> Case:
    """Return a case; with a `cause`, at the `place` (TensorFlow's and torch's name) it must be found."""
    torch = torch or tensorflow
    return Case(
        name=f"{family}-{torch}" + ("-train" if "--train" in options else ""),
        tensorflow=f"{family}_tensorflow.py:{tensorflow}",
        torch=f"{family}_torch.py:{torch}",
        inputs=tuple(inputs.split()),
        int_inputs=tuple(ids.split()),
        options=options,
        verdict=verdict or ("different" if cause else "same"),
        sources=(Source((place[0],), (place[1],), tuple(cause.split())),) if cause else (),
        says=says,
    )


def _cases() -> Iterator[Case]:
    yield _port("generator", inputs="20")
    yield _port("generator", "generator_last", inputs="20")
    yield _port("signal_generator", inputs="11")
    yield _port("labelled_generator", inputs="10", ids="1:0:4")
    place = ("concatenate*", "cat")
    yield _port("labelled_generator", "label_first", "10", "1:0:4", cause="operand-order", place=place)
    yield _port("coded", inputs="28x20x1")
    for wrong in ("cut_at_the_start", "padded_instead"):
        yield _port("coded", wrong, inputs="28x20x1", cause="conv-transpose-crop", place=("up1", "up1"))
    yield _port("unscaled_norms", inputs="19x17x6", says=("without a partner",))
    place = ("batch_normalization_1", "wide.0.bn")
    yield _port("unscaled_norms", "other_scales", inputs="19x17x6", cause="weight-scale", place=place)
    yield _port("conditioned", inputs="12x10x3 4")
    yield _port("stem", inputs="20x20x3")
    case = _port("stem", "careless_stem", inputs="20x20x3", cause="same-padding-stride", place=("conv1", "conv1"))
    yield replace(case, sources=(*case.sources, Source(("pool1",), ("pool1",), ("pool-padding",))))
    two = "19x16x3 19x16x3"
    port = partial(_port, cause="activation-missing", place=("absolute", "sub"), family="structures")
    yield port("siamese", "siamese_without_its_end", two)


def _attention() -> Iterator[Case]:
    for torch in ("three", "three_disordered", "three_fused"):
        yield _port("stacked_attention", torch, inputs="10x12")
    yield _port("interleaved_attention", "three_without_biases", inputs="10x12")
    for torch in ("keys_first", "ready_made", "ready_made_with_weights"):
        yield _port("attention_by_hand", torch, inputs="9x12")
    for torch in ("keys_with_values", "queries_with_keys"):
        yield _port("attention_by_hand", torch, inputs="9x12")
    cause, place = "attention-scale-or-heads", ("*", "*attention*")
    yield _port("attention_by_hand", "keys_with_values_of_another_scale", "9x12", cause=cause, place=place)
    yield _port("attention_of_pixels", inputs="5x4x6")
    name, two = "cross_attention_by_hand", "7x12 5x12"
    yield _port(name, inputs=two, family="attention")
    at = ("matmul_1", "attention*")
    case = _port(name, "cross_attention_of_one_head", two, cause=cause, place=at, family="attention")
    yield replace(case, name=f"{case.name}_by_hand")
    port = partial(_port, "self_attention", inputs="7x12", cause=cause, family="attention")
    yield port("self_attention_of_two_heads", place=("attention*", "matmul"))
    yield port("self_attention_stacked_of_two_heads", place=("attention/query", "unbind"))
    case = port("self_attention_every_so_many", place=("attention*", "matmul"))
    yield replace(case, sources=(*case.sources, Source(("attention*",), ("matmul_1",), (cause,))))
    port = partial(_port, "causal_attention", inputs="7x12", place=("attention*", "softmax"), family="attention")
    case = port("self_attention_by_hand", cause="attention-mask-polarity")
    yield replace(case, name="attention-causal_attention_without_a_mask")
    name, place = "pre_norm_encoder_queries_scaled", ("one_norm1", "0.norm1")
    port = partial(_port, "pre_norm_encoder", inputs="7x12", family="attention")
    yield port(name)
    yield port(f"{name}_behind_another_eps", cause="layernorm-eps", place=place)


def _sequences() -> Iterator[Case]:
    yield _port("frames_to_sequence", inputs="5x12x10x2")
    yield _port("translator", ids="7:0:19 6:0:24")
    yield _port("masked_both_ways", ids="9:1:19")
    case = _port("masked_both_ways", ids="9:0:19", cause="unknown", place=("bidirectional", "gru*"))
    yield replace(case, name="further-masked_within", note="packing leaves out the end, masking every zero")


def _states() -> Iterator[Case]:
    port = partial(_port, family="states")
    for name in ("translator", "both_ways", "both_ways_lstm", "joined"):
        yield port(name, inputs="7x6 5x6")
    yield port("padded", inputs="7x12 7")
    last = partial(port, inputs="7x5", cause="recurrent-last-step", place=("reader", "reader"))
    yield from (port(name, inputs="7x5") for name in ("one_way", "ends"))
    yield from (last("one_way", name) for name in ("one_way_mean", "one_way_cell"))
    yield from (last("ends", "ends_last_step"), last("ends_summed", "ends_last_step_summed"))
    yield port("translator", "states_swapped", "7x6 5x6", cause="operand-order", place=("decoder", "decoder"))
    yield port("both_ways", "states_crossed", "7x6 5x6", cause="operand-order", place=("*", "flip"))
    yield port("joined", "joined_back_first", "7x6 5x6", cause="operand-order", place=("concatenate*", "cat*"))
    place = ("attention", "attention")
    yield port("padded", "padding_seen", "7x12 7", cause="attention-mask-polarity", place=place)
    yield port("plain", "a_key_more", "7x12", cause="unknown", place=place)
    yield port("tokens", "padding_read", "", ids="9:0:3", cause="unknown", place=("reader", "reader"))


def _hunted() -> Iterator[Case]:
    port, image = partial(_port, family="hunted"), "12x10x3"
    for name in ("flat_norm", "flat_layer_norm", "flat_product"):
        yield port(name, inputs="8x7x3")
    yield port("flat_layer_norm", inputs="8x7x3", options=("--train",))
    yield port("flat_product", inputs="8x7x3", options=("--train",))
    yield port("flat_beside_numbers", inputs="8x7x3 5")
    yield port("flat_pyramid", inputs="16x12x3")
    yield port("flat_result", inputs="8x7x3", cause="flatten-order", place=("flatten*", "1"))
    yield port("flat_result", "flat_result_in_order", "8x7x3")
    yield port("boxes", inputs="12x10x3")
    for torch in ("value", "value_of_a_positive_mean"):
        yield port("value", torch, image)
    yield port("value", "value_of_a_capped_mean", image, cause="activation-extra", place=("", "mean"))
    yield port("value", "value_clipped_elsewhere", image, cause="unknown", place=("clip*", "clamp"))
    yield port("steps", inputs="8x3")
    yield port("steps", "steps_turned", "8x3", cause="axis-mismatch", place=("lstm", "transpose"))
    yield port("duel", inputs="9")
    yield port("duel", "duel_of_the_largest", "9", cause="unknown", place=("mean", "*max"))
    yield port("residual", inputs=image)
    yield port("residual", "residual_forgotten", image, cause="unknown", place=("sum1", ""))
    yield port("complement", inputs="9")
    yield port("thrice", inputs="4x6x3")
    yield port("thrice", "thrice_by_corners", "4x6x3", cause="resize-coordinates", place=("larger", "1"))
    yield port("boxes", "boxes_in_a_heap", "12x10x3", cause="flatten-order", place=("reshape*", "heap*"))
    yield port("patches", inputs="12x16x3", says=("reads patches",))
    for name in ("capped", "neighbours", "named"):
        yield port(name, inputs=image)
    yield port("named", inputs=image, options=("--train",))
    yield port("capped", "not_capped", image, cause="relu6-missing", place=("capped", "2"))
    yield port("root_mean_square", inputs="6x16")
    yield port("root_mean_square", "other_eps", "6x16", cause="layernorm-eps", place=("rms", "mul_1"))
    yield port("places", inputs="", ids="11:0:39")


def _spelt() -> Iterator[Case]:
    """Yield the same arithmetic written in two ways; behind a fault, values do not tell what belongs together."""
    port, image = partial(_port, family="spelt"), "12x10x3"
    behind = partial(port, cause="batchnorm-eps", place=("norm", "*norm"))
    for name, size in (
        ("pixel_norms", image), ("pixels", image), ("picture", image), ("places_of_mass", "9x7x3"), ("causal", "23x5"),
    ):  # fmt: skip
        yield port(name, inputs=size)
    yield behind("pixel_norms", "pixel_norms_behind_a_fault", image)
    case = behind("pixel_norms", "pixel_norms_behind_a_fault", image, options=("--train",))
    kept = (Source(("norm",), ("*norm", "1"), (f"batchnorm-{one}",)) for one in ("momentum", "running-variance"))
    yield replace(case, sources=(*case.sources, *kept))
    yield behind("picture", "picture_behind_a_fault", image)
    yield behind("places_of_mass", "places_of_mass_behind_a_fault", "9x7x3")
    place = ("subtract", "*")
    yield port("pixels", "pixels_with_means_in_the_wrong_order", image, cause="channel-order", place=place)
    case = behind("pixel_norms", "pixel_norms_of_which_one_is_wrong", image)
    eps = Source(("pixel_norm_1/*",), ("5*",), ("residual-scale", "unknown"))
    yield replace(case, sources=(*case.sources, eps))
    case = behind("picture", "picture_twice_as_bright", image)
    yield replace(case, sources=(*case.sources, Source(("*",), ("mul*",), ("residual-scale",))))
    yield port("sparse", inputs="7")
    yield port("sparse", "sparse_to_a_half", "7", cause="unknown residual-scale", place=("sparse/*", "*"))
    yield port("eps", "eps_out_of_float32", "7")
    yield replace(port("eps_out_of_float32", "eps", "7"), name="spelt-eps_of_tensorflow_out_of_float32")
    yield replace(port("eps_out_of_float32", inputs="7"), name="spelt-eps_out_of_float32_on_both_sides")
    case = port("eps", "eps_a_millionth_more", "7", cause="batchnorm-eps", place=("batch", "1"))
    yield replace(case, sources=(*case.sources, Source(("layer",), ("4",), ("layernorm-eps",))))
    yield port("correlated", inputs="12x3")
    yield port("delayed", inputs="12x3")
    yield port("delayed", "delayed_backwards", "12x3", cause="unknown output-permutation", place=("delayed/*", "*"))
    yield port("blurred", inputs="13x11x3", says=("nobody trains it",))
    yield port("blurred", "blurred_less", "13x11x3", cause="unknown", place=("blur/*", "*"))
    yield port("unpooled", inputs="12x10x3")
    yield port("unpooled", "unpooled_to_the_smallest", "12x10x3", cause="residual-scale", place=("", "mul"))
    cause = "same-padding-stride"
    yield port("causal", "cut_at_the_wrong_end", "23x5", cause=cause, place=("conv2", "conv2"))
    for name in ("biased_parts", "biased_parts_turned", "factored"):
        yield port(name, inputs="7x24")
    yield port("located", inputs="7x5x3")
    yield port("located", "located_for_each", "7x5x3")
    yield port("located", "located_elsewhere", "7x5x3", cause="unknown", place=("located/token", "token"))
    case = port("biased_parts", "biased_keys", "7x24", cause="unknown", place=("qkv", "linear"))
    yield replace(case, sources=(*case.sources, Source(("matmul*",), ("scaled*",), ("unknown",))))


def _by_hand() -> Iterator[Case]:
    port, image, train = partial(_port, family="byhand"), "10x8x3", ("--train",)
    ids = "9:0:39 9:0:11 9:0:1"
    for torch in ("sum_of_three", "sum_of_three_in_place"):
        yield port("sum_of_three", torch, ids=ids)
    yield port("sum_of_three", ids=ids, options=train)
    yield port("sum_of_three", "sum_of_three_scaled", ids=ids, cause="residual-scale", place=("embedding_2", "mul"))
    for options in ((), train):
        yield port("three_branches", inputs="9x8x3", options=options)
        yield port("layer_norms", inputs=image, options=options)
        yield port("instance_norms", inputs=image, options=options)
    for torch in ("patches", "patches_by_windows"):
        yield port("patches", torch, "12x16x3")
    yield port("overlapping_patches", inputs="12x16x3")
    wrong = "unknown output-permutation"
    yield port("patches", "patches_turned", "12x16x3", cause=wrong, place=("patches/*", "transpose*"))
    for name, others in _WRITTEN.items():
        for torch in others:
            yield port(name, torch, "7x12" if name in _OF_SEQUENCES else image)
    for name, torch, cause in _WRONGLY_WRITTEN:
        place, inputs = (("norm", "1"), "7x12") if name in _OF_SEQUENCES else (("norm1", "1"), image)
        case = port(name, torch, inputs, cause=cause, place=place)
        second = Source(("norm2",), ("4",), tuple(cause.split()))
        yield case if name in _OF_SEQUENCES else replace(case, sources=(*case.sources, second))


_OF_SEQUENCES = ("sequence_norm", "root_mean_square", "root_mean_square_layer")
_WRITTEN = {
    "layer_norms": ("layer_norms_permuted", "layer_norms_by_moments"),
    "channel_norms": ("channel_norms",),
    "instance_norms": ("instance_norms_by_hand",),
    "batch_norms": ("batch_norms",),
    "group_norms": ("group_norms",),
    "group_norm_layers": ("group_norm_layers",),
    "sequence_norm": ("sequence_norm",),
    "root_mean_square": ("root_mean_square", "root_mean_square_by_hand"),
    "root_mean_square_layer": ("root_mean_square_layer",),
}
_WRONGLY_WRITTEN = (
    ("layer_norms", "layer_norms_other_eps", "layernorm-eps"),
    ("layer_norms", "layer_norms_unbiased", "unknown"),
    ("layer_norms", "layer_norms_uncentred", "unknown"),
    ("instance_norms", "instance_norms_other_eps", "layernorm-eps"),
    ("instance_norms", "instance_norms_by_hand_other_eps", "layernorm-eps"),
    ("batch_norms", "batch_norms_other_eps", "batchnorm-eps"),
    ("group_norms", "group_norms_of_two", "groupnorm-groups"),
    ("group_norm_layers", "group_norm_layers_other_eps", "layernorm-eps"),
    ("sequence_norm", "sequence_norm_other_eps", "layernorm-eps"),
    ("root_mean_square", "root_mean_square_other_eps", "layernorm-eps"),
    ("root_mean_square_layer", "root_mean_square_layer_other_eps", "layernorm-eps"),
)


def _carried() -> Iterator[Case]:
    """Yield weights that one side holds, or adds, in other places than the other."""
    port = partial(_port, family="carried")
    for torch in ("tied", "tied_function", "tied_product"):
        yield port("tied", torch, ids="9:0:20")
    for torch in ("tied_square", "tied_square_product"):
        yield port("tied_square", torch, ids="9:0:11")
    place = ("matmul", "out")
    yield port("tied_square", "tied_square_without_bias", ids="9:0:11", cause="bias-missing-or-doubled", place=place)
    for torch in ("products", "products_second", "products_both"):
        yield port("products", torch, "5 7", says=("carried as a whole",))
    yield port("products_of_layers", inputs="5 7", says=("carried as a whole",))
    yield port("products", "products_halved", "5 7", cause="unknown residual-scale", place=("products/*", "mul"))
    yield port("recurrence", inputs="3x5")
    yield port("recurrence", "recurrence_swapped", "3x5", cause="unknown", place=("multiply*", "mul*"))
    for tensorflow in ("waves", "waves_gate_first"):
        case = port(tensorflow, "waves", "15x3")
        yield replace(case, name=f"carried-{tensorflow}")
    for torch in ("waves_linear", "waves_glu"):
        yield port("waves_linear", torch, "15x3")
    yield port("waves_fused", "waves_apart", "15x3")
    yield port("waves", "waves_other_dilation", "15x3", cause="unknown dilation-or-groups", place=("gated1/*", "*"))
    yield port("waves_fused", "waves_hard_gate", "15x3", cause="hard-sigmoid-slope", place=("gated1/*", "*"))
    yield port("tables", inputs="5x6")
    yield port("tables", "tables_turned", "5x6", cause="unknown", place=("biased1/*", "*"))
    yield port("tokens", inputs="5x8")
    yield port("groups_apart", "groups_together", "13x9x3")
    yield port("groups_split", "groups_of_two", "13x9x3")
    yield port("groups_together", "groups_apart", "13x9x3")
    yield port("groups_apart", "groups_dilated", "13x9x3", cause="unknown dilation-or-groups", place=("joined1", "*"))
    yield port("standardised", inputs="12x10x3")
    yield port("standardised", "standardised_by_one_less", "12x10x3", cause="unknown", place=("second/*", "2*"))
    said = ("no weights could be carried between", "--map")
    train = ("--train",)
    yield port("tied", "tied_product", ids="9:0:20", options=train)
    for name, size in (("products", "5 7"), ("waves", "15x3"), ("tables", "5x6"), ("standardised", "12x10x3")):
        yield port(name, inputs=size, options=train)
    yield port("sized", "other_kernel", "12x10x3", cause="unknown", place=("conv2", "2"))
    yield port("sized", "other_units", "12x10x3", cause="unknown", place=("hidden", "6"))
    yield port("mixture", inputs="12x10x3", verdict="undecided", says=said)
    yield port("neighbours", inputs="6x4", verdict="undecided", says=said)
    yield port("recurrent_images", inputs="4x9x11x2")
    yield port("cells", inputs="5x4")
    yield port("signal", inputs="7x5")
    yield port("squares", inputs="7x5")
    yield port("squares", "squares_turned", "7x5")
    yield port("biases_in_rows", inputs="3x5")


def _held() -> Iterator[Case]:
    """Yield weights that one side reads as an operation of its own, normalises elsewhere, or holds as a constant."""
    port, train = partial(_port, family="held"), ("--train",)
    for options in ((), train):
        yield port("fusion", inputs="12x8x3 6x4x3", options=options)
        yield port("learned_start", inputs="8", options=options)
        yield port("token", inputs="6x8", options=options)
    yield port("groups_by_depthwise", inputs="11x9x3")
    yield port("fusion", "fusion_by_mean", "12x8x3 6x4x3", cause="unknown residual-scale", place=("fuse2/*", "*"))
    place = ("grow", "grow")
    yield port("learned_start", "learned_start_dilated", "8", cause="unknown dilation-or-groups", place=place)
    case = port("token", "token_norm_behind", "6x8", cause="unknown", place=("wide1", "block1.wide"))
    yield replace(case, sources=(*case.sources, Source(("get_item",), ("getitem",), ("unknown",))), note="a norm moved")
    place = ("norm", "3")
    yield port("groups_by_depthwise", "groups_by_depthwise_other_eps", "11x9x3", cause="batchnorm-eps", place=place)
    yield port("learned_queries", inputs="6x8")
    place = ("read/attention", "mul*")
    yield port("learned_queries", "learned_queries_halved", "6x8", cause="input-scale", place=place)
    yield port("factors", inputs="8", says=("belong together by their shape alone",))
    baked = ("constant numbers in the place of torch's `places.weight`",)
    yield port("baked_positions", ids="7:0:19", says=baked)
    yield port("baked_positions", "baked_positions_backwards", ids="7:0:19", cause="unknown", place=("add", "add"))
    alone = ("places.weight",)
    yield port("baked_positions", ids="7:0:19", options=train, verdict="undecided", says=alone)


def _recurrences() -> Iterator[Case]:
    """Yield recurrence in its other forms: a cell's steps, a stack's layers, time in front, several lengths."""
    port, size = partial(_port, family="cells"), "7x5"
    pairs = {
        "gru_loop": "gru_loop gru_layer gru_one_step", "gru_loop_mean": "gru_mean", "lstm_loop": "lstm_loop lstm_layer",
        "rnn_loop": "rnn_loop rnn_layer", "two_cells": "two_cells", "two_alike": "two_alike two_layers",
    }  # fmt: skip
    names = "around_gru around_lstm around_both_ways stack stack_of_gru"
    for tensorflow, torch in (*pairs.items(), *zip(names.split(), names.split(), strict=True)):
        for one in torch.split():
            yield port(tensorflow, one, size)
    yield replace(port("gru_layer", "gru_loop", size), name="cells-layer_as_loop")
    yield replace(port("lstm_states", "lstm_loop", size), name="cells-states_as_loop")
    yield port("stack_translator", inputs="7x5 6x5")
    for torch in ("attending", "attending_cell"):
        yield port("attending", torch, ids="8:0:19 5:0:14")
    yield port("columns", inputs="8x18x1")
    yield port("columns_at_once", inputs="8x18x1")
    yield port("columns", "columns_time_first", "8x18x1")
    for tensorflow, torch in (
        ("lengths", "lengths lengths_packed_again"), ("lengths_two_layers", "lengths_two_layers"),
        ("lengths_one_way", "lengths_one_way lengths_one_way_packed_again"),
    ):  # fmt: skip
        for one in torch.split():
            yield port(tensorflow, one, "9x4", "1:3:9")
    yield port("sharpened", inputs="9x8x3")
    yield port("gru_loop", inputs=size, options=("--train",))
    yield port("gru_drawn", inputs=size, options=("--weights", "as-is"))


def _recurrences_gone_wrong() -> Iterator[Case]:
    port, size, image = partial(_port, family="cells"), "7x5", "8x18x1"
    as_is = ("--weights", "as-is")
    cell = ("gru_cell*", "cells.0")
    yield replace(
        port("gru_loop_reset_before", "gru_loop", size, cause="gru-reset-after", place=cell), name="cells-reset"
    )
    yield port("gru_drawn", "gru_gates_as_in_keras", size, options=as_is, cause="gru-gate-order", place=cell)
    place = ("simple_rnn_cell*", "cells.0")
    yield port("rnn_loop", "rnn_rectified", size, cause="activation-missing", place=place)
    yield port("lstm_loop", "lstm_forgetful", size, cause="unknown", place=("lstm_cell*", "cells.0"))
    yield port("around_lstm", "around_lstm_first_step", size, cause="recurrent-last-step", place=("rnn_*", "second"))
    yield port("stack_of_gru", "stack_first_layer", size, cause="unknown", place=("rnn*/gru_cell*", "rnn.l1"))
    case = port("attending", "attending_stale", ids="8:0:19 5:0:14", cause="unknown", place=("gru_cell*", "write"))
    yield replace(
        case, sources=(*case.sources, Source(("dense*",), ("query",), ("unknown",))), note="it reads that, too"
    )
    place = ("batch_normalization*", "norm")
    yield port("columns", "columns_other_eps", image, cause="batchnorm-eps", place=place)
    yield port("columns", "columns_cut_anyhow", image, cause="flatten-order", place=("reshape*", "reshape*"))
    yield port("lengths", "lengths_padding_read", "9x4", "1:3:9", cause="unknown", place=("gru*", "second"))
    place = ("sharpened/lrn", "1")
    yield port("sharpened", "sharpened_narrower", "9x8x3", cause="unknown", place=place)


def _functions() -> Iterator[Case]:
    yield _port("fourier_mixing", inputs="10x12")
    yield _port("prototypes", inputs="9")
    place = ("prototypes/*", "*")
    yield _port("prototypes", "squared", inputs="9", cause="unknown activation-missing", place=place)
    yield _port("whole_numbers", inputs="8")
    yield _port("whole_numbers", "subtracted_floor", inputs="8")
    yield _port("whole_numbers", "sign_of_the_number", inputs="8", cause="unknown", place=("*", "*"))
    yield _port("largest_four", inputs="15x6")
    yield _port("squashed", inputs="6x8")


def _training() -> Iterator[Case]:
    """Yield Keras 2's norms: behind a Dense the moving variance is divided by the count, in torch by one less."""
    yield _port("legacy_norms", inputs="9x8x3")
    yield _port("legacy_elsewhere", inputs="9x8x3", family="asked")
    place = ("batch_normalization_1", "5")
    train = ("--train",)
    yield _port("legacy_norms", inputs="9x8x3", options=train, cause="batchnorm-running-variance", place=place)


def _constants() -> Iterator[Case]:
    """Yield what is done to pixels by plain arithmetic, and tables that both sides made in their own way."""
    image, train = "12x10x3", ("--train",)
    yield _port("whitened", inputs=image)
    yield _port("whitened", "only_scaled", inputs=image, cause="input-scale", place=("true_divide_1", "*"))
    yield _port("whitened", "unprepared", inputs=image, cause="input-scale", place=("true_divide_1", "*"))
    yield _port("whitened_by_layer", inputs=image)
    case = _port("whitened_by_layer", "unprepared", inputs=image, cause="input-scale", place=("norm", ""))
    yield replace(case, name="further-unprepared_by_layer")
    yield _port("whitened_module", "no_head", inputs=image, cause="input-scale", place=("divide", "*"))
    for options in ((), train):
        yield _port("turned", inputs="8x12", options=options)
        yield _port("sine_positions", ids="40:0:49", options=options)
        yield _port("enlarged_smoothly", inputs="12x14x3", options=options)
    yield replace(
        _port("turned", "other_base", inputs="8x12", cause="unknown", place=("multiply*", "mul*")),
        note="the tables are nobody's weights: each product with one is named",
    )


def _ties() -> Iterator[Case]:
    """Yield maxima over equal numbers: no weight feels who gets the gradient of a ReLU's zeros, but others feel it."""
    port, train = partial(_port, family="ties"), ("--train",)
    for torch in ("words", "words_shared", "words_pooled"):
        yield port("words", torch, ids="20:0:29", options=train)
    place = ("global_max_pooling1d*", "max*")
    yield port("words", "words_half_detached", ids="20:0:29", options=train, cause="unknown", place=place)
    yield port("padded", inputs="15x13x3", options=train)
    place = ("max_pooling2d*", "pool*")
    yield port("padded", "padded_half_detached", "15x13x3", options=train, cause="unknown", place=place)
    case = port("padded", "padded_smaller", "15x13x3", options=train, cause="pool-padding", place=place)
    yield replace(case, tolerated=("same-padding-stride",), note="Keras's padding is a layer of its own")
    as_is = ("--weights", "as-is", *train)
    yield port("from_zero", ids="12:0:2", options=as_is)
    place = ("global_max_pooling1d", "max")
    yield port("from_zero", "from_zero_one_place", ids="12:0:2", options=as_is, cause="unknown", place=place)
    yield port("reader", inputs="7x4")
    place = ("attention*", "attention.softmax")
    yield port("reader", "reader_along_one", "7x4", cause="axis-mismatch", place=place)


def _pictures() -> Iterator[Case]:
    port, image, back = partial(_port, family="pictures"), "18x16x3", ("--weights", "torch-to-tf")
    for way in ("grey", "grey_by_buffer", "grey_by_kernel"):
        yield port("grey", way, image)
    yield port("grey", "grey_of_another_red", image, cause="unknown", place=("grey*", "*"))
    yield port("whole_numbers", ids="14x12x3:0:255")
    place = ("scaled*", "div*")
    yield port("whole_numbers", "whole_numbers_by_more", ids="14x12x3:0:255", cause="input-scale", place=place)
    yield port("smoothed", inputs=image)
    yield port("smoothed", "unsmoothed", image, cause="unknown", place=("smaller*", "interpolate"))
    yield replace(port("norms", inputs="12x10x4", options=back), name="pictures-norms-back")
    yield port("words", ids="14:0:29")
    yield replace(port("words", ids="14:0:29", options=back), name="pictures-words-back")
    as_is = ("--weights", "as-is")
    yield port("drawn_generator", inputs="8", options=as_is)
    port_ = partial(port, "drawn_generator", inputs="8", options=as_is)
    yield port_("generator_as_keras_has_it", cause="flatten-order", place=("start", "start"))
    case = port_("generator_with_kernels_exchanged", cause="weight-wrong-layer", place=("first", "first"))
    yield replace(case, sources=(*case.sources, Source(("second",), ("second",), ("weight-wrong-layer",))))
    yield port("selected", inputs="6x6x3")
    yield port("selected", "selected_by_columns", "6x6x3", cause="axis-mismatch", place=("pool", "mean"))
    yield port("words_as_pictures", "words_as_signals", ids="14:0:29")
    yield port("words", "words_by_mean", ids="14:0:29", cause="unknown", place=("global_max*", "mean*"))


def settled() -> Iterator[Case]:
    """Yield what testers' ports could not be told about for long."""
    yield from _flat_vectors()
    yield from _kept_statistics()
    yield from _pixels()
    yield from _spreads()
    yield from _positions()
    yield from _causal()


def _flat_vectors() -> Iterator[Case]:
    """Yield flattened images that meet a Dense layer's units, each of which belongs to one of their numbers."""
    port, image = partial(_port, family="settled"), "8x7x3"
    for name in ("flat_residual", "flat_gate", "flat_highway", "flat_blocks"):
        yield port(name, inputs=image)
    for name in ("flat_residual", "flat_gate"):
        yield port(name, inputs=image, options=("--train",))
    yield port("flat_modulated", inputs=f"{image} 5")
    yield port("flat_residual", "flat_residual_halved", image, cause="residual-scale", place=("add*", "mul"))
    yield port("flat_gate", "flat_gate_without_sigmoid", image, cause="activation-missing", place=("gate", "gate"))
    place = ("batch_normalization_1", "blocks.1.4")
    yield port("flat_blocks", "flat_blocks_other_eps", image, cause="batchnorm-eps", place=place)


def _kept_statistics() -> Iterator[Case]:
    """Yield batch normalisations by kept statistics that are written out, as detection networks have them."""
    port, image = partial(_port, family="settled"), "12x10x3"
    place = ("norm2*", "norm2*")
    eps = partial(port, cause="batchnorm-eps", place=place)
    yield port("frozen_norms", inputs=image)
    yield eps("frozen_norms", "frozen_norms_one_eps", image)
    yield port("frozen_norms", "frozen_norms_without_root", image, cause="batchnorm-stats-swap", place=place)
    yield port("frozen_norms_without_shift", inputs=image)
    yield eps("frozen_norms_without_shift", "frozen_norms_without_shift_one_eps", image)
    case = port("frozen_norms", inputs=image, options=("--weights", "torch-to-tf"))
    yield replace(case, name="settled-frozen_norms_back")
    for torch in ("frozen_norms", "plain_norms"):
        yield replace(port("frozen_norms_by_hand", torch, image), name=f"settled-{torch}_on_both")
        case = eps("frozen_norms_by_hand", f"{torch}_one_eps", image)
        yield replace(case, name=f"settled-{torch}_on_both_one_eps")
    yield port("kept_statistics", inputs="9")
    yield eps("kept_statistics", "kept_statistics_other_eps", "9")
    yield port("kept_statistics_by_hand", "normed_vectors", "9")


def _pixels() -> Iterator[Case]:
    """Yield what is done to pixels in other steps on either side: a fault in it has one place."""
    port, image = partial(_port, family="settled"), "12x10x3"
    for torch in ("colours", "colours_turned_last"):
        yield port("colours", torch, image)
    place = ("subtract", "sub")
    yield port("colours", "colours_not_turned", image, cause="channel-order", place=place)
    torch = "colours_turned_first_with_means_turned"
    yield port("colours", torch, image, cause="input-scale", place=place)
    torch = "colours_turned_last_with_means_as_they_are"
    yield port("colours", torch, image, cause="channel-order", place=place)
    for tensorflow in ("standard_pixels", "rescaled_pixels"):
        for torch in ("standard_pixels", "rescaled_pixels"):
            yield replace(port(tensorflow, torch, image), name=f"settled-{tensorflow}_as_{torch}")
    scale = partial(port, cause="input-scale")
    yield scale("standard_pixels", "standard_pixels_other_means", image, place=place)
    yield scale("standard_pixels", "rescaled_pixels_other_offset", image, place=("true_divide", "mul"))
    case = scale("rescaled_pixels", "standard_pixels_other_means", image, place=("prepare/add", "sub"))
    yield replace(case, name="settled-rescaled_pixels_other_means")


def _spreads() -> Iterator[Case]:
    """Yield variances and deviations in TensorFlow's steps and in torch's one, which divides by one less by default."""
    port, image = partial(_port, family="settled"), "12x10x3"
    less = partial(port, cause="unknown")
    yield port("standardised_picture", inputs=image)
    yield less("standardised_picture", "standardised_picture_by_one_less", image, place=("standard/sqrt", ""))
    name = "standardised_picture_by_tensorflow"
    yield port(name, inputs=image)
    yield less(name, f"{name}_by_one_less", image, place=("standard/sqrt", ""))
    yield port("pooled_statistics", inputs="17x6")
    yield less("pooled_statistics", "pooled_statistics_by_one_less", "17x6", place=("pool/sqrt", "std"))
    two = "12x10x4 12x10x4"
    yield port("restyled", inputs=two)
    yield less("restyled", "restyled_by_one_less", two, place=("style/mean_3", "var_1"))


def _positions() -> Iterator[Case]:
    """Yield positions that are constant numbers on one side, and a weight, which somebody may train, on the other."""
    port, ids = partial(_port, family="settled"), "9:0:19"
    said = ("constant numbers in the place of torch's",)
    for torch in ("positions", "positions_by_buffer", "positions_as_they_are", "positions_of_longer_texts"):
        yield port("positions_added", torch, ids=ids, says=said)
    for torch in ("positions_backwards", "positions_of_longer_texts_from_one"):
        yield port("positions_added", torch, ids=ids, cause="unknown", place=("sum", "add"))
    for torch in ("waves_in_a_buffer", "waves_that_are_frozen", "waves_that_train"):
        yield port("waves", torch, ids=ids)
    yield port("waves", "waves_one_further", ids=ids, cause="unknown", place=("add", "add"))
    case = port("waves_in_a_layer", "waves_in_a_buffer", ids=ids, says=("nobody trains it",))
    yield replace(case, name="settled-waves_in_a_layer")


def _causal() -> Iterator[Case]:
    """Yield temporal convolutions that see nothing of what comes later, but for those that are padded at the end."""
    port, size = partial(_port, family="settled"), "23x5"
    for torch in ("temporal", "temporal_padded_before"):
        yield port("temporal", torch, size)
    for torch in ("temporal_cut_at_the_start", "temporal_padded_behind"):
        yield port("temporal", torch, size, cause="same-padding-stride", place=("second2", "blocks.1.second*"))


def named() -> Iterator[Case]:
    """Yield nets with one fault each that was called another, or none, and the right ports beside them."""
    port, as_is = partial(_port, family="named"), ("--weights", "as-is")
    yield port("masked_attention", ids="9:0:5")
    for torch in ("masked_attention_inverted", "masked_attention_inverted_with_weights"):
        place = ("attention", "attention")
        yield port("masked_attention", torch, ids="9:0:5", cause="attention-mask-polarity", place=place)
    size = "14x12x3"
    yield port("blue_first", inputs=size)
    yield port("blue_first", "blue_first_not_turned", size, cause="channel-order", place=("", "sub"))
    yield port("blue_first", "blue_first_red_first", size, cause="channel-order", place=("", "sub"))
    yield port("standardised", inputs=size)
    yield port("standardised", "standardised_from_bytes", size, cause="input-scale", place=("true_divide", "sub"))
    size, less = "12x10x3", partial(port, cause="dilation-or-groups", place=("grouped", "grouped"))
    for right, wrong in (("grouped", ("grouped_by_two", "grouped_no_more")), ("depthwise", ("depthwise_no_more",))):
        yield port(right, inputs=size)
        yield from (less(right, torch, size) for torch in wrong)
    yield port("unit_vectors", "unit_vectors_with_its_floor", "7")
    yield port("unit_vectors", inputs="7", cause="l2-normalize-eps", place=("unit*", "normalize"))
    yield port("unit_vectors_behind_a_bias", inputs="7", says=("l2-normalize-eps",))
    yield port("pixels", inputs="5x4x8")
    heads = partial(port, cause="attention-scale-or-heads")
    yield heads("pixels", "pixels_unscaled", "5x4x8", place=("", "scaled_dot_product_attention"))
    yield port("blocks", ids="8:0:16")
    case = heads("blocks", "blocks_of_four_heads", ids="8:0:16", place=("", "scaled_dot_product_attention"))
    second = Source(("",), ("scaled_dot_product_attention_1",), ("attention-scale-or-heads",))
    yield replace(case, sources=(*case.sources, second))
    place = ("", "scaled_dot_product_attention")
    yield port("blocks", "blocks_that_see_ahead", ids="8:0:16", cause="attention-mask-polarity", place=place)
    yield port("each_channel", inputs="12x10x3")
    place = ("norm", "norm")
    yield port("each_channel", "each_channel_by_another_eps", "12x10x3", cause="layernorm-eps", place=place)
    turned = partial(port, inputs="8x4", options=as_is, cause="kernel-layout", place=("recurrence", "recurrence"))
    for right in ("simple_recurrence", "long_memory"):
        yield port(right, inputs="8x4", options=as_is)
        yield turned(right, f"{right}_not_transposed")
    yield turned("long_memory", "long_memory_not_transposed_in_one")
    yield port("square", inputs="6x6")
    yield port("square", "square_over_the_channels", "6x6", cause="axis-mismatch", place=("mean", "mean"))


def _places(*named: tuple[str, str, str]) -> tuple[Source, ...]:
    """Return sources from causes with TensorFlow's and torch's names."""
    return tuple(Source((mine,), (theirs,), (cause,)) for cause, mine, theirs in named)


def asked() -> Iterator[Case]:
    """Yield layers that train, computed weights, merged directions and more that was asked about: right and wrong."""
    yield from _trained()
    yield from _computed()
    yield from _merged()
    yield from _exported()
    yield from _standardised()
    beside = partial(_port, "beside", inputs="9x8x3", options=("--weights", "as-is"), family="asked")
    yield beside("beside_crosswise", cause="weight-wrong-layer", place=("one", "one"))
    yield beside("beside_in_the_other_order", cause="operand-order", place=("both", "cat"))
    case = beside("beside_in_the_other_order", options=(), says=("their names say the reverse",))
    yield replace(case, name=f"{case.name}-carried")
    capsules = partial(_port, "capsules", inputs="8x7x3", family="asked")
    yield capsules()
    yield capsules("capsules_of_pixels", cause="flatten-order", place=("capsules", "reshape"))
    oblong = partial(_port, "oblong", "oblong_lying", "13x11x3", family="asked", place=("tall", "0"))
    yield oblong(cause="kernel-spatial-swap")
    back = oblong(cause="kernel-spatial-swap", options=("--weights", "torch-to-tf"))
    back = replace(back, says=(*back.says, "kernel_size="))
    yield replace(back, name=f"{back.name}-back")


def _trained() -> Iterator[Case]:
    """Yield batch normalisations in training: by hand, and with several differences in one layer."""
    port, image = partial(_port, family="asked", options=("--train",)), "12x10x3"
    norm = ("norm", "norm")
    by_hand = partial(port, "normed", inputs=image, place=norm)
    for torch in ("normed_by_hand", "normed_by_hand_in_place"):
        yield by_hand(torch)
    yield port("normed_away", inputs=image)
    yield by_hand("normed_by_hand_other_eps", cause="batchnorm-eps")
    yield by_hand("normed_by_hand_other_momentum", cause="batchnorm-momentum")
    yield by_hand("normed_by_hand_in_place_other_momentum", cause="batchnorm-momentum")
    yield by_hand("normed_by_hand_unbiased", cause="batchnorm-running-variance")
    yield by_hand("normed_by_hand_by_setting", verdict="undecided", says=("without a partner",))
    case = port("normed", "normed_other_eps", image, cause="batchnorm-eps", place=norm)
    found = ("batchnorm-eps", *norm), ("batchnorm-running-variance", *norm)
    yield replace(case, sources=_places(*found))
    case = port("normed", "normed_other_eps_and_momentum", image, cause="batchnorm-eps", place=norm)
    yield replace(case, sources=_places(*found, ("batchnorm-momentum", *norm)))


def _computed() -> Iterator[Case]:
    """Yield weights that torch computes from others: those of a spectral norm cannot hold any kernel."""
    port, image, as_is = partial(_port, family="asked"), "12x10x3", ("--weights", "as-is")
    second = ("second", "second")
    for torch in ("filters_of_norm_one", "filters_of_norm_one_by_hook"):
        yield port("filters", torch, image, cause="weight-scale", place=second)
    case = port("normalised_filters", "filters_of_norm_one", image, says=("vector_u",))
    yield replace(case, name="asked-normalised_filters")
    torch = "filters_of_length_and_direction"
    yield port("filters", torch, image)
    yield replace(port("filters", torch, image, options=as_is), name=f"asked-{torch}_as_is")
    scaled = partial(port, "filters", inputs=image, options=as_is, cause="weight-scale", place=("first", "first"))
    yield scaled(f"{torch}_twice_as_long")
    yield scaled(f"{torch}_a_little_longer")


def _merged() -> Iterator[Case]:
    """Yield both directions of a layer merged by Keras, and by operations behind it in torch."""
    port, size = partial(_port, family="asked", cause="activation-missing", place=("inner", "inner")), "8x5"
    for name in ("both_ways", "both_ways_multiplied", "backwards"):
        yield port(name, inputs=size, cause="")
        yield port(name, f"{name}_without_relu", size)
    yield port("both_ways_time_first", inputs=size, cause="")
    yield port("both_ways_time_first", "both_ways_time_first_rectified", size, place=("first", "first"))
    yield port("both_ways", "both_ways_other_eps", size, cause="batchnorm-eps", place=("norm", "norm"))


def _exported() -> Iterator[Case]:
    """Yield programs that the builder exported: they refuse to be put into a mode."""
    port, image = partial(_port, family="asked"), "12x10x3"
    yield port("normed", "exported", image)
    yield port("normed", "exported_other_eps", image, cause="batchnorm-eps", place=("norm", ""))


def _standardised() -> Iterator[Case]:
    """Yield pictures standardised by hand, where one side takes the variance of what is centred already."""
    port, image = partial(_port, family="asked"), "9x7x3"
    for mine, theirs in (("centred_first", "both_at_once"), ("centred_apart", "centred_first")):
        yield replace(port(mine, theirs, image), name=f"asked-{mine}_as_{theirs}")
        torch = f"{theirs}_by_one_less"
        case = port(mine, torch, image, cause="unknown", place=("norm/*", "var*"))
        yield replace(case, name=f"asked-{mine}_as_{torch}")


def _numbers() -> Iterator[Case]:
    """Yield models that return one number beside their answer."""
    port = partial(_port, family="asked")
    yield port("penalised", inputs="5")
    yield port("penalised", "penalised_more", "5", cause="unknown residual-scale", place=("multiply*", "*"))


def _gradients() -> Iterator[Case]:
    port = partial(_port, "gated", inputs="12", options=("--train",), family="gradients")
    yield port("gated")
    yield port("gated_with_it", cause="unknown", place=("multiply", "mul"))
    twice = "One step moves it differently: PyTorch's is 2 times TensorFlow's"
    yield port("gated_twice", verdict="different", says=(twice,))


FURTHER = (
    *_gradients(),
    *_pictures(),
    *_training(),
    *_constants(),
    *_cases(),
    *_attention(),
    *_sequences(),
    *_states(),
    *_hunted(),
    *_spelt(),
    *_functions(),
    *_by_hand(),
    *_carried(),
    *_held(),
    *_recurrences(),
    *_recurrences_gone_wrong(),
    *_ties(),
    *settled(),
    *named(),
    *asked(),
    *_numbers(),
)
