"""TensorFlow's own operations outside Keras's layers: their kind and configuration in the words of a trace."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_formulas import told
from parity.adapters.tensorflow_model_layers import as_written, crops, same_pads
from parity.adapters.tensorflow_model_tensors import Derived, WeightRead, row_of
from parity.model import constants
from parity.model.trace import PADDED_PATCHES, ROW

SCALAR_LIMIT = 1
SMALL = 4096  # constants up to this size may be read to describe an operation

# Results that depend on shapes alone: they are constants of a run.
SHAPES_ONLY = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "BroadcastGradientArgs"})
# They change variables or the world, and compute nothing that the model returns.
MERGING = ("add", "subtract", "multiply", "divide")
LOOKUPS = frozenset({"ResourceGather", "GatherV2", "Gather"})
NO_RESULT = frozenset({"NoOp", "Assert", "PrintV2", "VarHandleOp", "DestroyResourceOp", "VarIsInitializedOp"})


@dataclass(frozen=True)
class Source:
    """One input of an operation: a tensor of the run, a weight, something made of weights, or a constant."""

    what: str  # "tensor" | "weight" | "derived" | "constant"
    shape: tuple[int, ...]
    value: Any = None  # the constant, or the variable
    tid: int | None = None

    def numbers(self) -> np.ndarray | None:
        """Return a small constant as an array."""
        if self.what != "constant" or int(np.prod(self.shape)) > SMALL or not hasattr(self.value, "numpy"):
            return None
        try:
            return np.asarray(self.value.numpy())
        except Exception:  # a resource or variant
            return None

    def scalar(self) -> float | None:
        """Return the one number that a constant holds."""
        found = self.numbers()
        if found is None or found.size != SCALAR_LIMIT or found.dtype.kind not in "fiub":
            return None
        return as_written(found.reshape(())[()])


@dataclass(frozen=True)
class Raw:
    """One executed operation."""

    op: str
    attributes: Mapping[str, Any]
    sources: Sequence[Source]
    outputs: Sequence[tuple[int, ...]]
    training: bool

    def tensors(self) -> list[Source]:
        """Return the inputs that are tensors of the run."""
        return [source for source in self.sources if source.what == "tensor"]


Described = tuple[str, dict[str, Any], dict[str, Any]]
_OWN = re.compile(r"__(?:inference|forward)_(.+)_\d+")


def describe_raw(raw: Raw) -> Described:
    """Return (kind, config, weights by role) of an operation; what has no name of its own is `op:<type>`."""
    make = _TABLE.get(raw.op)
    found = make(raw) if make else ("op:function", {}, {}) if own_function(raw.op) else None
    if found is None:
        kind = f"op:{raw.op}"
        found = kind, {key: value for key, value in raw.attributes.items() if _simple(value)}, {}
    kind, config, weights = found
    for source in raw.sources:
        for variable in _read(source):
            if not any(variable is held for held in weights.values()):
                weights[_free("other", weights)] = variable
    rows = [row_of(source.value) for source in raw.sources if source.what == "derived"]
    if len(rows) == 1 and rows[0] is not None:
        config = {**config, ROW: rows[0]}
    if kind in MERGING:
        made = [source.value if source.what == "derived" else None for source in raw.sources]
        config = {**config, **told(made, weights)}
    return kind, config, weights


def own_function(op: str) -> str:
    """Return the name of a function of the user's that TensorFlow runs as one operation, without what numbers it."""
    found = _OWN.fullmatch(op)
    return found[1] if found else ""


def _read(source: Source) -> tuple[Any, ...]:
    if source.what == "weight":
        return (source.value,)
    return tuple(source.value.variables()) if source.what == "derived" else ()


def _free(role: str, weights: Mapping[str, Any]) -> str:
    number = 2
    found = role
    while found in weights:
        found, number = f"{role}_{number}", number + 1
    return found


