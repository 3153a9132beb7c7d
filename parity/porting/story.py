"""What a comparison has found so far, cut by cut, and the verdict that it comes to."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from parity.errors import ParityError, own_fault
from parity.judge.traps.remedy import Settled
from parity.judge.verdict import NOT_COMPARED, PASSING, PRECISION, SEMANTIC, Finding
from parity.model.trace import MOVES, REPLAY, Op, used_weights, weight_names, weights_that_matter
from parity.pairing.copying import WeightPlan
from parity.pairing.families import family
from parity.pairing.match import Matching
from parity.pairing.relations import Relation
from parity.porting import elsewhere, folding, freezing, in_keras, kept, loaded, moved, outputs, short, ties, training
from parity.porting.causes import UNKNOWN, Bank
from parity.porting.cuts import Cut, Step, extras
from parity.porting.fresh import SHIFTS, neutral, not_finite, untouched, untrained
from parity.porting.options import AS_IS, TENSORFLOW_TO_TORCH, TORCH_TO_TENSORFLOW, Array, is_onnx
from parity.porting.orders import Orders
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models
from parity.porting.verdict import LayerVerdict, Source, Verdict, at_every_call, decide, layer_name, listed

Progress = Callable[[str, Any], None]
NAMED = 3  # weights that a note names


@dataclass(frozen=True)
class Prepared:
    """Both models built, run once, paired, and given the same weights."""

    models: Models
    inputs: Mapping[str, list[Array]]
    matching: Matching
    plan: WeightPlan
    orders: Orders
    weights: Mapping[str, Mapping[str, Array]]  # as both float32 sides hold them now
    built: Mapping[str, Mapping[str, Array]]  # as the builders gave them
    prints: tuple[Mapping[int, list[float]], Mapping[int, list[float]]]  # figures of each tensor of the twins
    notes: tuple[str, ...]
    from_constants: frozenset[str] = frozenset()  # torch's weights that have the numbers of a constant of TensorFlow's


@dataclass
class Story:
    """What a comparison has found so far."""

    prepared: Prepared
    bank: Bank
    layers: list[LayerVerdict] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    step: list[Finding] = field(default_factory=list)
    ends: outputs.Ends = outputs.NOT_LOOKED_AT
    broken: str = ""
    notes: tuple[str, ...] = ()  # about the check itself
    uncarried: str = ""  # which layers could not be given the same weights, if any
    adrift: set[int] = field(default_factory=set)  # tensors of TensorFlow's that such layers made
    tied: list[Source] = field(default_factory=list)  # layers whose gradients differ where inputs are equal, at worst
    kept: kept.Kept = field(default_factory=kept.Kept)  # statistics that only one side keeps
    _loose: set[int] = field(default_factory=set)  # of those that are adrift: the order of their axes is not known
    _blamed: set[tuple[int, int]] = field(default_factory=set)  # operations of either side before an unknown fault
    _moved: set[tuple[int, int]] = field(default_factory=set)  # what only moves numbers there
    _found: dict[int, list[Source]] = field(default_factory=dict)  # by the tensor of TensorFlow's that differs

    def add(self, step: Step) -> LayerVerdict:
        """Take one cut: judge its gradients in training, look for causes, and return its row."""
        prepared = self.prepared
        given, step = step, self._in_earnest(step)
        # Where the two hold other weights, their gradients have as little in common as their results.
        training_ = prepared.models.options.train and step is given
        gradients = training.gradients(step, prepared.plan, prepared.orders) if training_ else []
        if step.finding.verdict != SEMANTIC:
            used = training.without_idle(step, gradients, prepared.plan, self._training)
            gradients = self._without_ties(step, used)
        row = _row(step, gradients)
        self.layers.append(row)
        if step.finding.verdict == SEMANTIC:
            found = self._not_told_yet(step, self._sought(step))
            self._found[step.cut.tensorflow] = found
            for settled in (settled for one in found for settled in one.settles):
                self._settle(settled, (step.cut.tensorflow, step.cut.torch))
            found = [*found, *training.of_statistics(step, gradients, prepared.plan, prepared.weights)]
        else:
            found = training.sources(step, gradients, prepared.plan, prepared.weights, self.bank.of_gradients)
        self.sources = at_every_call(self.sources, in_keras.mended(found, prepared.models))
        return row

    def _settle(self, settled: Settled, seen: tuple[int, int]) -> None:
        """Keep how two tensors are ordered without a fault: what follows is fed as if it were mended."""
        mine, theirs, order = settled
        models = self.prepared.models
        if isinstance(order, str):
            relation = Relation(order)
        else:
            relation = Relation.explicit(order, models[TENSORFLOW].shapes[mine][1:], models[TORCH].shapes[theirs][1:])
        self.prepared.orders.settle(mine, theirs, relation, seen)

    @cached_property
    def _training(self) -> tuple[training.Training, training.Training]:
        mine, theirs = (training.Training.of(self.prepared.models[side]) for side in (TENSORFLOW, TORCH))
        return mine, theirs

    def _sought(self, step: Step) -> list[Source]:
        """Return what explains a difference: that there is one stays known where the search for its cause fails."""
        try:
            return self._of_whole(step) or self._explained(step)
        except ParityError:
            raise
        except Exception as error:
            return [self.bank.not_sought(step, own_fault(error))]

    def _explained(self, step: Step) -> list[Source]:
        return folding.of_eps(self.prepared.models, step) or self.bank.sources(step)

    def _of_whole(self, step: Step) -> list[Source]:
        """Return the one cause of several steps in a row, if there is one, in the place of what was told of each.

        Two people write a pipeline in other steps; a fault in it then shows in more than one of them.
        """
        if step.whole is None:
            return []
        found = self.bank.of_several(step.whole)
        before = [source for tensor in step.parts for source in self._found.get(tensor, ())]
        if found:
            self.sources = [source for source in self.sources if not any(source is one for one in before)]
        return found

    def _not_told_yet(self, step: Step, found: list[Source]) -> list[Source]:
        """Return what was found, but nothing where an unknown fault before two results was told at the first of them.

        A mean and a deviation read what one side alone computes: until that is mended, nothing is known of either.
        Nor of what reads numbers that one side may have moved otherwise.
        """
        if any(source.cause != UNKNOWN for source in found):
            return found
        alone = extras(step.cut, self.prepared.matching)
        whole = step.cut.segment_tensorflow, step.cut.segment_torch
        ops, within = ({(side, op.index) for side, some in enumerate(both) for op in some} for both in (alone, whole))
        told = bool(ops & self._blamed or within & self._moved)
        self._blamed |= ops
        self._moved |= {op for source in found for op in source.moved}
        return [] if told else found

    def _without_ties(self, step: Step, gradients: list[Finding]) -> list[Finding]:
        """Return a layer's gradients, judged without ties where it is these alone that make them differ."""
        prepared = self.prepared
        found = ties.without(step, gradients, prepared.models, prepared.plan, prepared.orders)
        if found is None:
            return gradients
        self.tied.append(found.source)
        return found.gradients

    def _in_earnest(self, step: Step) -> Step:
        """Return a step that differs as not compared where both sides use weights that could not be carried at all.

        So is what follows it, as long as one side still does: what is fed there is no common ground. And so is what one
        side does with such weights where not even the shapes fit, for then the two were no partners.
        """
        cut = step.cut
        loose = any(tensor in self._loose for tensor in cut.feeds_tensorflow)  # nobody knows which axis is which
        if step.finding.verdict != SEMANTIC:
            if loose and not self.prepared.orders.sure(cut.tensorflow, cut.torch):
                self._loose.add(cut.tensorflow)
            return step
        if loose:
            return self._set_adrift(step, self.uncarried)
        segments = (step.cut.segment_tensorflow, step.cut.segment_torch)
        folded = next(
            (op.name for ops, some in zip(segments, self._folded, strict=True) for op in ops if op.index in some), None
        )
        if folded is not None:
            return self._uncompared(
                step,
                f"`{folded}`: the ONNX file holds a batch normalisation folded into the layer before it, in float32:"
                " compare the model that it was exported from, or export it unfolded (optimize=False)",
            )
        found = [
            next((op.name for op in ops if op.index in some), "")
            for ops, some in zip(segments, self._strangers, strict=True)
        ]
        follows = any(tensor in self.adrift for tensor in step.cut.feeds_tensorflow)
        unlike = step.finding.d64 is None and all(self._strangers)
        if not all(found) and not (any(found) and (follows or unlike)):
            return self._beside_a_table(step)
        models, names = self.prepared.models, list[str]()
        for name, side, some in zip(found, (TENSORFLOW, TORCH), self._strangers, strict=True):
            names.append(name or next((op.name for op in models[side].ops if op.index in some), ""))
        whose = f"between `{names[0]}` and `{names[1]}`" if all(names) else f"of `{names[0] or names[1]}`"
        advice = "the map may pair the wrong layers" if models.options.by_hand else "pair their layers with --map"
        note = f"no weights could be carried {whose}: {advice}"
        return self._set_adrift(step, note)

    @cached_property
    def _folded(self) -> tuple[set[int], set[int]]:
        """Batch normalisations of a side that the other's ONNX graph has no partner for, and the layers before them.

        Exporters multiply a layer's weights by the norm's; nobody can be given these again, nor be told from them.
        """
        matching = self.prepared.matching
        alone = {TENSORFLOW: matching.only_tensorflow, TORCH: matching.only_torch}
        found: list[set[int]] = []
        for side, other in ((TENSORFLOW, TORCH), (TORCH, TENSORFLOW)):
            models = self.prepared.models
            found.append(set())
            if not is_onnx(models.builders[other]):
                continue
            makers = models[side].producers()
            norms = [op for op in models[side].ops if op.index in alone[side] and op.kind == "batch_norm"]
            before = {makers[tensor].index for op in norms for tensor in op.inputs if tensor in makers}
            found[-1] |= before | {op.index for op in norms}
        return found[0], found[1]

    def _set_adrift(self, step: Step, note: str) -> Step:
        """Return a step as not compared; what follows it may not be either."""
        cut = step.cut
        self.adrift.add(cut.tensorflow)
        if not self.prepared.orders.sure(cut.tensorflow, cut.torch):
            self._loose.add(cut.tensorflow)
        return self._uncompared(step, note)

    def _uncompared(self, step: Step, note: str) -> Step:
        self.uncarried = self.uncarried or note
        return replace(step, finding=replace(step.finding, verdict=NOT_COMPARED, note=note))

    def _beside_a_table(self, step: Step) -> Step:
        """Return a step as not compared where one side reads a weight, and the other numbers of its shape in its place.

        Keras makes a constant of an embedding that is called on a constant while a model is built.
        """
        models, plan_ = self.prepared.models, self.prepared.plan
        sides = (TENSORFLOW, step.cut.segment_tensorflow), (TORCH, step.cut.segment_torch)
        for one, ((side, ops), strangers) in enumerate(zip(sides, self._strangers, strict=True)):
            other, others = sides[1 - one]
            tables = {shape: op.name for op in others if (shape := _long(op.config.get("constant_shape") or ()))}
            alone = plan_.unmatched_torch if side == TORCH else plan_.unmatched_tensorflow
            for _, _, name in used_weights(op for op in ops if op.index in strangers):
                held = tables.get(_long(models[side].weights[name].shape))
                if held and name in alone and name not in self.prepared.from_constants:
                    self.adrift.add(step.cut.tensorflow)
                    return self._uncompared(
                        step,
                        f"{LABELS[side]} weight `{name}` has no partner: {LABELS[other]}'s `{held}` holds constant"
                        " numbers in its place, into which nothing can be carried",
                    )
        return step

    @cached_property
    def _strangers(self) -> tuple[set[int], set[int]]:
        """The operations of either side none of whose weights has a partner, nor have they one of their own family.

        A layer of another size that was paired is no stranger: that its weights do not fit is the fault. It is one if
        both of a pair have weights that nobody tried to carry into each other, or it reads one in passing.
        """
        plan_, models = self.prepared.plan, self.prepared.models
        if models.options.weights == AS_IS:
            return set(), set()
        ops = tuple({op.index: op for op in models[side].ops} for side in (TENSORFLOW, TORCH))
        known: tuple[set[int], set[int]] = set(), set()
        strangers: list[set[int]] = [set(), set()]
        for pair in self.prepared.matching.pairs:
            mine, theirs = ops[0][pair.tensorflow], ops[1][pair.torch]
            if mine.weights and theirs.weights and family(mine) == family(theirs):
                known[0].add(mine.index)
                known[1].add(theirs.index)
            left = self._untried(0, mine), self._untried(1, theirs)
            for place, op in enumerate((mine, theirs)):
                if all(left) or any(role.startswith("other") for role in left[place]):
                    strangers[place].add(op.index)
        for place, (side, alone, paired) in enumerate(
            zip(ops, (plan_.unmatched_tensorflow, plan_.unmatched_torch), known, strict=True)
        ):
            used = {index: {n for ref in op.weights.values() for n in weight_names(ref)} for index, op in side.items()}
            left_ = {index for index, names in used.items() if names and names <= set(alone)}
            strangers[place] |= left_ - paired
        return strangers[0], strangers[1]

    def _untried(self, place: int, op: Op) -> list[str]:
        """Return the roles of weights without a partner that nobody tried to carry; no bias and no norm's own."""
        plan_ = self.prepared.plan
        alone = {*(plan_.unmatched_torch if place else plan_.unmatched_tensorflow)} - plan_.misfits[place]
        if family(op) == "norm":
            return []
        return [role for role, ref in op.weights.items() if role not in SHIFTS and set(weight_names(ref)) <= alone]

    def look_further(self, found: Sequence[Cut], tell: Progress) -> None:
        """Ask both models on inputs further out, should one of them bend numbers where the other does not."""
        prepared = self.prepared
        asked = prepared.models, prepared.matching, prepared.orders

        def say(text: str) -> None:
            tell("stage", text)

        bent = elsewhere.compare(*asked, found, say)
        shortened, notes = short.compare(prepared.models, found, prepared.orders, say)
        self.notes += tuple(notes)
        for source in (*([bent] if bent is not None else []), *shortened):
            self.sources.append(source)
            self.ends = outputs.Ends((*self.ends.verdicts, SEMANTIC), self.ends.why or source.evidence)
        if not self.ends.verdicts:
            own = loaded.compare(prepared.models, prepared.plan, prepared.orders, prepared.weights)
            self.notes += own.notes
            self.ends = replace(self.ends, verdicts=(SEMANTIC,), why=own.why) if own.why else self.ends

    def end_step(self, findings: list[Finding]) -> None:
        """Take the step of the whole model."""
        models, plan_ = self.prepared.models, self.prepared.plan
        frozen = freezing.Frozen(models, plan_, self._training)
        one_sided = frozen.findings()
        known = {finding.tensor for finding in one_sided}
        self.step = [*(finding for finding in findings if finding.tensor not in known), *one_sided]
        if self.uncarried:
            return
        self.sources += training.step_sources(self.step, plan_, models)
        self.sources += frozen.sources(self.sources)
        self.kept = kept.find(models, self.prepared.matching, plan_, self.prepared.inputs[TENSORFLOW])
        self.step += self.kept.findings
        self.sources += self.kept.sources
        if not self.sources and any(finding.verdict == SEMANTIC for finding in findings):
            self.sources += self.tied  # a weight feels what no layer alone was blamed for


