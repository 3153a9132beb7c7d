"""What differs by configuration alone: the layers of both models side by side, before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from itertools import combinations, pairwise
from typing import Any

from parity.errors import UsageError
from parity.judge.traps.lint import FAMILIES, Difference, comparable, compare, compare_optimizers, with_padding
from parity.model.trace import AFTER, Op, Trace, weight_names
from parity.pairing.match import ORDER, Matching, OpPair, match_all, match_weighted
from parity.porting.causes import UNKNOWN
from parity.porting.freezing import FROZEN_NORM
from parity.porting.options import IMAGE_AXES, CheckOptions, is_onnx
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, PlainWorkers

PLAIN = (TENSORFLOW, TORCH)
BATCH = 2
OF_TRAINING = frozenset({"batchnorm-momentum", "batchnorm-running-variance", "init-distribution"})  # of no file
BIAS = "bias-missing-or-doubled"
FOLDED = "batch normalisations without a partner stand behind {count} layers: exporters fold them into these"
# Of what stands in both lists, one layer for one module; activations may be arguments or functions.
WEIGHTED = frozenset(
    {"conv", "conv_transpose", "depthwise_conv", "separable_conv", "dense", "embedding", "batch_norm", "layer_norm"}
    | {"group_norm", "rms_norm", "lstm", "gru", "rnn", "attention"}
)
ANY_SIZE = 64  # stands for a size that a model leaves open


@dataclass(frozen=True)
class Lint:
    """What was compared, and what differs."""

    pairs: int
    differences: tuple[Difference, ...]
    unpaired_tensorflow: tuple[str, ...]
    unpaired_torch: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit(self) -> int:
        """0 if nothing differs, 1 if something does, 2 if nothing could be paired."""
        if not self.pairs and not self.differences:
            return UsageError.exit_status
        return 1 if self.differences else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data."""
        return {"schema": 1, "exit": self.exit, **asdict(self)}

    def lines(self) -> list[str]:
        """Return what to print."""
        found = []
        for difference in self.differences:
            where = f"`{difference.tensorflow}` / `{difference.torch}`"
            found.append(f"{difference.trap}: {where}: {difference.what}\n    {difference.effect}")
        found += [f"note: {note}" for note in self.notes]
        for side, names in (("TensorFlow", self.unpaired_tensorflow), ("PyTorch", self.unpaired_torch)):
            if names:
                found.append(f"{side} layers without a partner: {', '.join(names)}")
        counted = [
            f"{n} {word}{'' if n == 1 else 's'}"
            for n, word in ((self.pairs, "pair"), (len(self.differences), "difference"))
        ]
        found.append(f"{counted[0]} of layers compared, {counted[1]}.")
        return found


def lint(tensorflow: str, torch: str, options: CheckOptions, optimizers: tuple[str, str] | None = None) -> Lint:
    """Return what two models' configurations say against each other.

    `optimizers` are written as calls, `Adam(learning_rate=1e-3)` and `Adam(lr=1e-3)`; what is left out is the default.

    Raises
        ParityError: a builder that cannot be used, or an optimizer that cannot be read.
    """
    calls = {side: _call(text, side == TORCH) for side, text in zip(PLAIN, optimizers or (), strict=False)}
    sources = {TENSORFLOW: tensorflow, TORCH: torch}
    with PlainWorkers(options) as workers:
        about = workers.each(lambda side: workers.call(side, "load_model", source=sources[side]))
        traces = _traces(workers)
        extra = compare_optimizers(*(_settings(workers, side, calls[side]) for side in PLAIN)) if calls else []
    notes = [note for side in PLAIN for note in (*about[side].get("notes", ()), *traces[side][0].notes)]
    if about[TORCH].get("was_training"):
        notes.append("the torch builder leaves its module in training mode: call .eval() before inference")
    torch_trace, matching = _best(traces[TENSORFLOW][0], traces[TORCH], options.by_hand)
    mine, theirs = ({op.index: op for op in trace.ops} for trace in (traces[TENSORFLOW][0], torch_trace))
    pairs = _in_either_order([(mine[pair.tensorflow], theirs[pair.torch]) for pair in matching.pairs])
    pairs += _droppers(list(mine.values()), list(theirs.values()), pairs)
    alike = [pair for pair in pairs if comparable(*pair)]
    found = [difference for pair in alike for difference in compare(*pair) if _holds(difference, pair[1], torch_trace)]
    paired = [{op.index for op in side} for side in zip(*alike, strict=True)] or [set(), set()]
    files = [is_onnx(name) for name in (tensorflow, torch)]
    if not any(files):
        found += [one for pair in alike for one in _trained_alone(pair, (traces[TENSORFLOW][0], torch_trace))]
    else:
        found = [one for one in found if one.trap not in OF_TRAINING]
        for ops, is_file, known, which in zip((mine, theirs), reversed(files), paired, PLAIN, strict=True):
            before = _before_folded(list(ops.values()), known) if is_file else set()
            found = [one for one in found if one.trap != BIAS or getattr(one, which) not in before]
            notes += [FOLDED.format(count=len(before))] if before else []
    return Lint(
        pairs=len(alike),
        differences=(*found, *extra),
        unpaired_tensorflow=tuple(op.name for index, op in mine.items() if index not in paired[0]),
        unpaired_torch=tuple(op.name for index, op in theirs.items() if index not in paired[1]),
        notes=tuple(dict.fromkeys([*notes, *matching.ambiguous, *matching.notes])),
    )


