"""What a worker saw when it ran somebody's model once: operations in order, the tensors between them, their weights.

Both frameworks' adapters describe what they saw in the same words, Keras's; axis numbers are those of the framework
that ran (channels last in TensorFlow, first in torch), counted from the front with the batch axis as 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JOINTS = re.compile(r"[|&^+]")  # between the parts of a reference to weights
MOVES = "moves"  # the same numbers in another order or shape, or nothing at all: reshape, transpose, identity
BOTH_WAYS = "both-ways"  # to look into recurrent layers that run in both directions
LENGTHS = "lengths"  # to look into weights that are a length times a direction
ELEMENTWISE = "elementwise"  # every number on its own: an activation, a scale
COMPUTES = "computes"

PADDED_PATCHES = "padded_patches"  # the kind of what cuts an image into patches, and adds zeros around it
# Kinds whose operations only rearrange numbers; patches that overlap hold some of them several times.
READS = "reads a computed value into Python"  # in a note: such a number is a constant of the recorded operations
REPLAY = "replay:"  # how a note begins that says that the recorded operations are not the model
MOVING_KINDS = frozenset({"flatten", "reshape", "permute", "identity", "dropout", "cast", "patches", "pack", "unpack"})
OPERATORS = frozenset({"add", "subtract", "multiply", "divide"})  # kinds that may hold a weight as an operand
ELEMENTWISE_KINDS = frozenset({"activation", "rescale"})
AFTER = "_after"  # of a layer's configuration: its place, and those on which it depends, where there are no tensors
SLOPES = "_slopes"  # of a PReLU's configuration: how many it has
ROW = "_row"  # of a product's configuration: which row of its weight it reads
SPREAD = "spread"  # of a normalisation's configuration: by what else than the root of variance and eps it divides
MADE = "_made"  # of a layer's configuration: the calls that make its kernel of its weights
_CUTTING = frozenset({"stopgradient", "stop_gradient", "preventgradient", "detach", "detach_"})
OVER = "_over"  # of a normalisation's configuration: the axes of its statistics, where its weights have others


@dataclass(frozen=True)
class Op:
    """One operation: a layer, a part of one, or a function call in a model's own code.

    `inputs` and `outputs` are ids of tensors; a tensor that was neither a model input nor made by an operation is no
    input but a constant, which the worker keeps. `weights` maps a role to a reference: the name of a weight,
    `name@lo:hi` (rows of it), `a+b` (the sum of two) or `a|b` (two stacked on a new first axis).
    """

    index: int
    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""  # the class or function that ran, for messages: `keras.layers.Conv2D`, `torch.nn.functional.relu`
    # The call as a script writes it, if it can: `{x[0]}` for what it reads, `{w[role]}` for weights, `{k[0]}` for many
    # numbers, or some made of weights, which a worker's `operands` gives.
    spelt: str = ""

    @property
    def effect(self) -> str:
        """Whether it moves numbers, treats each on its own, or computes."""
        if self.kind in MOVING_KINDS:
            return MOVES
        return ELEMENTWISE if self.kind in ELEMENTWISE_KINDS and not self.weights else COMPUTES


@dataclass(frozen=True)
class Weight:
    """One weight of a model: its shape in its framework's layout, and whether training changes it."""

    name: str
    shape: tuple[int, ...]
    trainable: bool = True


