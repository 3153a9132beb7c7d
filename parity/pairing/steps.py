"""One step of a recurrent cell that is written out, recognised by what is multiplied with what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parity.model.trace import Op, Trace
from parity.pairing.references import shape_of, shapes_of

IMAGE = 4  # axes of a batch of images
_LINEAR = frozenset({"dense", "matmul", "conv"})
_ALONG = frozenset({"add", "subtract", "multiply", "rescale", "activation", "split", "slice", "concat"})
_KERNELS = ("kernel", "weight", "other")


@dataclass(frozen=True)
class Term:
    """Some units of a product, or of a bias that is added, in a gate."""

    op: Op | None  # the product; None for a bias
    reference: str
    low: int
    high: int
    beside: Op | None = None  # of a bias: the product that it is added to, if it is one alone


@dataclass(frozen=True)
class Gate:
    """A squashed sum of products, which may be shifted before or inverted behind."""

    ops: tuple[Op, ...]
    function: str
    terms: list[Term]


@dataclass
class Step:
    """One step of a cell: its gates, what they make, and all operations that belong to it."""

    kind: str
    gates: dict[str, list[Term]]
    output: int
    memory: tuple[int | None, int] | None = None  # an LSTM's, before (None: zeros) and after
    functions: tuple[str, str] = ("", "")  # of what is new, and of the gates
    ops: dict[int, Op] = field(default_factory=dict)
    opened: dict[int, int | None] = field(default_factory=dict)  # a state that a gate opened for a product, and itself

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
        self.shapes = shapes_of(trace)
        self.used: dict[int, Op] = {}
        self.columns = _columns(trace)

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

    def reads(self, step: Step, product: Op) -> tuple[int, ...]:
        """Return what a product of a step reads, the state itself for one that a gate opens; no zeros."""
        found = (step.opened.get(tensor, tensor) for tensor in self.read(product))
        return tuple(tensor for tensor in found if tensor is not None)

    def units(self, tensor: int) -> int:
        """Return how many units, or channels, a tensor has."""
        shape = self.trace.shapes.get(tensor, ())
        return shape[self._axis(tensor)] if shape else 0

    def is_convolved(self, tensor: int) -> bool:
        """Return whether a tensor is an image, or a row of places that a convolution goes along."""
        return len(self.trace.shapes.get(tensor, ())) >= IMAGE or tensor in self.columns

    def _axis(self, tensor: int) -> int:
        """Return where a tensor has its units: torch's images have them first."""
        return 1 if not self.tensorflow and self.is_convolved(tensor) else -1

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

    def _gate(self, tensor: int) -> Gate | None:
        op, behind = self.makers.get(tensor), list[Op]()
        if op is not None and _is_scaling(op):
            tensor, behind = op.inputs[0], [op]
            op = self.makers.get(tensor)
        if op is not None and (cut := self._cut(op, tensor)) is not None:  # several gates are squashed at once
            whole = self._gate(op.inputs[0])
            if whole is None:
                return None
            return Gate((*whole.ops, op, *behind), whole.function, _part(whole.terms, cut))
        if op is None or op.kind != "activation" or op.weights:
            return None
        terms = self._terms(op.inputs[0])
        return Gate((op, *behind), str(op.config.get("function")), terms) if terms else None

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
                        names = [gate.function for gate in found]
                        # One gate may have another function by mistake; the candidate has none of a gate's.
                        if len(found) < 4 or names[2] == names[0] or names[0] not in (names[1], names[3]):
                            continue
                        self._use(op, last, sum_, *makers, *(one for gate in found for one in gate.ops))
                        terms = {name: gate.terms for name, gate in zip("ifgo", found, strict=True)}
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
        for new, update, used in self._mixed(op):
            squashed, gate = self._maker(new, "activation"), self._gate(update)
            made = self._candidate(squashed.inputs[0]) if squashed is not None and gate is not None else None
            if squashed is None or gate is None or made is None:
                continue
            terms, reset, opened = made
            self._use(op, squashed, *gate.ops, *reset.ops, *used)
            functions = str(squashed.config.get("function")), gate.function
            gates = {"r": reset.terms, "z": gate.terms, "n": terms}
            return Step("gru", gates, op.outputs[0], functions=functions, opened=opened)
        return None

    def _candidate(self, tensor: int) -> tuple[list[Term], Gate, dict[int, int | None]] | None:
        """Return the terms of a sum of which a gate opens one, the gate, and the state if that is what it opens."""
        terms, resets, opened, open_ = list[Term](), list[Gate](), dict[int, int | None](), [tensor]
        while open_:
            at = open_.pop(0)
            op = self.makers.get(at)
            if op is not None and op.kind == "add" and not op.weights and len(op.inputs) > 1:
                self._use(op)
                open_ = [*op.inputs, *open_]
                continue
            whole = self._terms(at)
            shut, found = (None, whole) if whole is not None else self._opened(op)
            if found is None:
                return None
            terms += found
            resets += [shut] if shut is not None else []
            for product in (term.op for term in found if term.op is not None and shut is None):
                for read in self.read(product):
                    for state, reset in self._reset(read):
                        opened[read] = state
                        resets.append(reset)
        several = {gate.ops[0].index for gate in resets}
        return (terms, resets[0], opened) if len(several) == 1 else None

    def _opened(self, op: Op | None) -> tuple[Gate | None, list[Term] | None]:
        """Return the gate and the terms of a product of both."""
        for opened, past in self._both(op, "multiply"):
            gate, terms = self._gate(opened), self._terms(past)
            if gate is not None and terms is not None:
                self._use(op)
                return gate, terms
        return None, None

    def _reset(self, tensor: int) -> Iterator[tuple[int | None, Gate]]:
        """Yield the state, None for zeros, that a gate opens before it is multiplied with weights, and the gate."""
        op = self._maker(tensor, "multiply")
        for state, opened in self._kept(op):
            gate = self._gate(opened)
            if gate is not None:
                self._use(op)
                yield state, gate
                return

    def _mixed(self, op: Op) -> Iterator[tuple[int, int, list[Op]]]:
        """Yield what is new, the gate and the operations of a sum of a state and what is new, in any share."""
        for first, second in self._both(op, "add"):
            yield from self._blended(first, second)
            yield from self._moved(first, second)
        if op.kind == "subtract" and not op.weights and len(op.inputs) == 2:
            yield from self._moved(*op.inputs)
        if op.kind == "op:lerp" and len(op.inputs) == 3:
            for new in op.inputs[:2]:
                yield new, op.inputs[2], []

    def _blended(self, first: int, second: int) -> Iterator[tuple[int, int, list[Op]]]:
        """Yield the same of z * h + (1 - z) * n, or with the shares exchanged."""
        one, other = self._maker(first, "multiply"), self._maker(second, "multiply")
        for left, gate in self._kept(one):
            for share, right in self._kept(other):
                rest = self._rest(share)
                if one is None or other is None or rest is None or rest[1] != gate:
                    continue
                for new in (left, right):
                    if new is not None:
                        yield new, gate, [one, other, rest[0]]

    def _rest(self, tensor: int | None) -> tuple[Op, int] | None:
        """Return the operation that makes 1 - x, and x."""
        op = self.makers.get(tensor) if tensor is not None else None
        return (op, op.inputs[0]) if op is not None and _is_rest(op) else None

    def _moved(self, first: int, second: int) -> Iterator[tuple[int, int, list[Op]]]:
        """Yield the same of n + z * (h - n), and of h + z * (n - h)."""
        product = self._maker(second, "multiply")
        for gate, between in self._both(product, "multiply"):
            apart = self.makers.get(between)
            if apart is None or product is None or first not in apart.inputs or apart.weights:
                continue
            if apart.kind == "subtract" and len(apart.inputs) == 2:
                for new in apart.inputs:
                    yield new, gate, [product, apart]
            elif len(apart.inputs) == 1 and _is_minus(apart):
                yield first, gate, [product, apart]

    def _rnn(self, op: Op) -> Step | None:
        found = self._gate(op.outputs[0]) if op.kind == "activation" and len(op.outputs) == 1 else None
        if found is None:
            return None
        self._use(*found.ops)
        step = Step("rnn", {"h": found.terms}, op.outputs[0], functions=(found.function, ""))
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
        if _is_scaling(op):  # such as a forget gate's bias of one
            terms = self._terms(op.inputs[0])
            self._use(op)
            return terms
        cut = self._cut(op, tensor)
        inner = self._terms(op.inputs[0]) if cut is not None else None
        if cut is None or inner is None:
            return None
        self._use(op)
        return _part(inner, cut)

    def _with_bias(self, op: Op) -> list[Term] | None:
        inner = self._terms(op.inputs[0])
        if inner is None:
            return None
        self._use(op)
        for reference in op.weights.values():
            shape = [size for size in shape_of(reference, self.shapes) or () if size > 1]
            if len(shape) == 1:  # a matrix is a product with zeros, of the first step
                products = [term.op for term in inner if term.op is not None]
                inner.append(Term(None, reference, 0, shape[0], products[0] if len(products) == 1 else None))
        return inner

    def _cut(self, op: Op, tensor: int) -> tuple[int, int] | None:
        """Return which units a part of a tensor has."""
        made = self.trace.shapes.get(tensor, ())
        whole = self.trace.shapes.get(op.inputs[0], ()) if op.inputs else ()
        if not whole or len(made) != len(whole):
            return None
        axis = self._axis(op.inputs[0]) % len(whole)
        if op.kind == "split" and int(op.config.get("axis", 0)) % len(whole) == axis:
            sizes = [self.trace.shapes[one][axis] for one in op.outputs]
            start = sum(sizes[: op.outputs.index(tensor)])
            return start, start + made[axis]
        first = _start_of_slice(str(op.config.get("text", "")), axis, self.tensorflow) if op.kind == "slice" else None
        return None if first is None else (first, first + made[axis])


