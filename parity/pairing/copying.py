"""Which weight of one model is which of the other, and how to carry all of them across, either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.errors import PairingError
from parity.model.layout import Array
from parity.model.trace import Op, Trace, used_weights, weight_names
from parity.pairing import references
from parity.pairing.carry import Carry
from parity.pairing.fitting import as_layer, fitting, role_pairs, takes_rows, with_units
from parity.pairing.match import GRAPH, ONLY_ONE, Matching, OpPair
from parity.pairing.norms import SHAPING
from parity.pairing.references import Shape, read
from parity.pairing.stacked import Stacked

__all__ = ["WeightLink", "WeightPlan", "plan", "read"]

# Kinds whose kernels' rows belong to the elements of a vector, and the roles that may stand in another order.
_READS_VECTORS = frozenset({"dense", "einsum", "lstm", "gru", "rnn"})
_ORDERED_ROLES = frozenset(
    {"kernel", "forward_kernel", "backward_kernel", "gamma", "beta", "moving_mean", "moving_variance"}
    | {"alpha", "scale", "other"}
)
_FREE_ROLES = frozenset({"other", "kernel", "embeddings", "weight", "scale", "alpha"})

Rows = Callable[[OpPair], Array | None]
Units = Callable[[Stacked], Sequence[Array] | None]


@dataclass(frozen=True)
class WeightLink:
    """One weight under both names: references of either side, and the way there and back."""

    tensorflow: str
    torch: str
    to_torch: Carry
    to_tensorflow: Carry
    role: str
    pair: OpPair


@dataclass(frozen=True)
class WeightPlan:
    """What becomes of every weight: how it moves, or that it has no partner."""

    links: tuple[WeightLink, ...]
    unmatched_tensorflow: tuple[str, ...]
    unmatched_torch: tuple[str, ...]
    used_twice: tuple[str, ...]  # sentences about weights that are one on one side and several on the other
    notes: tuple[str, ...]
    tensorflow_shapes: Mapping[str, Shape] = field(default_factory=dict, repr=False)
    torch_shapes: Mapping[str, Shape] = field(default_factory=dict, repr=False)

    def to_torch(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return torch's arrays from TensorFlow's; a weight that is not given moves nothing."""
        moves = ((link.tensorflow, link.torch, link.to_torch) for link in self.links)
        return _carried(moves, weights, self.torch_shapes)

    def to_tensorflow(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return TensorFlow's arrays from torch's; a weight that is not given moves nothing."""
        moves = ((link.torch, link.tensorflow, link.to_tensorflow) for link in self.links)
        return _carried(moves, weights, self.tensorflow_shapes)


def plan(
    tensorflow: Trace,
    torch: Trace,
    matching: Matching,
    rows: Rows = lambda _: None,
    columns: Rows = lambda _: None,
    units: Units = lambda _: None,
) -> WeightPlan:
    """Return how the weights of paired operations are carried.

    `rows` says in which order torch's layer reads the elements that TensorFlow's reads in sequence (`torch_row[j] =
    tf_row[rows[j]]`), for a layer behind a Flatten; None where both read alike. `columns` says the same of what a dense
    layer makes, for one before a Reshape. `units` says which of a stacked layer's units belong to each of the layers
    that the other side keeps apart; None where they follow one another.
    """
    maker = _Planner(tensorflow, torch, columns)
    for pair in matching.pairs:
        maker.add(pair, rows)
    for one in matching.stacked:
        maker.add_stacked(one, units)
    maker.add_free()
    return maker.finish()


class _Planner:
    """Collects links pair by pair, and accounts for every weight."""

    def __init__(self, tensorflow: Trace, torch: Trace, columns: Rows = lambda _: None) -> None:
        self.columns = columns
        self.ops = ({op.index: op for op in tensorflow.ops}, {op.index: op for op in torch.ops})
        self.shapes = tuple(
            {name: weight.shape for name, weight in side.weights.items()} for side in (tensorflow, torch)
        )
        self.followers = _bias_followers(tensorflow), _bias_followers(torch)
        self._constants = _constants(tensorflow), _constants(torch)
        self.links: list[WeightLink] = []
        self.partner: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.twice: list[str] = []
        self.notes: list[str] = []

    def add(self, pair: OpPair, rows: Rows) -> None:
        mine, other = self._with_follower(0, pair.tensorflow), as_layer(self._with_follower(1, pair.torch))
        if bool(mine.weights) != bool(other.weights) or not mine.weights:
            return
        self._link(pair, mine, other, rows)

    def _link(self, pair: OpPair, mine: Op, other: Op, rows: Rows | None) -> None:
        for role, torch_role, link in role_pairs(mine, other):
            refs = mine.weights[role], other.weights[torch_role]
            shapes = references.shape_of(refs[0], self.shapes[0]), references.shape_of(refs[1], self.shapes[1])
            if shapes[0] is None or shapes[1] is None:
                self.notes.append(f"`{refs[0]}` and `{refs[1]}`: a weight that the model does not list")
                continue
            order = self._order(pair, rows, mine, role, shapes) if rows else None
            ways = fitting(mine, other, link, shapes[0], shapes[1], order)
            units = self.columns(pair) if mine.kind == "dense" else None
            if ways is not None and units is not None and shapes[0][-1:] == (units.size,):
                ways = with_units(ways, units)
            if ways is None:
                self.notes.append(
                    f"`{refs[0]}` {shapes[0]} of tensorflow's `{mine.name}` does not fit `{refs[1]}` {shapes[1]}"
                    f" of torch's `{other.name}`: not copied"
                )
                continue
            self._accept(WeightLink(refs[0], refs[1], *ways, role, pair))

    def add_stacked(self, one: Stacked, units: Units) -> None:
        """Link layers that one side has apart with the rows, or columns, that the other has for each."""
        side = one.whole_side
        whole, parts = self.ops[side][one.whole], [self.ops[1 - side][index] for index in one.apart]
        told = units(one)
        for number, part in enumerate(parts):
            weights = {}
            for role, reference in whole.weights.items():
                shape = self.shapes[side].get(reference)
                count = shape[-1 if side == 0 else 0] if shape else 0
                if count % len(parts) == 0:
                    usual = np.arange(count).reshape(len(parts), -1)[number]
                    weights[role] = references.places(reference, told[number] if told else usual, side == 0)
            some = replace(whole, weights=weights)
            mine, other = (some, part) if side == 0 else (part, some)
            self._link(OpPair(mine.index, other.index, GRAPH), mine, other, None)

    def add_free(self) -> None:
        """Link what no pair of operations holds and only one weight of the other side fits: a class token, a position.

        One side may read it as a layer of its own where the other adds it in passing, so that no operations pair.
        """
        left = [self._free(side) for side in (0, 1)]
        for shape, mine in left[0].items():
            first = (shape[-1:] + shape[:-1]) if len(shape) > 2 else shape  # an image's weights, channels first
            moved = shape not in left[1] and first in left[1]
            other = left[1].get(first if moved else shape, [])
            if len(mine) != 1 or len(other) != 1:
                continue
            (op, role, reference), (torch_op, torch_role, torch_reference) = mine[0], other[0]
            if "other" not in (role, torch_role):
                continue
            shapes = self.shapes[0][reference], self.shapes[1][torch_reference]
            ways = _CHANNELS_FIRST if moved and len(shapes[0]) == len(shape) else fitting(op, torch_op, None, *shapes)
            if ways is not None:
                pair = OpPair(op.index, torch_op.index, ONLY_ONE)
                self._accept(WeightLink(reference, torch_reference, *ways, role, pair))
                self.notes.append(f"`{reference}` and torch's `{torch_reference}` belong together by their shape alone")

    def _free(self, side: int) -> dict[Shape, list[tuple[Op, str, str]]]:
        """Return the weights without a link that are no bias or statistic, by their shapes without axes of one."""
        covered = self._covered(side)
        found: dict[Shape, list[tuple[Op, str, str]]] = {}
        seen: set[str] = set()
        for op in self.ops[side].values():
            for role, reference in op.weights.items():
                if role in _FREE_ROLES and reference in self.shapes[side] and reference not in covered | seen:
                    seen.add(reference)
                    shape = tuple(size for size in self.shapes[side][reference] if size > 1)
                    found.setdefault(shape, []).append((op, role, reference))
        return found

    def finish(self) -> WeightPlan:
        return WeightPlan(
            links=tuple(self.links),
            unmatched_tensorflow=self._unmatched(0),
            unmatched_torch=self._unmatched(1),
            used_twice=tuple(dict.fromkeys(self.twice)),
            notes=tuple(dict.fromkeys(self.notes)),
            tensorflow_shapes=self.shapes[0],
            torch_shapes=self.shapes[1],
        )

    def _accept(self, link: WeightLink) -> None:
        known = self.partner[0].get(link.tensorflow), self.partner[1].get(link.torch)
        if known == (link.torch, link.tensorflow):
            return  # a shared layer, shared on both sides: one link
        if known[0] is not None and known[0] != link.torch:
            self.twice.append(f"tensorflow's `{link.tensorflow}` is both `{known[0]}` and `{link.torch}` in torch")
        if known[1] is not None and known[1] != link.tensorflow:
            self.twice.append(f"torch's `{link.torch}` is both `{known[1]}` and `{link.tensorflow}` in tensorflow")
        self.partner[0].setdefault(link.tensorflow, link.torch)
        self.partner[1].setdefault(link.torch, link.tensorflow)
        self.links.append(link)

    def _order(
        self, pair: OpPair, rows: Rows, mine: Op, role: str, shapes: tuple[Shape | None, Shape | None]
    ) -> Array | None:
        shape, theirs = shapes[0] or (), shapes[1] or ()
        if role not in _ORDERED_ROLES:
            return None
        if mine.kind not in _READS_VECTORS and len(shape) != 1:
            return None
        try:
            order = rows(pair)
        except PairingError as error:
            patches = _rows_of_patches(mine, shape, theirs)
            if patches is not None:
                self.notes.append(f"`{mine.name}` reads patches, taken to be by row, column and channel")
                return patches
            self.notes.append(f"`{mine.name}`: {error}; copied as if both sides read the same order")
            return None
        if order is None:
            return None
        if takes_rows(shape, np.asarray(order)):
            return np.asarray(order)
        if mine.kind == "dense":
            self.notes.append(
                f"`{mine.name}` reads {shape[0]} numbers, and their order has {len(order)}: order ignored"
            )
        return None

    def _with_follower(self, side: int, index: int) -> Op:
        """Return the operation with the bias that an addition right behind it adds, if it has none itself."""
        op = self.ops[side][index]
        bias = self.followers[side].get(index)
        if bias is None or "bias" in op.weights or not ({"kernel", "weight"} & set(op.weights)):
            return op
        return Op(
            op.index, op.name, op.kind, op.inputs, op.outputs, op.config, {**op.weights, "bias": bias}, op.made_by
        )

    def _unmatched(self, side: int) -> tuple[str, ...]:
        covered = self._covered(side) | self._constants[side]
        return tuple(sorted(name for name in self.shapes[side] if name not in covered))

    def _covered(self, side: int) -> set[str]:
        """Return the weights that links move whole; one of which only some rows move has no partner."""
        rows: dict[str, set[int]] = {}
        counts: dict[str, int] = {}
        for link in self.links:
            for part in references.parts(link.torch if side else link.tensorflow):
                name, some = references.rows_of_part(part)
                shape = self.shapes[side][name]
                rows.setdefault(name, set()).update(some.all_of(shape))
                counts[name] = some.count(shape)
        return {name for name, found in rows.items() if len(found) == counts[name]}


def _rows_of_patches(mine: Op, shape: Shape, theirs: Shape) -> Array | None:
    """Return the order of a Dense kernel's rows where torch's convolution takes a patch apart by itself.

    TensorFlow keeps the channels of a patch last, whether `extract_patches` cuts it out or a reshape does; torch's
    kernel has them first.
    """
    if mine.kind != "dense" or len(shape) != 2 or len(theirs) < 3 or shape[0] != int(np.prod(theirs[1:])):
        return None
    channels, *size = theirs[1:]
    return np.moveaxis(np.arange(shape[0]).reshape(*size, channels), -1, 0).reshape(-1)


def _to_first(array: Array) -> Array:
    return np.moveaxis(array, -1, 0)


def _to_last(array: Array) -> Array:
    return np.moveaxis(array, 0, -1)


_CHANNELS_FIRST: tuple[Carry, Carry] = (_to_first, _to_last)


def _constants(trace: Trace) -> set[str]:
    """Return the weights that nobody trains and that are but operands: means to subtract, a mask, positions.

    They are part of what a model computes, as a number in its code is; the other side may well have written it as one.
    """
    trained = {name for name, weight in trace.weights.items() if weight.trainable}
    roles: dict[str, set[str]] = {}
    for op, role, name in used_weights(trace.ops):
        roles.setdefault(name, set()).add(role.partition("_")[0] if op.kind != "op:weight" else "other")
    return {name for name, found in roles.items() if found == {"other"} and name not in trained}


def _added(op: Op, producers: Mapping[int, Op]) -> str | None:
    """Return the weight that an operation adds to its one tensor, as it is or in another shape."""
    if op.kind != "add":
        return None
    if len(op.inputs) == 1:
        return op.weights.get("other")
    shaped = [producers.get(tensor) for tensor in op.inputs]
    held = [one for one in shaped if one is not None and one.kind == "op:weight" and not one.inputs]
    if len(held) != 1 or len(op.inputs) != 2 or held[0].config.get("function") not in SHAPING:
        return None
    return next(iter(held[0].weights.values()), None)


_TRIMMING = frozenset({"slice", "zero_pad", "cropping", "identity"})


def _bias_followers(trace: Trace) -> dict[int, str]:
    """Return the weight that an addition behind an operation adds to its result, if nothing else reads that.

    The result may be cropped or padded before.
    """
    consumers, producers = trace.consumers(), trace.producers()
    found: dict[int, str] = {}
    for op in trace.ops:
        tensor = op.outputs[0] if op.outputs else None
        while tensor is not None and tensor not in trace.outputs and len(consumers.get(tensor, [])) == 1:
            reader = consumers[tensor][0]
            reference = _added(reader, producers)
            if reference is not None:
                found[op.index] = reference
            tensor = reader.outputs[0] if reader.kind in _TRIMMING and op.kind == "conv_transpose" else None
    return found


def _carried(
    moves: Iterable[tuple[str, str, Carry]], weights: Mapping[str, Array], shapes: Mapping[str, Shape]
) -> dict[str, Array]:
    moved: dict[str, Array] = {}
    written: set[str] = set()
    for source, target, carry in moves:
        if target in written or not all(name in weights for name in weight_names(source)):
            continue
        value = carry(references.read(source, weights))
        if value.shape != references.shape_of(target, shapes):
            expected = references.shape_of(target, shapes)
            raise PairingError(f"`{source}` became {value.shape}, and `{target}` is {expected}; is it that model's?")
        references.write(target, value, moved, shapes)
        written.add(target)
    return moved
