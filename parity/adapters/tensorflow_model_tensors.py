"""What is kept of a recorded call: its arguments with the tensors taken out, so that it can be made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.errors import UsageError

MASK = "_keras_mask"
_SHAPING = ("Reshape", "Squeeze", "ExpandDims", "Identity")


@dataclass(frozen=True)
class Slot:
    """Where a tensor of the run stood: an index into the inputs of a step, and its Keras mask, if it carried one."""

    index: int
    mask: Any = None


@dataclass(frozen=True)
class WeightRead:
    """The value of a variable, read again at every replay."""

    variable: Any

    def value(self, memo: dict[int, Any]) -> Any:
        """Return the variable's present value as a tensor."""
        return memo.setdefault(id(self.variable), self.variable.read_value())

    def variables(self) -> tuple[Any, ...]:
        """Return the variable."""
        return (self.variable,)


@dataclass(frozen=True)
class Derived:
    """A tensor that an operation made from weights and constants alone, computed again at every replay."""

    compute: Callable[[list[Any]], list[Any]]
    sources: tuple[Any, ...]
    output: int
    op_type: str

    def value(self, memo: dict[int, Any]) -> Any:
        """Return the tensor for the present values of the weights."""
        if id(self) not in memo:
            memo[id(self)] = self.compute([resolved(source, memo) for source in self.sources])[self.output]
        return memo[id(self)]

    def variables(self) -> tuple[Any, ...]:
        """Return every variable that it depends on."""
        return tuple(
            v for source in self.sources if isinstance(source, WeightRead | Derived) for v in source.variables()
        )


@dataclass(frozen=True, eq=False)
class Place:
    """One place along the first axis of a variable: the weight of a layer whose like are kept as one."""

    variable: Any
    index: int

    @property
    def shape(self) -> Any:
        """The shape of what is at a place."""
        return self.variable.shape[1:]

    @property
    def dtype(self) -> Any:
        """The variable's."""
        return self.variable.dtype

    def read_value(self) -> Any:
        """Return what is at the place now."""
        return self.variable.read_value()[self.index]


def variable_of(held: Any) -> Any:
    """Return the variable of a place, or the variable itself."""
    return held.variable if isinstance(held, Place) else held


def same_numbers(source: Any) -> bool:
    """Tell whether something made of a weight holds the weight's numbers in their order, in another shape at most."""
    while isinstance(source, Derived) and source.op_type in _SHAPING:
        source = source.sources[0]
    return isinstance(source, WeightRead)


def row_of(source: Any) -> int | None:
    """Return which row of a weight something made of it is, in another shape at most; None if it is no row."""
    while isinstance(source, Derived) and source.op_type in (*_SHAPING, "Transpose"):
        source = source.sources[0]
    if not isinstance(source, Derived) or source.op_type != "StridedSlice" or not same_numbers(source.sources[0]):
        return None
    begin, end = (np.asarray(given).reshape(-1) for given in source.sources[1:3])
    return int(begin[0]) if begin.size == 1 and 0 <= begin[0] == end[0] - 1 else None


def resolved(source: Any, memo: dict[int, Any]) -> Any:
    """Return a source's tensor: of a weight now, of a constant always the same."""
    return source.value(memo) if isinstance(source, WeightRead | Derived) else source


@dataclass
class Step:
    """One operation that can be made again: `run` takes its inputs and returns its outputs, in order."""

    name: str
    kind: str
    inputs: list[int]
    outputs: list[int]
    run: Callable[[list[Any]], list[Any]]
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)  # role -> variable
    variables: list[Any] = field(default_factory=list)  # every variable that it reads
    state: list[Any] = field(default_factory=list)  # variables that running it in training mode changes
    made_by: str = ""
    spelt: str = ""  # as a script writes it, see `trace.Op`
    operands: tuple[Any, ...] = ()  # numbers that it reads and that are many, or made of weights
    raw: bool = False
    sources: tuple[Any, ...] = ()  # its inputs: a tensor of the run is None, a weight or what is made of it itself
    direct: bool = True  # its weights are read as they are, not something made of them


def is_tensor(value: Any) -> bool:
    """Tell whether this is an eager tensor: one with an id of its own."""
    return hasattr(value, "_id") and hasattr(value, "_numpy_internal")


def filled(template: Any, tensors: Sequence[Any], memo: dict[int, Any], identity: Callable[[Any], Any]) -> Any:
    """Return the arguments that a template was made of, with these tensors."""
    if isinstance(template, Slot):
        if template.mask is None:
            return tensors[template.index]
        value = identity(tensors[template.index])
        setattr(value, MASK, filled(template.mask, tensors, memo, identity))
        return value
    if isinstance(template, WeightRead | Derived):
        return template.value(memo)
    if isinstance(template, Mapping):
        return {key: filled(item, tensors, memo, identity) for key, item in template.items()}
    if isinstance(template, tuple) and hasattr(template, "_fields"):
        return type(template)(*(filled(item, tensors, memo, identity) for item in template))
    if isinstance(template, list | tuple):
        items = [filled(item, tensors, memo, identity) for item in template]
        return tuple(items) if isinstance(template, tuple) else items
    return template


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the eager tensors in nested lists, tuples and dicts, in order."""
    if is_tensor(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the same structure with every eager tensor changed; other things stay."""
    if is_tensor(value):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, list | tuple):
        items = [mapped(item, change) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


# Tensors of several parts, and what makes a plain one of each.
_DENSE = {
    "SparseTensor": "tf.sparse.to_dense",
    "RaggedTensor": "`.to_tensor()`",
    "IndexedSlices": "tf.convert_to_tensor",
}


def named_outputs(value: Any, name: str = "output") -> Iterator[tuple[str, Any]]:
    """Yield (name, tensor) for every tensor of a model's answer: tuples, dicts, dataclasses and their like.

    Raises
        UsageError: it holds a sparse or a ragged tensor.
    """
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_outputs(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key in value._fields:
            yield from named_outputs(getattr(value, key), f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from named_outputs(item, f"{name}[{index}]")
    elif hasattr(value, "__dataclass_fields__"):
        for key in value.__dataclass_fields__:
            yield from named_outputs(getattr(value, key), f"{name}.{key}")
    elif type(value).__name__ in _DENSE:
        kind, way = type(value).__name__, _DENSE[type(value).__name__]
        raise UsageError(f"the tensorflow model returns a {kind} (`{name}`): return a dense tensor, {way} of it")
    else:
        yield name, value
