"""For a layer that computes something else: try the remedies; only one that brings it back to rounding is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.judge.compare import doubles
from parity.judge.traps.explain import Attempt, Explanation, explain
from parity.judge.traps.keras_fixes import in_keras
from parity.judge.traps.remedy import Remedy
from parity.judge.traps.scene import GRADIENT, Scene
from parity.judge.verdict import Finding
from parity.model.trace import MOVES, Op, used_weights
from parity.pairing.copying import WeightLink, WeightPlan, read
from parity.pairing.match import Matching
from parity.pairing.relations import CHANNELS, SAME, Relation
from parity.porting import blocked, wording
from parity.porting.constants import TABLE, of_code
from parity.porting.cuts import ARITHMETIC, PICKING, Cut, Step, extras
from parity.porting.options import AS_IS, TORCH_TO_TENSORFLOW, Array
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models, is_fatal
from parity.porting.verdict import Source, layer_name, message, names

CLOSE = 1e-10  # of the scale: between gradients of the twins
NEAR, SINGLE_NEAR = 1e-7, 1e-4  # of the scale: further off, an attempt has failed, and needs no bound
UNKNOWN = "unknown"
UNORDERED = frozenset({"add", "multiply", "maximum", "minimum"})
ATTENTION = frozenset({"attention", "sdpa"})
LOOSE = ARITHMETIC | PICKING  # what may not be each other's partner behind a fault


class Bank:
    """Explains one failing step after another with what the check knows of both models."""

    def __init__(
        self, models: Models, matching: Matching, plan: WeightPlan, weights: Mapping[str, Mapping[str, Array]]
    ) -> None:
        self.models, self.matching, self.plan, self.weights = models, matching, plan, weights

    def sources(self, step: Step) -> list[Source]:
        """Return one source per cause; a single one called `unknown` where no remedy helps."""
        scene = self._scene(step)
        try:
            found = explain(scene, lambda remedies: self._attempt(step, scene, remedies))
        except ParityError as error:
            if is_fatal(error):
                raise
            found = Explanation((), _d64(step), None, (f"({error})",))
        if not found.causes:
            return [self._unknown(step, scene, found)]
        return [self._claimed(step, scene, remedy, found) for remedy in found.causes]

    def not_sought(self, step: Step, why: str) -> Source:
        """Return the source that is left where the search for its cause came to grief."""
        mains = step.cut.main_tensorflow, step.cut.main_torch
        mine, theirs = (layer_name(main.name) if main else None for main in mains)
        evidence = f"d64 {_d64(step):.2g}; the search for its cause ended in {why}"
        fix = "report it to this project with both builders; until then compare the two layers' configurations"
        told = self._message(step, mine, theirs, f"{UNKNOWN}: no remedy was tried to its end.", evidence, fix)
        return Source(mine, theirs, UNKNOWN, evidence, fix, step.cut.kind, told, mends="")

    def of_several(self, step: Step) -> list[Source]:
        """Return the cause of several steps that were judged as one, if a single known one explains all of them.

        What is only arithmetic in them need not be paired as it was.
        """
        segment = {op.index for op in step.cut.segment_tensorflow if op.kind in LOOSE}
        pairs = tuple(pair for pair in self.matching.pairs if pair.tensorflow not in segment)
        scene = self._scene(step, replace(self.matching, pairs=pairs))
        try:
            found = explain(scene, lambda remedies: self._attempt(step, scene, remedies))
        except ParityError as error:
            if is_fatal(error):
                raise
            return []
        if len(found.causes) != 1 or found.causes[0].trap == UNKNOWN:
            return []
        return [self._claimed(step, scene, found.causes[0], found)]

    def of_gradients(self, step: Step, findings: Sequence[Finding]) -> list[Source]:
        """Return one source per cause of gradients that differ where the forward pass agrees, if one is proved."""
        scene = replace(self._scene(step), stage=GRADIENT)
        expected = step.answers[TWIN_TENSORFLOW].get("weight_gradients", {})
        upstream = step.answers[TWIN_TORCH].get("upstream")
        if upstream is None or not expected:
            return []

        def attempt(remedies: Sequence[Remedy]) -> Attempt:
            edits = [dict(edit) for remedy in remedies for edit in remedy.edits]
            try:
                answer = self.models.segment(
                    TWIN_TORCH, dict(step.fed_torch), step.cut.torch, edits=edits, upstream=upstream
                )
            except ParityError as error:
                if is_fatal(error):
                    raise
                return Attempt(False, float("inf"), str(error).partition("\n")[0])
            gap = self._gradient_gap(expected, answer["weight_gradients"])
            return Attempt(gap < CLOSE, gap)

        found = explain(scene, attempt)
        mine, theirs = _names(step, scene)
        sources = []
        for remedy in found.causes:
            evidence = f"the gradients' d64 falls from {found.before:.2g} to {found.after or 0.0:.1g} {remedy.says}"
            fix, mends = self._line(scene, remedy)
            told = message(mine, theirs, "trains differently", remedy.trap, evidence, fix, findings[:3])
            sources.append(Source(mine, theirs, remedy.trap, evidence, fix, step.cut.kind, told, mends=mends))
        return sources

    def _gradient_gap(self, expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
        worst = 0.0
        for link in self.plan.links:
            if link.tensorflow in expected and link.torch in found:
                a = np.asarray(expected[link.tensorflow]).astype(np.float64)
                gap = _gap(np.asarray(link.to_tensorflow(np.asarray(found[link.torch]))), a)
                worst = max(worst, float("inf") if gap is None else gap)
        return worst

    def _scene(self, step: Step, matching: Matching | None = None) -> Scene:
        cut = step.cut
        alone = extras(cut, matching or self.matching)
        mine, theirs = self._main(cut, alone)
        carried = self._carried(cut)
        return Scene(
            tensorflow=mine,
            torch=theirs,
            tensorflow_ops=cut.segment_tensorflow,
            torch_ops=cut.segment_torch,
            extra_tensorflow=alone[0],
            extra_torch=alone[1],
            tensorflow_weights=_by_role(mine, self.weights[TENSORFLOW]),
            torch_weights=_by_role(theirs, self.weights[TORCH]),
            carried=carried,
            fed=dict(step.fed_torch),
            fed_tensorflow=dict(step.fed),
            expected=_in_torch_order(step),
            expected_tensorflow=step.expected,
            got=step.got,
            shapes=self.models[TORCH].shapes,
            training=self.models.options.train,
            weights_mode=self.models.options.weights,
            alternatives=self._alternatives(cut, carried),
            tensorflow_trace=self.models[TENSORFLOW],
            torch_trace=self.models[TORCH],
            buffers=self._buffers(cut),
            inside=self._inside(step, mine),
            held={op.index: _by_role(op, self.weights[TORCH]) for op in cut.segment_torch},
            held_tensorflow={op.index: _by_role(op, self.weights[TENSORFLOW]) for op in cut.segment_tensorflow},
        )

    def _inside(self, step: Step, mine: Op | None) -> dict[int, Array]:
        """Return what TensorFlow's attention reads that was not fed, such as a mask made of ids that were."""
        found: dict[int, Array] = {}
        for tensor in mine.inputs if mine is not None and mine.kind in ATTENTION else ():
            if tensor not in step.fed:
                try:
                    found[tensor] = np.asarray(self.models.segment(TWIN_TENSORFLOW, step.fed, tensor)["value"])
                except ParityError as error:
                    if is_fatal(error):
                        raise
        return found

    def _buffers(self, cut: Cut) -> dict[str, Array]:
        known = self.models[TORCH].weights
        names = {name for _, _, name in used_weights(cut.segment_torch)}
        return {name: np.asarray(self.weights[TORCH][name]) for name in names if not known[name].trainable}

    def _main(self, cut: Cut, alone: tuple[tuple[Op, ...], tuple[Op, ...]]) -> tuple[Op | None, Op | None]:
        mine = cut.main_tensorflow or (alone[0][-1] if alone[0] else None)
        return mine, cut.main_torch or (alone[1][-1] if alone[1] else None)

    def _carried(self, cut: Cut) -> dict[str, Array]:
        """Return TensorFlow's weights of the pair under torch's roles, in torch's layouts."""
        if cut.pair is None or cut.main_torch is None:
            return {}
        roles = {reference: role for role, reference in cut.main_torch.weights.items()}
        found = {}
        for link in self.plan.links:
            if self._is_own(link, cut) and link.torch in roles:
                found[roles[link.torch]] = np.asarray(link.to_torch(read(link.tensorflow, self.weights[TENSORFLOW])))
        return {role: array.astype(np.float64) for role, array in found.items()}

    @staticmethod
    def _is_own(link: WeightLink, cut: Cut) -> bool:
        """Return whether a weight is one of the cut's layer; one that is called again was linked at its first call."""
        mine = cut.main_tensorflow
        return link.pair == cut.pair or (mine is not None and link.tensorflow in mine.weights.values())

    def _alternatives(self, cut: Cut, carried: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """Return the carried weights of other layers that would fit in here, as-is only: was the wrong one loaded?

        Of a layer with the same weights first; of one that lacks, or has, a bias beside its kernel, what both have.
        """
        if self.models.options.weights != AS_IS or cut.pair is None or cut.main_torch is None:
            return {}
        shapes = {role: array.shape for role, array in carried.items()}
        by_pair: dict[Any, dict[str, Array]] = {}
        ops = {op.index: op for op in self.models[TORCH].ops}
        for link in self.plan.links:
            roles = {reference: role for role, reference in ops[link.pair.torch].weights.items()}
            if not self._is_own(link, cut) and link.torch in roles and roles[link.torch] in shapes:
                array = np.asarray(link.to_torch(read(link.tensorflow, self.weights[TENSORFLOW]))).astype(np.float64)
                by_pair.setdefault(link.pair, {})[roles[link.torch]] = array
        mine = {op.index: op.name for op in self.models[TENSORFLOW].ops}
        fitting = {
            mine[pair.tensorflow]: found
            for pair, found in by_pair.items()
            if all(array.shape == shapes[role] for role, array in found.items())
        }
        return dict(sorted(fitting.items(), key=lambda one: -len(one[1])))

    def _attempt(self, step: Step, scene: Scene, remedies: Sequence[Remedy]) -> Attempt:
        """Return what comes of remedies; beside a buffer that float32 rounded, with the numbers as once written."""
        found = self._as_held(step, scene, remedies)
        if found.passed or not remedies or not found.d64 <= TABLE:
            return found
        held, written = of_code(self.models, step.cut.segment_torch)
        if not written:
            return found
        self.models.set_weights(TWIN_TORCH, written)
        again = self._as_held(step, scene, remedies)
        self.models.set_weights(TWIN_TORCH, held)
        return again if again.passed else found

    def _as_held(self, step: Step, scene: Scene, remedies: Sequence[Remedy]) -> Attempt:
        feed = dict(step.fed_torch)
        edits: list[dict[str, Any]] = []
        expected = next((remedy.expects for remedy in remedies if remedy.expects is not None), scene.expected)
        for remedy in remedies:
            feed.update(remedy.feed)
            edits += [dict(edit) for edit in remedy.edits]
        edits += _of_other_steps(edits, step.cut.segment_torch)
        try:
            answer = self.models.segment(TWIN_TORCH, feed, step.cut.torch, edits=edits)
            value = _permuted(np.asarray(answer["value"]), remedies)
            axis = blocked.axis_of_shares(self.models[TORCH], step.cut.torch)
            if axis is not None:
                value, expected = blocked.without(value, expected, axis)
            gap = _gap(value, expected)
            if gap is None:
                return Attempt(False, float("inf"), f"its shape is {value.shape}, not {expected.shape}")
            if gap > (SINGLE_NEAR if step.single else NEAR):
                return Attempt(False, gap, None)
            allowed = self._allowed(step, feed, edits, remedies, value)
        except ParityError as error:
            if is_fatal(error):
                raise
            return Attempt(False, float("inf"), str(error).partition("\n")[0])
        if step.tables:  # as in the check itself: a number of the code that one side alone has in float32 is no cause
            allowed = np.maximum(allowed, NEAR * float(np.abs(value).max(initial=0.0)))
        off = np.abs(doubles(value) - doubles(expected))
        return Attempt(bool((off <= allowed).all()), gap, None)

    def _allowed(
        self,
        step: Step,
        feed: Mapping[int, Array],
        edits: list[dict[str, Any]],
        remedies: Sequence[Remedy],
        value: Array,
    ) -> Array:
        """Return how far the two twins may be apart after the remedy: twice the float64 bound of the remedied layer."""
        answer = self.models.segment(TWIN_TORCH, feed, step.cut.torch, edits=edits, bounds=True)
        single = step.single
        key = "bounds32" if single else "bounds64"
        if key in answer:
            return 2.0 * np.asarray(_permuted(np.broadcast_to(answer[key], value.shape), remedies))
        scale = float(np.abs(value).max(initial=0.0)) or 1.0
        return np.full(value.shape, 1e-6 * scale if single else 1e-11 * scale)

    def _claimed(self, step: Step, scene: Scene, remedy: Remedy, found: Explanation) -> Source:
        together = len(found.causes) > 1
        after = found.after if found.after is not None else 0.0
        says = " and ".join(cause.says for cause in found.causes) if together else remedy.says
        evidence = f"d64 falls from {found.before:.2g} to {after:.1g} {says}"
        mine, theirs = self._named(step, scene, remedy)
        fix, mends = self._line(scene, remedy)
        return Source(
            tensorflow=mine,
            torch=theirs,
            cause=remedy.trap,
            evidence=evidence,
            fix=fix,
            kind=step.cut.kind,
            message=self._message(step, mine, theirs, f"{remedy.trap}: {remedy.says}.", evidence, fix),
            mends=mends,
            settles=remedy.settles,
            changes=remedy.keys,
        )

    @property
    def _port(self) -> int:
        """The side whose code a line mends: torch's, unless torch's model was ported."""
        return 0 if self.models.options.weights == TORCH_TO_TENSORFLOW else 1

    def _line(self, scene: Scene, remedy: Remedy) -> tuple[str, str]:
        """Return the line that mends the port, and whose code it is of: torch's, unless torch's model was ported."""
        if self._port:
            return remedy.fix, TORCH
        line = in_keras(scene, remedy)
        return (remedy.fix, TORCH) if line is None else (line, TENSORFLOW)

    def _named(self, step: Step, scene: Scene, remedy: Remedy) -> tuple[str | None, str | None]:
        mine, theirs = _names(step, scene)
        named = remedy.named or (None, None)
        return (layer_name(named[0]) if named[0] else mine), (layer_name(named[1]) if named[1] else theirs)

    def _unknown(self, step: Step, scene: Scene, found: Explanation) -> Source:
        mine, theirs = _names(step, scene)
        before = self._before(step)
        if before is not None:
            return self._between(step, before, found)
        elsewhere = self._elsewhere(step)
        tried = ", ".join(found.ruled_out) if found.ruled_out else "no known trap fits these two"
        evidence = (
            f"d64 {found.before:.2g}; ruled out: {tried}" if found.ruled_out else f"d64 {found.before:.2g}; {tried}"
        )
        if step.relation is None:
            evidence = f"{step.finding.note} {evidence}"
        settings = wording.configurations(scene)
        fix = f"compare the two layers' configurations: {settings}"
        if not settings:  # outputs that no operation of its own makes, as where one model rounds them at last
            fix = f"compare what the two models do to `{mine or theirs}` before they return it"
        seen = elsewhere or wording.told(scene, self._port)
        if seen is not None:
            without = f"; ruled out: {tried}" if found.ruled_out else ""
            evidence, fix = f"d64 {found.before:.2g}: {seen[0]}{without}", seen[1]
        return Source(
            tensorflow=mine, torch=theirs, cause=UNKNOWN, evidence=evidence, fix=fix, kind=step.cut.kind,
            message=self._message(step, mine, theirs, f"{UNKNOWN}: no remedy helps.", evidence, fix),
            ruled_out=found.ruled_out, mends="",
        )  # fmt: skip

    def _before(self, step: Step) -> tuple[Op | None, Op | None] | None:
        """Return what stands before two operations that agree when torch's is fed what TensorFlow's is fed.

        Of several inputs it is one that differs; those of a sum or a product may stand in another order.
        """
        mine, theirs = step.cut.main_tensorflow, step.cut.main_torch
        if mine is None or theirs is None:
            return None
        both = _read_alike(mine, theirs)
        crossed = mine.kind in UNORDERED and theirs.kind in UNORDERED
        for place, (first, _) in enumerate(both):
            for other, (_, second) in enumerate(both):
                if place == other or crossed:
                    before = self._before_inputs(step, [(first, second)])
                    if before is not None:
                        return before
        return self._before_inputs(step, both) if len(set(both)) > 1 else None

    def _before_inputs(self, step: Step, pairs: Sequence[tuple[int, int]]) -> tuple[Op | None, Op | None] | None:
        """Return what stands before the first of some inputs, if torch's operation agrees when it is fed them all."""
        pairs = [self._fitting(step, mine, theirs) for mine, theirs in pairs]
        standing = [
            (_standing_before(step.cut.segment_tensorflow, mine), _standing_before(step.cut.segment_torch, theirs))
            for mine, theirs in pairs
        ]
        before = next((one for one in standing if any(one)), None)
        return before if before is not None and self._agrees_on(step, pairs) else None

    def _agrees_on(self, step: Step, pairs: Sequence[tuple[int, int]]) -> bool:
        """Return whether torch's operation makes what TensorFlow's does when it is fed what that one reads."""
        cut, fed = step.cut, dict(step.fed_torch)
        try:
            for mine, theirs in pairs:
                relation = self._of_input(step, mine, theirs)
                if relation is None:
                    return False
                value = step.fed.get(mine)
                if value is None:
                    value = np.asarray(self.models.segment(TWIN_TENSORFLOW, step.fed, mine)["value"])
                fed[theirs] = relation.to_torch(value)
            got = np.asarray(self.models.segment(TWIN_TORCH, fed, cut.torch)["value"])
        except ParityError as error:
            if is_fatal(error):
                raise
            return False
        gap = _gap(got, _in_torch_order(step))
        return gap is not None and gap <= (SINGLE_NEAR if step.single else CLOSE)

    def _elsewhere(self, step: Step) -> tuple[str, str] | None:
        """Return what is said of two layers that are the same, with nothing before them, and read other tensors."""
        mine, theirs = step.cut.main_tensorflow, step.cut.main_torch
        pairs = list(dict.fromkeys(_read_alike(mine, theirs))) if mine is not None and theirs is not None else []
        if mine is None or theirs is None or not pairs or not self._agrees_on(step, pairs):
            return None
        partners = {pair.tensorflow: pair.torch for pair in self.matching.pairs}
        traces = self.models[TENSORFLOW], self.models[TORCH]
        return wording.elsewhere((mine, theirs), pairs, traces, partners, self._port)

    def _fitting(self, step: Step, mine: int, theirs: int) -> tuple[int, int]:
        """Return two tensors that are read; if their shapes do not fit, what a padding of one side made its own of."""
        inner = _unpadded(step.cut.segment_tensorflow, mine), _unpadded(step.cut.segment_torch, theirs)
        tried = ((mine, theirs), (mine, inner[1]), (inner[0], theirs), inner)
        return next((pair for pair in tried if self._of_input(step, *pair) is not None), (mine, theirs))

    def _of_input(self, step: Step, mine: int, theirs: int) -> Relation | None:
        shapes = self.models[TENSORFLOW].shapes.get(mine, ()), self.models[TORCH].shapes.get(theirs, ())
        usual = (step.relation, Relation(CHANNELS), Relation(SAME))
        return next((one for one in usual if one is not None and one.fits(*shapes)), None)

    def _between(self, step: Step, before: tuple[Op | None, Op | None], found: Explanation) -> Source:
        """Return the source where the two compared operations are the same, and what stands before them is not."""
        mains = [layer_name(main.name) for main in (step.cut.main_tensorflow, step.cut.main_torch) if main is not None]
        mine, theirs = (layer_name(op.name) if op is not None else main for op, main in zip(before, mains, strict=True))
        only = [
            f"`{layer_name(op.name)}` of {side}"
            for op, side in zip(before, ("TensorFlow", "torch"), strict=True)
            if op is not None
        ]
        between = tuple(op.name if op is not None and op.effect != MOVES else None for op in before)
        segments = step.cut.segment_tensorflow, step.cut.segment_torch
        moved = frozenset((side, op.index) for side, ops in enumerate(segments) for op in ops if op.effect == MOVES)
        evidence = f"d64 {found.before:.2g}; {names(*mains)} is the same, but not {' and '.join(only)} before it"
        traces = self.models[TENSORFLOW], self.models[TORCH]
        fix = wording.before(before, (step.cut.main_tensorflow, step.cut.main_torch), traces, self._port)
        return Source(
            tensorflow=mine, torch=theirs, cause=UNKNOWN, evidence=evidence, fix=fix, kind=step.cut.kind,
            message=self._message(step, mine, theirs, f"{UNKNOWN}: no remedy helps.", evidence, fix),
            ruled_out=found.ruled_out, between=between if any(between) else (), moved=moved, mends="",
        )  # fmt: skip

    def _message(self, step: Step, mine: str | None, theirs: str | None, cause: str, evidence: str, fix: str) -> str:
        lines = [message(mine, theirs, "computes something else", cause, evidence, fix)]
        if step.finding.elements and step.finding.d64 is not None:
            lines.append("  " + step.finding.message().replace("\n", "\n  "))
        return "\n".join(lines)


def _read_alike(mine: Op, theirs: Op) -> list[tuple[int, int]]:
    """Return what two operations read, input by input; Keras's attention has values that are the keys, too, once."""
    read = [op.inputs for op in (mine, theirs)]
    if mine.kind == theirs.kind == "attention" and all(read) and not mine.config.get("has_mask"):
        count = max(map(len, read))
        read = [(*some, *some[-1:] * (count - len(some))) for some in read]
    return list(zip(*read, strict=True)) if len(read[0]) == len(read[1]) else []


def _of_other_steps(edits: Sequence[Mapping[str, Any]], segment: Sequence[Op]) -> list[dict[str, Any]]:
    """Return the edits of one step of a cell that is called in a loop for all its other steps."""
    by_index, found = {op.index: op for op in segment}, list[dict[str, Any]]()
    edited = {edit.get("op") for edit in edits}
    for edit in edits:
        op = by_index.get(int(edit.get("op", -1)))
        if op is None or not op.config.get("cell") or not op.weights or edit.get("kind") != op.kind:
            continue
        changed = {key: value for key, value in edit["config"].items() if op.config.get(key) != value}
        others = [one for one in segment if one.kind == op.kind and one.index not in edited]
        found += [
            {**edit, "op": one.index, "config": {**one.config, **changed}}
            for one in others
            if dict(one.weights) == dict(op.weights)
        ]
    return found


def _standing_before(segment: Sequence[Op], tensor: int) -> Op | None:
    """Return the last operation of a segment that leads to what another one reads; rather one that computes."""
    wanted, found = {tensor}, list[Op]()
    for op in reversed(segment):
        if wanted & set(op.outputs):
            wanted.update(op.inputs)
            found.append(op)
    return next((op for op in found if op.effect != MOVES), found[0] if found else None)


def _unpadded(segment: Sequence[Op], tensor: int) -> int:
    """Return what a padding of a segment reads to make a tensor, or that tensor where none does."""
    pads = (op for op in segment if op.kind == "zero_pad" and tensor in op.outputs)
    return next((op.inputs[0] for op in pads if op.inputs), tensor)


def _names(step: Step, scene: Scene) -> tuple[str, str]:
    mine, theirs = scene.tensorflow, scene.torch
    return layer_name(mine.name if mine else step.cut.name), layer_name(theirs.name if theirs else step.cut.name)


def _by_role(op: Op | None, weights: Mapping[str, Array]) -> dict[str, Array]:
    if op is None:
        return {}
    return {role: np.asarray(read(reference, weights)).astype(np.float64) for role, reference in op.weights.items()}


def _in_torch_order(step: Step) -> Array:
    expected = step.expected
    if step.relation is not None:
        return step.relation.to_torch(expected)
    # The shapes do not fit, but the axes still mean what they do elsewhere: images have their channels moved.
    return np.moveaxis(expected, -1, 1) if expected.ndim >= 4 or _along_columns(step) else expected


def _along_columns(step: Step) -> bool:
    """Return whether torch has a sequence's channels in front of its steps, in what it makes of another length."""
    wanted, got, main = step.expected.shape, step.got.shape, step.cut.main_torch
    if len(wanted) != 3 or len(got) != 3 or got[:2] != (wanted[0], wanted[2]):
        return False
    return got[2] != wanted[2] or (main is not None and main.config.get("rank") == 1)


def _permuted(value: Array, remedies: Sequence[Remedy]) -> Array:
    for remedy in remedies:
        if remedy.permute_output is not None:
            value = np.take(value, remedy.permute_output, axis=1 if value.ndim >= 4 else -1)
    return value


def _gap(value: Array, expected: Array) -> float | None:
    if value.shape != expected.shape:
        return None
    a, b = doubles(value), doubles(expected)
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return float("inf")
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0))) or 1.0
    return float(np.abs(a - b).max(initial=0.0)) / scale


def _d64(step: Step) -> float:
    return step.finding.d64 if step.finding.d64 is not None else float("inf")
