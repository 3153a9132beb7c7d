"""One step of a recurrent cell that is written out, recognised by what is multiplied with what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity.model.trace import Op, Trace
from parity.pairing.references import shape_of

IMAGE = 4  # axes of a batch of images
_LINEAR = frozenset({"dense", "matmul", "conv"})
_KERNELS = ("kernel", "weight", "other")


@dataclass(frozen=True)
class Term:
    """Some units of a product, or of a bias that is added, in a gate."""

    op: Op | None  # the product; None for a bias
    reference: str
    low: int
    high: int


@dataclass
class Step:
    """One step of a cell: its gates, what they make, and all operations that belong to it."""

    kind: str
    gates: dict[str, list[Term]]
    output: int
    memory: tuple[int | None, int] | None = None  # an LSTM's, before (None: zeros) and after
    functions: tuple[str, str] = ("", "")  # of what is new, and of the gates
    ops: dict[int, Op] = field(default_factory=dict)

    @property
    def products(self) -> list[Op]:
        """The products with weights, in the order in which they run."""
        found = {term.op.index: term.op for terms in self.gates.values() for term in terms if term.op is not None}
        return [found[index] for index in sorted(found)]

    def like(self) -> tuple[Any, ...]:
        """Return what two steps of one cell have in common."""
        gates = {gate: sorted((t.reference, t.low, t.high) for t in terms) for gate, terms in self.gates.items()}
        return gates, self.functions


class Reader:
    """Recognises the last operation of a step by what it is made of."""

    def __init__(self, trace: Trace, tensorflow: bool) -> None:
        self.trace, self.makers, self.tensorflow = trace, trace.producers(), tensorflow
        self.shapes = {name: weight.shape for name, weight in trace.weights.items()}
        self.used: dict[int, Op] = {}

    def step(self, op: Op) -> Step | None:
        """Return the step whose result an operation makes, if it is the last of one."""
        for recognise in (self._lstm, self._gru, self._rnn):
            self.used = {}
            found = recognise(op)
            if found is not None:
                found.ops = dict(self.used)
                return found
        return None

    def read(self, product: Op) -> tuple[int, ...]:
        """Return what a product reads: one tensor, or the parts of what was joined for it."""
        maker = self.makers.get(product.inputs[0]) if product.inputs else None
        return maker.inputs if maker is not None and maker.kind == "concat" else product.inputs

    def joins(self, step: Step) -> list[Op]:
        """Return what joins a state to what is fed, for one product of both."""
        makers = [self.makers.get(op.inputs[0]) for op in step.products if op.inputs]
        return [maker for maker in makers if maker is not None and maker.kind == "concat"]

    def units(self, tensor: int) -> int:
        """Return how many units, or channels, a tensor has."""
        shape = self.trace.shapes.get(tensor, ())
        return shape[self._axis(shape)] if shape else 0

    def _axis(self, shape: Sequence[int]) -> int:
        """Return where a tensor has its units: torch's images have them first."""
        return -1 if self.tensorflow or len(shape) < IMAGE else 1

    def _maker(self, tensor: int, kind: str) -> Op | None:
        op = self.makers.get(tensor)
        return op if op is not None and op.kind == kind and not op.weights else None

    def _both(self, op: Op | None, kind: str) -> Iterator[tuple[int, int]]:
        """Yield both inputs of an operation of a kind, in either order."""
        if op is not None and op.kind == kind and not op.weights and len(op.inputs) == 2:
            yield op.inputs[0], op.inputs[1]
            yield op.inputs[1], op.inputs[0]

    def _use(self, *ops: Op | None) -> None:
        self.used |= {op.index: op for op in ops if op is not None}

    def _gate(self, tensor: int) -> tuple[Op, list[Term]] | None:
        op = self._maker(tensor, "activation")
        terms = self._terms(op.inputs[0]) if op is not None else None
        return (op, terms) if op is not None and terms else None

    def _lstm(self, op: Op) -> Step | None:
        for opened, squashed in self._both(op, "multiply"):
            last = self._maker(squashed, "activation")
            sum_ = self._maker(last.inputs[0] if last is not None else squashed, "add")
            for new, kept in self._both(sum_, "add"):
                makers = self._maker(new, "multiply"), self._maker(kept, "multiply")
                for candidate, entrance in self._both(makers[0], "multiply"):
                    for memory, forgotten in self._kept(makers[1]):
                        gates = [self._gate(one) for one in (entrance, forgotten, candidate, opened)]
                        found = [one for one in gates if one is not None]
                        names = [str(gate.config.get("function")) for gate, _ in found]
                        if len(found) < 4 or len({names[0], names[1], names[3]}) > 1 or names[2] == names[0]:
                            continue
                        self._use(op, last, sum_, *makers, *(gate for gate, _ in found))
                        terms = dict(zip("ifgo", (terms for _, terms in found), strict=True))
                        assert sum_ is not None
                        after = memory, sum_.outputs[0]
                        return Step("lstm", terms, op.outputs[0], after, (names[2], names[0]))
        return None

    def _kept(self, op: Op | None) -> Iterator[tuple[int | None, int]]:
        """Yield the state, None for zeros, that a gate multiplies, and the gate."""
        yield from self._both(op, "multiply")
        if op is not None and len(op.inputs) == 1 and not any(op.config.get("constant") or [1.0]):
            yield None, op.inputs[0]

    def _gru(self, op: Op) -> Step | None:
        for first, second in self._both(op, "add"):
            for new, update, used in (*self._blended(first, second), *self._moved(first, second)):
                squashed, gate = self._maker(new, "activation"), self._gate(update)
                sum_ = self._maker(squashed.inputs[0], "add") if squashed is not None else None
                for own, rest in self._both(sum_, "add") if gate is not None else ():
                    reset = self._maker(rest, "multiply")
                    for opened, past in self._both(reset, "multiply"):
                        parts = self._gate(opened), self._terms(own), self._terms(past)
                        if squashed is None or gate is None or None in parts:
                            continue
                        shut, fed, state = parts
                        assert shut is not None
                        assert fed is not None
                        assert state is not None
                        self._use(op, squashed, sum_, reset, gate[0], shut[0], *used)
                        names = [str(one.config.get("function")) for one in (squashed, gate[0])]
                        gates = {"r": shut[1], "z": gate[1], "n": [*fed, *state]}
                        return Step("gru", gates, op.outputs[0], functions=(names[0], names[1]))
        return None

    def _blended(self, first: int, second: int) -> Iterator[tuple[int, int, list[Op]]]:
        """Yield what is new, the gate and the operations of z * h + (1 - z) * n."""
        kept, made = self._maker(first, "multiply"), self._maker(second, "multiply")
        for _, gate in self._kept(kept):
            for share, new in self._both(made, "multiply"):
                rest = self._maker(share, "rescale")
                if rest is not None and rest.inputs[0] == gate and _is_rest(rest) and kept and made:
                    yield new, gate, [kept, made, rest]

    def _moved(self, first: int, second: int) -> Iterator[tuple[int, int, list[Op]]]:
        """Yield the same of n + z * (h - n)."""
        product = self._maker(second, "multiply")
        for gate, between in self._both(product, "multiply"):
            apart = self.makers.get(between)
            if apart is None or product is None or first not in apart.inputs or apart.weights:
                continue
            whole = apart.kind == "subtract" and len(apart.inputs) == 2 and apart.inputs[1] == first
            if whole or (len(apart.inputs) == 1 and _is_minus(apart)):
                yield first, gate, [product, apart]

    def _rnn(self, op: Op) -> Step | None:
        found = self._gate(op.outputs[0]) if op.kind == "activation" and len(op.outputs) == 1 else None
        if found is None:
            return None
        self._use(op)
        step = Step("rnn", {"h": found[1]}, op.outputs[0], functions=(str(op.config.get("function")), ""))
        return step if step.products else None

    def _terms(self, tensor: int) -> list[Term] | None:
        """Return of which products and biases a gate is the sum; None if it is none."""
        op = self.makers.get(tensor)
        if op is None:
            return None
        kernel = next((op.weights[role] for role in _KERNELS if role in op.weights), None)
        if op.kind in _LINEAR and kernel is not None and len(op.outputs) == 1:
            self._use(op)
            return [Term(op, kernel, 0, self.units(tensor))]
        if op.kind == "add" and not op.weights and len(op.inputs) > 1:
            parts = [self._terms(given) for given in op.inputs]
            self._use(op)
            found = [part for part in parts if part is not None]
            return [term for part in found for term in part] if len(found) == len(parts) else None
        if op.kind == "add" and len(op.inputs) == 1 and op.weights:
            return self._with_bias(op)
        cut = self._cut(op, tensor)
        inner = self._terms(op.inputs[0]) if cut is not None else None
        if cut is None or inner is None:
            return None
        self._use(op)
        return [Term(one.op, one.reference, one.low + cut[0], one.low + cut[1]) for one in inner]

    def _with_bias(self, op: Op) -> list[Term] | None:
        inner = self._terms(op.inputs[0])
        if inner is None:
            return None
        self._use(op)
        for reference in op.weights.values():
            shape = [size for size in shape_of(reference, self.shapes) or () if size > 1]
            if len(shape) == 1:  # a matrix is a product with zeros, of the first step
                inner.append(Term(None, reference, 0, shape[0]))
        return inner

    def _cut(self, op: Op, tensor: int) -> tuple[int, int] | None:
        """Return which units a part of a tensor has."""
        made = self.trace.shapes.get(tensor, ())
        whole = self.trace.shapes.get(op.inputs[0], ()) if op.inputs else ()
        if not whole or len(made) != len(whole):
            return None
        axis = self._axis(whole) % len(whole)
        if op.kind == "split" and int(op.config.get("axis", 0)) % len(whole) == axis:
            sizes = [self.trace.shapes[one][axis] for one in op.outputs]
            start = sum(sizes[: op.outputs.index(tensor)])
            return start, start + made[axis]
        first = _start_of_slice(str(op.config.get("text", "")), axis, self.tensorflow) if op.kind == "slice" else None
        return None if first is None else (first, first + made[axis])


