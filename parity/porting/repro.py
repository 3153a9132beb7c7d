"""The first source of a check as a script of its own: two frameworks and NumPy, to be pasted into an upstream issue."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError, UsageError
from parity.judge.verdict import SEMANTIC, Finding
from parity.model.constants import KEY_MASK, MASK, unpacked
from parity.model.trace import Op
from parity.pairing.copying import WeightPlan
from parity.porting import repro_keras, repro_torch
from parity.porting.causes import UNKNOWN
from parity.porting.cuts import Step
from parity.porting.options import Array, write_whole
from parity.porting.orders import Orders
from parity.porting.repro_gradient import STATE, Target, targeted
from parity.porting.repro_script import Given, Store, moved_back, refusal
from parity.porting.repro_text import APART, ATTEND, CALL, CALL_AND_KEEP, GRADIENTS, HEAD, PACKED, RECURRENT, UNPACKED
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TORCH, Models
from parity.porting.verdict import Source, names

LIMIT = 300_000  # bytes of arrays, as text
SMALL = 4096  # numbers of an array that is embedded even where larger ones are drawn
EXACT = 1e-12  # of the scale: in float64, twins are closer
# Keras and TensorFlow take a constant of these through float32, even in float64 (DESIGN.md section 3).
BLURRED = {"gelu": 1e-7, "gelu_tanh": 1e-7, "leaky_relu": 1e-6, "standardize": 1e-5, "resize": 1e-5, "attention": 1e-7}
HELPERS = {  # by what calls them; a recurrent one calls the first
    ("recurrent(", "apart("): APART, ("recurrent(",): RECURRENT, ("unpacked(",): UNPACKED, ("attend(",): ATTEND,
    ("backward(",): GRADIENTS,
}  # fmt: skip


class Repro:
    """Writes the script of the first step that has a source; without a path it does nothing."""

    def __init__(
        self, path: Path | None, models: Models, weights: Mapping[str, Mapping[str, Array]], plan: WeightPlan,
        orders: Orders,
    ) -> None:  # fmt: skip
        self.path, self.models, self.weights, self.plan, self.orders = path, models, weights, plan, orders
        self.done = False
        self.said = "repro: no layer differs when it is compared alone, so that no script was written"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user."""
        return () if self.path is None else (self.said,)

    def add(self, step: Step, sources: Sequence[Source], gradients: Sequence[Finding] = ()) -> None:
        """Take one step, all sources so far and its gradients; a script that cannot be written costs no verdict."""
        if self.path is None or self.done or not sources:
            return
        self.done = True
        try:
            target = None if step.finding.verdict == SEMANTIC else targeted(step, gradients, self.plan, self.orders)
            how = save(self.path, script(step, sources, self.models, self.weights, target))
        except ParityError as error:
            self.said = f"repro: {error}"
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a form that nobody has met
            self.said = f"repro: {refusal(step.cut.kind)} ({type(error).__name__}: {error})"
        else:
            self.said = f"repro: {how}"


def save(path: Path, text: str) -> str:
    """Write the script whole or not at all, and return what to say about it.

    Raises
        UsageError: the place cannot be written.
    """
    write_whole(path, text)
    drawn = "" if "default_rng" not in text else " (its arrays are drawn: the models' own are too large)"
    return f"the first source alone, as a script: {path}{drawn}"