def _holds(difference: Difference, torch: Op, trace: Trace) -> bool:
    """Whether a difference of kinds is one of these two layers: of two biases that are added, both may not train."""
    names = [name for reference in torch.weights.values() if "+" in reference for name in weight_names(reference)]
    trained = [trace.weights[name].trainable for name in names if name in trace.weights]
    return difference.trap != BIAS or all(trained) or len(trained) < len(names)


def _trained_alone(pair: tuple[Op, Op], traces: tuple[Trace, Trace]) -> list[Difference]:
    """Return the difference of two layers that one side alone trains; normalisations may have been told already."""
    trains = []
    for op, trace in zip(pair, traces, strict=True):
        names = {name for reference in op.weights.values() for name in weight_names(reference)}
        held = [trace.weights[name].trainable for name in names if name in trace.weights]
        trains.append(any(held) if held else None)
    frozen = {bool(op.config.get("frozen")) for op in pair}
    if None in trains or trains[0] == trains[1] or len(frozen) > 1:
        return []
    side = LABELS[TENSORFLOW if trains[0] else TORCH]
    what = f"trains in {side} alone: trainable={trains[0]} against requires_grad={trains[1]}"
    trap = FROZEN_NORM if pair[0].kind == "batch_norm" else UNKNOWN
    return [Difference(trap, what, "a step of training makes two functions of one", pair[0].name, pair[1].name)]


def _droppers(tensorflow: Sequence[Op], torch: Sequence[Op], pairs: Sequence[tuple[Op, Op]]) -> list[tuple[Op, Op]]:
    """Return the dropouts that stand alone behind partners: they move nothing, so that values pair none of them.

    Only where torch's operations are known in the order in which they run.
    """
    partners = {mine.index: theirs.index for mine, theirs in pairs if AFTER in theirs.config}
    behind = _dropouts_behind(torch, partners.values())
    found = []
    for place, mine in _dropouts_behind(tensorflow, partners).items():
        theirs = behind.get(partners.get(place, -1), [])
        found += [(mine[0], theirs[0])] if len(mine) == len(theirs) == 1 else []
    return found


def _dropouts_behind(ops: Sequence[Op], paired: Container[int]) -> dict[int, list[Op]]:
    """Return the dropouts by the last paired operation before them."""
    found: dict[int, list[Op]] = {}
    place = -1
    for op in ops:
        place = op.index if op.index in paired else place
        if op.kind == "dropout":
            found.setdefault(place, []).append(op)
    return found


def _before_folded(ops: Sequence[Op], paired: Container[int]) -> set[str]:
    """Return the layers before normalisations that the other side's file has no partner for: it may add their shift."""
    alone = {op.index for op in ops if op.kind == "batch_norm" and op.index not in paired}
    return {first.name for first, second in pairwise(ops) if second.index in alone and first.weights}


def _in_either_order(pairs: Sequence[tuple[Op, Op]]) -> list[tuple[Op, Op]]:
    """Return the pairs with partners exchanged of two layers side by side that run in another order on either side.

    Two of one kind, none of which depends on the other in torch, and whose settings are the same the other way round.
    """
    found = list(pairs)
    places = {theirs.index: theirs.config[AFTER] for _, theirs in pairs if AFTER in theirs.config}
    before = {index: (int(place), int(digits, 16)) for index, (place, digits) in places.items()}
    doubtful = [number for number, pair in enumerate(pairs) if pair[1].index in before and comparable(*pair)]
    for first, second in combinations(doubtful, 2):
        (mine, theirs), (other, another) = found[first], found[second]
        if mine.kind != other.kind or theirs.kind != another.kind or not _same_sizes(theirs, another):
            continue
        (here, above), (there, over) = before[theirs.index], before[another.index]
        if over >> here & 1 or above >> there & 1:
            continue
        now = len(compare(mine, theirs)) + len(compare(other, another))
        if len(compare(mine, another)) + len(compare(other, theirs)) < now:
            found[first], found[second] = (mine, another), (other, theirs)
    return found


def _same_sizes(first: Op, second: Op) -> bool:
    return all(first.config.get(key) == second.config.get(key) for key in ("filters", "units", "kernel"))