def _long(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size > 1)


def _row(step: Step, gradients: Sequence[Finding]) -> LayerVerdict:
    cut = step.cut
    mine = layer_name(cut.main_tensorflow.name) if cut.main_tensorflow else cut.name
    theirs = layer_name(cut.main_torch.name) if cut.main_torch else cut.name
    return LayerVerdict(mine, theirs, cut.kind, step.finding, step.d32, tuple(gradients))


def _of_the_other_port(sources: Sequence[Source], models: Models) -> list[str]:
    """Return what must be known of the lines that mend torch's code where TensorFlow's is the port."""
    left = [source.torch or source.tensorflow or "" for source in sources if source.mends == TORCH]
    if not left or models.options.weights != TORCH_TO_TENSORFLOW:
        return []
    return [
        f"the fix at {listed(list(dict.fromkeys(left)))} is said of torch's code: where TensorFlow's is the port, make"
        " the same difference there the other way round (what is to be removed from torch is missing in TensorFlow, a"
        " number of torch's is the one to take)"
    ]


def _not_finite(prepared: Prepared) -> list[str]:
    """Return a note for each side whose own weights are not finite, before they were carried anywhere."""
    own = {TENSORFLOW_TO_TORCH: (TENSORFLOW,), TORCH_TO_TENSORFLOW: (TORCH,)}
    notes = list[str]()
    for side in own.get(prepared.models.options.weights, (TENSORFLOW, TORCH)):
        odd = not_finite(prepared.weights[side], prepared.models[side])
        more = f" and {len(odd) - NAMED} weights more" if len(odd) > NAMED else ""
        notes += [f"weights of the {LABELS[side]} model are not finite: {', '.join(odd[:NAMED])}{more}"] if odd else []
    return notes


