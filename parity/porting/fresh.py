"""Weights that nobody has trained yet: they hide faults, and those without a partner may do nothing at all."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.model.trace import Op, Trace, used_weights, weight_names, weights_that_matter
from parity.pairing.families import FOLDED

Array = NDArray[Any]

VARIANCES = frozenset({"moving_variance", "running_var"})
MEANS = frozenset({"moving_mean", "running_mean"})
SHIFTS = frozenset({"bias", "beta"})
SCALES = frozenset({"gamma", "weight", "scale"})
KERNELS = frozenset({"kernel", "weight"})
TABLES = frozenset({"embeddings"})
FEW = 4  # numbers of a weight, that may be those of another one by chance
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})


def trained_like(weights: Mapping[str, Array], trace: Trace, seed: int, but: Container[str] = ()) -> dict[str, Array]:
    """Return replacements (same shapes, float32) for the weights that are one number throughout, by name.

    A bias of zeros hides that a port forgot it, and statistics of 0 and 1 hide an epsilon or an exchange; a weight
    that is not constant is left as it is, and so are those named in `but`.
    """
    roles = {name: role for _, role, name in used_weights(trace.ops)}
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, array in weights.items():
        if name in but or not np.issubdtype(array.dtype, np.floating) or not array.size or not _constant(array):
            continue
        found[name] = _drawn(rng, roles.get(name, ""), array).astype(np.float32)
    return found


def set_apart(weights: Mapping[str, Array], trace: Trace, seed: int, but: Container[str] = ()) -> dict[str, Array]:
    """Return replacements (same shapes) for the trainable weights that repeat another one's numbers, by name.

    One initializer with a seed makes them, and copies of one layer have them: what is made of the one is then what is
    made of the other, and no value tells keys from values. Those named in `but` are left as they are.
    """
    rng = np.random.default_rng(seed + 1)
    seen, found = set[tuple[tuple[int, ...], bytes]](), dict[str, Array]()
    for name, array in weights.items():
        known = trace.weights.get(name)
        if known is None or not known.trainable or not np.issubdtype(array.dtype, np.floating) or array.size < FEW:
            continue
        numbers = array.shape, array.tobytes()
        if numbers in seen and name not in but:
            found[name] = (array * rng.uniform(0.8, 1.2, array.shape)).astype(array.dtype)
        seen.add(numbers)
    return found


def neutral(names: Iterable[str], weights: Mapping[str, Array], trace: Trace, paired: Container[int]) -> list[str]:
    """Return which of the named weights change nothing: a scale of ones or a shift of zeros in a paired operation.

    The other side left the scale of a normalisation out, or a bias; as long as nobody trains it, both are one function.
    """
    used = _uses(trace)
    return [
        name
        for name in names
        if name in weights
        and used.get(name)
        and any(op.index in paired or op.config.get(FOLDED) for op, _ in used[name])
        and all(_does_nothing(op, role, weights[name]) for op, role in used[name])
    ]


def left_neutral(names: Iterable[str], weights: Mapping[str, Array], trace: Trace) -> list[str]:
    """Return which of the named weights are a normalisation's scale of ones or shift of zeros.

    Keras makes each of the two or leaves it out, torch has both: a faithful port keeps one that has no partner
    as it is.
    """
    return neutral(names, weights, trace, {op.index for op in trace.ops if op.kind in NORMS})


def neutral_values(names: Iterable[str], trace: Trace) -> dict[str, float]:
    """Return with what number throughout each of the named weights does nothing: 0 for shifts, 1 for a norm's scale."""
    used, found = _uses(trace), dict[str, float]()
    for name in names:
        values = {_neutral_value(op, role) for op, role in used.get(name, ())}
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            found[name] = value
    return found


def untrained(names: Sequence[str], trace: Trace, judged: Container[int]) -> list[str]:
    """Return which of the named weights nobody trains and only judged operations read, other than as statistics.

    The kernel of a blur is a buffer on one side and a constant on the other: part of what the layer computes. So is the
    bias beside such a kernel, as where colours are shifted by a frozen convolution, and a table that an operation reads
    without any input, such as positions: it is part of what reads its result.
    """
    used = _uses(trace)
    fixed = {name for name in names if not trace.weights[name].trainable}

    def computes(op: Op, role: str) -> bool:
        kernels = [n for other, reference in op.weights.items() if other in KERNELS for n in weight_names(reference)]
        beside = role == "bias" and bool(kernels) and fixed.issuperset(kernels)
        return (op.index in judged or not op.inputs) and (beside or role in (KERNELS | TABLES))

    return [name for name in names if name in fixed and used.get(name) and all(computes(*use) for use in used[name])]


def untouched(names: Iterable[str], trace: Trace) -> list[str]:
    """Return which of the named weights nobody trains and no output depends on, such as a power iteration's state.

    Nor does one on the statistics that a normalisation keeps while it normalises with those of the batch.
    """
    used, uses = weights_that_matter(trace), _uses(trace)

    def idle(op: Op, role: str) -> bool:
        return op.kind == "batch_norm" and bool(op.config.get("training")) and role in MEANS | VARIANCES

    return [
        name
        for name in names
        if not trace.weights[name].trainable
        and (name not in used or all(idle(op, role) for op, role in uses.get(name, ())))
    ]


def _uses(trace: Trace) -> dict[str, list[tuple[Op, str]]]:
    """Return which operations use each weight, and as what."""
    used: dict[str, list[tuple[Op, str]]] = {}
    for op, role, name in used_weights(trace.ops):
        used.setdefault(name, []).append((op, role))
    return used


def _does_nothing(op: Op, role: str, array: Array) -> bool:
    value = _neutral_value(op, role)
    return value is not None and bool((array == value).all())


def _neutral_value(op: Op, role: str) -> float | None:
    if role in SHIFTS or (op.kind == "add" and op.config.get(FOLDED)):
        return 0.0
    if op.kind == "attention" and role.replace("_", ".").endswith(".bias"):  # of its projections
        return 0.0
    return 1.0 if op.kind in NORMS and role in SCALES else None


def _constant(array: Array) -> bool:
    first = array.reshape(-1)[0]
    return bool(np.isfinite(first)) and bool((array == first).all()) and (array.size > 1 or float(first) in (0.0, 1.0))


def _drawn(rng: np.random.Generator, role: str, array: Array) -> Array:
    value = float(array.reshape(-1)[0])
    kind = role.rpartition("_of_")[2]
    if kind in VARIANCES:
        return rng.uniform(0.25, 2.0, array.shape) * (value or 1.0)
    if kind in MEANS:
        return value + rng.normal(0.2, 0.5, array.shape)
    if value == 0.0:
        return rng.normal(0.05, 0.3, array.shape)
    return value * rng.uniform(0.6, 1.4, array.shape)


def not_finite(weights: Mapping[str, Array], trace: Trace) -> list[str]:
    """Return what weights hold that is no number, each as its name and how many of its numbers.

    What nobody trains may hold infinities: masks do.
    """
    counts = list[str]()
    for name, value in weights.items():
        trained = name not in trace.weights or trace.weights[name].trainable
        bad = int(np.count_nonzero(~np.isfinite(value) if trained else np.isnan(value)))
        counts += [f"`{name}` ({bad} of {value.size})"] if bad else []
    return counts
