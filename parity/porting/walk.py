"""Cut by cut through both models: what lies between two cuts is fed the same on every side, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from parity.errors import PairingError, ParityError
from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.compare import Quartet, doubles, judge
from parity.judge.verdict import NOT_COMPARED, PASSING, PRECISION, SEMANTIC, Finding
from parity.model import draws
from parity.model.trace import COMPUTES, MOVES, Op
from parity.pairing.folded import TERMS
from parity.pairing.held import PRODUCTS
from parity.pairing.relations import Relation, by_values, choose
from parity.porting import elsewhere, unread
from parity.porting.constants import TABLE, adds_a_layer, of_code
from parity.porting.cuts import ARITHMETIC, CLOSE, PICKING, SINGLE_CLOSE, Cut, Step, segment
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.sides import SIDES, TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, family, is_fatal
from parity.porting.spelling import Queue, Waiting, merged

FAR = 12.0  # beyond all usual borders, and before 20, from where on torch's softplus is its argument by default
SCALED = (("scale", 1.0), ("offset", 0.0))
SHIFT = 1e-8  # a larger one of scores moves more than a softmax's rounding
OF_SCORES = frozenset({"matmul", "einsum", "softmax", "add", "where", "op:where", "op:masked_fill", "op:SelectV2"})
MANY = 2  # numbers that a table has at least: one alone, such as an eps, is none
# Activations that two people may mean by one word, each with its own borders.
BENDS = frozenset(
    {"relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign"}
    | {"sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "tanh", "log_sigmoid", "threshold", "linear", "clamp"}
)
SUMS = frozenset({"sum", "mean"})
WINDOWED = frozenset({"op:stft", "op:istft"})  # transforms that multiply by a table of constants, their window
TRANSFORMS = WINDOWED | {"op:RFFT", "op:IRFFT", "op:FFT", "op:IFFT"}  # linear, with no numbers of their own
PARTS = frozenset({"op:view_as_complex", "op:complex", "op:Complex", "op:real", "op:Real", "op:imag", "op:Imag"})
AXES_STAY = ARITHMETIC | {"activation", "maximum", "minimum", "where", "op:where", "op:masked_fill", "op:SelectV2"}
DRAWS = 4  # of perturbed inputs, where no rule bounds an operation
SAFETY = 16.0
TABLE_ANEW = 2.0  # times what a table is apart: it may be less where both sides are fed the very same numbers
CLEARED = 0.9  # of a difference: what is left of it, at most, in the order of axes that is the right one
OWN = {"tanh": 11.0, "sigmoid": 17.0}  # roundings of functions, as torch's rules for them have them
EXPONENTIALS = frozenset({"elu", "selu", "celu"})
EXPONENTIAL = 4.0  # roundings of exp(x), as torch's rule for it has them
SELU = 1.7580993408473766  # what TensorFlow's SELU multiplies exp(x) - 1 with
OF_NORM = 6.0  # roundings of a normalisation with nothing to do but a shift: a sum, a root, products, a difference
POWER = 4.0  # roundings of TensorFlow's pow(x, 2), which is no product; torch's rule for its own has as many
ROOT = 1.5  # roundings of the deviation that Keras makes of a variance: of the root, and half of what it is taken of

Judged = tuple[Finding, Array | None, Relation | None]  # float64's bounds, and how torch's numbers are ordered


class Walk:
    """One pass over all cuts: propagated values are streamed, and dropped as soon as no cut needs them."""

    def __init__(self, models: Models, found: Sequence[Cut], orders: Orders, inputs: Mapping[str, list[Array]]) -> None:
        self.models, self.cuts, self.orders, self.inputs = models, list(found), orders, inputs
        self.partner: dict[int, int] = dict(zip(models[TORCH].inputs, models[TENSORFLOW].inputs, strict=False))
        for cut in found:  # an output may be a tensor that was paired before: the first partner is what feeds others
            self.partner.setdefault(cut.torch, cut.tensorflow)
        orders.pair(self.partner)
        self._values: dict[int, Array] = dict(zip(models[TENSORFLOW].inputs, inputs[TENSORFLOW], strict=True))
        self._users = self._count_users()
        self._asked: set[int] = set()
        self._ahead: dict[tuple[str, int], Array] = {}
        self._cuts_left = Counter([(TENSORFLOW, cut.tensorflow) for cut in found])
        self._cuts_left.update((TORCH, cut.torch) for cut in found)

    def _count_users(self) -> dict[int, int]:
        users: dict[int, int] = {}
        for cut in self.cuts:
            for tensor in self._needs(cut):
                users[tensor] = users.get(tensor, 0) + 1
        return users

    def _needs(self, cut: Cut) -> set[int]:
        theirs = {self.partner[tensor] for tensor in cut.feeds_torch if tensor in self.partner}
        return set(cut.feeds_tensorflow) | theirs

    def run(self) -> Iterator[Step]:
        """Yield what was found at every cut, in order."""
        wanted = {
            TENSORFLOW: [cut.tensorflow for cut in self.cuts],
            TWIN_TENSORFLOW: [cut.tensorflow for cut in self.cuts],
            TORCH: [cut.torch for cut in self.cuts],
        }
        self.models.workers.each(
            lambda side: self.models.begin(side, self.inputs[family(side)], wanted[side]), tuple(wanted)
        )
        queue = Queue(self.cuts, (self.models[TENSORFLOW], self.models[TORCH]), lambda: self._alike)
        for number, cut in enumerate(self.cuts):
            try:
                queue.take(number, *self._step(cut, queue.groups(number)))
            except ParityError:  # what was found until then is told before the end
                yield from self._told(queue.leaving(everything=True))
                raise
            yield from self._told(queue.leaving(everything=number + 1 == len(self.cuts)))

    def _told(self, leaving: Iterable[Waiting]) -> Iterator[Step]:
        for held in leaving:
            self._drop(self.cuts[held.number])
            if not held.gone:
                yield held.step

    def _step(self, cut: Cut, doubtful: Sequence[Sequence[Waiting]]) -> tuple[Step, Sequence[Waiting]]:
        """Return what was found at a cut, and the steps in doubt that it was judged with because it agrees with them.

        `doubtful` are groups of steps, each to be tried.
        """
        ahead = self._propagated(cut)
        whole: Step | None = None
        alone: Step | None = None
        for group in doubtful:
            fed = {tensor: value for held in group for tensor, value in held.step.fed.items()}
            step = self._judged(merged(cut, [held.step.cut for held in group]), ahead, fed)
            if _agrees(step) and all(self._tells(cut, held) for held in group if held.pressed):
                said = " and ".join(f"`{held.step.cut.name}`" for held in group)
                return replace(
                    step, finding=_noted(step.finding, [f"judged with {said}, which is written otherwise"])
                ), group
            whole = whole or step
            if step.finding.d64 is not None and step.finding.d64 <= TABLE:
                alone = alone or self._judged(cut, ahead)
                if _by_its_table(step, alone):
                    return alone, group
        alone = alone or self._judged(cut, ahead)
        if whole is None or alone.finding.verdict != SEMANTIC or whole.finding.verdict != SEMANTIC:
            return alone, ()
        return replace(alone, whole=whole, parts=tuple(held.step.cut.tensorflow for held in doubtful[0])), ()

    @cached_property
    def _alike(self) -> bool:
        """Return whether the models' outputs are the same, of whatever their layers make."""
        return not self.models.options.train and elsewhere.alike(self.models, self.orders)

    @cached_property
    def _same(self) -> bool:
        """Return whether the models' outputs are the same but for tables of constants that float32 rounded."""
        train = self.models.options.train
        return self._alike or (not train and elsewhere.alike_but_for_tables(self.models, self.orders))

    def _tells(self, cut: Cut, held: Waiting) -> bool:
        """Return whether what a cut reads of an earlier step makes a difference to it, in either framework."""
        before, relation = held.step, held.step.relation
        if relation is None or not relation.fits(before.expected.shape, before.got.shape):
            return True
        fed = {tensor: self._value(tensor) for tensor in cut.feeds_tensorflow}
        mine, theirs = (
            (before.expected, relation.to_tensorflow(before.got)),
            (before.got, relation.to_torch(before.expected)),
        )
        for side, want, read, given, both in (
            (TWIN_TENSORFLOW, cut.tensorflow, before.cut.tensorflow, fed, mine),
            (TWIN_TORCH, cut.torch, before.cut.torch, self._fed_torch(cut, fed), theirs),
        ):
            if read in given:
                answers = [self.models.segment(side, {**given, read: value}, want)["value"] for value in both]
                first, second = (doubles(np.asarray(answer)) for answer in answers)
                if not np.allclose(first, second, CLOSE, CLOSE * float(np.abs(first).max(initial=0.0))):
                    return True
        return False

    def _judged(self, cut: Cut, ahead: Mapping[str, Array], given: Mapping[int, Array] | None = None) -> Step:
        """Return what was found at a cut; `given` are values that its segments were fed before.

        A buffer that holds 0.2989 as float32 does is 1e-8 from the same number in the other side's code. Where that is
        all, the torch twin has the number as it was written from here on.
        """
        step = self._as_held(cut, ahead, given)
        if step.finding.verdict != SEMANTIC or step.finding.d64 is None or step.finding.d64 > TABLE:
            return step
        further = self._from_common_ground(cut)
        if further is not None:
            again = self._as_held(further, ahead, given)
            if _agrees(again):
                return replace(again, finding=_noted(again.finding, ["judged from what both sides read"]))
        held, written = of_code(self.models, cut.segment_torch)
        if not written:
            return step
        self.models.set_weights(TWIN_TORCH, written)
        again = self._as_held(cut, ahead, given)
        if _agrees(again):
            names = ", ".join(f"`{name}`" for name in written)
            return replace(again, finding=_noted(again.finding, [f"torch's {names} taken as written, before float32"]))
        self.models.set_weights(TWIN_TORCH, held)
        return step

    def _from_common_ground(self, cut: Cut) -> Cut | None:
        """Return a cut that goes back, on the side that reads what was made of it, to what the other side reads.

        The variance of x is that of x - mean(x), but no longer after each was rounded to float32 by itself.
        """
        mine, theirs = set(cut.feeds_tensorflow), {self.partner.get(tensor) for tensor in cut.feeds_torch}
        makers = self.models[TENSORFLOW].producers(), self.models[TORCH].producers()
        if mine == theirs:
            return self._without_parts(cut, makers)
        wanted = {tensor for tensor in theirs if tensor is not None}
        ops, feeds = segment(cut.tensorflow, makers[0], wanted)
        if feeds and set(feeds) <= wanted and feeds != cut.feeds_tensorflow:
            return replace(cut, segment_tensorflow=ops, feeds_tensorflow=feeds)
        wanted = {tensor for tensor, partner in self.partner.items() if partner in mine}
        ops, feeds = segment(cut.torch, makers[1], wanted)
        if feeds and set(feeds) <= wanted and feeds != cut.feeds_torch:
            return replace(cut, segment_torch=ops, feeds_torch=feeds)
        return None

    def _without_parts(self, cut: Cut, makers: tuple[Mapping[int, Op], Mapping[int, Op]]) -> Cut | None:
        """Return a cut that makes itself what it was fed of a part, where it is fed what the whole is made of, too.

        One side may read a half, rounded to float32, and the other the whole, which was not.
        """
        found = cut
        for part in cut.feeds_torch:
            partner = self.partner.get(part)
            stops = set(found.feeds_tensorflow) - {partner}, set(found.feeds_torch) - {part}
            if partner is None or not stops[0] or not stops[1]:
                continue
            ops, feeds = segment(cut.tensorflow, makers[0], stops[0])
            others, others_fed = segment(cut.torch, makers[1], stops[1])
            if set(feeds) <= stops[0] and set(others_fed) <= stops[1]:
                found = replace(
                    found, segment_tensorflow=ops, feeds_tensorflow=feeds,
                    segment_torch=others, feeds_torch=others_fed,
                )  # fmt: skip
        return None if found is cut else found

    def _as_held(self, cut: Cut, ahead: Mapping[str, Array], given: Mapping[int, Array] | None) -> Step:
        own = {tensor: self._value(tensor) for tensor in cut.feeds_tensorflow if tensor not in (given or {})}
        if _bends_elsewhere(cut):
            own = {tensor: _stretched(value, _border(cut)) for tensor, value in own.items()}
        fed = {**own, **{tensor: value for tensor, value in (given or {}).items() if tensor in cut.feeds_tensorflow}}
        try:
            fed_torch = self._fed_torch(cut, fed, as_it_is=given is not None)
        except PairingError as error:
            return self._refused(cut, fed, {}, str(error), ahead)
        answers, notes = self._forced(cut, fed, fed_torch)
        broken = next((answer for answer in answers.values() if isinstance(answer, ParityError)), None)
        if broken is not None:
            return self._refused(cut, fed, fed_torch, str(broken), ahead)
        values = {side: np.asarray(answers[side]["value"]) for side in SIDES}
        relation = self.orders.of(cut.tensorflow, cut.torch)
        shapes = values[TWIN_TENSORFLOW].shape, values[TWIN_TORCH].shape
        if relation is None or not relation.fits(*shapes):  # shapes that depend on values, others at the first look
            relation = self._relation(cut, values, None)
        if (
            relation is not None
            and relation.perm is not None
            and relation.perm.size * len(values[TWIN_TORCH]) != (values[TWIN_TORCH].size)
        ):
            relation = None  # what torch makes of what it was fed is of another size than when it ran by itself
        bounds = self._bounds(cut, answers[TWIN_TORCH], values, fed_torch, notes)
        finding, bound64 = self._judge(cut, values, bounds, relation, notes)
        open_ = not self.orders.sure(cut.tensorflow, cut.torch) and not self._keeps_axes(cut)
        if finding.verdict == SEMANTIC and open_:
            before, relation = relation, self._relation(cut, values, relation)
            again, bound = self._judge(cut, values, bounds, relation, notes)
            if before is not None and not _clears(again, finding):
                relation = before  # a triangle that is upside down looks like one whose axes are exchanged
                self.orders.learn(cut.tensorflow, cut.torch, before)
            else:
                finding, bound64 = again, bound
            if self.models.options.train and relation is not before and finding.verdict != SEMANTIC:
                answers, _ = self._forced(cut, fed, fed_torch)  # its gradient was sent in another order
        if finding.verdict == SEMANTIC and not given:
            finding, bound64, relation = self._reordered(cut, values, bounds, (finding, bound64, relation), notes)
        slack = 0.0
        tables = finding.verdict == SEMANTIC and (self._tables(cut) or _one_number(cut))
        if tables and finding.d64 is not None and finding.d64 <= TABLE:
            slack = TABLE
            held = "a number" if _one_number(cut) else "a table of constants"
            notes.append(f"both hold {held} in float32, {finding.d64:.1g} of its largest apart")
            low, high = bounds
            scale = float(np.abs(values[TWIN_TORCH]).max(initial=0.0))
            self.models.tables_apart = max(self.models.tables_apart, finding.d64)
            # What reads its table in double errs in float32 by as much as the two tables are apart.
            wider = low + finding.d64 * scale, np.maximum(high, slack * scale)
            finding, bound64 = self._judge(cut, values, wider, relation, notes)
        if finding.verdict == PRECISION and self._tables(cut):
            finding = self._made_in_single(cut, values, bounds, relation, notes) or finding
        if finding.verdict == SEMANTIC and not given and relation is not None and bound64 is not None and self._same:
            finding = self._where_read(cut, values, bounds, relation, bound64, notes) or finding
        return Step(
            cut, finding, self._d32(ahead, relation), fed, fed_torch, values[TWIN_TENSORFLOW], values[TWIN_TORCH],
            relation, bound64, tuple(notes), values, answers, slack, tables,
        )  # fmt: skip

    def _reordered(
        self, cut: Cut, values: Mapping[str, Array], bounds: tuple[Array, Array], judged: Judged, notes: list[str]
    ) -> Judged:
        """Judge anew where torch holds the same numbers in an order that the models' outputs do not show.

        Such as tokens that one side cuts out in another sequence, and puts back behind layers that know of none.
        """
        shown = by_values(values[TWIN_TENSORFLOW], values[TWIN_TORCH]) if self._alike else None
        if shown is None:
            return judged
        again, bound = self._judge(cut, values, bounds, shown, notes)
        if again.verdict == SEMANTIC:
            return judged
        self.orders.learn(cut.tensorflow, cut.torch, shown)
        notes.append("torch has the same numbers in another order, which no output shows")
        return again, bound, shown

    def _where_read(
        self, cut: Cut, values: Mapping[str, Array], bounds: tuple[Array, Array], relation: Relation, bound64: Array,
        notes: list[str],
    ) -> Finding | None:  # fmt: skip
        """Judge anew without what no output reads, as where one side alone masks the queries of padding."""
        found = unread.agreed(self.models, cut, values, relation, bound64, self.inputs)
        if found is None:
            return None
        again, _ = self._judge(cut, found[0], bounds, relation, [*notes, found[1]])
        return again if again.verdict in PASSING else None

    def _made_in_single(
        self, cut: Cut, values: Mapping[str, Array], bounds: tuple[Array, Array], relation: Relation | None,
        notes: list[str],
    ) -> Finding | None:  # fmt: skip
        """Judge anew where both have a table that float32 itself made, of powers or sines: each step of it rounded.

        The bound knows of one rounding of a constant. None where what is off is more than a table may be.
        """
        scale = float(np.abs(values[TWIN_TORCH]).max(initial=0.0))
        off = max(
            float(np.abs(doubles(values[side]) - doubles(values[twin])).max(initial=0.0))
            for side, twin in ((TENSORFLOW, TWIN_TENSORFLOW), (TORCH, TWIN_TORCH))
        )
        said = [*notes, f"the table of constants is made in float32, up to {off / scale if scale else 0.0:.1g} off"]
        wider = np.maximum(bounds[0], TABLE * scale), bounds[1]
        again, _ = self._judge(cut, values, wider, relation, said)
        return again if again.verdict in PASSING else None

    def _keeps_axes(self, cut: Cut) -> bool:
        """Return whether all that happens treats every number on its own, beside one tensor of the result's shape."""
        if not all(op.kind in AXES_STAY and not op.weights for op in (*cut.segment_tensorflow, *cut.segment_torch)):
            return False
        mine, theirs = self.models[TENSORFLOW].shapes, self.models[TORCH].shapes
        return any(
            mine.get(self.partner.get(tensor, -1)) == mine.get(cut.tensorflow)
            and theirs.get(tensor) == theirs[cut.torch]
            for tensor in cut.feeds_torch
        )

    def _tables(self, cut: Cut) -> bool:
        """Return whether all that happens is arithmetic with constants, and both sides have many of them in one.

        A product with a matrix or kernel of constants is such arithmetic where one side has it in its code, not in a
        weight: two layers that are frozen hold no table. So is a linear layer of constants alone, whoever trains it,
        and what adds its result to what is fed.
        """
        sides = (cut.feeds_tensorflow, cut.segment_tensorflow), (cut.feeds_torch, cut.segment_torch)
        if all(adds_a_layer(*side) for side in sides):
            return True
        segments = cut.segment_tensorflow, cut.segment_torch
        in_code = any(ops and not any(op.weights for op in ops) for ops in segments)
        for ops, framework in ((cut.segment_tensorflow, TENSORFLOW), (cut.segment_torch, TORCH)):
            fixed = {name for name, weight in self.models[framework].weights.items() if not weight.trainable}
            read = [op for op in ops if (not op.inputs and op.weights) or op.kind in WINDOWED]  # a table by itself
            arithmetic = [op for op in ops if op.kind in ARITHMETIC or (in_code and op.kind in PRODUCTS)]
            others = [op for op in ops if op not in (*arithmetic, *read) and op.effect == COMPUTES]
            linear = PICKING | TRANSFORMS | PARTS
            if any(op.kind not in linear and op.config.get("function") not in SUMS for op in others):
                return False
            if any(not set(op.weights.values()) <= fixed for op in ops):
                return False
            if not read and not any(_reads_table(op) for op in arithmetic):
                return False
        return True

    def _propagated(self, cut: Cut) -> dict[str, Array]:
        """Take the float32 sides' own values at this cut, and the twin's, which later segments are fed."""
        wanted = {TENSORFLOW: cut.tensorflow, TORCH: cut.torch}
        ahead = self.models.workers.each(lambda side: self._own(side, wanted[side]), (TENSORFLOW, TORCH))
        self._value(cut.tensorflow, wanted=False)
        return dict(ahead)

    def _own(self, side: str, tensor: int) -> Array:
        """Return a side's own value of a tensor; kept for as long as further cuts compare the same one."""
        key = (side, tensor)
        value = self._ahead.pop(key) if key in self._ahead else self.models.advance(side, tensor)
        self._cuts_left[key] -= 1
        if self._cuts_left[key]:
            self._ahead[key] = value
        return value

    def _value(self, tensor: int, wanted: bool = True) -> Array:
        if tensor not in self._values and tensor not in self._asked:
            self._asked.add(tensor)
            twin = self.models.advance(TWIN_TENSORFLOW, tensor)
            if self._users.get(tensor, 0):
                with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and the judge says so
                    self._values[tensor] = twin.astype(np.float32) if np.issubdtype(twin.dtype, np.floating) else twin
        return self._values[tensor] if wanted else np.empty(0)

    def _drop(self, cut: Cut) -> None:
        for tensor in self._needs(cut):
            self._users[tensor] -= 1
            if not self._users[tensor]:
                self._values.pop(tensor, None)

    def _fed_torch(self, cut: Cut, given: Mapping[int, Array], *, as_it_is: bool = False) -> dict[int, Array]:
        """Return what torch is fed for what TensorFlow is.

        With `as_it_is`, that is the tensor itself where what torch makes there has a shape of its own: a mean over
        another axis is a fault, and what reads it may be the same function of it all the same.
        """
        fed = {}
        for tensor in cut.feeds_torch:
            partner = self.partner.get(tensor)
            if partner is None:
                raise PairingError(f"torch reads an input that TensorFlow's model does not have (tensor {tensor})")
            value = given[partner] if partner in given else self._value(partner)
            relation = self.orders.of(partner, tensor)
            if relation is None and as_it_is:
                fed[tensor] = _as_read(value, self.models[TORCH].dtypes.get(tensor, ""))
                continue
            if relation is None:
                shape = self.models[TORCH].shapes.get(tensor)
                raise PairingError(
                    f"what torch is fed has shape {shape} there, and TensorFlow's {value.shape} does not fit"
                )
            fed[tensor] = _as_read(relation.to_torch(value), self.models[TORCH].dtypes.get(tensor, ""))
        return fed

    def _forced(
        self, cut: Cut, fed: Mapping[int, Array], fed_torch: Mapping[int, Array]
    ) -> tuple[dict[str, Any], list[str]]:
        def ask(side: str) -> Any:
            mine = family(side) == TENSORFLOW
            extra: dict[str, Any] = {"bounds": True} if side == TWIN_TORCH else {}
            if upstream is not None:
                extra |= {"upstream": upstream[family(side)], "state": True}
            try:
                return self.models.segment(
                    side, fed if mine else fed_torch, cut.tensorflow if mine else cut.torch, **extra
                )
            except ParityError as error:
                if is_fatal(error):
                    raise
                return error

        upstream = self._upstream(cut)
        answers, notes = self.models.workers.each(ask), list[str]()
        if upstream is not None and isinstance(answers[TWIN_TORCH], dict):
            answers[TWIN_TORCH]["upstream"] = upstream[TORCH]
        for twin, plain in ((TWIN_TENSORFLOW, TENSORFLOW), (TWIN_TORCH, TORCH)):
            if isinstance(answers[twin], ParityError) and not isinstance(answers[plain], ParityError):
                notes.append(f"{plain} has no float64 form of it, so that float32's bound decides")
                answers[twin] = {**answers[plain], "bounds_unknown": "no float64 form"}
        return answers, notes

    def _upstream(self, cut: Cut) -> dict[str, Array] | None:
        """Return the same random gradient for both sides, in training only."""
        relation = self.orders.of(cut.tensorflow, cut.torch)
        dtype = self.models[TENSORFLOW].dtypes.get(cut.tensorflow, "float32")
        if not self.models.options.train or relation is None or not dtype.startswith("float"):
            return None
        rng = np.random.default_rng(cut.tensorflow + 1)
        shape = self.models[TENSORFLOW].shapes[cut.tensorflow]
        mine = draws.upstream(shape, rng)
        return {TENSORFLOW: mine, TORCH: relation.to_torch(mine)}

    def _refused(
        self, cut: Cut, fed: Mapping[int, Array], fed_torch: Mapping[int, Array], why: str, ahead: Mapping[str, Array]
    ) -> Step:
        line = why.strip().splitlines()[0] if why.strip() else "no reason given"
        finding = Finding(cut.name, cut.kind, NOT_COMPARED, line, shape=tuple(ahead[TENSORFLOW].shape))
        relation = self.orders.of(cut.tensorflow, cut.torch)
        return Step(
            cut, finding, self._d32(ahead, relation), fed, fed_torch, ahead[TENSORFLOW], ahead[TORCH], relation, None
        )

    def _relation(self, cut: Cut, values: Mapping[str, Array], known: Relation | None) -> Relation | None:
        """Let the values say how the axes are ordered where the graphs leave it open."""
        chosen = choose(values[TWIN_TENSORFLOW], values[TWIN_TORCH], known)
        if chosen is not None:
            self.orders.learn(cut.tensorflow, cut.torch, chosen)
        return chosen

    def _bounds(
        self, cut: Cut, answer: Mapping[str, Any], values: Mapping[str, Array], fed: Mapping[int, Array],
        notes: list[str],
    ) -> tuple[Array, Array]:  # fmt: skip
        """Return float32's and float64's absolute bounds in torch's order."""
        if "bounds32" in answer:
            low, high = np.asarray(answer["bounds32"]), np.asarray(answer["bounds64"])
        else:
            notes.append(f"no rule bounds it ({answer.get('bounds_unknown')}): bounded by how perturbed inputs answer")
            low = self._perturbed(cut, values[TWIN_TORCH], fed)
            high = low * (UNIT_ROUNDOFF["float64"] / UNIT_ROUNDOFF["float32"])
        unseen = _beside(cut, doubles(values[TWIN_TORCH]))
        low, high = (bound + unseen * UNIT_ROUNDOFF[name] for bound, name in ((low, "float32"), (high, "float64")))
        wider = max(
            (1.0 + OF_NORM / (1 + op.config[TERMS]) for op in cut.segment_tensorflow if TERMS in op.config), default=1.0
        )
        low, high = low * wider, high * wider
        if any(note.endswith("float32's bound decides") for note in notes) or any(
            map(self.models.single, cut.segment_tensorflow)
        ):
            if not notes:
                notes.append("tensorflow has float32 in it even in its twin, so that float32's bound decides")
            high = low
        return low, high

    def _perturbed(self, cut: Cut, value: Array, fed: Mapping[int, Array]) -> Array:
        """Return a measured bound where no rule exists: how far the result moves when its inputs do by one rounding."""
        rng = np.random.default_rng(0)
        moved = np.zeros(value.shape)
        unit = UNIT_ROUNDOFF["float32"]
        for _ in range(DRAWS):
            noisy = {
                tensor: doubles(x) * (1.0 + unit * rng.choice([-1.0, 1.0], x.shape))
                if np.issubdtype(x.dtype, np.inexact) else x
                for tensor, x in fed.items()
            }  # fmt: skip
            answer = self.models.segment(TWIN_TORCH, noisy, cut.torch)
            moved = np.maximum(moved, np.abs(doubles(np.asarray(answer["value"])) - value))
        terms = max([int(np.prod(x.shape[1:])) for x in fed.values()] or [1])
        magnitude = np.abs(doubles(value))
        return np.asarray(
            SAFETY * (moved.max(initial=0.0) + moved)
            + unit * SAFETY * np.sqrt(terms) * (magnitude + magnitude.max(initial=0.0))
        )

    def _judge(
        self, cut: Cut, values: Mapping[str, Array], bounds: tuple[Array, Array], relation: Relation | None,
        notes: list[str],
    ) -> tuple[Finding, Array | None]:  # fmt: skip
        if relation is None:
            quartet = Quartet(*(values[side] for side in SIDES))
            return judge(cut.name, cut.kind, quartet, np.array(np.inf), np.array(np.inf)), None
        ordered = {
            side: values[side] if family(side) == TENSORFLOW else relation.to_tensorflow(values[side]) for side in SIDES
        }
        shape = values[TWIN_TORCH].shape
        low, high = (
            bound.reshape(()) if bound.size == 1 else relation.to_tensorflow(np.broadcast_to(bound, shape))
            for bound in bounds
        )
        finding = judge(cut.name, cut.kind, Quartet(*(ordered[side] for side in SIDES)), low, high)
        if notes:
            finding = _noted(finding, notes)
        return finding, high

    def _d32(self, ahead: Mapping[str, Array], relation: Relation | None) -> float | None:
        a = doubles(ahead[TENSORFLOW])
        if relation is None or not relation.fits(a.shape, ahead[TORCH].shape):
            return None
        b = doubles(relation.to_tensorflow(ahead[TORCH]))
        if a.shape != b.shape or not a.size or not np.isfinite(a).all() or not np.isfinite(b).all():
            return None
        return float(np.abs(a - b).max() / (np.abs(a).max() or 1.0))


