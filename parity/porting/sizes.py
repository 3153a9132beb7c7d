"""Two layers of one kind that differ in a size: how many units, filters, kernel elements or inputs each one has."""

from __future__ import annotations

from typing import Any, TypeGuard

from parity.judge.traps.scene import Scene
from parity.model.trace import Op, Trace, read_first
from parity.porting.indexing import as_python
from parity.porting.verdict import layer_name

SIDES = ("TensorFlow", "torch")
Size = int | tuple[int, ...] | None
_IMAGE = 4  # axes of a tensor of pictures

# What a size is called: in words, in Keras's code and in torch's. Of `units` it depends on the layer.
_WORDS = {
    "filters": ("filters", "filters", "out_channels"),
    "kernel": ("a kernel of", "kernel_size", "kernel_size"),
    "tokens": ("rows", "input_dim", "num_embeddings"),
}
_UNITS = {
    "dense": ("units", "units", "out_features"),
    "embedding": ("columns", "output_dim", "embedding_dim"),
}
_CELLS = ("units", "units", "hidden_size")


def told(scene: Scene, port: int) -> tuple[str, str] | None:
    """Return which size differs, and the line that mends the port; `port` is 1 for torch's code, 0 for Keras's.

    A size that two layers do not share leaves no weights to copy, so that no remedy can be tried.
    """
    ops = scene.tensorflow, scene.torch
    if ops[0] is None or ops[1] is None or ops[0].kind != ops[1].kind:
        return None
    both = ops[0], ops[1]
    return _of_settings(both, port) or _of_inputs(both, scene, port) or _of_parts(both, scene, port)


def _of_settings(ops: tuple[Op, Op], port: int) -> tuple[str, str] | None:
    for key in (*_WORDS, "units"):
        mine, theirs = _of_one_rank(*(_size(op.config.get(key)) for op in ops))
        if mine is None or theirs is None or mine == theirs:
            continue
        words = _WORDS[key] if key in _WORDS else _UNITS.get(ops[0].kind, _CELLS)
        said = [f"{words[0]} {size}" if key == "kernel" else f"{size} {words[0]}" for size in (mine, theirs)]
        wanted = (mine, theirs)[1 - port]
        evidence = (
            f"`{layer_name(ops[0].name)}` has {said[0]} in TensorFlow, `{layer_name(ops[1].name)}` {said[1]} in torch"
        )
        return evidence, f"{words[1 + port]}={wanted} in `{layer_name(ops[port].name)}`"
    return None


def _of_one_rank(mine: Size, theirs: Size) -> tuple[Size, Size]:
    """Return two sizes of kernels over as many axes: TensorFlow's code convolves sequences as pictures of one row."""
    if not isinstance(mine, tuple) or not isinstance(theirs, tuple):
        return mine, theirs
    rank = min(len(mine), len(theirs))
    both = [one[-rank:] if set(one[:-rank]) <= {1} else one for one in (mine, theirs)]
    return both[0], both[1]


def _size(value: Any) -> Size:
    """Return a size as code has it; None for what is not known."""
    if isinstance(value, list | tuple):
        return tuple(int(one) for one in value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _of_inputs(ops: tuple[Op, Op], scene: Scene, port: int) -> tuple[str, str] | None:
    """Two linear layers that read another number of features, as where pictures of another size were flattened."""
    if ops[0].kind != "dense":
        return None
    traces = scene.tensorflow_trace, scene.torch_trace
    read = [trace.shapes.get(read_first(op), ())[-1:] for op, trace in zip(ops, traces, strict=True)]
    if not all(read) or read[0] == read[1]:
        return None
    evidence = (
        f"`{layer_name(ops[0].name)}` reads {read[0][0]} features in TensorFlow{_flattened(ops[0], traces[0])},"
        f" `{layer_name(ops[1].name)}` {read[1][0]} in torch{_flattened(ops[1], traces[1])}"
    )
    word = "in_features" if port else "features"
    name = layer_name(ops[port].name)
    return evidence, f"{word}={read[1 - port][0]} in `{name}`, and before it the same sizes as in {SIDES[1 - port]}"


def _of_parts(ops: tuple[Op, Op], scene: Scene, port: int) -> tuple[str, str] | None:
    """One layer reads a part of what the other reads whole, as the first token of a sequence.

    A cell in a loop reads a step at a time, and that is no fault of it.
    """
    if any(op.config.get("cell") for op in ops):
        return None
    traces = scene.tensorflow_trace, scene.torch_trace
    shapes = [trace.shapes.get(read_first(op), ()) for op, trace in zip(ops, traces, strict=True)]
    makers = [_taken_by(op, trace) for op, trace in zip(ops, traces, strict=True)]
    parts = [f"x[{as_python(str(maker.config['text']))}]" if _is_part(maker) else "" for maker in makers]
    if len(shapes[0]) == len(shapes[1]) or bool(parts[0]) == bool(parts[1]):
        return None
    one = 0 if parts[0] else 1
    name, other = (layer_name(ops[side].name) for side in (one, 1 - one))
    evidence = (
        f"`{name}` reads {parts[one]} of what is before it in {SIDES[one]}, `{other}` all of it in {SIDES[1 - one]}"
    )
    if one == port:
        return evidence, f"leave out {parts[one]} before `{name}`"
    return evidence, f"{parts[one]} of what `{other}` reads"


def _taken_by(op: Op, trace: Trace) -> Op | None:
    """Return what makes the first input of an operation; an axis may be dropped in a step of its own."""
    maker = trace.producers().get(read_first(op))
    return trace.producers().get(read_first(maker)) if maker is not None and maker.kind == "reshape" else maker


def _is_part(maker: Op | None) -> TypeGuard[Op]:
    return maker is not None and maker.kind == "slice" and "=" not in as_python(str(maker.config.get("text", "=")))


def _flattened(op: Op, trace: Trace) -> str:
    """Return which picture was flattened right before a layer, in the order of the framework's own axes."""
    maker = trace.producers().get(read_first(op))
    shape = trace.shapes.get(read_first(maker), ()) if maker is not None and maker.kind == "flatten" else ()
    return f" (of {'x'.join(map(str, shape[1:]))})" if len(shape) == _IMAGE else ""
