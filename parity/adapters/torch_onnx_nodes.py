"""ONNX operators (opset 13 to 18 and their like) by torch's functions. Source: the operator schemas of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from parity.adapters.onnx_graph import attribute, window_pads
from parity.adapters.onnx_graph_numbers import numbers
from parity.adapters.onnx_graph_resize import CUBIC, coefficient, nearest, shares
from parity.adapters.torch_onnx_places import PLACES
from parity.errors import UsageError

Attributes = Mapping[str, Any]


def _padded(x: Tensor, pads: Sequence[Sequence[int]], value: float = 0.0) -> Tensor:
    return F.pad(x, [size for pair in reversed(pads) for size in pair], value=value)


def _even(pads: Sequence[Sequence[int]]) -> bool:
    return all(low == high for low, high in pads)


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    pads = window_pads(a, x.shape[2:], weight.shape[2:])
    padding = [low for low, _ in pads]
    if not _even(pads):
        x, padding = _padded(x, pads), [0] * rank
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    strides, dilations = list(a.get("strides") or [1] * rank), list(a.get("dilations") or [1] * rank)
    return function(x, weight, bias, strides, padding, dilations, int(a.get("group", 1)))


def _conv_transpose(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    pads = window_pads(a, x.shape[2:], weight.shape[2:])
    extra = list(a.get("output_padding") or [0] * rank)
    strides, dilations = list(a.get("strides") or [1] * rank), list(a.get("dilations") or [1] * rank)
    if a.get("output_shape") or str(a.get("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise UsageError(
            "an ONNX ConvTranspose with auto_pad or output_shape cannot be run here: name a builder instead"
        )
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    group = int(a.get("group", 1))
    if _even(pads):
        return function(x, weight, bias, strides, [low for low, _ in pads], extra, group, dilations)
    full = function(x, weight, bias, strides, 0, extra, group, dilations)
    return _padded(full, [[-low, -high] for low, high in pads])


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel = list(a["kernel_shape"])
    pads = window_pads(a, x.shape[2:], kernel)
    padding = [low for low, _ in pads]
    if not _even(pads) or any(2 * low > k for low, k in zip(padding, kernel, strict=True)):
        x, padding = _padded(x, pads, float("-inf")), [0] * len(kernel)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    strides, dilations = a.get("strides") or [1] * len(kernel), a.get("dilations") or [1] * len(kernel)
    return function(x, kernel, list(strides), padding, list(dilations), bool(a.get("ceil_mode", 0)))


def _avg_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel = list(a["kernel_shape"])
    pads, strides = window_pads(a, x.shape[2:], kernel), list(a.get("strides") or [1] * len(kernel))
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    counted, ceil = bool(a.get("count_include_pad", 0)), bool(a.get("ceil_mode", 0))
    if _even(pads):
        return function(x, kernel, strides, [low for low, _ in pads], ceil, counted)
    pooled = function(_padded(x, pads), kernel, strides, 0, ceil)
    return pooled if counted else pooled / function(_padded(torch.ones_like(x), pads), kernel, strides, 0, ceil)


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = x.t() if a.get("transA") else x
    scales = float(a.get("alpha", 1.0)), float(a.get("beta", 1.0))
    if scales == (1.0, 1.0) and (bias is None or bias.dim() == 1):
        return F.linear(x, weight if a.get("transB") else weight.t(), bias)
    product = torch.matmul(x, weight.t() if a.get("transB") else weight) * scales[0]
    return product if bias is None else product + bias * scales[1]


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    momentum = 1.0 - float(a.get("momentum", 0.9))
    return F.batch_norm(x, mean, variance, scale, bias, bool(a.get("training_mode", 0)), momentum, _eps(a))


def _eps(a: Attributes) -> float:
    return attribute(a, "epsilon", 1e-5)


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor | None, bias: Tensor | None = None) -> Tensor:
    axis, over = int(a.get("axis", -1)) % x.dim(), int(a.get("over", x.dim() - 1))
    if over != x.dim() - 1:
        return F.layer_norm(x.movedim(over, -1), [x.shape[over]], scale, bias, _eps(a)).movedim(-1, over)
    return F.layer_norm(x, list(x.shape[axis:]), scale, bias, _eps(a))


def _group_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = int(a["num_groups"])
    each = x.shape[1] // groups if scale.shape[0] == groups != x.shape[1] else 1  # one number a group until opset 21
    return (
        F.group_norm(x, groups, scale.repeat_interleave(each), bias.repeat_interleave(each), _eps(a))
        if (each > 1)
        else F.group_norm(x, groups, scale, bias, _eps(a))
    )


def _ints(value: Any) -> list[int]:
    if isinstance(value, Tensor):
        return [int(one) for one in value.reshape(-1).tolist()]
    return [int(one) for one in value]


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not a.get("allowzero"):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = int(a.get("axis", 1)) % (x.dim() + 1)
    if axis == 1:
        return x.flatten(1)
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1)


def _axes(a: Attributes, given: Sequence[Any]) -> list[int] | None:
    """Return axes from an input (newer opsets) or an attribute (older ones)."""
    if given and given[0] is not None:
        return _ints(given[0])
    return _ints(a["axes"]) if a.get("axes") is not None else None


def _squeeze(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    axes = _axes(a, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    axes = _axes(a, given) or []
    for axis in sorted(one % (x.dim() + len(axes)) for one in axes):
        x = x.unsqueeze(axis)
    return x


def _reduce(name: str, first: Callable[[Tensor], Tensor] = lambda x: x) -> Callable[..., Tensor]:
    def run(a: Attributes, x: Tensor, *given: Any) -> Tensor:
        axes, keep = _axes(a, given), bool(a.get("keepdims", 1))
        if axes is None and a.get("noop_with_empty_axes"):
            return x
        function = getattr(torch, name)
        found: Tensor = function(first(x), dim=axes if axes is not None else list(range(x.dim())), keepdim=keep)
        return found

    return run


def _prod(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    axes, keep = _axes(a, given), bool(a.get("keepdims", 1))
    for axis in sorted((one % x.dim() for one in (range(x.dim()) if axes is None else axes)), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _trilu(a: Attributes, x: Tensor, away: Tensor | None = None) -> Tensor:
    diagonal = 0 if away is None else int(away)
    return x.triu(diagonal) if a.get("upper", 1) else x.tril(diagonal)


def _cumsum(a: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    where = int(axis)
    x = x.flip(where) if a.get("reverse") else x
    made = x.cumsum(where)
    made = made - x if a.get("exclusive") else made
    return made.flip(where) if a.get("reverse") else made


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = int(a.get("axis", 0)) % x.dim()
    index = torch.where(index < 0, index + x.shape[axis], index) if not index.dtype.is_floating_point else index
    if axis == 0 and x.dim() == 2 and isinstance(x, torch.nn.Parameter):
        return F.embedding(index, x)
    if index.dim() == 0:
        return x.select(axis, int(index))
    return x[(slice(None),) * axis + (index,)]


def _slice(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    starts = _ints(given[0] if given else a["starts"])
    ends = _ints(given[1] if given else a["ends"])
    axes = _ints(given[2]) if len(given) > 2 and given[2] is not None else list(a.get("axes") or range(len(starts)))
    steps = _ints(given[3]) if len(given) > 3 and given[3] is not None else [1] * len(starts)
    index = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 0:
            chosen = list(range(x.shape[axis]))[start:end:step]
            x = x.index_select(axis % x.dim(), torch.tensor(chosen, device=x.device))
            continue
        index[axis % x.dim()] = slice(start, None if end > 2**31 - 2 else end, step)
    return x[tuple(index)]


def _pad(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    flat = _ints(given[0] if given else a["pads"])
    value = float(given[1]) if len(given) > 1 and given[1] is not None else 0.0
    axes = _ints(given[2]) if len(given) > 2 and given[2] is not None else list(range(len(flat) // 2))
    pads = [[0, 0] for _ in range(x.dim())]
    for place, axis in enumerate(axes):
        pads[axis] = [flat[place], flat[place + len(axes)]]
    while len(pads) > 1 and pads[0] == [0, 0] and len(pads) > x.dim() - 2:
        pads = pads[1:]
    sizes = [size for pair in reversed(pads) for size in pair]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[str(a.get("mode", "constant"))]
    return F.pad(x, sizes, mode=mode, value=value) if mode == "constant" else F.pad(x, sizes, mode=mode)


def _clip(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    ends = [*given, None, None][:2] if given else [a.get("min"), a.get("max")]
    low, high = (None if end is None else float(end) for end in ends)
    return torch.clamp(x, low, high)


_TYPES: Mapping[int, Any] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip


def _constant(a: Attributes) -> Any:
    value = next(a[key] for key in a if key.startswith("value"))
    held = value if isinstance(value, np.ndarray) else np.asarray(value)
    made = torch.from_numpy(numbers(held.astype(np.float32) if held.dtype == np.float64 else held))
    return made.to(torch.get_default_dtype()) if made.is_floating_point() else made


def _reverse_sequence(a: Attributes, x: Tensor, lengths: Tensor) -> Tensor:
    axis = int(a.get("time_axis", 0))
    if bool((lengths != x.shape[axis]).any()):
        raise UsageError("an ONNX ReverseSequence of a part cannot be run here: name a builder instead")
    return x.flip(axis)


def _split(a: Attributes, x: Tensor, *given: Any) -> Any:
    axis = int(a.get("axis", 0))
    sizes = _ints(given[0]) if given and given[0] is not None else list(a.get("split") or ())
    if sizes:
        return x.split(sizes, axis)
    parts = int(a.get("num_outputs", 2))
    return x.split(-(-x.shape[axis] // parts), axis)


def _resize(a: Attributes, x: Tensor, *given: Any) -> Tensor:
    rank = x.dim() - 2
    sizes = _ints(given[2])[2:] if len(given) > 2 and given[2] is not None and given[2].numel() else None
    scales = None
    if sizes is None:
        scales = [float(one) for one in given[1].reshape(-1).tolist()][2:]
        sizes = [int(size * scale) for size, scale in zip(x.shape[2:], scales, strict=True)]
    how, where = str(a.get("mode", "nearest")), str(a.get("coordinate_transformation_mode", "half_pixel"))
    if how == "nearest":
        return _nearest(a, x, sizes)
    mode = {"linear": ("linear", "bilinear", "trilinear")[rank - 1], "cubic": "bicubic"}[how]
    usual = where in ("half_pixel", "pytorch_half_pixel", "align_corners") and not a.get("exclude_outside")
    if not usual or (how == "cubic" and (coefficient(a) != CUBIC or rank != 2)):
        for axis, (n, m) in enumerate(zip(x.shape[2:], sizes, strict=True), 2):
            part = shares(a, n, m)
            if part is None:
                raise UsageError(f"an ONNX Resize ({how}, {where}) cannot be run here: name a builder instead")
            x = torch.matmul(x.transpose(axis, -1), torch.from_numpy(part.T.copy()).to(x.dtype)).transpose(axis, -1)
        return x
    antialias = bool(a.get("antialias", 0))
    return F.interpolate(x, size=sizes, mode=mode, align_corners=where == "align_corners", antialias=antialias)


def _nearest(a: Attributes, x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Take the neighbours that the node's own rule takes, by one of torch's two rules where it is one of these."""
    here = [int(n) for n in x.shape[2:]]
    places = [nearest(a, n, m) for n, m in zip(here, sizes, strict=True)]
    for mode, half in (("nearest-exact", 0.5), ("nearest", 0.0)):
        at = [np.floor((np.arange(m) + half) * n / m) for n, m in zip(here, sizes, strict=True)]
        if all(np.array_equal(one, place) for one, place in zip(at, places, strict=True)):
            return F.interpolate(x, size=list(sizes), mode=mode)
    for axis, place in enumerate(places, 2):
        x = x.index_select(axis, torch.from_numpy(place))
    return x


