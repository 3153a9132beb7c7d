"""Recurrent layers that an exporter wrote as loops over time, as the nodes that ONNX has for them.

tf2onnx does so with Keras's GRU and SimpleRNN. A loop is such a layer if one step of it computes what one step of the
layer does, on numbers drawn for its weights, its state and what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from parity.adapters.onnx_graph import Graph, Node

Array = NDArray[Any]
STEPS = "steps"  # how often a loop ran: the whole sequence must be as long
_CLOSE = 1e-5
_BATCH = 2


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _plain(bend: Callable[[Array], Array]) -> Callable[..., Array]:
    def step(x: Array, h: Array, w: Array, r: Array, b: Array) -> Array:
        return bend(x @ w + b[0] + h @ r + b[1])

    return step


def _gated(after: bool) -> Callable[..., Array]:
    def step(x: Array, h: Array, w: Array, r: Array, b: Array) -> Array:
        size = h.shape[1]
        own = x @ w + b[0]
        past = h @ r + b[1]
        z, reset = (_sigmoid(own[:, a : a + size] + past[:, a : a + size]) for a in (0, size))
        held = reset * past[:, 2 * size :] if after else (reset * h) @ r[:, 2 * size :] + b[1][2 * size :]
        return np.asarray(z * h + (1.0 - z) * np.tanh(own[:, 2 * size :] + held))

    return step


_CELLS: Mapping[str, tuple[int, Callable[..., Array], dict[str, Any]]] = {
    "GRU": (3, _gated(after=True), {"linear_before_reset": 1}),
    "GRU before": (3, _gated(after=False), {"linear_before_reset": 0}),
    "RNN": (1, _plain(np.tanh), {}),
    "RNN relu": (1, _plain(lambda x: np.maximum(x, 0.0)), {"activations": ["Relu"]}),
}
"""How many gates, one step, and the attributes of the node."""


@dataclass(frozen=True)
class _Loop:
    """What a loop reads at each step, carries along, and keeps as it is, by the names inside it and outside."""

    body: Any
    sequence: str
    read: str  # one step of the sequence, inside
    counter: str
    state: int  # which of what is carried
    scans: tuple[int, ...]  # which outputs hold the state of every step
    kept: dict[str, str]


def joined_loops(graph: Graph) -> None:
    """Put every such loop together; what is no recurrent layer stays a loop."""
    import onnx
    from onnx import reference  # noqa: F401 -- a package of its own

    if not any(node.kind == "Loop" for node in graph.nodes):
        return
    readers, nodes = graph.readers(), list[Any]()
    for node in graph.nodes:
        loop = _seen(graph, node) if node.kind == "Loop" else None
        used = {place for place, name in enumerate(node.outputs) if name in readers or name in graph.gives}
        if loop is None or not used <= {loop.state, *loop.scans}:
            nodes.append(node)
            continue
        made = next(_cells(graph, loop, onnx), None)
        nodes += _written(graph, node, loop, made, onnx) if made is not None else [node]
    graph.nodes = nodes


def _seen(graph: Graph, node: Node) -> _Loop | None:
    """Return a loop that reads a sequence step by step and carries one state, or nothing."""
    body = node.attributes["body"]
    inside, makers = [one.name for one in body.input], {name: one for one in body.node for name in one.output}
    carried, outputs = inside[2:], [one.name for one in body.output]
    own = {name: _source(makers, name) for name in outputs}
    kept = {name: given for name, given, out in zip(carried, node.inputs[2:], outputs[1:], strict=False)
            if own[out] == name}  # fmt: skip
    known = {*inside, *makers, *(one.name for one in body.initializer)}
    kept |= {name: name for one in body.node for name in one.input if name and name not in known}
    moving = [place for place, name in enumerate(carried) if name not in kept]
    steps = [one for one in body.node if one.op_type == "Gather" and one.input[1] in (inside[0], *carried)]
    if len(steps) != 1 or kept.get(steps[0].input[0], "") in ("", *graph.arrays):
        return None
    if any(one.name == "axis" and one.i for one in steps[0].attribute):
        return None
    counter = steps[0].input[1]
    states = [place for place in moving if carried[place] != counter]
    start = graph.arrays.get(node.inputs[2 + carried.index(counter)]) if counter in carried else np.zeros(1)
    if len(states) != 1 or start is None or start.any():
        return None
    new = own[outputs[1 + states[0]]]
    scans = tuple(range(len(carried), len(outputs) - 1))
    if any(own[outputs[1 + place]] != new for place in scans):
        return None
    return _Loop(body, kept.pop(steps[0].input[0]), steps[0].output[0], counter, states[0], scans, kept)


def _source(makers: Mapping[str, Any], name: str) -> str:
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    return name


def _cells(graph: Graph, loop: _Loop, onnx: Any) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Give the layers that one step computes: their node's kind and attributes, kernel, recurrent kernel and bias."""
    weights = {name: outer for name, outer in loop.kept.items() if outer in graph.arrays}
    if len(weights) < len(loop.kept):
        return
    shapes = {name: graph.arrays[outer].shape for name, outer in weights.items()}
    matrices, vectors = (
        [name for name, shape in shapes.items() if len(shape) == 2 and (shape[0] == 2 and len(shapes) > 2) == bias]
        for bias in (False, True)
    )
    vectors += [name for name, shape in shapes.items() if len(shape) == 1]
    if len(vectors) > 1 or len(matrices) + len(vectors) < len(shapes):
        return
    for kernel, recurrent in permutations(matrices, 2):
        for kind, (gates, step, words) in _CELLS.items():
            size = shapes[recurrent][0]
            if shapes[recurrent] != (size, gates * size) or shapes[kernel][1] != gates * size:
                continue
            names = [kernel, recurrent, *vectors]
            if _computes(loop, onnx, graph.version, shapes, names, step):
                yield kind.partition(" ")[0], {**words, "hidden_size": size}, [weights[name] for name in names]


