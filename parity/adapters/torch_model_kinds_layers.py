"""Convolutions, pools, norms, embeddings, recurrence and attention, in the words of both frameworks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from parity.adapters.torch_model_calls import Par
from parity.adapters.torch_model_kinds import Config, Described, Seen, axis_of, describes, times
from parity.model import constants


@describes("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def _conv(seen: Seen) -> Described | None:
    if seen.given.get("transposed"):
        return _conv_transpose(seen)
    weight = seen.shape("weight")
    rank = len(weight) - 2
    groups = int(seen.given.get("groups") or 1)
    dilation, strides = times(seen.given.get("dilation") or 1, rank), times(seen.given.get("stride") or 1, rank)
    padding, pads = _conv_pads(seen.given.get("padding", 0), list(weight[2:]), dilation)
    seen.weight("weight")
    config: Config = {
        "rank": rank, "filters": weight[0], "kernel": list(weight[2:]), "strides": strides, "padding": padding,
        "pads": pads, "pad_mode": "zeros", "dilation": dilation, "groups": groups, "bias": seen.weight("bias"),
    }  # fmt: skip
    channels = weight[1] * groups
    if groups == channels > 1 and weight[0] % channels == 0:
        del config["filters"], config["groups"]
        return "depthwise_conv", config | {"multiplier": weight[0] // channels}
    return "conv", config


def _conv_pads(padding: Any, kernel: list[int], dilation: list[int]) -> tuple[str, list[list[int]]]:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return "same", [[total // 2, total - total // 2] for total in totals]
    if padding == "valid":
        return "valid", [[0, 0] for _ in kernel]
    sizes = times(padding, len(kernel))
    return "explicit" if any(sizes) else "valid", [[size, size] for size in sizes]


@describes("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(seen: Seen) -> Described:
    weight = seen.shape("weight")
    rank, groups = len(weight) - 2, int(seen.given.get("groups") or 1)
    padding = times(seen.given.get("padding") or 0, rank)
    extra = times(seen.given.get("output_padding") or 0, rank)
    seen.weight("weight")
    return "conv_transpose", {
        "rank": rank, "filters": weight[1] * groups, "kernel": list(weight[2:]),
        "strides": times(seen.given.get("stride") or 1, rank), "padding": "explicit" if any(padding) else "valid",
        "crops": [[low, low - more] for low, more in zip(padding, extra, strict=True)],
        "dilation": times(seen.given.get("dilation") or 1, rank), "groups": groups, "bias": seen.weight("bias"),
    }  # fmt: skip


@describes("linear")
def _dense(seen: Seen) -> Described | None:
    if not isinstance(seen.given.get("weight"), Par) or isinstance(seen.given.get("input"), Par):
        return None
    seen.weight("weight")
    return "dense", {"units": seen.shape("weight")[0], "bias": seen.weight("bias")}


@describes("addmm")
def _product_and_sum(seen: Seen) -> Described | None:
    """A product with a matrix as it is, not transposed as a linear layer's, and what is added to it."""
    if not isinstance(seen.given.get("weight"), Par) or isinstance(seen.given.get("input"), Par):
        return None
    if any(seen.given.get(factor, 1) != 1 for factor in ("alpha", "beta")):
        return None
    seen.roles["other"] = seen.given["weight"].reference
    return "matmul", {"transpose_a": False, "transpose_b": False, "bias": seen.weight("bias")}


@describes("batch_norm", "batch_norm_no_training")
def _batch_norm(seen: Seen) -> Described:
    given = seen.given
    batch = bool(given.get("training", False)) and seen.name == "batch_norm"
    batch = batch or given.get("running_mean") is None
    scale, center = seen.weight("weight"), seen.weight("bias")
    seen.weight("running_mean")
    seen.weight("running_var")
    momentum = given.get("momentum")
    cumulative = seen.call.module is not None and getattr(seen.call.module, "momentum", momentum) is None
    kept = None if cumulative or momentum is None else 1.0 - float(momentum)
    return "batch_norm", {
        "eps": float(given.get("eps", 1e-5)), "momentum": kept, "axis": 1,
        "center": center, "scale": scale, "frozen": seen.training and not batch, "training": batch,
    }  # fmt: skip


