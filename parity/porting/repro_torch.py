"""torch's half of a reproduction script: every kind of operation as a person would write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from parity.porting.repro_script import STATES, Given, Raw, Writer, arguments, comparison, plain, written


def expression(given: Given) -> str:
    """Return the code that computes one operation's first result, or all of them.

    Raises
        UsageError: a kind, or a form of it, that has no standalone code.
    """
    return written(given, KINDS, SEVERAL)


def _weight(given: Given, role: str) -> Raw:
    return Raw(f"tensor({given.weight(role)})")


def _maybe(given: Given, role: str) -> Raw | None:
    return _weight(given, role) if role in given.weights else None


def _unless(values: Any, usual: int) -> Any:
    values = list(values)
    if all(value == usual for value in values):
        return None
    return values[0] if len(set(values)) == 1 else values


def _padding(given: Given) -> tuple[str, Any]:
    """Return the input, padded where a layer's own padding cannot say it, and the word for the rest."""
    config, x = given.config, given.x[0]
    pads = config["pads"]
    if config.get("padding") == "same":
        return x, "same"
    if all(low == high for low, high in pads):
        return x, _unless([low for low, _ in pads], 0)
    return f"F.pad({x}, {plain(_flat(pads))})", None


def _flat(pads: Any) -> list[int]:
    return [int(size) for pair in reversed(list(pads)) for size in pair]


def _convolution(given: Given, groups: int) -> str:
    config = given.config
    x, padding = _padding(given)
    words = arguments(
        Raw(x), _weight(given, "weight"), bias=_maybe(given, "bias"), stride=_unless(config["strides"], 1),
        padding=padding, dilation=_unless(config["dilation"], 1), groups=groups if groups > 1 else None,
    )  # fmt: skip
    return f"F.conv{given.rank}d({words})"


def _conv(given: Given) -> str:
    return _convolution(given, int(given.config.get("groups", 1)))


def _depthwise(given: Given) -> str:
    return _convolution(given, given.read[0][1])


def _conv_transpose(given: Given) -> str:
    config = given.config
    lows, highs = zip(*config["crops"], strict=True)
    extra = [low - high for low, high in zip(lows, highs, strict=True)]
    words = arguments(
        Raw(given.x[0]), _weight(given, "weight"), bias=_maybe(given, "bias"), stride=_unless(config["strides"], 1),
        padding=_unless(lows, 0), output_padding=_unless(extra, 0), groups=_unless([config["groups"]], 1),
        dilation=_unless(config["dilation"], 1),
    )  # fmt: skip
    return f"F.conv_transpose{given.rank}d({words})"


def _dense(given: Given) -> str:
    bias = _maybe(given, "bias")
    return f"F.linear({arguments(Raw(given.x[0]), _weight(given, 'weight'), *([bias] if bias else []))})"


def _batch_norm(given: Given) -> str:
    config = given.config
    kept = None if config.get("momentum") is None else round(1.0 - float(config["momentum"]), 12)
    words = arguments(
        Raw(given.x[0]), _maybe(given, "running_mean") or Raw("None"), _maybe(given, "running_var") or Raw("None"),
        weight=_maybe(given, "weight"), bias=_maybe(given, "bias"),
        training=True if config.get("training") else None, momentum=kept if config.get("training") else None,
        eps=config["eps"],
    )  # fmt: skip
    return f"F.batch_norm({words})"


def _norm(name: str) -> Writer:
    def write(given: Given) -> str:
        axes = given.config["axes"]
        shape = given.read[0][len(given.read[0]) - len(axes) :]
        words = arguments(
            Raw(given.x[0]), shape, weight=_maybe(given, "weight"), bias=_maybe(given, "bias"), eps=given.config["eps"]
        )
        return f"F.{name}({words})"

    return write


def _group_norm(given: Given) -> str:
    config = given.config
    words = arguments(
        Raw(given.x[0]), config["groups"], weight=_maybe(given, "weight"), bias=_maybe(given, "bias"),
        eps=config["eps"],
    )  # fmt: skip
    return f"F.group_norm({words})"


def _instance_norm(given: Given) -> str:
    words = arguments(
        Raw(given.x[0]), weight=_maybe(given, "weight"), bias=_maybe(given, "bias"), eps=given.config["eps"]
    )
    return f"F.instance_norm({words})"


def _l2_normalize(given: Given) -> str:
    return f"F.normalize({arguments(Raw(given.x[0]), dim=given.config['axis'], eps=given.config['eps'])})"


