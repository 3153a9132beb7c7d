"""Keras layers that are one operation each: their kind, configuration and weights in the words of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_activations import activation_of, softmax_config
from parity.model import constants
from parity.model.trace import SLOPES

Shape = tuple[int, ...]


@dataclass
class Leaf:
    """What a layer is; `weights` maps a role to the variable."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """What is known of a call: the shapes of the first input and output (None before any run), and how it was made."""

    x: Shape | None = None
    y: Shape | None = None
    training: bool = False
    masked: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


# Overriding these changes nothing of what a layer computes.
_HARMLESS = frozenset((
    "__init__", "build", "get_config", "from_config", "compute_output_shape", "compute_output_spec", "__module__",
    "__doc__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__static_attributes__",
    "__firstlineno__", "__classcell__", "__abstractmethods__", "_abc_impl", "__reduce__", "__slots__",
    "__parameters__", "__orig_bases__",
))  # fmt: skip


def known_class(layer: Any) -> type | None:
    """Return the class of Keras whose computation this layer's is; None for a class that computes its own."""
    for kind in type(layer).__mro__:
        if kind.__module__.split(".")[0] in ("keras", "tf_keras"):
            return None if ".applications." in kind.__module__ else kind
        if not set(vars(kind)) <= _HARMLESS | {name for name in vars(kind) if not callable(vars(kind)[name])}:
            return None
    return None


def same_pads(n: int, kernel: int, stride: int, dilation: int = 1) -> list[int]:
    """Return what SAME puts before and after an axis of n: the larger half after."""
    total = max((math.ceil(n / stride) - 1) * stride + (kernel - 1) * dilation + 1 - n, 0)
    return [total // 2, total - total // 2]


def crops(n: int, out: int, kernel: int, stride: int, dilation: int, same: bool) -> list[int]:
    """Return what a transposed convolution cuts off its full result; a negative end appends zeros."""
    extent = (kernel - 1) * dilation + 1
    full = (n - 1) * stride + extent
    low = max(full - out, 0) // 2 if same else 0
    return [low, full - out - low]


def as_written(number: Any) -> float:
    """Return a number as its author wrote it: 0.3, not the 0.30000001192092896 that float32 makes of it."""
    return constants.shortest(float(number)) if isinstance(number, np.float32) else float(number)


def listed(value: Any, rank: int) -> list[int]:
    """Return an int or a sequence as a list of `rank` ints."""
    return [int(v) for v in value] if isinstance(value, Sequence) else [int(value)] * rank


def axes_of(axis: Any, rank: int | None) -> list[int]:
    """Return an axis or axes counted from the front."""
    found = [int(a) for a in (axis if isinstance(axis, list | tuple) else [axis])]
    return sorted(a % rank if rank else a for a in found)


def spatial(shape: Shape | None, rank: int, layer: Any) -> list[int] | None:
    """Return the sizes of the spatial axes."""
    if shape is None:
        return None
    start = 2 if getattr(layer, "data_format", "channels_last") == "channels_first" else 1
    return [int(n) for n in shape[start : start + rank]]


def describe(layer: Any, call: Call) -> Leaf | None:
    """Return what a layer is; None for one that is to be looked into."""
    kind = known_class(layer)
    if kind is None or kind.__name__ in _CONTAINERS:
        return None
    make = _TABLE.get(kind.__name__)
    leaf = make(layer, call) if make else _unknown(layer, kind.__name__)
    if leaf is not None and getattr(layer, "data_format", None) == "channels_first":
        leaf.config["data_format"] = "channels_first"
    return leaf


def _unknown(layer: Any, name: str) -> Leaf | None:
    from parity.adapters.tensorflow_model_names import _own_variables, sublayers

    if sublayers(layer) and name not in ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"):
        return None
    weights = dict(_own_variables(layer))
    for inner in sublayers(layer):
        weights |= dict(_own_variables(inner))
    return Leaf(f"op:{name}", _simple(layer), weights)


def _simple(layer: Any) -> dict[str, Any]:
    """Return the plain values of a layer's own configuration."""
    try:
        config = layer.get_config()
    except Exception:
        return {}
    plain = (bool, int, float, str)
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.items()
        if key not in ("name", "dtype", "trainable", "batch_input_shape")
        and (
            value is None
            or isinstance(value, plain)
            or (isinstance(value, list | tuple) and all(isinstance(v, plain) for v in value))
        )
    }