def script(
    step: Step,
    sources: Sequence[Source],
    models: Models,
    weights: Mapping[str, Mapping[str, Array]],
    target: Target | None = None,
) -> str:
    """Return the script that shows what a step found: another result, or, with a target, another gradient.

    Raises
        UsageError: an operation that has no standalone form, or arrays that are too large to be carried along.
    """
    fixes = tuple((source.mends, source.fix) for source in sources if source.cause != UNKNOWN)
    draft = Draft(step, models, weights, fixes, target=target)
    parts = draft.parts()
    if draft.size() > LIMIT and draft.croppable():
        kept = 2 if any(op.config.get("training") for op in step.cut.segment_tensorflow) else 1
        draft = Draft(step, models, weights, fixes, kept, target)
        parts = draft.parts()
    held = _embedded(draft.store.arrays) if draft.size() <= LIMIT else _drawn(draft)
    return HEAD.format(
        title=_title(sources, draft.target),
        told=_told(sources, held.startswith("RNG")),
        imports="import tf_keras as keras" if models.about[TENSORFLOW].get("framework") == "tf_keras"
        else "import keras",
        limit=draft.limit(),
        dtypes=draft.dtypes(),
        called=CALL_AND_KEEP if "variable(" in parts[0] else CALL,
        helpers="".join(text for words, text in HELPERS.items() if any(word in parts[1] for word in words)),
        tensorflow=textwrap.indent(parts[0], "    "),
        torch=textwrap.indent(parts[1], "    "),
        order=textwrap.indent(parts[2], "    "),
        arrays=held,
    )  # fmt: skip