def _max_pool(given: Given) -> str:
    config = given.config
    x, padding = _padding(given)
    if padding is None and x != given.x[0]:
        raise given.wrong("uneven padding")
    words = arguments(
        Raw(x), config["pool"], stride=config["strides"], padding=padding, dilation=_unless(config["dilation"], 1),
        ceil_mode=config.get("ceil") or None,
    )  # fmt: skip
    return f"F.max_pool{given.rank}d({words})"


def _avg_pool(given: Given) -> str:
    config = given.config
    x, padding = _padding(given)
    if padding is None and x != given.x[0]:
        raise given.wrong("uneven padding")
    words = arguments(
        Raw(x), config["pool"], stride=config["strides"], padding=padding, ceil_mode=config.get("ceil") or None,
        count_include_pad=bool(config.get("count_include_pad", True)),
    )  # fmt: skip
    return f"F.avg_pool{given.rank}d({words})"


def _global(function: str) -> Writer:
    def write(given: Given) -> str:
        words = arguments(tuple(range(2, len(given.read[0]))), keepdim=given.config.get("keepdims") or None)
        return f"{given.x[0]}.{function}({words})"

    return write


def _adaptive(how: str) -> Writer:
    return lambda given: f"F.adaptive_{how}_pool{given.rank}d({given.x[0]}, {plain(given.config['size'])})"


_FUNCTIONS: Mapping[str, str] = {
    "relu": "F.relu", "relu6": "F.relu6", "leaky_relu": "F.leaky_relu", "elu": "F.elu", "selu": "F.selu",
    "celu": "F.celu", "gelu": "F.gelu", "gelu_tanh": "F.gelu", "silu": "F.silu", "mish": "F.mish",
    "softplus": "F.softplus", "softsign": "F.softsign", "sigmoid": "torch.sigmoid", "log_sigmoid": "F.logsigmoid",
    "hard_sigmoid": "F.hardsigmoid", "hard_silu": "F.hardswish", "tanh": "torch.tanh", "hard_tanh": "F.hardtanh",
    "tanh_shrink": "F.tanhshrink", "soft_shrink": "F.softshrink", "hard_shrink": "F.hardshrink",
    "exponential": "torch.exp", "clamp": "torch.clamp", "threshold": "F.threshold",
    **{name: f"torch.{name}" for name in ("sqrt", "rsqrt", "square", "abs", "neg", "erf", "log", "sin", "cos")},
}  # fmt: skip
_WORDS: Mapping[str, Mapping[str, str]] = {
    "leaky_relu": {"slope": "negative_slope"}, "elu": {"alpha": "alpha"}, "celu": {"alpha": "alpha"},
    "softplus": {"beta": "beta", "threshold": "threshold"}, "hard_tanh": {"min": "min_val", "max": "max_val"},
    "soft_shrink": {"threshold": "lambd"}, "hard_shrink": {"threshold": "lambd"},
    "clamp": {"min": "min", "max": "max"}, "threshold": {"threshold": "threshold", "value": "value"},
}  # fmt: skip


def _activation(given: Given) -> str:
    function = str(given.config["function"])
    if function not in _FUNCTIONS:
        raise given.wrong(f"the function {function}")
    words = {theirs: given.config.get(ours) for ours, theirs in _WORDS.get(function, {}).items()}
    words |= {"approximate": "tanh"} if function == "gelu_tanh" else {}
    return f"{_FUNCTIONS[function]}({arguments(Raw(given.x[0]), **words)})"


def _softmax(given: Given) -> str:
    name = "log_softmax" if given.config.get("log") else "softmax"
    return f"F.{name}({arguments(Raw(given.x[0]), dim=given.config['axis'])})"


def _prelu(given: Given) -> str:
    return f"F.prelu({given.x[0]}, {_weight(given, 'weight').text})"


def _embedding(given: Given) -> str:
    words = arguments(
        Raw(f"{given.x[0]}.long()"), _weight(given, "weight"), padding_idx=given.config.get("padding_index")
    )
    return f"F.embedding({words})"