def _roles(**roles: Any) -> dict[str, Any]:
    return {role: variable for role, variable in roles.items() if variable is not None}


def _windows(layer: Any, call: Call, kernel: Any) -> dict[str, Any]:
    """Return kernel, strides, dilation and resolved pads of a convolution."""
    rank = int(getattr(layer, "rank", len(kernel)))
    sizes, strides, dilation = listed(kernel, rank), listed(layer.strides, rank), listed(layer.dilation_rate, rank)
    padding, found = str(layer.padding).lower(), spatial(call.x, rank, layer)
    if padding == "same":
        pads = None if found is None else [
            same_pads(n, k, s, d) for n, k, s, d in zip(found, sizes, strides, dilation, strict=True)
        ]  # fmt: skip
    elif padding == "causal":
        pads = [[(k - 1) * d, 0] for k, d in zip(sizes, dilation, strict=True)]
    else:
        pads = [[0, 0]] * rank
    return {
        "rank": rank,
        "kernel": sizes,
        "strides": strides,
        "padding": "explicit" if padding == "causal" else padding,
        "pads": pads,
        "dilation": dilation,
        "bias": bool(layer.use_bias),
    }


def _conv(layer: Any, call: Call) -> Leaf:
    config = {"filters": int(layer.filters), **_windows(layer, call, layer.kernel_size), "pad_mode": "zeros"}
    config["groups"] = int(getattr(layer, "groups", 1))
    return Leaf("conv", config, _roles(kernel=getattr(layer, "kernel", None), bias=getattr(layer, "bias", None)))


def _depthwise(layer: Any, call: Call) -> Leaf:
    config = {**_windows(layer, call, layer.kernel_size), "multiplier": int(layer.depth_multiplier)}
    kernel = getattr(layer, "depthwise_kernel", None)
    kernel = getattr(layer, "kernel", None) if kernel is None else kernel
    return Leaf("depthwise_conv", config, _roles(kernel=kernel, bias=getattr(layer, "bias", None)))


def _separable(layer: Any, call: Call) -> Leaf:
    config = {**_windows(layer, call, layer.kernel_size), "multiplier": int(layer.depth_multiplier)}
    config["filters"] = int(layer.filters)
    weights = {role: getattr(layer, role, None) for role in ("depthwise_kernel", "pointwise_kernel", "bias")}
    return Leaf("separable_conv", config, _roles(**weights))


def _conv_transpose(layer: Any, call: Call) -> Leaf:
    config = {"filters": int(layer.filters), **_windows(layer, call, layer.kernel_size)}
    rank, same = config["rank"], config["padding"] == "same"
    given, made = spatial(call.x, rank, layer), spatial(call.y, rank, layer)
    config.pop("pads")
    config["crops"] = None
    if given is not None and made is not None:
        steps = zip(given, made, config["kernel"], config["strides"], config["dilation"], strict=True)
        config["crops"] = [crops(n, out, k, s, d, same) for n, out, k, s, d in steps]
    config["groups"] = 1
    weights = _roles(kernel=getattr(layer, "kernel", None), bias=getattr(layer, "bias", None))
    return Leaf("conv_transpose", config, weights)


def _dense(layer: Any, _: Call) -> Leaf:
    weights = _roles(
        kernel=getattr(layer, "_kernel", getattr(layer, "kernel", None)), bias=getattr(layer, "bias", None)
    )
    return Leaf("dense", {"units": int(layer.units), "bias": bool(layer.use_bias)}, weights)


def _einsum_dense(layer: Any, _: Call) -> Leaf:
    weights = _roles(
        kernel=getattr(layer, "_kernel", getattr(layer, "kernel", None)), bias=getattr(layer, "bias", None)
    )
    inputs, _arrow, result = str(layer.equation).replace(" ", "").partition("->")
    given, kernel = inputs.split(",")
    bias = bool(layer.bias_axes)
    dense = len(kernel) == 2 and given[-1] == kernel[0] and result == given[:-1] + kernel[1]
    if dense and len(str(layer.bias_axes or "x")) == 1:
        units = layer.kernel.shape[-1] if getattr(layer, "built", False) else None
        return Leaf("dense", {"units": units, "bias": bias}, weights)
    return Leaf("einsum", {"equation": str(layer.equation), "bias": bias}, weights)