@describes("layer_norm")
def _layer_norm(seen: Seen) -> Described:
    rank, size = len(seen.shape()), len(times(seen.given["normalized_shape"], 1))
    scale, center = seen.weight("weight"), seen.weight("bias")
    axes = list(range(rank - size, rank))
    eps = seen.given.get("eps")
    return "layer_norm", {"eps": 1e-5 if eps is None else float(eps), "axes": axes, "center": center, "scale": scale}


@describes("group_norm")
def _group_norm(seen: Seen) -> Described:
    scale, center = seen.weight("weight"), seen.weight("bias")
    config = {"groups": int(seen.given["num_groups"]), "eps": float(seen.given.get("eps", 1e-5)), "axis": 1}
    return "group_norm", config | {"center": center, "scale": scale}


@describes("aten_group_norm")
def _native_group_norm(seen: Seen) -> Described | None:
    seen.given["num_groups"] = seen.given["group"]
    return _group_norm(seen)


@describes("instance_norm")
def _instance_norm(seen: Seen) -> Described:
    scale, center = seen.weight("weight"), seen.weight("bias")
    seen.weight("running_mean")
    seen.weight("running_var")
    config = {"eps": float(seen.given.get("eps", 1e-5)), "axis": 1, "center": center, "scale": scale}
    return "instance_norm", config | {"training": bool(seen.given.get("use_input_stats", True))}


@describes("rms_norm")
def _rms_norm(seen: Seen) -> Described:
    rank, size = len(seen.shape()), len(times(seen.given["normalized_shape"], 1))
    eps = seen.given.get("eps")
    eps = torch.finfo(torch.float32).eps if eps is None else float(eps)
    return "rms_norm", {"eps": eps, "axes": list(range(rank - size, rank)), "scale": seen.weight("weight")}


@describes("normalize")
def _normalize(seen: Seen) -> Described | None:
    if float(seen.given.get("p", 2.0)) != 2.0 or not isinstance(seen.given.get("dim", 1), int):
        return None
    axis = axis_of(seen.given.get("dim", 1), len(seen.shape()))
    return "l2_normalize", {"eps": float(seen.given.get("eps", 1e-12)), "axis": axis, "form": "norm-max"}


@describes("cosine_similarity")
def _cosine_similarity(seen: Seen) -> Described:
    axis = axis_of(seen.given.get("dim", 1), max(len(seen.shape("x1")), len(seen.shape("x2"))))
    return "cosine_similarity", {"eps": float(seen.given.get("eps", 1e-8)), "axis": axis, "form": "norm-max"}


@describes("embedding")
def _embedding(seen: Seen) -> Described | None:
    if not isinstance(seen.given.get("weight"), Par):
        return None
    seen.weight("weight")
    tokens, units = seen.shape("weight")
    index = seen.given.get("padding_idx")
    index = None if index is None or int(index) < 0 else int(index)
    config: Config = {"tokens": tokens, "units": units, "padding_index": index, "mask_zero": False}
    ids = seen.given.get("input")
    if isinstance(ids, torch.Tensor) and ids.numel() <= constants.MOST:
        config[constants.IDS] = constants.packed(ids.cpu())
    return "embedding", config


# Pools.


