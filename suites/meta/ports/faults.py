"""The planted faults: each in a shallow network and deep inside a network of five blocks with branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from suites.meta.ports.case import Case, Source

AS_IS = ("--weights", "as-is")
TRAIN = ("--train",)
SIZES = {"shallow": "21x18x3", "deep": "33x29x3"}


def _both(
    family: str,
    name: str,
    cause: str,
    tensorflow: str,
    torch: str,
    options: tuple[str, ...] = (),
    ids: str = "",
    tolerated: tuple[str, ...] = (),
    train: bool = False,
) -> Iterator[Case]:
    """Yield the shallow and the deep case; `tensorflow`, `torch`, `cause`: what is accepted, parted by blanks."""
    for depth, size in SIZES.items():
        yield Case(
            name=f"{name}-{depth}" + ("-train" if train else ""),
            tensorflow=f"faults_{family}_tensorflow.py:{name}_{depth}",
            torch=f"faults_{family}_torch.py:{name}_{depth}",
            inputs=() if ids else (size,),
            int_inputs=(ids,) if ids else (),
            options=options + (TRAIN if train else ()),
            verdict="different",
            sources=(Source(tuple(tensorflow.split()), tuple(torch.split()), tuple(cause.split())),),
            tolerated=tolerated,
        )


def _one(cases: Iterator[Case], depth: str) -> Iterator[Case]:
    return (case for case in cases if case.name.split("-")[-1] == depth)


def _geometry() -> Iterator[Case]:
    place = ("slot", "slot")
    yield from _both("geometry", "flatten_order", "flatten-order", "slot_dense", "slot.dense", AS_IS)
    yield from _both("geometry", "kernel_layout", "kernel-layout", *place, AS_IS)
    yield from _both("geometry", "dense_layout", "kernel-layout", "slot_inner", "slot.inner", AS_IS)
    yield from _both("geometry", "kernel_spatial_swap", "kernel-spatial-swap", *place, AS_IS)
    yield from _both("geometry", "kernel_flip", "kernel-flip", *place, AS_IS)
    yield from _both("geometry", "depthwise_channel_order", "depthwise-channel-order", "slot_wide", "slot.wide", AS_IS)
    yield from _both("geometry", "same_padding_stride", "same-padding-stride", *place)
    yield from _both("geometry", "pool_padding", "pool-padding", *place)
    yield from _both("geometry", "avgpool_count_pad", "avgpool-count-pad", *place)
    yield from _both("geometry", "conv_transpose_crop", "conv-transpose-crop", "slot_up", "slot.up")
    yield from _both("geometry", "pixel_shuffle_order", "pixel-shuffle-order", "slot_shuffle*", "slot.shuffle")
    yield from _both("geometry", "dilation", "dilation-or-groups", *place)
    yield from _both("geometry", "tall_dilation", "dilation-or-groups", "slot_tall", "slot.tall")
    yield from _both("geometry", "resize_bilinear", "resize-coordinates", "slot_resize", "slot.resize")
    yield from _both("geometry", "resize_nearest", "resize-coordinates", "slot_resize", "slot.interpolate")
    yield from _both("geometry", "axis_mismatch", "axis-mismatch", "slot", "slot slot.softmax")
    yield from _both("geometry", "padding_mode", "padding-mode", *place)
    for case in _both("geometry", "stride_placement", "stride-placement", "slot_a", "slot.a"):
        later = Source(("slot_b",), ("slot.b",), ("stride-placement",))
        yield replace(case, sources=(*case.sources, later))
    yield from _both("geometry", "operand_order", "operand-order", "slot_minus", "slot.sub")


def _norms() -> Iterator[Case]:
    place = ("slot", "slot")
    yield from _both("norms", "batchnorm_eps", "batchnorm-eps", *place)
    yield from _both("norms", "batchnorm_mode", "batchnorm-mode", "slot", "slot slot.batch_norm")
    yield from _both("norms", "batchnorm_stats_swap", "batchnorm-stats-swap", *place, AS_IS)
    yield from _both("norms", "mean_variance_swap", "batchnorm-stats-swap", *place, AS_IS)
    yield from _both("norms", "variance_root", "batchnorm-stats-swap", *place, AS_IS)
    yield from _both("norms", "layernorm_eps", "layernorm-eps", "slot_inner", "slot.inner")
    yield from _both("norms", "groupnorm_groups", "groupnorm-groups", *place)
    yield from _both("norms", "norm_axes", "norm-axes", "slot_inner", "slot.inner")
    yield from _both("norms", "l2_normalize_eps", "l2-normalize-eps", "slot_unit*", "slot.normalize*")
    yield from _both("norms", "residual_scale", "residual-scale", "slot_scale slot_add", "slot.add")
    yield from _both("norms", "input_scale", "input-scale", "scale", "- div* truediv* network.*")
    yield from _one(_both("norms", "input_mean", "input-scale", "scale", "sub* div* truediv*"), "shallow")
    yield from _both("norms", "channel_order", "channel-order", "to_bgr*", "- first stem.conv")


def _training() -> Iterator[Case]:
    place = ("slot", "slot")
    variance = ("batchnorm-running-variance",)
    yield from _both("norms", "batchnorm_momentum", "batchnorm-momentum", *place, tolerated=variance, train=True)
    yield from _both(
        "norms", "batchnorm_running_variance", "batchnorm-running-variance", *place, tolerated=variance, train=True
    )
    yield from _both("norms", "batchnorm_frozen", "batchnorm-frozen", *place, tolerated=variance, train=True)
    yield from _both(
        "sequences",
        "embedding_padding_index",
        "embedding-padding-index",
        "embed",
        "embed",
        ids="11:0:19",
        train=True,
    )


def _activations() -> Iterator[Case]:
    made = ("slot_conv:{0} slot_act {0}*", "slot.act slot.{0}*")

    def activation(name: str, cause: str, function: str) -> Iterator[Case]:
        return _both("activations", name, cause, made[0].format(function), made[1].format(function))

    yield from activation("gelu_approximation", "gelu-approximation", "gelu")
    yield from activation("leaky_slope", "leaky-slope", "leaky_relu")
    yield from activation("prelu_sharing", "prelu-sharing", "prelu")
    yield from activation("elu_alpha", "elu-selu-alpha", "elu")
    yield from activation("softplus_threshold", "softplus-threshold", "softplus")
    yield from _both(
        "activations",
        "hard_sigmoid_slope",
        "hard-sigmoid-slope",
        "slot_conv:hard_sigmoid slot_act",
        "slot.act slot.clamp* slot.add* slot.mul*",
    )
    yield from activation("relu6_missing", "relu6-missing", "relu")
    missing = ("slot_conv slot_conv:relu", "slot.conv")
    yield from _both("activations", "activation_missing", "activation-missing", *missing)
    yield from _both("activations", "activation_extra", "activation-extra", "- slot_add", "slot.tanh")
    yield from _both("activations", "bias_missing", "bias-missing-or-doubled", "slot_conv", "slot.conv")
    both = ("slot_a slot_b", "slot.a slot.b")
    yield from _both("activations", "weight_wrong_layer", "weight-wrong-layer", *both, AS_IS)
    inner = ("slot_inner_a slot_inner_b", "slot.inner.a slot.inner.b")
    yield from _both("activations", "dense_wrong_layer", "weight-wrong-layer", *inner, AS_IS)
    yield from _both("activations", "weight_scale", "weight-scale", "slot_conv", "slot.conv", AS_IS)
    yield from _both("activations", "spectral_norm", "weight-scale", "slot_conv", "slot.conv", AS_IS)
    yield from _both("activations", "never_loaded", "init-distribution", "slot_conv", "slot.conv", AS_IS)
    yield from _both("activations", "output_permutation", "output-permutation", "last classes*", "last classes", AS_IS)
    yield from _both("activations", "dropout_active", "dropout-active", "- slot_drop", "slot.*dropout*")


def _sequences() -> Iterator[Case]:
    place = ("slot_inner", "slot.inner")
    yield from _both("sequences", "lstm_gate_order", "lstm-gate-order", *place, AS_IS)
    yield from _both("sequences", "gru_gate_order", "gru-gate-order", *place, AS_IS)
    yield from _both("sequences", "gru_reset_after", "gru-reset-after", *place)
    yield from _both("sequences", "recurrent_last_step", "recurrent-last-step", *place)
    yield from _both("sequences", "bias_doubled", "bias-missing-or-doubled", *place, AS_IS)
    yield from _both("sequences", "attention_mask_polarity", "attention-mask-polarity", *place)
    yield from _both("sequences", "attention_heads", "attention-scale-or-heads", *place)
    yield from _both("sequences", "attention_scale", "attention-scale-or-heads", "slot_inner*", "slot.inner.*")
    yield from _both(
        "sequences",
        "embedding_offset",
        "embedding-offset",
        "embed",
        "embed.table embed.add* embed.clamp*",
        ids="11:0:19",
    )
    yield from _both(
        "sequences", "embedding_padding_index", "embedding-padding-index", "embed", "embed", AS_IS, ids="11:0:19"
    )


FAULTS = (*_geometry(), *_norms(), *_activations(), *_sequences(), *_training())