@dataclass(frozen=True)
class Trace:
    """One run of one model. `shapes` holds each tensor's whole shape, batch axis included, in its framework's order."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...]
    ops: tuple[Op, ...]
    shapes: Mapping[int, tuple[int, ...]]
    dtypes: Mapping[int, str]
    weights: Mapping[str, Weight]
    notes: tuple[str, ...] = ()
    cut_short: bool = False  # whether the model raised on its way

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Trace:
        """Return the trace that `to_dict` made; JSON keys are text."""
        return Trace(
            inputs=tuple(data["inputs"]),
            outputs=tuple(data["outputs"]),
            output_names=tuple(data["output_names"]),
            ops=tuple(
                Op(**{**op, "inputs": tuple(op["inputs"]), "outputs": tuple(op["outputs"])}) for op in data["ops"]
            ),
            shapes={int(tensor): tuple(shape) for tensor, shape in data["shapes"].items()},
            dtypes={int(tensor): str(dtype) for tensor, dtype in data["dtypes"].items()},
            weights={
                name: Weight(name, tuple(given["shape"]), bool(given["trainable"]))
                for name, given in data["weights"].items()
            },
            notes=tuple(data.get("notes", ())),
            cut_short=bool(data.get("cut_short", False)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as JSON data."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "output_names": list(self.output_names),
            "ops": [
                {
                    "index": op.index,
                    "name": op.name,
                    "kind": op.kind,
                    "inputs": list(op.inputs),
                    "outputs": list(op.outputs),
                    "config": dict(op.config),
                    "weights": dict(op.weights),
                    "made_by": op.made_by,
                    "spelt": op.spelt,
                }
                for op in self.ops
            ],
            "shapes": {str(tensor): list(shape) for tensor, shape in self.shapes.items()},
            "dtypes": {str(tensor): dtype for tensor, dtype in self.dtypes.items()},
            "weights": {
                name: {"shape": list(weight.shape), "trainable": weight.trainable}
                for name, weight in self.weights.items()
            },
            "notes": list(self.notes),
            "cut_short": self.cut_short,
        }

    def producers(self) -> dict[int, Op]:
        """Return which operation made each tensor."""
        return {tensor: op for op in self.ops for tensor in op.outputs}

    def consumers(self) -> dict[int, list[Op]]:
        """Return which operations read each tensor, in order."""
        found: dict[int, list[Op]] = {}
        for op in self.ops:
            for tensor in dict.fromkeys(op.inputs):
                found.setdefault(tensor, []).append(op)
        return found


def weight_names(reference: str) -> tuple[str, ...]:
    """Return the weights that a reference names, once each: `a+b`, `a&b` and `a|b` name two, `a@0:8` one."""
    found: list[str] = []
    for part in JOINTS.split(reference):
        found.append(part.partition("@")[0])
    return tuple(dict.fromkeys(found))


def used_weights(ops: Iterable[Op]) -> Iterator[tuple[Op, str, str]]:
    """Yield (operation, role, weight name) for every weight that any of the operations uses."""
    for op in ops:
        for role, reference in op.weights.items():
            for name in weight_names(reference):
                yield op, role, name


def made_of_inputs(trace: Trace) -> set[int]:
    """Return the tensors that some input of the model leads to."""
    found = set(trace.inputs)
    for op in trace.ops:
        if found & set(op.inputs):
            found.update(op.outputs)
    return found


def cuts_gradients(op: Op) -> bool:
    """Return whether an operation hands numbers on and no gradient back."""
    return op.effect == MOVES and op.made_by.rpartition(".")[2].lower() in _CUTTING


def weights_that_train(trace: Trace) -> frozenset[str]:
    """Return the trainable weights that a gradient of some output reaches.

    A layer behind which somebody wrote `tf.stop_gradient` or `detach()` trains as little as one that is frozen.
    """
    reached = _weights_towards(trace, [op for op in trace.ops if not cuts_gradients(op)])
    return frozenset(name for name in reached if name in trace.weights and trace.weights[name].trainable)


def weights_that_matter(trace: Trace) -> set[str]:
    """Return the weights that some output depends on."""
    return _weights_towards(trace, trace.ops)


def _weights_towards(trace: Trace, ops: Sequence[Op]) -> set[str]:
    """Return the weights that these operations of a trace read on the way to its outputs."""
    wanted, found = set(trace.outputs), set[str]()
    for op in reversed(ops):
        if wanted & set(op.outputs):
            wanted.update(op.inputs)
            found.update(name for reference in op.weights.values() for name in weight_names(reference))
    return found


def read_first(op: Op) -> int:
    """Return the tensor that an operation reads first; -1, which is none, for one that reads constants alone."""
    return op.inputs[0] if op.inputs else -1