def _simple(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (
        isinstance(value, list) and all(isinstance(v, bool | int | float | str) for v in value)
    )


def _first(raw: Raw) -> tuple[int, ...]:
    return raw.tensors()[0].shape if raw.tensors() else raw.sources[0].shape


def _axes(source: Source, rank: int) -> list[int] | None:
    found = source.numbers()
    return None if found is None else sorted(int(a) % rank for a in found.reshape(-1)) if rank else []


def _layout(raw: Raw) -> tuple[int, bool]:
    """Return the first spatial axis, and whether channels come last."""
    last = not str(raw.attributes.get("data_format", "NHWC")).startswith("NC")
    return (1 if last else 2), last


def _pads(
    raw: Raw, sizes: Sequence[int], kernel: list[int], strides: list[int], dilation: list[int], start: int
) -> Any:
    padding = str(raw.attributes.get("padding", "VALID"))
    if padding == "SAME":
        return "same", [same_pads(n, k, s, d) for n, k, s, d in zip(sizes, kernel, strides, dilation, strict=True)]
    if padding == "EXPLICIT":
        flat = [int(v) for v in raw.attributes["explicit_paddings"]]
        pairs = [flat[i : i + 2] for i in range(0, len(flat), 2)]
        return "explicit", pairs[start : start + len(kernel)]
    return "valid", [[0, 0]] * len(kernel)


def _kernel_weight(source: Source) -> dict[str, Any]:
    return {"kernel": source.value} if source.what == "weight" else {}


def _takes_all(kernel: Source) -> bool:
    """Return whether a constant kernel makes a channel of every number of its window, in their order."""
    square = kernel.what == "constant" and math.prod(kernel.shape[:-1]) == kernel.shape[-1]
    if not square or not hasattr(kernel.value, "numpy"):
        return False
    size = int(kernel.shape[-1])
    return bool(np.array_equal(np.asarray(kernel.value.numpy()).reshape(size, size), np.eye(size)))


def _conv(raw: Raw, depthwise: bool = False) -> Described | None:
    x, kernel = raw.sources[0], raw.sources[1]
    if kernel.what == "tensor" or x.what != "tensor":
        return None
    rank = len(kernel.shape) - 2
    start, last = _layout(raw)
    strides = [int(s) for s in raw.attributes["strides"]][start : start + rank]
    dilation = [int(d) for d in raw.attributes.get("dilations", [1] * (rank + 2))][start : start + rank]
    sizes, spatial = [int(k) for k in kernel.shape[:rank]], list(x.shape[start : start + rank])
    padding, pads = _pads(raw, spatial, sizes, strides, dilation, start)
    config: dict[str, Any] = {"rank": rank, "kernel": sizes, "strides": strides, "padding": padding, "pads": pads}
    config |= {"dilation": dilation, "bias": False}
    config |= {} if last else {"data_format": "channels_first"}
    if last and rank == 2 and _takes_all(kernel):  # as Keras's own `extract_patches`
        return (
            ("patches" if padding == "valid" else PADDED_PATCHES),
            {"size": sizes, "strides": strides, "dilation": dilation},
            {},
        )
    if depthwise:
        return "depthwise_conv", config | {"multiplier": int(kernel.shape[-1])}, _kernel_weight(kernel)
    channels = x.shape[-1 if last else 1]
    config |= {"filters": int(kernel.shape[-1]), "pad_mode": "zeros", "groups": int(channels // kernel.shape[-2])}
    return "conv", config, _kernel_weight(kernel)


def _conv_transpose(raw: Raw) -> Described | None:
    kernel, x = raw.sources[1], raw.sources[2]
    if kernel.what == "tensor" or x.what != "tensor":
        return None
    rank = len(kernel.shape) - 2
    start, _ = _layout(raw)
    strides = [int(s) for s in raw.attributes["strides"]][start : start + rank]
    dilation = [int(d) for d in raw.attributes.get("dilations", [1] * (rank + 2))][start : start + rank]
    sizes = [int(k) for k in kernel.shape[:rank]]
    same = str(raw.attributes["padding"]) == "SAME"
    given, made = x.shape[start : start + rank], raw.outputs[0][start : start + rank]
    cut = [crops(n, o, k, s, d, same) for n, o, k, s, d in zip(given, made, sizes, strides, dilation, strict=True)]
    config = {"filters": int(kernel.shape[-2]), "rank": rank, "kernel": sizes, "strides": strides}
    config |= {"padding": "same" if same else "valid", "crops": cut, "dilation": dilation, "groups": 1, "bias": False}
    return "conv_transpose", config, _kernel_weight(kernel)


def _matmul(raw: Raw) -> Described:
    a, b = raw.sources[0], raw.sources[1]
    turned_a = bool(raw.attributes.get("transpose_a", raw.attributes.get("adj_x", False)))
    turned_b = bool(raw.attributes.get("transpose_b", raw.attributes.get("adj_y", False)))
    matrix = _matrix(b, turned_b)
    if a.what == "tensor" and matrix is not None and not turned_a:
        weight, turned = matrix
        config: dict[str, Any] = {"units": int(b.shape[0 if turned_b else 1]), "bias": False}
        return "dense", config | ({"transpose_kernel": True} if turned else {}), {"kernel": weight}
    return "matmul", {"transpose_a": turned_a, "transpose_b": turned_b}, {}


def _matrix(source: Source, turned: bool) -> tuple[Any, bool] | None:
    """Return the weight that a product's matrix is, and whether it is transposed first, as a tied embedding is."""
    if len(source.shape) != 2:
        return None
    if source.what == "weight":
        return source.value, turned
    made = source.value
    if not isinstance(made, Derived) or made.op_type != "Transpose" or not isinstance(made.sources[0], WeightRead):
        return None
    order = Source("constant", (2,), made.sources[1]).numbers()
    return None if order is None or order.tolist() != [1, 0] else (made.sources[0].variable, not turned)


def _arithmetic(name: str, scale: Callable[[float, bool], tuple[float, float] | None]) -> Callable[[Raw], Described]:
    """Return how to describe one of the four rules: with a number it is a rescaling."""

    def make(raw: Raw) -> Described:
        first, second = raw.sources[0], raw.sources[1]
        for source, other, right in ((second, first, True), (first, second, False)):
            number = source.scalar()
            if number is not None and other.what == "tensor":
                found = scale(number, right)
                if found is not None:
                    return "rescale", {"scale": found[0], "offset": found[1]}, {}
        if name in ("subtract", "divide") and first.what == "weight" and second.what == "tensor":
            return name, {"reversed": True}, {}
        return name, constant_operand(first, False) or constant_operand(second, True), {}

    return make


def constant_operand(source: Source, right: bool) -> dict[str, Any]:
    """Return what an operation's configuration tells of a small constant operand."""
    numbers = source.numbers()
    large = source.what == "constant" and math.prod(source.shape) > SMALL
    if numbers is None or numbers.dtype.kind not in "fiub":
        return {"constant_shape": list(source.shape)} if large else {}
    found = {"constant_shape": list(numbers.shape), "constant": [float(one) for one in numbers.reshape(-1)]}
    return found if right else {**found, "reversed": True}


def _bounded(name: str) -> Callable[[Raw], Described]:
    """Return how to describe the larger or smaller of two: a number that it is compared with is told."""
    return lambda raw: (name, constant_operand(raw.sources[1], True) or constant_operand(raw.sources[0], True), {})


def _divided(number: float, right: bool) -> tuple[float, float] | None:
    return (1.0 / number, 0.0) if right and number else None


def _reduce(function: str) -> Callable[[Raw], Described | None]:
    def make(raw: Raw) -> Described | None:
        shape = _first(raw)
        axes = _axes(raw.sources[1], len(shape))
        if axes is None:
            return None
        keep = bool(raw.attributes.get("keep_dims", False))
        if function in ("mean", "max") and len(shape) in (3, 4, 5) and axes == list(range(1, len(shape) - 1)):
            kind = "global_avg_pool" if function == "mean" else "global_max_pool"
            return kind, {"rank": len(shape) - 2, "keepdims": keep}, {}
        return "reduce", {"function": function, "axes": axes, "keepdims": keep}, {}

    return make


def _pool(kind: str) -> Callable[[Raw], Described]:
    def make(raw: Raw) -> Described:
        shape = _first(raw)
        rank = len(shape) - 2
        start, last = _layout(raw)
        pool = [int(k) for k in raw.attributes["ksize"]][start : start + rank]
        strides = [int(s) for s in raw.attributes["strides"]][start : start + rank]
        padding, pads = _pads(raw, shape[start : start + rank], pool, strides, [1] * rank, start)
        config = {"rank": rank, "pool": pool, "strides": strides, "padding": padding, "pads": pads}
        config |= {"dilation": [1] * rank, "ceil": False, "count_include_pad": False}
        return kind, config | ({} if last else {"data_format": "channels_first"}), {}

    return make


def _activation(function: str, **renamed: str) -> Callable[[Raw], Described]:
    def make(raw: Raw) -> Described:
        config = {ours: float(raw.attributes[own]) for own, ours in renamed.items() if own in raw.attributes}
        return "activation", {"function": function, **config}, {}

    return make


def _softmax(log: bool) -> Callable[[Raw], Described]:
    return lambda raw: ("softmax", {"axis": len(_first(raw)) - 1, "log": log}, {})


def _concat(raw: Raw) -> Described | None:
    axis = raw.sources[-1].scalar()
    return None if axis is None else ("concat", {"axis": int(axis) % len(raw.outputs[0])}, {})


def _reshape(raw: Raw) -> Described:
    given, made = _first(raw), raw.outputs[0]
    if len(made) == 2 and given and made[0] == given[0] and len(given) > 2:
        return "flatten", {"start_axis": 1}, {}
    return "reshape", {"shape": [int(n) for n in made[1:]]}, {}


def _permute(raw: Raw) -> Described | None:
    order = raw.sources[1].numbers()
    return None if order is None else ("permute", {"order": [int(a) for a in order]}, {})


def _pad(raw: Raw) -> Described | None:
    pads = raw.sources[1].numbers()
    if pads is None:
        return None
    mode = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}.get(str(raw.attributes.get("mode", "")), "constant")
    value = raw.sources[2].scalar() if raw.op == "PadV2" and len(raw.sources) > 2 else 0.0
    pairs = [[int(low), int(high)] for low, high in pads]
    if len(pairs) >= 3 and pairs[0] == [0, 0] and pairs[-1] == [0, 0]:
        return "zero_pad", {"pads": pairs[1:-1], "mode": mode, "value": value}, {}
    return "op:" + raw.op, {"pads": [n for pair in pairs for n in pair], "mode": mode, "value": value}, {}


def _fused_norm(raw: Raw) -> Described:
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    weights = {role: s.value for role, s in zip(roles, raw.sources[1:5], strict=False) if s.what == "weight"}
    training = bool(raw.attributes.get("is_training", True))
    config = {
        "eps": as_written(np.float32(raw.attributes.get("epsilon", 1e-4))),
        "momentum": None,
        "axis": len(_first(raw)) - 1,
    }
    return "batch_norm", config | {"center": True, "scale": True, "frozen": not training, "training": training}, weights


def _resize(method: str) -> Callable[[Raw], Described | None]:
    def make(raw: Raw) -> Described | None:
        size = raw.sources[1].numbers()
        if size is None:
            return None
        corners = bool(raw.attributes.get("align_corners", False))
        half = bool(raw.attributes.get("half_pixel_centers", False))
        config = {"size": [int(n) for n in size], "method": method, "antialias": False, "align_corners": corners}
        return "resize", config | {"half_pixel": half, "exact": half}, {}

    return make


def _blocks(kind: str) -> Callable[[Raw], Described]:
    return lambda raw: (kind, {"block": int(raw.attributes["block_size"]), "order": "block-major"}, {})


def looks_up_constants(op: str, sources: Sequence[Source]) -> bool:
    """Whether rows of a whole weight are looked up by numbers that depend on no input, as positions are."""
    table, rows = sources[0].what == "weight", len(sources) > 1 and sources[1].what == "constant"
    return op in LOOKUPS and table and rows and (len(sources) < 3 or sources[2].scalar() == 0.0)


def _gather(raw: Raw) -> Described | None:
    table, indices = raw.sources[0], raw.sources[1]
    if raw.op != "ResourceGather" and len(raw.sources) > 2 and raw.sources[2].scalar() not in (0.0, None):
        return "gather", {"axis": int(raw.sources[2].scalar() or 0)}, {}
    if table.what == "weight" and len(table.shape) == 2 and indices.what in ("tensor", "constant"):
        config = {"tokens": int(table.shape[0]), "units": int(table.shape[1]), "padding_index": None}
        return "embedding", config | {"mask_zero": False}, {"embeddings": table.value}
    return "gather", {"axis": 0}, {}


def _slice(raw: Raw) -> Described:
    steps = raw.sources[3].numbers() if len(raw.sources) > 3 else np.ones(1)
    if steps is not None and (steps > 0).all() and math.prod(raw.sources[0].shape) == math.prod(raw.outputs[0]):
        return "reshape", {"shape": list(raw.outputs[0])}, {}  # all of it, with axes of one more or less
    text = []
    for source in raw.sources[1:]:
        found = source.numbers()
        text.append("?" if found is None else str([int(v) for v in found.reshape(-1)]))
    masks = [f"{key}={value}" for key, value in raw.attributes.items() if key.endswith("_mask") and value]
    return "slice", {"text": " ".join([*text, *masks])}, {}


def _patches(raw: Raw) -> Described | None:
    words = {"size": "ksizes", "strides": "strides", "dilation": "rates"}
    kind = "patches" if str(raw.attributes.get("padding")) == "VALID" else PADDED_PATCHES
    return kind, {ours: [int(n) for n in raw.attributes[own]][1:3] for ours, own in words.items()}, {}


def _cast(raw: Raw) -> Described:
    return "cast", {"dtype": str(raw.attributes.get("result", ""))}, {}


def _power(raw: Raw) -> Described | None:
    exponent = raw.sources[1].scalar()
    return None if exponent is None or raw.sources[0].what != "tensor" else ("power", {"exponent": exponent}, {})


def _split(raw: Raw) -> Described:
    axis = next((s.scalar() for s in (raw.sources[0], raw.sources[-1]) if s.scalar() is not None), None)
    return "split", {"axis": None if axis is None else int(axis) % len(_first(raw)), "parts": len(raw.outputs)}, {}


def _argmax(raw: Raw) -> Described | None:
    axis = raw.sources[1].scalar()
    return None if axis is None else ("argmax", {"axis": int(axis) % len(_first(raw))}, {})


def _comparison(raw: Raw) -> Described:
    """Keep the number that something is compared with, for those who write the operation out."""
    first, second = raw.sources[:2]
    number = second.scalar() if first.what == "tensor" else None
    return f"op:{raw.op}", {} if number is None else {constants.NUMBER: float(number)}, {}


def _named(kind: str) -> Callable[[Raw], Described]:
    return lambda _: (kind, {}, {})


# Operations whose further results are scratch space of their gradients.
ONE_RESULT = ("FusedBatchNorm",)

_TABLE: Mapping[str, Callable[[Raw], Described | None]] = {
    "Conv2D": _conv, "Conv3D": _conv, "DepthwiseConv2dNative": lambda raw: _conv(raw, depthwise=True),
    "Conv2DBackpropInput": _conv_transpose, "Conv3DBackpropInputV2": _conv_transpose,
    "MatMul": _matmul, "BatchMatMulV2": _matmul, "BatchMatMulV3": _matmul,
    "Einsum": lambda raw: ("einsum", {"equation": str(raw.attributes["equation"])}, {}),
    "Add": _arithmetic("add", lambda n, _: (1.0, n)), "AddV2": _arithmetic("add", lambda n, _: (1.0, n)),
    "BiasAdd": _named("add"), "AddN": _named("add"),
    "Sub": _arithmetic("subtract", lambda n, right: (1.0, -n) if right else (-1.0, n)),
    "Mul": _arithmetic("multiply", lambda n, _: (n, 0.0)),
    "RealDiv": _arithmetic("divide", _divided), "DivNoNan": _named("divide"),
    "Maximum": _bounded("maximum"), "Minimum": _bounded("minimum"),
    "Neg": lambda _: ("rescale", {"scale": -1.0, "offset": 0.0}, {}),
    "Mean": _reduce("mean"), "Sum": _reduce("sum"), "Max": _reduce("max"), "Min": _reduce("min"),
    "Prod": _reduce("prod"), "EuclideanNorm": _reduce("norm"),
    "MaxPool": _pool("max_pool"), "AvgPool": _pool("avg_pool"), "MaxPool3D": _pool("max_pool"),
    "AvgPool3D": _pool("avg_pool"),
    "Relu": _activation("relu"), "Relu6": _activation("relu6"), "LeakyRelu": _activation("leaky_relu", alpha="slope"),
    "Elu": _activation("elu"), "Selu": _activation("selu"), "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"), "Sigmoid": _activation("sigmoid"), "Tanh": _activation("tanh"),
    "Exp": _activation("exponential"), "Sqrt": _activation("sqrt"), "Rsqrt": _activation("rsqrt"),
    "Square": _activation("square"), "Abs": _activation("abs"), "Erf": _activation("erf"), "Log": _activation("log"),
    "Sin": _activation("sin"), "Cos": _activation("cos"),
    "Softmax": _softmax(False), "LogSoftmax": _softmax(True),
    "ConcatV2": _concat, "Reshape": _reshape, "Squeeze": _reshape, "ExpandDims": _reshape, "Transpose": _permute,
    "Pad": _pad, "PadV2": _pad, "MirrorPad": _pad,
    "FusedBatchNormV3": _fused_norm, "FusedBatchNormV2": _fused_norm, "FusedBatchNorm": _fused_norm,
    "ResizeBilinear": _resize("bilinear"), "ResizeNearestNeighbor": _resize("nearest"),
    "ResizeBicubic": _resize("bicubic"), "ResizeArea": _resize("area"),
    "DepthToSpace": _blocks("depth_to_space"), "SpaceToDepth": _blocks("space_to_depth"),
    "GatherV2": _gather, "ResourceGather": _gather, "Gather": _gather, "StridedSlice": _slice, "Slice": _slice,
    "ExtractImagePatches": _patches,
    "Cast": _cast, "Identity": _named("identity"), "StopGradient": _named("identity"), "Snapshot": _named("identity"),
    "PreventGradient": _named("identity"), "Pow": _power, "Split": _split, "SplitV": _split,
    "Pack": lambda raw: ("stack", {"axis": int(raw.attributes.get("axis", 0)) % len(raw.outputs[0])}, {}),
    **dict.fromkeys(("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"), _comparison),
    "ArgMax": _argmax, "SquaredDifference": _named("squared_difference"),
}  # fmt: skip
