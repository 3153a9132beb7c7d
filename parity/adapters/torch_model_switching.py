"""Training and evaluation mode of a torch model, and what its modules compute when they are switched over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def set_mode(model: Any, training: bool) -> None:
    """Put a model into training or evaluation mode, an exported program too, which refuses `.train()`."""
    if isinstance(model, torch.fx.GraphModule) or type(model).__name__ == "UnflattenedModule":
        for module in model.modules():
            module.training = training
    else:
        model.train(training)


def renew(model: Any) -> None:
    """Let a model in evaluation mode compute again what its modules keep of their weights when they are switched.

    A module with a `train` of its own may compute a tensor from its weights, once, and keep it as a plain attribute:
    attention with cached position biases does. With other weights, or in another precision, it would be stale; and
    computed within a recording it is known where it comes from.
    """
    if not model.training and any(_keeps(module) for module in model.modules()):
        model.train(True)
        model.train(False)


def _keeps(module: Any) -> bool:
    own = not isinstance(module, torch.jit.ScriptModule) and type(module).train is not torch.nn.Module.train
    return own and any(True for _ in _loose(module))


def _loose(module: Any) -> Iterator[Tensor]:
    """Yield the tensors of floats that a module keeps as plain attributes, or in a plain container there."""
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        yield from (one for one in held if isinstance(one, Tensor) and one.is_floating_point())
