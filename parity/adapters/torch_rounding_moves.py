"""Rules for what moves numbers, compares them, or makes constants."""

from __future__ import annotations

from typing import Any

import torch

from parity.adapters.torch_rounding_core import (
    RULES,
    Tracked,
    aten,
    constant_error,
    err,
    high,
    make,
    mask,
    rule,
    undecided,
    val,
)
from parity.errors import RoundingUnknown

_MOVES = """
view _unsafe_view _reshape_alias reshape alias detach clone contiguous lift lift_fresh t transpose permute squeeze
unsqueeze expand slice select narrow split split_with_sizes unsafe_split unsafe_split_with_sizes unbind diagonal
unfold roll flip rot90 repeat tril triu index gather index_select take cat stack constant_pad_nd reflection_pad1d
reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d pixel_shuffle
pixel_unshuffle channel_shuffle im2col embedding masked_fill masked_select copy scatter select_scatter slice_scatter
diagonal_scatter as_strided_scatter view_copy slice_copy select_copy permute_copy transpose_copy t_copy expand_copy
squeeze_copy unsqueeze_copy unbind_copy split_copy diagonal_copy slice_backward select_backward diagonal_backward
as_strided _unsafe_index upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d index_fill index_copy movedim diag_embed neg _neg_view fill
max_unpool2d max_unpool3d unsafe_chunk trace_copy conj _conj resolve_conj resolve_neg _pack_padded_sequence
"""
MOVES = tuple(_MOVES.split())
"""Each result is one of the operands' numbers (or its negative), so the error goes the same way."""

_KEEPS = frozenset({"alias", "detach", "clone", "contiguous"})
"""What leaves every number in its place: a sum that was copied is still made of its terms."""

_DISCRETE = """
isnan isinf isfinite isneginf isposinf argmax argmin argsort nonzero signbit equal is_same_size _local_scalar_dense
item is_nonzero allclose isclose count_nonzero searchsorted bucketize sym_size sym_stride
"""
DISCRETE = tuple(_DISCRETE.split())
"""What comes out is no float, and is taken as it comes out for the exact values."""

_CONSTANTS = """
zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_empty_strided empty_strided zero
"""
CONSTANTS = tuple(_CONSTANTS.split())


def swap(thing: Any, change: Any) -> Any:
    """Return the argument with every tensor in it changed, lists and tuples included."""
    if isinstance(thing, torch.Tensor):
        return change(thing)
    if isinstance(thing, (list, tuple)):
        return type(thing)(swap(item, change) for item in thing)
    return thing


def to_error(tensor: Any) -> Any:
    """Return what takes a tensor's place where an operation is applied to errors."""
    if isinstance(tensor, Tracked):
        return tensor._error
    counts = tensor.is_floating_point() or tensor.is_complex()
    return torch.zeros_like(tensor, dtype=torch.float64) if counts else tensor


def zip_results(values: Any, errors: Any, u: float) -> Any:
    """Return one tracked tensor per floating result of an operation that has one or several."""
    if isinstance(values, (tuple, list)):
        return type(values)(zip_results(value, error, u) for value, error in zip(values, errors, strict=True))
    counts = values.is_floating_point() or values.is_complex() or values.dtype == torch.bool
    return Tracked(values, errors, u) if counts else values


def _move(name: str) -> Any:
    operation = getattr(aten, name)
    scalar_at = {"constant_pad_nd": 2, "masked_fill": 2, "fill": 1, "scatter": 3, "index_fill": 3}.get(name)

    def run(u: float, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(a, Tracked) and a.dtype == torch.bool for a in args[1:]):
            raise RoundingUnknown(f"`aten.{name}` picks by a comparison that could go either way: no bound is known")
        values = operation(*swap(args, val), **swap_values(kwargs, val))
        moved = list(swap(args, to_error))
        if scalar_at is not None and len(moved) > scalar_at and isinstance(moved[scalar_at], (int, float)):
            moved[scalar_at] = constant_error(float(args[scalar_at]), u)
        errors = operation(*moved, **swap_values(kwargs, to_error))
        made = zip_results(values, errors.abs() if name == "neg" else errors, u)
        if name in _KEEPS and isinstance(made, Tracked) and isinstance(args[0], Tracked):
            made._terms = args[0]._terms
        return made

    return run


def swap_values(kwargs: dict[str, Any], change: Any) -> dict[str, Any]:
    """Return the keyword arguments with every tensor changed."""
    return {key: swap(value, change) for key, value in kwargs.items()}


