"""Calls of one network on several batches, which the other side joins to one long batch: twins, triplets, two views."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from parity.model.trace import Op, Trace, made_of_inputs
from parity.pairing.match import OpPair

Uses = dict[tuple[str, ...], int]


def joined(tensorflow: Trace, torch: Trace, pairs: Iterable[OpPair]) -> set[int]:
    """Return TensorFlow's operations that do on one batch what their partner does on several joined, or the reverse.

    What they make is compared behind the place where the long batch is taken apart again. There are none unless some
    weights are used as often as the other side's batch is longer.
    """
    traces = (tensorflow, torch)
    ops = tuple({op.index: op for op in trace.ops} for trace in traces)
    uses = tuple(_uses(trace) for trace in traces)
    found: set[int] = set()
    certain = False
    for pair in pairs:
        both = ops[0][pair.tensorflow], ops[1][pair.torch]
        times = _times_longer(*(_shape(trace, op) for trace, op in zip(traces, both, strict=True)))
        if times is None:
            continue
        found.add(pair.tensorflow)
        used = tuple(some.get(_weights(op), 0) for some, op in zip(uses, both, strict=True))
        certain = certain or used[0] == used[1] * times > 0
    return found if certain else set()


def repeated(tensorflow: Trace, torch: Trace, pairs: Iterable[OpPair]) -> set[int]:
    """Return TensorFlow's operations that make one sample of no input, where their partner makes one for each sample.

    A table of positions may be repeated for a batch before a layer reads it, or stand once beside all samples.
    """
    traces = (tensorflow, torch)
    ops = tuple({op.index: op for op in trace.ops} for trace in traces)
    fed = tuple(made_of_inputs(trace) for trace in traces)
    found: set[int] = set()
    for pair in pairs:
        both = ops[0][pair.tensorflow], ops[1][pair.torch]
        shapes = [_shape(trace, op) for trace, op in zip(traces, both, strict=True)]
        if any(some.intersection(op.outputs) for some, op in zip(fed, both, strict=True)):
            continue
        if _times_longer(shapes[0], shapes[1]) is not None and 1 in (shapes[0][0], shapes[1][0]):
            found.add(pair.tensorflow)
    return found


def notes(tensorflow: Trace, torch: Trace, pairs: Iterable[OpPair]) -> tuple[str, ...]:
    """Return a sentence on what is joined, if anything is."""
    found = joined(tensorflow, torch, pairs)
    names = [op.name for op in tensorflow.ops if op.index in found]
    if not names:
        return ()
    return (
        f"one side joins several batches to one from `{names[0]}` to `{names[-1]}`: these are compared together, where"
        " the batch is taken apart again; without joining, each is compared alone",
    )


def _times_longer(mine: tuple[int, ...], theirs: tuple[int, ...]) -> float | None:
    """Return how many times as long torch's batch is, of samples of the same size; None if as long, or no batch."""
    if not mine or not theirs or 0 in (*mine, *theirs) or mine[0] == theirs[0]:
        return None
    return theirs[0] / mine[0] if prod(mine[1:]) == prod(theirs[1:]) else None


def _shape(trace: Trace, op: Op) -> tuple[int, ...]:
    return trace.shapes.get(op.outputs[0], ()) if op.outputs else ()


def _uses(trace: Trace) -> Uses:
    """Return how many operations use each set of weights."""
    found: Uses = {}
    for op in trace.ops:
        if op.weights:
            found[_weights(op)] = found.get(_weights(op), 0) + 1
    return found


def _weights(op: Op) -> tuple[str, ...]:
    return tuple(sorted(op.weights.values()))
