"""Recurrent cells that a model writes out: each step seen as one operation, as a cell of the framework is.

A product of what is read, one of the state, gates cut out of their sum, and what the gates do: the names of all that
are the author's own, its meaning is in what is multiplied with what.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from parity.model.trace import Op, Trace
from parity.pairing import references
from parity.pairing.steps import Reader, Step, Term
from parity.pairing.whole import Whole

RECURRENT = frozenset({"lstm", "gru", "rnn", "conv_lstm"})
_ORDER = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("h",)}  # of torch's rows
_KERAS_ORDER = {**_ORDER, "gru": ("z", "r", "n")}
_ROLES = (("kernel", "weight_ih_l0"), ("recurrent_kernel", "weight_hh_l0"), ("bias", "bias_ih_l0"))


def cells_as_one(mine: Whole, theirs: Whole, apart: Container[str] = ()) -> tuple[Whole, Whole]:
    """Return both traces with one operation for each step of a cell that is written out.

    They stay as they are where the other side has no such layer, or writes it out alike. Operations with one of the
    names in `apart` stay on their own.
    """
    sides = (mine, theirs)
    chains = [_chains(side.trace, place == 0) for place, side in enumerate(sides)]
    layers = [any(op.kind in RECURRENT and op.weights for op in side.trace.ops) for side in sides]
    alike = [[chain.layout() for chain in some] for some in chains]
    found = []
    for place, side in enumerate(sides):
        wanted = layers[1 - place] or (chains[1 - place] and alike[0] != alike[1])
        groups = [group for chain in chains[place] for group in chain.cells()] if wanted else []
        named = any(op.name in apart for _, ops in groups for op in ops)
        found.append(side.together(groups) if groups and not named else side)
    return found[0], found[1]


def _chains(trace: Trace, tensorflow: bool) -> list[_Chain]:
    """Return steps of one cell that hand their states on, in order; a step alone is none."""
    reader = Reader(trace, tensorflow)
    chains: list[list[Step]] = []
    for op in trace.ops:
        step = reader.step(op)
        if step is None:
            continue
        last = next((chain for chain in chains if _goes_on(chain[-1], step, reader)), None)
        if last is None:
            chains.append([step])
        else:
            last.append(step)
    found = [_Chain(trace, reader, chain, tensorflow) for chain in chains if len(chain) > 1]
    return [chain for chain in found if chain.cells()]


def _goes_on(before: Step, step: Step, reader: Reader) -> bool:
    """Return whether a step begins with what another one ends with, in its place or the states exchanged."""
    kernels = [{_kernel_of(op) for op in one.products} for one in (before, step)]
    if before.kind != step.kind or not kernels[0] <= kernels[1]:  # the first may lack a product with zeros
        return False
    read = {tensor for op in step.products for tensor in reader.reads(step, op)}
    if before.memory is None or step.memory is None:
        return before.output in read
    handed = (before.output, before.memory[1])
    return any(one in read and step.memory[0] == other for one, other in (handed, handed[::-1]))


def _state(step: Step, exchanged: bool) -> int:
    """Return what the next step takes for the state: the memory where the two are exchanged."""
    return step.memory[1] if exchanged and step.memory is not None else step.output


class _Chain:
    """All steps of one cell, and which weights are what to it."""

    def __init__(self, trace: Trace, reader: Reader, steps: Sequence[Step], tensorflow: bool) -> None:
        self.trace, self.reader, self.steps, self.tensorflow = trace, reader, steps, tensorflow
        self.shapes = references.shapes_of(trace)
        self.order = (_KERAS_ORDER if tensorflow else _ORDER)[steps[0].kind]
        self.exchanged = steps[1].memory is not None and steps[1].memory[0] == steps[0].output
        self.first = _state(steps[0], self.exchanged)  # that the second step reads

    def layout(self) -> tuple[Any, ...]:
        """Return how the cell is written, to tell whether another one is written alike."""
        second = self.steps[1]
        gates = [
            (name, [(one.low, one.high, self._place(one.op)) for one in terms])
            for name, terms in sorted(second.gates.items())
        ]
        return second.kind, len(second.products), repr(gates)

    def _place(self, op: Op | None) -> tuple[bool, ...]:
        """Return which of what a product reads, side by side, is the state."""
        return tuple(tensor == self.first for tensor in self._read(self.steps[1], op))

    def _read(self, step: Step, op: Op | None) -> tuple[int, ...]:
        return self.reader.reads(step, op) if op is not None else ()

    def cells(self) -> list[tuple[Op, tuple[Op, ...]]]:
        """Return one operation for each step, with its steps; none where it is no cell of the usual kind."""
        weights = self._weights()
        found = [self._cell(number, weights) for number in range(len(self.steps))] if weights else []
        whole = [one for one in found if one is not None]
        return whole if len(whole) == len(self.steps) else []

    def _weights(self) -> dict[str, str]:
        """Return the references of the kernels and biases, each gate's part in the order of the framework's layers."""
        second, kernels = self.steps[1], list[str]()
        for of_state in (False, True):
            terms = [self._only(second, gate, of_state) for gate in self.order]
            parts = [term for term in terms if term is not None]
            if len(parts) < len(terms) or len({self._rows_first(part.op) for part in parts}) > 1:
                return {}
            kernels.append(self._kernels(parts, of_state))
        biases = self._biases(second)
        if biases is None or any(step.like() != second.like() for step in self.steps[2:]):
            return {}
        names = [roles[0 if self.tensorflow else 1] for roles in _ROLES]
        found = dict(zip(names, kernels, strict=False))
        if self.two_biases and len(biases) == 1:
            return {}  # one of two biases has no place in a layer that has both
        of_both = second.kind == "gru" and not self.tensorflow
        return {**found, "biases_l0" if of_both else names[2]: "|".join(biases)} if biases else found

    @property
    def two_biases(self) -> bool:
        """Whether the bias of the state is one of its own: a gate opens it together with the state's product."""
        return self.steps[1].kind == "gru" and not self.steps[1].opened

    def _only(self, step: Step, gate: str, of_state: bool) -> Term | None:
        """Return the one product in a gate that reads the state, or what is fed; one may read both."""
        found = [
            term
            for term in step.gates[gate]
            if term.op is not None
            and (read := set(self.reader.reads(step, term.op)))
            and (self.first in read if of_state else read - {self.first})
        ]
        return found[0] if len(found) == 1 else None

    def _rows_first(self, op: Op | None) -> bool:
        """Whether a product's units are its kernel's first axis: torch's, unless the code multiplies matrices."""
        return op is not None and not self.tensorflow and "other" not in op.weights

    def _kernels(self, parts: Sequence[Term], of_state: bool) -> str:
        """Return the reference of all gates' rows, be they in one kernel or in one for each."""
        if len({part.reference for part in parts}) == 1:
            return self._kernel(parts, of_state)
        return references.joined([self._kernel([part], of_state) for part in parts], last=self.tensorflow)

    def _kernel(self, parts: Sequence[Term], of_state: bool) -> str:
        reference, op = parts[0].reference, parts[0].op
        assert op is not None
        shape, rows_first = self.shapes.get(reference, ()), self._rows_first(op)
        indices = np.concatenate([np.arange(part.low, part.high) for part in parts])
        read = self.reader.reads(self.steps[1], op)
        found = reference
        if len(read) > 1 or not np.array_equal(indices, np.arange(shape[0 if rows_first else -1] if shape else 0)):
            found += f"@{'' if rows_first else 'last:'}{references.ranges_of(indices)}"
        if len(read) > 1:
            sizes = [self.reader.units(tensor) for tensor in read]
            place = next(i for i, tensor in enumerate(read) if (tensor == self.first) == of_state)
            start = sum(sizes[:place])
            found += f"@dim{1 if rows_first else len(shape) - 2}:{start}:{start + sizes[place]}"
        return found if rows_first or self.tensorflow else f"{found}@t"

    def _biases(self, step: Step) -> list[str] | None:
        """Return the biases as a layer has them: one sum for each gate, or those of what is fed and of the state.

        None where gates have different ones, or a bias belongs to several.
        """
        per_gate = [self._biases_of(step, gate) for gate in self.order]
        kinds = [len(some) if self.two_biases else min(len(some), 1) for some in per_gate]
        if len(set(kinds)) > 1:
            return None
        if not kinds[0]:
            return []
        if not self.two_biases:
            return [self._joined([[one[1:] for one in some] for some in per_gate])]
        if any([one[0] for one in some] != [False, True] for some in per_gate):
            return [self._joined([[some[0][1:]] for some in per_gate])]
        return [self._joined([[some[place][1:]] for some in per_gate]) for place in (0, 1)]

    def _biases_of(self, step: Step, gate: str) -> list[tuple[bool, str, int, int]]:
        """Return whether it is the state's, and the reference and the units of each bias of a gate."""
        return sorted(
            (self.first in self._read(step, term.op or term.beside), reference, term.low, term.high)
            for term in step.gates[gate]
            if (reference := term.reference if term.op is None else term.op.weights.get("bias"))
        )

    def _joined(self, sums: Sequence[Sequence[tuple[str, int, int]]]) -> str:
        """Return one reference for the sums of the gates: a sum of wholes, where all are parts of the same weights."""
        names = [[name for name, _, _ in some] for some in sums]
        if all(one == names[0] for one in names):
            columns = [[some[i] for some in sums] for i in range(len(names[0]))]
            return "+".join(self._places(column) for column in columns)
        return references.joined(["+".join(self._places([one]) for one in some) for some in sums])

    def _places(self, ranges: Sequence[tuple[str, int, int]]) -> str:
        reference = ranges[0][0]
        indices = np.concatenate([np.arange(low, high) for _, low, high in ranges])
        whole = np.array_equal(indices, np.arange(prod(self.shapes.get(reference, ()))))
        return reference if whole else f"{reference}@{references.ranges_of(indices)}"

    def _cell(self, number: int, weights: Mapping[str, str]) -> tuple[Op, tuple[Op, ...]] | None:
        step = self.steps[number]
        before = _state(self.steps[number - 1], self.exchanged) if number else None
        ops = {**step.ops, **{op.index: op for op in self.reader.joins(step)}}
        last, inputs = ops[max(ops)], self._inputs(step, before)
        outputs = (step.output, step.memory[1]) if step.memory is not None else (step.output,)
        if inputs is None or not self._closed(ops, outputs, last.index):
            return None
        config = {
            "cell": True, "units": self.reader.units(step.output), "bidirectional": False,
            "reset_after": not step.opened,
            "activation": step.functions[0], "recurrent_activation": step.functions[1] or None,
            "bias": any("bias" in role for role in weights),
        }  # fmt: skip
        kind = f"conv_{step.kind}" if self.reader.is_convolved(step.output) else step.kind
        if kind not in RECURRENT:
            return None
        made = Op(last.index, self._name(), kind, inputs, outputs, config, weights, step.products[0].made_by)
        return made, tuple(ops[index] for index in sorted(ops))

    def _inputs(self, step: Step, before: int | None) -> tuple[int, ...] | None:
        """Return what a step is fed, the state and the memory, as far as they are no zeros."""
        second = self.steps[1]
        usual = {_kernel_of(op): self.reader.reads(second, op) for op in second.products}
        fed: list[int] = []
        states: list[int] = []
        for op in step.products:
            known, read = usual.get(_kernel_of(op)), self.reader.reads(step, op)
            if known is None:
                return None
            of_state = [tensor == self.first for tensor in known]
            if len(read) < len(known):  # zeros are joined, or multiplied
                fed += [] if all(of_state) else list(read)
                continue
            fed += [tensor for tensor, state in zip(read, of_state, strict=True) if not state]
            states += [tensor for tensor, state in zip(read, of_state, strict=True) if state]
        if len(set(fed)) != 1 or len(set(states)) > 1 or (before is not None and set(states) != {before}):
            return None
        memory = step.memory[0] if step.memory is not None else None
        return (fed[0], *dict.fromkeys(states), *([memory] if memory is not None else []))

    def _closed(self, ops: Mapping[int, Op], outputs: Sequence[int], last: int) -> bool:
        """Return whether nothing else reads what is made inside, or reads the results before they are all there."""
        readers = self.trace.consumers()
        for op in ops.values():
            for tensor in op.outputs:
                others = [reader for reader in readers.get(tensor, ()) if reader.index not in ops]
                if tensor in outputs:
                    if any(reader.index < last for reader in others):
                        return False
                elif others or tensor in self.trace.outputs:
                    return False
        return True

    def _name(self) -> str:
        names = [op.name for op in self.steps[1].products]
        parent = names[0].rpartition("/" if self.tensorflow else ".")[0]
        return parent if parent and all(name.startswith(parent) for name in names) else names[0]


def _kernel_of(op: Op) -> str:
    return next(iter(op.weights[role] for role in ("kernel", "weight", "other") if role in op.weights))
