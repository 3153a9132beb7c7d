"""TensorFlow's half of a reproduction script: every kind of operation as a person would write it with Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from parity.model.constants import MASKED
from parity.porting.repro_script import STATES, Given, Raw, Writer, arguments, comparison, plain, written

_DTYPE = Raw("dtype")


def expression(given: Given) -> str:
    """Return the code that computes one operation's first result, or all of them.

    Raises
        UsageError: a kind, or a form of it, that has no standalone code.
    """
    return written(given, KINDS, SEVERAL)


def _layer(given: Given, made: str, roles: tuple[str, ...] = (), **options: Any) -> str:
    """Return the call of a layer, with weights if it has any."""
    weights = [given.weights[role] for role in roles if role in given.weights]
    x = given.x[0]
    words = arguments(**options)
    more = f", {words}" if words else ""
    return called(made, weights, x + more) if weights else f"{made}({x}{more})"


def called(made: str, weights: Sequence[str], rest: str) -> str:
    """Return the call of a layer that is given its weights."""
    return f"call(\n    {made},\n    [{', '.join(weights)}],\n    {rest},\n)"


def _format(given: Given) -> str | None:
    found = given.config.get("data_format")
    return str(found) if found else None


def _padded(given: Given) -> tuple[Given, str]:
    """Return the operation with explicit padding written out before it, and the word for the rest."""
    padding = str(given.config.get("padding", "valid"))
    if padding != "explicit":
        return given, padding
    pads = [[0, 0], *given.config["pads"], [0, 0]]
    moved = replace(given, x=(f"tf.pad({given.x[0]}, {plain(pads)})",))
    return moved, "valid"


def _conv(given: Given) -> str:
    config = given.config
    given, padding = _padded(given)
    made = arguments(
        config["filters"], config["kernel"], strides=config["strides"], padding=padding,
        dilation_rate=_unless(config["dilation"]), groups=config["groups"] if config["groups"] > 1 else None,
        use_bias="bias" in given.weights, data_format=_format(given), dtype=_DTYPE,
    )  # fmt: skip
    given.weight("kernel")
    return _layer(given, f"keras.layers.Conv{given.rank}D({made})", ("kernel", "bias"))


def _depthwise(given: Given) -> str:
    config = given.config
    given, padding = _padded(given)
    made = arguments(
        config["kernel"], strides=config["strides"], padding=padding, depth_multiplier=config["multiplier"],
        dilation_rate=_unless(config["dilation"]), use_bias="bias" in given.weights, data_format=_format(given),
        dtype=_DTYPE,
    )  # fmt: skip
    given.weight("kernel")
    return _layer(given, f"keras.layers.DepthwiseConv{given.rank}D({made})", ("kernel", "bias"))


def _conv_transpose(given: Given) -> str:
    config, same = given.config, given.config["padding"] == "same"
    first = 2 if _format(given) == "channels_first" else 1
    sizes = zip(
        given.read[0][first:], given.made[first:], config["kernel"], config["strides"], config["dilation"], strict=False
    )
    extra, usual = [], True
    for n, out, kernel, stride, dilation in sizes:
        reach = (kernel - 1) * dilation + 1
        usual = usual and out == (n * stride if same else n * stride + max(reach - stride, 0))
        extra.append(out - ((n - 1) * stride + reach - (2 * (reach // 2) if same else 0)))
    made = arguments(
        config["filters"], config["kernel"], strides=config["strides"], padding=config["padding"],
        output_padding=None if usual else extra, dilation_rate=_unless(config["dilation"]),
        use_bias="bias" in given.weights, data_format=_format(given), dtype=_DTYPE,
    )  # fmt: skip
    given.weight("kernel")
    return _layer(given, f"keras.layers.Conv{given.rank}DTranspose({made})", ("kernel", "bias"))


def _unless(values: Any, usual: int = 1) -> Any:
    return None if all(value == usual for value in values) else values


def _dense(given: Given) -> str:
    units, bias = given.config["units"], given.weights.get("bias")
    kernel = given.weight("kernel") + (".T" if given.config.get("transpose_kernel") else "")
    made = arguments(units, use_bias=bias is not None, dtype=_DTYPE)
    return called(f"keras.layers.Dense({made})", [kernel, *([bias] if bias else [])], given.x[0])


def _batch_norm(given: Given) -> str:
    config = given.config
    made = arguments(
        axis=config["axis"], momentum=config.get("momentum"), epsilon=config["eps"],
        center="beta" in given.weights, scale="gamma" in given.weights, dtype=_DTYPE,
    )  # fmt: skip
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    given.weight("moving_mean")
    return _layer(
        given, f"keras.layers.BatchNormalization({made})", roles,
        training=True if config.get("training") else None,
    )  # fmt: skip


def _layer_norm(given: Given) -> str:
    axes = given.config["axes"]
    made = arguments(
        axis=axes[0] if len(axes) == 1 else Raw(str(list(axes))), epsilon=given.config["eps"],
        center="beta" in given.weights, scale="gamma" in given.weights, dtype=_DTYPE,
    )  # fmt: skip
    return _layer(given, f"keras.layers.LayerNormalization({made})", ("gamma", "beta"))


def _group_norm(given: Given) -> str:
    config = given.config
    made = arguments(
        config["groups"], axis=config["axis"], epsilon=config["eps"], center="beta" in given.weights,
        scale="gamma" in given.weights, dtype=_DTYPE,
    )  # fmt: skip
    return _layer(given, f"keras.layers.GroupNormalization({made})", ("gamma", "beta"))


def _rms_norm(given: Given) -> str:
    axes = given.config["axes"]
    made = arguments(axis=axes[0] if len(axes) == 1 else axes, epsilon=given.config["eps"], dtype=_DTYPE)
    given.weight("scale")
    return _layer(given, f"keras.layers.RMSNormalization({made})", ("scale",))


def _l2_normalize(given: Given) -> str:
    axis, eps = given.config["axis"], given.config["eps"]
    if given.config["form"] == "rsqrt-floor":
        return f"tf.math.l2_normalize({arguments(Raw(given.x[0]), axis=axis, epsilon=eps)})"
    return _layer(given, f"keras.layers.UnitNormalization({arguments(axis=axis, dtype=_DTYPE)})")


def _pool(name: str) -> Writer:
    def write(given: Given) -> str:
        config = given.config
        if config["padding"] == "explicit":
            raise given.wrong("explicit padding")
        made = arguments(
            config["pool"], strides=config["strides"], padding=config["padding"], data_format=_format(given),
            dtype=_DTYPE,
        )  # fmt: skip
        return _layer(given, f"keras.layers.{name}Pooling{given.rank}D({made})")

    return write


def _global(name: str) -> Writer:
    def write(given: Given) -> str:
        made = arguments(keepdims=given.config.get("keepdims") or None, data_format=_format(given), dtype=_DTYPE)
        return _layer(given, f"keras.layers.Global{name}Pooling{given.rank}D({made})")

    return write


def _adaptive(name: str) -> Writer:
    def write(given: Given) -> str:
        made = arguments(given.config["size"], dtype=_DTYPE)
        return _layer(given, f"keras.layers.Adaptive{name}Pooling{given.rank}D({made})")

    return write


_FUNCTIONS: Mapping[str, str] = {
    "relu6": "tf.nn.relu6({x})", "leaky_relu": "tf.nn.leaky_relu({x}, {slope})", "selu": "tf.nn.selu({x})",
    "gelu": "tf.nn.gelu({x}, approximate=False)", "gelu_tanh": "tf.nn.gelu({x}, approximate=True)",
    "silu": "tf.nn.silu({x})", "mish": "{x} * tf.tanh(tf.math.softplus({x}))", "softplus": "tf.math.softplus({x})",
    "softsign": "tf.nn.softsign({x})", "sigmoid": "tf.sigmoid({x})", "log_sigmoid": "tf.math.log_sigmoid({x})",
    "hard_silu": "{x} * tf.nn.relu6({x} + 3) / 6", "tanh": "tf.tanh({x})",
    "hard_tanh": "tf.clip_by_value({x}, -1, 1)", "tanh_shrink": "{x} - tf.tanh({x})", "exponential": "tf.exp({x})",
    "linear": "{x}", "sqrt": "tf.sqrt({x})", "rsqrt": "tf.math.rsqrt({x})", "square": "tf.square({x})",
    "abs": "tf.abs({x})", "neg": "-{x}", "erf": "tf.math.erf({x})", "log": "tf.math.log({x})", "sin": "tf.sin({x})",
    "cos": "tf.cos({x})",
}  # fmt: skip
_OF_KERAS = {"celu": "alpha", "soft_shrink": "threshold", "hard_shrink": "threshold", "squareplus": "b"}


def _activation(given: Given) -> str:
    config, x = given.config, given.x[0]
    function = str(config["function"])
    if function == "relu":
        extra = {key: config.get(key) for key in ("max_value", "negative_slope", "threshold")}
        if not any(value is not None for value in extra.values()):
            return f"tf.nn.relu({x})"
        return f"keras.layers.ReLU({arguments(**extra, dtype=_DTYPE)})({x})"
    if function == "elu":
        return f"keras.layers.ELU({arguments(alpha=config.get('alpha', 1.0), dtype=_DTYPE)})({x})"
    if function == "hard_sigmoid":
        slope = config.get("slope")
        return f"tf.nn.relu6({x} + 3) / 6" if slope is None else f"tf.clip_by_value({slope} * {x} + 0.5, 0, 1)"
    if function in _OF_KERAS:
        words = {_OF_KERAS[function]: config.get(_OF_KERAS[function])}
        return f"keras.activations.{function}({arguments(Raw(x), **words)})"
    if function not in _FUNCTIONS:
        raise given.wrong(f"the function {function}")
    return _FUNCTIONS[function].format(x=x, slope=config.get("slope", 0.2))


def _softmax(given: Given) -> str:
    axis, name = given.config["axis"], "log_softmax" if given.config.get("log") else "softmax"
    if isinstance(axis, (list, tuple)):
        raise given.wrong("several axes")
    return f"tf.nn.{name}({given.x[0]}, axis={axis})"


def _prelu(given: Given) -> str:
    shared = given.config.get("shared_axes") or None
    given.weight("alpha")
    return _layer(given, f"keras.layers.PReLU({arguments(shared_axes=shared, dtype=_DTYPE)})", ("alpha",))


def _embedding(given: Given) -> str:
    made = arguments(given.config["tokens"], given.config["units"], dtype=_DTYPE)
    given.weight("embeddings")
    return _layer(given, f"keras.layers.Embedding({made})", ("embeddings",))


def _recurrent(name: str) -> Writer:
    def write(given: Given) -> str:
        config = given.config
        cell = bool(config.get("cell"))
        made = arguments(
            config["units"], activation=config["activation"],
            recurrent_activation=config["recurrent_activation"] if name != "SimpleRNN" else None,
            return_sequences=None if cell else bool(config["sequences"]),
            return_state=(given.several and not cell) or None,
            go_backwards=config.get("go_backwards") or None,
            use_bias="bias" in given.weights or "forward_bias" in given.weights,
            reset_after=bool(config["reset_after"]) if name == "GRU" else None, dtype=_DTYPE,
        )  # fmt: skip
        roles = ("kernel", "recurrent_kernel", "bias")
        masks = [x for x, is_mask in zip(given.x, given.boolean, strict=True) if is_mask]
        states = [x for x in given.x[1:] if x not in masks]
        if len(masks) > 1 or len(states) not in (0, STATES[name] * (2 if config["bidirectional"] else 1)):
            raise given.wrong("with a constant among its first states")
        if cell:
            if not states:
                raise given.wrong("with a constant among its first states")
            step = _layer(given, f"keras.layers.{name}Cell({made})", roles, states=Raw(f"[{', '.join(states)}]"))
            return f"{step}[{int(given.several)}]"  # the result is the first of the states, too
        first = {"mask": Raw(masks[0])} if masks else {}
        if states:
            first["initial_state"] = Raw(f"[{', '.join(states)}]")
        if not config["bidirectional"]:
            return _layer(given, f"keras.layers.{name}({made})", roles, **first)
        both = tuple(f"{way}_{role}" for way in ("forward", "backward") for role in roles)
        merge = arguments(merge_mode=config.get("merge", "concat"), dtype=_DTYPE)
        return _layer(given, f"keras.layers.Bidirectional(keras.layers.{name}({made}), {merge})", both, **first)

    return write


_ATTENDED = tuple(f"{part}_{role}" for part in ("query", "key", "value", "output") for role in ("kernel", "bias"))


def _attention(given: Given) -> str:
    config, x, mask = given.config, list(given.x), given.weights.get("mask")
    fed = [text for text, is_mask in zip(given.x, given.boolean, strict=True) if is_mask]
    if len(fed) == 1 and given.read[-1][-1] == given.read[min(1, len(x) - 2)][1]:
        mask = x.pop()  # made of the model's inputs
    elif mask is not None and len(x) > 1 and given.read[-1] == given.sizes["mask"]:
        mask = x.pop()
    if fed[1:] or (config["has_mask"] and mask is None):
        raise given.wrong("with a mask that comes from other layers")
    made = arguments(
        config["heads"], config["key_dim"], use_bias=bool(config["bias"]), dtype=_DTYPE,
        value_dim=config["value_dim"] if config["value_dim"] != config["key_dim"] else None,
    )  # fmt: skip
    queries, values = x[0], x[1] if len(x) > 1 else x[0]
    words = arguments(
        Raw(queries), Raw(values), key=Raw(x[2]) if len(x) > 2 else None,
        attention_mask=None if mask is None else Raw(mask), use_causal_mask=bool(config["causal"]) or None,
    )  # fmt: skip
    weights = [given.weights[role] for role in _ATTENDED if role in given.weights]
    return called(f"keras.layers.MultiHeadAttention({made})", weights, words)


def _matmul(given: Given) -> str:
    if len(given.x) != 2 or given.weights:
        raise given.wrong("with a constant")
    config = given.config
    turned = {key: True if config.get(key) else None for key in ("transpose_a", "transpose_b")}
    return f"tf.matmul({arguments(*map(Raw, given.x), **turned)})"


def _einsum(given: Given) -> str:
    equation = str(given.config["equation"]).replace(" ", "")
    operands = [*given.x, *([given.weights["kernel"]] if "kernel" in given.weights else [])]
    if equation.partition("->")[0].count(",") + 1 != len(operands):
        raise given.wrong("with a constant")
    made = f'tf.einsum("{equation}", {", ".join(operands)})'
    return f"{made} + {given.weights['bias']}" if "bias" in given.weights else made


def _flatten(given: Given) -> str:
    start = int(given.config.get("start_axis", 1))
    if start != 1:
        raise given.wrong(f"from axis {start}")
    return _layer(given, "keras.layers.Flatten(dtype=dtype)")


def _reshape(given: Given) -> str:
    if given.made[:1] == given.read[0][:1]:
        return _layer(given, f"keras.layers.Reshape({plain(given.made[1:])}, dtype=dtype)")
    return f"tf.reshape({given.x[0]}, {plain(given.made)})"


def _zero_pad(given: Given) -> str:
    pads, mode, value = given.config["pads"], given.config.get("mode", "constant"), given.config.get("value") or 0.0
    if mode == "constant" and not value and not _format(given):
        made = pads[0] if len(pads) == 1 else pads
        return _layer(given, f"keras.layers.ZeroPadding{len(pads)}D({plain(made)}, dtype=dtype)")
    if mode not in ("constant", "reflect", "symmetric") or _format(given):
        raise given.wrong(f"mode {mode}")
    return f"tf.pad({given.x[0]}, {plain([[0, 0], *pads, [0, 0]])}, mode={plain(mode)}, constant_values={value})"


def _cropping(given: Given) -> str:
    crops = given.config["crops"]
    made = crops[0] if len(crops) == 1 else crops
    return _layer(given, f"keras.layers.Cropping{len(crops)}D({plain(made)}, dtype=dtype)")


def _rescale(given: Given) -> str:
    def number(value: Any) -> str:
        return f"np.array({list(value)}, dtype)" if isinstance(value, (list, tuple)) else repr(value)

    scale, offset = given.config["scale"], given.config["offset"]
    text = given.x[0] if _is(scale, 1.0) else f"{given.x[0]} * {number(scale)}"
    return text if _is(offset, 0.0) else f"{text} + {number(offset)}"


def _is(value: Any, number: float) -> bool:
    return not isinstance(value, (list, tuple)) and float(value) == number


def _standardize(given: Given) -> str:
    config = given.config
    words = {key: Raw(f"np.array({config[key]})") for key in ("mean", "variance")}
    axis = config["axis"] or None
    made = arguments(axis=Raw("None") if axis is None else axis, **words, invert=config.get("invert") or None,
                     dtype=_DTYPE)  # fmt: skip
    return _layer(given, f"keras.layers.Normalization({made})")


def _merge(sign: str | None, name: str) -> Writer:
    def write(given: Given) -> str:
        others = [given.weights[role] for role in given.weights]
        operands = [*given.x, *others]
        if len(operands) < 2 or (others and name not in ("Add", "Multiply")):
            raise given.wrong("with a constant")
        if sign and len(operands) == 2:
            return f"{operands[0]} {sign} {operands[1]}"
        return f"keras.layers.{name}(dtype=dtype)([{', '.join(operands)}])"

    return write


def _concat(given: Given) -> str:
    axis = given.config["axis"]
    if len(given.x) < 2:
        raise given.wrong("with a constant")
    return f"keras.layers.Concatenate(axis={axis}, dtype=dtype)([{', '.join(given.x)}])"


def _stack(given: Given) -> str:
    if given.weights:
        raise given.wrong("with a weight")
    return f"tf.stack([{', '.join(given.x)}], {given.config['axis']})"


def _power(given: Given) -> str:
    return f"{given.x[0]} ** {float(given.config['exponent'])!r}"


_RAW_RESIZES = {"bilinear": "ResizeBilinear", "nearest": "ResizeNearestNeighbor", "bicubic": "ResizeBicubic"}


def _resize(given: Given) -> str:
    config, method = given.config, str(given.config["method"])
    if "keras" not in given.op.made_by:
        if method not in _RAW_RESIZES:
            raise given.wrong(f"method {method}")
        words = arguments(
            images=Raw(given.x[0]), size=config["size"], align_corners=config["align_corners"],
            half_pixel_centers=config["half_pixel"],
        )  # fmt: skip
        return f"tf.cast(tf.raw_ops.{_RAW_RESIZES[method]}({words}), dtype)"
    if "factor" in config:
        rank = len(config["factor"])
        word = method if rank == 2 else None
        size = config["factor"] if rank > 1 else config["factor"][0]
        made = arguments(size, interpolation=word, data_format=_format(given), dtype=_DTYPE)
        return _layer(given, f"keras.layers.UpSampling{rank}D({made})")
    made = arguments(
        *config["size"], interpolation=method, antialias=config.get("antialias") or None,
        crop_to_aspect_ratio=config.get("crop_to_aspect_ratio"), pad_to_aspect_ratio=config.get("pad_to_aspect_ratio"),
        dtype=_DTYPE,
    )  # fmt: skip
    return _layer(given, f"keras.layers.Resizing({made})")


def _blocks(name: str) -> Writer:
    return lambda given: f"tf.nn.{name}({given.x[0]}, {given.config['block']})"


def _reduce(given: Given) -> str:
    config = given.config
    names = {"mean": "reduce_mean", "sum": "reduce_sum", "max": "reduce_max", "min": "reduce_min",
             "var": "reduce_variance", "std": "reduce_std"}  # fmt: skip
    if config["function"] not in names:
        raise given.wrong(str(config["function"]))
    words = arguments(Raw(given.x[0]), axis=config["axes"], keepdims=config.get("keepdims") or None)
    return f"tf.math.{names[config['function']]}({words})"


def _permute(given: Given) -> str:
    return f"tf.transpose({given.x[0]}, {plain(given.config['order'])})"


def _cast(given: Given) -> str:
    if "float" not in str(given.config.get("dtype")):
        raise given.wrong(f"to {given.config.get('dtype')}")
    return f"tf.cast({given.x[0]}, dtype)"


def _same(given: Given) -> str:
    return given.x[0]


def _identity(given: Given) -> str:
    cut_off = "stop" in given.op.made_by.lower() or "StopGradient" in given.op.kind
    return f"tf.stop_gradient({given.x[0]})" if cut_off else given.x[0]


def _mask(given: Given) -> str:
    """A mask that a layer hands on: of tokens that are not 0, or of steps of which some number is another than one."""
    number = given.config.get(MASKED)
    if number is None:
        raise given.wrong("of a layer that passes it on")
    if len(given.read[0]) == len(given.made):
        return f"{given.x[0]} != {int(number)}"
    return f"tf.reduce_any({given.x[0]} != {float(number)!r}, -1)"


COMPARISONS = {
    "Equal": "==", "NotEqual": "!=", "Greater": ">", "GreaterEqual": ">=", "Less": "<", "LessEqual": "<=",
}  # fmt: skip
KINDS: Mapping[str, Writer] = {
    "conv": _conv, "depthwise_conv": _depthwise, "conv_transpose": _conv_transpose, "dense": _dense,
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "group_norm": _group_norm, "rms_norm": _rms_norm,
    "l2_normalize": _l2_normalize, "max_pool": _pool("Max"), "avg_pool": _pool("Average"),
    "global_max_pool": _global("Max"), "global_avg_pool": _global("Average"),
    "adaptive_max_pool": _adaptive("Max"), "adaptive_avg_pool": _adaptive("Average"),
    "activation": _activation, "softmax": _softmax, "prelu": _prelu, "embedding": _embedding,
    "lstm": _recurrent("LSTM"), "gru": _recurrent("GRU"), "rnn": _recurrent("SimpleRNN"),
    "attention": _attention, "matmul": _matmul, "einsum": _einsum, "power": _power, "stack": _stack,
    "flatten": _flatten, "reshape": _reshape, "permute": _permute, "zero_pad": _zero_pad, "cropping": _cropping,
    "rescale": _rescale, "standardize": _standardize, "add": _merge("+", "Add"), "subtract": _merge("-", "Subtract"),
    "multiply": _merge("*", "Multiply"), "divide": _merge("/", ""), "maximum": _merge(None, "Maximum"),
    "minimum": _merge(None, "Minimum"), "average": _merge(None, "Average"), "concat": _concat, "resize": _resize,
    "depth_to_space": _blocks("depth_to_space"), "space_to_depth": _blocks("space_to_depth"), "reduce": _reduce,
    "dropout": _same,
    **{f"op:{name}": comparison(sign) for name, sign in COMPARISONS.items()},
    "identity": _identity, "cast": _cast, "op:mask": _mask,
}  # fmt: skip
SEVERAL: Mapping[str, Writer] = {
    "lstm": _recurrent("LSTM"), "gru": _recurrent("GRU"), "rnn": _recurrent("SimpleRNN"),
}  # fmt: skip
