# ruff: noqa: ARG001 -- every operator is run with the same three arguments
"""ONNX operators that read or write by numbers of places, by TensorFlow's functions. Source: the schemas of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from parity.adapters.onnx_graph import Node
from parity.adapters.tensorflow_onnx_layout import Laid, plainly
from parity.errors import UsageError

Given = Sequence[Any]


def _plain(one: Any) -> Any:
    """Return a tensor as the graph has it, or one of a constant."""
    from parity.adapters.tensorflow_onnx import tensor

    return one.plain() if isinstance(one, Laid) else tensor(np.asarray(one))


def _number(one: Any) -> int:
    return int(np.asarray(one.plain() if isinstance(one, Laid) else one).reshape(()))


def _from_front(index: Any, size: Any) -> Any:
    """Return places that are counted from the front; ONNX counts negative ones from the end."""
    index = tf.cast(index, tf.int64)
    return tf.where(index < 0, index + tf.cast(size, tf.int64), index)


def _arg_min(model: Any, node: Node, given: Given) -> Any:
    x, axis = _plain(given[0]), int(node.attributes.get("axis", 0))
    made = tf.argmin(x, axis)
    return plainly(tf.expand_dims(made, axis) if node.attributes.get("keepdims", 1) else made)


def _top_k(model: Any, node: Node, given: Given) -> list[Any]:
    x, count = _plain(given[0]), _number(given[1])
    rank = len(x.shape)
    axis, largest = int(node.attributes.get("axis", -1)) % rank, bool(node.attributes.get("largest", 1))
    order = [*(one for one in range(rank) if one != axis), axis]
    last = x if axis == rank - 1 else tf.transpose(x, order)
    values, places = tf.math.top_k(last if largest else -last, count)
    values = values if largest else -values
    if axis != rank - 1:
        values, places = (tf.transpose(one, np.argsort(order).tolist()) for one in (values, places))
    return [plainly(values), plainly(tf.cast(places, tf.int64))]


def _one_hot(model: Any, node: Node, given: Given) -> Any:
    index, depth, values = _plain(given[0]), _number(given[1]), _plain(given[2])
    chosen = tf.one_hot(_from_front(index, depth), depth, axis=int(node.attributes.get("axis", -1)), dtype=values.dtype)
    return plainly(values[0] + chosen * (values[1] - values[0]))


def _along(axis: int, index: Any, size: int) -> Any:
    """Return whole coordinates for places along one axis, the others being each element's own."""
    grid = list(np.indices(tuple(index.shape)).astype(np.int64))
    return tf.stack([_from_front(index, size) if one == axis else tf.constant(own) for one, own in enumerate(grid)], -1)


def _gather_elements(model: Any, node: Node, given: Given) -> Any:
    x, index = (_plain(one) for one in given)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    return plainly(tf.gather_nd(x, _along(axis, index, int(x.shape[axis]))))


def _gather_nd(model: Any, node: Node, given: Given) -> Any:
    x, index = (_plain(one) for one in given)
    sizes = list(x.shape)[int(node.attributes.get("batch_dims", 0)) :][: int(index.shape[-1])]
    return plainly(tf.gather_nd(x, _from_front(index, sizes), int(node.attributes.get("batch_dims", 0))))


def _scattered(x: Any, places: Any, updates: Any, node: Node) -> Any:
    how = str(node.attributes.get("reduction", "none"))
    if how not in ("none", "add"):
        raise UsageError(f"an ONNX {node.kind} of {how} cannot be run here: name a builder instead")
    function = tf.tensor_scatter_nd_add if how == "add" else tf.tensor_scatter_nd_update
    return plainly(function(x, places, tf.cast(updates, x.dtype)))


def _scatter_nd(model: Any, node: Node, given: Given) -> Any:
    x, index, updates = (_plain(one) for one in given)
    return _scattered(x, _from_front(index, list(x.shape)[: int(index.shape[-1])]), updates, node)


def _scatter_elements(model: Any, node: Node, given: Given) -> Any:
    x, index, updates = (_plain(one) for one in given)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    return _scattered(x, _along(axis, index, int(x.shape[axis])), updates, node)


PLACES: Mapping[str, Callable[..., Any]] = {
    "ArgMin": _arg_min, "TopK": _top_k, "OneHot": _one_hot, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "ScatterND": _scatter_nd, "ScatterElements": _scatter_elements,
}  # fmt: skip
"""What each operator computes, from its node and inputs."""
