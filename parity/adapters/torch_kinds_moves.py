"""Canonical merging, arithmetic and reduction, and the kinds that only move numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from parity.adapters.torch_model_exact import active_dropout, active_noise

Config = Mapping[str, Any]
Weights = Mapping[str, Any]
Inputs = Sequence[Tensor]

_DTYPES = {"bool": torch.bool, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8}


def _operands(config: Config, weights: Weights, inputs: Inputs) -> list[Tensor]:
    """Return all that is merged: tensors, then a weight, then a constant; `order` and `alpha` as the words say."""
    given = [*inputs, *([weights["other"]] if "other" in weights else [])]
    if config.get("constant") is not None:
        constant = torch.as_tensor(config["constant"], dtype=inputs[0].dtype, device=inputs[0].device)
        given.append(constant.reshape([int(n) for n in config.get("constant_shape", constant.shape)]))
    if config.get("reversed"):
        given.reverse()
    order = config.get("order")
    given = given if order is None else [given[int(i)] for i in order]
    factor = float(config.get("alpha", 1.0))
    return given if factor == 1.0 else [given[0], *(factor * x for x in given[1:])]


def _merge(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda config, weights, inputs, _: reduce(function, _operands(config, weights, inputs))


def _average(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    given = _operands(config, weights, inputs)
    return reduce(torch.add, given) / len(given)


def _concat(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return torch.cat(_operands(config, weights, inputs), int(config.get("axis", -1)))


def _stack(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return torch.stack(_operands(config, weights, inputs), int(config.get("axis", 0)))


def _rescale(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x = inputs[0]
    scale, offset = config.get("scale", 1.0), config.get("offset", 0.0)
    if not x.is_floating_point() and float(scale).is_integer() and float(offset).is_integer():
        return x * int(scale) + int(offset)
    return x * float(scale) + float(offset)


def _reduce(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, function, keep = inputs[0], str(config["function"]), bool(config.get("keepdims", False))
    axes = config.get("axes")
    axes = tuple(range(x.ndim)) if axes is None else tuple(int(a) for a in axes)
    if function in ("var", "std"):
        apply = torch.var if function == "var" else torch.std
        return apply(x, axes, correction=int(config.get("correction", 0)), keepdim=keep)
    return {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}[function](x, axes, keepdim=keep)


def _along(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    x, function, axis = inputs[0], str(config["function"]), int(config["axis"])
    if function == "roll":
        return torch.roll(x, config["shifts"], axis)
    if function == "flip":
        return torch.flip(x, [axis])
    if function == "logsumexp":
        return torch.logsumexp(x, axis, bool(config.get("keepdims", False)))
    running: Callable[..., Tensor] = {
        "cumsum": torch.cumsum, "cumprod": torch.cumprod, "logcumsumexp": torch.logcumsumexp,
    }[function]  # fmt: skip
    return running(x, axis)


def _matmul(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    first, second = _operands(config, weights, inputs)[:2]
    first = first.transpose(-1, -2) if config.get("transpose_a") else first
    second = second.transpose(-1, -2) if config.get("transpose_b") else second
    return first @ second


def _einsum(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    return torch.einsum(str(config["equation"]), *_operands(config, weights, inputs))


def _gather(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    given = _operands({}, weights, inputs)
    axis = int(config.get("axis", 0))
    if config.get("indices") is not None:
        chosen = torch.as_tensor(config["indices"], dtype=torch.long, device=given[0].device)
        return given[0].index_select(axis, chosen)
    index = given[1].long()
    picked = given[0].index_select(axis, index.reshape(-1))
    return picked.reshape(*given[0].shape[:axis], *index.shape, *given[0].shape[axis + 1 :])


def _cast(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    # A cast between floating types is none: the twin stays in its own precision.
    kind = _DTYPES.get(str(config.get("dtype")))
    return inputs[0] if kind is None else inputs[0].to(kind)


def _flatten(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return inputs[0].flatten(int(config.get("start_axis", 1)), int(config.get("end_axis", -1)))


def _reshape(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return inputs[0].reshape([int(n) for n in config["shape"]])


def _permute(config: Config, _: Weights, inputs: Inputs, __: bool) -> Tensor:
    return inputs[0].permute([int(a) for a in config["order"]]).contiguous()  # a view may follow


def _power(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    given = _operands({}, weights, inputs)
    return torch.pow(given[0], given[1] if config.get("exponent") is None else float(config["exponent"]))


def _masked_scores(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    """Scores of an attention with some blocked: by a number that is added to them, or in their place."""
    scores, blocked, value = inputs[int(config["input"])], weights["blocked"] != 0, float(config["value"])
    changed = scores + value if config["how"] == "add" else torch.full_like(scores, value)
    return torch.where(blocked, changed, scores)


KINDS: Mapping[str, Callable[..., Any]] = {
    "masked_scores": _masked_scores,
    "add": _merge(torch.add),
    "subtract": _merge(torch.sub),
    "multiply": _merge(torch.mul),
    "divide": _merge(torch.div),
    "maximum": _merge(torch.maximum),
    "minimum": _merge(torch.minimum),
    "average": _average,
    "concat": _concat,
    "stack": _stack,
    "rescale": _rescale,
    "reduce": _reduce,
    "matmul": _matmul,
    "einsum": _einsum,
    "power": _power,
    "gather": _gather,
    "along": _along,
    "argmax": lambda c, _, xs, __: torch.argmax(xs[0], int(c.get("axis", -1)), keepdim=bool(c.get("keepdims", False))),
    "identity": lambda _, __, xs, ___: xs[0],
    "dropout": lambda _, __, xs, ___: xs[0],
    "op:dropout": lambda c, _, xs, __: active_dropout(xs[0], float(c["rate"]), bool(c.get("whole_channels"))),
    "op:noise": lambda c, _, xs, __: active_noise(xs[0], float(c["stddev"]), bool(c["multiplied"])),
    "cast": _cast,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
}
