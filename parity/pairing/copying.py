"""Which weight of one model is which of the other, and how to carry all of them across, either way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.errors import PairingError
from parity.model import constants as constant_numbers
from parity.model.layout import Array
from parity.model.trace import OPERATORS, ROW, Op, Trace, weight_names
from parity.pairing import biases, crossed, cubes, free, placed, references
from parity.pairing.biases import Shared
from parity.pairing.carry import Carry
from parity.pairing.families import family
from parity.pairing.fitting import along, fitting, of_patches, role_pairs, rows_are_inputs
from parity.pairing.free import Free
from parity.pairing.held import constants
from parity.pairing.match import BY_HAND, GRAPH, ONLY_ONE, ORDER, VALUE, Matching, OpPair
from parity.pairing.mixed import mixed
from parity.pairing.norms import SHAPING
from parity.pairing.references import Shape, read, shapes_of
from parity.pairing.stacked import Stacked

__all__ = ["WeightLink", "WeightPlan", "neighbours", "plan", "read", "settling"]

# Kinds whose kernels' rows belong to the elements of a vector, and the roles that may stand in another order.
_READS_VECTORS = frozenset({"dense", "einsum", "lstm", "gru", "rnn"})
_ORDERED_ROLES = frozenset(
    {"kernel", "forward_kernel", "backward_kernel", "gamma", "beta", "moving_mean", "moving_variance"}
    | {"query_kernel", "key_kernel", "value_kernel"}
    | {"alpha", "scale", "other"}
)

_ROUNDINGS = 8  # of a square, a sum, a root, a quotient and a product

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
    misfits: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())  # of a pair, but of another size

    def knowing(self, tensorflow: Container[str], torch: Container[str]) -> WeightPlan:
        """Return the plan without those weights among the ones that should have had a partner."""
        return replace(
            self,
            unmatched_tensorflow=tuple(name for name in self.unmatched_tensorflow if name not in tensorflow),
            unmatched_torch=tuple(name for name in self.unmatched_torch if name not in torch),
        )

    def to_torch(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return torch's arrays from TensorFlow's; a weight that is not given moves nothing."""
        moves = ((link.tensorflow, link.torch, link.to_torch) for link in self.links)
        return _carried(moves, weights, self.torch_shapes)

    def to_tensorflow(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return TensorFlow's arrays from torch's; a weight that is not given moves nothing."""
        moves = ((link.torch, link.tensorflow, link.to_tensorflow) for link in self.links)
        return _carried(moves, weights, self.tensorflow_shapes)

    def settled(
        self, tensorflow: Mapping[str, Array], torch: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return other values of weights that one side keeps as several terms and the other as their rounded sum.

        Two biases of float32 add to a number that is none; float32 holds it rounded, so that two models with the same
        weights are two functions in float64. Where one side holds the other's sum bit for bit, that other gets it as
        its first term and zeros for the rest, which is as near to its own as float32 comes.
        """
        sums = replace(self, links=tuple(link for link in self.links if self._adds(link)))
        back, forth = sums.to_tensorflow(torch), sums.to_torch(tensorflow)
        found: tuple[dict[str, Array], dict[str, Array]] = {}, {}
        for link in sums.links:
            names = weight_names(link.tensorflow), weight_names(link.torch)
            agree = _same(names[0], back, tensorflow), _same(names[1], forth, torch)
            if agree == (True, False):
                found[1].update({name: forth[name] for name in names[1]})
            elif agree == (False, True):
                found[0].update({name: back[name] for name in names[0]})
        return found

    def rounded(
        self, tensorflow: Mapping[str, Array], torch: Mapping[str, Array], computed: Collection[str]
    ) -> dict[str, Array]:
        """Return TensorFlow's numbers for weights that torch computes from others and that are these but for rounding.

        A length times a direction of float32 is a number of float32 only after rounding: somebody who loaded the same
        weights holds neighbours of them. `computed` names the weights that torch computes.
        """
        found: dict[str, Array] = {}
        for link in self.links:
            if set(weight_names(link.torch)) <= set(computed):
                forth = replace(self, links=(link,)).to_torch(tensorflow)
                if all(neighbours(array, torch[name]) for name, array in forth.items()):
                    found.update({name: a for name, a in forth.items() if not np.array_equal(a, torch[name])})
        return found

    def _adds(self, link: WeightLink) -> bool:
        sizes = [
            np.prod(references.shape_of(reference, shapes) or ())
            for reference, shapes in ((link.tensorflow, self.tensorflow_shapes), (link.torch, self.torch_shapes))
        ]
        return "+" in link.tensorflow or "+" in link.torch or sizes[0] != sizes[1]


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
    for shared in biases.shared(tensorflow, torch, matching.pairs):
        maker.add_sum(shared)
    for apart in mixed(tensorflow, torch, matching.pairs):
        if apart.bias is not None:
            maker.followers[apart.outer][apart.layers[apart.outer]] = apart.bias
    for pair in matching.pairs:
        maker.add(pair, rows)
    for one in matching.stacked:
        maker.add_stacked(one, units, rows)
    maker.add_free(matching.pairs)
    return maker.finish()


def _first_counted(op: Op) -> int:
    """Return the first of the ids that torch's code counts itself, one by one for each sample; 0 for any other ids."""
    if op.inputs or constant_numbers.IDS not in op.config:
        return 0
    ids = constant_numbers.unpacked(op.config[constant_numbers.IDS])
    counted = ids.ndim > 0 and ids.size > 0 and (ids == ids.flat[0] + np.arange(ids.shape[-1])).all()
    return int(ids.flat[0]) if counted else 0


class _Planner:
    """Collects links pair by pair, and accounts for every weight."""

    def __init__(self, tensorflow: Trace, torch: Trace, columns: Rows = lambda _: None) -> None:
        self.columns, self.traces = columns, (tensorflow, torch)
        self.ops = ({op.index: op for op in tensorflow.ops}, {op.index: op for op in torch.ops})
        self.shapes = shapes_of(tensorflow), shapes_of(torch)
        self.followers = _bias_followers(tensorflow), _bias_followers(torch)
        self.summed: tuple[set[int], set[int]] = (set(), set())  # operations whose biases go as those of a whole sum
        self._constants = constants(tensorflow), constants(torch)
        self.links: list[WeightLink] = []
        self.partner: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.twice: list[str] = []
        self.misfits: tuple[set[str], set[str]] = (set(), set())
        self.notes: list[str] = []
        self.unread: dict[str, range] = {}  # rows of torch's tables in front of those that its code counts

    def add_sum(self, one: Shared) -> None:
        """Link the biases of layers whose results are summed, which the two sides add in other places, as one."""
        references_ = one.references()
        shapes = [references.shape_of(r, given) for r, given in zip(references_, self.shapes, strict=True)]
        first = next(iter(one.tensorflow.layers)), next(iter(one.torch.layers))
        ops = self.ops[0][first[0]], self.ops[1][first[1]]
        of_parts = [{given[part] for part in r.split("+")} for r, given in zip(references_, self.shapes, strict=True)]
        if shapes[0] is None or shapes[1] is None or any(len(found) > 1 for found in of_parts):
            return
        ways = fitting(*ops, None, shapes[0], shapes[1])
        if ways is None:
            return
        for side, part in enumerate((one.tensorflow, one.torch)):
            self.summed[side].update(part.layers, part.additions)
        self._accept(WeightLink(*references_, *ways, "bias", OpPair(*first, GRAPH)))
        parts = ["`, `".join(reference.split("+")) for reference in references_]
        self.notes.append(f"`{parts[0]}` and torch's `{parts[1]}` are added to one sum of products: carried as a whole")

    def add(self, pair: OpPair, rows: Rows) -> None:
        mine, other = self._with_follower(0, pair.tensorflow), self._with_follower(1, pair.torch)
        if bool(mine.weights) != bool(other.weights) or not mine.weights:
            return
        self._link(pair, mine, other, rows)

    def _unsliced(self, mine: Op, other: Op, refs: tuple[str, str]) -> tuple[str, str]:
        """Return both weights as wholes where each side cuts one of that shape, and torch's alone says which rows."""
        wholes = tuple(weight_names(reference)[0] for reference in refs)
        shapes = [references.shape_of(one, known) for one, known in zip(wholes, self.shapes, strict=True)]
        made = not mine.inputs and not other.inputs and "+" not in "".join(refs)
        return (wholes[0], wholes[1]) if made and shapes[0] is not None and shapes[0] == shapes[1] else refs

    def _without_unread(self, mine: Op, other: Op, refs: tuple[str, str]) -> tuple[str, str]:
        """Return torch's table of positions without the rows in front that its code never counts from.

        BART, OPT and RoBERTa keep two such rows, for the padding that their tokens have; ports leave them out.
        """
        first = _first_counted(other) if mine.kind == other.kind == "embedding" and not mine.inputs else 0
        sizes = [references.shape_of(one, known) for one, known in zip(refs, self.shapes, strict=True)]
        if not first or sizes[0] is None or sizes[1] != (sizes[0][0] + first, *sizes[0][1:]):
            return refs
        return refs[0], self._rows_read(refs[1], first)

    def _link(self, pair: OpPair, mine: Op, other: Op, rows: Rows | None) -> None:
        mine, other = (_trained_first(op, trace) for op, trace in zip((mine, other), self.traces, strict=True))
        for role, torch_role, link in role_pairs(mine, other):
            refs = self._unsliced(mine, other, (mine.weights[role], other.weights[torch_role]))
            refs = self._without_unread(mine, other, refs)
            shapes = references.shape_of(refs[0], self.shapes[0]), references.shape_of(refs[1], self.shapes[1])
            if shapes[0] is None or shapes[1] is None:
                self.notes.append(f"`{refs[0]}` and `{refs[1]}`: a weight that the model does not list")
                continue
            order = self._order(pair, rows, mine, role, shapes) if rows else None
            patches = of_patches(mine, shapes[0], shapes[1])
            ways = fitting(mine, other, link, shapes[0], shapes[1], order if patches else None)
            axis = _axis_read(mine, shapes[0], shapes[1])
            if ways is not None and order is not None and axis is not None and not patches:
                ways = along(ways, order, axis)
            if cubes.of_image(other, self.traces[1], (shapes[0], shapes[1])):
                ways = cubes.channels_first(shapes[0], shapes[1])
            units = self.columns(pair) if mine.kind == "dense" or role.startswith("output_") else None
            if ways is not None and units is not None and shapes[0][-1:] == (units.size,):
                ways = along(ways, units, -1)
            if role.startswith("other") and (reader := self._convolution(refs[0])) is not None:
                ways = _for_each_sample(reader, other, shapes[0], shapes[1]) or ways
            if ways is None and role.startswith("other"):
                refs, ways = self._of_part(mine, other, refs, (shapes[0], shapes[1]))
            if ways is None:
                if not (role.startswith("other") and torch_role.startswith("other")):  # such need not be partners
                    for known, reference in zip(self.misfits, refs, strict=True):
                        known.update(weight_names(reference))
                self.notes.append(
                    f"`{refs[0]}` {shapes[0]} of tensorflow's `{mine.name}` does not fit `{refs[1]}` {shapes[1]}"
                    f" of torch's `{other.name}`: not copied"
                )
                continue
            self._accept(WeightLink(refs[0], refs[1], *ways, role, pair))

    def _of_part(
        self, mine: Op, other: Op, refs: tuple[str, str], shapes: tuple[Shape, Shape]
    ) -> tuple[tuple[str, str], tuple[Carry, Carry] | None]:
        """Return the part of TensorFlow's weight that an operation reads, if each of several reads one of them.

        Torch has a weight for each.
        """
        readers = [index for index, op in self.ops[0].items() if refs[0] in op.weights.values()]
        row = mine.config.get(ROW)
        ways = fitting(mine, other, None, shapes[0][1:], shapes[1]) if shapes[0][:1] == (len(readers),) else None
        if ways is None or row is None:
            return refs, None
        forth, back = ways
        part = f"{refs[0]}@{row}:{row + 1}"
        return (part, refs[1]), (lambda array: forth(array[0]), lambda array: back(array)[None])

    def add_stacked(self, one: Stacked, units: Units, rows: Rows) -> None:
        """Link layers that one side has apart with the rows, or columns, that the other has for each."""
        side = one.whole_side
        whole = self._with_follower(side, one.whole)
        parts = [self._with_follower(1 - side, index) for index in one.apart]
        told, by_rows = units(one), rows_are_inputs(whole)
        last = side == 0 if by_rows is None else by_rows  # torch's products with (inputs, units) have units last, too
        ends = np.cumsum([0, *(self._numbers(part, 1 - side) for part in parts)])
        for number, part in enumerate(parts):
            weights = {}
            for role, reference in whole.weights.items():
                one_weight = len(references.parts(reference)) == 1
                shape = references.shape_of(reference, self.shapes[side]) if one_weight else None
                count = shape[-1 if last else 0] if shape else 0
                low, high = (count * int(end) // max(int(ends[-1]), 1) for end in ends[number : number + 2])
                if low < high:
                    own = told[number] if told else np.arange(low, high)
                    weights[role] = references.places(reference, own, last)
            some = replace(whole, weights=weights)
            mine, other = (some, part) if side == 0 else (part, some)
            # Behind a Flatten, heads that are apart read an image's numbers as those that are one do.
            flat = mine.kind == other.kind == "dense"
            self._link(OpPair(mine.index, other.index, GRAPH), mine, other, rows if flat else None)

    def _numbers(self, op: Op, side: int) -> int:
        """Return how many numbers the largest weight of a layer holds."""
        shapes = [references.shape_of(reference, self.shapes[side]) for reference in op.weights.values()]
        return max((int(np.prod(shape)) for shape in shapes if shape is not None), default=0)

    def add_free(self, pairs: Iterable[OpPair]) -> None:
        """Link what no pair of operations holds: a class token, a position, a table of biases for each block.

        Of several of one shape, those that are read between the same paired operations belong together.
        """
        known = [self._covered(side) | set(self.partner[side]) for side in (0, 1)]
        left = [
            free.free(self.ops[side].values(), self.shapes[side], known[side], self._constants[side]) for side in (0, 1)
        ]
        self._behind_unread(*left)
        places: free.Places | None = None
        for shape, mine in left[0].items():
            # An image's weights, channels first, or a table whose rows are the other's columns, such as a codebook.
            table = len(shape) == 2 and shape[::-1] not in left[0]
            first = (shape[-1:] + shape[:-1]) if len(shape) == 3 or table else shape
            moved = shape not in left[1] and first in left[1]
            other = left[1].get(first if moved else shape, [])
            if shape not in left[1] and len(shape) > IMAGE and all(self._convolution(one.reference) for one in mine):
                other = left[1].get((*shape[:-3:-1], *shape[:-2]), [])
            turned = _in_another_order(shape, left[1])
            if shape not in left[1] and turned is not None and len(mine) == len(left[1][turned]) == 1:
                self._link_turned(mine[0], left[1][turned][0])
                continue
            if len(mine) != len(other):  # a norm that has no partner has a scale of that shape, too
                mine, other = (free.without_norms(some) for some in (mine, other))
            if len(mine) != len(other) or not all(a.in_passing or b.in_passing for a in mine for b in other):
                continue
            if len(mine) > 1 and places is None:
                places = free.Places(*self.traces, [(pair.tensorflow, pair.torch) for pair in pairs])
            found = places.paired(mine, other) if places is not None and len(mine) > 1 else [(mine[0], other[0])]
            for one, theirs in found:
                self._link_free(one, theirs, moved, alone=len(mine) == 1)

    def _behind_unread(self, mine: Mapping[Shape, list[Free]], theirs: dict[Shape, list[Free]]) -> None:
        """Take torch's tables of positions without the rows in front of those that its code counts, where that fits."""
        for shape, found in list(theirs.items()):
            first = {_first_counted(one.op) if one.op.kind == "embedding" else 0 for one in found}
            behind = (shape[0] - max(first), *shape[1:]) if shape else shape
            if len(first) > 1 or behind == shape or shape in mine or len(mine.get(behind, ())) != len(found):
                continue
            del theirs[shape]
            theirs[behind] = [
                Free(replace(one.op, weights={one.role: rows}), one.role, rows)
                for one, rows in ((one, self._rows_read(one.reference, max(first))) for one in found)
            ]

    def _rows_read(self, table: str, first: int) -> str:
        """Return the rows of a table of torch's from the first one that is read; those before it are accounted for."""
        count = self.shapes[1][table][0]
        self.unread[table] = range(first)
        self.notes.append(f"`{table}` has {count} rows, of which torch reads none before row {first}")
        return references.places(table, np.arange(first, count))

    def _convolution(self, reference: str) -> Op | None:
        """Return the convolution that has one of TensorFlow's weights as its kernel, whatever else reads it."""
        convolutions = (op for op in self.ops[0].values() if op.kind == "conv")
        return next((op for op in convolutions if op.weights.get("kernel") == reference), None)

    def _link_free(self, mine: Free, other: Free, moved: bool, alone: bool) -> None:
        theirs = references.shape_of(other.reference, self.shapes[1])
        if theirs is None:
            return
        shapes = self.shapes[0][mine.reference], theirs
        layer = free.is_layer(mine) or free.is_layer(other)
        turned = moved and (alone or not layer) and len(shapes[0]) == len(shapes[1]) == 2
        kernel = self._convolution(mine.reference) if other.in_passing and len(shapes[0]) > IMAGE else None
        if moved and not turned and kernel is None and (len(shapes[0]) == 2 or layer):
            return  # a kernel has inputs and outputs, which move otherwise
        to_front = turned or (moved and sum(size > 1 for size in shapes[0]) == IMAGE)
        to_front = to_front or cubes.of_image(other.op, self.traces[1], shapes)
        ways = cubes.channels_first(*shapes) if to_front else fitting(mine.op, other.op, None, *shapes)
        if kernel is not None:  # the first that reads it may be no convolution: StyleGAN's are summed for each sample
            ways = _for_each_sample(kernel, other.op, *shapes)
        if ways is None:
            return
        pair = OpPair(mine.op.index, other.op.index, ONLY_ONE if alone else ORDER)
        self._accept(WeightLink(mine.reference, other.reference, *ways, mine.role, pair))
        told = "their shape alone" if alone else "their shape and where they are read"
        self.notes.append(f"`{mine.reference}` and torch's `{other.reference}` belong together by {told}")

    def _link_turned(self, mine: Free, other: Free) -> None:
        """Link two weights of the same sizes in another order."""
        ways = _turned(self.shapes[0][mine.reference], self.shapes[1][other.reference])
        pair = OpPair(mine.op.index, other.op.index, ONLY_ONE)
        self._accept(WeightLink(mine.reference, other.reference, *ways, mine.role, pair))
        self.notes.append(f"`{mine.reference}` and torch's `{other.reference}` belong together by their sizes alone")

    def finish(self) -> WeightPlan:
        links, notes = placed.in_place(self.links)
        return WeightPlan(
            links=tuple(links),
            unmatched_tensorflow=self._unmatched(0),
            unmatched_torch=self._unmatched(1),
            used_twice=tuple(dict.fromkeys(self.twice)),
            notes=tuple(dict.fromkeys((*self.notes, *notes, *crossed.notes(self._by_places())))),
            tensorflow_shapes=self.shapes[0],
            torch_shapes=self.shapes[1],
            misfits=(frozenset(self.misfits[0]), frozenset(self.misfits[1])),
        )

    def _by_places(self) -> Iterator[tuple[str, str]]:
        """Yield the names of layers whose places alone say that they belong together."""
        for link in self.links:
            if link.pair.how not in (BY_HAND, VALUE):
                one = crossed.label(link.tensorflow, self.ops[0].get(link.pair.tensorflow))
                two = crossed.label(link.torch, self.ops[1].get(link.pair.torch))
                if one is not None and two is not None:
                    yield one, two

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
        axis = _axis_read(mine, shape, theirs)
        if axis is None:
            return None
        try:
            order = rows(pair)
        except PairingError as error:
            patches = _rows_of_patches(mine, shape, theirs)
            if patches is not None:
                self.notes.append(f"`{mine.name}` reads patches, taken to be by row, column and channel")
                return patches
            if len(shape) == 1 or mine.kind in _READS_VECTORS:
                self.notes.append(f"`{mine.name}`: {error}; copied as if both sides read the same order")
            return None
        if order is None:
            return None
        if len(order) == (int(np.prod(shape[:-1])) if of_patches(mine, shape, theirs) else shape[axis]):
            return np.asarray(order)
        if mine.kind == "dense":
            self.notes.append(
                f"`{mine.name}` reads {shape[0]} numbers, and their order has {len(order)}: order ignored"
            )
        return None

    def _with_follower(self, side: int, index: int) -> Op:
        """Return the operation with the bias that an addition right behind it adds, if it has none itself."""
        op = self.ops[side][index]
        if index in self.summed[side]:
            added = "other" if op.kind == "add" else "bias"
            return replace(op, weights={role: name for role, name in op.weights.items() if role != added})
        bias = self.followers[side].get(index)
        has_kernel = {"kernel", "weight"} & set(op.weights) or (op.weights and family(op) == "linear")
        if bias is None or "bias" in op.weights or not has_kernel:
            return op
        return Op(
            op.index, op.name, op.kind, op.inputs, op.outputs, op.config, {**op.weights, "bias": bias}, op.made_by
        )

    def _unmatched(self, side: int) -> tuple[str, ...]:
        covered = self._covered(side) | self._constants[side]
        return tuple(sorted(name for name in self.shapes[side] if name not in covered))

    def _covered(self, side: int) -> set[str]:
        """Return the weights that links move whole; one of which only some rows move has no partner."""
        rows: dict[str, dict[tuple[int, ...], set[int]]] = {}  # by name, and by the columns that are meant of them
        sizes: dict[str, tuple[int, int]] = {}
        for name, unread in self.unread.items() if side else ():
            rows[name] = {(): set(unread)}
        for link in self.links:
            for part in references.parts(link.torch if side else link.tensorflow):
                name, some = references.rows_of_part(part)
                shape = self.shapes[side][name]
                columns = tuple(sorted(some.within.all_of(shape))) if some.within else ()
                rows.setdefault(name, {}).setdefault(columns, set()).update(some.all_of(shape))
                sizes[name] = some.count(shape), some.within.count(some.before_within(shape)) if some.within else 0
        return {name for name, found in rows.items() if _is_whole(found, *sizes[name])}


def _is_whole(found: Mapping[tuple[int, ...], set[int]], count: int, columns: int) -> bool:
    """Return whether all rows are there: of the whole weight, or of all columns that others do not have."""
    full = [some for some, rows in found.items() if len(rows) == count]
    return () in full or (columns > 0 and len({one for some in full for one in some}) == columns)


def _axis_read(op: Op, shape: Shape, theirs: Shape) -> int | None:
    """Return the axis of a weight along which it has a number, or a row, for each element of what is read."""
    if len(shape) == 1 or of_patches(op, shape, theirs):
        return 0
    if op.kind in _READS_VECTORS or rows_are_inputs(op):
        return 0 if len(shape) == MATRIX else None
    if op.kind in OPERATORS:
        return len(shape) - 1
    if op.kind == "attention":
        return 0 if len(set(op.inputs)) == 1 else None
    return len(shape) - 2 if op.kind == "conv" and op.config.get("groups", 1) == 1 else None


def _for_each_sample(mine: Op, theirs: Op, shape: Shape, other: Shape) -> tuple[Carry, Carry] | None:
    """Return the way of a convolution's kernel to torch's, which may have axes of one in front, for the samples."""
    own = other[len(other) - len(shape) :] if len(other) > len(shape) else other
    ways = fitting(mine, theirs, None, shape, own) if np.prod(own) == np.prod(other) else None
    if ways is None:
        return None
    forth, back = ways
    return (lambda kernel: forth(kernel).reshape(other)), (lambda weight: back(weight.reshape(own)))


def _rows_of_patches(mine: Op, shape: Shape, theirs: Shape) -> Array | None:
    """Return the order of a Dense kernel's rows where torch's convolution takes a patch apart by itself.

    TensorFlow keeps the channels of a patch last, whether `extract_patches` cuts it out or a reshape does; torch's
    kernel has them first.
    """
    if mine.kind != "dense" or len(shape) != 2 or len(theirs) < 3 or shape[0] != int(np.prod(theirs[1:])):
        return None
    channels, *size = theirs[1:]
    return np.moveaxis(np.arange(shape[0]).reshape(*size, channels), -1, 0).reshape(-1)


def _in_another_order(shape: Shape, others: Iterable[Shape]) -> Shape | None:
    """Return the one shape that has the same three sizes or more, all of them different, in another order."""
    if len(shape) < IMAGE or len(set(shape)) != len(shape):
        return None
    found = [other for other in others if sorted(other) == sorted(shape)]
    return found[0] if len(found) == 1 else None


def _turned(mine: Shape, theirs: Shape) -> tuple[Carry, Carry]:
    """Return the way between two arrays whose axes are told by their sizes; axes of one may stand anywhere."""
    long, there = ([size for size in shape if size > 1] for shape in (mine, theirs))
    forth = [long.index(size) for size in there]
    back = np.argsort(forth).tolist()
    return (
        lambda array: array.reshape(long).transpose(forth).reshape(theirs),
        lambda array: array.reshape(there).transpose(back).reshape(mine),
    )


def _trained_first(op: Op, trace: Trace) -> Op:
    """Return an operation whose operands of no role are in an order that a mask, which nobody trains, does not change.

    One side multiplies a kernel by a mask that it holds, where the other's mask is a number of its code.
    """
    held = [role for role in op.weights if role.partition("_")[0] == "other"]
    if len(held) < 2:
        return op
    trained = [any(trace.weights[n].trainable for n in weight_names(op.weights[role]) if n in trace.weights)
               for role in held]  # fmt: skip
    ordered = [op.weights[role] for _, role in sorted(zip(trained, held, strict=True), key=lambda one: not one[0])]
    return replace(op, weights={**op.weights, **dict(zip(held, ordered, strict=True))})


def _added(op: Op, producers: Mapping[int, Op], shapes: Mapping[str, Shape]) -> str | None:
    """Return the vector of weights that an operation adds to its one tensor, as it is or in another shape."""
    if op.kind != "add":
        return None
    if len(op.inputs) == 1:
        other, row = op.weights.get("other", ""), op.config.get(ROW)
        if row is not None and len(shapes.get(other, ())) == MATRIX:  # of biases, as Keras keeps a GRU's two
            return f"{other}@{row}:{row + 1}"
        vector = other in shapes and len([size for size in shapes[other] if size > 1]) < 2
        return other if vector else None  # a matrix is no bias, but something that was made of it
    shaped = [producers.get(tensor) for tensor in op.inputs]
    held = [one for one in shaped if one is not None and one.kind == "op:weight" and not one.inputs]
    if len(held) != 1 or len(op.inputs) != 2 or held[0].config.get("function") not in SHAPING:
        return None
    return next(iter(held[0].weights.values()), None)


def _added_to_units(op: Op, reader: Op, trace: Trace) -> str | None:
    """Return the matrix of weights that is added to a product whose units have as many axes, such as heads by size."""
    operands, _, result = str(op.config.get("equation", "")).replace(" ", "").partition("->")
    fed = operands.partition(",")[0] if op.inputs and op.weights else ""
    units = [place for place, letter in enumerate(result) if letter not in fed]
    shape = trace.shapes.get(op.outputs[0], ())
    if op.kind != "einsum" or not fed or len(units) < 2 or len(result) != len(shape):
        return None
    if reader.kind != "add" or len(reader.inputs) != 1 or units != list(range(units[0], len(result))):
        return None
    other = reader.weights.get("other", "")
    fits = other in trace.weights and tuple(trace.weights[other].shape) == tuple(shape[place] for place in units)
    return other if fits else None


MATRIX, IMAGE = 2, 3  # axes of one
_TRIMMING = frozenset({"slice", "zero_pad", "cropping", "identity"})
_CONVOLUTIONS = frozenset({"conv", "depthwise_conv", "conv_transpose"})


def _keeps_units(trace: Trace, op: Op, reader: Op) -> bool:
    """Return whether what reads a product leaves its units on the last axis: Keras multiplies matrices and reshapes.

    Or moves them, as to where torch has channels, or from in front, where a kernel before its factor puts them.
    TensorFlow convolves a signal as a picture of one row, and drops that
    axis before a bias is added.
    """
    if reader.kind == "permute":
        return op.kind in ("dense", "matmul", "einsum")
    shapes = [trace.shapes.get(tensor, ()) for tensor in (*reader.inputs[:1], *reader.outputs[:1])]
    if reader.kind not in ("reshape", "identity") or not all(shapes) or shapes[0][-1] != shapes[-1][-1]:
        return False
    long = [[size for size in shape if size > 1] for shape in shapes]
    return op.kind in ("dense", "matmul", "einsum") or (op.kind in _CONVOLUTIONS and long[0] == long[-1])


def _bias_followers(trace: Trace) -> dict[int, str]:
    """Return the weight that an addition behind an operation adds to its result, if nothing else reads that.

    The result may be cropped or padded before.
    """
    consumers, producers = trace.consumers(), trace.producers()
    shapes = shapes_of(trace)
    found: dict[int, str] = {}
    for op in trace.ops:
        tensor = op.outputs[0] if op.outputs else None
        while tensor is not None and tensor not in trace.outputs and len(consumers.get(tensor, [])) == 1:
            reader = consumers[tensor][0]
            reference = _added(reader, producers, shapes) or _added_to_units(op, reader, trace)
            if reference is not None:
                found[op.index] = reference
            trimmed = reader.kind in _TRIMMING and op.kind == "conv_transpose"
            tensor = reader.outputs[0] if trimmed or _keeps_units(trace, op, reader) else None
    return found


def settling(side: str, settled: Collection[str]) -> str:
    """Return a note on values that `WeightPlan.settled` gave to one side."""
    names = sorted(settled)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{side}'s `{names[0]}`{more}: terms that the other side keeps as one sum, rounded to float32; both are"
        " compared with that sum"
    )


def neighbours(first: Array, second: Array) -> bool:
    """Return whether numbers of float32 are a few roundings apart."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    return bool((np.abs(a - b) <= _ROUNDINGS * np.finfo(np.float32).eps * np.abs(a)).all())


def _same(names: Iterable[str], some: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    return all(name in some and np.array_equal(some[name], others[name]) for name in names)


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
