"""ONNX operators that read or write by numbers of places, by torch's functions. Source: the schemas of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from parity.errors import UsageError

Attributes = Mapping[str, Any]


def _axis(a: Attributes, x: Tensor, usual: int = 0) -> int:
    return int(a.get("axis", usual)) % int(x.dim())


def _from_front(index: Tensor, size: int) -> Tensor:
    """Return places that are counted from the front; ONNX counts negative ones from the end."""
    return torch.where(index < 0, index + size, index).long()


def _arg_min(a: Attributes, x: Tensor) -> Tensor:
    return x.argmin(_axis(a, x), bool(a.get("keepdims", 1)))


def _top_k(a: Attributes, x: Tensor, count: Tensor) -> Any:
    return tuple(x.topk(int(count.reshape(())), _axis(a, x, -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1))))


def _one_hot(a: Attributes, index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    many = int(depth.reshape(()))
    chosen = F.one_hot(_from_front(index, many), many).movedim(-1, int(a.get("axis", -1))).to(values.dtype)
    return values[0] + chosen * (values[1] - values[0])


def _gather_elements(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = _axis(a, x)
    return x.gather(axis, _from_front(index, x.shape[axis]))


def _gather_nd(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    if int(a.get("batch_dims", 0)):
        raise UsageError("an ONNX GatherND with batch_dims cannot be run here: name a builder instead")
    return x[tuple(_from_front(one, size) for one, size in zip(index.unbind(-1), x.shape, strict=False))]


def _scatter_nd(a: Attributes, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    places = tuple(_from_front(one, size) for one, size in zip(index.unbind(-1), x.shape, strict=False))
    return x.index_put(places, updates.to(x.dtype), accumulate=_adds(a, "ScatterND"))


def _scatter_elements(a: Attributes, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    axis, adds = _axis(a, x), _adds(a, "ScatterElements")
    index, updates = _from_front(index, x.shape[axis]), updates.to(x.dtype)
    return x.scatter_add(axis, index, updates) if adds else x.scatter(axis, index, updates)


def _adds(a: Attributes, kind: str) -> bool:
    how = str(a.get("reduction", "none"))
    if how not in ("none", "add"):
        raise UsageError(f"an ONNX {kind} of {how} cannot be run here: name a builder instead")
    return how == "add"


PLACES: Mapping[str, Callable[..., Any]] = {
    "ArgMin": _arg_min, "TopK": _top_k, "OneHot": _one_hot, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "ScatterND": _scatter_nd, "ScatterElements": _scatter_elements,
}  # fmt: skip
"""What each operator computes, from its attributes and inputs."""
