"""From which distribution a module's weights look drawn, by the names that Keras has for them; nothing of others."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

_ENOUGH = 24  # numbers from which a range that is filled evenly can be told
_ENOUGH_FOR_TAILS = 200  # and from which a normal distribution can
_USUAL = (0.02, 0.01, 0.05, 0.1, 1.0, 0.001)  # widths that people write
_LINEAR = (nn.Linear, nn.modules.conv._ConvNd)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def initializers(module: nn.Module) -> dict[str, Any]:
    """Return how a fresh layer looks drawn, as a part of its configuration; nothing for other layers and other draws.

    Distributions of one width cannot be told apart, Glorot's and LeCun's of a square kernel: the further ones are
    the `initializer_alternatives`.
    """
    found = _drawn(module)
    further = {"initializer_alternatives": found[1:]} if len(found) > 1 else {}
    return {"initializer": found[0], **further} if found else {}


def _drawn(module: nn.Module) -> list[str]:
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.PReLU):
        same = None if nn.parameter.is_lazy(weight) else _one_number(weight)
        return [] if same is None else [same]
    if isinstance(module, _RECURRENT):
        limit = module.hidden_size**-0.5
        drawn = _uniform(module.weight_ih_l0, limit) and _uniform(module.weight_hh_l0, limit)
        return ["uniform(+-1/sqrt(units)) throughout"] if drawn else []
    if not isinstance(module, (*_LINEAR, nn.Embedding)) or not _spread(weight):
        return []
    if isinstance(module, nn.Embedding):
        return _tables(weight)
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    bias = "" if module.bias is None else f", bias {_one_number(module.bias) or 'uniform'}"
    names = _kernels(weight, fan_in, fan_out)
    channels = getattr(module, "groups", 1)
    if channels > 1:  # what Keras would call it, which counts all channels of a depthwise kernel as inputs
        wide = _kernels(weight, fan_in * channels, fan_out)
        names += [f"{name}, counted over {channels} channels" for name in wide if name.startswith(("he_", "lecun_"))]
    return [f"{name}{bias}" for name in names]


def _kernels(weight: Tensor, fan_in: int, fan_out: int) -> list[str]:
    """Return the distributions that fit a kernel, by Keras's names where it has one; torch's own default alone."""
    if _uniform(weight, fan_in**-0.5):
        return ["kaiming_uniform(a=sqrt(5))"]
    variances = {"glorot": 2.0 / (fan_in + fan_out), "he": 2.0 / fan_in, "lecun": 1.0 / fan_in}
    uniform = [f"{name}_uniform" for name, one in variances.items() if _uniform(weight, math.sqrt(3.0 * one))]
    normal = [f"{name}_normal" for name, one in variances.items() if _normal(weight, math.sqrt(one))]
    normal += ["he_normal(mode=fan_out)"] if _normal(weight, math.sqrt(2.0 / fan_out)) else []
    return uniform or normal + _usual(weight)


def _tables(weight: Tensor) -> list[str]:
    default = abs(float(weight.detach().std()) - 1.0) < 0.2
    return (
        ["normal(0, 1)"] if default else ["random_uniform(-0.05, 0.05)"] if _uniform(weight, 0.05) else _usual(weight)
    )


def _usual(weight: Tensor) -> list[str]:
    return [f"random_normal(0, {width:g})" for width in _USUAL if _normal(weight, width)]


def _one_number(weight: Tensor) -> str | None:
    """Return `zeros` or the number that a vector holds throughout; None if it holds several."""
    values = weight.detach().unique().tolist()
    return None if len(values) != 1 else f"constant({values[0]:g})" if values[0] else "zeros"


def _spread(weight: object) -> bool:
    return isinstance(weight, Tensor) and not nn.parameter.is_lazy(weight) and weight.numel() >= _ENOUGH


def _uniform(weight: Tensor, limit: float) -> bool:
    """Whether numbers fill a range evenly, as far as their count can tell."""
    values = weight.detach().to(torch.float64)
    if not _spread(weight) or float(values.abs().max()) > limit * (1.0 + 1e-6):
        return False
    return abs(float(values.std()) * math.sqrt(3.0) / limit - 1.0) < 2.0 / math.sqrt(values.numel())


def _normal(weight: Tensor, width: float) -> bool:
    """Whether numbers have a normal distribution's width and tails, as far as their count can tell."""
    values = weight.detach().to(torch.float64)
    count = values.numel()
    if count < _ENOUGH_FOR_TAILS or abs(float(values.mean())) > 4.0 * width / math.sqrt(count):
        return False
    tails = float((((values - values.mean()) / values.std()) ** 4).mean())
    return abs(float(values.std()) / width - 1.0) < 3.0 / math.sqrt(
        2.0 * count
    ) and 2.1 < tails < 3.0 + 20.0 / math.sqrt(count)
