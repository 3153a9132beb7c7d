"""Normalisations that an exporter folded into the layer before them, or wrote as a product and a sum.

In evaluation a batch normalisation is a scale and a shift of each channel. Exporters multiply the kernel before it by
the scale and make the shift its bias, or write both as constants: an ONNX file then has no such layer any more. The
model on the other side is taken in that form, too: its normalisation is left with nothing to do but the shift, and its
kernel with the scale in it. That is the same function, and weights can be carried between the two. Where a
normalisation has no shift or no scale of its own, its mean or its variance is what holds the one that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from parity.model.layout import Array
from parity.model.trace import MOVES, Op, Trace, used_weights
from parity.pairing.families import FOLDED
from parity.pairing.match import Matching
from parity.pairing.whole import Whole

TERMS = "_terms"  # how many products the layer that it was folded into sums: with each, rounding has a share already
_LINEAR = frozenset({"conv", "depthwise_conv", "conv_transpose", "dense"})
_ROUNDINGS = 8  # of a sum, a root, a quotient and products
_ROLES = {
    "scale": ("gamma", "weight"), "shift": ("beta", "bias"), "mean": ("moving_mean", "running_mean"),
    "variance": ("moving_variance", "running_var"),
}  # fmt: skip
_NAMES = {True: ("gamma", "beta"), False: ("weight", "bias")}  # of a scale and a shift, in TensorFlow and in torch


@dataclass(frozen=True)
class Fold:
    """The weights of one normalisation, by name, and of the layer that it is folded into, if it is."""

    scale: str
    shift: str
    mean: str = ""
    variance: str = ""
    eps: float = 0.0
    kernel: str = ""
    axes: tuple[int, ...] = ()  # of the kernel, along which the scale lies
    bias: str = ""  # of the layer, where it is not the shift itself

    @property
    def of_mean(self) -> bool:
        """Whether the mean, which is subtracted, holds the shift."""
        return bool(self.mean) and self.shift == self.mean

    @property
    def of_variance(self) -> bool:
        """Whether the variance, of which the root divides, holds the scale."""
        return bool(self.variance) and self.scale == self.variance

    @property
    def left(self) -> tuple[str, ...]:
        """The kernel or the scale, and the shift if there is one: what the other side's file has as well."""
        return tuple(name for name in (self.kernel or self.scale, self.shift) if name)

    @property
    def shifts(self) -> tuple[str, ...]:
        """The weights that make the shift."""
        return tuple(dict.fromkeys(name for name in (self.shift, self.mean, self.bias) if name))

    @property
    def dropped(self) -> tuple[str, ...]:
        """The weights that do nothing once all is folded."""
        own = (self.mean, self.variance, self.bias, self.scale if self.kernel else "")
        return tuple(name for name in own if name and name not in (self.shift, "" if self.kernel else self.scale))

    def made(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """Return the weights as folded, float32, and those that are left as what does nothing."""
        gain, numbers = self._gain(held), dict[str, Array]()
        if self.kernel:
            numbers[self.kernel] = self._along(gain, held[self.kernel])
        elif self.scale:
            numbers[self.scale] = gain.reshape(held[self.scale].shape)
        if self.shift:
            numbers[self.shift] = np.sum(self._terms(held, gain), axis=0).reshape(held[self.shift].shape)
        return {name: value.astype(np.float32) for name, value in numbers.items()} | self.nothing(held)

    def nothing(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """Return the numbers with which the weights that were folded away do nothing."""
        values = {name: 0.0 for name in (self.mean, self.bias) if name in self.dropped}
        found: dict[str, Array] = {n: np.full(held[n].shape, v, np.float32) for n, v in values.items()}
        if self.variance in self.dropped:  # in float64, which a twin holds: float32 rounds it, and its sum with eps
            found[self.variance] = np.full(held[self.variance].shape, 1.0 - self.eps)
        if self.scale in self.dropped:
            found[self.scale] = np.ones(held[self.scale].shape, np.float32)
        return found

    def as_held(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Return what a mean or a variance must be to shift by and scale with the numbers given for it."""
        found = dict[str, Array]()
        scale: Array = np.ones(1)
        if not self.kernel and self.scale in given:
            scale = given[self.scale].astype(np.float64)
        if self.of_variance and self.scale in given:
            with np.errstate(divide="ignore"):
                found[self.variance] = 1.0 / np.square(scale) - self.eps
        if self.of_mean and self.shift in given:
            with np.errstate(divide="ignore", invalid="ignore"):
                found[self.mean] = -given[self.shift].astype(np.float64) / scale
        return found

    def near(self, held: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
        """Return whether other numbers for the weights as folded are these but for rounding."""
        gain, own = self._gain(held), self.made(held)
        sizes = {name: np.abs(array) for name, array in own.items()}
        if self.shift:
            terms = [np.abs(term) for term in self._terms(held, gain)]
            sizes[self.shift] = np.sum(terms, axis=0).reshape(held[self.shift].shape)
        unit = _ROUNDINGS * float(np.finfo(np.float32).eps)
        return all(
            bool((np.abs(own[name].astype(np.float64) - others[name]) <= unit * sizes[name]).all())
            for name in self.left
            if name in others
        )

    def _gain(self, held: Mapping[str, Array]) -> Array:
        own = self.scale and not self.of_variance
        gain = held[self.scale].astype(np.float64).reshape(-1) if own else np.ones(1)
        if not self.variance:
            return gain
        return gain / np.sqrt(held[self.variance].astype(np.float64).reshape(-1) + self.eps)

    def _terms(self, held: Mapping[str, Array], gain: Array) -> list[Array]:
        """Return what adds to the shift."""
        given = {name: held[name].astype(np.float64).reshape(-1) for name in self.shifts}
        if self.shift == self.bias:
            return [given[self.bias] * gain]
        terms = [] if self.of_mean else [given[self.shift]]
        if self.mean:
            terms.append(-given[self.mean] * gain)
        return [*terms, given[self.bias] * gain] if self.bias else terms

    def _along(self, gain: Array, kernel: Array) -> Array:
        shape = [1] * kernel.ndim
        for axis in self.axes:
            shape[axis] = kernel.shape[axis]
        return kernel.astype(np.float64) * (gain if gain.size == 1 else gain.reshape(shape))


@dataclass(frozen=True)
class Side:
    """One side as it is seen once all is folded."""

    whole: Whole
    folds: tuple[Fold, ...] = ()


@dataclass(frozen=True)
class _Unit:
    """A normalisation in evaluation, as a layer or as a product with one vector and the sum with another."""

    op: Op
    added: Op | None = None
    linear: Op | None = None  # the layer whose result is read by nothing else

    @property
    def last(self) -> Op:
        return self.added or self.op


def folded(sides: Sequence[Whole], matching: Matching, files: Sequence[bool]) -> tuple[Side, Side]:
    """Return both sides with the normalisations of one folded as the other's ONNX file has them.

    `files` says of each side whether it is such a file. Where a file has a normalisation left that has no partner,
    nothing is folded: the other side's are where the file's are not, which is a difference.
    """
    units = [_units(side.trace, is_file) for side, is_file in zip(sides, files, strict=True)]
    pairs = _in_place(units, {pair.tensorflow: pair.torch for pair in matching.pairs})
    ways = pairs, {torch: tensorflow for tensorflow, torch in pairs.items()}
    left = [[unit for unit in some if unit.op.index not in way] for some, way in zip(units, ways, strict=True)]
    found = [Side(side) for side in sides]
    for own in (0, 1):
        if files[1 - own]:
            written = _as_written(left[own], left[1 - own], ways[own])
            mine, theirs = ([pair[side] for pair in written] for side in (0, 1))
            found[1 - own] = replace(found[1 - own], whole=_together(found[1 - own].whole, theirs, own == 0))
            found[own] = _as_products(found[own], mine, tensorflow=own == 0)
            left[own], left[1 - own] = (
                [unit for unit in some if not any(unit is one for one in taken)]
                for some, taken in ((left[own], mine), (left[1 - own], theirs))
            )
    for own in (0, 1):
        if files[1 - own] and not any(unit.op.kind == "batch_norm" for unit in left[1 - own]):
            into = [unit for unit in left[own] if _goes_into(unit, sides[own].trace, ways[own])]
            found[own] = _into_layers(found[own], into, tensorflow=own == 0)
    return found[0], found[1]


def _in_place(units: Sequence[Sequence[_Unit]], pairs: Mapping[int, int]) -> dict[int, int]:
    """Return pairs without those of a normalisation behind a layer with one that is not behind the layer's partner.

    Where a file has only some of the norms, those of one size are easily mistaken for each other. The ones that stand
    behind no layer are taken in order then, if there are as many.
    """
    mine, theirs = ({unit.op.index: unit for unit in some if unit.op.kind == "batch_norm"} for some in units)
    kept = dict(pairs)
    for one, other in pairs.items():
        if one not in mine or other not in theirs:
            continue
        before, behind = mine[one].linear, theirs[other].linear
        wanted = pairs.get(before.index) if before is not None else None
        if wanted != (behind.index if behind is not None else None):
            del kept[one]
    if len(kept) == len(pairs):
        return kept
    taken = set(kept.values())
    free = (
        [unit.op.index for unit in mine.values() if unit.linear is None and unit.op.index not in kept],
        [unit.op.index for unit in theirs.values() if unit.linear is None and unit.op.index not in taken],
    )
    return kept | dict(zip(*free, strict=True)) if len(free[0]) == len(free[1]) else kept


def _as_written(own: Sequence[_Unit], theirs: Sequence[_Unit], partner: Mapping[int, int]) -> list[tuple[_Unit, _Unit]]:
    """Return layers and the products that a file has in their place.

    A product stands behind the partner of what the layer stands behind; where both stand behind no such layer, they
    are taken in order, if there are as many.
    """
    layers = [unit for unit in own if unit.op.kind == "batch_norm"]
    products = [unit for unit in theirs if unit.op.kind == "multiply"]
    behind = {unit.linear.index: unit for unit in products if unit.linear is not None}
    found = []
    for unit in layers:
        other = behind.get(partner.get(unit.linear.index, -1)) if unit.linear is not None else None
        if other is not None:
            found.append((unit, other))
    taken = {id(unit) for pair in found for unit in pair}
    open_ = [[u for u in some if id(u) not in taken and u.linear is None] for some in (layers, products)]
    if len(open_[0]) == len(open_[1]):
        found += zip(*open_, strict=True)
    return found


def _role(weights: Mapping[str, str], what: str) -> str:
    return next((weights[role] for role in _ROLES[what] if role in weights), "")


def _units(trace: Trace, is_file: bool) -> list[_Unit]:
    makers, readers = trace.producers(), trace.consumers()
    counts: dict[str, int] = {}
    for _, _, name in used_weights(trace.ops):
        counts[name] = counts.get(name, 0) + 1

    def own(op: Op) -> bool:
        return all(counts.get(reference) == 1 for reference in op.weights.values())  # neither shared nor a part

    found = []
    for op in trace.ops:
        if not op.weights or not own(op) or len(op.inputs) != 1:
            continue
        added = None
        if op.kind == "multiply" and is_file and _vector(op, trace):
            following = readers.get(op.outputs[0], [])
            lone = len(following) == 1 and op.outputs[0] not in trace.outputs
            if lone and following[0].kind == "add" and own(following[0]) and _vector(following[0], trace):
                added = following[0]
        elif op.kind != "batch_norm" or op.config.get("training") or not _role(op.weights, "mean"):
            continue
        linear = _before(op, trace, makers, readers)
        found.append(_Unit(op, added, linear if linear is not None and own(linear) else None))
    return found


def _goes_into(unit: _Unit, trace: Trace, partner: Mapping[int, int]) -> bool:
    """Return whether the layer before a normalisation has a partner, and makes as many channels as that scales.

    What is left is a shift: there must be a weight for it.
    """
    if unit.linear is None or unit.linear.index not in partner:
        return False
    if unit.op.kind != "batch_norm" and unit.added is None and "bias" not in unit.linear.weights:
        return False
    if unit.linear.kind == "conv_transpose" and unit.linear.config.get("groups", 1) != 1:
        return False
    shape = trace.weights[_kernel(unit.linear)].shape
    sizes = [prod(trace.weights[name].shape) for name in unit.last.weights.values()]
    tensorflow = "kernel" in unit.linear.weights
    return set(sizes) == {prod(shape[axis] for axis in _axes(unit.linear, tensorflow))}


def _vector(op: Op, trace: Trace) -> bool:
    """Return whether an operation's one weight is a number for each channel."""
    weight = trace.weights.get(op.weights.get("other", ""))
    return weight is not None and len(op.inputs) == 1 and len([size for size in weight.shape if size > 1]) == 1


def _before(op: Op, trace: Trace, makers: Mapping[int, Op], readers: Mapping[int, Sequence[Op]]) -> Op | None:
    """Return the layer that made what an operation reads, if nothing else reads it."""
    tensor = op.inputs[0]
    while tensor not in trace.outputs and len(readers.get(tensor, [])) == 1:
        maker = makers.get(tensor)
        if maker is None or (maker.kind not in _LINEAR and (maker.effect != MOVES or len(maker.inputs) != 1)):
            return None
        if maker.kind in _LINEAR:
            return maker if _kernel(maker) and maker.config.get("activation") in (None, "linear") else None
        tensor = maker.inputs[0]
    return None


def _kernel(op: Op) -> str:
    return op.weights.get("kernel") or op.weights.get("weight") or ""


def _axes(op: Op, tensorflow: bool) -> tuple[int, ...]:
    """Return along which axes of a kernel its results lie."""
    if op.kind == "conv_transpose":
        return (-2,) if tensorflow else (1,)
    if not tensorflow:
        return (0,)
    return (-2, -1) if op.kind == "depthwise_conv" else (-1,)


def _terms(linear: Op, trace: Trace, axes: Sequence[int]) -> int:
    shape = trace.weights[_kernel(linear)].shape
    return prod(shape) // prod(shape[axis] for axis in axes)


def _together(whole: Whole, units: Sequence[_Unit], channels_first: bool) -> Whole:
    """Return a file's products and sums as the layers that they were."""
    names = _NAMES[not channels_first]
    groups = []
    for unit in units:
        steps = (unit.op,) if unit.added is None else (unit.op, unit.added)
        weights = {name: op.weights["other"] for name, op in zip(names, steps, strict=False)}
        last = unit.last
        one = Op(last.index, unit.op.name, "batch_norm", unit.op.inputs, last.outputs, {FOLDED: True}, weights)
        groups.append((one, steps))
    return whole.together(groups)


def _as_products(side: Side, units: Sequence[_Unit], tensorflow: bool) -> Side:
    """Return a side whose layers scale and shift, and do nothing else, as the file's products and sums do."""
    folds, other = list[Fold](), dict[int, Op]()
    for unit in units:
        fold = _fold(unit, None, tensorflow)
        kept = dict(zip(_NAMES[tensorflow], (fold.scale, fold.shift), strict=True))
        other[unit.op.index] = replace(unit.op, weights=kept, config={**unit.op.config, FOLDED: True, TERMS: 0})
        folds.append(fold)
    return _seen(side, folds, other)


def _into_layers(side: Side, units: Sequence[_Unit], tensorflow: bool) -> Side:
    """Return a side whose layers before normalisations have these in their kernels, and the shift behind them."""
    folds, other, groups = list[Fold](), dict[int, Op](), list[tuple[Op, tuple[Op, ...]]]()
    for unit in units:
        linear = unit.linear
        assert linear is not None
        fold = _fold(unit, linear, tensorflow)
        own = fold.bias == fold.shift  # a product alone: what it makes of the bias stays the layer's
        weights = {role: name for role, name in linear.weights.items() if role != "bias" or own}
        other[linear.index] = replace(linear, weights=weights, config={**linear.config, FOLDED: True})
        terms = {TERMS: _terms(linear, side.whole.trace, fold.axes)} if unit.op.kind == "batch_norm" else {}
        kind, shift = ("identity", {}) if own else ("add", {"other": fold.shift})
        last = replace(unit.last, inputs=unit.op.inputs, weights=shift, kind=kind, config={FOLDED: True, **terms})
        other[last.index] = last
        if unit.added is not None:
            groups.append((last, (unit.op, unit.added)))
        folds.append(fold)
    found = _seen(side, folds, other)
    return replace(found, whole=found.whole.together(groups))


def _seen(side: Side, folds: Sequence[Fold], other: Mapping[int, Op]) -> Side:
    """Return a side with other operations, and without the weights that do nothing any more."""
    trace, gone = side.whole.trace, {name for fold in folds for name in fold.dropped}
    seen = {name for fold in folds for name in fold.left}
    weights = {
        name: replace(weight, trainable=weight.trainable or name in seen)
        for name, weight in trace.weights.items()
        if name not in gone
    }
    ops = tuple(other.get(op.index, op) for op in trace.ops)
    return Side(replace(side.whole, trace=replace(trace, ops=ops, weights=weights)), (*side.folds, *folds))


def _fold(unit: _Unit, linear: Op | None, tensorflow: bool) -> Fold:
    bias = linear.weights.get("bias", "") if linear is not None else ""
    kernel = _kernel(linear) if linear is not None else ""
    axes = _axes(linear, tensorflow) if linear is not None else ()
    if unit.op.kind != "batch_norm":
        shift = unit.added.weights["other"] if unit.added is not None else bias
        return Fold(unit.op.weights["other"], shift, kernel=kernel, axes=axes, bias=bias)
    scale, shift, mean, variance = (_role(unit.op.weights, one) for one in _ROLES)
    scale, shift = scale or ("" if kernel else variance), shift or mean
    return Fold(scale, shift, mean, variance, float(unit.op.config["eps"]), kernel, axes, bias)
