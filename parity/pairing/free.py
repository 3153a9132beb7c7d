"""Weights that no pair of operations holds, and which is which: class tokens, positions, tables of biases.

One side may read such a weight as a layer of its own where the other adds it in passing, so that no operations pair.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from parity.model.trace import MOVES, Op, Trace
from parity.pairing.evidence import ALIKE_NAMES, names_alike
from parity.pairing.families import family
from parity.pairing.moving import SHAPING
from parity.pairing.positions import between
from parity.pairing.references import Shape
from parity.pairing.skeleton import skeleton

_ROLES = frozenset({"other", "kernel", "embeddings", "weight", "scale", "alpha"})
ATTENTIONS = frozenset({"op:AdditiveAttention", "op:Attention"})
_SAME_RANK, _ALIKE = 0.1, 0.2  # of how well two places agree, which counts up to 2


@dataclass(frozen=True)
class Free:
    """A weight without a partner: the operation that holds it, its role there, and its name."""

    op: Op
    role: str
    reference: str

    @property
    def in_passing(self) -> bool:
        """Whether it is an operand, as the scale within an attention is, and no layer's own kernel or table.

        A table that is looked up in the same places at every call, as one of relative positions is, is an operand, too.
        """
        alone = self.op.kind == "op:weight" and not self.op.inputs and len(self.op.weights) == 1
        if alone and self.op.config.get("function") in SHAPING:
            return True
        looked_up = self.role == "embeddings" and not self.op.inputs
        within = self.role == "scale" and self.op.kind in ATTENTIONS
        return looked_up or within or self.role.partition("_")[0] == "other"

    @property
    def in_piece(self) -> bool:
        """Whether it is one of several that are put together before anything reads them, as the parts of a bias."""
        several = self.op.kind == "op:weight" and not self.op.inputs and len(self.op.weights) > 1
        return several and self.role.partition("_")[0] == "weight"


def free(
    ops: Iterable[Op], shapes: Mapping[str, Shape], covered: Container[str], constants: Container[str] = ()
) -> dict[Shape, list[Free]]:
    """Return the weights that are not covered and no bias or statistic, by their shapes without axes of one.

    Those of recurrent layers are not among them: in which order gates stand no shape tells. Nor are `constants` that
    stand between other pieces, as the zeros do that BEiT's keys have for a bias.
    """
    found: dict[Shape, list[Free]] = {}
    seen: set[str] = set()
    for op in ops:
        if family(op) == "recurrent":
            continue
        for role, reference in op.weights.items():
            one = Free(op, role, reference)
            if one.in_piece and reference in constants:
                continue
            if (one.in_piece or role in _ROLES or one.in_passing) and reference in shapes and reference not in seen:
                seen.add(reference)
                shape = tuple(size for size in shapes[reference] if size > 1)
                if reference not in covered:
                    found.setdefault(shape, []).append(one)
    return found


class Places:
    """Where weights are read, in relation to the operations that are paired."""

    def __init__(self, tensorflow: Trace, torch: Trace, pairs: Iterable[tuple[int, int]]) -> None:
        self._traces = tensorflow, torch
        self._readers = tensorflow.consumers(), torch.consumers()
        self._graphs = skeleton(tensorflow, light=True), skeleton(torch, light=True)
        here, there = (graph.node_of() for graph in self._graphs)
        anchors = {here[i]: there[j] for i, j in pairs if i in here and j in there}
        self._above, self._below = between(*self._graphs, anchors)

    def paired(self, mine: Sequence[Free], other: Sequence[Free]) -> list[tuple[Free, Free]]:
        """Return which of equally many weights of one shape belong together, if that can be told.

        By the paired operations around those that read them; where these are the same, by their names if they are
        alike, and else in the order in which they are read.
        """
        if len(mine) != len(other) or not mine:
            return []
        if len(mine) == 1:
            return [(mine[0], other[0])]
        nodes = [self._node(0, one) for one in mine], [self._node(1, one) for one in other]
        if None in nodes[0] or None in nodes[1]:
            return []
        rows, columns = ([place for place in side if place is not None] for side in nodes)
        agree = (self._above + self._below)[np.ix_([node for node, _ in rows], [node for node, _ in columns])]
        scores = agree.copy()
        for i, j in zip(*(sorted(range(len(side)), key=side.__getitem__) for side in (rows, columns)), strict=True):
            scores[i, j] += _SAME_RANK
        names = names_alike([one.reference for one in mine], [one.reference for one in other])
        best = names.max(axis=1, keepdims=True)
        told = (names == best) & (best > ALIKE_NAMES) & ((names == best).sum(axis=1, keepdims=True) == 1)
        chosen = linear_sum_assignment(scores + _ALIKE * told, maximize=True)
        if not agree[chosen].all():
            return []
        return [(mine[i], other[j]) for i, j in zip(*chosen, strict=True)]

    def _node(self, side: int, one: Free) -> tuple[int, int] | None:
        """Return the node that reads a weight together with something else, and as which of its arguments."""
        there = self._graphs[side].node_of()
        op, place = one.op, list(one.op.weights.values()).index(one.reference)
        while not op.inputs or (op.effect == MOVES and len(op.inputs) == 1):
            reading = [reader for tensor in op.outputs for reader in self._readers[side].get(tensor, [])]
            if not reading:
                return None
            place = min(reading[0].inputs.index(tensor) for tensor in op.outputs if tensor in reading[0].inputs)
            op = reading[0]
        return (there[op.index], place) if op.index in there else None


def without_norms(some: Sequence[Free]) -> list[Free]:
    """Return those that are no normalisation's own scale."""
    return [one for one in some if family(one.op) != "norm"]


def is_layer(one: Free) -> bool:
    """Return whether a weight is the kernel of a layer, with inputs and outputs, and no picture."""
    return family(one.op) == "linear"
