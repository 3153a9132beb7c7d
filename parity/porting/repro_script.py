"""What both halves of a reproduction script are written with: one operation, its names and its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from parity.errors import UsageError
from parity.model.constants import NUMBER
from parity.model.trace import Op
from parity.pairing.copying import read
from parity.porting.options import Array

Shape = tuple[int, ...]
Writer = Callable[["Given"], str]

STATES = {"LSTM": 2, "GRU": 1, "RNN": 1, "SimpleRNN": 1}  # of a recurrent layer, for each direction
_MOST_AXES = 5
# Which of TensorFlow's weights a weight of torch most likely is, should several be equal.
_ROLES = {
    "weight": ("kernel", "gamma", "embeddings", "alpha", "scale"), "bias": ("bias", "beta"),
    "running_mean": ("moving_mean",), "running_var": ("moving_variance",),
    "weight_ih_l0": ("kernel", "forward_kernel"), "weight_hh_l0": ("recurrent_kernel", "forward_recurrent_kernel"),
    "bias_ih_l0": ("bias", "forward_bias"), "weight_ih_l0_reverse": ("backward_kernel",),
    "weight_hh_l0_reverse": ("backward_recurrent_kernel",), "bias_ih_l0_reverse": ("backward_bias",),
}  # fmt: skip


@dataclass(frozen=True)
class Given:
    """One operation as a script sees it: the variables that it reads, its weights as expressions, and all shapes."""

    op: Op
    x: tuple[str, ...]
    weights: Mapping[str, str]
    held: Mapping[str, str]  # the weights as this framework's tensors
    sizes: Mapping[str, Shape]  # of the weights, as expressions give them
    read: tuple[Shape, ...]
    made: Shape
    batch: int
    boolean: tuple[bool, ...] = ()  # which of the variables that it reads are masks
    several: bool = False  # whether more than its first result is wanted: a tuple, then
    whole: bool = False  # whether its result holds whole numbers
    operands: tuple[str, ...] = ()  # the numbers that its call has places for, as this framework's tensors

    @property
    def config(self) -> Mapping[str, Any]:
        """The operation's own words."""
        return self.op.config

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return int(self.config.get("rank", max(len(self.read[0]) - 2, 1)))

    def weight(self, role: str) -> str:
        """Return the expression of a weight; one that no weight of the model holds cannot be written.

        Raises
            UsageError: there is no such weight.
        """
        if role not in self.weights:
            raise UsageError(f"{refusal(self.op.kind)} (its {role} is no weight of the model)")
        return self.weights[role]

    def as_called(self) -> str:
        """Return the call as the model made it; "" where that cannot be written."""
        if not self.op.spelt:
            return ""
        first = "[0]" if len(self.op.outputs) > 1 and not self.several else ""
        return self.op.spelt.format(x=self.x, w=self.held, k=self.operands) + first

    def wrong(self, why: str) -> UsageError:
        """Return what is raised where a kind is known, but not this form of it."""
        return UsageError(f"{refusal(self.op.kind)} ({why})")


def written(given: Given, first: Mapping[str, Writer], several: Mapping[str, Writer]) -> str:
    """Return the code of one operation: as a person would write its kind, else the call as the model made it.

    `first` writes the kinds of which the first result is wanted, `several` those of which there are more.

    Raises
        UsageError: neither can be written.
    """
    called, writer = given.as_called(), (several if given.several else first).get(given.op.kind)
    # What is made of weights, a person's way of writing the kind would take for the weights themselves.
    if called and (writer is None or not given.x or given.whole or given.operands):
        return called
    if writer is None or not given.x:
        further = " (it reads a further result of another operation)" if given.several else ""
        raise UsageError(f"{refusal(given.op.kind)}{further}")
    try:
        return writer(given)
    except UsageError:
        if not called:
            raise
        return called


def comparison(sign: str) -> Writer:
    """Return what writes a comparison of two variables, or of one with a number."""

    def write(given: Given) -> str:
        numbers = [float(value) for key, value in given.config.items() if key in (NUMBER, "other", "arg1")]
        # A whole number may be compared with whole numbers, such as tokens.
        operands = [*given.x, *(repr(int(one) if one.is_integer() else one) for one in numbers)]
        if len(operands) != 2:
            raise given.wrong("with a constant")
        return f"{operands[0]} {sign} {operands[1]}"

    return write


def refusal(kind: str) -> str:
    """Return the line that says that a kind cannot be written."""
    return f"no standalone form for kind {kind}: use --dump"


def arguments(*positional: Any, **named: Any) -> str:
    """Return what stands between the parentheses of a call; sequences as tuples, None left out."""
    parts = [plain(value) for value in positional]
    return ", ".join(parts + [f"{key}={plain(value)}" for key, value in named.items() if value is not None])


@dataclass(frozen=True)
class Raw:
    """Text that is code already."""

    text: str