def _recurrent(name: str) -> Writer:
    def write(given: Given) -> str:
        config, first = given.config, "" if given.several else "[0]"
        sizes, states, count = "", given.x[1:], STATES[name]
        if config.get("packed"):
            states, sizes = states[:-1], states[-1]
        if any(given.boolean):
            raise given.wrong("with a mask")
        if config["bidirectional"] and len(states) == 2 * count:  # forward's, then backward's
            states = tuple(f"torch.stack(({states[part]}, {states[count + part]}))" for part in range(count))
        if len(states) not in (0, count) or ((config.get("cell") or sizes) and not states):
            raise given.wrong("with a constant among its first states")
        held = _held(given)
        if config.get("cell"):
            function = f"rnn_{config['activation']}" if name == "RNN" else name.lower()
            start = f"({', '.join(states)})" if count > 1 else states[0]
            step = f"torch.{function}_cell({', '.join([given.x[0], start, *held])})"
            return f"{step}{first}" if count > 1 else step
        bias, both = bool(config["bias"]), bool(config["bidirectional"])
        if sizes:
            function = f"rnn_{config['activation']}" if name == "RNN" else name.lower()
            start = f"({', '.join(states)})" if count > 1 else states[0]
            some = f"[{', '.join(held if bias else [one for one in held if 'zeros_like' not in one])}]"
            ran = f"torch.{function}({given.x[0]}, {sizes}, {start}, {some}, {bias}, 1, 0.0, False, {both})"
            return f"apart({ran}, {both}){first}"
        units, inputs = config["units"], given.read[0][-1]
        made = arguments(
            inputs, units, bias=bias, batch_first=bool(config["batch_first"]), bidirectional=both or None,
            nonlinearity=config["activation"] if name == "RNN" else None, dtype=Raw("getattr(torch, dtype)"),
        )  # fmt: skip
        return f"recurrent(torch.nn.{name}({made}), [{', '.join(held)}], {', '.join([given.x[0], *states])}){first}"

    return write


def _held(given: Given) -> list[str]:
    """Return the weights of a recurrent layer in torch's order; where two biases are told by their sum, the second is
    none.
    """
    held = []
    for suffix in ("", "_reverse") if given.config["bidirectional"] else ("",):
        held += [f"tensor({given.weight(f'weight_{part}_l0{suffix}')})" for part in ("ih", "hh")]
        if f"biases_l0{suffix}" in given.weights:
            held += [f"tensor({given.weight(f'biases_l0{suffix}')})[{row}]" for row in (0, 1)]
        elif given.config["bias"]:
            bias = f"tensor({given.weight(f'bias_ih_l0{suffix}')})"
            held += [bias, f"torch.zeros_like({bias})"]
    return held


def _unpacked(given: Given) -> str:
    if len(given.x) not in (2, 3):
        raise given.wrong("that is not of sequences packed by length")
    order = given.x[2] if len(given.x) > 2 else "None"
    goes_on = bool(given.config.get("goes_on"))
    return f"unpacked({given.x[0]}, {given.x[1]}, {order}, {given.made[1]}, {goes_on})"


def _attention(given: Given) -> str:
    config, masks = given.config, _masks(given)
    width, of_keys, of_values = (given.sizes[f"{part}.weight"] for part in ("query", "key", "value"))
    made = arguments(
        width[0], config["heads"], bias=None if config["bias"] else False, batch_first=bool(config["batch_first"]),
        kdim=_unless([of_keys[1]], width[0]), vdim=_unless([of_values[1]], width[0]),
        add_bias_kv="bias_k" in given.weights or None, add_zero_attn=bool(config.get("add_zero")) or None,
        dtype=Raw("getattr(torch, dtype)"),
    )  # fmt: skip
    parts = {part: _weight(given, f"{part}.weight").text for part in ("query", "key", "value")}
    if of_keys[1] == of_values[1] == width[0]:
        held = {"in_proj_weight": f"torch.cat([{', '.join(parts.values())}])"}
    else:
        held = {f"{part[0]}_proj_weight": text for part, text in parts.items()}
    if "query.bias" in given.weights:
        biases = ", ".join(_weight(given, f"{part}.bias").text for part in parts)
        held["in_proj_bias"] = f"torch.cat([{biases}])"
    others = ("out_proj.weight", "out_proj.bias", "bias_k", "bias_v")
    held |= {role: _weight(given, role).text for role in others if role in given.weights}
    weights = ",\n        ".join(f'"{name}": {text}' for name, text in held.items())
    words = arguments(*map(Raw, given.x[:3]), **masks)
    return f"attend(\n    torch.nn.MultiheadAttention({made}),\n    {{\n        {weights},\n    }},\n    {words},\n)"