def _columns(trace: Trace) -> frozenset[int]:
    """Return the tensors that a convolution along one axis reads, makes, or that are made of such number by number."""
    makers, found = trace.producers(), set[int]()
    for op in trace.ops:
        if op.kind == "conv" and len(trace.shapes.get(op.outputs[0], ())) == IMAGE - 1:
            joined = makers.get(op.inputs[0]) if op.inputs else None
            parts = joined.inputs if joined is not None and joined.kind == "concat" else ()
            found.update(op.inputs[:1], op.outputs, parts)
        elif op.kind in _ALONG and found & set(op.inputs):
            found.update(op.outputs)
    return frozenset(found)


def _part(terms: Sequence[Term], cut: tuple[int, int]) -> list[Term]:
    """Return some units of each of the terms of a sum."""
    return [replace(one, low=one.low + cut[0], high=one.low + cut[1]) for one in terms]


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


def _is_scaling(op: Op) -> bool:
    """Return whether an operation scales or shifts one tensor by numbers of the code."""
    return op.kind == "rescale" and not op.weights and len(op.inputs) == 1


def _is_rest(op: Op) -> bool:
    """Return whether an operation is 1 - x."""
    if op.kind == "subtract" and op.config.get("reversed") and len(op.inputs) == 1:
        return set(op.config.get("constant") or [0.0]) == {1.0}
    return op.config.get("scale") == -1.0 and op.config.get("offset") == 1.0


def _is_minus(op: Op) -> bool:
    """Return whether an operation takes its tensor from zeros."""
    plain = op.kind == "rescale" and op.config.get("scale") == -1.0 and not op.config.get("offset")
    zeros = op.kind == "subtract" and op.config.get("reversed") and not any(op.config.get("constant") or [1.0])
    negative = op.kind == "activation" and op.config.get("function") == "neg"
    return bool(plain or zeros or negative)
