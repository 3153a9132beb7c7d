"""Positions that the code counts, from nought or from elsewhere, and half precision in the middle of a model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from suites.meta.ports.case import Case, paired

_port = partial(paired, family="counted")
_ids = partial(_port, ids="9:2:19")
_BEHIND = ("`places.weight` has 16 rows, of which torch reads none before row 2",)
_PLACE = ("places", "places")


def _precision(tensorflow: str, torch: str, side: str) -> Case:
    """Return a case where one side keeps numbers in half precision, and no layer is another function."""
    case = _port(tensorflow, torch, "8")
    return replace(case, verdict="different", says=(f"`two`: {side} computes in less precision than float32",))


COUNTED = (
    _ids("counted", "counted"),
    _ids("counted", "counted_from_one", cause="embedding-offset", place=_PLACE),
    _ids("counted_by_keras", "counted_from_one", cause="embedding-offset", place=_PLACE),
    _ids("counted", "counted_from_two_in_a_buffer", cause="embedding-offset", place=_PLACE),
    # Tables with rows in front that no position reads, as published models keep for the padding of their tokens.
    _ids("counted", "counted_behind_two_rows", says=_BEHIND),
    _ids("counted_as_rows_of_weights", says=_BEHIND),
    _ids("counted", "counted_behind_two_rows", options=("--weights", "torch-to-tf"), says=_BEHIND),
    _ids("counted", "counted_behind_two_rows_from_one", cause="unknown", place=_PLACE),
    _ids("counted", "counted_with_two_rows_more", cause="unknown", place=_PLACE),
    _precision("dense", "dense_in_half", "torch"),
    _precision("dense", "dense_in_bfloat16", "torch"),
    _precision("dense", "dense_of_half_tensors", "torch"),
    _precision("dense_in_half", "dense", "tensorflow"),
    replace(_port("dense_to_half", "dense_to_half", "8"), verdict="different", says=("compute in less precision",)),
)