def _masks(given: Given) -> dict[str, Raw]:
    """Return what attention is masked with, by torch's words: the model's own masks, and those made of its inputs."""
    held = {"key_padding_mask": "key_mask", "attn_mask": "mask"}
    found = {word: _weight(given, role) for word, role in held.items() if role in given.weights}
    query, key = (shape if given.config["batch_first"] else (shape[1], shape[0]) for shape in given.read[:2])
    for text, shape in zip(given.x[3:], given.read[3:], strict=True):
        fits = {"key_padding_mask": shape == (query[0], key[1]), "attn_mask": shape[-2:] == (query[1], key[1])}
        words = [word for word, does in fits.items() if does and word not in found]
        if len(words) != 1:
            raise given.wrong("with a mask that may be one of keys or one of pairs")
        found[words[0]] = Raw(text)
    if given.config["has_mask"] and not found:
        raise given.wrong("with a mask too large to be carried along")
    if given.config["causal"] and "attn_mask" not in found:
        raise given.wrong("with a hint instead of a mask")
    return found


def _sdpa(given: Given) -> str:
    mask = _maybe(given, "mask")
    if len(given.x) == 4:
        mask = Raw(given.x[3])
    elif given.config["has_mask"] and mask is None:
        raise given.wrong("with a mask that comes from elsewhere")
    words = arguments(
        *map(Raw, given.x[:3]), attn_mask=mask, is_causal=True if given.config["causal"] and mask is None else None,
        scale=given.config["scale"],
    )  # fmt: skip
    return f"F.scaled_dot_product_attention({words})"


def _matmul(given: Given) -> str:
    operands = [*given.x, *([_weight(given, "other").text] if "other" in given.weights else [])]
    if len(operands) != 2:
        raise given.wrong("with a constant")
    return f"torch.matmul({', '.join(reversed(operands) if given.config.get('reversed') else operands)})"


def _einsum(given: Given) -> str:
    equation = str(given.config["equation"]).replace(" ", "")
    if equation.partition("->")[0].count(",") + 1 != len(given.x):
        raise given.wrong("with a constant")
    return f'torch.einsum("{equation}", {", ".join(given.x)})'


def _flatten(given: Given) -> str:
    return f"{given.x[0]}.flatten({given.config.get('start_axis', 1)})"


def _reshape(given: Given) -> str:
    shape = list(given.made)
    if shape[:1] == [given.batch] and prod(shape[1:]) == prod(given.read[0][1:]):
        return f"{given.x[0]}.reshape({', '.join([f'len({given.x[0]})', *map(str, shape[1:])])})"
    return f"{given.x[0]}.reshape({', '.join(map(str, shape))})"


def _permute(given: Given) -> str:
    return f"{given.x[0]}.permute({', '.join(map(str, given.config['order']))})"


def _zero_pad(given: Given) -> str:
    config = given.config
    mode = str(config.get("mode", "constant"))
    words = arguments(
        Raw(given.x[0]), _flat(config["pads"]), mode=None if mode == "constant" else mode,
        value=config.get("value") or None,
    )  # fmt: skip
    return f"F.pad({words})"


def _cropping(given: Given) -> str:
    return f"F.pad({given.x[0]}, {plain([-size for size in _flat(given.config['crops'])])})"


def _rescale(given: Given) -> str:
    scale, offset = float(given.config["scale"]), float(given.config["offset"])
    text = given.x[0] if scale == 1.0 else f"{given.x[0]} * {scale!r}"
    return text if offset == 0.0 else f"{text} + {offset!r}"


def _operands(given: Given) -> list[str]:
    config = given.config
    found = [*given.x, *(f"tensor({weight})" for weight in given.weights.values())]
    if config.get("constant") is not None:
        shape = tuple(config.get("constant_shape", ()))
        made = f"torch.tensor({list(config['constant'])}, dtype=getattr(torch, dtype)).reshape({shape})"
        found.append(repr(config["constant"][0]) if shape == () else made)
    if config.get("reversed"):
        found.reverse()
    if len(found) < 2:
        raise given.wrong("with a constant")
    factor = float(config.get("alpha", 1.0))
    return found if factor == 1.0 else [found[0], *(f"{factor} * {one}" for one in found[1:])]


def _merge(sign: str) -> Writer:
    return lambda given: f" {sign} ".join(_operands(given))


def _call(name: str) -> Writer:
    return lambda given: f"torch.{name}({', '.join(_operands(given))})"


def _concat(given: Given) -> str:
    return f"torch.cat([{', '.join(_operands(given))}], {given.config['axis']})"


def _power(given: Given) -> str:
    return f"{given.x[0]} ** {float(given.config['exponent'])!r}"


def _stack(given: Given) -> str:
    return f"torch.stack([{', '.join(_operands(given))}], {given.config['axis']})"


