"""The precision that a torch model is computed in: its parameters, its buffers, and tensors that it merely keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from parity.adapters.torch_model_exact import Rewritten
from parity.errors import UsageError
from parity.model.constants import meant

_TABLE = 2.0**-17  # how far float32 may be off that evaluates a rotation by an angle of some hundred
_EXACT = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def tell_precision(model: Any, notes: list[str]) -> None:
    """Note that parameters of half precision are compared in float32."""
    lower = {
        str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in (torch.float16, torch.bfloat16)
    }
    if lower:
        notes.append(f"the torch model's parameters are {', '.join(sorted(lower))}: it is compared in float32")


def in_precision(model: Any, device: Any, twin: bool) -> Any:
    """Return a model with its floats, and tensors that modules keep as plain attributes, in one precision.

    Raises:
        UsageError: it has a complex parameter.
    """
    name = next((name for name, p in model.named_parameters() if p.is_complex()), "")
    if name:
        raise UsageError(
            f"the torch model's parameter `{name}` holds complex numbers, which cannot be compared: keep their real and"
            " imaginary parts as two parameters and join them by torch.complex"
        )
    if any(buffer.is_complex() for buffer in model.buffers()):  # of these, `.to(dtype)` would keep the real parts alone
        model = model._apply(lambda tensor: _moved(tensor, device, twin))
    else:
        model = model.to(device, torch.float64 if twin else torch.float32)
    _move_loose_tensors(model, device, twin)
    return model


def complex_tables(model: Any) -> dict[tuple[str, str], Tensor]:
    """Return the complex buffers and plain attributes of a model's modules, by the module's path and their own name."""
    return {
        (path, name): value
        for path, module in model.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, value in (*module.named_buffers(recurse=False), *vars(module).items())
        if isinstance(value, Tensor) and value.is_complex()
    }


def with_exact_tables(model: Any, build: Callable[[], Any]) -> None:
    """Give a twin its complex tables as float64 makes them, though its code says float32 where it makes the angles.

    `build` makes the model once more.
    """
    held = complex_tables(model)
    if not held:
        return
    with Rewritten(True, False):
        exact = complex_tables(build())
    with torch.no_grad():
        for key, own in held.items():
            if key in exact and exact[key].shape == own.shape and is_exact_table(exact[key], own):
                own.data = exact[key].data


def is_exact_table(exact: Tensor, held: Tensor) -> bool:
    """Return whether complex numbers that a model holds are those that float64 makes, but for float32's rounding."""
    if not (exact.is_complex() and held.is_complex()) or not exact.numel():
        return False
    return bool((exact - held).abs().max() <= _TABLE * exact.abs().max())


def _moved(tensor: Tensor, device: Any, twin: bool) -> Tensor:
    if tensor.is_complex():
        return tensor.to(device, torch.complex128 if twin else torch.complex64)
    if tensor.is_floating_point():
        return tensor.to(device, torch.float64 if twin else torch.float32)
    return tensor.to(device)


def _move_loose_tensors(model: Any, device: Any, twin: bool) -> None:
    """Move tensors that a module keeps as plain attributes, which `.to()` does not know."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and not isinstance(value, torch.nn.Parameter):
                exact = _EXACT.get(value.dtype, value.dtype) if twin else value.dtype
                single = twin and value.dtype == torch.float32 and value.numel() == 1 and not value.requires_grad
                moved = value.to(device, exact)
                # The root of 6 that was made in float32 is, in the twin, the root of 6.
                vars(module)[name] = torch.full_like(moved, meant(value.item())) if single else moved
