"""What moves, cuts, joins or reduces numbers, in the words of both frameworks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_letters
from types import EllipsisType
from typing import Any

import torch

from parity.adapters.torch_model_calls import Par, Ref, leaves
from parity.adapters.torch_model_kinds import (
    Config,
    Described,
    Seen,
    axis_of,
    describes,
    shape_of,
    simple,
    times,
)
from parity.model.trace import PADDED_PATCHES

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


@describes("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
def _dropout(seen: Seen) -> Described:
    module = seen.call.module
    rate = seen.rates.get(id(module)) if module is not None else None
    given = seen.given.get("p", 0.0)
    return "dropout", {"rate": float(given if rate is None else rate)}


@describes("active_dropout")
def _active_dropout(seen: Seen) -> Described:
    return "op:dropout", {"rate": float(seen.given.get("p", 0.5))}


@describes("clone", "contiguous", "detach", "alias", "data", "identity", "lift_fresh_copy", "view_as_real", "positive")
def _identity(_: Seen) -> Described:
    return "identity", {}


@describes("flatten")
def _flatten(seen: Seen) -> Described:
    start, end = int(seen.given.get("start_dim") or 0), int(seen.given.get("end_dim", -1))
    rank = len(seen.shape())
    if end % max(rank, 1) == rank - 1:
        return "flatten", {"start_axis": axis_of(start, rank)}
    return "reshape", {"shape": list(seen.out[0])}


@describes("view", "reshape", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "ravel",
           "atleast_2d", "atleast_3d")  # fmt: skip
def _reshape(seen: Seen) -> Described:
    before, after = seen.shape(), seen.out[0]
    flat = len(before) > 2 and len(after) == 2 and before[:1] == after[:1]
    if flat and seen.name in ("view", "reshape", "_unsafe_view", "ravel"):  # x.view(n, -1)
        return "flatten", {"start_axis": 1}
    if seen.name == "view" and any(isinstance(one, torch.dtype) for one in leaves(seen.call.args)):
        return "op:view", {}
    return "reshape", {"shape": list(after)}


@describes("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT", "H", "mH", "adjoint")
def _permute(seen: Seen) -> Described:
    rank = len(seen.shape())
    if seen.given.get("input") is None or not rank:
        return "identity", {}
    marked = torch.empty(_PRIMES[:rank], device="meta")
    with torch._C.DisableTorchFunction():
        moved = seen.call.function(marked, *seen.call.args[1:], **seen.call.kwargs)
    return "permute", {"order": [_PRIMES.index(size) for size in moved.shape]}


@describes("unfold", "im2col")
def _patches(seen: Seen) -> Described:
    zeros = any(times(seen.given.get("padding") or 0, 2))
    size = seen.given.get("kernel_size")
    if not zeros or size is None:
        return "patches", {}
    return PADDED_PATCHES, {"size": list(times(size, 2)), **simple(seen.given)}


@describes("to", "float", "double", "half", "bfloat16", "int", "long", "bool", "type", "type_as", "_to_copy")
def _cast(seen: Seen) -> Described:
    return "cast", {"dtype": "float32" if seen.name == "float" else seen.name}


@describes("getitem", "select", "narrow", "slice")
def _slice(seen: Seen) -> Described:
    if math.prod(shape_of(seen.call.args[0])) == math.prod(seen.out[0]) and seen.name in ("getitem", "select"):
        index = seen.call.args[1] if seen.name == "getitem" else ()
        parts = index if isinstance(index, tuple) else (index,)  # a list among them picks, in any order
        if all(one is None or isinstance(one, (int, slice, EllipsisType)) for one in parts):
            return "reshape", {"shape": list(seen.out[0])}  # all of it, with axes of one more or less
    if seen.name != "getitem":
        return "slice", {"text": ", ".join(f"{key}={value}" for key, value in simple(seen.given).items())}
    table, index = seen.call.args[:2]
    if not seen.call.inputs and isinstance(table, Par):
        seen.roles["weight"] = table.reference
        return "embedding", {"tokens": table.shape[0], "units": table.shape[1], "padding_index": None}
    if any(isinstance(one, (Ref, Par, torch.Tensor)) for one in leaves(index)):
        return "gather", {}
    return "slice", {"text": _index_text(index)}


def _index_text(index: Any) -> str:
    return ", ".join(_one_index(one) for one in (index if isinstance(index, tuple) else (index,)))


def _one_index(one: Any) -> str:
    if isinstance(one, slice):
        ends = ["" if end is None else str(end) for end in (one.start, one.stop, one.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return "..." if one is Ellipsis else str(one)


@describes("gather", "index_select", "take", "take_along_dim", "index")
def _gather(seen: Seen) -> Described:
    return "gather", simple(seen.given)


@describes("chunk", "split", "split_with_sizes", "unbind", "tensor_split", "unsafe_chunk", "unsafe_split")
def _split(seen: Seen) -> Described:
    axis = axis_of(seen.given.get("dim") or 0, len(seen.shape()))
    sizes = [1] * len(seen.out) if seen.name == "unbind" else [shape[axis] for shape in seen.out]
    return "split", {"axis": axis, "sizes": sizes} | ({"drop_axis": True} if seen.name == "unbind" else {})


@describes("cat", "concat", "concatenate", "hstack", "vstack", "stack")
def _join(seen: Seen) -> Described | None:
    if seen.name in ("hstack", "vstack"):
        return None
    rank = len(seen.out[0])
    axis = axis_of(seen.given.get("dim", seen.given.get("axis")) or 0, rank)
    return "stack" if seen.name == "stack" else "concat", {"axis": axis}


@describes("pixel_shuffle")
def _pixel_shuffle(seen: Seen) -> Described:
    return "depth_to_space", {"block": int(seen.given["upscale_factor"]), "order": "channel-major"}


@describes("pixel_unshuffle")
def _pixel_unshuffle(seen: Seen) -> Described:
    return "space_to_depth", {"block": int(seen.given["downscale_factor"]), "order": "channel-major"}


@describes("pad", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad(seen: Seen) -> Described:
    rank = len(seen.shape())
    given = seen.given.get("pad", seen.given.get("padding", seen.given.get("arg0", seen.given.get("arg1"))))
    flat = [int(one) for one in given or ()]
    mode = str(seen.given.get("mode") or "constant")
    mode = "reflect" if "reflection" in seen.name else "replicate" if "replication" in seen.name else mode
    pads = [[0, 0] for _ in range(rank)]
    for index in range(len(flat) // 2):
        pads[rank - 1 - index] = [flat[2 * index], flat[2 * index + 1]]
    value = seen.given.get("value")
    config: Config = {"mode": mode, "value": 0.0 if value is None else float(value)}
    if rank < 3 or any(pads[0]) or any(pads[1]):
        return "op:pad", config | {"pads": pads}
    sizes = [size for pair in pads for size in pair]
    if any(size < 0 for size in sizes):
        if any(size > 0 for size in sizes):
            return "op:pad", config | {"pads": pads}
        return "cropping", {"crops": [[-low, -high] for low, high in pads[2:]]}
    return "zero_pad", {"pads": pads[2:]} | config


_RESIZES = {
    "upsample_nearest": "nearest", "_upsample_nearest_exact": "nearest-exact", "upsample_linear": "linear",
    "upsample_bilinear": "bilinear", "upsample_trilinear": "trilinear", "upsample_bicubic": "bicubic",
    "_upsample_bilinear": "bilinear", "_upsample_bicubic": "bicubic",
}  # fmt: skip


@describes(
    "interpolate", "upsample", *(f"{name}{n}d{aa}" for name in _RESIZES for n in (1, 2, 3) for aa in ("", "_aa"))
)
def _resize(seen: Seen) -> Described:
    mode = str(seen.given.get("mode") or "")
    if not mode:
        mode = next(word for name, word in _RESIZES.items() if seen.name.removesuffix("_aa")[:-2] == name)
    exact, corners = mode == "nearest-exact", bool(seen.given.get("align_corners"))
    method = "nearest" if exact else "bilinear" if mode in ("linear", "trilinear") else mode
    config: Config = {
        "size": list(seen.out[0][2:]), "method": method,
        "antialias": bool(seen.given.get("antialias")) or seen.name.endswith("_aa"), "align_corners": corners,
        "half_pixel": not corners and mode != "nearest", "exact": exact,
    }  # fmt: skip
    factor = seen.given.get("scale_factor", seen.given.get("scale_factors"))
    if factor is not None:
        rank = len(seen.out[0]) - 2
        given = list(factor) if isinstance(factor, (tuple, list)) else [factor] * rank
        config["factor"] = [float(one) for one in given]
    return "resize", config


_REDUCING = {"mean": "mean", "sum": "sum", "amax": "max", "amin": "min", "var": "var", "std": "std", "max": "max",
             "min": "min"}  # fmt: skip


@describes(*_REDUCING)
def _reduce(seen: Seen) -> Described | None:
    given, rank = seen.given, len(seen.shape())
    if seen.name in ("max", "min"):
        second = given.get("dim", given.get("other"))
        if isinstance(second, (Ref, Par, torch.Tensor)):
            return ("maximum" if seen.name == "max" else "minimum"), {}
    dim = given.get("dim", given.get("axis"))
    if isinstance(dim, (torch.dtype, bool)):
        dim = None
    axes = (
        list(range(rank))
        if dim is None or dim == () or dim == []
        else sorted({axis_of(d, rank) for d in times(dim, 1)})
    )
    keep = bool(given.get("keepdim"))
    function = _REDUCING[seen.name]
    if function in ("mean", "max") and rank in (3, 4, 5) and axes == list(range(2, rank)) and len(seen.out) == 1:
        how = "avg" if function == "mean" else "max"
        return f"global_{how}_pool", {"rank": rank - 2, "keepdims": keep}
    config: Config = {"function": function, "axes": axes, "keepdims": keep}
    if function in ("var", "std"):
        unbiased = given.get("unbiased", True)
        config["correction"] = given.get("correction", 1 if unbiased else 0)
    return "reduce", config


@describes("argmax", "argmin")
def _argmax(seen: Seen) -> Described | None:
    dim = seen.given.get("dim")
    if seen.name == "argmin":
        return None
    return "argmax", {"axis": None if dim is None else axis_of(dim, len(seen.shape()))}


@describes("matmul", "mm", "bmm")
def _matmul(seen: Seen) -> Described:
    config: Config = {"transpose_a": False, "transpose_b": False}
    operands: Sequence[Any] = list(leaves((seen.call.args, seen.call.kwargs)))
    for place, one in enumerate(operands):
        if isinstance(one, Par):
            seen.roles["other"] = one.reference
            if place == 0:
                config["reversed"] = True
    return "matmul", config


@describes("einsum")
def _einsum(seen: Seen) -> Described:
    equation = next((one for one in leaves(seen.call.args) if isinstance(one, str)), "")
    return "einsum", {"equation": equation}


@describes("tensordot")
def _tensordot(seen: Seen) -> Described | None:
    """A sum over axes of two tensors: the product that it is, or its equation."""
    first, second = seen.given.get("a"), seen.given.get("b")
    ranks = len(shape_of(first)), len(shape_of(second))
    axes = _summed_axes(seen.given.get("dims"), *ranks)
    if axes is None or sum(ranks) > len(ascii_letters):
        return None
    if isinstance(first, Ref) and isinstance(second, Par) and ranks[1] == 2 and axes == ([ranks[0] - 1], [0]):
        return _matmul(seen)
    letters = list(ascii_letters[: ranks[0]]), list(ascii_letters[ranks[0] : sum(ranks)])
    for mine, other in zip(*axes, strict=True):
        letters[1][other] = letters[0][mine]
    left = [
        letter for some, axes_of in zip(letters, axes, strict=True) for n, letter in enumerate(some) if n not in axes_of
    ]
    return "einsum", {"equation": f"{''.join(letters[0])},{''.join(letters[1])}->{''.join(left)}"}


def _summed_axes(dims: Any, first: int, second: int) -> tuple[list[int], list[int]] | None:
    """Return the axes of both tensors that `tensordot` sums over, counted from the front."""
    if isinstance(dims, torch.Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        return list(range(first - dims, first)), list(range(dims))
    pairs = [times(one, 1) for one in dims] if isinstance(dims, (tuple, list)) else []
    if len(pairs) != 2 or len(pairs[0]) != len(pairs[1]):
        return None
    return [axis_of(axis, first) for axis in pairs[0]], [axis_of(axis, second) for axis in pairs[1]]