def verdict_of(story: Story) -> Verdict:
    prepared, layers = story.prepared, story.layers
    models, weight_plan, matching = prepared.models, prepared.plan, prepared.matching
    unmatched, idle = _without_partner(prepared, story.kept.settled)
    odd = _not_finite(prepared)
    verdict, why, unlike = _decided(story, unmatched, odd)
    names = ({op.index: op for op in models[TENSORFLOW].ops}, {op.index: op for op in models[TORCH].ops})
    sources = [] if unlike else moved.as_one(in_keras.mended(story.sources, models), models)
    return Verdict(
        verdict=verdict,
        layers=tuple(layers),
        sources=tuple(sources),
        copied=len(weight_plan.links),
        unmatched_tensorflow=tuple(unmatched[0]),
        unmatched_torch=tuple(unmatched[1]),
        unpaired_tensorflow=tuple(names[0][i].name for i in matching.only_tensorflow if names[0][i].effect != MOVES),
        unpaired_torch=tuple(names[1][i].name for i in matching.only_torch if names[1][i].effect != MOVES),
        ambiguous=tuple(matching.ambiguous),
        notes=tuple(
            dict.fromkeys(
                [
                    *models.notes,
                    *prepared.notes,
                    *odd,
                    *weight_plan.notes,
                    *matching.notes,
                    *idle,
                    *story.kept.notes,
                    *story.notes,
                    *_of_the_other_port(sources, models),
                ]
            )
        ),
        why=why,
        step=tuple(story.step),
        about={
            "tensorflow": models.about[TENSORFLOW].get("class"),
            "torch": models.about[TORCH].get("class"),
            "inputs": [list(x.shape) for x in prepared.inputs[TENSORFLOW]],
            "weights": models.options.weights,
            "seed": models.options.seed,
            "train": models.options.train,
        },
    )