def _batch_norm(layer: Any, call: Call) -> Leaf:
    rank = len(call.x) if call.x is not None else None
    frozen = not layer.trainable
    config = {
        "eps": float(layer.epsilon),
        "momentum": float(layer.momentum),
        "axis": axes_of(layer.axis, rank)[0],
        "center": bool(layer.center),
        "scale": bool(layer.scale),
        "frozen": frozen,
        "training": call.training and not frozen,
    }
    weights = {role: getattr(layer, role, None) for role in ("gamma", "beta", "moving_mean", "moving_variance")}
    return Leaf("batch_norm", config, _roles(**weights))


def _layer_norm(layer: Any, call: Call) -> Leaf:
    rank = len(call.x) if call.x is not None else None
    config = {"eps": float(layer.epsilon), "axes": axes_of(layer.axis, rank)}
    config |= {"center": bool(layer.center), "scale": bool(layer.scale)}
    return Leaf("layer_norm", config, _roles(gamma=getattr(layer, "gamma", None), beta=getattr(layer, "beta", None)))


def _group_norm(layer: Any, call: Call) -> Leaf:
    axis = axes_of(layer.axis, len(call.x) if call.x is not None else None)[0]
    groups = int(layer.groups)
    if groups == -1 and call.x is not None:
        groups = call.x[axis]
    config = {"groups": groups, "eps": float(layer.epsilon), "axis": axis}
    config |= {"center": bool(layer.center), "scale": bool(layer.scale)}
    return Leaf("group_norm", config, _roles(gamma=getattr(layer, "gamma", None), beta=getattr(layer, "beta", None)))


def _rms_norm(layer: Any, call: Call) -> Leaf:
    axes = axes_of(layer.axis, len(call.x) if call.x is not None else None)
    return Leaf("rms_norm", {"eps": float(layer.epsilon), "axes": axes}, _roles(scale=getattr(layer, "scale", None)))


def _unit_norm(layer: Any, call: Call) -> Leaf:
    axis = axes_of(layer.axis, len(call.x) if call.x is not None else None)
    form = "norm-floor" if type(layer).__module__.startswith("keras") else "rsqrt-floor"
    return Leaf("l2_normalize", {"eps": 1e-12, "axis": axis[0] if len(axis) == 1 else axis, "form": form})


def _dot(layer: Any, _: Call) -> Leaf | None:
    if not layer.normalize:
        return _unknown(layer, "Dot")
    keras_3 = getattr(known_class(layer), "__module__", "").startswith("keras")
    form, eps = ("norm-floor", 1e-7) if keras_3 else ("rsqrt-floor", 1e-12)
    return Leaf("cosine_similarity", {**_simple(layer), "form": form, "eps": eps})


def _embedding(layer: Any, _: Call) -> Leaf:
    config = {"tokens": int(layer.input_dim), "units": int(layer.output_dim), "padding_index": None}
    config["mask_zero"] = bool(layer.mask_zero)
    table = getattr(layer, "_embeddings", None)
    return Leaf("embedding", config, _roles(embeddings=getattr(layer, "embeddings", None) if table is None else table))


def _reversible_embedding(layer: Any, call: Call) -> Leaf | None:
    """Return an embedding; None where the call goes the other way, whose steps show which weight it takes."""
    return None if call.arguments.get("reverse") else _embedding(layer, call)


_CELLS = {"LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn"}
_LAYERS_OF_CELLS = frozenset({"RNN", "LSTM", "GRU", "SimpleRNN"})


def is_plain_cell(cell: Any) -> bool:
    """Tell whether this computes one step as one of Keras's own cells does."""
    return getattr(known_class(cell), "__name__", "") in _CELLS


def _cell(cell: Any, _: Call | None = None) -> Leaf:
    """One step, as a model's own loop takes it."""
    config = {
        "units": int(cell.units),
        "cell": True,
        "bidirectional": False,
        "reset_after": bool(getattr(cell, "reset_after", False)),
        "activation": _function_name(cell.activation),
        "recurrent_activation": _function_name(getattr(cell, "recurrent_activation", None)),
        "bias": bool(cell.use_bias),
    }
    weights = {role: getattr(cell, role, None) for role in ("kernel", "recurrent_kernel", "bias")}
    return Leaf(_CELLS[getattr(known_class(cell), "__name__", "")], config, _roles(**weights))