def _computes(
    loop: _Loop, onnx: Any, version: int, shapes: Mapping[str, tuple[int, ...]], names: list[str],
    step: Callable[..., Array],
) -> bool:  # fmt: skip
    """Tell whether one step of the loop is a step of the layer, on drawn numbers."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(0.0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}
    kernel, recurrent = drawn[names[0]], drawn[names[1]]
    x, h = (rng.normal(0.0, 0.7, (_BATCH, size)).astype(np.float32) for size in (len(kernel), len(recurrent)))
    bias = drawn[names[2]] if len(names) > 2 else np.zeros(kernel.shape[1], np.float32)
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    carried = loop.body.input[2 + loop.state].name
    new = loop.body.output[1 + loop.state].name
    needed, wanted = list[Any](), {new}
    for node in reversed(loop.body.node):  # what the state is made of, but for what is read
        if wanted & set(node.output) and loop.read not in node.output:
            needed.insert(0, node)
            wanted |= set(node.input)
    feeds = {loop.read: x, carried: h, **drawn}
    given = {name: value for name, value in feeds.items() if name in wanted}
    try:
        sides = [[onnx.ValueInfoProto(name=name) for name in side] for side in (given, [new])]
        made = onnx.helper.make_graph(needed, "step", *sides, initializer=list(loop.body.initializer))
        model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", version)])
        found = onnx.reference.ReferenceEvaluator(model).run(None, given)[0]
    except Exception:  # it needs more than what a layer does, or shapes do not fit
        return False
    expected = step(*(one.astype(np.float64) for one in (x, h, kernel, recurrent, both)))
    return found.shape == expected.shape and bool(np.allclose(found, expected, atol=_CLOSE, rtol=_CLOSE))


def _written(
    graph: Graph, node: Node, loop: _Loop, found: tuple[str, dict[str, Any], list[str]], onnx: Any
) -> list[Node]:
    """Return the node of a layer, and what brings its results into the shapes of the loop's."""
    from parity.adapters.onnx_graph import Node as Made

    kind, words, (kernel, recurrent, *biases) = found
    arrays, names = graph.arrays, [f"{name}_turned" for name in (kernel, recurrent, *biases)]
    arrays[names[0]], arrays[names[1]] = arrays[kernel].T[None].copy(), arrays[recurrent].T[None].copy()
    for name, own in zip(biases, names[2:], strict=True):
        held = arrays[name]
        both = held if held.ndim == 2 else np.stack([held, np.zeros_like(held)])
        arrays[own] = both.reshape(1, -1).copy()
    told = arrays.get(node.inputs[0]) if node.inputs[0] else None
    if told is not None:
        words = {**words, STEPS: int(told.reshape(()))}
    base, made = node.outputs[0], list[Made]()

    def add(operator: str, inputs: list[str], outputs: list[str], suffix: str, **attributes: Any) -> None:
        proto = onnx.helper.make_node(operator, inputs, outputs, name=f"{node.name}{suffix}", **attributes)
        made.append(Made(proto, onnx))

    start = node.inputs[2 + loop.state]
    state = "" if graph.is_nothing(start) else f"{base}_start"
    arrays[f"{base}_first"], arrays[f"{base}_second"] = np.array([0]), np.array([1])
    if state:
        add("Unsqueeze", [start, f"{base}_first"], [state], "_start")
    inputs = [loop.sequence, *names, *[""] * (4 - 1 - len(names)), "", state]
    add(kind, inputs, [f"{base}_all", f"{base}_last"], "")
    made[-1].attributes |= words
    for place in loop.scans:
        add("Squeeze", [f"{base}_all", f"{base}_second"], [node.outputs[place]], f"_{place}")
    add("Squeeze", [f"{base}_last", f"{base}_first"], [node.outputs[loop.state]], "_end")
    return made