def _flip(given: Given) -> str:
    axes = [value for key, value in sorted(given.config.items()) if key == "dims" or key.startswith("arg")]
    return f"{given.x[0]}.flip({arguments(*axes)})"


def _resize(given: Given) -> str:
    config = given.config
    method, rank = str(config["method"]), len(given.read[0]) - 2
    modes = {"nearest": "nearest-exact" if config.get("exact") else "nearest", "bicubic": "bicubic", "area": "area",
             "bilinear": {1: "linear", 2: "bilinear", 3: "trilinear"}.get(rank)}  # fmt: skip
    mode = modes.get(method)
    if mode is None:
        raise given.wrong(f"method {method}")
    size = {"scale_factor": config["factor"]} if "factor" in config else {"size": config["size"]}
    corners = bool(config.get("align_corners")) if method in ("bilinear", "bicubic") else None
    words = arguments(Raw(given.x[0]), **size, mode=mode, align_corners=corners,
                      antialias=config.get("antialias") or None)  # fmt: skip
    return f"F.interpolate({words})"


def _blocks(name: str) -> Writer:
    def write(given: Given) -> str:
        if given.config.get("order") != "channel-major":
            raise given.wrong("written by hand")
        return f"F.{name}({given.x[0]}, {given.config['block']})"

    return write


def _reduce(given: Given) -> str:
    config = given.config
    names = {"mean": "mean", "sum": "sum", "max": "amax", "min": "amin", "var": "var", "std": "std"}
    if config["function"] not in names:
        raise given.wrong(str(config["function"]))
    words = arguments(config["axes"], correction=config.get("correction"), keepdim=config.get("keepdims") or None)
    return f"{given.x[0]}.{names[config['function']]}({words})"


def _slice(given: Given) -> str:
    text = str(given.config.get("text", ""))
    if not re.fullmatch(r"(?:[\d:,.\s-]|None)+", text):
        raise given.wrong(text)
    return f"{given.x[0]}[{text}]"


def _cast(given: Given) -> str:
    if "float" not in str(given.config.get("dtype")) and given.config.get("dtype") not in ("to", "double"):
        raise given.wrong(f"to {given.config.get('dtype')}")
    return f"{given.x[0]}.to(getattr(torch, dtype))"


def _same(given: Given) -> str:
    return given.x[0]


def _identity(given: Given) -> str:
    cut_off = given.op.made_by.rpartition(".")[2] in ("detach", "data")
    return f"{given.x[0]}.detach()" if cut_off else given.x[0]


COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
KINDS: Mapping[str, Writer] = {
    "conv": _conv, "depthwise_conv": _depthwise, "conv_transpose": _conv_transpose, "dense": _dense,
    "batch_norm": _batch_norm, "layer_norm": _norm("layer_norm"), "rms_norm": _norm("rms_norm"),
    "group_norm": _group_norm, "instance_norm": _instance_norm, "l2_normalize": _l2_normalize,
    "max_pool": _max_pool, "avg_pool": _avg_pool, "global_max_pool": _global("amax"),
    "global_avg_pool": _global("mean"), "adaptive_max_pool": _adaptive("max"), "adaptive_avg_pool": _adaptive("avg"),
    "activation": _activation, "softmax": _softmax, "prelu": _prelu, "embedding": _embedding,
    "lstm": _recurrent("LSTM"), "gru": _recurrent("GRU"), "rnn": _recurrent("RNN"),
    "attention": _attention, "sdpa": _sdpa, "matmul": _matmul, "einsum": _einsum, "power": _power,
    "flatten": _flatten, "reshape": _reshape,
    "permute": _permute, "zero_pad": _zero_pad, "cropping": _cropping, "rescale": _rescale, "add": _merge("+"),
    "subtract": _merge("-"), "multiply": _merge("*"), "divide": _merge("/"), "maximum": _call("maximum"),
    "minimum": _call("minimum"), "concat": _concat, "stack": _stack, "op:flip": _flip, "resize": _resize,
    "depth_to_space": _blocks("pixel_shuffle"), "space_to_depth": _blocks("pixel_unshuffle"), "reduce": _reduce,
    **{f"op:{name}": comparison(sign) for name, sign in COMPARISONS.items()},
    "slice": _slice, "dropout": _same, "identity": _identity, "cast": _cast, "unpack": _unpacked,
}  # fmt: skip
SEVERAL: Mapping[str, Writer] = {
    "lstm": _recurrent("LSTM"), "gru": _recurrent("GRU"), "rnn": _recurrent("RNN"),
}  # fmt: skip