def _agrees(step: Step) -> bool:
    """Return whether a step is the same on both sides, and its bound not so wide that it would hide a difference."""
    far = SINGLE_CLOSE if step.single or step.slack else CLOSE
    known = step.finding.d64 is not None and step.finding.d64 <= far
    return known and step.finding.verdict not in (SEMANTIC, NOT_COMPARED)


def _by_its_table(step: Step, alone: Step) -> bool:
    """Return whether a step judged with others differs by no more than the table does that it reads by itself."""
    apart = alone.finding.d64 if alone.slack and _agrees(alone) else None
    return apart is not None and step.finding.d64 is not None and step.finding.d64 <= TABLE_ANEW * apart


def _clears(again: Finding, before: Finding) -> bool:
    """Return whether another order of the axes takes a good part of a difference away, or makes shapes fit."""
    if again.verdict != SEMANTIC or before.d64 is None:
        return True
    return again.d64 is not None and again.d64 < CLEARED * before.d64


def _as_read(value: Array, dtype: str) -> Array:
    """Return values as torch reads them there: masks and counts may be of one kind on one side and not on the other."""
    kind = value.dtype.kind
    if dtype == "bool" and kind != "b" and bool(np.isin(value, (0, 1)).all()):
        return value.astype(np.bool_)
    if dtype.startswith("int") and kind == "f" and bool((np.isfinite(value) & (value == np.rint(value))).all()):
        return value.astype(np.int64)
    return (
        value.astype(np.float32 if kind == "b" else np.float64) if kind in "bi" and dtype.startswith("float") else value
    )