def _recurrent(layer: Any, _: Call) -> Leaf | None:
    """All steps: `LSTM` and its like, or `RNN` around one of their cells."""
    if not is_plain_cell(layer.cell):
        return None
    step = _cell(layer.cell)
    del step.config["cell"]
    config = {
        "sequences": bool(layer.return_sequences),
        "states": bool(layer.return_state),
        "go_backwards": bool(layer.go_backwards),
    }
    return Leaf(step.kind, {**step.config, **config}, step.weights)


def _conv_recurrent(layer: Any, _: Call) -> Leaf:
    """All steps of a layer whose products are convolutions."""
    cell = layer.cell
    config = {
        "units": int(cell.filters),
        "kernel": list(cell.kernel_size),
        "padding": str(cell.padding),
        "strides": list(cell.strides),
        "dilation": list(cell.dilation_rate),
        "bidirectional": False,
        "activation": _function_name(cell.activation),
        "recurrent_activation": _function_name(cell.recurrent_activation),
        "bias": bool(cell.use_bias),
        "sequences": bool(layer.return_sequences),
        "states": bool(layer.return_state),
        "go_backwards": bool(layer.go_backwards),
    }
    weights = {role: getattr(cell, role, None) for role in ("kernel", "recurrent_kernel", "bias")}
    return Leaf("conv_lstm", config, _roles(**weights))


def _bidirectional(layer: Any, call: Call) -> Leaf | None:
    both = layer.forward_layer, layer.backward_layer
    if not all(getattr(known_class(inner), "__name__", "") in _LAYERS_OF_CELLS for inner in both):
        return None
    first, second = (_recurrent(inner, call) for inner in both)
    if first is None or second is None or first.kind != second.kind:
        return None
    weights = {f"forward_{role}": variable for role, variable in first.weights.items()}
    weights |= {f"backward_{role}": variable for role, variable in second.weights.items()}
    return Leaf(first.kind, {**first.config, "bidirectional": True, "merge": layer.merge_mode}, weights)


def _attention(layer: Any, call: Call) -> Leaf:
    heads, key = int(layer._num_heads), int(layer._key_dim)
    given = call.arguments
    masks = [given.get(name) for name in ("attention_mask", "query_mask", "key_mask", "value_mask")]
    config: dict[str, Any] = {
        "heads": heads,
        "key_dim": key,
        "value_dim": int(layer._value_dim or key),
        "scale": 1.0 / math.sqrt(key),
        "causal": bool(given.get("use_causal_mask", False)),
        "bias": bool(layer._use_bias),
        "has_mask": call.masked or any(mask is not None for mask in masks),
    }
    weights: dict[str, Any] = {}
    for role in ("query", "key", "value", "output"):
        inner = getattr(layer, f"_{role}_dense", None)
        if inner is not None:
            kernel = getattr(inner, "_kernel", getattr(inner, "kernel", None))
            weights |= {f"{role}_kernel": kernel, f"{role}_bias": getattr(inner, "bias", None)}
    own = masks[0]
    if own is not None and not call.masked and masks[1:] == [None] * 3 and hasattr(own, "__array__"):
        array = np.asarray(own)
        if array.size <= constants.MOST:
            config[constants.MASK] = constants.packed(array)
    return Leaf("attention", config, _roles(**weights))


def _pool(kind: str) -> Callable[[Any, Call], Leaf]:
    def make(layer: Any, call: Call) -> Leaf:
        rank = int(type(layer).__name__[-2]) if type(layer).__name__[-2:-1].isdigit() else len(layer.pool_size)
        pool, strides = listed(layer.pool_size, rank), listed(layer.strides or layer.pool_size, rank)
        padding, found = str(layer.padding).lower(), spatial(call.x, rank, layer)
        pads: Any = [[0, 0]] * rank
        if padding == "same":
            pads = None if found is None else [same_pads(n, k, s) for n, k, s in zip(found, pool, strides, strict=True)]
        config = {"rank": rank, "pool": pool, "strides": strides, "padding": padding, "pads": pads}
        return Leaf(kind, config | {"dilation": [1] * rank, "ceil": False, "count_include_pad": False})

    return make


def _rank_of(layer: Any) -> int:
    kind = known_class(layer)
    return int((kind.__name__ if kind else "2D")[-2])


