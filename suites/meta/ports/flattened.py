"""What reads images that are flattened in another order, other than a dense layer: right ports, and faults there."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_PICTURE, _FILM = "6x5x2", "4x6x5x2"
_port = partial(paired, family="flattened")

FLATTENED = (
    _port("group_norm", "group_norm", _PICTURE),
    _port("group_norm", "group_norm_of_four", _PICTURE, "groupnorm-groups", ("norm", "layer")),
    _port("centres", "centres", _PICTURE),
    _port("squares", "squares", _PICTURE),
    _port("pooled_by_attention", "pooled_by_attention", _FILM),
    _port("pooled_by_attention", "pooled_by_a_product", _FILM),
    _port("pooled_by_attention", "pooled_over_another_axis", _FILM, "axis-mismatch"),
    _port("attention", "attention", _FILM),
    _port("attention_added", "attention_added", _FILM),
    _port("dense_added", "dense_added", _FILM),
    _port("convolved", "convolved", _FILM),
    _port("normalised", "normalised", _FILM),
    _port("normalised", "normalised_with_eps", _FILM, "batchnorm-eps", ("norm", "layer.norm")),
    _port("shuffled_convolved", "shuffled_convolved", "4x6"),
    _port("shuffled_convolved", "convolved_without_a_shuffle", "4x6", "channel-order"),
    _port("shuffled_attention", "attention_without_a_shuffle", "4x6", "channel-order"),
    _port("shuffled_dense", "shuffled_dense", "4x6"),
    _port("shuffled_dense", "dense_without_a_shuffle", "4x6", "channel-order"),
    _port("dense_without_a_shuffle", "shuffled_dense", "4x6", "channel-order"),
)