@describes("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(seen: Seen) -> Described | None:
    rank, given = int(seen.name[-2]), seen.given
    if given.get("return_indices") or given.get("divisor_override") is not None:
        return None
    pool = times(given["kernel_size"], rank)
    stride = given.get("stride")
    strides = pool if stride is None or stride == [] else times(stride, rank)
    padding = times(given.get("padding") or 0, rank)
    config: Config = {
        "rank": rank, "pool": pool, "strides": strides, "padding": "explicit" if any(padding) else "valid",
        "pads": [[size, size] for size in padding], "dilation": times(given.get("dilation") or 1, rank),
        "ceil": bool(given.get("ceil_mode", False)),
    }  # fmt: skip
    if seen.name.startswith("avg"):
        return "avg_pool", config | {"count_include_pad": bool(given.get("count_include_pad", True))}
    return "max_pool", config


@describes(*(f"adaptive_{how}_pool{n}d" for how in ("avg", "max") for n in (1, 2, 3)))
def _adaptive(seen: Seen) -> Described | None:
    rank, how = int(seen.name[-2]), seen.name.split("_")[1]
    if seen.given.get("return_indices") or len(seen.shape()) != rank + 2:
        return None
    size = list(seen.out[0][2:])
    if all(one == 1 for one in size):
        return f"global_{how}_pool", {"rank": rank, "keepdims": True}
    return f"adaptive_{how}_pool", {"rank": rank, "size": size}


# Recurrence and attention.


@describes("recurrent")
def _recurrent(seen: Seen) -> Described:
    _, _, weights, mode, bidirectional, batch_first, hidden, bias, *sizes = seen.call.args
    kind, config = _layer(seen, weights, mode, bidirectional, batch_first, hidden, bias)
    return kind, {**config, "packed": True} if sizes else config


@describes("unpacked")
def _unpacked(seen: Seen) -> Described:
    return "unpack", {"goes_on": bool(seen.call.args[4])}


@describes("packed_again")
def _packed_again(_: Seen) -> Described:
    return "pack", {}


@describes("lstm", "gru", "rnn_tanh", "rnn_relu")
def _packed(seen: Seen) -> Described | None:
    """A layer that runs on sequences of several lengths, packed behind one another."""
    if len(seen.call.args) < 9 or not isinstance(seen.call.args[3], (list, tuple)):
        return None
    _, _, _, weights, bias, layers, _, _, bidirectional = seen.call.args[:9]
    if layers != 1 or not all(isinstance(one, Par) for one in weights):
        return None
    hidden = seen.out[0][-1] // (2 if bidirectional else 1)
    kind, config = _layer(seen, weights, seen.name.upper(), bool(bidirectional), False, hidden, bool(bias))
    return kind, {**config, "packed": True}


@describes("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(seen: Seen) -> Described | None:
    """One step, as a model's own loop takes it."""
    bias = seen.given.get("b_ih") is not None
    weights = [seen.given.get(key) for key in ("w_ih", "w_hh", "b_ih", "b_hh")[: 4 if bias else 2]]
    if not all(isinstance(one, Par) for one in weights):
        return None
    mode = seen.name.removesuffix("_cell").upper()
    kind, config = _layer(seen, weights, mode, False, True, seen.out[0][-1], bias)
    of_layers = ("sequences", "go_backwards", "time_major", "batch_first")
    return kind, {"cell": True} | {key: value for key, value in config.items() if key not in of_layers}


def _layer(
    seen: Seen, weights: Sequence[Any], mode: str, bidirectional: bool, batch_first: bool, hidden: int, bias: bool
) -> Described:
    kind = {"LSTM": "lstm", "GRU": "gru"}.get(mode, "rnn")
    per_direction = 4 if bias else 2
    for direction, suffix in enumerate(("", "_reverse") if bidirectional else ("",)):
        own = [one.reference for one in weights[direction * per_direction : (direction + 1) * per_direction]]
        seen.roles[f"weight_ih_l0{suffix}"], seen.roles[f"weight_hh_l0{suffix}"] = own[:2]
        if bias and kind == "gru":
            seen.roles[f"biases_l0{suffix}"] = f"{own[2]}|{own[3]}"
        elif bias:
            seen.roles[f"bias_ih_l0{suffix}"] = f"{own[2]}+{own[3]}"
    config: Config = {
        "units": hidden, "sequences": True, "bidirectional": bidirectional, "reset_after": True,
        "activation": "relu" if mode == "RNN_RELU" else "tanh", "recurrent_activation": "sigmoid",
        "go_backwards": False, "bias": bias, "time_major": not batch_first, "batch_first": bool(batch_first),
    }  # fmt: skip
    if isinstance(seen.call.config.get("layer"), int):
        config["layer"] = seen.call.config["layer"]
    return kind, config


@describes("attention")
def _attention(seen: Seen) -> Described:
    module, weights, args, kwargs = seen.call.args
    names = (
        "query",
        "key",
        "value",
        "key_padding_mask",
        "need_weights",
        "attn_mask",
        "average_attn_weights",
        "is_causal",
    )
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    width = module.embed_dim
    packed = weights.get("in_proj_weight")
    for index, part in enumerate(("query", "key", "value")):
        rows = f"@{index * width}:{(index + 1) * width}"
        own = weights.get(f"{part[0]}_proj_weight")
        seen.roles[f"{part}.weight"] = f"{packed.reference}{rows}" if packed is not None else own.reference
        if "in_proj_bias" in weights:
            seen.roles[f"{part}.bias"] = f"{weights['in_proj_bias'].reference}{rows}"
    for role in ("out_proj.weight", "out_proj.bias", "bias_k", "bias_v"):
        if role in weights:
            seen.roles[role] = weights[role].reference
    masks = [given.get("key_padding_mask"), given.get("attn_mask")]
    causal = bool(given.get("is_causal")) or is_causal(masks[1])
    head = width // module.num_heads
    return "attention", {
        "heads": module.num_heads, "key_dim": head, "value_dim": head, "scale": 1.0 / math.sqrt(head),
        "causal": causal, "bias": "in_proj_bias" in weights, "has_mask": any(one is not None for one in masks),
        "time_major": not module.batch_first, "batch_first": bool(module.batch_first),
        "add_zero": bool(module.add_zero_attn),
        "return_weights": bool(given.get("need_weights", True)), **_held_mask(*masks),
    }  # fmt: skip


@describes("multi_head_attention_forward")
def _attention_function(seen: Seen) -> Described:
    given = seen.given
    heads, width = int(given["num_heads"]), int(given["embed_dim_to_check"])
    packed, bias = given.get("in_proj_weight"), given.get("in_proj_bias")
    for index, part in enumerate(("query", "key", "value")):
        rows = f"@{index * width}:{(index + 1) * width}"
        own = given.get(f"{part[0]}_proj_weight")
        if isinstance(packed, Par):
            seen.roles[f"{part}.weight"] = f"{packed.reference}{rows}"
        elif isinstance(own, Par):
            seen.roles[f"{part}.weight"] = own.reference
        if isinstance(bias, Par):
            seen.roles[f"{part}.bias"] = f"{bias.reference}{rows}"
    seen.weight("out_proj_weight", "out_proj.weight")
    seen.weight("out_proj_bias", "out_proj.bias")
    masks = [given.get("key_padding_mask"), given.get("attn_mask")]
    return "attention", {
        "heads": heads, "key_dim": width // heads, "value_dim": width // heads,
        "scale": 1.0 / math.sqrt(width // heads), "causal": bool(given.get("is_causal")) or is_causal(masks[1]),
        "bias": bias is not None, "has_mask": any(one is not None for one in masks), "time_major": True,
        "batch_first": False,
        "add_zero": bool(given.get("add_zero_attn")), "return_weights": bool(given.get("need_weights", True)),
        **_held_mask(*masks),
    }  # fmt: skip


@describes("scaled_dot_product_attention")
def _sdpa(seen: Seen) -> Described:
    shape, mask = seen.shape("query"), seen.given.get("attn_mask")
    scale = seen.given.get("scale")
    scale = 1.0 / math.sqrt(shape[-1]) if scale is None else float(scale)
    return "sdpa", {
        "scale": scale, "causal": bool(seen.given.get("is_causal")) or is_causal(mask), "has_mask": mask is not None,
        "heads": shape[1] if len(shape) == 4 else None, **_held_mask(None, mask),
    }  # fmt: skip


def _held_mask(of_keys: Any, mask: Any) -> Config:
    """Return the masks of the model's own making, for those who write the layer out; one too large, none."""
    both = {constants.KEY_MASK: of_keys, constants.MASK: mask}
    own = {key: one.detach() for key, one in both.items() if isinstance(one, torch.Tensor)}
    if any(one.numel() > constants.MOST for one in own.values()):
        return {}
    return {key: constants.packed(one.cpu().numpy()) for key, one in own.items()}


def is_causal(mask: Any) -> bool:
    """Return whether a constant mask blocks exactly what comes later."""
    if not isinstance(mask, torch.Tensor) or mask.dim() < 2 or mask.shape[-1] != mask.shape[-2] or mask.shape[-1] < 2:
        return False
    last = mask.reshape(-1, *mask.shape[-2:])
    future = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
    if mask.dtype == torch.bool:
        return all(torch.equal(one, future) or torch.equal(one, ~future) for one in last)
    return bool((torch.isneginf(last) == future).all()) and not bool(last.masked_fill(future, 0.0).any())
