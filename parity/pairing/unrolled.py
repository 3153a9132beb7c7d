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
from parity.pairing.references import ranges_of
from parity.pairing.steps import IMAGE, Reader, Step, Term
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
    """Return whether a step begins with what another one ends with."""
    kernels = [{_kernel_of(op) for op in one.products} for one in (before, step)]
    if before.kind != step.kind or not kernels[0] <= kernels[1]:  # the first may lack a product with zeros
        return False
    if before.output not in {tensor for op in step.products for tensor in reader.read(op)}:
        return False
    return before.memory is None or step.memory is None or before.memory[1] == step.memory[0]


class _Chain:
    """All steps of one cell, and which weights are what to it."""

    def __init__(self, trace: Trace, reader: Reader, steps: Sequence[Step], tensorflow: bool) -> None:
        self.trace, self.reader, self.steps, self.tensorflow = trace, reader, steps, tensorflow
        self.shapes = {name: weight.shape for name, weight in trace.weights.items()}
        self.order = (_KERAS_ORDER if tensorflow else _ORDER)[steps[0].kind]
        self.first = steps[0].output  # the state that the second step reads

    def layout(self) -> tuple[Any, ...]:
        """Return how the cell is written, to tell whether another one is written alike."""
        second = self.steps[1]
        gates = [(name, [(one.low, one.high) for one in terms]) for name, terms in sorted(second.gates.items())]
        return second.kind, len(second.products), repr(gates)

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
            terms = [self._only(second.gates[gate], of_state) for gate in self.order]
            parts = [term for term in terms if term is not None]
            if len(parts) < len(terms) or len({part.reference for part in parts}) > 1:
                return {}
            kernels.append(self._kernel(parts, of_state))
        biases = self._biases(second)
        if biases is None or any(step.like() != second.like() for step in self.steps[2:]):
            return {}
        names = [roles[0 if self.tensorflow else 1] for roles in _ROLES]
        found = dict(zip(names, kernels, strict=False))
        if second.kind == "gru" and len(biases) == 2:
            return {**found, "bias" if self.tensorflow else "biases_l0": "|".join(biases)}
        if second.kind == "gru" and biases:
            return {}  # one of two biases has no place in a layer that has both
        return {**found, names[2]: "+".join(biases)} if biases else found

    def _only(self, terms: Sequence[Term], of_state: bool) -> Term | None:
        """Return the one product in a gate that reads the state, or what is fed; one may read both."""
        found = [
            term
            for term in terms
            if term.op is not None
            and (self.first in self.reader.read(term.op) if of_state else {*self.reader.read(term.op)} - {self.first})
        ]
        return found[0] if len(found) == 1 else None

    def _kernel(self, parts: Sequence[Term], of_state: bool) -> str:
        reference, op = parts[0].reference, parts[0].op
        assert op is not None
        shape = self.shapes.get(reference, ())
        rows_first = not self.tensorflow and "other" not in op.weights
        indices = np.concatenate([np.arange(part.low, part.high) for part in parts])
        read = self.reader.read(op)
        found = reference
        if len(read) > 1 or not np.array_equal(indices, np.arange(shape[0 if rows_first else -1] if shape else 0)):
            found += f"@{'' if rows_first else 'last:'}{ranges_of(indices)}"
        if len(read) > 1:
            sizes = [self.reader.units(tensor) for tensor in read]
            place = next(i for i, tensor in enumerate(read) if (tensor == self.first) == of_state)
            start = sum(sizes[:place])
            found += f"@dim{1 if rows_first else len(shape) - 2}:{start}:{start + sizes[place]}"
        return found

    def _biases(self, step: Step) -> list[str] | None:
        """Return the biases, of what is fed before those of the state; None where gates have different ones."""
        per_gate = [
            [
                (reference, term.low, term.high, term.op is not None and self.first in self.reader.read(term.op))
                for term in step.gates[gate]
                if (reference := term.reference if term.op is None else term.op.weights.get("bias"))
            ]
            for gate in self.order
        ]
        names = [sorted({(of_state, reference) for reference, _, _, of_state in some}) for some in per_gate]
        if any(one != names[0] for one in names) or any(len(some) != len(names[0]) for some in per_gate):
            return None
        found = []
        for _, reference in names[0]:
            ranges = [(low, high) for some in per_gate for name, low, high, _ in some if name == reference]
            indices = np.concatenate([np.arange(low, high) for low, high in ranges])
            whole = np.array_equal(indices, np.arange(prod(self.shapes.get(reference, ()))))
            found.append(reference if whole else f"{reference}@{ranges_of(indices)}")
        return found

    def _cell(self, number: int, weights: Mapping[str, str]) -> tuple[Op, tuple[Op, ...]] | None:
        step, before = self.steps[number], self.steps[number - 1].output if number else None
        ops = {**step.ops, **{op.index: op for op in self.reader.joins(step)}}
        last, inputs = ops[max(ops)], self._inputs(step, before)
        outputs = (step.output, step.memory[1]) if step.memory is not None else (step.output,)
        if inputs is None or not self._closed(ops, outputs, last.index):
            return None
        config = {
            "cell": True, "units": self.reader.units(step.output), "bidirectional": False, "reset_after": True,
            "activation": step.functions[0], "recurrent_activation": step.functions[1] or None,
            "bias": any("bias" in role for role in weights),
        }  # fmt: skip
        image = len(self.trace.shapes.get(step.output, ())) >= IMAGE
        kind = f"conv_{step.kind}" if image else step.kind
        if kind not in RECURRENT:
            return None
        made = Op(last.index, self._name(), kind, inputs, outputs, config, weights, step.products[0].made_by)
        return made, tuple(ops[index] for index in sorted(ops))

    def _inputs(self, step: Step, before: int | None) -> tuple[int, ...] | None:
        """Return what a step is fed, the state and the memory, as far as they are no zeros."""
        usual = {_kernel_of(op): self.reader.read(op) for op in self.steps[1].products}
        fed: list[int] = []
        states: list[int] = []
        for op in step.products:
            known, read = usual.get(_kernel_of(op)), self.reader.read(op)
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
