"""Two recurrent layers over one sequence, one of them from its end, as the one node of both directions.

Keras's Bidirectional reverses the sequence for the second layer, and reverses what that makes back again; tf2onnx
writes it as it is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.adapters.onnx_graph_loops import STEPS

if TYPE_CHECKING:
    from parity.adapters.onnx_graph import Graph, Node

_TIME = 0
_KINDS = ("GRU", "RNN")  # what tf2onnx puts together itself is an LSTM's


def joined_directions(graph: Graph) -> None:
    """Put every such pair together whose results are put side by side."""
    for node in [one for one in graph.nodes if one.kind == "Concat" and len(one.inputs) == 2]:
        makers = {name: one for one in graph.nodes for name in one.outputs}
        first, second = (_traced(graph, makers, name) for name in node.inputs)
        if first is None or second is None or first.axes != second.axes:
            continue
        if first.back or second.back != first.whole or not _fit(makers, first.layer, second.layer):
            continue
        if int(node.attributes["axis"]) not in (-1, len(first.axes) - 1):
            continue
        before, made = list(graph.nodes), list(_joined(graph, first, second.layer, node))
        place = before.index(first.layer)
        kept = [one for one in before if one not in (first.layer, second.layer, node)]
        graph.nodes = [*kept[:place], *made, *kept[place:]]
        graph.sweep()
        if second.layer.outputs[0] in graph.readers():  # something else reads it as it was run
            graph.nodes = before


@dataclass(frozen=True)
class _Result:
    """What a layer made, its axes by those of the node's: steps, directions, batch, features."""

    layer: Node
    back: bool  # turned around in time
    axes: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether it is all steps, not the last one."""
        return _TIME in self.axes


def _fit(makers: Mapping[str, Node], first: Node, second: Node) -> bool:
    """Return whether two layers are of one kind and start from nothing, the second from the end of the sequence."""
    fed = makers.get(second.inputs[0])
    if fed is None or fed.kind != "ReverseSequence" or fed.inputs[0] != first.inputs[0]:
        return False
    keys = ("direction", "hidden_size", "linear_before_reset", "activations", STEPS)
    alike = all(first.attributes.get(key) == second.attributes.get(key) for key in keys)
    return alike and first.kind == second.kind and not any(name for one in (first, second) for name in one.inputs[4:])


def _traced(graph: Graph, makers: Mapping[str, Node], name: str) -> _Result | None:
    """Return the layer whose results these are, and what has happened to them."""
    chain = list[Any]()
    while (node := makers.get(name)) is not None and node.kind not in _KINDS:
        if node.kind not in ("Transpose", "ReverseSequence", "Slice", "Squeeze"):
            return None
        chain.insert(0, node)
        name = node.inputs[0]
    if node is None or name != node.outputs[0] or "direction" in node.attributes:
        return None
    axes, back, last = [_TIME, 1, 2, 3], False, False
    for one in chain:
        if one.kind == "Transpose":
            axes = [axes[axis] for axis in one.attributes["perm"]]
        elif one.kind == "ReverseSequence" and axes[int(one.attributes.get("time_axis", 0))] == _TIME and not last:
            back = not back
        elif one.kind == "Slice" and axes[0] == _TIME and _is_last(graph, one) and not back:
            last = True
        elif one.kind == "Squeeze" and (gone := [axes[axis] for axis in _numbers(graph, one, 1)]) and all(
            axis == 1 or (axis == _TIME and last) for axis in gone
        ):  # fmt: skip
            axes = [axis for axis in axes if axis not in gone]
        else:
            return None
    wanted = [2, 3] if last else [_TIME, 2, 3]
    return _Result(node, back, tuple(axes)) if sorted(axes) == wanted and axes[-1] == 3 else None


def _is_last(graph: Graph, node: Node) -> bool:
    return _numbers(graph, node, 1) == [-1] and _numbers(graph, node, 3) == [0]


def _numbers(graph: Graph, node: Node, place: int) -> list[int]:
    held = graph.arrays.get(node.inputs[place]) if place < len(node.inputs) else None
    return [] if held is None else [int(one) for one in held.reshape(-1)]


def _joined(graph: Graph, found: _Result, second: Node, concat: Node) -> Iterator[Node]:
    """Give the node of both directions, what each of the two made, and both side by side."""
    import onnx

    from parity.adapters.onnx_graph import Node as Made

    first, arrays = found.layer, graph.arrays
    base, names = f"{first.outputs[0]}_both", list(first.inputs)
    for place in range(1, 4):  # kernel, recurrent kernel, bias
        if names[place]:
            mine, theirs = names[place], second.inputs[place]
            names[place] = f"{mine}_both"
            arrays[names[place]] = np.concatenate([arrays[mine], arrays[theirs]])

    def make(kind: str, inputs: list[str], outputs: list[str], **words: Any) -> Made:
        name = first.name if kind == first.kind else f"{first.name}_{outputs[0]}"
        return Made(onnx.helper.make_node(kind, inputs, outputs, name=name, **words), onnx)

    one = make(first.kind, names, [base, f"{base}_ends"])
    one.attributes = {**first.attributes, "direction": "bidirectional"}
    if "activations" in one.attributes:
        one.attributes["activations"] = [*one.attributes["activations"]] * 2
    yield one
    for number in range(3):
        arrays[f"{base}_{number}"] = np.array([number])
    parts = (0, first.outputs[0], base, 1), (0, first.outputs[1], f"{base}_ends", 0)
    for number, name, given, axis in (*parts, (1, second.outputs[1], f"{base}_ends", 0)):
        yield make("Slice", [given, f"{base}_{number}", f"{base}_{number + 1}", f"{base}_{axis}"], [name])
    # The directions stand before the features, to be one axis with them.
    if found.whole:
        yield make("Transpose", [base], [f"{base}_turned"], perm=[*found.axes[:-1], 1, 3])
    else:
        yield make("Transpose", [f"{base}_ends"], [f"{base}_turned"], perm=[1, 0, 2])
    arrays[f"{base}_shape"] = np.array([0, 0, -1] if found.whole else [0, -1])
    yield make("Reshape", [f"{base}_turned", f"{base}_shape"], [concat.outputs[0]])
