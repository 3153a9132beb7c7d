"""Torch functions that do in one call what others write in steps: a recording has the steps, which can be paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def steps_of(name: str, kwargs: Mapping[str, Any]) -> Callable[..., Tensor] | None:
    """Return what computes the same as a function of torch's in steps, if there is such a one."""
    return None if "out" in kwargs else _STEPS.get(name)


def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    product = torch.mul(tensor1, tensor2)
    return torch.add(input, product if value == 1 else torch.mul(product, value))


def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    quotient = torch.div(tensor1, tensor2)
    return torch.add(input, quotient if value == 1 else torch.mul(quotient, value))


def _baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = torch.bmm(batch1, batch2)
    product = product if alpha == 1 else torch.mul(product, alpha)
    if beta == 0:  # what is added is not even looked at: it may hold NaN
        return product
    return torch.add(input if beta == 1 else torch.mul(input, beta), product)


def _glu(input: Tensor, dim: int = -1) -> Tensor:
    value, gate = torch.chunk(input, 2, dim)
    return torch.mul(value, torch.sigmoid(gate))


_STEPS: Mapping[str, Callable[..., Tensor]] = {
    "addcmul": _addcmul, "addcdiv": _addcdiv, "baddbmm": _baddbmm, "glu": _glu,
}  # fmt: skip
