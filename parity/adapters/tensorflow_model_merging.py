"""After a run: operations that are one thing in a model's author's mind become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parity.adapters.tensorflow_model_tensors import Step

_TAKES_BIAS = frozenset({"conv", "depthwise_conv", "conv_transpose", "dense"})


def merged(steps: Sequence[Step], shapes: dict[int, tuple[int, ...]], outputs: Sequence[int]) -> list[Step]:
    """Return the steps with a bias, added right after a product of the user's own, merged into it."""
    readers: dict[int, int] = {}
    for step in steps:
        for tensor in step.inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    made = {tensor: index for index, step in enumerate(steps) for tensor in step.outputs}
    found: list[Step | None] = list(steps)
    for index, step in enumerate(steps):
        if not _is_bias(step) or step.inputs[0] not in made:
            continue
        before = found[made[step.inputs[0]]]
        alone = readers[step.inputs[0]] == 1 and step.inputs[0] not in outputs
        bias = step.weights.get("other")
        if before is None or bias is None or not alone or not _wants_bias(before):
            continue
        if bias.shape[0] != shapes[step.outputs[0]][-1]:
            continue
        before.weights["bias"], before.outputs = bias, step.outputs
        before.config["bias"], before.run = True, _one_after_the_other(before.run, step.run)
        before.variables = [*before.variables, bias]
        found[index] = None
        made[step.outputs[0]] = made[step.inputs[0]]
    return [step for step in found if step is not None]


def _is_bias(step: Step) -> bool:
    bias = step.weights.get("other")
    if step.kind != "add" or not step.raw or not step.direct or bias is None or len(step.weights) != 1:
        return False
    return len(step.inputs) == 1 and len(bias.shape) == 1


def _wants_bias(step: Step) -> bool:
    last = step.config.get("data_format") != "channels_first"
    return step.raw and step.kind in _TAKES_BIAS and not step.config.get("bias") and "kernel" in step.weights and last


def _one_after_the_other(
    first: Callable[[list[Any]], list[Any]], second: Callable[[list[Any]], list[Any]]
) -> Callable[[list[Any]], list[Any]]:
    return lambda tensors: second(first(tensors))
