"""The pairs that are the same function, each written twice as two people would write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from suites.meta.ports.case import Case, Source

AS_IS = ("--weights", "as-is")


def _pairs(
    family: str,
    tensorflow: str,
    torch: str = "",
    inputs: str = "",
    ids: str = "",
    options: tuple[str, ...] = (),
    says: tuple[str, ...] = (),
    note: str = "",
) -> Iterator[Case]:
    """Yield a case for each of the torch functions, parted by blanks; their default is the same name."""
    for function in torch.split() or [tensorflow]:
        name = function if function.startswith(tensorflow) else f"{tensorflow}-{function}"
        yield Case(
            name=f"{family}-{name}" + ("-as-is" if options == AS_IS and not name.endswith("as_is") else ""),
            tensorflow=f"{family}_tensorflow.py:{tensorflow}",
            torch=f"{family}_torch.py:{function}",
            inputs=tuple(inputs.split()),
            int_inputs=tuple(ids.split()),
            options=options,
            says=says,
            note=note,
        )


def _images() -> Iterator[Case]:
    yield from _pairs("images", "sequential", "sequential ordered", "21x18x3")
    ways = "flatten view reshape channels_last contiguous"
    yield from _pairs("images", "functional", " ".join(f"functional_{way}" for way in ways.split()), "21x18x3")
    yield from _pairs("images", "subclassed", inputs="21x18x3")
    yield from _pairs("images", "unordered", inputs="13x12x3")
    yield from _pairs("images", "regularised", inputs="19x22x3")
    yield from _pairs("images", "regularised", "left_in_training", "19x22x3", says=("training mode",))
    yield from _pairs("images", "zero_padded", inputs="20x17x3")
    yield from _pairs("images", "same_strided", inputs="32x27x3")
    ways = "mean mean_negative adaptive module kernel twice"
    yield from _pairs("images", "pooled", " ".join(f"pooled_{way}" for way in ways.split()), "17x20x3")
    for name in ("pooled_keeping", "rescaled", "standardised", "map_output"):
        yield from _pairs("images", name, inputs="17x20x3")
    yield from _pairs("images", "sigmoid_output", inputs="17x20x1")
    yield from _pairs("images", "unpadded_channels_last", inputs="9x8x3", options=("--torch-layout", "same"))
    yield from _pairs("images", "per_pixel_dense", "per_pixel_conv per_pixel_linear", "9x8x3")
    yield from _pairs("images", "mlp", inputs="13")


def _convolutions() -> Iterator[Case]:
    sizes = {
        "depthwise": "15x18x4",
        "separable": "15x18x4",
        "transposed": "7x6x4",
        "transposed_wide": "7x6x4",
        "signals": "40x3",
        "causal": "23x3",
        "volumes": "9x8x7x2",
        "dilated": "19x22x3",
        "grouped": "13x12x4",
        "padded_pools": "14x17x3",
        "reflected": "14x17x3",
        "enlarged": "7x6x3",
        "cropped": "17x15x3",
        "tall_and_wide": "17x15x3",
    }
    for name, size in sizes.items():
        yield from _pairs("convolutions", name, inputs=size)


def _structures() -> Iterator[Case]:
    image = "19x16x3"
    for name in ("nested", "shared_layer", "two_outputs", "tupled_outputs"):
        yield from _pairs("structures", name, inputs=image)
    yield from _pairs("structures", "siamese", "siamese siamese_at_once", f"{image} {image}")
    both = _pairs("structures", "siamese_at_once", "siamese_at_once siamese", f"{image} {image}")
    yield from _renamed(both, "joined")
    yield from _pairs("structures", "two_towers", inputs=f"{image} {image}")
    yield from _pairs("structures", "image_and_features", inputs=f"{image} 5")
    yield from _pairs("structures", "named_outputs", "dict_outputs dataclass_outputs namedtuple_outputs", image)
    yield from _pairs("structures", "autoencoder", inputs="16x12x3")
    yield from _pairs("structures", "unet", inputs="16x24x3")
    for name in ("parallel", "arithmetic", "identity_like"):
        yield from _pairs("structures", name, inputs="7")


def _blocks() -> Iterator[Case]:
    sizes = {
        "resnet_v1": "29x26x3",
        "resnet_v2": "21x18x3",
        "densenet": "22x18x3",
        "inception": "17x19x3",
        "inverted_residual": "23x20x3",
        "squeeze_and_excite": "17x19x3",
        "convnext": "16x12x3",
        "highway": "7",
        "spatial_gate": "6x4",
        "masked": "4",
        "stepped_head": "5x4",
        "coupling": "4",
    }
    for name, size in sizes.items():
        yield from _pairs("blocks", name, inputs=size)


def _sequences() -> Iterator[Case]:
    size = "9x5"
    yield from _pairs("sequences", "lstm_last", "lstm_last lstm_hidden lstm_time_first", size)
    yield from _pairs("sequences", "lstm_drawn", "lstm_cell_loop", size, options=AS_IS)
    names = "lstm_sequence lstm_both_ways lstm_both_ways_last lstm_stacked lstm_two_layers lstm_states"
    for name in f"{names} gru_last gru_both_ways simple_rnn".split():
        yield from _pairs("sequences", name, inputs=size)
    back = ("--weights", "torch-to-tf")
    for name in ["lstm_both_ways", "lstm_stacked", "gru_both_ways", "simple_rnn"]:
        yield from _renamed(_pairs("sequences", name, inputs=size, options=back), "back")
    yield from _pairs("sequences", "text_lstm", ids="9:0:29")
    yield from _pairs("sequences", "text_average", "text_average text_bag", ids="9:0:29")
    yield from _pairs("sequences", "text_convolutions", "text_convolutions text_convolutions_twice", ids="12:0:29")
    yield from _pairs("sequences", "tied", ids="9:0:29")
    yield from _pairs("sequences", "frames", inputs="4x9x8x3")


def _attention() -> Iterator[Case]:
    size = "7x12"
    ways = "self_attention self_attention_with_weights self_attention_by_hand self_attention_stacked"
    yield from _pairs("attention", "self_attention", ways, size)
    yield from _pairs("attention", "cross_attention", inputs="7x12 5x12")
    ways = "causal_attention causal_attention_added causal_attention_by_hand causal_attention_stacked"
    yield from _pairs("attention", "causal_attention", ways, size)
    yield from _pairs("attention", "causal_attention_in_one_product", inputs=size)
    yield from _pairs("attention", "masked_attention", inputs=size)
    yield from _pairs("attention", "encoder", "encoder encoder_stack", size)
    ways = "pre_norm_encoder pre_norm_encoder_by_hand pre_norm_encoder_stacked"
    yield from _pairs("attention", "pre_norm_encoder", ways, size)
    yield from _pairs("attention", "vision_transformer", inputs="16x12x3")
    yield from _pairs("attention", "language_model", ids="7:0:29")
    yield from _pairs("attention", "plain_dot_product", inputs="7x6")


def _activations() -> Iterator[Case]:
    image = "13x11x3"
    yield from _pairs("activations", "rectifiers", "rectifiers rectifying_functions", image)
    yield from _pairs("activations", "smooth", "smooth smooth_functions", image)
    for name in ("hard", "functions", "learned", "norms"):
        yield from _pairs("activations", name, inputs=image)
    yield from _pairs("activations", "whole_map_norm", inputs="6x5x4")
    yield from _pairs("activations", "root_mean_square", inputs="7x6")
    yield from _pairs("activations", "log_softmax", inputs="7")


def _others() -> Iterator[Case]:
    image = "13x12x3"
    yield from _pairs("others", "module", "module parameters", image)
    yield from _pairs("others", "module", "module_as_is weight_norm_as_is", image, options=AS_IS)
    yield from _pairs("others", "module", "weight_norm", image, note="the kernel is copied through the parametrization")
    yield from _pairs("others", "graphed_module", "module", image)
    yield from _renamed(_pairs("others", "module", "module", image, options=("--weights", "torch-to-tf")), "back")
    yield from _pairs("others", "legacy_sequential", inputs=image)
    yield from _pairs("others", "legacy_functional", inputs=image)
    yield from _pairs("others", "legacy_recurrent", inputs="9x5")
    for name in ("lambdas", "functions"):
        yield from _pairs("others", name, inputs=image)
    yield from _pairs("others", "own_layers", inputs="7")
    yield from _pairs("others", "from_keras_file", "trained from_state_dict", image, options=AS_IS)
    yield from _pairs("others", "from_h5_file", "from_whole_module", image, options=AS_IS)
    yield from _pairs("others", "from_weights_file", "from_safetensors", image, options=AS_IS)
    yield from _pairs("others", "compiled", inputs=image)
    yield from _pairs("others", "built_late", "built_late lazy", "7")


def _training() -> Iterator[Case]:
    """Yield pairs that also take the same step; torch's own batch normalisation never does, Keras 2's with it does."""
    train = ("--train",)
    yield from _renamed(_pairs("images", "functional", "functional_flatten", "21x18x3", options=train))
    yield from _renamed(_pairs("structures", "unet", inputs="16x24x3", options=train))
    yield from _renamed(_pairs("attention", "pre_norm_encoder", "pre_norm_encoder_by_hand", "7x12", options=train))
    yield from _renamed(_pairs("sequences", "text_convolutions", ids="12:0:29", options=train))
    yield from _renamed(_pairs("others", "legacy_sequential", inputs="13x12x3", options=train))
    frozen = _renamed(_pairs("others", "module", "half_frozen", "13x12x3", options=train))
    told = (Source(("conv2d",), ("conv",), ("unknown",)),)
    note = "one side's kernel does not train"
    yield from (replace(case, verdict="different", sources=told, note=note) for case in frozen)


def _renamed(cases: Iterable[Case], ending: str = "train") -> Iterator[Case]:
    return (replace(case, name=f"{case.name}-{ending}") for case in cases)


CORRECT = (
    *_images(),
    *_convolutions(),
    *_structures(),
    *_blocks(),
    *_sequences(),
    *_attention(),
    *_activations(),
    *_others(),
    *_training(),
)
