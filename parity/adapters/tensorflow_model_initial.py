"""What a Keras layer's configuration says of training alone: how weights are drawn and held, what adds to the loss."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

_REGULARIZED = ("kernel", "depthwise", "pointwise", "recurrent", "embeddings", "bias", "beta", "gamma", "activity")
_IN_TRAINING = {  # what a setting of a layer does in training
    "regularizer": ("adds", "add", "to Keras's loss what no torch module holds: add it to the port's loss (L2(l) is l"
                    " times the sum of squares: `weight_decay=2*l` where the optimizer couples it)"),
    "constraint": ("constrains", "constrain", "weights: Keras puts them back within bounds after each step, torch's"
                   " optimizers do not, and the port's loop has to"),
}  # fmt: skip
_FAMILIES = {  # of a scale and a mode of VarianceScaling
    (1.0, "fan_in"): ("lecun", ""), (1.0, "fan_avg"): ("glorot", ""),
    (2.0, "fan_in"): ("he", ""), (2.0, "fan_out"): ("he", "(mode=fan_out)"),
}  # fmt: skip


def initializer(layer: Any) -> str | None:
    """Return how a layer's weights are drawn, of those whose partner in torch is drawn otherwise by default."""
    layer = getattr(layer, "forward_layer", layer)
    held = layer if hasattr(layer, "kernel_initializer") else getattr(layer, "cell", layer)
    kernel = getattr(held, "kernel_initializer", None) or getattr(held, "depthwise_initializer", None)
    if kernel is None:
        table = getattr(layer, "embeddings_initializer", None) or getattr(layer, "alpha_initializer", None)
        return None if table is None else _drawn(table)
    parts = [f"{_drawn(kernel)}{_counted(held)}"]
    if getattr(held, "recurrent_initializer", None) is not None:
        parts.append(f"recurrent {_drawn(held.recurrent_initializer)}")
    if getattr(held, "use_bias", False) and getattr(held, "bias_initializer", None) is not None:
        parts.append(f"bias {_of_bias(held)}")
    return ", ".join(parts)


def training_notes(layers: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    """Return notes on what named layers do in training alone: no torch module does such a thing, so no pair shows."""
    named, notes = list(layers), []
    for setting, (one, several, what) in _IN_TRAINING.items():
        found = {name: told for name, layer in named if (told := _settings(layer, setting))}
        for first in list(found)[:1]:
            verb = one if len(found) == 1 else f"and {len(found) - 1} more layer{'s' * (len(found) > 2)} {several}"
            notes.append(f"`{first}` ({', '.join(found[first])}) {verb} {what}")
    return tuple(notes)


def _settings(layer: Any, setting: str) -> list[str]:
    """Return a layer's regularizers or constraints as people write them: `kernel L2(0.001)`."""
    held = getattr(layer, "cell", None) or layer
    found = {role: getattr(held, f"{role}_{setting}", None) for role in _REGULARIZED}
    return [f"{role} {_written(one)}" for role, one in found.items() if one is not None]


def _written(one: Any) -> str:
    try:
        config = one.get_config()
    except Exception:
        config = {}
    factors = [f"{value:.6g}" for value in config.values() if isinstance(value, float)]
    return f"{type(one).__name__}({', '.join(factors)})"


def _counted(layer: Any) -> str:
    """Return what tells a depthwise kernel's draw from torch's of that name: Keras takes all channels for inputs."""
    name = _drawn(layer.depthwise_initializer) if hasattr(layer, "depthwise_initializer") else ""
    if not name.startswith(("he_", "lecun_")):
        return ""
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    return f", counted over {kernel.shape[-2]} channels" if kernel.shape[-2] > 1 else ""


def _of_bias(layer: Any) -> str:
    """Return how a bias is drawn: `uniform`, as torch's is told, where its range is that of torch's default."""
    drawn, kernel = layer.bias_initializer, getattr(layer, "kernel", None)
    limits = [getattr(drawn, name) for name in ("minval", "maxval") if hasattr(drawn, name)]
    if kernel is not None and limits:
        usual = math.prod(kernel.shape[:-1]) ** -0.5
        if all(math.isclose(limit, end, rel_tol=1e-6) for limit, end in zip(limits, (-usual, usual), strict=True)):
            return "uniform"
    return _drawn(drawn)


def _drawn(one: Any) -> str:
    """Return an initialiser as people write it: `glorot_uniform`, `random_uniform(-0.05, 0.05)`."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(one).__name__).lower().removesuffix("_v2")
    try:
        config = one.get_config()
    except Exception:
        return name
    if name == "variance_scaling":
        family = _FAMILIES.get((config["scale"], config["mode"]))
        shape = config["distribution"].rsplit("_", 1)[-1]
        if (config["mode"], shape) == ("fan_in", "uniform") and math.isclose(config["scale"], 1.0 / 3.0, rel_tol=1e-6):
            return "kaiming_uniform(a=sqrt(5))"  # as torch's default is called
        return (
            f"{family[0]}_{shape}{family[1]}" if family else f"{name}({config['scale']:g}, {config['mode']}, {shape})"
        )
    ends = [config.get(key) for key in ("minval", "maxval", "mean", "stddev", "value") if config.get(key) is not None]
    told = f"{name}({', '.join(f'{end:g}' for end in ends)})" if ends else name
    return f"{told} cut at two widths" if name == "truncated_normal" else told
