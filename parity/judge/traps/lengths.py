"""Vectors that are made of length 1, in one operation or written out: what keeps them from a division by zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, zip_longest
from math import sqrt
from typing import Any

import numpy as np

from parity.judge.traps.geometry import axes_there
from parity.judge.traps.remedy import Remedy, called, change, number, replace, together
from parity.judge.traps.scene import Scene, same
from parity.model.trace import MOVES, Op, Trace

IDS = ("l2-normalize-eps",)
KIND, COSINE = "l2_normalize", "cosine_similarity"
NORMS = ("op:norm", "op:linalg_vector_norm", "op:linalg_norm")
FORMS = {
    "rsqrt-floor": "x * torch.rsqrt(torch.clamp((x * x).sum(dim, keepdim=True), min={eps}))",
    "norm-floor": "x / torch.clamp(x.norm(dim=dim, keepdim=True), min={eps})",
    "norm-max": "x / torch.clamp(x.norm(dim=dim, keepdim=True), min={eps})",
    "norm-plus": "x / (x.norm(dim=dim, keepdim=True) + {eps})",
    "square-plus": "x * torch.rsqrt((x * x).sum(dim, keepdim=True) + {eps})",
}
NORM, SQUARE, INVERSE = "norm", "square", "inverse"  # what a tensor on the way from x to its length holds
ROOTS = {"sqrt": (NORM, SQUARE), "rsqrt": (INVERSE, SQUARE)}
POWERS = {0.5: (NORM, SQUARE), -0.5: (INVERSE, SQUARE), -1.0: (INVERSE, NORM)}
A_FEW = 16  # steps from a vector to what it is divided by


@dataclass(frozen=True)
class Unit:
    """An operation that makes vectors of length 1, or the last of several; with `both`, of its two operands."""

    op: Op
    form: str
    eps: float
    axes: int | list[int]
    both: bool = False
    steps: frozenset[int] = frozenset()  # between the vector and what it is divided by

    @property
    def limit(self) -> float:
        """The length below which, about, it is another number that is divided by."""
        return sqrt(self.eps) if self.form in ("rsqrt-floor", "square-plus") else self.eps

    def is_like(self, other: Unit) -> bool:
        """Return whether both are one function: a floor may stand under the length or under its square."""
        plus = [one.form if one.form.endswith("plus") else "" for one in (self, other)]
        return plus[0] == plus[1] and same(self.limit, other.limit)


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    makers = scene.tensorflow_trace.producers(), scene.torch_trace.producers()
    mine, theirs = (units(ops, made) for ops, made in zip((scene.tensorflow_ops, scene.torch_ops), makers, strict=True))
    pairs = [(one, two) for one, two in paired(mine, theirs) if one is not None and two is not None]
    found = [remedy(one, two) for one, two in pairs if not one.is_like(two)]
    yield from found
    if len(found) > 1 and len(mine) == len(theirs):  # of a tower that is called on several inputs
        yield together(found, found[0])
    for one, two in pairs:
        if two.op.kind not in (KIND, COSINE) or (two.op.kind == KIND != one.op.kind):
            yield from _along(scene, one, two)


def units(ops: Sequence[Op], makers: Mapping[int, Op]) -> list[Unit]:
    """Return those of some operations that make vectors of length 1; `makers` are those of the whole model."""
    return [found for op in ops if (found := unit(op, makers)) is not None]


def paired(mine: Sequence[Unit], theirs: Sequence[Unit]) -> Iterator[tuple[Unit | None, Unit | None]]:
    """Yield which of one side belongs to which of the other, where they stand between the same tensors."""
    if mine and theirs and len(mine) != len(theirs) and any(one.both for one in (*mine, *theirs)):
        yield from product(mine, theirs)
    else:
        yield from zip_longest(mine, theirs)


def remedy(mine: Unit, theirs: Unit) -> Remedy:
    """Return the remedy that gives torch's division by a length what TensorFlow's has."""
    line = FORMS[mine.form].format(eps=number(mine.eps))
    config, fix = {"form": mine.form, "eps": mine.eps}, f"{line} in place of `{theirs.op.name}`"
    if theirs.op.kind in (KIND, COSINE):
        made = change(theirs.op, "l2-normalize-eps", f"with {line}", fix, config, cost=0.9)
    else:
        config |= {"axis": theirs.axes}
        made = replace(theirs.op, "l2-normalize-eps", f"with {line}", fix, KIND, config, cost=0.9)
    return called(made, mine.op.name, theirs.op.name)


def _along(scene: Scene, mine: Unit, theirs: Unit) -> Iterator[Remedy]:
    """Yield the remedies that take the length of a vector, which a side writes out, along TensorFlow's axis."""
    for wanted in axes_there(scene, mine.op, theirs.op, mine.axes):
        if not same(_single(wanted), _single(theirs.axes)):
            config = {"form": theirs.form, "eps": theirs.eps, "axis": wanted}
            says = f"along dim {_single(wanted)} instead of {_single(theirs.axes)}"
            where = "" if theirs.op.kind == KIND else "what "
            fix = f"dim={_single(wanted)} in {where}`{theirs.op.name}`{' divides by' if where else ''}"
            yield called(replace(theirs.op, "axis-mismatch", says, fix, KIND, config), mine.op.name, theirs.op.name)