def _traces(workers: PlainWorkers) -> dict[str, list[Trace]]:
    """Return each model's layers in the order of their definition, torch's before that in the order in which they run.

    Torch's modules alone say neither in which order they run nor what functions stand between them; a run without
    numbers does, on inputs as Keras's model declares them.
    """
    traces = workers.each(lambda side: [Trace.from_dict(workers.call(side, "static_ops"))])
    declared = workers.call(TENSORFLOW, "declared_inputs")
    for channels_first in (True, False) if declared else ():
        inputs = [_fed(one, channels_first) for one in declared]
        found = workers.call(TORCH, "ops_in_order", inputs=inputs)
        if found is not None:
            traces[TORCH].insert(0, _like(traces[TENSORFLOW][0], Trace.from_dict(found)))
            break
    return {
        side: [replace(trace, ops=tuple(with_padding(trace.ops))) for trace in found] for side, found in traces.items()
    }


def _best(tensorflow: Trace, candidates: Sequence[Trace], by_hand: Mapping[str, str]) -> tuple[Trace, Matching]:
    """Return the list of torch's layers of which most can be paired, and how.

    The layers inside a Keras layer of the user's own are known in the order of their definition only.
    """
    found = []
    for torch in candidates:
        weighted = match_weighted(tensorflow, torch, by_hand)
        found.append((torch, match_all(tensorflow, torch, weighted, None, None, by_hand)))
    best = max(found, key=lambda one: len(one[1].pairs))
    if best[1].pairs or tensorflow.weights:
        return best
    return candidates[-1], _as_defined(tensorflow, candidates[-1])


def _as_defined(tensorflow: Trace, torch: Trace) -> Matching:
    """Return the layers of a Keras model that was never called paired by kind and units in the order of definition.

    Such a model has no weights yet, whose sizes would tell. Of a run of several that are alike, not all may be found.
    """
    sides = [[op for op in trace.ops if _looks(op)[0] in WEIGHTED] for trace in (tensorflow, torch)]
    mine, theirs = ([_looks(op) for op in ops] for ops in sides)
    blocks = SequenceMatcher(a=mine, b=theirs, autojunk=False).get_matching_blocks()
    pairs = tuple(
        OpPair(sides[0][block.a + k].index, sides[1][block.b + k].index, ORDER)
        for block in blocks
        for k in range(block.size)
    )
    alone = [
        tuple(op.index for op in trace.ops if op.index not in {pair[side] for pair in map(_indices, pairs)})
        for side, trace in enumerate((tensorflow, torch))
    ]
    note = "TensorFlow's model was never called: its layers are paired by kind and size in the order of definition"
    return Matching(pairs, alone[0], alone[1], (), (note,) if pairs else ())


def _indices(pair: OpPair) -> tuple[int, int]:
    return pair.tensorflow, pair.torch


def _looks(op: Op) -> tuple[str, Any]:
    """Return the kind of a layer and how many features it makes, where its configuration says so."""
    return op.kind, next((op.config[key] for key in ("filters", "units") if key in op.config), None)


def _fed(declared: Mapping[str, Any], channels_first: bool) -> dict[str, Any]:
    """Return the shape of an input as torch is fed it, and whether it holds whole numbers."""
    shape = [BATCH, *(ANY_SIZE if n is None else int(n) for n in declared["shape"])]
    image = len(shape) == IMAGE_AXES + 1 and channels_first
    return {"shape": [shape[0], shape[-1], *shape[1:-1]] if image else shape, "integers": "int" in declared["dtype"]}


def _like(tensorflow: Trace, torch: Trace) -> Trace:
    """Return torch's operations without those of kinds that Keras has no layers of: additions, products, moves.

    A layer that Keras's side may have forgotten stays, to be named, where that has none that could be taken for it.
    """
    kinds = {op.kind for op in tensorflow.ops}
    alone = {kind for family in (*FAMILIES, ("dropout",)) if not kinds & set(family) for kind in family}
    kept = kinds | alone | {"zero_pad"}
    return replace(torch, ops=tuple(op for op in torch.ops if op.weights or op.kind in kept))


def _settings(workers: PlainWorkers, side: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's name and all its settings, as its framework fills them in."""
    found = workers.call(side, "optimizer_settings", **call)
    return {**found, "name": call["name"]}


def _call(text: str, has_parameters: bool = False) -> dict[str, Any]:
    """Return the name and the arguments of `Name(value, keyword=value, ...)` or of a bare name.

    It may be pasted as code has it: the name behind a module's, and where it `has_parameters`, these before all else.
    """
    wrong = f"an optimizer is written as a call such as Adam(lr=1e-3), not {text!r}"
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise UsageError(wrong) from None
    called = node.func if isinstance(node, ast.Call) else node
    name = called.attr if isinstance(called, ast.Attribute) and _dotted(called) else getattr(called, "id", None)
    if name is None:
        raise UsageError(wrong)
    values, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
    if has_parameters and values and isinstance(values[0], (ast.Call, ast.Name, ast.Attribute)):
        values = values[1:]
    try:
        order = [ast.literal_eval(value) for value in values]
        given = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords}
    except ValueError:
        raise UsageError(f"{wrong}: its values must be plain numbers") from None
    return {"name": name, "order": order, "given": given}


def _dotted(node: ast.expr) -> bool:
    """Whether a name stands behind names of modules alone."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)
