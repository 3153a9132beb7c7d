"""Several faults at once: in one network, and in one layer."""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source

AS_IS = ("--weights", "as-is")
SIZES = {"shallow": "21x18x3", "deep": "33x29x3"}


def _source(tensorflow: str, torch: str, *causes: str) -> Source:
    return Source(tuple(tensorflow.split()), tuple(torch.split()), causes)


def _both(name: str, *sources: Source, options: tuple[str, ...] = ()) -> Iterator[Case]:
    for depth, size in SIZES.items():
        yield Case(
            name=f"several-{name}-{depth}",
            tensorflow=f"several_tensorflow.py:{name}_{depth}",
            torch=f"several_torch.py:{name}_{depth}",
            inputs=(size,),
            options=options,
            verdict="different",
            sources=sources,
        )


SEVERAL = (
    Case(
        name="several-five-in-ten-layers",
        tensorflow="several_tensorflow.py:small_image",
        torch="several_torch.py:small_image",
        inputs=("33x28x3",),
        verdict="different",
        sources=(
            _source("conv1", "conv1", "same-padding-stride"),
            _source("norm1", "norm1", "batchnorm-eps"),
            _source("leaky", "leaky_relu*", "leaky-slope"),
            _source("pool", "pool", "pool-padding"),
            _source("conv3 conv3:gelu", "gelu*", "gelu-approximation"),
        ),
    ),
    *_both(
        "no_bias_and_padding",
        _source("slot_conv", "slot.conv", "same-padding-stride"),
        _source("slot_conv", "slot.conv", "bias-missing-or-doubled"),
    ),
    *_both(
        "eps_and_swap",
        _source("slot", "slot", "batchnorm-eps"),
        _source("slot", "slot", "batchnorm-stats-swap"),
        options=AS_IS,
    ),
    *_both(
        "flip_and_swap",
        _source("slot", "slot", "kernel-flip"),
        _source("slot", "slot", "kernel-layout"),
        options=AS_IS,
    ),
    *_both(
        "three_in_a_row",
        _source("slot_a", "slot.a", "dilation-or-groups"),
        _source("slot_norm", "slot.norm", "batchnorm-eps"),
        _source("slot_act", "slot.leaky_relu", "leaky-slope"),
    ),
    *_both(
        "eps_and_gates",
        _source("slot_norm", "slot.norm", "layernorm-eps"),
        _source("slot_lstm", "slot.lstm", "lstm-gate-order"),
        options=AS_IS,
    ),
)
