"""What an operation is like, apart from where it stands: its family, its weights up to layout, its settings."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from parity.model.trace import MOVES, Op
from parity.pairing.references import Shape, shape_of

# Kinds that may stand in one another's place: a port that took the wrong one must still be paired, to be told so.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "linear": ("conv", "depthwise_conv", "conv_transpose", "dense"),
    "norm": ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "l2_normalize", "norm"),
    "recurrent": ("lstm", "gru", "rnn", "conv_lstm"),
    "attention": ("attention",),
    "embedding": ("embedding", "gather"),
    "activation": ("activation", "prelu", "softmax"),
    "pool": (
        "max_pool",
        "avg_pool",
        "global_avg_pool",
        "global_max_pool",
        "adaptive_avg_pool",
        "adaptive_max_pool",
        "reduce",
    ),
    "merge": ("add", "subtract", "multiply", "divide", "maximum", "minimum", "average", "concat", "stack"),
    "scale": ("rescale", "standardize"),
    "pad": ("zero_pad", "cropping", "slice"),
    "resize": ("resize", "depth_to_space", "space_to_depth"),
    "product": ("matmul", "einsum", "sdpa"),
    "local norm": ("op:LRN", "op:local_response_norm"),
}
_FAMILY_OF = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}

# Operations that a port easily leaves out, adds or moves: the skeleton of a model is what is left without them.
_LIGHT = frozenset({"activation", "rescale", "softmax", "zero_pad", "cropping", "standardize"})

FOLDED = "_folded"  # the setting of what is left of a norm that the other side's ONNX file has in another form

WITHIN = "_within"  # the setting of what has nothing that it could be compared with on the other side

# What one side holds as a weight the other may read from an operation of its own: a position, a class token.
_READS_OR_HOLDS = {"own", "merge"}

# Settings that mean the same number on both sides; what counts axes does not.
_COMPARED = (
    "kernel",
    "strides",
    "dilation",
    "groups",
    "filters",
    "units",
    "pool",
    "function",
    "eps",
    "size",
    "factor",
    "method",
    "heads",
    "equation",
    "exponent",
    "sequences",
    "bidirectional",
    "keepdims",
    "block",
)
COMMUTES = frozenset({"add", "multiply", "maximum", "minimum", "average"})


def family(op: Op) -> str:
    """Return the family of an operation; operations of two families never pair by where they stand."""
    if op.weights and not op.inputs and op.kind != "embedding":
        return "source"  # a weight that is a value by itself: a class token, a position
    if op.kind in ("matmul", "einsum") and op.weights:
        return "linear"  # a Dense that was written out
    found = _FAMILY_OF.get(op.kind, op.kind.lower())
    # A layer of the user's own is one operation here and an addition or product with a weight there.
    return "own" if op.weights and (found == "merge" or found.startswith("op:")) else found


def counts(op: Op) -> bool:
    """Whether an operation does more than move numbers; joining one tensor does not, reading a weight does."""
    if WITHIN in op.config:
        return False
    if op.weights:
        return True
    if op.kind == "concat":
        return len(op.inputs) > 1
    return op.effect != MOVES and not (op.kind == "activation" and op.config.get("function") == "linear")


def is_light(op: Op) -> bool:
    """Whether the operation is no part of the skeleton."""
    return (op.kind in _LIGHT and not op.weights) or (op.kind == "add" and FOLDED in op.config)


def weight_shapes(op: Op, shapes: Mapping[str, Shape]) -> tuple[Shape, ...]:
    """Return the shapes of an operation's weights, sorted and without axes of one, so that layouts do not matter."""
    found = (shape_of(reference, shapes) for reference in op.weights.values())
    return tuple(sorted(tuple(sorted(size for size in shape if size > 1)) for shape in found if shape is not None))


def main_size(shapes: tuple[Shape, ...]) -> int:
    """Return the number of elements of the largest weight: what a bias more or less does not change."""
    return max((prod(shape) for shape in shapes), default=0)


def coarse_label(op: Op, shapes: tuple[Shape, ...]) -> tuple[Any, ...]:
    """Return what a port must have kept for an operation to be recognised from afar; settings may be wrong."""
    return (family(op), main_size(shapes))


def settings(op: Op) -> dict[str, Any]:
    """Return the settings that both frameworks write alike, as comparable values."""
    return {key: _plain(op.config[key]) for key in _COMPARED if op.config.get(key) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return round(value, 12) if isinstance(value, float) else value


def likeness(a: Op, b: Op, shapes_a: tuple[Shape, ...], shapes_b: tuple[Shape, ...]) -> float:
    """Return how alike two operations are in themselves, from 0 (cannot be one another) to 1."""
    families = {family(a), family(b)}
    if len(families) > 1 and families != _READS_OR_HOLDS:
        return 0.0
    return 0.3 * (a.kind == b.kind) + 0.2 * _settings_alike(a, b) + 0.5 * _weights_alike(shapes_a, shapes_b)


def _settings_alike(a: Op, b: Op) -> float:
    mine, other = settings(a), settings(b)
    common = mine.keys() & other.keys()
    return sum(mine[key] == other[key] for key in common) / len(common) if common else 0.5


def _weights_alike(shapes_a: tuple[Shape, ...], shapes_b: tuple[Shape, ...]) -> float:
    if shapes_a == shapes_b:
        return 1.0
    sizes = sorted((main_size(shapes_a), main_size(shapes_b)))
    largest = [max(shapes, key=prod, default=()) for shapes in (shapes_a, shapes_b)]
    if sizes[0] == sizes[1]:
        return 0.95 if largest[0] == largest[1] else 0.8
    return 0.4 * sizes[0] / sizes[1]
