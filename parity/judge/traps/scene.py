"""All that a trap may look at: one layer in both frameworks that computes something else when fed the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from parity.model.layout import Array
from parity.model.trace import MOVES, Op, Trace, read_first, weight_names

FORWARD, STATE, GRADIENT = "forward", "state", "gradient"
SELECTS = frozenset({"gather", "slice", "flip", "reverse", "index", "getitem", "take"})
PRODUCTS = frozenset({"matmul", "einsum", "op:bmm", "op:baddbmm"})  # without weights
PREPARES = frozenset({"resize", "cropping", "slice", "zero_pad"})  # what is done to pictures before a model
SCALINGS = frozenset({"rescale", "standardize", "add", "subtract", "multiply", "divide"})
HALF_TURNS = 4096  # as many halves of pi as a constant is looked for among: 2^k pi of positional encodings


@dataclass(frozen=True)
class Scene:
    """One forced check that failed: both segments, what they were fed, and what came out.

    `tensorflow` and `torch` are the paired main operations, `*_ops` everything between what was fed and what was
    compared, `extra_*` the operations that have no partner. Weights are float64 in their own layouts by role; `carried`
    holds TensorFlow's under torch's roles in torch's layouts. `alternatives` holds the carried weights of other layers
    that would fit.
    """

    tensorflow: Op | None
    torch: Op | None
    tensorflow_ops: tuple[Op, ...]
    torch_ops: tuple[Op, ...]
    extra_tensorflow: tuple[Op, ...]
    extra_torch: tuple[Op, ...]
    tensorflow_weights: Mapping[str, Array]
    torch_weights: Mapping[str, Array]
    carried: Mapping[str, Array]
    fed: Mapping[int, Array]
    fed_tensorflow: Mapping[int, Array]
    expected: Array
    got: Array
    shapes: Mapping[int, tuple[int, ...]]
    training: bool
    weights_mode: str
    alternatives: Mapping[str, Mapping[str, Array]]
    tensorflow_trace: Trace
    torch_trace: Trace
    expected_tensorflow: Array | None = None  # what should come out, in TensorFlow's own order
    want: int | None = None  # the torch tensor that is compared; found from the segment unless given
    buffers: Mapping[str, Array] = field(default_factory=dict)  # torch's numbers that nobody trains, by their names
    held: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)  # torch's weights by operation and role
    held_tensorflow: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)
    inside: Mapping[int, Array] = field(default_factory=dict)  # what TensorFlow's attention reads and was not fed
    stage: str = field(default=FORWARD)  # what was compared: the output, the state after it, or a gradient

    @property
    def wanted(self) -> int | None:
        """The id of the torch tensor that is compared."""
        if self.want is not None:
            return self.want
        if self.torch_ops:
            return self.torch_ops[-1].outputs[0]
        return next(iter(self.fed), None)

    def pairs(self) -> Iterator[tuple[Op, Op]]:
        """Yield the main pair, then those of the other operations of one kind that stand in the same order."""
        if self.tensorflow is not None and self.torch is not None:
            yield self.tensorflow, self.torch
        rest = [
            [op for op in ops if op is not main and op.effect != MOVES]
            for ops, main in ((self.tensorflow_ops, self.tensorflow), (self.torch_ops, self.torch))
        ]
        for kind in dict.fromkeys(op.kind for op in rest[0]):
            mine, theirs = ([op for op in ops if op.kind == kind] for ops in rest)
            if len(mine) > len(theirs):  # torch joined several batches to one
                mine = list({op.name: op for op in reversed(mine)}.values())[::-1]
            if len(mine) == len(theirs):
                yield from zip(mine, theirs, strict=True)

    def axis_maps(self, tensorflow: Op, torch: Op) -> list[tuple[int, ...]]:
        """Return how TensorFlow's axes of an operation's first input may be torch's, the likeliest first."""
        if not tensorflow.inputs or not torch.inputs:
            return []
        mine = self.tensorflow_trace.shapes.get(read_first(tensorflow), ())
        return axis_maps(mine, self.shapes.get(read_first(torch), ()))

    def owner(self) -> str | None:
        """Return the name of the layer that TensorFlow's main operation belongs to; None without one."""
        name = self.tensorflow.name if self.tensorflow is not None else ""
        return name.rpartition("/")[0] or None

    def partner(self, tensor: int) -> int | None:
        """Return the fed torch tensor that holds the numbers of a fed TensorFlow tensor."""
        given = self.fed_tensorflow.get(tensor)
        if given is None:
            return None
        order = list(self.fed_tensorflow)
        by_place = list(self.fed)[order.index(tensor)] if len(order) == len(self.fed) else None
        same = [key for key, array in self.fed.items() if same_numbers(array, given)]
        if by_place in same or (not same and len(self.fed) == 1):
            return by_place
        return same[0] if same else None

    def origin(self, op: Op, side: str) -> int | None:
        """Return the fed tensor, or the main operation's output, that an operation reads, maybe through others."""
        ops = self.tensorflow_ops if side == "tensorflow" else self.torch_ops
        main = self.tensorflow if side == "tensorflow" else self.torch
        fed = self.fed_tensorflow if side == "tensorflow" else self.fed
        makers = {tensor: one for one in ops for tensor in one.outputs}
        tensor = op.inputs[0] if op.inputs else None
        while tensor is not None and tensor not in fed:
            maker = makers.get(tensor)
            if maker is None or (maker is main and maker is not op):
                return tensor if maker is not None else None
            tensor = maker.inputs[0] if maker.inputs else None
        return tensor

    def maker(self, tensor: int | None) -> str | None:
        """Return the name of the torch operation that made a tensor; None for a model input."""
        maker = self.torch_trace.producers().get(tensor) if tensor is not None else None
        return maker.name if maker is not None else None

    def neighbour(self, op: Op) -> str | None:
        """Return the TensorFlow operation after which one stands that only torch has; None on a model input."""
        return self.beside(self.origin(op, "torch"))

    def beside(self, fed: int | None) -> str | None:
        """Return the TensorFlow operation that makes what a torch tensor holds that was fed, or the main one made."""
        maker = self.tensorflow_trace.producers().get(self.counterpart(fed))
        return maker.name if maker is not None else None

    def counterpart(self, fed: int | None) -> int:
        """Return TensorFlow's tensor for a torch tensor that was fed, or that the main operation made; -1 for none."""
        if self.torch is not None and fed in self.torch.outputs:
            return self.tensorflow.outputs[0] if self.tensorflow is not None else -1
        return next((tensor for tensor in self.fed_tensorflow if self.partner(tensor) == fed), -1)

    def is_model_input(self, tensor: int | None) -> bool:
        """Return whether a torch tensor is a model input, or one that was only moved, resized or scaled since."""
        makers = self.torch_trace.producers()
        while tensor is not None and tensor not in self.torch_trace.inputs:
            maker = makers.get(tensor)
            prepares = maker is not None and (maker.effect == MOVES or maker.kind in PREPARES)
            if maker is None or not (prepares or self._scales(maker) or self._turns(maker)):
                return False
            tensor = maker.inputs[0] if maker.inputs else None
        return tensor is not None

    def _turns(self, op: Op) -> bool:
        """Return whether an operation of torch's only puts all that it reads into another order, such as colours."""
        if op.kind.removeprefix("op:") not in SELECTS or len(op.inputs) != 1:
            return False
        return self.shapes.get(read_first(op)) == self.shapes.get(op.outputs[0])

    def _scales(self, op: Op) -> bool:
        """Return whether an operation of torch's is arithmetic with numbers that nobody trains."""
        names = {name for reference in op.weights.values() for name in weight_names(reference)}
        fixed = not any(self.torch_trace.weights[name].trainable for name in names if name in self.torch_trace.weights)
        return fixed and len(op.inputs) == 1 and op.kind in SCALINGS