def plain(value: Any) -> str:
    """Return a value of a configuration as code."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, (list, tuple)):
        inner = ", ".join(plain(one) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return f'"{value}"' if isinstance(value, str) else repr(value)


class Store:
    """The arrays of a script: TensorFlow's as they are, torch's by the transpose that makes them of TensorFlow's."""

    def __init__(self, weights: Mapping[str, Mapping[str, Array]]) -> None:
        self.weights = weights
        self.arrays: dict[str, Array] = {}
        self.roles: dict[str, str] = {}
        self.own: set[str] = set()  # arrays that hold for one side alone: nothing can be drawn for them

    def feed(self, name: str, array: Array) -> str:
        """Keep an array that the segment is fed."""
        self.arrays[name] = array
        return f'a["{name}"]'

    def fed_to_torch(self, name: str, array: Array, feeds: Sequence[str]) -> str:
        """Return the expression of what torch is fed."""
        return self._derived(array, feeds) or self._kept(name, array)

    def tensorflow(self, side_weights: str, reference: str, role: str) -> tuple[str, Shape]:
        """Return the expression of one of TensorFlow's weights, and its shape."""
        array = np.asarray(read(reference, self.weights[side_weights]))
        self.arrays[reference] = array
        self.roles[reference] = role
        return f'a["{reference}"]', array.shape

    def torch(self, side_weights: str, reference: str, role: str, feeds: Sequence[str]) -> tuple[str, Shape]:
        """Return the expression of one of torch's weights, and its shape."""
        array = np.asarray(read(reference, self.weights[side_weights]))
        likely = _ROLES.get(role, ())
        names = sorted(
            (name for name in self.arrays if name not in feeds and name not in self.own),
            key=lambda name: likely.index(self.roles[name]) if self.roles.get(name) in likely else len(likely),
        )
        return self._derived(array, names) or self._kept(reference, array), array.shape

    def operand(self, name: str, array: Array, own: bool, feeds: Sequence[str]) -> str:
        """Return the expression of numbers out of a model's code; `own` says that they may be the other side's, too."""
        names = [known for known in self.arrays if known not in feeds and known not in self.own] if own else []
        return self._derived(array, names) or (self._kept(name, array) if own else self.feed(name, array))

    def constant(self, name: str, array: Array) -> str:
        """Keep an array that is neither weight nor input, such as an order of elements."""
        return self._kept(name, array)

    def _kept(self, name: str, array: Array) -> str:
        while name in self.arrays and not np.array_equal(self.arrays[name], array):
            name = f"torch:{name}"
        if name not in self.arrays:
            self.own.add(name)
        self.arrays[name] = array
        return f'a["{name}"]'

    def _derived(self, array: Array, names: Sequence[str]) -> str | None:
        for name in names:
            way = carried(self.arrays[name], array)
            if way is not None:
                return f'a["{name}"]{way}'
        return None


def carried(source: Array, target: Array) -> str | None:
    """Return the code that makes one array of another: a transpose, a reshape or both; "" for the same array."""
    if source.size != target.size or source.ndim > _MOST_AXES or source.dtype.kind != target.dtype.kind:
        return None
    if source.shape == target.shape and np.array_equal(source, target):
        return ""
    for order in permutations(range(source.ndim)):
        moved = source.transpose(order)
        same = moved.shape == target.shape
        if source.ndim == target.ndim and not same and target.ndim < 4:
            continue
        if np.array_equal(moved if same else moved.reshape(target.shape), target):
            turned = ".T" if order == (1, 0) else f".transpose{order}" if order != tuple(range(source.ndim)) else ""
            return turned + ("" if same else f".reshape{tuple(target.shape)}")
    return None


def moved_back(torch_shape: Shape, relation: Any, tensorflow_shape: Shape, store: Store) -> list[str]:
    """Return the lines that bring torch's result `b` to TensorFlow's order."""
    numbers = np.arange(prod(torch_shape)).reshape(torch_shape)
    ordered = np.asarray(relation.to_tensorflow(numbers))
    if np.array_equal(ordered.reshape(-1), numbers.reshape(-1)):
        return [] if ordered.shape == torch_shape else [f"b = b.reshape(len(b), {_tail(ordered.shape)})"]
    if ordered.ndim == numbers.ndim:
        for order in permutations(range(numbers.ndim)):
            if np.array_equal(numbers.transpose(order), ordered):
                if order == (0, *range(2, numbers.ndim), 1):
                    return ["b = np.moveaxis(b, 1, -1)"]
                return [f"b = np.transpose(b, {order})"]
    elements = np.asarray(relation.elements(tensorflow_shape[1:])).astype(np.int64)
    held = store.constant("order", elements)
    return [
        "# torch's element j of a sample is TensorFlow's element order[j].",
        "moved = np.empty((len(b), b[0].size), b.dtype)",
        f"moved[:, {held}] = b.reshape(len(b), -1)",
        f"b = moved.reshape(len(b), {_tail(tensorflow_shape)})",
    ]


def _tail(shape: Shape) -> str:
    return ", ".join(map(str, shape[1:]))
