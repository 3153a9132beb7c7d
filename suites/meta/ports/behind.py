"""Norms whose scale and shift stand behind them in torch's code: right ports, and faults of such norms."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import Case, paired

_IMAGES, _SEQUENCES = "9x7x3", "9x6"
_OUTSIDE = ("with_eps_beside_it", "of_at_least_eps", "divided_last", "of_a_sum_and_more")


_right = partial(paired, family="behind")


def _wrong(tensorflow: str, torch: str, inputs: str, cause: str) -> Case:
    return _right(tensorflow, torch, inputs, cause, ("norm", "*norm*"))


BEHIND = (
    _right("batch", "batch", _IMAGES),
    _right("group", "group", _IMAGES),
    _right("image", "image", _IMAGES),
    _right("image", "image_scaled_after_its_return", _IMAGES),
    _wrong("image", "image_of_a_larger_eps", _IMAGES, "layernorm-eps"),
    _right("layer", "layer", _SEQUENCES),
    _right("layer", "layer_at_once", _SEQUENCES),
    _right("layer_in_two", "layer", _SEQUENCES),
    _right("root", "root", _SEQUENCES),
    _wrong("group", "group_of_two", _IMAGES, "groupnorm-groups"),
    _wrong("image", "image_as_a_whole", _IMAGES, "norm-axes"),
    _wrong("layer", "layer_of_a_larger_eps", _SEQUENCES, "layernorm-eps"),
    _wrong("layer", "layer_of_places", _SEQUENCES, "norm-axes"),
    _right("length", "length", _SEQUENCES),
    _right("length", "length_of_columns", _SEQUENCES, "axis-mismatch", ("norm*", "div")),
    *(_right("group", f"group_by_{norm}", _IMAGES) for norm in ("layer", "batch", "instance")),
    *(_wrong("group", f"group_by_{norm}_of_two", _IMAGES, "groupnorm-groups") for norm in ("layer", "instance")),
    *(_wrong("group", f"group_by_{norm}_of_a_larger_eps", _IMAGES, "layernorm-eps") for norm in ("layer", "batch")),
    _right("root", "root_of_a_sum", _SEQUENCES),
    *(_right("root_by_length", f"root_{how}", _SEQUENCES) for how in ("with_eps_beside_it", "divided_last")),
    *(_wrong("root", f"root_{how}", _SEQUENCES, "layernorm-eps") for how in _OUTSIDE),
    _wrong("root", "root_by_length", _SEQUENCES, "layernorm-eps"),
    _wrong("root", "root_by_length_scaled_last", _SEQUENCES, "layernorm-eps"),
)