@dataclass
class Draft:
    """One attempt at a script; `kept` samples of the batch, or all of them."""

    step: Step
    models: Models
    weights: Mapping[str, Mapping[str, Array]]
    fixes: tuple[tuple[str, str], ...]  # whose code each is a line of, and the line
    kept: int | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        self.store = Store(self.weights)
        self.feeds: list[str] = []
        self.expressions: dict[str, str] = {}  # of torch's weights
        self.sized = False  # whether a call names the size of the batch

    def parts(self) -> tuple[str, str, str]:
        """Return the code of both sides, and of what brings torch's result to TensorFlow's order."""
        cut = self.step.cut
        inputs: dict[int, str] = {}
        for number, tensor in enumerate(cut.feeds_tensorflow):
            name = "input" if len(cut.feeds_tensorflow) == 1 else f"input_{number}"
            inputs[tensor] = f"tf.constant({self.store.feed(name, self._cropped(self.step.fed[tensor]))})"
            self.feeds.append(name)
        upstreams = self._upstreams()
        ours = self._code(TENSORFLOW, cut.segment_tensorflow, inputs, cut.tensorflow, upstreams[0])
        theirs: dict[int, str] = {}
        for number, tensor in enumerate(cut.feeds_torch):
            array = self._cropped(self.step.fed_torch[tensor])
            theirs[tensor] = f"tensor({self.store.fed_to_torch(f'torch_input_{number}', array, self.feeds)})"
        return ours, self._code(TORCH, cut.segment_torch, theirs, cut.torch, upstreams[1]), self._order()

    def _upstreams(self) -> tuple[str, str]:
        """Return the expressions of the gradient that both sides are sent."""
        relation = self.step.relation
        if self.target is None or self.target.of == STATE or relation is None:
            return "", ""
        theirs = np.asarray(self.step.answers[TWIN_TORCH]["upstream"])
        mine = np.asarray(relation.to_tensorflow(theirs))
        first = self.store.feed("upstream", self._cropped(mine))
        return first, f"tensor({self.store.fed_to_torch('torch_upstream', self._cropped(theirs), ['upstream'])})"

    def _order(self) -> str:
        step = self.step
        if self.target is not None:
            return "\n".join(self.target.order_lines(self._cropped, self.store) or ["pass  # the same order"])
        if step.relation is None:
            return "pass  # not even the shapes agree"
        sizes = [self._cropped(array).shape for array in (step.got, step.expected)]
        return "\n".join(moved_back(sizes[0], step.relation, sizes[1], self.store) or ["pass  # the same order"])

    def _cropped(self, array: Array) -> Array:
        return array if self.kept is None else array[: self.kept]

    def _code(self, side: str, ops: Sequence[Op], inputs: Mapping[int, str], wanted: int, upstream: str) -> str:
        called = {tensor: f"x{number}" if len(inputs) > 1 else "x" for number, tensor in enumerate(inputs)}
        lines = [f"{called[tensor]} = {code}" for tensor, code in inputs.items()]
        writer = repro_keras.expression if side == TENSORFLOW else repro_torch.expression
        main = self.step.cut.main_tensorflow if side == TENSORFLOW else self.step.cut.main_torch
        parts = self.models.parts(side, ops)
        needed = {wanted, *(tensor for op in parts for tensor in op.inputs)}
        for number, op in enumerate(parts, 1):
            several = bool(needed & set(op.outputs[1:]))
            given = self._given(side, op, [self._read(called, tensor, op) for tensor in op.inputs], several)
            code = writer(given)
            self.sized = self.sized or (code == given.as_called() and self._tells_batch(op.spelt))
            if main is not None and op.index == main.index:
                lines += [f"# fix: {' '.join(fix.split())}" for mends, fix in self.fixes if (mends or TORCH) == side]
            lines += [f"# {op.name}", f"y{number} = {code}"]
            for place, tensor in enumerate(op.outputs):
                called[tensor] = f"y{number}[{place}]" if several else "!" if place else f"y{number}"
        if called.get(wanted, "!")[0] == "!":
            raise UsageError(f"{refusal(self.step.cut.kind)} (a further result is compared)")
        if self.target is None:
            return "\n".join([*lines, f"return {called[wanted]}"])
        fed, body = lines[: len(inputs)], lines[len(inputs) :]
        if side == TENSORFLOW:
            return self.target.in_tensorflow(fed, body, called, wanted, upstream)
        return self.target.in_torch(fed, body, called, wanted, upstream, self.expressions)

    def _read(self, called: Mapping[int, str], tensor: int, op: Op) -> str:
        name = called.get(tensor, "!")
        if name[0] == "!":
            raise UsageError(f"{refusal(op.kind)} (it reads a further result of another operation)")
        return name

    def _tells_batch(self, text: str) -> bool:
        return re.search(rf"\b{self._batch()}\b", text) is not None

    def _given(self, side: str, op: Op, x: Sequence[str], several: bool) -> Given:
        held: dict[str, str] = {}
        sizes: dict[str, Any] = {}
        for role, reference in op.weights.items():
            if side == TENSORFLOW:
                held[role], sizes[role] = self.store.tensorflow(side, reference, role)
            else:
                held[role], sizes[role] = self.store.torch(side, reference, role, self.feeds)
                self.expressions[reference] = held[role]
        for role, key in (("mask", MASK), ("key_mask", KEY_MASK)):
            if key in op.config:
                mask = unpacked(op.config[key])
                held[role], sizes[role] = self.store.constant(f"{op.name}/{role}", mask), mask.shape
        shapes = self.models[side].shapes
        read = tuple(tuple(shapes.get(tensor, ())) for tensor in op.inputs)
        made = tuple(shapes.get(op.outputs[0], ()))
        dtypes = self.models[side].dtypes
        masks = tuple(dtypes.get(tensor) == "bool" for tensor in op.inputs)
        operands = self._operands(side, op)
        tensors = held if side == TENSORFLOW else {role: f"tensor({text})" for role, text in held.items()}
        whole = dtypes.get(op.outputs[0], "").startswith(("int", "uint"))
        return Given(op, tuple(x), held, tensors, sizes, read, made, self._batch(), masks, several, whole, operands)

    def _operands(self, side: str, op: Op) -> tuple[str, ...]:
        """Return the expressions of many numbers, or some made of weights, that an operation's call has places for."""
        if "{k[" not in op.spelt:
            return ()
        found = self.models.workers.call(side, "operands", op=op.index)
        texts = [
            self.store.operand(f"{op.name}/operand_{number}", np.asarray(array), side == TORCH, self.feeds)
            for number, array in enumerate(found)
        ]
        return tuple(texts) if side == TENSORFLOW else tuple(f"tensor({text})" for text in texts)

    def _batch(self) -> int:
        return len(self.step.expected) if self.step.expected.ndim else 1

    def croppable(self) -> bool:
        """Return whether every array of the segment has the samples as its first axis."""
        step = self.step
        whole = [*step.fed.values(), *step.fed_torch.values(), step.expected, step.got]
        apart = any(op.config.get("time_major") for op in step.cut.segment_torch)
        named = step.relation is None or step.relation.name != "batch-second"
        return named and not apart and not self.sized and all(x.ndim and len(x) == self._batch() > 2 for x in whole)

    def size(self) -> int:
        """Return how long the arrays are as text."""
        rough = sum(array.nbytes for array in self.store.arrays.values())
        return rough if rough > 8 * LIMIT else len(packed(self.store.arrays))

    def dtypes(self) -> tuple[str, ...]:
        """Return the precisions to run in; the first decides."""
        single = any("float32's bound decides" in note for note in self.step.notes)
        return ("float32",) if single else ("float64", "float32")

    def limit(self) -> float:
        """Return the largest difference that rounding explains, as a fraction of the largest value."""
        step = self.step
        finding = step.finding if self.target is None else self.target.finding
        bound = float(np.nan_to_num(finding.d64_bound or 0.0, posinf=0.0))
        kinds = [str(op.config.get("function", op.kind)) for op in step.cut.segment_tensorflow]
        found = max([EXACT, 2.0 * bound, *(BLURRED.get(kind, 0.0) for kind in kinds)])
        if finding.d64 is not None and np.isfinite(finding.d64):
            found = min(found, finding.d64 / 4.0)
        return float(f"{found:.1e}")


