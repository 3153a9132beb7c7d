"""Keras 3 holds every tensor of a functional model until its call returns; here each goes after its last reader.

In ResNet-152, at batch 8 and 224x224, that is the difference between 4 GB and a few hundred megabytes in float64.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

_OPEN: list[Counter[int]] = []  # for each graph that is being run, innermost last: how often a tensor is still read


def install(keras: Any, is_symbolic: Callable[[Any], bool]) -> None:
    """Let functional models drop what nobody will read; without effect where Keras is built otherwise."""
    function: Any = getattr(keras, "Function", None)
    try:
        arguments = importlib.import_module("keras.src.ops.symbolic_arguments").SymbolicArguments
    except (ImportError, AttributeError):
        return
    if not hasattr(function, "_run_through_graph") or hasattr(function, "_parity_frees"):
        return
    function._parity_frees = True
    function._run_through_graph = _counted(function._run_through_graph, is_symbolic)
    arguments.fill_in = _freeing(arguments.fill_in)


def _counted(original: Callable[..., Any], is_symbolic: Callable[[Any], bool]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(graph: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        _OPEN.append(Counter() if is_symbolic([inputs]) else _readers(graph))
        try:
            return original(graph, inputs, *args, **kwargs)
        finally:
            _OPEN.pop()

    return run


def _readers(graph: Any) -> Counter[int]:
    """Return how many operations read each tensor; none for those that the graph returns."""
    found: Counter[int] = Counter()
    for nodes in graph._nodes_by_depth.values():
        for node in nodes:
            if node.operation and not node.is_input:
                found.update({id(tensor) for tensor in node.arguments.keras_tensors})
    for tensor in graph.outputs:
        found.pop(id(tensor), None)
    return found


def _freeing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fill_in(arguments: Any, tensors: dict[int, Any]) -> Any:
        filled = original(arguments, tensors)
        left = _OPEN[-1] if _OPEN else Counter[int]()
        for number in {id(tensor) for tensor in arguments.keras_tensors} & left.keys():
            left[number] -= 1
            if not left[number]:
                tensors.pop(number, None)
        return filled

    return fill_in
