"""From which distribution a module's weights look drawn: torch's own, or Glorot's; nothing is said of others."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

_ENOUGH = 24  # numbers from which a distribution can be told
_LINEAR = (nn.Linear, nn.modules.conv._ConvNd)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def initializer(module: nn.Module) -> str | None:
    """Return how a fresh layer of this kind was drawn; None for layers without such a choice or for other draws."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.Embedding):
        return "normal(0, 1)" if _spread(weight) and abs(float(weight.std()) - 1.0) < 0.2 else None
    if isinstance(module, nn.PReLU):
        values = (
            weight.detach().unique().tolist() if isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight) else []
        )
        return None if len(values) != 1 else f"constant({values[0]:g})" if values[0] else "zeros"
    if isinstance(module, _RECURRENT):
        limit = module.hidden_size**-0.5
        drawn = _uniform(module.weight_ih_l0, limit) and _uniform(module.weight_hh_l0, limit)
        return "uniform(+-1/sqrt(units)) throughout" if drawn else None
    if not isinstance(module, _LINEAR) or not _spread(weight):
        return None
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    if _uniform(weight, fan_in**-0.5):
        return "kaiming_uniform(a=sqrt(5))" + ("" if module.bias is None else ", bias uniform")
    if not _uniform(weight, math.sqrt(6.0 / (fan_in + fan_out))):
        return None
    return "glorot_uniform" + ("" if module.bias is None else ", bias " + ("uniform" if module.bias.any() else "zeros"))


def _spread(weight: object) -> bool:
    return isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight) and weight.numel() >= _ENOUGH


def _uniform(weight: Tensor, limit: float) -> bool:
    """Whether numbers fill a range evenly, as far as their count can tell."""
    values = weight.detach().to(torch.float64)
    if not _spread(weight) or float(values.abs().max()) > limit * (1.0 + 1e-6):
        return False
    return abs(float(values.std()) * math.sqrt(3.0) / limit - 1.0) < 2.0 / math.sqrt(values.numel())
