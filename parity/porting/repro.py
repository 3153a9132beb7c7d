"""The first source of a check as a script of its own: two frameworks and NumPy, to be pasted into an upstream issue."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError, UsageError
from parity.judge.verdict import SEMANTIC
from parity.model.trace import Op
from parity.porting import repro_keras, repro_torch
from parity.porting.causes import UNKNOWN
from parity.porting.options import Array
from parity.porting.repro_script import Given, Store, moved_back, refusal
from parity.porting.sides import TENSORFLOW, TORCH, Models
from parity.porting.verdict import Source, names
from parity.porting.walk import Step

LIMIT = 300_000  # bytes of arrays, as text
SMALL = 4096  # numbers of an array that is embedded even where larger ones are drawn
EXACT = 1e-12  # of the scale: in float64, twins are closer
# Keras and TensorFlow take a constant of these through float32, even in float64 (DESIGN.md section 3).
BLURRED = {"gelu": 1e-7, "gelu_tanh": 1e-7, "leaky_relu": 1e-6, "standardize": 1e-5, "resize": 1e-5}


class Repro:
    """Writes the script of the first step that has a source; without a path it does nothing."""

    def __init__(self, path: Path | None, models: Models, weights: Mapping[str, Mapping[str, Array]]) -> None:
        self.path, self.models, self.weights = path, models, weights
        self.done = False
        self.said = "repro: no layer differs when it is compared alone, so that no script was written"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user."""
        return () if self.path is None else (self.said,)

    def add(self, step: Step, sources: Sequence[Source]) -> None:
        """Take one step and all sources so far; a script that cannot be written costs no verdict."""
        if self.path is None or self.done or not sources:
            return
        self.done = True
        try:
            if step.finding.verdict != SEMANTIC:
                raise UsageError("the forward pass agrees, and a script shows no gradients: use --dump")
            how = save(self.path, script(step, sources, self.models, self.weights))
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
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    drawn = "" if "default_rng" not in text else " (its arrays are drawn: the models' own are too large)"
    return f"the first source alone, as a script: {path}{drawn}"


