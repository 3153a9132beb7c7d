"""In which order of axes each tensor of torch holds what TensorFlow's partner holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from parity.errors import PairingError, ParityError
from parity.model.trace import ELEMENTWISE, MOVES, PADDED_PATCHES, Op
from parity.pairing.families import COMMUTES
from parity.pairing.match import OpPair
from parity.pairing.relations import (
    SAME,
    Relation,
    candidates,
    channels_of,
    of_rows,
    repeated_axes,
    rows_of,
    through,
    with_shapes,
)
from parity.porting.options import CHANNELS_FIRST, IMAGE_AXES, Array, CheckOptions
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal

# Kinds whose results have channels at the end in TensorFlow and after the batch in torch.
SPATIAL = frozenset(
    {"conv", "depthwise_conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"}
)
# Kinds whose result holds, at each place, what became of the number that stood there.
KEEPING = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "rms_norm", "l2_normalize", "softmax", "prelu", "dropout"}
    | {"standardize"}
    | {"add", "subtract", "multiply", "divide", "maximum", "minimum", "average"}
)


# Kinds that only repeat numbers; one side may do it along an axis of its own, which is flattened afterwards.
REPEATING = frozenset(
    {"op:Tile", "op:tile", "op:repeat", "op:repeat_interleave", "op:RepeatVector", "op:BroadcastTo", "op:expand"}
)
PRODUCTS = frozenset({"matmul", "einsum", "sdpa"})
POOLING = frozenset({"reduce", "global_avg_pool", "global_max_pool"})
JOINING = frozenset({"concat", "stack"})
DIVIDING = frozenset({"split", "slice"})
# Kinds that move numbers between channels and places; the other side may write the same as reshapes.
BLOCKS = frozenset({"depth_to_space", "space_to_depth"})
VECTOR_AXES = 2


@dataclass(frozen=True, eq=False)
class Reshaped:
    """A pair of layers whose units stand in another order in torch, whose unit j is TensorFlow's `order[j]`.

    With the vectors that hold them, on the way to the image that they become or to what they are joined with.
    """

    pair: OpPair
    order: Array
    tensorflow: frozenset[int]
    torch: frozenset[int]


Way = tuple[int, list[Op]]  # where a tensor comes from, and what moved it since, in order


class Orders:
    """Answers how two partner tensors are ordered; what only moves numbers is followed with numbered probes."""

    def __init__(self, models: Models, options: CheckOptions) -> None:
        self.models = models
        self._known: dict[tuple[int, int], Relation | None] = {}
        self._partners: dict[int, int] = {}
        self._reshaped: list[Reshaped] = []
        self._sure: set[tuple[int, int]] = set()
        self._learned: set[tuple[int, int]] = set()
        self._producers = (models[TENSORFLOW].producers(), models[TORCH].producers())
        for mine, theirs in zip(models[TENSORFLOW].inputs, models[TORCH].inputs, strict=False):
            self._known[(mine, theirs)] = self._of_input(mine, theirs, options)
            self._sure.add((mine, theirs))

    def _of_input(self, mine: int, theirs: int, options: CheckOptions) -> Relation | None:
        shape, other = self.models[TENSORFLOW].shapes[mine], self.models[TORCH].shapes[theirs]
        image = len(shape) == IMAGE_AXES + 1 and options.torch_layout == CHANNELS_FIRST
        wanted = "channels" if image else "same"
        relation = Relation(wanted)
        return relation if relation.fits(shape, other) else None

    def of(self, mine: int, theirs: int) -> Relation | None:
        """Return how TensorFlow's tensor `mine` and torch's `theirs` are ordered; None if their shapes cannot fit."""
        key = (mine, theirs)
        if key not in self._known:
            relation, sure = self._derive(mine, theirs)
            self._known[key] = relation
            if sure:
                self._sure.add(key)
        return self._known[key]

    def sure(self, mine: int, theirs: int) -> bool:
        """Return whether the order follows from the graphs, and needs no look at the values."""
        self.of(mine, theirs)
        return (mine, theirs) in self._sure

    def learn(self, mine: int, theirs: int, relation: Relation) -> None:
        """Keep what the values showed; what was derived of another guess is asked for again."""
        before = self._known.get((mine, theirs))
        self._known[(mine, theirs)] = relation
        self._learned.add((mine, theirs))
        if before is None or not _one_order(before, relation):
            kept = self._sure | self._learned
            self._known = {key: known for key, known in self._known.items() if key in kept}

    def settle(self, mine: int, theirs: int, relation: Relation, seen: tuple[int, int]) -> None:
        """Keep how two tensors would be ordered without a fault that was found where two others were `seen` to differ.

        What was derived is asked for again, even if it was sure: that was of the fault.
        """
        self._learned.discard(seen)
        self._sure &= set(zip(self.models[TENSORFLOW].inputs, self.models[TORCH].inputs, strict=False))
        self.learn(mine, theirs, relation)
        self._known = {key: known for key, known in self._known.items() if key in self._sure | self._learned}

    def keep(self, reshaped: Sequence[Reshaped]) -> None:
        """Keep which vectors stand in another order since they become images, or are joined with flattened ones."""
        if list(reshaped) == self._reshaped:
            return
        self._reshaped = list(reshaped)
        inputs = set(zip(self.models[TENSORFLOW].inputs, self.models[TORCH].inputs, strict=False))
        self._known = {key: relation for key, relation in self._known.items() if key in inputs}
        self._learned.clear()
        self._sure &= inputs  # what was told of a vector behind them may be another order now

    def columns(self, pair: OpPair) -> Array | None:
        """Return the order of a dense layer's units in torch, as TensorFlow's unit for each of torch's."""
        return next((one.order for one in self._reshaped if one.pair == pair), None)

    def pair(self, partners: Mapping[int, int]) -> None:
        """Keep which tensor of torch (key) is which of TensorFlow's."""
        self._partners = dict(partners)

    def partners(self, mine: int, theirs: int) -> bool:
        """Return whether two tensors were paired."""
        return self._partners.get(theirs) == mine

    def rows(self, pair: OpPair) -> Array | None:
        """Return how the inputs of a dense layer are ordered in torch, as TensorFlow's row for each of torch's."""
        mine = next(op for op in self.models[TENSORFLOW].ops if op.index == pair.tensorflow)
        theirs = next(op for op in self.models[TORCH].ops if op.index == pair.torch)
        if not mine.inputs or not theirs.inputs:
            return None
        if mine.kind == "conv" and theirs.kind != "conv":
            return self._rows_of_patches(mine, theirs)
        if mine.kind in ("conv", "attention") and not self._flattened(mine.inputs[0], theirs.inputs[0]):
            return None  # channels that one side alone shuffles are a fault, and no other order of the same numbers
        relation = self.of(*self._unshuffled(mine.inputs[0], theirs.inputs[0]))
        try:
            return rows_of(relation) if relation is not None else None
        except PairingError:
            flattened = self._flattened(mine.inputs[0], theirs.inputs[0])
            channels = channels_of(relation) if relation is not None and flattened else None
            if channels is None:
                raise
            return channels

    def _flattened(self, mine: int, theirs: int) -> bool:
        """Return whether both tensors hold as one axis what had several where its numbers were made."""
        ends = ((TENSORFLOW, 0, mine), (TORCH, 1, theirs))
        shapes = [(self.models[name].shapes, self._way(tensor, side)[0], tensor) for name, side, tensor in ends]
        return all(len(some.get(start, ())) > len(some.get(end, ())) for some, start, end in shapes)

    def _unshuffled(self, mine: int, theirs: int) -> tuple[int, int]:
        """Return two tensors, or where their numbers were made if one side alone moves them and no axes become one."""
        way_a, way_b = self._way(mine, 0), self._way(theirs, 1)
        if _moves(way_a) == _moves(way_b):
            return mine, theirs
        ends = ((TENSORFLOW, way_a[0], mine), (TORCH, way_b[0], theirs))
        shapes = [(self.models[name].shapes.get(start, ()), self.models[name].shapes[end]) for name, start, end in ends]
        kept = all(len(start) <= len(end) and start[-1:] == end[-1:] for start, end in shapes)
        made = self.of(way_a[0], way_b[0]) if kept else None
        return (way_a[0], way_b[0]) if made is not None and made.by_sample else (mine, theirs)

    def _rows_of_patches(self, mine: Op, theirs: Op) -> Array | None:
        """Return in which order torch's dense layer reads the patches that TensorFlow's convolution takes apart itself.

        The numbers are those of the kernel, row by row, its channels last. None where torch's layer reads no patches.
        """
        start, ops = self._way(theirs.inputs[0], 1)
        relation = self.of(mine.inputs[0], start)
        sample = self.models[TENSORFLOW].shapes[mine.inputs[0]][1:]
        if relation is None or not relation.by_sample or not ops:
            return None
        try:
            moved = self.moved(start, ops, TWIN_TORCH)
        except ParityError as error:
            if is_fatal(error):
                raise
            return None
        kernel = (*mine.config.get("kernel", ()), sample[-1])
        first = relation.elements(sample)[moved.reshape(-1, moved.shape[-1])[0]]
        places = np.unravel_index(first, sample)
        if len(kernel) != len(sample) or any((at >= size).any() for at, size in zip(places, kernel, strict=True)):
            return None
        order = np.asarray(np.ravel_multi_index(places, kernel))
        return order if np.array_equal(np.sort(order), np.arange(np.prod(kernel))) else None

    def _derive(self, mine: int, theirs: int) -> tuple[Relation | None, bool]:
        for one in self._reshaped:
            if mine in one.tensorflow and theirs in one.torch:
                sample = self.models[TENSORFLOW].shapes[mine][1:], self.models[TORCH].shapes[theirs][1:]
                return of_rows(one.order, *sample), True
        shown = self._shown(mine, theirs)
        if shown is not None:
            return shown, False
        way_a, way_b = self._spread(mine, theirs) or (self._way(mine, 0), self._way(theirs, 1))
        if (mine, theirs) in self._known:  # an image whose numbers were followed
            return self._known[(mine, theirs)], (mine, theirs) in self._sure
        if way_a[0] == mine and way_b[0] == theirs:
            ways = self._joined, self._divided, self._kept, self._beside, self._repeated, self._reduced
            return next((found for way in ways if (found := way(mine, theirs)) is not None), None) or self._guess(
                mine, theirs
            )
        start, sure = self._from(way_a[0], way_b[0])
        if start is None or (not sure and self._is_image(mine, theirs)):
            return self._guess(mine, theirs)
        if not start.by_sample:
            folded = self._across_samples(way_a, way_b, start)
            return (folded, sure) if folded is not None else self._guess(mine, theirs)
        try:
            map_a, map_b = self._map(way_a, mine, TWIN_TENSORFLOW), self._map(way_b, theirs, TWIN_TORCH)
        except ParityError as error:
            if is_fatal(error):
                raise
            folded = self._across_samples(way_a, way_b, start)
            return (folded, sure) if folded is not None else self._guess(mine, theirs)
        if map_a.size != map_b.size:
            return self._guess(mine, theirs)
        shapes = self.models[TENSORFLOW].shapes[way_a[0]][1:], self.models[TORCH].shapes[way_b[0]][1:]
        try:
            behind = through(with_shapes(start, *shapes), map_a[None], map_b[None])
            return _with_places_kept(behind, with_shapes(start, *shapes), map_a), sure
        except PairingError:  # what moves numbers left others on one side: a fault that the values will show
            return self._guess(mine, theirs)

    def _spread(self, mine: int, theirs: int) -> tuple[Way, Way] | None:
        """Return the ways from the last two images whose order is told behind what one call repeats or puts in blocks.

        Only where each number stands at its place in both, but for the axis of the channels: another order of such
        images is a fault. None where no such call leads to the two tensors.
        """
        ends = self._way(mine, 0, repeats=True, blocks=True), self._way(theirs, 1, repeats=True, blocks=True)
        last = [max((count for count, op in enumerate(way[1]) if _spreads(op)), default=-1) for way in ends]
        if max(last) < 0:
            return None
        start, sure = self._from(ends[0][0], ends[1][0])
        if start is None or not start.by_sample:
            return None
        images = [
            [
                at + 1
                for at, op in enumerate(way[1])
                if at >= after and len(trace.shapes[op.outputs[0]]) == IMAGE_AXES + 1
            ]
            for way, after, trace in zip(ends, last, (self.models[TENSORFLOW], self.models[TORCH]), strict=True)
        ]
        for counts in product(*(some[::-1] for some in images)):
            (first, some), (second, others) = (
                (way[0], way[1][:count]) for way, count in zip(ends, counts, strict=True)
            )
            image = some[-1].outputs[0], others[-1].outputs[0]
            named = self._image_of((first, some), (second, others), start)
            if named is not None:
                self._known[image] = named
                self._sure |= {image} if sure else set()
                return (image[0], ends[0][1][counts[0] :]), (image[1], ends[1][1][counts[1] :])
        return None

    def _image_of(self, mine: Way, theirs: Way, start: Relation) -> Relation | None:
        """Return which of the two usual orders the images at the end of two ways are in, number by number."""
        shapes = self.models[TENSORFLOW].shapes, self.models[TORCH].shapes
        ends = shapes[0][mine[1][-1].outputs[0]], shapes[1][theirs[1][-1].outputs[0]]
        fitting = [Relation(name) for name in ("channels", SAME) if Relation(name).fits(*ends)]
        try:
            maps = [self.moved(*way, side) for way, side in ((mine, TWIN_TENSORFLOW), (theirs, TWIN_TORCH)) if fitting]
        except ParityError as error:
            if is_fatal(error):
                raise
            return None
        if not maps:
            return None
        told = start.elements(shapes[0][mine[0]][1:])[maps[1]]
        return next((one for one in fitting if np.array_equal(one.to_torch(maps[0][None])[0], told)), None)

    def _shown(self, mine: int, theirs: int) -> Relation | None:
        """Return what the values showed of the tensors right before two operations that leave each number in place."""
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        given = [maker.inputs for maker in makers if maker is not None and maker.effect == ELEMENTWISE]
        if len(given) != len(makers) or any(len(some) != 1 for some in given):
            return None
        before = given[0][0], given[1][0]
        return self._known[before] if before in self._learned else None

    def _joined(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order behind a concatenation or a stack on both sides, made of the orders of what was joined.

        A flattened image beside a vector is ordered like neither; images may be stacked along an axis of either side's.
        """
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        if not all(maker is not None and maker.kind in JOINING for maker in makers):
            return None
        parts = list(zip(*(maker.inputs for maker in makers if maker is not None), strict=False))
        relations = [self.of(*part) for part in parts]
        shapes = [self.models[side].shapes[end] for side, end in ((TENSORFLOW, mine), (TORCH, theirs))]
        axes = [int(maker.config["axis"]) % len(shape) for maker, shape in zip(makers, shapes, strict=True) if maker]
        joined: tuple[list[Array], list[Array]] = ([], [])
        count = 0
        for (part, _), relation in zip(parts, relations, strict=True):
            size = self.models[TENSORFLOW].shapes[part][1:]
            numbers = count + np.arange(int(np.prod(size))).reshape(1, *size)
            count += numbers.size
            if relation is None or not relation.by_sample:  # heads in front of the samples, say
                return None
            joined[0].append(numbers)
            joined[1].append(relation.to_torch(numbers))
        try:
            maps = [
                np.stack(arrays, axis) if maker.kind == "stack" else np.concatenate(arrays, axis)
                for arrays, axis, maker in zip(joined, axes, makers, strict=True)
                if maker is not None
            ]
            if 0 in axes or any(found.shape[1:] != shape[1:] for found, shape in zip(maps, shapes, strict=True)):
                return None
            return through(with_shapes(Relation("same"), (count,), (count,)), *maps), all(
                part in self._sure for part in parts
            )
        except (PairingError, ValueError):  # other parts are joined: a fault that the values will show
            return None

    def _divided(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order of what both sides cut out of the same, each perhaps along an axis of its own.

        One side splits queries, keys and values off before it parts the heads, the other behind it. None where they
        cut out other numbers: a fault that the values will show.
        """
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        if not all(maker is not None and maker.kind in DIVIDING and len(maker.inputs) == 1 for maker in makers):
            return None
        wholes = [maker.inputs[0] for maker in makers if maker is not None]
        relation = self.of(wholes[0], wholes[1])
        shape = self.models[TENSORFLOW].shapes[wholes[0]]
        if relation is None or not relation.fits(shape, self.models[TORCH].shapes[wholes[1]]):
            return None
        numbers = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
        fed = numbers, np.ascontiguousarray(relation.to_torch(numbers))
        parts: list[Array] = []
        for side, whole, part, end in zip((TWIN_TENSORFLOW, TWIN_TORCH), wholes, fed, (mine, theirs), strict=True):
            try:
                parts.append(np.asarray(self.models.segment(side, {whole: part}, end)["value"]))
            except ParityError as error:
                if is_fatal(error):
                    raise
                return None
        found = _places(*parts)
        return None if found is None else (found, self.sure(wholes[0], wholes[1]))

    def _beside(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order of what both sides cut out of the same, where one adds to its part, each number in place."""
        for side, tensor in enumerate((mine, theirs)):
            maker = self._producers[side].get(tensor)
            trace = self.models[TORCH if side else TENSORFLOW]
            if maker is None or maker.kind not in KEEPING or len(maker.inputs) != 1:
                continue
            before = maker.inputs[0]
            pair = (mine, before) if side else (before, theirs)
            if trace.shapes.get(before) == trace.shapes.get(tensor):
                found = self._divided(*pair)
                if found is not None:
                    return found
        return None

    def _kept(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order behind an operation on both sides that leaves each number of an input in its place."""
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        found: list[list[int]] = []
        for maker, trace, tensor in zip(
            makers, (self.models[TENSORFLOW], self.models[TORCH]), (mine, theirs), strict=True
        ):
            if maker is None or maker.kind not in KEEPING:
                return None
            found.append([given for given in maker.inputs if trace.shapes.get(given) == trace.shapes.get(tensor)])
        commutes = all(maker is not None and maker.kind in COMMUTES for maker in makers)
        uneven = len(found[0]) != len(found[1])  # one side adds a table, which the other makes as large as the picture
        if uneven and not commutes:
            return None
        straight = list(zip(*found, strict=not uneven))
        parts = list(straight)
        if commutes:
            parts += [part for part in product(*found) if part not in parts]  # written the other way round
        told = [(relation, self.sure(*part), part) for part in parts if (relation := self.of(*part)) is not None]

        def last(one: tuple[Relation, bool, tuple[int, ...]]) -> tuple[bool, int, bool]:
            # Two vectors that are no partners look as if they were ordered alike; what the graphs tell is more. Where
            # they tell nothing, two that may well be no partners say less than two that are.
            relation, sure, part = one
            doubt = 0 if sure or self.partners(*part) else 1 if part in straight else 2
            return not sure, doubt, relation.name == "same"

        best = min(told, key=last)[:2] if told else None
        return None if best is None or (uneven and not best[1]) else best

    def _from(self, mine: int, theirs: int) -> tuple[Relation | None, bool]:
        relation = self.of(mine, theirs)
        return relation, (mine, theirs) in self._sure

    def _is_image(self, mine: int, theirs: int) -> bool:
        """Return whether torch's tensor is as its layer made it, channels first, and TensorFlow's is such an image."""
        maker = self._producers[1].get(theirs)
        shape, other = self.models[TENSORFLOW].shapes.get(mine), self.models[TORCH].shapes.get(theirs)
        if maker is None or maker.kind not in SPATIAL or shape is None or other is None:
            return False
        return len(shape) == IMAGE_AXES + 1 and Relation("channels").fits(shape, other)

    def _guess(self, mine: int, theirs: int) -> tuple[Relation | None, bool]:
        shape, other = self.models[TENSORFLOW].shapes.get(mine), self.models[TORCH].shapes.get(theirs)
        if shape is None or other is None:
            return None, False
        makers = (self._producers[0].get(mine), self._producers[1].get(theirs))
        spatial = [maker is not None and maker.kind in SPATIAL for maker in makers]
        wanted = "channels" if any(spatial) or len(shape) >= IMAGE_AXES + 1 else "same"
        if [maker.kind if maker else "" for maker in makers] == [PADDED_PATCHES] * 2:
            return _of_patches(makers[0], shape, other), True
        if all(spatial) and shape[0] != other[0] and Relation("channels").fits(shape, (shape[0], *other[1:])):
            return Relation("channels"), True  # one side joins several batches: frames or twins called one by one
        named = [Relation(name) for name in (wanted, "same", "channels") if Relation(name).fits(shape, other)]
        if named and self._heads_apart(mine, theirs):
            # Four heads of three or four numbers only look like three or four of four whose channels were moved.
            numbers = np.arange(int(np.prod(shape[1:]))).reshape(other[2], other[1], other[3])
            return Relation.explicit(numbers.transpose(1, 0, 2).reshape(-1), shape[1:], other[1:]), False
        if named:
            return named[0], all(spatial) or len(shape) < IMAGE_AXES
        if self._are_repeated(mine, theirs):
            return Relation.explicit(np.arange(int(np.prod(shape[1:]))), shape[1:], other[1:]), True
        if self._splits_heads(mine, theirs):
            return Relation.explicit(np.arange(int(np.prod(shape[1:]))), shape[1:], other[1:]), False
        found = candidates(shape, other)
        if (
            not found
            and not self._are_scores(mine, theirs)
            and len(shape) == len(other) > IMAGE_AXES
            and (shape[0], shape[-1]) == other[:2]
        ):
            # A stride that stands elsewhere: as many images, of other sizes, whose channels still mean the same.
            return Relation("channels"), False
        return (found[0], False) if found else (None, False)

    def _heads_apart(self, mine: int, theirs: int) -> bool:
        """Return whether both are the values by their shares, with their heads at 2 and 1, which sizes do not tell."""
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        if any(one is None or one.kind not in PRODUCTS or len(one.inputs) < 2 or one.weights for one in makers):
            return False
        shape, other = self.models[TENSORFLOW].shapes[mine], self.models[TORCH].shapes[theirs]
        if len(shape) != IMAGE_AXES + 1 or shape[1] != other[2] or shape[1] == shape[2] == other[1]:
            return False
        shares = [self.models[TENSORFLOW].shapes.get(makers[0].inputs[0], ()) if makers[0] else ()]
        return [one[1:3] for one in shares] == [(shape[2], shape[1])]

    def _splits_heads(self, mine: int, theirs: int) -> bool:
        """Return whether TensorFlow's layer has its heads as an axis, and torch's linear layer all in a row."""
        maker = self._producers[1].get(theirs)
        shape, other = self.models[TENSORFLOW].shapes[mine], self.models[TORCH].shapes[theirs]
        headed = len(shape) == len(other) + 1 and (*shape[:-2], shape[-2] * shape[-1]) == other
        return headed and maker is not None and maker.kind == "dense"

    def _are_scores(self, mine: int, theirs: int) -> bool:
        """Return whether both come of products without weights: what looks like images of other sizes has heads."""
        for side, tensor in enumerate((mine, theirs)):
            maker = self._producers[side].get(self._way(tensor, side)[0])
            if maker is not None and maker.kind == "softmax":
                maker = self._producers[side].get(self._way(maker.inputs[0], side)[0])
            if maker is None or maker.kind not in PRODUCTS or maker.weights:
                return False
        return True

    def _are_repeated(self, mine: int, theirs: int) -> bool:
        """Return whether both hold a vector's numbers repeated: then none has changed places in a right port."""
        way_a, way_b = self._way(mine, 0, repeats=True), self._way(theirs, 1, repeats=True)
        if not any(_repeats(op) for op in (*way_a[1], *way_b[1])):
            return False
        if len(self.models[TENSORFLOW].shapes.get(way_a[0], ())) != VECTOR_AXES:
            return False
        start, sure = self._from(way_a[0], way_b[0])
        return start is not None and start.name == SAME and sure

    def _reduced(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order behind a sum over rows, weighted or not, of which each has its numbers in another order."""
        makers = self._producers[0].get(mine), self._producers[1].get(theirs)
        shapes = self.models[TENSORFLOW].shapes.get(mine, ()), self.models[TORCH].shapes.get(theirs, ())
        read = [self._summed(side, maker) for side, maker in enumerate(makers)]
        if None in read or np.prod(shapes[0]) != np.prod(shapes[1]) or len(shapes[0]) < VECTOR_AXES:
            return None
        given = [
            self.models[side].shapes.get(tensor or 0, ())
            for side, tensor in zip((TENSORFLOW, TORCH), read, strict=True)
        ]
        relation, sure = self._from(int(read[0] or 0), int(read[1] or 0))
        try:
            order = rows_of(relation) if relation is not None and relation.by_sample else None
        except PairingError:
            return None
        if order is None or any(shape[-1:] != (order.size,) for shape in (*shapes, *given)):
            return None
        return of_rows(order, shapes[0][1:], shapes[1][1:]), sure

    def _summed(self, side: int, maker: Op | None) -> int | None:
        """Return the tensor whose rows an operation sums up, weighted or not; None if it is no such operation."""
        if maker is None or maker.weights:
            return None
        if maker.kind == "matmul":
            return maker.inputs[1] if len(maker.inputs) > 1 and not maker.config.get("transpose_b") else None
        if maker.kind not in POOLING:
            return None
        shapes = self.models[(TENSORFLOW, TORCH)[side]].shapes
        scaled = self._producers[side].get(maker.inputs[0])
        if scaled is not None and scaled.kind == "multiply" and len(scaled.inputs) > 1:
            whole = [tensor for tensor in scaled.inputs if shapes.get(tensor) == shapes.get(maker.inputs[0])]
            return whole[0] if len(whole) == 1 else maker.inputs[0]
        return maker.inputs[0]

    def _repeated(self, mine: int, theirs: int) -> tuple[Relation, bool] | None:
        """Return the order behind a vector that both sides repeat along an axis before it: that of the vector."""
        ways = self._way(mine, 0, repeats=True), self._way(theirs, 1, repeats=True)
        if not all(any(_repeats(op) for op in ops) for _, ops in ways):
            return None
        start, sure = self._from(ways[0][0], ways[1][0])
        if start is None or not start.by_sample:
            return None
        try:
            maps = self._map(ways[0], mine, TWIN_TENSORFLOW), self._map(ways[1], theirs, TWIN_TORCH)
        except ParityError as error:
            if is_fatal(error):
                raise
            return None
        rows = [each.reshape(-1, each.shape[-1]) for each in maps if each.ndim > 1]
        shapes = self.models[TENSORFLOW].shapes[ways[0][0]][1:], self.models[TORCH].shapes[ways[1][0]][1:]
        if len(rows) < len(maps) or maps[0].shape != maps[1].shape or any((some != some[0]).any() for some in rows):
            order = repeated_axes(with_shapes(start, *shapes), maps)
            ends = self.models[TENSORFLOW].shapes[mine][1:], self.models[TORCH].shapes[theirs][1:]
            # Repeated otherwise, which is no order of a right port.
            return None if order is None else (Relation.explicit(order, *ends), sure)
        try:
            return through(with_shapes(start, *shapes), maps[0][None], maps[1][None]), sure
        except PairingError:
            return None

    def _way(self, tensor: int, side: int, repeats: bool = False, blocks: bool = False) -> Way:
        """Follow a tensor back through what moves numbers, or treats each on its own.

        On request also through what repeats them, or moves blocks of them between channels and places.
        """
        ops: list[Op] = []
        while True:
            maker = self._producers[side].get(tensor)
            if maker is None or len(set(maker.inputs)) != 1:
                return tensor, ops[::-1]
            one = maker.effect in (MOVES, ELEMENTWISE) and len(maker.inputs) == 1
            if not one and not (repeats and _repeats(maker)) and not (blocks and maker.kind in BLOCKS):
                return tensor, ops[::-1]
            ops.append(maker)
            tensor = maker.inputs[0]

    def _map(self, way: Way, end: int, side: str) -> Array:
        start, ops = way
        if ops and ops[-1].outputs[0] != end:
            raise ParityError("a way that does not end where it should")
        return self.moved(start, ops, side)

    def _across_samples(self, way_a: Way, way_b: Way, start: Relation) -> Relation | None:
        """Return the order behind operations that move the border of the samples, as where frames become a sequence.

        Torch's samples may follow one another along the second axis. None unless all of them are ordered alike.
        """
        try:
            mine = self.moved(*way_a, TWIN_TENSORFLOW, whole=True)
            theirs = self.moved(*way_b, TWIN_TORCH, whole=True)
        except ParityError as error:
            if is_fatal(error):
                raise
            return None
        numbers = np.arange(mine.size).reshape(self.models[TENSORFLOW].shapes[way_a[0]])
        told = start.to_torch(numbers).reshape(-1)
        if theirs.size != mine.size or told.size != mine.size or not mine.ndim:
            return None
        place = np.empty(mine.size, np.int64)
        place[mine.reshape(-1)] = np.arange(mine.size)
        found = place[told[theirs]]
        first = _of_all_samples(found, len(mine))
        if first is not None and mine.shape == found.shape and np.array_equal(first, np.arange(first.size)):
            return Relation("same")
        if first is not None:
            return Relation.explicit(first, mine.shape[1:], found.shape[1:])
        found = np.swapaxes(found, 0, 1) if found.ndim > 1 else found
        second = _of_all_samples(found, len(mine))
        return None if second is None else Relation.batch_second(second, mine.shape[1:], found.shape[1:])

    def moved(self, start: int, ops: Sequence[Op], side: str, whole: bool = False) -> Array:
        """Return which number of the tensor `start` stands where behind `ops`, for one sample, or for the whole batch.

        Only those that move numbers are run; the others must leave every number in its place.
        """
        trace = self.models[TENSORFLOW if side == TWIN_TENSORFLOW else TORCH]
        first = 0 if whole else 1
        shape = trace.shapes[start]
        index: Array = np.arange(int(np.prod(shape[first:])))
        result_shape = shape
        at = start
        for moves in _stretches(ops):
            last = moves[-1].outputs[0]
            if _effect(moves[0]) == MOVES:
                count = int(np.prod(trace.shapes[at][first:]))
                numbers = np.arange(count, dtype=np.float64)
                probe = np.resize(numbers, trace.shapes[at])  # of every sample the same, unless of the whole
                answer = self.models.segment(side, {at: np.ascontiguousarray(probe)}, last)
                moved = np.asarray(answer["value"])
                patches = not whole and any(op.kind == "patches" or _repeats(op) for op in moves)
                more = bool(moved.size) and not 0 <= moved.min() <= moved.max() < max(count, 1)
                if (
                    more
                    or (moved.size != probe.size and not patches)
                    or not (whole or _samples_alike(moved, shape[:1]))
                ):
                    raise ParityError(f"`{moves[0].name}` does more than move numbers within a sample")
                kept = moved.size // shape[0] if patches else count
                index = index[moved.reshape(-1)[:kept].astype(np.int64)]
            at = last
            result_shape = trace.shapes[last]
        return index.reshape(result_shape[first:])


def _of_patches(maker: Op | None, shape: tuple[int, ...], other: tuple[int, ...]) -> Relation | None:
    """Return how patches are ordered: at each place by row, column and channel, and torch's by channel and then place.

    Both may hold one number several times, and zeros, so that no numbered probe tells it.
    """
    rows, columns = maker.config["size"] if maker is not None else (0, 0)
    count = int(np.prod(shape[1:]))
    if len(shape) != IMAGE_AXES + 1 or count != int(np.prod(other[1:])) or shape[-1] % max(rows * columns, 1):
        return None
    numbers = np.arange(count).reshape(*shape[1:3], rows * columns, -1)
    return Relation.explicit(numbers.transpose(3, 2, 0, 1).reshape(-1), shape[1:], other[1:])


def _samples_alike(moved: Array, count: tuple[int, ...]) -> bool:
    """Return whether the first axis is that of the samples still, all of which held the same numbers."""
    return moved.shape[:1] == count and bool((moved == moved[:1]).all())


def _of_all_samples(places: Array, count: int) -> Array | None:
    """Return which of its sample's elements each is, if the first axis is that of `count` samples, all ordered alike.

    `places` numbers the elements of the whole batch.
    """
    if places.shape[:1] != (count,):
        return None
    rows = places.reshape(count, -1)
    rows = rows - np.arange(count)[:, None] * rows.shape[1]
    if rows.min(initial=0) < 0 or rows.max(initial=-1) >= rows.shape[1] or (rows != rows[0]).any():
        return None
    return np.asarray(rows[0])


def _places(mine: Array, theirs: Array) -> Relation | None:
    """Return how two tensors of whole batches are ordered that hold the same different numbers; None if they do not."""
    if mine.size != theirs.size or not mine.size or mine.shape[:1] != theirs.shape[:1]:
        return None
    order = np.argsort(mine, axis=None)
    held = mine.reshape(-1)[order]
    at = np.minimum(np.searchsorted(held, theirs), held.size - 1)
    if not np.array_equal(held[at], theirs):
        return None
    first = _of_all_samples(order[at].reshape(theirs.shape), len(mine))
    if first is None:
        return None
    plain = mine.shape == theirs.shape and np.array_equal(first, np.arange(first.size))
    return Relation(SAME) if plain else Relation.explicit(first, mine.shape[1:], theirs.shape[1:])


def _one_order(one: Relation, other: Relation) -> bool:
    if one.perm is None or other.perm is None:
        return one.name == other.name and one.perm is other.perm
    return one.name == other.name and np.array_equal(one.perm, other.perm)


def _with_places_kept(behind: Relation, before: Relation, features: Array) -> Relation:
    """Return the order of two flattened images with the places of each channel in one order on both sides.

    Flattening lays channels otherwise, never places: a side that alone transposes an image first has a fault, which is
    to be seen. `features` says which element of TensorFlow's image, (places, channels), each of its features is. Images
    that stand transposed as they were made stay so.
    """
    sample = before.tf_shape
    if behind.perm is None or len(sample) < VECTOR_AXES or {len(behind.tf_shape), len(behind.torch_shape)} != {1}:
        return behind
    made = before.elements(sample)
    if not np.array_equal(made, _place_by_place(np.arange(made.size) % sample[-1], made % sample[-1])):
        return behind
    channels = features.reshape(-1) % sample[-1]
    order = _place_by_place(channels, channels[behind.perm])
    return Relation.explicit(order, behind.tf_shape, behind.torch_shape)


def _place_by_place(mine: Array, theirs: Array) -> Array:
    """Return which of my elements each of theirs is, if the k-th of a channel is the k-th of that channel."""
    order = np.empty(mine.size, np.int64)
    order[np.argsort(theirs, kind="stable")] = np.argsort(mine, kind="stable")
    return order


def _spreads(op: Op) -> bool:
    return _repeats(op) or op.kind in BLOCKS


def _repeats(op: Op) -> bool:
    return op.kind in REPEATING or (op.kind in JOINING and len(set(op.inputs)) == 1)  # with itself


def _moves(way: Way) -> bool:
    return any(op.effect == MOVES for op in way[1])


def _effect(op: Op) -> str:
    return MOVES if _spreads(op) else op.effect


def _stretches(ops: Sequence[Op]) -> list[list[Op]]:
    """Return consecutive operations of one effect together."""
    found: list[list[Op]] = []
    for op in ops:
        if found and _effect(found[-1][0]) == _effect(op):
            found[-1].append(op)
        else:
            found.append([op])
    return found