def _beside(cut: Cut, value: Array) -> Array:
    """Return what rounding adds to the bound of a value, in unit roundoffs, beyond what torch's operations round."""
    unseen = _roundings_unseen(cut)
    sized = unseen * np.abs(value) if unseen else np.zeros(())  # no times infinity, of scores that are masked
    return np.asarray(sized + _roundings_of_one(cut))


def _roundings_unseen(cut: Cut) -> float:
    """Return how many roundings of the result TensorFlow's layer makes that torch's operations, which bound it, do not.

    A power where torch has products; the root of a variance, and the variance, where torch has their result; a function
    of its own where torch's code writes it out.
    """
    mine, theirs = cut.main_tensorflow, cut.main_torch
    if _is_power(mine) and not _is_power(theirs):
        return POWER
    function = None if mine is None else mine.config.get("function")
    if function in OWN and not any(op.config.get("function") == function for op in cut.segment_torch):
        return OWN[function]
    return ROOT if mine is not None and mine.kind == "standardize" else 0.0


def _roundings_of_one(cut: Cut) -> float:
    """Return how many roundings of what is left of 1 TensorFlow's exp(x) - 1 makes where torch's code has expm1(x)."""
    if not any(op.kind == "op:expm1" for op in cut.segment_torch):
        return 0.0
    bent = [op.config for op in cut.segment_tensorflow if op.config.get("function") in EXPONENTIALS]
    return EXPONENTIAL * max((float(config.get("alpha") or SELU) for config in bent), default=0.0)