def script(step: Step, sources: Sequence[Source], models: Models, weights: Mapping[str, Mapping[str, Array]]) -> str:
    """Return the script that shows what a step found.

    Raises
        UsageError: an operation that has no standalone form, or arrays that are too large to be carried along.
    """
    fixes = tuple(source.fix for source in sources if source.cause != UNKNOWN)
    draft = Draft(step, models, weights, fixes)
    parts = draft.parts()
    if draft.size() > LIMIT and draft.croppable():
        kept = 2 if any(op.config.get("training") for op in step.cut.segment_tensorflow) else 1
        draft = Draft(step, models, weights, fixes, kept)
        parts = draft.parts()
    held = _embedded(draft.store.arrays) if draft.size() <= LIMIT else _drawn(draft)
    return _HEAD.format(
        title=_title(sources),
        told=_told(sources, held.startswith("RNG")),
        imports="import tf_keras as keras" if models.about[TENSORFLOW].get("framework") == "tf_keras"
        else "import keras",
        limit=draft.limit(),
        dtypes=draft.dtypes(),
        recurrent=_RECURRENT if "recurrent(" in parts[1] else "",
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
    fixes: tuple[str, ...]
    kept: int | None = None

    def __post_init__(self) -> None:
        self.store = Store(self.weights)
        self.feeds: list[str] = []

    def parts(self) -> tuple[str, str, str]:
        """Return the code of both sides, and of what brings torch's result to TensorFlow's order."""
        cut = self.step.cut
        inputs: dict[int, str] = {}
        for number, tensor in enumerate(cut.feeds_tensorflow):
            name = "input" if len(cut.feeds_tensorflow) == 1 else f"input_{number}"
            inputs[tensor] = f"tf.constant({self.store.feed(name, self._cropped(self.step.fed[tensor]))})"
            self.feeds.append(name)
        ours = self._code(TENSORFLOW, cut.segment_tensorflow, inputs, cut.tensorflow)
        theirs: dict[int, str] = {}
        for number, tensor in enumerate(cut.feeds_torch):
            array = self._cropped(self.step.fed_torch[tensor])
            theirs[tensor] = f"tensor({self.store.fed_to_torch(f'torch_input_{number}', array, self.feeds)})"
        return ours, self._code(TORCH, cut.segment_torch, theirs, cut.torch), self._order()

    def _order(self) -> str:
        step = self.step
        if step.relation is None:
            return "pass  # not even the shapes agree"
        sizes = [self._cropped(array).shape for array in (step.got, step.expected)]
        return "\n".join(moved_back(sizes[0], step.relation, sizes[1], self.store) or ["pass  # the same order"])

    def _cropped(self, array: Array) -> Array:
        return array if self.kept is None else array[: self.kept]

    def _code(self, side: str, ops: Sequence[Op], inputs: Mapping[int, str], wanted: int) -> str:
        called = {tensor: f"x{number}" if len(inputs) > 1 else "x" for number, tensor in enumerate(inputs)}
        lines = [f"{called[tensor]} = {code}" for tensor, code in inputs.items()]
        writer = repro_keras.expression if side == TENSORFLOW else repro_torch.expression
        for op in ops:
            if not op.inputs:
                raise UsageError(refusal(op.kind))
            code = writer(self._given(side, op, [self._read(called, tensor, op) for tensor in op.inputs]))
            if side == TORCH and op == self.step.cut.main_torch:
                lines += [f"# fix: {' '.join(fix.split())}" for fix in self.fixes]
            called[op.outputs[0]] = f"y{sum(1 for name in called.values() if name[0] == 'y') + 1}"
            lines += [f"# {op.name}", f"{called[op.outputs[0]]} = {code}"]
            for number, tensor in enumerate(op.outputs[1:], 1):
                called[tensor] = f"!{op.kind}[{number}]"
        if called.get(wanted, "!")[0] == "!":
            raise UsageError(f"{refusal(self.step.cut.kind)} (a further result is compared)")
        return "\n".join([*lines, f"return {called[wanted]}"])

    def _read(self, called: Mapping[int, str], tensor: int, op: Op) -> str:
        name = called.get(tensor, "!")
        if name[0] == "!":
            raise UsageError(f"{refusal(op.kind)} (it reads a further result of another operation)")
        return name

    def _given(self, side: str, op: Op, x: Sequence[str]) -> Given:
        held: dict[str, str] = {}
        sizes: dict[str, Any] = {}
        for role, reference in op.weights.items():
            if side == TENSORFLOW:
                held[role], sizes[role] = self.store.tensorflow(side, reference, role)
            else:
                held[role], sizes[role] = self.store.torch(side, reference, role, self.feeds)
        shapes = self.models[side].shapes
        read = tuple(tuple(shapes.get(tensor, ())) for tensor in op.inputs)
        return Given(op, tuple(x), held, sizes, read, tuple(shapes.get(op.outputs[0], ())), self._batch())

    def _batch(self) -> int:
        return len(self.step.expected) if self.step.expected.ndim else 1

    def croppable(self) -> bool:
        """Return whether every array of the segment has the samples as its first axis."""
        step = self.step
        whole = [*step.fed.values(), *step.fed_torch.values(), step.expected, step.got]
        apart = any(op.config.get("time_major") for op in step.cut.segment_torch)
        named = step.relation is None or step.relation.name != "batch-second"
        return named and not apart and all(x.ndim and len(x) == self._batch() > 2 for x in whole)

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
        bound = float(np.nan_to_num(step.finding.d64_bound or 0.0, posinf=0.0))
        kinds = [str(op.config.get("function", op.kind)) for op in step.cut.segment_tensorflow]
        found = max([EXACT, 2.0 * bound, *(BLURRED.get(kind, 0.0) for kind in kinds)])
        if step.finding.d64 is not None and np.isfinite(step.finding.d64):
            found = min(found, step.finding.d64 / 4.0)
        return float(f"{found:.1e}")


def packed(arrays: Mapping[str, Array]) -> str:
    """Return arrays as text: base64 of a compressed .npz, in lines."""
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **arrays)
    return "\n".join(textwrap.wrap(base64.b64encode(held.getvalue()).decode(), 120))