def _decided(story: Story, unmatched: tuple[list[str], list[str]], odd: Sequence[str]) -> tuple[str, str, bool]:
    """Return the verdict, why it is that, and whether a record that is unlike its model is the reason."""
    models, layers = story.prepared.models, story.layers
    # Whole outputs and steps differ by the weights, where some could not be carried.
    extra = [] if story.uncarried else [*story.ends.verdicts, *(finding.verdict for finding in story.step)]
    why = story.ends.unsteady or story.broken.partition("\n")[0] or story.uncarried or story.ends.why
    if story.broken:
        extra.append(NOT_COMPARED)
    if any(unmatched) and models.options.weights != AS_IS:
        settled = not why and decide(layers, extra) in PASSING
        extra.append(NOT_COMPARED)
        why = why or _unmatched_line(models, *unmatched, settled)
    verdict = NOT_COMPARED if story.ends.unsteady or models.cut_short else decide(layers, extra)
    unlike = _unlike_its_record(story) if verdict == SEMANTIC else ""
    if unlike:
        verdict, why = NOT_COMPARED, unlike
    if not why and (verdict in (NOT_COMPARED, PRECISION) or (verdict == SEMANTIC and not story.sources)):
        why = _first_told(story, verdict)
    if odd and verdict == NOT_COMPARED:
        why = f"{why}; {odd[0]}" if why else odd[0]
    return verdict, why, bool(unlike)


