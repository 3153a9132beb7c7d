"""Make recorded steps again: a whole run of them, or the part between given tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.adapters.base import Array
from parity.adapters.tensorflow_model_loading import first_line
from parity.adapters.tensorflow_model_tensors import Step
from parity.errors import UsageError


@contextmanager
def restored(variables: Sequence[Any]) -> Iterator[list[Any]]:
    """Give variables their values back afterwards; yields a list that then holds those that had changed."""
    kept = [(variable, variable.read_value()) for variable in {id(v): v for v in variables}.values()]
    changed: list[Any] = []
    try:
        yield changed
    finally:
        for variable, value in kept:
            before, after = value.numpy(), variable.numpy()
            if not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
                changed.append(variable)
            variable.assign(value)


def run_step(step: Step, values: Mapping[int, Any], keep_state: bool = False) -> dict[int, Any]:
    """Make one step again and return its outputs; what it changes in the model is put back unless asked for.

    Raises
        UsageError: it fails; the message names it.
    """
    try:
        with restored(() if keep_state else step.state):
            made = step.run([values[tensor] for tensor in step.inputs])
    except Exception as error:
        kind = type(error).__name__
        raise UsageError(
            f"tensorflow operation `{step.name}` ({step.made_by}) failed: {kind}: {first_line(error)}"
        ) from error
    if len(made) != len(step.outputs):
        raise UsageError(
            f"tensorflow operation `{step.name}` gave {len(made)} results, not {len(step.outputs)} as in the run"
        )
    return dict(zip(step.outputs, made, strict=True))


def needed(steps: Sequence[Step], wanted: Sequence[int], fed: frozenset[int], inputs: Sequence[int]) -> list[int]:
    """Return the indices of the steps that make `wanted` from what is fed, in order.

    Raises
        UsageError: an input of the model is needed and not fed.
    """
    makers = {tensor: index for index, step in enumerate(steps) for tensor in step.outputs}
    found: set[int] = set()
    open_ones = [tensor for tensor in wanted if tensor not in fed]
    seen = set(open_ones)
    while open_ones:
        tensor = open_ones.pop()
        if tensor not in makers:
            what = f"model input {list(inputs).index(tensor)}" if tensor in inputs else f"tensor {tensor}"
            raise UsageError(f"tensorflow: {what} is needed for this segment and was not fed")
        found.add(makers[tensor])
        for source in steps[makers[tensor]].inputs:
            if source not in fed and source not in seen:
                seen.add(source)
                open_ones.append(source)
    return sorted(found)


class Propagated:
    """One run from the model's inputs, made bit by bit; a value is dropped once nobody will read it any more."""

    def __init__(
        self, steps: Sequence[Step], values: dict[int, Any], wanted: Sequence[int], inputs: Sequence[int]
    ) -> None:
        self.steps, self.values, self.inputs = steps, values, inputs
        self._waiting = set(wanted)
        order = needed(steps, list(wanted), frozenset(values), inputs)
        self._left: dict[int, int] = {}
        for index in order:
            for tensor in set(steps[index].inputs):
                self._left[tensor] = self._left.get(tensor, 0) + 1
        self._done: set[int] = set()

    def advance(self, tensor: int) -> Any:
        """Return one wanted tensor."""
        if tensor not in self._waiting:
            raise UsageError(f"tensor {tensor} was not among the wanted ones, or was asked for before")
        if tensor not in self.values:
            for index in needed(self.steps, [tensor], frozenset(self.values), self.inputs):
                self._make(index)
        self._waiting.discard(tensor)
        value = self.values[tensor]
        self._drop(tensor)
        return value

    def _make(self, index: int) -> None:
        step = self.steps[index]
        self.values.update(
            (tensor, value) for tensor, value in run_step(step, self.values).items() if tensor not in self.values
        )
        if index not in self._done:
            self._done.add(index)
            for tensor in set(step.inputs):
                self._left[tensor] = self._left.get(tensor, 0) - 1
                self._drop(tensor)
        for tensor in step.outputs:
            self._drop(tensor)

    def _drop(self, tensor: int) -> None:
        if self._left.get(tensor, 0) <= 0 and tensor not in self._waiting:
            self.values.pop(tensor, None)


def fingerprint(value: Array) -> list[float]:
    """Return size, sum, sum of magnitudes, sum of squares, largest and smallest, in float64."""
    x = np.asarray(value).astype(np.float64).reshape(-1)
    if not x.size:
        return [0.0] * 6
    largest, smallest = float(x.max()), float(x.min())
    return [float(x.size), float(x.sum()), float(np.abs(x).sum()), float(np.square(x).sum()), largest, smallest]


def gradient_array(tf: Any, gradient: Any, like: Any) -> Array:
    """Return a gradient as an array; none is zeros."""
    if gradient is None:
        return np.zeros(tuple(int(n) for n in like.shape), dtype=like.dtype.as_numpy_dtype)
    return np.asarray(tf.convert_to_tensor(gradient).numpy())


def segment(
    tf: Any, steps: Sequence[Step], order: Sequence[int], values: dict[int, Any], want: int, keep_state: bool
) -> Any:
    """Return `want`, made by these steps from the given values."""
    for index in order:
        for tensor, value in run_step(steps[index], values, keep_state).items():
            values.setdefault(tensor, value)
    del tf
    return values[want]


Reader = Callable[[Any], Array]
