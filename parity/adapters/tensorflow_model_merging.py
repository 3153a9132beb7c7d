"""After a run: operations that are one thing in a model's author's mind become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_bends import with_elus
from parity.adapters.tensorflow_model_layers import as_written
from parity.adapters.tensorflow_model_tensors import Derived, Step, WeightRead

Runner = Callable[[list[Any]], list[Any]]
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_TAKES_BIAS = frozenset({"conv", "depthwise_conv", "conv_transpose", "dense"})


def merged(
    steps: Sequence[Step], shapes: dict[int, tuple[int, ...]], dtypes: Mapping[int, str], outputs: Sequence[int]
) -> list[Step]:
    """Return the steps with casts inside their readers, biases inside what they follow, and norms and units as one."""
    plain = with_elus(_without_tensordots(_without_casts(steps, dtypes, outputs), shapes, outputs), outputs)
    return _with_norms(_with_biases(plain, shapes, outputs), shapes, outputs)


def _without_casts(steps: Sequence[Step], dtypes: Mapping[int, str], outputs: Sequence[int]) -> list[Step]:
    """Return the steps without casts from float to float: in float64 there are none, and both must be told alike."""
    casts: dict[int, Step] = {}
    kept = []
    for step in steps:
        floats = step.kind == "cast" and all(dtypes[tensor] in _FLOATS for tensor in (*step.inputs, *step.outputs))
        if floats and step.raw and not set(step.outputs) & set(outputs):
            before = casts.get(step.inputs[0])
            if before is not None:
                step.inputs, step.run = before.inputs, _one_after_the_other(before.run, step.run)
            casts[step.outputs[0]] = step
            continue
        if set(step.inputs) & set(casts):
            step.run = _casting(step.run, [casts[t].run if t in casts else None for t in step.inputs])
            step.inputs = [casts[t].inputs[0] if t in casts else t for t in step.inputs]
        kept.append(step)
    return kept


def _casting(run: Runner, casts: Sequence[Runner | None]) -> Runner:
    return lambda tensors: run([t if c is None else c([t])[0] for t, c in zip(tensors, casts, strict=True)])


def _without_tensordots(
    steps: Sequence[Step], shapes: dict[int, tuple[int, ...]], outputs: Sequence[int]
) -> list[Step]:
    """Return the steps with the products of `tf.tensordot` as one each: it lays all places in a row first, and back."""
    readers = Counter(tensor for step in steps for tensor in step.inputs)
    made = {tensor: index for index, step in enumerate(steps) for tensor in step.outputs}
    found: list[Step | None] = list(steps)
    for index, back in enumerate(steps):
        product = _maker(back, found, made) if _lays_anew(back) else None
        row = _maker(product, found, made) if product is not None and _wants_bias(product) else None
        if product is None or row is None or not _lays_anew(row) or len(product.outputs) != 1:
            continue
        given, whole = shapes[row.inputs[0]], shapes[back.outputs[0]]
        alone = readers[back.inputs[0]] == 1 and back.inputs[0] not in outputs
        if not alone or given[:-1] != whole[:-1] or given[-1] != shapes[product.inputs[0]][-1]:
            continue
        product.run = _one_after_the_other(_one_after_the_other(row.run, product.run), back.run)
        if readers[row.outputs[0]] == 1 and row.outputs[0] not in outputs:
            found[made[row.outputs[0]]] = None
        made[back.outputs[0]] = made[back.inputs[0]]
        product.inputs, product.outputs, product.spelt = row.inputs, back.outputs, ""
        found[index] = None
    return [step for step in found if step is not None]


def _lays_anew(step: Step) -> bool:
    return step.raw and step.kind == "reshape" and len(step.inputs) == len(step.outputs) == 1


def _maker(step: Step, found: Sequence[Step | None], made: Mapping[int, int]) -> Step | None:
    """Return the step that makes the one tensor that another reads."""
    return found[made[step.inputs[0]]] if len(step.inputs) == 1 and step.inputs[0] in made else None


def _with_biases(steps: Sequence[Step], shapes: dict[int, tuple[int, ...]], outputs: Sequence[int]) -> list[Step]:
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
        if bias.shape[-1] != shapes[step.outputs[0]][-1] or len(bias.shape) > len(shapes[step.outputs[0]]):
            continue
        before.weights["bias"], before.outputs, before.spelt = bias, step.outputs, ""
        before.config["bias"], before.run = True, _one_after_the_other(before.run, step.run)
        before.variables = [*before.variables, bias]
        found[index] = None
        made[step.outputs[0]] = made[step.inputs[0]]
    return [step for step in found if step is not None]


def _is_bias(step: Step) -> bool:
    bias = step.weights.get("other")
    if step.kind != "add" or not step.raw or not step.direct or bias is None or len(step.weights) != 1:
        return False
    return len(step.inputs) == 1 and len(bias.shape) > 0 and all(n == 1 for n in bias.shape[:-1])


def _wants_bias(step: Step) -> bool:
    last = step.config.get("data_format") != "channels_first"
    # A kernel that is made of weights, such as a standardised one, has them as `other`.
    held = {"kernel", "other"} & set(step.weights)
    return step.raw and step.kind in _TAKES_BIAS and not step.config.get("bias") and bool(held) and last


def _one_after_the_other(first: Runner, second: Runner) -> Runner:
    return lambda tensors: second(first(tensors))


def _with_norms(steps: Sequence[Step], shapes: dict[int, tuple[int, ...]], outputs: Sequence[int]) -> list[Step]:
    """Return the steps with x * inverse + (beta - mean * inverse), which is how Keras writes it, as a normalisation."""
    readers: dict[int, int] = {}
    for step in steps:
        for tensor in step.inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    found: list[Step] = []
    for step in steps:
        before = found[-1] if found else None
        follows = before is not None and before.outputs == step.inputs and readers[before.outputs[0]] == 1
        norm = _norm(before, step) if before is not None and follows and before.outputs[0] not in outputs else None
        if norm is None or before is None:
            found.append(step)
            continue
        weights, eps = norm
        before.config = {"eps": eps, "momentum": None, "axis": len(shapes[step.outputs[0]]) - 1}
        before.config |= {"center": "beta" in weights, "scale": "gamma" in weights, "frozen": True, "training": False}
        before.kind, before.weights, before.outputs = "batch_norm", weights, step.outputs
        before.variables, before.run = [*before.variables, *step.variables], _one_after_the_other(before.run, step.run)
    return found


def _norm(first: Step, second: Step) -> tuple[dict[str, Any], float] | None:
    """Return weights and epsilon of a normalisation in two steps; None for anything else."""
    if not (first.raw and second.raw and (first.kind, second.kind) == ("multiply", "add")):
        return None
    inverse = next((source for source in first.sources if isinstance(source, Derived)), None)
    shift = next((source for source in second.sources if isinstance(source, Derived)), None)
    root, gamma = _product(inverse)
    if root is None or shift is None or root.op_type != "Rsqrt":
        return None
    spread = root.sources[0]
    if not isinstance(spread, Derived) or spread.op_type not in ("AddV2", "Add"):
        return None
    variance, eps = spread.sources
    beta, rest = shift.sources if shift.op_type == "Sub" else (None, shift.sources[0])
    if shift.op_type not in ("Sub", "Neg") or not isinstance(rest, Derived) or rest.op_type != "Mul":
        return None
    if not any(source is inverse for source in rest.sources):
        return None
    mean = next((source for source in rest.sources if source is not inverse), None)
    roles = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
    if any(source is not None and not isinstance(source, WeightRead) for source in roles.values()) or mean is None:
        return None
    return {r: s.variable for r, s in roles.items() if isinstance(s, WeightRead)}, as_written(np.asarray(eps)[()])


def _product(source: Derived | None) -> tuple[Derived | None, Any]:
    """Return the root and the factor of `rsqrt(..) * gamma`, or of a root alone."""
    if source is None or source.op_type != "Mul":
        return source, None
    root = next((one for one in source.sources if isinstance(one, Derived)), None)
    return root, next((one for one in source.sources if one is not root), None)