def _discrete(name: str) -> Any:
    return lambda _u, *args, **kwargs: getattr(aten, name)(*swap(args, val), **swap_values(kwargs, val))


def _constant(name: str) -> Any:
    def run(u: float, *args: Any, **kwargs: Any) -> Any:
        made = getattr(aten, name)(*swap(args, val), **kwargs)
        off = constant_error(float(args[-1]), u) if name in ("full_like", "new_full") else 0.0
        return make(made, off, u) if made.dtype in (torch.float64, torch.complex128) else made

    return run


RULES.update({name: _move(name) for name in MOVES if hasattr(aten, name)})
RULES.update({name: _discrete(name) for name in DISCRETE if hasattr(aten, name)})
RULES.update({name: _constant(name) for name in CONSTANTS})


@rule("copy_")
def _copy(u: float, target: Any, source: Any, non_blocking: bool = False) -> Any:  # noqa: ARG001
    if not isinstance(target, Tracked):
        if target.is_floating_point() or target.is_complex():
            raise RoundingUnknown("`aten.copy_` writes a tracked tensor into a plain one, which would lose its error")
        return target.copy_(val(source))
    target._value.copy_(val(source))
    target._error.copy_(torch.as_tensor(err(source), dtype=torch.float64))
    return target


@rule("_to_copy")
def _to_copy(u: float, x: Any, *, dtype: Any = None, **kwargs: Any) -> Any:
    if dtype is None or dtype == x.dtype or dtype == torch.float64:
        return zip_results(x._value.to(torch.float64).clone(), x._error.clone(), u)
    if dtype.is_complex:
        complex_ = x._value.to(torch.complex128)
        return make(complex_, x._error + (u * x._value.abs() if dtype == torch.complex64 else 0.0), u)
    if not dtype.is_floating_point:
        return aten._to_copy(x._value, dtype=dtype, **kwargs)
    if dtype != torch.float32:
        raise RoundingUnknown(f"no rounding bound is known for a cast to {dtype}")
    return make(x._value.clone(), x._error + u * high(x), u)


def _comparison(name: str) -> Any:
    def run(u: float, a: Any, b: Any) -> Any:
        va, vb = val(a), val(b)
        width = err(a) + err(b, u)
        result = getattr(aten, name)(va, vb)
        if not isinstance(width, torch.Tensor):
            return result
        open_ = undecided(va - vb, width)
        if name in ("eq", "ne"):
            # Equal exact values come from the same computed number, as where a maximum is sought in its own tensor.
            open_ &= va != vb
        return mask(result, open_, u)

    return run


RULES.update({name: _comparison(name) for name in ("eq", "ne", "lt", "gt", "le", "ge")})


def _logical(name: str) -> Any:
    def run(u: float, *args: Any) -> Any:
        open_ = sum((err(a) for a in args), 0.0)
        return make(getattr(aten, name)(*map(val, args)), torch.as_tensor(open_).clamp(max=1.0), u)

    return run


RULES.update(
    {n: _logical(n) for n in ("logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not")}
)


@rule("any", "all")
def _any_all(*_: Any, **__: Any) -> Any:
    raise RoundingUnknown("no rounding bound is known for `any` or `all` of a comparison that could go either way")


@rule("where")
def _where(u: float, condition: Any, a: Any, b: Any) -> Any:
    chosen = val(condition)
    value = torch.where(chosen, val(a), val(b))
    error = torch.where(chosen, _full(err(a, u), value), _full(err(b, u), value))
    if isinstance(condition, Tracked):
        other = torch.where(chosen, high_gap(b, value, u), high_gap(a, value, u))
        error = torch.where(condition._error > 0, torch.maximum(error, other), error)
    return make(value, error, u)


_fill = RULES["masked_fill"]


@rule("masked_fill")
def _masked_fill(u: float, x: Any, where_: Any, value: Any) -> Any:
    if not isinstance(where_, Tracked):
        return _fill(u, x, where_, value)
    other = value if isinstance(value, torch.Tensor) else torch.as_tensor(float(value), dtype=torch.float64)
    return _where(u, where_, other, x)


def high_gap(x: Any, value: Any, u: float) -> Any:
    """Return how far `x` may be from `value`, error included."""
    return (val(x) - value).abs() + err(x, u)


def _full(error: Any, like: Any) -> Any:
    return error if isinstance(error, torch.Tensor) else torch.as_tensor(error, dtype=torch.float64, device=like.device)