def _start_of_slice(text: str, axis: int, tensorflow: bool) -> int | None:
    """Return where a slice along one axis starts, by how its operation is told; None if it is another one."""
    if tensorflow:
        told = re.fullmatch(r"\[([\d, ]+)\] \[[-\d, ]+\] \[[1, ]+\]((?: (?:begin|end)_mask=\d+)*)", text)
        starts = [int(one) for one in told[1].split(",")] if told is not None else []
        if told is None or axis >= len(starts):
            return None
        masks = dict(re.findall(r"(\w+)_mask=(\d+)", told[2]))
        return 0 if int(masks.get("begin", 0)) >> axis & 1 else starts[axis]
    found = re.fullmatch(rf"(?::, ){{{axis}}}(\d*):\d*", text) or re.fullmatch(r"\.\.\., (\d*):\d*", text)
    return None if found is None else int(found[1] or 0)


def _is_rest(op: Op) -> bool:
    """Return whether an operation is 1 - x."""
    return op.config.get("scale") == -1.0 and op.config.get("offset") == 1.0


def _is_minus(op: Op) -> bool:
    """Return whether an operation takes its tensor from zeros."""
    plain = op.kind == "rescale" and op.config.get("scale") == -1.0 and not op.config.get("offset")
    zeros = op.kind == "subtract" and op.config.get("reversed") and not any(op.config.get("constant") or [1.0])
    negative = op.kind == "activation" and op.config.get("function") == "neg"
    return bool(plain or zeros or negative)