def _single(axes: Any) -> Any:
    return axes[0] if isinstance(axes, (list, tuple)) and len(axes) == 1 else axes


def unit(op: Op, makers: Mapping[int, Op]) -> Unit | None:
    """Return what an operation is if it makes vectors of length 1 out of what it reads."""
    if op.kind in (KIND, COSINE):
        form, eps = str(op.config.get("form", "rsqrt-floor")), float(op.config.get("eps", 1e-12))
        return Unit(op, form, eps, op.config.get("axis", -1), op.kind == COSINE) if form in FORMS else None
    if op.kind == "divide" and len(op.inputs) == 2 and not op.config.get("reversed"):
        return _Steps(op, makers, NORM).lead_to(op.inputs[1], op.inputs[0])
    if op.kind == "multiply" and len(op.inputs) == 2:
        first, second = op.inputs
        # What is replaced must read the vector first.
        return _Steps(op, makers, INVERSE).lead_to(second, first)
    return None


def is_length(trace: Trace, tensor: int | None) -> bool:
    """Return whether a tensor is on the way from a vector to the length that this is divided by."""
    makers = trace.producers()
    maker = makers.get(tensor) if tensor is not None else None
    return maker is not None and any(maker.index in one.steps for one in units(trace.ops, makers))


@dataclass
class _Steps:
    """The way back from what a vector is divided by, or multiplied by, to the vector itself."""

    op: Op
    makers: Mapping[int, Op]
    level: str
    form: str = "norm-floor"
    eps: float | None = None
    steps: set[int] = field(default_factory=set)

    def lead_to(self, tensor: int, vector: int) -> Unit | None:
        for _ in range(A_FEW):
            step = self.makers.get(tensor)
            if step is None or step.weights or not step.inputs:
                return None
            self.steps.add(step.index)
            axes = self._length_of(step, vector)
            if axes is not None:
                return Unit(self.op, self.form, self.eps or 0.0, axes, steps=frozenset(self.steps))
            if not (step.effect == MOVES and len(step.inputs) == 1) and not self._goes_back(step):
                return None
            tensor = step.inputs[0]
        return None

    def _length_of(self, step: Op, vector: int) -> int | list[int] | None:
        """Return along which axes a step takes the length of the vector, or the sum of its squares."""
        axes: int | list[int] | None = step.config.get("axes", step.config.get("dim", step.config.get("axis")))
        whole = step.config.get("p", step.config.get("ord", 2)) in (2, 2.0, "fro")
        if step.kind in NORMS or (step.kind == "reduce" and step.config.get("function") == "norm"):
            return axes if self.level == NORM and whole and step.inputs[0] == vector else None
        if step.kind != "reduce" or step.config.get("function") != "sum" or self.level != SQUARE:
            return None
        inner = self.makers.get(step.inputs[0])
        squares = inner is not None and (
            (inner.kind == "activation" and inner.config.get("function") == "square")
            or (inner.kind == "power" and inner.config.get("exponent") == 2.0)
            or (inner.kind == "multiply" and not inner.weights and "constant" not in inner.config)
        )
        if not squares or inner is None or set(inner.inputs) != {vector}:
            return None
        self.steps.add(inner.index)
        return axes

    def _goes_back(self, step: Op) -> bool:
        """Take, in place, a root, a floor or an addition on the way; return whether it is one of these."""
        config = step.config
        turned = {"activation": ROOTS.get(str(config.get("function"))), "power": POWERS.get(config.get("exponent", 1))}
        if step.kind == "divide" and config.get("reversed") and config.get("constant") == [1.0]:
            turned["divide"] = INVERSE, NORM
        found = turned.get(step.kind)
        if found is not None and found[0] == self.level:
            self.level = found[1]
            return True
        told = config.get("constant") or [config.get("min") if config.get("max") is None else None]
        value = told[0] if len(told) == 1 else None
        if step.kind == "maximum" or config.get("function") == "clamp":
            return value is not None and self._bounded("floor", value)
        if step.kind == "minimum" and self.level == INVERSE and value:
            self.level = NORM
            taken = self._bounded("floor", 1.0 / value)
            self.level = INVERSE
            return taken
        if step.kind == "rescale" and config.get("scale") == 1.0:
            return self._bounded("plus", config.get("offset", 0.0))
        return False

    def _bounded(self, how: str, eps: float) -> bool:
        if self.eps is not None or eps <= 0.0 or self.level == INVERSE:
            return False
        self.eps = float(str(np.float32(eps))) if np.float32(eps) == eps else float(eps)
        place = {(NORM, "floor"): "norm-floor", (SQUARE, "floor"): "rsqrt-floor", (NORM, "plus"): "norm-plus"}
        self.form = place.get((self.level, how), "square-plus")
        return True