def _is_power(op: Op | None) -> bool:
    return op is not None and op.kind == "power"


def _noted(finding: Finding, notes: Sequence[str]) -> Finding:
    said = "; ".join(notes)
    return replace(finding, note=f"{finding.note} ({said})".strip() if finding.note else said)


def _reads_table(op: Op) -> bool:
    """Return whether an operation's other operand is a table of numbers; an eps is none."""
    told = [value for key in ("constant", "scale", "offset") if (value := op.config.get(key)) is not None]
    sizes = [len(value) if isinstance(value, (list, tuple)) else 1 for value in told]
    return len(op.inputs) == 1 and (not sizes or max(sizes) >= MANY)


def _one_number(cut: Cut) -> bool:
    """Return whether both sides only scale and shift by numbers that are the same in float32.

    Beside the one by which both scale their scores, attention may hold what adds no error of its own.
    """
    first, second = (_scaled(ops) for ops in (cut.segment_tensorflow, cut.segment_torch))
    if first is None or second is None:
        return False
    return bool(np.allclose(first, second, UNIT_ROUNDOFF["float32"], 0.0))


def _scaled(ops: Sequence[Op]) -> list[float] | None:
    """Return the only factor and shift of a segment; None where there are several, or where more is computed."""
    numbers, others = list[list[float]](), set[str]()
    for op in ops:
        if op.kind != "rescale":
            others |= set() if op.effect == MOVES else {op.kind}
        elif float(op.config.get("scale", 1.0)) != 1.0 or abs(float(op.config.get("offset", 0.0))) > SHIFT:
            numbers.append([float(op.config.get(key, usual)) for key, usual in SCALED])
    within = not others or (others <= OF_SCORES and not any(op.weights for op in ops))
    return numbers[0] if len(numbers) == 1 and within else None


def _bends_elsewhere(cut: Cut) -> bool:
    """Return whether two activations are not written alike, so that the values at hand may miss where they part."""
    mains = cut.main_tensorflow, cut.main_torch
    if not all(main is not None and main.kind == "activation" for main in mains):
        return False
    first, second = (dict(main.config) for main in mains if main is not None)
    return first != second and {str(one.get("function")) for one in (first, second)} <= BENDS


def _border(cut: Cut) -> float:
    """Return how far out both activations show all their bends."""
    mains = [main for main in (cut.main_tensorflow, cut.main_torch) if main is not None]
    told = [main.config.get(key) for main in mains for key in ("min", "max", "max_value")]
    return max([FAR, *(1.5 * abs(value) for value in told if isinstance(value, (int, float)))])


def _stretched(value: Array, far: float) -> Array:
    """Return an activation's input with some of its numbers far out on both sides, where training may bring them."""
    if value.dtype.kind != "f" or not value.size:
        return value
    flat = value.copy().reshape(-1)
    count = min(flat.size, 241)
    flat[:: max(flat.size // count, 1)][:count] = np.linspace(-far, far, count)
    return flat.reshape(value.shape)