def _global(kind: str) -> Callable[[Any, Call], Leaf]:
    return lambda layer, _: Leaf(kind, {"rank": _rank_of(layer), "keepdims": bool(getattr(layer, "keepdims", False))})


def _adaptive(kind: str) -> Callable[[Any, Call], Leaf]:
    return lambda layer, _: Leaf(kind, {"rank": _rank_of(layer), "size": listed(layer.output_size, _rank_of(layer))})


def _activation(layer: Any, call: Call) -> Leaf | None:
    found = activation_of(layer.activation, len(call.x) if call.x is not None else None)
    return None if found is None else Leaf(*found)


def _function_name(function: Any) -> str | None:
    if function is None:
        return None
    found = activation_of(function, None)
    return str(getattr(function, "__name__", "unknown")) if found is None else str(found[1].get("function", found[0]))


def _relu(layer: Any, _: Call) -> Leaf:
    top, slope, threshold = layer.max_value, float(layer.negative_slope or 0.0), float(layer.threshold or 0.0)
    if top is not None and float(top) == 6.0 and not slope and not threshold:
        return Leaf("activation", {"function": "relu6"})
    config: dict[str, Any] = {"function": "relu"}
    config |= {} if top is None else {"max_value": float(top)}
    config |= {"negative_slope": slope} if slope else {}
    return Leaf("activation", config | ({"threshold": threshold} if threshold else {}))


def _leaky(layer: Any, _: Call) -> Leaf:
    slope: Any = getattr(layer, "negative_slope", None)
    slope = getattr(layer, "alpha", 0.3) if slope is None else slope
    return Leaf("activation", {"function": "leaky_relu", "slope": float(slope)})


def _prelu(layer: Any, _: Call) -> Leaf:
    shared = [int(a) for a in layer.shared_axes or ()]
    alpha = getattr(layer, "alpha", None)
    config = {"shared_axes": shared, "shared": bool(shared)}
    config |= {} if alpha is None else {SLOPES: math.prod(alpha.shape)}
    return Leaf("prelu", config, _roles(alpha=alpha))


def _softmax(layer: Any, call: Call) -> Leaf:
    return Leaf("softmax", softmax_config(layer.axis, len(call.x) if call.x is not None else None, False))


def _dropout(layer: Any, call: Call) -> Leaf:
    aside: Any = getattr(layer, "_parity_rate", None)
    rate = getattr(layer, "rate", getattr(layer, "stddev", 0.0)) if aside is None else aside
    drops = call.training and aside is None and bool(rate)  # in inference, as its call asks for
    if not drops:
        return Leaf("dropout", {"rate": float(rate)})
    if "Gaussian" in type(layer).__name__:
        return Leaf("op:noise", noise_of(layer))
    return Leaf("op:dropout", {"rate": float(rate), "whole_channels": "Spatial" in type(layer).__name__})


def noise_of(layer: Any) -> dict[str, Any]:
    """Return how wide a layer's noise spreads, and whether numbers are multiplied by it rather than shifted."""
    if hasattr(layer, "stddev"):
        return {"stddev": float(layer.stddev), "multiplied": False}
    rate = float(layer.rate)
    return {"stddev": math.sqrt(rate / (1.0 - rate)), "multiplied": True}


def _reshape(layer: Any, call: Call) -> Leaf:
    shape = call.y[1:] if call.y is not None else layer.target_shape
    return Leaf("reshape", {"shape": [int(n) for n in shape]})


def _pairs(value: Any) -> list[list[int]]:
    pairs = [value] if isinstance(value[0], int) else value
    return [[int(low), int(high)] for low, high in pairs]


def _zero_padding(layer: Any, _: Call) -> Leaf:
    return Leaf("zero_pad", {"pads": _pairs(layer.padding), "mode": "constant", "value": 0.0})


def _resize(layer: Any, call: Call) -> Leaf:
    method = str(getattr(layer, "interpolation", "nearest")).lower()
    config: dict[str, Any] = {"method": method, "antialias": bool(getattr(layer, "antialias", False))}
    config |= {"align_corners": False, "half_pixel": True, "exact": True}
    if hasattr(layer, "size"):
        rank = _rank_of(layer)
        config["factor"] = listed(layer.size, rank)
        config["size"] = spatial(call.y, rank, layer)
    else:
        config["size"] = [int(layer.height), int(layer.width)]
        for name in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
            config |= {name: True} if getattr(layer, name, False) else {}
    return Leaf("resize", config)