def leading_to(ops: Sequence[Op], tensors: Iterable[int]) -> list[Op]:
    """Return the operations on which tensors depend, in order."""
    wanted, found = set(tensors), list[Op]()
    for op in reversed(ops):
        if wanted & set(op.outputs):
            wanted.update(op.inputs)
            found.append(op)
    return found[::-1]


def axis_maps(tensorflow: tuple[int, ...], torch: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return maps from each TensorFlow axis to torch's: channels moved to the front, or all as they are.

    Where one side took axes together, as TimeDistributed does with the batch and time, those behind them correspond.
    """
    rank = len(tensorflow)
    same = tuple(range(rank))
    if torch and len(torch) != rank:
        return [tuple(max(place + len(torch) - rank, 0) for place in same), same]
    if rank < 3 or not torch:
        return [same]
    moved = (0, *range(2, rank), 1)
    fits = {
        moved: all(torch[there] == tensorflow[here] for here, there in enumerate(moved)),
        same: torch == tensorflow,
    }
    likely = [moved, same] if rank > 3 or not fits[same] else [same, moved]
    return [one for one in likely if fits[one]] or likely


def same_numbers(first: Array, second: Array) -> bool:
    """Return whether two arrays hold the same numbers, in whatever order."""
    if first.size != second.size:
        return False
    return bool(np.array_equal(np.sort(first, axis=None), np.sort(second, axis=None)))


def same(first: object, second: object) -> bool:
    """Return whether two values of configurations are equal; numbers to a relative 1e-9, True is not 1."""
    if isinstance(first, bool) or isinstance(second, bool):
        return bool(first) == bool(second)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return all(same(a, b) for a, b in zip_longest(first, second, fillvalue=object()))
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return abs(first - second) <= 1e-9 * max(abs(first), abs(second))
    return first == second


def exact_numbers(value: float) -> list[float]:
    """Return the numbers that a float32 may stand for: itself, its shortest decimal, 1/n, sqrt(n), 1/sqrt(n), n*pi.

    A trace in float32 rounds the constants of a model's code; the float64 twin computes with what was meant. The
    number may be 1 / n of such a float32 by which the code divides.
    """
    single = np.float32(value)
    shortest = float(str(single))
    if value == 0.0 or value.is_integer():
        return [value]
    if value not in (float(single), shortest):
        turned = np.float32(1.0 / value)
        divisor = next((one for one in (float(str(turned)), float(turned)) if one and 1.0 / one == value), 1.0)
        return list(dict.fromkeys([value, *(1.0 / one for one in exact_numbers(divisor) if divisor != 1.0)]))
    found = [shortest, float(single)]
    for power in (1.0, -1.0, 2.0, -2.0):
        near = abs(value) ** power
        whole = round(near)
        if 0 < whole < 1e7:
            found.append(float(np.copysign(whole ** (1.0 / power), value)))
    halves = round(2.0 * value / np.pi)
    found += [halves * np.pi / 2.0] if 0 < abs(halves) <= HALF_TURNS else []
    exact = [one for one in found if np.float32(one) == single]
    return list(dict.fromkeys([value, *exact]))
