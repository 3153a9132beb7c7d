"""Attentions of which a model writes out some, and of which torch has the queries, keys and values of some as one."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="partly")
_TWO = "7x8 3x8"

PARTLY = (
    _port("decoder", "decoder", _TWO),
    _port("decoder_by_hand", "decoder", _TWO),
    _port("decoder", "decoder_without_weights", _TWO),
    _port("pooled", "pooled", "7x8"),
    _port("two", "first_fused", "7x8"),
    _port("two", "second_fused", "7x8"),
    _port("two", "both_fused", "7x8"),
    _port("grouped", "grouped_fused", "7x8"),
    _port("additive", "additive", "7x8"),
    _port("additive", "additive_with_relu", "7x8", "activation-extra", ("*", "relu")),
    _port("seeded", "seeded", "7x8", says=("one_v/kernel`: the numbers of another weight",)),
    _port("seeded", "by_heads", "7x8"),
    _port("seeded", "by_heads_with_biases_apart", "7x8"),
    _port("cloned", "cloned", "7x8", options=("--weights", "torch-to-tf"), says=("`layers.1.linear1.weight`",)),
    _port(
        "decoder", "decoder_unscaled", _TWO, "attention-scale-or-heads", ("own*", "own*"),
        says=("x / 2 in place of `own.mul`",),
    ),
    _port("two", "second_fused_eps", "7x8", "layernorm-eps", ("norm", "norm")),
)  # fmt: skip