def packed(arrays: Mapping[str, Array]) -> str:
    """Return arrays as text: base64 of a compressed .npz, in lines."""
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **arrays)
    return "\n".join(textwrap.wrap(base64.b64encode(held.getvalue()).decode(), 120))


def _embedded(arrays: Mapping[str, Array]) -> str:
    return PACKED.format(text=packed(arrays))


def _drawn(draft: Draft) -> str:
    """Return code that draws what is too large, in the shapes, and about the sizes, of the models' own."""
    large = {name: array for name, array in draft.store.arrays.items() if array.size > SMALL and array.dtype != bool}
    small = {name: array for name, array in draft.store.arrays.items() if name not in large}
    alone = [name for name in large if name in draft.store.own]
    if alone or len(packed(small)) > LIMIT:
        name = alone[0] if alone else max(small, key=lambda name: small[name].size)
        raise UsageError(
            f"`{name}` {draft.store.arrays[name].shape} is too large for a script and no transpose of the other side's:"
            " use --dump"
        )
    lines = ["RNG = np.random.default_rng(0)  # the models' own arrays are too large to be carried along"]
    lines += PACKED.format(text=packed(small)).splitlines()
    for name, array in large.items():
        if array.dtype.kind in "iu":
            low, high = int(array.min()), int(array.max())
            made = f'RNG.integers({low}, {high + 1}, {array.shape}).astype("{array.dtype}")'
        else:
            spread, middle = float(array.std()), float(array.mean())
            made = f"RNG.normal({middle:.3g}, {spread:.3g}, {array.shape})"
            made = f'np.abs({made}).astype("float32")' if array.min() >= 0 else f'{made}.astype("float32")'
        lines.append(f'ARRAYS["{name}"] = {made}')
    return "\n".join(lines)


def _title(sources: Sequence[Source], target: Target | None) -> str:
    first = sources[0]
    if target is not None:
        return f"{names(first.tensorflow, first.torch)} trains differently: {target.finding.tensor}."
    return f"{names(first.tensorflow, first.torch)} computes something else in PyTorch than in TensorFlow."


def _told(sources: Sequence[Source], drawn: bool) -> str:
    lines: list[str] = []
    for source in sources:
        for label, text in (("cause", source.cause), ("evidence", source.evidence), ("fix", source.fix)):
            lines += textwrap.wrap(
                " ".join(text.split()), 116, initial_indent=f"# {label}: ", subsequent_indent="#   ",
                break_long_words=False,
            )  # fmt: skip
    if drawn:
        lines.append("# The arrays are drawn, not the models' own: the difference is another one than in the evidence.")
    return "\n".join(lines)