def _embedded(arrays: Mapping[str, Array]) -> str:
    return _PACKED.format(text=packed(arrays))


def _drawn(draft: Draft) -> str:
    """Return code that draws what is too large, in the shapes, and about the sizes, of the models' own."""
    large = {name: array for name, array in draft.store.arrays.items() if array.size > SMALL}
    small = {name: array for name, array in draft.store.arrays.items() if array.size <= SMALL}
    alone = [name for name in large if name in draft.store.own]
    if alone or len(packed(small)) > LIMIT:
        name = alone[0] if alone else max(small, key=lambda name: small[name].size)
        raise UsageError(
            f"`{name}` {draft.store.arrays[name].shape} is too large for a script and no transpose of the other side's:"
            " use --dump"
        )
    lines = ["RNG = np.random.default_rng(0)  # the models' own arrays are too large to be carried along"]
    lines += _PACKED.format(text=packed(small)).splitlines()
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


def _title(sources: Sequence[Source]) -> str:
    first = sources[0]
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


_RECURRENT = '''

def recurrent(module, weights, x):
    """Return the whole sequence that a recurrent module answers that holds these weights."""
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), weights, strict=True):
            parameter.copy_(weight)
        return module(x)[0]

'''

_PACKED = '''\
PACKED = """
{text}
"""
ARRAYS = dict(np.load(io.BytesIO(base64.b64decode(PACKED))))'''

_HEAD = '''\
# {title}
{told}
#
# Written by `parity check --repro`; needs NumPy, PyTorch and TensorFlow alone. Exit status: 1 if the two differ by more
# than rounding, 0 if they do not.
import base64
import io
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import torch  # before TensorFlow: in one process, the other way round may hang
import torch.nn.functional as F

import tensorflow as tf
{imports}

ROUNDING = {limit!r}  # the largest difference that rounding explains, as a fraction of the largest value


def call(layer, weights, x, **options):
    """Return what a Keras layer answers that holds these weights."""
    layer(x, **options)  # makes its variables
    layer.set_weights(weights)
    return layer(x, **options)


def tensor(array):
    return torch.from_numpy(np.array(array))

{recurrent}
def in_tensorflow(a, dtype):
{tensorflow}


def in_torch(a, dtype):
{torch}


def to_tensorflow_order(a, b):
{order}
    return b


def difference(dtype):
    """Return the largest difference as a fraction of the largest value."""
    a = {{name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in ARRAYS.items()}}
    ours = in_tensorflow(a, dtype).numpy()
    theirs = to_tensorflow_order(a, in_torch(a, dtype).numpy())
    if ours.shape != theirs.shape:
        print(f"{{dtype}}: TensorFlow's result has shape {{ours.shape}}, PyTorch's {{theirs.shape}}")
        return float("inf")
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    apart = np.abs(np.where(same, 0, ours) - np.where(same, 0, theirs))
    largest = max(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (ours, theirs)) or 1
    found = float(np.nan_to_num(apart, nan=np.inf).max() / largest)
    print(f"{{dtype}}: largest difference {{found:.3g}} of the largest value")
    return found


def main():
    python, versions = sys.version.split()[0], (np.__version__, tf.__version__, keras.__version__, torch.__version__)
    print("Python {{}}, NumPy {{}}, TensorFlow {{}}, Keras {{}}, PyTorch {{}}".format(python, *versions))
    found = [difference(dtype) for dtype in {dtypes!r}]
    return int(not found[0] <= ROUNDING)


{arrays}

if __name__ == "__main__":
    sys.exit(main())
'''