def _expand(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, torch.Size(_ints(shape))))


def _depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    if str(a.get("mode", "DCR")) == "CRD":
        return F.pixel_shuffle(x, int(a["blocksize"]))
    n, c, h, w = x.shape
    b = int(a["blocksize"])
    parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    b = int(a["blocksize"])
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * b**2, h // b, w // b)


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    if slope.dim() == 1 and (slope.numel() == 1 or a.get("per_channel") or x.dim() == 2):
        return F.prelu(x, slope)
    return torch.where(x > 0, x, x * slope)


def _global(name: str) -> Callable[..., Tensor]:
    def run(_: Attributes, x: Tensor) -> Tensor:
        found: Tensor = getattr(F, f"adaptive_{name}_pool{x.dim() - 2}d")(x, 1)
        return found

    return run


def _one(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *given: function(*given)


def _swish(a: Attributes, x: Tensor) -> Tensor:
    alpha = attribute(a, "alpha", 1.0)
    return F.silu(x) if alpha == 1.0 else x * torch.sigmoid(x * alpha)


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    alpha, beta = attribute(a, "alpha", 0.2), attribute(a, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


NODES: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MaxPool": _max_pool, "AveragePool": _avg_pool,
    "Dense": _one(F.linear), "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": lambda a, x, s, b: F.instance_norm(x, None, None, s, b, True, 0.0, _eps(a)),
    "GlobalAveragePool": _global("avg"), "GlobalMaxPool": _global("max"), "MatMul": _one(torch.matmul),
    "Add": _one(torch.add), "Sub": _one(torch.sub), "Mul": _one(torch.mul), "Div": _one(torch.div),
    "Pow": _one(lambda x, y: torch.pow(x, float(y) if y.numel() == 1 else y)), "Sqrt": _one(torch.sqrt),
    "Neg": _one(torch.neg), "Abs": _one(torch.abs), "Exp": _one(torch.exp), "Log": _one(torch.log),
    "Erf": _one(torch.erf), "Erfc": _one(torch.erfc), "Reciprocal": _one(torch.reciprocal), "Sin": _one(torch.sin),
    "Cos": _one(torch.cos),
    "Relu": _one(F.relu), "Sigmoid": _one(torch.sigmoid), "Tanh": _one(torch.tanh), "Softsign": _one(F.softsign),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, attribute(a, "alpha", 0.01)), "PRelu": _prelu,
    "Elu": lambda a, x: F.elu(x, attribute(a, "alpha", 1.0)), "Selu": _one(F.selu), "Mish": _one(F.mish),
    "Swish": _swish,
    "Celu": lambda a, x: F.celu(x, attribute(a, "alpha", 1.0)), "HardSwish": _one(F.hardswish),
    "HardSigmoid": _hard_sigmoid,
    "Gelu": lambda a, x: F.gelu(x, approximate=str(a.get("approximate", "none"))), "Softplus": _one(F.softplus),
    "Softmax": lambda a, x: F.softmax(x, int(a.get("axis", -1))),
    "LogSoftmax": lambda a, x: F.log_softmax(x, int(a.get("axis", -1))), "Clip": _clip,
    "Max": _one(lambda x, *rest: _folded(torch.maximum, x, rest)), "Sum": _one(lambda x, *r: _folded(torch.add, x, r)),
    "Min": _one(lambda x, *rest: _folded(torch.minimum, x, rest)),
    "Flatten": _flatten, "Reshape": _reshape, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Expand": _expand,
    "Transpose": lambda a, x: x.permute(list(a.get("perm") or reversed(range(x.dim())))), "Pad": _pad,
    "Concat": lambda a, *given: torch.cat(list(given), int(a["axis"])), "Gather": _gather, "Slice": _slice,
    "Split": _split, "Identity": _one(lambda x: x), "Dropout": _one(lambda x, *_: x), "Constant": _constant,
    "Shape": lambda a, x: torch.tensor(list(x.shape)[a.get("start", 0) : a.get("end")]),
    "CastLike": _one(lambda x, like: x.to(like.dtype)),
    "Cast": lambda a, x: x.to(_TYPES[int(a["to"])]), "ReduceMean": _reduce("mean"), "ReduceSum": _reduce("sum"),
    "ReduceProd": _prod, "ReduceMax": _reduce("amax"), "ReduceMin": _reduce("amin"), "Where": _one(torch.where),
    "Resize": _resize,
    "ConstantOfShape": lambda a, shape: torch.full(_ints(shape), a["value"].item() if "value" in a else 0.0),
    "Range": _one(lambda start, end, step: torch.arange(int(start), int(end), int(step))),
    "Equal": _one(torch.eq), "Greater": _one(torch.gt), "Less": _one(torch.lt), "Not": _one(torch.logical_not),
    "And": _one(torch.logical_and), "Or": _one(torch.logical_or), "GreaterOrEqual": _one(torch.ge),
    "LessOrEqual": _one(torch.le), "Floor": _one(torch.floor), "Ceil": _one(torch.ceil), "Round": _one(torch.round),
    "Mod": lambda a, x, y: torch.fmod(x, y) if a.get("fmod") else torch.remainder(x, y), "IsNaN": _one(torch.isnan),
    "Tile": _one(lambda x, times: x.repeat(_ints(times))), "Size": _one(lambda x: torch.tensor(x.numel())),
    "LRN": lambda a, x: F.local_response_norm(
        x, int(a["size"]), attribute(a, "alpha", 1e-4), attribute(a, "beta", 0.75), attribute(a, "bias", 1.0)
    ),
    "ReverseSequence": _reverse_sequence, "Trilu": _trilu, "CumSum": _cumsum, "Sign": _one(torch.sign),
    "ReduceL2": _reduce("norm"), "ReduceL1": _reduce("sum", torch.abs), "ReduceLogSumExp": _reduce("logsumexp"),
    "ReduceSumSquare": _reduce("sum", torch.square),
    "DepthToSpace": _depth_to_space, "ArgMax": lambda a, x: x.argmax(int(a.get("axis", 0)), bool(a.get("keepdims", 1))),
    "Einsum": lambda a, *given: torch.einsum(str(a["equation"]), *given), "Xor": _one(torch.logical_xor),
    "Asin": _one(torch.asin), "Acos": _one(torch.acos), "Atan": _one(torch.atan), "Tan": _one(torch.tan),
    "Sinh": _one(torch.sinh), "Cosh": _one(torch.cosh), "Asinh": _one(torch.asinh), "Acosh": _one(torch.acosh),
    "Atanh": _one(torch.atanh), "IsInf": _one(torch.isinf), "SpaceToDepth": _space_to_depth,
    "ThresholdedRelu": lambda a, x: F.threshold(x, attribute(a, "alpha", 1.0), 0.0),
    **PLACES,
}  # fmt: skip
"""What each operator computes, from its attributes and inputs."""


def _folded(function: Callable[..., Any], first: Any, rest: Sequence[Any]) -> Any:
    for other in rest:
        first = function(first, other)
    return first