def _number(value: Any) -> Any:
    found = np.asarray(value)
    numbers = [as_written(v) for v in found.reshape(-1)]
    return numbers[0] if found.ndim == 0 else numbers


def _rescaling(layer: Any, _: Call) -> Leaf | None:
    scale, offset = _number(layer.scale), _number(layer.offset)
    if isinstance(scale, list) or isinstance(offset, list):
        return None  # one number for each channel: it is seen by its product and its sum
    return Leaf("rescale", {"scale": scale, "offset": offset})


def _standardize(layer: Any, call: Call) -> Leaf:
    rank = len(call.x) if call.x is not None else None
    config = {role: _number(getattr(layer, role, None) or 0.0) if not hasattr(getattr(layer, role, None), "numpy")
              else _number(getattr(layer, role).numpy()) for role in ("mean", "variance")}  # fmt: skip
    axis = layer.axis if layer.axis is not None else ()
    return Leaf("standardize", config | {"axis": axes_of(axis, rank), "invert": bool(getattr(layer, "invert", False))})


def _concat(layer: Any, call: Call) -> Leaf:
    return Leaf("concat", {"axis": axes_of(layer.axis, len(call.x) if call.x is not None else None)[0]})


def _plain(kind: str, **config: Any) -> Callable[[Any, Call], Leaf]:
    return lambda *_: Leaf(kind, dict(config))


# Layers that only hold others, or whose calls are the user's own code.
_CONTAINERS = frozenset((
    "Layer", "Model", "Functional", "Sequential", "Lambda", "Wrapper", "TimeDistributed", "SpectralNormalization",
    "StackedRNNCells", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "TFSMLayer", "Pipeline", "FeatureSpace",
))  # fmt: skip

_TABLE: dict[str, Callable[[Any, Call], Leaf | None]] = {
    "Dense": _dense, "EinsumDense": _einsum_dense, "Embedding": _embedding,
    "ReversibleEmbedding": _reversible_embedding,
    "BatchNormalization": _batch_norm, "SyncBatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm, "RMSNormalization": _rms_norm, "UnitNormalization": _unit_norm,
    **dict.fromkeys(_LAYERS_OF_CELLS, _recurrent), **dict.fromkeys(_CELLS, _cell), "Bidirectional": _bidirectional,
    "MultiHeadAttention": _attention,
    "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky, "PReLU": _prelu, "Softmax": _softmax,
    "ELU": lambda layer, _: Leaf("activation", {"function": "elu", "alpha": float(layer.alpha)}),
    "ActivityRegularization": _plain("identity"), "Identity": _plain("identity"),
    "Flatten": _plain("flatten", start_axis=1), "Reshape": _reshape,
    "Permute": lambda layer, _: Leaf("permute", {"order": [0, *(int(d) for d in layer.dims)]}),
    "Resizing": _resize,
    "Rescaling": _rescaling,
    "Normalization": _standardize, "Concatenate": _concat, "Dot": _dot,
}  # fmt: skip
for _title in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    _TABLE[_title] = _plain(_title.lower())
for _name in ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"):
    _TABLE[_name] = _dropout
for _name in ("GaussianDropout", "GaussianNoise"):
    _TABLE[_name] = _dropout
for _rank in ("1D", "2D", "3D"):
    _TABLE |= {
        f"Conv{_rank}": _conv, f"DepthwiseConv{_rank}": _depthwise, f"SeparableConv{_rank}": _separable,
        f"Conv{_rank}Transpose": _conv_transpose, f"MaxPooling{_rank}": _pool("max_pool"),
        f"AveragePooling{_rank}": _pool("avg_pool"), f"GlobalMaxPooling{_rank}": _global("global_max_pool"),
        f"GlobalAveragePooling{_rank}": _global("global_avg_pool"),
        f"AdaptiveMaxPooling{_rank}": _adaptive("adaptive_max_pool"),
        f"AdaptiveAveragePooling{_rank}": _adaptive("adaptive_avg_pool"), f"ZeroPadding{_rank}": _zero_padding,
        f"Cropping{_rank}": lambda layer, _: Leaf("cropping", {"crops": _pairs(layer.cropping)}),
        f"UpSampling{_rank}": _resize, f"ConvLSTM{_rank}": _conv_recurrent,
    }  # fmt: skip
