"""The names of the arguments of torch's functions, whichever way a model calls them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from parity.adapters.torch_model_calls import Call

_CONV = "input weight bias stride=1 padding=0 dilation=1 groups=1"
_CONV_TRANSPOSE = "input weight bias stride=1 padding=0 output_padding=0 groups=1 dilation=1"
_AVG_POOL = "input kernel_size stride padding=0 ceil_mode=False count_include_pad=True divisor_override"
_MAX_POOL = "input kernel_size stride padding=0 dilation=1 ceil_mode=False"
_REDUCE = "input dim keepdim=False"
_BINARY = "input other alpha=1"

_TEXTS: Mapping[str, str] = {
    **{f"conv{n}d": _CONV for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _CONV_TRANSPOSE for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _AVG_POOL for n in (1, 2, 3)},
    **{f"max_pool{n}d": _MAX_POOL for n in (1, 2, 3)},
    **{f"adaptive_{how}_pool{n}d": "input output_size" for n in (1, 2, 3) for how in ("avg", "max")},
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "argmax", "argmin"), _REDUCE),
    **dict.fromkeys(("add", "sub", "rsub", "mul", "maximum", "minimum", "pow", "matmul"), _BINARY),
    "div": "input other rounding_mode",
    "linear": "input weight bias",
    "addmm": "bias input weight",
    "mm": "input other",
    "bmm": "input other",
    "batch_norm": "input weight bias running_mean running_var training momentum eps",
    "softmax": "input dim dtype",
    "log_softmax": "input dim dtype",
    "gelu": "input approximate=none",
    "clamp": "input min max",
    "clip": "input min max",
    "clamp_min": "input min",
    "clamp_max": "input max",
    "flatten": "input start_dim=0 end_dim=-1",
    "cat": "tensors dim=0",
    "concat": "tensors dim=0",
    "concatenate": "tensors dim=0",
    "stack": "tensors dim=0",
    "chunk": "input chunks dim=0",
    "split": "input split_size dim=0",
    "split_with_sizes": "input split_size dim=0",
    "unbind": "input dim=0",
    "unsqueeze": "input dim",
    "squeeze": "input dim",
    "transpose": "input dim0 dim1",
    "prelu": "input weight",
    "pixel_shuffle": "input upscale_factor",
    "pixel_unshuffle": "input downscale_factor",
    "scaled_dot_product_attention": "query key value attn_mask dropout_p=0.0 is_causal=False scale",
    "softplus": "input beta=1 threshold=20",
    "softshrink": "input lambd=0.5",
    "hardshrink": "input lambd=0.5",
    "logsigmoid": "input",
    "no_dropout": "input p inplace=False",
    "active_dropout": "input p whole_channels=False",
    "leaky_relu": "input negative_slope=0.01",
    "elu": "input alpha=1.0",
    "celu": "input alpha=1.0",
    "hardtanh": "input min_val=-1.0 max_val=1.0",
    "select": "input dim index",
    "narrow": "input dim start length",
    "index_select": "input dim index",
    "embedding": "weight input padding_idx=-1",
    "_safe_softmax": "input dim dtype",
    "layer_norm": "input normalized_shape weight bias eps=1e-05",
    "group_norm": "input num_groups weight bias eps=1e-05",
    "rms_norm": "input normalized_shape weight eps",
    "repeat_interleave": "input repeats dim",
    "softmin": "input dim dtype",
    "cosine_similarity": "x1 x2 dim=1 eps=1e-08",
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "input hx w_ih w_hh b_ih b_hh"),
}


def _parsed(text: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for part in text.split():
        name, has, value = part.partition("=")
        given[name] = _literal(value) if has else None
    return given


def _literal(text: str) -> Any:
    words = {"False": False, "True": True}
    if text in words:
        return words[text]
    try:
        return float(text) if "." in text or "e-" in text else int(text)
    except ValueError:
        return text


_KNOWN = {name: _parsed(text) for name, text in _TEXTS.items()}


_ADDMM = {"input": "bias", "mat1": "input", "mat2": "weight"}  # torch's own names, and what they are


def bound(call: Call, name: str) -> dict[str, Any]:
    """Return a call's arguments by name, defaults included; those without a known name as `arg0`, `arg1` ..."""
    if isinstance(call.function, torch._ops.OpOverload):
        given = _by_schema(call)
        return {_ADDMM.get(key, key): value for key, value in given.items()} if name == "addmm" else given
    if inspect.isfunction(call.function) and not name.startswith("__"):
        found = _by_signature(call)
        if found is not None:
            return found
    known = _KNOWN.get(name, {"input": None})
    given = dict(known)
    names = list(known)
    for index, value in enumerate(call.args):
        given[names[index] if index < len(names) else f"arg{index}"] = value
    ours = _ADDMM if name == "addmm" else {"self": "input"}
    return given | {ours.get(key, key): value for key, value in call.kwargs.items()}


def _by_schema(call: Call) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for index, argument in enumerate(call.function._schema.arguments):  # type: ignore[attr-defined]
        name = "input" if argument.name == "self" else argument.name
        value = call.args[index] if index < len(call.args) else call.kwargs.get(argument.name, argument.default_value)
        given[name] = value
    return given


def _by_signature(call: Call) -> dict[str, Any] | None:
    try:
        taken = inspect.signature(call.function).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return None
    kinds = {parameter.kind for parameter in taken.signature.parameters.values()}
    if kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:  # a dispatcher: `F.max_pool2d`
        return None
    taken.apply_defaults()
    renamed = {"self": "input", "hidden": "input", "tensor": "input"}  # `torch.split` says `tensor`
    given: dict[str, Any] = {}
    for key, value in taken.arguments.items():
        if key == "kwargs" and isinstance(value, dict):
            given |= value
        elif key == "args" and isinstance(value, tuple) and "input" not in given and value:
            given["input"], given["rest"] = value[0], value[1:]
        else:
            given[renamed.get(key, key)] = value
    return given