def _first_told(story: Story, verdict: str) -> str:
    """Return what is told of the first tensor that has a verdict."""
    found = [(row.tensorflow or row.torch, one) for row in story.layers for one in (row.forced, *row.gradients)]
    found += [(one.tensor, one) for one in story.step]
    told = (f"`{name}`: {one.note.rstrip('.')}" for name, one in found if one.verdict == verdict and one.note)
    return next(told, "")


def _unlike_its_record(story: Story) -> str:
    """Return what to say where layers differ of a model whose recorded operations are not it, but the outputs do not.

    What such a record shows is then the record's fault and no layer's.
    """
    traces = [story.prepared.models[side] for side in (TENSORFLOW, TORCH)]
    told = next((note for trace in traces for note in trace.notes if note.startswith(REPLAY)), "")
    return "" if SEMANTIC in story.ends.verdicts or SEMANTIC in (one.verdict for one in story.step) else told


def _without_partner(prepared: Prepared, settled: Container[str] = ()) -> tuple[tuple[list[str], list[str]], list[str]]:
    """Return the weights of either side that have no partner, but for those that change nothing, and notes on these.

    Those that are `settled` were told of already.
    """
    models, found, notes = prepared.models, list[list[str]](), list[str]()
    pairs = prepared.matching.pairs
    plan_ = prepared.plan
    for side, names, others, paired, label in (
        (TENSORFLOW, plan_.unmatched_tensorflow, plan_.unmatched_torch, {pair.tensorflow for pair in pairs},
         "TensorFlow's"),
        (TORCH, plan_.unmatched_torch, plan_.unmatched_tensorflow, {pair.torch for pair in pairs}, "torch's"),
    ):  # fmt: skip
        trains = {name for name, weight in models[side].weights.items() if weight.trainable and models.options.train}
        names = tuple(name for name in names if side == TORCH or name not in settled)
        quiet = neutral([name for name in names if name not in trains], prepared.weights[side], models[side], paired)
        # Where nothing of the other side is left over, it has no layer that should have had these.
        judged = paired if others else {op.index for op in models[side].ops}
        fixed = untrained([name for name in names if name not in quiet], models[side], judged)
        known = set() if models.options.train else prepared.from_constants
        idle = [] if models.options.train else untouched(names, models[side])
        found.append([name for name in names if name not in {*quiet, *fixed, *known, *idle}])
        if idle:
            notes.append(
                f"{label} {listed(idle)} without a partner: nobody trains it, and no output depends on it in evaluation"
            )
        if fixed:
            notes.append(
                f"{label} {listed(fixed)} without a partner: nobody trains it, and its layer was compared with it"
            )
        if quiet:
            notes.append(
                f"{label} {listed(quiet)} without a partner: scales of one and shifts of zero change nothing until they"
                " train"
            )
    both = _idle_on_both(prepared, *found)
    if any(both):
        notes.append(f"{listed(both[0])} of TensorFlow and {listed(both[1])} of torch: no output depends on either")
    left = [[name for name in names if name not in idle] for names, idle in zip(found, both, strict=True)]
    return (left[0], left[1]), notes


