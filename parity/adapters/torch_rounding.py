"""Running error analysis of any torch program: each tensor carries a worst-case rounding bound, gradients included.

Replace a module's parameters, buffers and inputs by tracked tensors and run it as it is, for example with
`torch.func.functional_call(module, {name: track(p, requires_grad=True) ...}, args)`. The value is computed in float64;
the error says, per element, how far *any* correct evaluation in the working precision may be from it.
"""

from __future__ import annotations

from typing import Any

import torch

from parity.adapters import (
    torch_rounding_activations,
    torch_rounding_fourier,
    torch_rounding_layers,
    torch_rounding_moves,
    torch_rounding_numbers,
    torch_rounding_rules,
    torch_rounding_windows,
)
from parity.adapters.torch_rounding_core import FLOAT32, Tracked
from parity.errors import RoundingUnknown

__all__ = ["RULE_BOOKS", "RoundingUnknown", "Tracked", "error_of", "track", "value_of"]

RULE_BOOKS = (
    torch_rounding_moves,
    torch_rounding_rules,
    torch_rounding_activations,
    torch_rounding_layers,
    torch_rounding_windows,
    torch_rounding_numbers,
    torch_rounding_fourier,
)
"""Importing them registers their rules."""


def track(tensor: Any, error: Any = None, roundoff: float = FLOAT32, requires_grad: bool = False) -> Any:
    """Return a tracked leaf with the values of a floating or complex tensor, in doubles, of the same shape.

    `error` is absolute, a number or of a shape that broadcasts; None means that the values are exact. `roundoff` is the
    unit roundoff of the evaluations to be bounded. Integer and bool tensors come back as they are.
    """
    if not tensor.is_floating_point() and not tensor.is_complex():
        return tensor
    value = value_of(tensor).detach().clone()
    start = torch.zeros_like(value, dtype=torch.float64)
    if error is not None:
        start.copy_(torch.as_tensor(error))
    return Tracked(value, start, roundoff, requires_grad)


def value_of(tensor: Any) -> Any:
    """Return the values as a plain tensor of doubles; an integer or bool tensor as it is."""
    if isinstance(tensor, Tracked):
        return tensor._value
    if tensor.is_complex():
        return tensor.detach().to(torch.complex128)
    return tensor.detach().to(torch.float64) if tensor.is_floating_point() else tensor


def error_of(tensor: Any) -> Any:
    """Return the absolute error per element as a plain float64 tensor of the same shape; zeros for an untracked one."""
    if isinstance(tensor, Tracked):
        return tensor._error
    return torch.zeros(tensor.shape, dtype=torch.float64, device=tensor.device)
