"""Pieces of a tensor that torch's code takes otherwise, halves or every second number, and steps padded elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, Source, paired

_GIVEN = "7x8"
_port = partial(paired, inputs=_GIVEN, family="pieces")


def _gated(tensorflow: str, torch: str, *says: str) -> Case:
    """Return a case in which both readers of the pieces are named, or one of them."""
    places = Source(("sigmoid", "multiply"), ("sigmoid", "mul"), ("operand-order",))
    made = _port(tensorflow, torch, cause="operand-order", says=says)
    return replace(made, sources=(places,))


PIECES = (
    _port("gate_of_halves", "gate_of_halves"),
    _port("gate_of_halves", "gate_of_rows"),
    _port("gate_in_turns", "gate_in_turns"),
    _port("gate_in_turns", "gate_of_pairs"),
    _gated("gate_of_halves", "gate_in_turns", "read x[..., 4:8] of `first` where `getitem_1` is read"),
    _gated("gate_of_halves", "gate_of_pairs", "read x[..., 4:8] of `first` where `getitem_1` is read"),
    _gated("gate_in_turns", "gate_of_halves", "x[..., 0::2] and x[..., 1::2] of `first`"),
    _port(
        "product_of_halves", "product_in_turns", cause="operand-order", place=("multiply", "mul"),
        says=("x[..., 0:4] and x[..., 4:8] of `first`",),
    ),
    _port("padded_before", "padded_before"),
    _port(
        "padded_before", "padded_behind", cause="same-padding-stride", place=("pad", "pad"),
        says=("F.pad(x, (0, 0, 2, 0)) in `pad`",),
    ),
    _port(
        "middle", "later", cause="unknown", place=("get_item", "getitem"),
        says=("tf.raw_ops.StridedSlice of x[:, 1:5]; PyTorch torch.Tensor.__getitem__ of x[:, 2:6]",),
    ),
)  # fmt: skip