def _idle_on_both(prepared: Prepared, tensorflow: Sequence[str], torch: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the weights without a partner on which no output depends, where either side has as many of their sizes.

    Both originals keep a token for masked inputs, as a rule, of which an evaluation reads nothing.
    """
    idle = []
    for side, names in ((TENSORFLOW, tensorflow), (TORCH, torch)):
        used = weights_that_matter(prepared.models[side])
        idle.append([name for name in names if name not in used])
    sizes = [
        sorted(prepared.weights[side][name].size for name in names)
        for side, names in zip((TENSORFLOW, TORCH), idle, strict=True)
    ]
    return (idle[0], idle[1]) if sizes[0] == sizes[1] else ([], [])


def _unmatched_line(models: Models, tensorflow: Sequence[str], torch: Sequence[str], settled: bool) -> str:
    """Return which weights have no partner, and what would settle it where all else is `settled`."""
    parts, advice = list[str](), ""
    for side, names in ((TENSORFLOW, tensorflow), (TORCH, torch)):
        if not names:
            continue
        used = weights_that_matter(models[side])
        idle = "" if set(names) & used else " (no output depends on them)"
        parts.append(f"{LABELS[side]} weights without a partner: {listed(names, 4)}{idle}")
        advice = "; all else agrees: they are the same once these are taken out of the model" if idle else ""
    return "; ".join(parts) + (advice if settled and len(parts) == 1 else "")
