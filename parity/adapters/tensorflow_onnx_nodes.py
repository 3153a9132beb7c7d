# ruff: noqa: ARG001, ARG005 -- every operator is run with the same three arguments
"""ONNX operators (opset 13 to 20 and their like) by TensorFlow's functions. Source: the operator schemas of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from parity.adapters import tensorflow_onnx_layers as layers
from parity.adapters.onnx_graph import Array, Node, attribute
from parity.adapters.onnx_graph_numbers import numbers
from parity.adapters.onnx_graph_resize import coefficient, nearest, shares
from parity.adapters.tensorflow_onnx_layout import Laid, aligned, array_in_order, plainly
from parity.adapters.tensorflow_onnx_places import PLACES
from parity.adapters.tensorflow_onnx_written import resized, spread_pool
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.adapters.tensorflow_onnx import OnnxModel

Given = Sequence[Any]
Runner = Callable[["OnnxModel", Node, Given], Any]


def _tensor(array: Array) -> Any:
    from parity.adapters.tensorflow_onnx import tensor

    return tensor(array)


def _operands(model: OnnxModel, node: Node, given: Given) -> tuple[Laid, list[Any]]:
    """Return what is combined number by number in one order of axes: a tensor in that order, and all operands."""
    laid = aligned([one for one in given if isinstance(one, Laid)])
    rank = max([laid[0].rank, *(np.ndim(one) for one in given if not isinstance(one, Laid))])
    if laid[0].rank < rank:
        laid = [plainly(one.plain()) for one in laid]
    arrays = [None if isinstance(one, Laid) else array_in_order(np.asarray(one), laid[0].order) for one in given]
    if any(a is None and not isinstance(one, Laid) for a, one in zip(arrays, given, strict=True)):
        laid = [one.settled() for one in laid]
        arrays = [None if isinstance(one, Laid) else np.asarray(one) for one in given]
    waiting, found = list(laid), []
    for name, array in zip(node.inputs, arrays, strict=False):
        found.append(waiting.pop(0).tensor if array is None else _operand(model, node, name, array, laid[0].tensor))
    return laid[0], found


def _operand(model: OnnxModel, node: Node, name: str, array: Array, beside: Any) -> Any:
    roles = [node.inputs[place] for place in node.weights() if place < len(node.inputs)]
    if name in roles and model.onnx_graph.is_weight(name):
        return tf.convert_to_tensor(model.onnx_weight(name, array, node))
    made = _tensor(array)
    floats = beside.dtype.is_floating and made.dtype.is_floating
    return made if not floats or made.dtype == beside.dtype else tf.cast(made, beside.dtype)


def _binary(function: Callable[[Any, Any], Any]) -> Runner:
    def run(model: OnnxModel, node: Node, given: Given) -> Any:
        first, found = _operands(model, node, given)
        made = found[0]
        for other in found[1:]:
            made = function(made, other)
        return first.like(made) if len(made.shape) == len(first.tensor.shape) else plainly(made)

    return run


def _unary(function: Callable[[Any], Any]) -> Runner:
    return lambda model, node, given: given[0].like(function(given[0].tensor))


def _with(function: Callable[[Mapping[str, Any], Any], Any]) -> Runner:
    return lambda model, node, given: given[0].like(function(node.attributes, given[0].tensor))


def _divide(x: Any, y: Any) -> Any:
    return x // y if x.dtype.is_integer else x / y


def _power(model: OnnxModel, node: Node, given: Given) -> Any:
    x, exponent = given
    if isinstance(exponent, Laid) or np.size(exponent) != 1:
        return _binary(tf.pow)(model, node, given)
    number = float(np.asarray(exponent).reshape(()))
    return x.like(tf.square(x.tensor) if number == 2 else tf.pow(x.tensor, _tensor(np.asarray(number, np.float32))))


def _matmul(model: OnnxModel, node: Node, given: Given) -> Any:
    first, second = given[:2]
    if isinstance(first, Laid) and not isinstance(second, Laid):
        array = np.asarray(second)
        x = first if first.order[-1] == len(first.tensor.shape) - 1 and array.ndim == 2 else first.settled()
        return x.like(tf.matmul(x.tensor, _operand(model, node, node.inputs[1], array, x.tensor)))
    sides = [
        one.plain() if isinstance(one, Laid) else _operand(model, node, name, np.asarray(one), _any(given))
        for one, name in zip(given, node.inputs, strict=False)
    ]
    return plainly(tf.matmul(*sides))


def _any(given: Given) -> Any:
    return next(one.tensor for one in given if isinstance(one, Laid))


def _gemm(model: OnnxModel, node: Node, given: Given) -> Any:
    a = node.attributes
    x, weight, bias = [*given, None][:3]
    plain = float(a.get("alpha", 1.0)) == 1.0 and (bias is None or float(a.get("beta", 1.0)) == 1.0)
    flat = not isinstance(bias, Laid) and (bias is None or np.ndim(bias) == 1 or np.shape(bias)[:-1] == (1,))
    if plain and flat and not a.get("transA") and not isinstance(weight, Laid):
        matrix = np.asarray(weight) if a.get("transB") else np.asarray(weight).T
        return layers.dense(model, node, [x, matrix, None if bias is None else np.reshape(bias, -1)])
    sides = [one.plain() if isinstance(one, Laid) else _tensor(one) for one in (x, weight)]
    made = tf.matmul(*sides, transpose_a=bool(a.get("transA")), transpose_b=bool(a.get("transB")))
    made = made if plain else made * float(a.get("alpha", 1.0))
    if bias is not None:
        made = made + (bias.plain() if isinstance(bias, Laid) else _tensor(bias)) * float(a.get("beta", 1.0))
    return plainly(made)


def _pool(kind: str) -> Runner:
    names = {"max": "MaxPooling", "avg": "AveragePooling"}

    def run(model: OnnxModel, node: Node, given: Given) -> Any:
        x, a = given[0].channels_last(), node.attributes
        found = layers.windows(x, node, list(a["kernel_shape"]))
        kernel, strides, dilations, pads = found
        rank = len(kernel)
        spread = any(one != 1 for one in dilations)
        if spread and kind == "avg":
            raise UsageError(f"an ONNX {node.kind} with dilations cannot be run here: name a builder instead")
        pads = [list(pair) for pair in pads]
        counted = [list(pair) for pair in pads]
        if a.get("ceil_mode"):
            for axis, n in enumerate(int(n) for n in x.tensor.shape[1:-1]):
                over = n + sum(pads[axis]) - (kernel[axis] - 1) * dilations[axis] - 1
                steps = -(-over // strides[axis])
                steps -= steps * strides[axis] >= n + pads[axis][0]
                pads[axis][1] += max(0, steps * strides[axis] - over)
        if spread:
            return x.like(spread_pool(x.tensor, kernel, strides, dilations, pads))
        same = layers.same_of(x, (kernel, strides, dilations, pads))
        include = kind == "avg" and bool(a.get("count_include_pad", 0))
        padding = "valid" if not np.any(pads) else "same" if same and not include else "pad"
        make = getattr(keras.layers, f"{names[kind]}{rank}D")
        ones: Any = None
        if padding == "pad" and kind == "avg" and include and pads == counted:
            x = layers.padded(model, node, x, pads)
        elif padding == "pad":
            around = [[0, 0], *pads, [0, 0]]
            if kind == "avg":
                inner = [[0, 0], *(counted if include else [[0, 0]] * rank), [0, 0]]
                outer = [[o - i for o, i in zip(*pair, strict=True)] for pair in zip(around, inner, strict=True)]
                ones = np.pad(np.pad(np.ones((1, *x.tensor.shape[1:-1], 1)), inner, constant_values=1.0), outer)
            value = tf.constant(-math.inf, x.tensor.dtype) if kind == "max" else 0.0
            x = x.like(tf.pad(x.tensor, around, constant_values=value))
        how = "valid" if padding == "pad" else padding
        layer = model.onnx_part(
            node, "", lambda name: make(tuple(kernel), strides=tuple(strides), padding=how, name=name)
        )
        made = layer(x.tensor)
        if ones is not None:
            share = _share(ones, kernel, strides)
            made = made / tf.cast(tf.constant(share), made.dtype)
        return x.like(made)

    return run


def _share(ones: Array, kernel: Sequence[int], strides: Sequence[int]) -> Array:
    """Return which share of every window is counted."""
    seen = np.lib.stride_tricks.sliding_window_view(ones, kernel, tuple(range(1, ones.ndim - 1)))
    steps = (slice(None), *(slice(None, None, s) for s in strides), slice(None))
    return np.asarray(seen[steps].mean(axis=tuple(range(ones.ndim, seen.ndim))))


def _axes(node: Node, given: Given) -> list[int] | None:
    """Return axes from an input (newer opsets) or an attribute (older ones)."""
    if len(given) > 1 and given[1] is not None:
        return [int(one) for one in np.asarray(given[1]).reshape(-1)]
    held = node.attributes.get("axes")
    return None if held is None else [int(one) for one in held]


def _reduce(function: str, first: Callable[[Any], Any] = lambda x: x) -> Runner:
    def run(model: OnnxModel, node: Node, given: Given) -> Any:
        x, axes, keep = given[0], _axes(node, given), bool(node.attributes.get("keepdims", 1))
        if axes is None and node.attributes.get("noop_with_empty_axes"):
            return x
        axes = list(range(x.rank)) if axes is None else axes
        made = getattr(tf, function)(first(x.tensor), axis=x.axes(axes), keepdims=keep)
        return x.like(made) if keep else x.without(axes, made)

    return run


def _norm(model: OnnxModel, node: Node, given: Given) -> Any:
    x, axes, keep = given[0], _axes(node, given), bool(node.attributes.get("keepdims", 1))
    axes = list(range(x.rank)) if axes is None else axes
    held = x.axes(axes)
    squares = tf.reduce_sum(tf.square(x.tensor), axis=held, keepdims=keep)
    made = tf.norm(x.tensor, axis=held[0], keepdims=keep) if len(held) == 1 else tf.sqrt(squares)
    return x.like(made) if keep else x.without(axes, made)


def _global(function: str) -> Runner:
    def run(model: OnnxModel, node: Node, given: Given) -> Any:
        x = given[0].channels_last()
        return x.like(getattr(tf, function)(x.tensor, list(range(1, len(x.tensor.shape) - 1)), keepdims=True))

    return run


def _reshape(model: OnnxModel, node: Node, given: Given) -> Any:
    x, sizes = given[0], [int(one) for one in np.asarray(given[1]).reshape(-1)]
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    whole = math.prod(x.shape)
    if -1 in sizes:
        sizes[sizes.index(-1)] = whole // max(1, -math.prod(sizes))
    return reshaped(x, sizes)


def reshaped(x: Laid, sizes: Sequence[int]) -> Any:
    """Return a tensor in another shape; axes in front that stay are left in their order."""
    if [n for n in sizes if n != 1] == [n for n in x.shape if n != 1]:
        bare = x.without([place for place, n in enumerate(x.shape) if n == 1])
        return bare.unsqueezed([place for place, n in enumerate(sizes) if n == 1])
    same = 0
    while same < min(x.rank, len(sizes)) and x.shape[same] == sizes[same]:
        same += 1
    for kept in range(same, 0, -1):
        front, rest = x.order[:kept], x.order[kept:]
        behind = [axis for axis in rest if axis is not None]
        if None not in front and behind == list(range(kept, len(x.tensor.shape))):
            held = [int(n) for n in x.tensor.shape[:kept]]
            made = tf.reshape(x.tensor, [*held, *sizes[kept:]])
            return Laid(made, (*front, *range(kept, len(sizes))))
    return plainly(tf.reshape(x.plain(), list(sizes)))


def _flatten(model: OnnxModel, node: Node, given: Given) -> Any:
    x = given[0]
    axis = int(node.attributes.get("axis", 1)) % (x.rank + 1)
    return reshaped(x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def _squeeze(model: OnnxModel, node: Node, given: Given) -> Any:
    x, axes = given[0], _axes(node, given)
    return x.without([place for place, n in enumerate(x.shape) if n == 1] if axes is None else axes)


def _gather(model: OnnxModel, node: Node, given: Given) -> Any:
    table, places = given[:2]
    axis = int(node.attributes.get("axis", 0))
    if not isinstance(table, Laid):
        if np.ndim(table) == 2 and axis == 0 and np.asarray(table).dtype.kind == "f":
            places = places if isinstance(places, Laid) else plainly(_tensor(np.asarray(places)))
            return layers.gather(model, node, [table, places])
        return plainly(tf.gather(_tensor(table), places.plain(), axis=axis))
    if isinstance(places, Laid):
        return plainly(tf.gather(table.plain(), places.plain(), axis=axis))
    index = np.asarray(places)
    if index.ndim == 0 and table.order[axis % table.rank] is not None:
        at = int(index)
        cut = [slice(None)] * len(table.tensor.shape)
        cut[table.axes([axis])[0]] = slice(at, at + 1 or None)
        return table.like(table.tensor[tuple(cut)]).without([axis])
    if index.ndim == 1 and table.order[axis % table.rank] is not None:
        return table.like(tf.gather(table.tensor, index, axis=table.axes([axis])[0]))
    return plainly(tf.gather(table.plain(), index, axis=axis))


def _slice(model: OnnxModel, node: Node, given: Given) -> Any:
    x, a = given[0], node.attributes
    lists = [None if one is None else [int(n) for n in np.asarray(one).reshape(-1)] for one in given[1:]]
    starts, ends, axes, steps = [*lists, *[None] * (4 - len(lists))][:4]
    starts, ends = starts or list(a["starts"]), ends or list(a["ends"])
    axes = axes or list(a.get("axes") or range(len(starts)))
    x = x if all(x.order[axis % x.rank] is not None for axis in axes) else x.settled()
    cut = [slice(None)] * len(x.tensor.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
        size = x.shape[axis % x.rank]
        chosen = range(size)[start:end:step]
        stop = chosen.stop if chosen.stop >= 0 else None
        first = None if chosen.start == 0 and step > 0 else chosen.start
        cut[x.axes([axis])[0]] = slice(
            first, None if stop is None or stop >= size else stop, step if step != 1 else None
        )
    return x.like(x.tensor[tuple(cut)])


def _pad(model: OnnxModel, node: Node, given: Given) -> Any:
    x, a = given[0], node.attributes
    flat = [int(n) for n in np.asarray(given[1] if len(given) > 1 else a["pads"]).reshape(-1)]
    held = float(np.asarray(given[2]).reshape(())) if len(given) > 2 and given[2] is not None else 0.0
    axes = [int(n) for n in np.asarray(given[3]).reshape(-1)] if len(given) > 3 else list(range(len(flat) // 2))
    if any(x.order[axis % x.rank] is None for axis in axes):
        x = x.settled()
    pads = [[0, 0] for _ in x.tensor.shape]
    for place, axis in enumerate(axes):
        pads[x.axes([axis])[0]] = [flat[place], flat[place + len(axes)]]
    mode = str(a.get("mode", "constant"))
    if mode not in ("constant", "reflect", "edge"):
        raise UsageError(f"an ONNX Pad of mode {mode} cannot be run here: name a builder instead")
    crops = [[min(0, low), min(0, high)] for low, high in pads]
    if np.any(crops):
        x = x.like(x.tensor[tuple(slice(-low, high or None) for low, high in crops)])
        pads = [[max(0, low), max(0, high)] for low, high in pads]
    if mode == "reflect":
        return x.like(tf.pad(x.tensor, pads, "REFLECT"))
    if mode == "edge":
        made = x.tensor
        for axis, (low, high) in enumerate(pads):
            size = int(made.shape[axis])
            places = np.clip(np.arange(-low, size + high), 0, size - 1)
            made = tf.gather(made, places, axis=axis) if low or high else made
        return x.like(made)
    inner = pads[1:-1]
    if held == 0.0 and 3 <= len(pads) <= 5 and pads[0] == pads[-1] == [0, 0]:
        return layers.padded(model, node, x, inner)
    return x.like(tf.pad(x.tensor, pads, constant_values=tf.constant(held, x.tensor.dtype)))


def _clip(model: OnnxModel, node: Node, given: Given) -> Any:
    x, a = given[0], node.attributes
    ends = [*given[1:], None, None][:2] if len(given) > 1 else [a.get("min"), a.get("max")]
    low, high = (None if end is None else float(np.asarray(numbers(np.asarray(end, np.float32)))) for end in ends)
    if low == 0.0 and high in (None, 6.0):
        return x.like(tf.nn.relu(x.tensor) if high is None else tf.nn.relu6(x.tensor))
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return x.like(tf.clip_by_value(x.tensor, low, high))


def _concat(model: OnnxModel, node: Node, given: Given) -> Any:
    axis = int(node.attributes["axis"])
    laid = [
        one if isinstance(one, Laid) else plainly(_operand(model, node, name, np.asarray(one), _any(given)))
        for one, name in zip(given, node.inputs, strict=True)
    ]
    order = next((one.order for one in laid if one.order[axis % one.rank] is not None), None)
    if order is None or any(
        d != o and n != 1 for one in laid for d, o, n in [(None, None, 1)] if one.rank != len(order)
    ):
        return plainly(tf.concat([one.plain() for one in laid], axis))
    lacking = [place for place, held in enumerate(order) if held is None]
    if any(one.shape[place] != 1 for one in laid for place in lacking):
        return plainly(tf.concat([one.plain() for one in laid], axis))
    same = [one.in_order(order) for one in laid]
    return same[0].like(tf.concat([one.tensor for one in same], same[0].axes([axis])[0]))


def _reverse_sequence(model: OnnxModel, node: Node, given: Given) -> Any:
    x, axis = given[0], int(node.attributes.get("time_axis", 0))
    if isinstance(given[1], Laid) or (np.asarray(given[1]) != x.shape[axis]).any():
        raise UsageError("an ONNX ReverseSequence of a part cannot be run here: name a builder instead")
    return x.like(tf.reverse(x.tensor, x.axes([axis]))) if x.order[axis] is not None else x


def _split(model: OnnxModel, node: Node, given: Given) -> list[Laid]:
    x, axis = given[0], int(node.attributes.get("axis", 0))
    x = x if x.order[axis % x.rank] is not None else x.settled()
    held = given[1] if len(given) > 1 and given[1] is not None else node.attributes.get("split")
    many = int(node.attributes.get("num_outputs", len(node.outputs)))
    each = -(-x.shape[axis % x.rank] // many)
    sizes = [int(n) for n in np.asarray(held).reshape(-1)] if held is not None else []
    while not held and sum(sizes) < x.shape[axis % x.rank]:
        sizes.append(min(each, x.shape[axis % x.rank] - sum(sizes)))
    parts = tf.split(x.tensor, len(sizes) if len(set(sizes)) == 1 else sizes, x.axes([axis])[0])
    return [x.like(part) for part in parts]


def _resize(model: OnnxModel, node: Node, given: Given) -> Any:
    x, a = given[0].channels_last(), node.attributes
    given = [*given, None, None, None]
    sizes, scales = given[3], given[2]
    if sizes is not None and np.size(sizes):
        wanted = [int(n) for n in np.asarray(sizes).reshape(-1)]
    else:
        wanted = [int(n * s) for n, s in zip(given[0].shape, np.asarray(scales).reshape(-1).tolist(), strict=True)]
    wanted = layers.kept(x, wanted[2:])
    how, where = str(a.get("mode", "nearest")), str(a.get("coordinate_transformation_mode", "half_pixel"))
    here = [int(n) for n in x.tensor.shape[1:-1]]
    if how == "nearest":
        return x.like(_nearest(x.tensor, a, here, wanted))
    corners, half = where == "align_corners", where in ("half_pixel", "pytorch_half_pixel")
    known = len(wanted) == 2 and (corners or half or where == "asymmetric")
    if not known or a.get("exclude_outside") or (how == "cubic" and (coefficient(a) != -0.5 or not half)):
        parts = [shares(a, n, m) for n, m in zip(here, wanted, strict=True)]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            raise UsageError(
                f"an ONNX Resize ({how}, {where}, {len(wanted)} axes) cannot be run here: name a builder instead"
            )
        return x.like(resized(x.tensor, found))
    method = "bilinear" if how == "linear" else "bicubic"
    if a.get("antialias"):
        return x.like(tf.image.resize(x.tensor, wanted, method, antialias=True))
    function = tf.raw_ops.ResizeBilinear if how == "linear" else tf.raw_ops.ResizeBicubic
    return x.like(function(images=x.tensor, size=wanted, align_corners=corners, half_pixel_centers=half))


def _nearest(x: Any, a: Mapping[str, Any], here: Sequence[int], wanted: Sequence[int]) -> Any:
    places = [nearest(a, n, m) for n, m in zip(here, wanted, strict=True)]
    for half in (True, False):
        at = [(np.arange(m) + (0.5 if half else 0.0)) * n / m for n, m in zip(here, wanted, strict=True)]
        if len(here) == 2 and all(np.array_equal(np.floor(w), p) for w, p in zip(at, places, strict=True)):
            return tf.raw_ops.ResizeNearestNeighbor(
                images=x, size=list(wanted), align_corners=False, half_pixel_centers=half
            )
    for axis, (place, n) in enumerate(zip(places, here, strict=True), 1):
        if not np.array_equal(place, np.arange(n)):
            x = tf.gather(x, place, axis=axis)
    return x


def _expand(model: OnnxModel, node: Node, given: Given) -> Any:
    x, sizes = given[0], [int(n) for n in np.asarray(given[1]).reshape(-1)]
    shape = np.broadcast_shapes(x.shape, tuple(sizes))
    return x if x.shape == shape else plainly(tf.broadcast_to(x.plain(), shape))


def _depth_to_space(model: OnnxModel, node: Node, given: Given) -> Any:
    x, block = given[0].channels_last(), int(node.attributes["blocksize"])
    if str(node.attributes.get("mode", "DCR")) == "DCR":
        return x.like(tf.nn.depth_to_space(x.tensor, block))
    n, h, w, c = (int(size) for size in x.tensor.shape)
    parts = tf.reshape(x.tensor, [n, h, w, c // block**2, block, block])
    return x.like(tf.reshape(tf.transpose(parts, [0, 1, 4, 2, 5, 3]), [n, h * block, w * block, c // block**2]))


def _space_to_depth(model: OnnxModel, node: Node, given: Given) -> Any:
    x = given[0].channels_last()
    return x.like(tf.nn.space_to_depth(x.tensor, int(node.attributes["blocksize"])))


def _trilu(model: OnnxModel, node: Node, given: Given) -> Any:
    x, away = given[0].settled(), 0 if len(given) < 2 else int(np.asarray(given[1]).reshape(()))
    rows, columns = x.shape[-2:]
    kept = np.triu(np.ones((rows, columns), bool), away)
    kept = kept if node.attributes.get("upper", 1) else np.tril(np.ones((rows, columns), bool), away)
    return x.like(tf.where(tf.constant(kept), x.tensor, tf.zeros_like(x.tensor)))


def _cumsum(model: OnnxModel, node: Node, given: Given) -> Any:
    x, a = given[0], node.attributes
    axis = int(np.asarray(given[1]).reshape(()))
    x = x if x.order[axis % x.rank] is not None else x.settled()
    how = {"exclusive": bool(a.get("exclusive", 0)), "reverse": bool(a.get("reverse", 0))}
    return x.like(tf.cumsum(x.tensor, x.axes([axis])[0], **how))


_TYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64",
    16: "bfloat16",
}  # fmt: skip


def _softmax(function: str) -> Runner:
    def run(model: OnnxModel, node: Node, given: Given) -> Any:
        x, axis = given[0], int(node.attributes.get("axis", -1))
        x = x if x.order[axis % x.rank] is not None else x.settled()
        held = x.axes([axis])[0]
        return x.like(getattr(tf.nn, function)(x.tensor, axis=-1 if held == len(x.tensor.shape) - 1 else held))

    return run


def _hard_sigmoid(a: Mapping[str, Any], x: Any) -> Any:
    alpha, beta = attribute(a, "alpha", 0.2), attribute(a, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return keras.activations.hard_sigmoid(x)
    return tf.clip_by_value(x * alpha + beta, 0.0, 1.0)


def _elu(a: Mapping[str, Any], x: Any) -> Any:
    alpha = attribute(a, "alpha", 1.0)
    return tf.nn.elu(x) if alpha == 1.0 else keras.activations.elu(x, alpha)


def _einsum(model: OnnxModel, node: Node, given: Given) -> Any:
    sides = [
        one.plain() if isinstance(one, Laid) else _operand(model, node, name, np.asarray(one), _any(given))
        for one, name in zip(given, node.inputs, strict=True)
    ]
    return plainly(tf.einsum(str(node.attributes["equation"]), *sides))


def _where(model: OnnxModel, node: Node, given: Given) -> Any:
    first, found = _operands(model, node, given)
    made = tf.where(*found)
    return first.like(made) if len(made.shape) == len(first.tensor.shape) else plainly(made)


def _argmax(model: OnnxModel, node: Node, given: Given) -> Any:
    x, axis = given[0].settled(), int(node.attributes.get("axis", 0))
    made = tf.argmax(x.tensor, axis)
    return plainly(tf.expand_dims(made, axis) if node.attributes.get("keepdims", 1) else made)


def _cast_like(x: Any, like: Any) -> Any:
    if not isinstance(x, Laid):
        floats = like.tensor.dtype.is_floating if isinstance(like, Laid) else np.asarray(like).dtype.kind == "f"
        return np.asarray(x).astype(np.float32 if floats else np.int64)
    return x.like(tf.cast(x.tensor, like.tensor.dtype if isinstance(like, Laid) else _tensor(like).dtype))


NODES: Mapping[str, Runner] = {
    "Conv": layers.conv, "ConvTranspose": layers.conv_transpose, "Dense": layers.dense, "Gemm": _gemm,
    "BatchNormalization": layers.batch_norm, "LayerNormalization": layers.layer_norm,
    "GroupNormalization": layers.group_norm, "InstanceNormalization": layers.group_norm, "PRelu": layers.prelu,
    "LSTM": layers.recurrent, "GRU": layers.recurrent, "RNN": layers.recurrent,
    "LRN": layers.response_norm,
    "MaxPool": _pool("max"), "AveragePool": _pool("avg"),
    "GlobalAveragePool": _global("reduce_mean"), "GlobalMaxPool": _global("reduce_max"),
    "MatMul": _matmul, "Add": _binary(lambda x, y: x + y), "Sub": _binary(lambda x, y: x - y),
    "Mul": _binary(lambda x, y: x * y), "Div": _binary(_divide), "Pow": _power, "Sum": _binary(lambda x, y: x + y),
    "Max": _binary(lambda x, y: tf.maximum(x, y)), "Min": _binary(lambda x, y: tf.minimum(x, y)),
    "Mod": _binary(lambda x, y: tf.math.floormod(x, y)), "Where": _where,
    "Equal": _binary(lambda x, y: tf.equal(x, y)), "Greater": _binary(lambda x, y: x > y),
    "Less": _binary(lambda x, y: x < y), "GreaterOrEqual": _binary(lambda x, y: x >= y),
    "LessOrEqual": _binary(lambda x, y: x <= y), "And": _binary(lambda x, y: x & y), "Or": _binary(lambda x, y: x | y),
    "Not": _unary(lambda x: tf.logical_not(x)), "IsNaN": _unary(lambda x: tf.math.is_nan(x)),
    "Sqrt": _unary(lambda x: tf.sqrt(x)), "Neg": _unary(lambda x: -x), "Abs": _unary(lambda x: tf.abs(x)),
    "Exp": _unary(lambda x: tf.exp(x)), "Log": _unary(lambda x: tf.math.log(x)),
    "Erf": _unary(lambda x: tf.math.erf(x)),
    "Erfc": _unary(lambda x: tf.math.erfc(x)), "Reciprocal": _unary(lambda x: 1.0 / x),
    "Sin": _unary(lambda x: tf.sin(x)),
    "Cos": _unary(lambda x: tf.cos(x)), "Floor": _unary(lambda x: tf.floor(x)),
    "Ceil": _unary(lambda x: tf.math.ceil(x)),
    "Round": _unary(lambda x: tf.round(x)),
    "Relu": _unary(lambda x: tf.nn.relu(x)), "Sigmoid": _unary(lambda x: tf.nn.sigmoid(x)),
    "Tanh": _unary(lambda x: tf.tanh(x)), "Softsign": _unary(lambda x: tf.nn.softsign(x)),
    "Softplus": _unary(lambda x: tf.nn.softplus(x)), "Selu": _unary(lambda x: tf.nn.selu(x)),
    "Swish": _with(lambda a, x: tf.nn.silu(x, attribute(a, "alpha", 1.0))),
    "Mish": _unary(lambda x: keras.activations.mish(x)), "HardSwish": _unary(lambda x: keras.activations.hard_silu(x)),
    "Elu": _with(_elu), "Celu": _with(lambda a, x: keras.activations.celu(x, attribute(a, "alpha", 1.0))),
    "LeakyRelu": _with(lambda a, x: tf.nn.leaky_relu(x, attribute(a, "alpha", 0.01))),
    "HardSigmoid": _with(_hard_sigmoid),
    "Gelu": _with(lambda a, x: tf.nn.gelu(x, approximate=str(a.get("approximate", "none")) == "tanh")),
    "Softmax": _softmax("softmax"), "LogSoftmax": _softmax("log_softmax"), "Clip": _clip,
    "ReduceMean": _reduce("reduce_mean"), "ReduceSum": _reduce("reduce_sum"), "ReduceMax": _reduce("reduce_max"),
    "ReduceMin": _reduce("reduce_min"), "ReduceProd": _reduce("reduce_prod"), "ReduceL2": _norm,
    "ReduceL1": _reduce("reduce_sum", lambda x: tf.abs(x)),
    "ReduceSumSquare": _reduce("reduce_sum", lambda x: tf.square(x)), "ReduceLogSumExp": _reduce("reduce_logsumexp"),
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Expand": _expand,
    "Unsqueeze": lambda model, node, given: given[0].unsqueezed(_axes(node, given) or []),
    "Transpose": lambda model, node, given: given[0].permuted(
        list(node.attributes.get("perm") or reversed(range(given[0].rank)))
    ),
    "Concat": _concat, "Gather": _gather, "Slice": _slice, "Split": _split, "Pad": _pad, "Resize": _resize,
    "Tile": lambda model, node, given: plainly(tf.tile(given[0].plain(), np.asarray(given[1]).tolist())),
    "Identity": lambda model, node, given: given[0], "Dropout": lambda model, node, given: given[0],
    "Cast": _with(lambda a, x: tf.cast(x, _TYPES[int(a["to"])])),
    "CastLike": lambda _, __, given: _cast_like(*given),
    "ReverseSequence": _reverse_sequence, "Trilu": _trilu, "CumSum": _cumsum, "Sign": _unary(lambda x: tf.sign(x)),
    "DepthToSpace": _depth_to_space, "ArgMax": _argmax, "Shape": lambda model, node, given: given[0],
    "Size": lambda model, node, given: np.asarray(math.prod(given[0].shape)),
    "Einsum": _einsum, "Xor": _binary(lambda x, y: tf.math.logical_xor(x, y)),
    "Asin": _unary(lambda x: tf.asin(x)), "Acos": _unary(lambda x: tf.acos(x)), "Atan": _unary(lambda x: tf.atan(x)),
    "Tan": _unary(lambda x: tf.tan(x)), "Sinh": _unary(lambda x: tf.sinh(x)), "Cosh": _unary(lambda x: tf.cosh(x)),
    "Asinh": _unary(lambda x: tf.asinh(x)), "Acosh": _unary(lambda x: tf.acosh(x)),
    "Atanh": _unary(lambda x: tf.atanh(x)), "IsInf": _unary(lambda x: tf.math.is_inf(x)),
    "SpaceToDepth": _space_to_depth,
    "ThresholdedRelu": _with(lambda a, x: keras.activations.threshold(x, attribute(a, "alpha", 1.0), 0.0)),
    **PLACES,
    **dict.fromkeys(("Constant", "ConstantOfShape", "Range"), lambda model, node, given: given[0]),
}  # fmt: skip
"""What each operator computes, from its node and inputs; what depends on no input is computed without TensorFlow."""
