"""ONNX's nodes that hold weights, as Keras's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from parity.adapters.onnx_graph import Array, Node, attribute, bends, refuse_recurrent, refuse_steps, window_pads
from parity.adapters.tensorflow_onnx_layout import Laid, array_in_order
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.adapters.tensorflow_onnx import OnnxModel

_KERAS_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}  # i, o, f, c become i, f, c, o


def _array(value: Any, node: Node) -> Array | None:
    if isinstance(value, Laid):
        raise UsageError(f"an ONNX {node.kind} whose weights are computed cannot be run here: name a builder")
    return None if value is None else np.asarray(value)


def kept(x: Laid, values: Sequence[Any]) -> list[Any]:
    """Return what stands per spatial axis for those that the tensor has."""
    return [value for place, value in enumerate(values, 2) if x.order[place] is not None]


def windows(x: Laid, node: Node, kernel: Sequence[int]) -> tuple[Any, ...]:
    """Return kernel, strides, dilations and pads of the spatial axes that the tensor has."""
    a, rank = node.attributes, len(kernel)
    pads = window_pads(a, x.shape[2:], kernel)
    strides, dilations = a.get("strides") or [1] * rank, a.get("dilations") or [1] * rank
    lacking = [place for place in range(rank) if x.order[place + 2] is None]
    if any(kernel[place] != 1 or pads[place] != [0, 0] for place in lacking):
        raise UsageError(f"the ONNX {node.kind} `{node.name}` is wider than its input: name a builder")
    return tuple(kept(x, values) for values in (kernel, strides, dilations, pads))


def same_of(x: Laid, found: tuple[Any, ...]) -> bool:
    """Tell whether pads are those that TensorFlow calls SAME."""
    kernel, strides, dilations, pads = found
    sizes = x.channels_last().tensor.shape[1:-1]
    how = {"auto_pad": "SAME_UPPER", "strides": strides, "dilations": dilations}
    return bool(window_pads(how, [int(n) for n in sizes], kernel) == pads)


def padded(model: OnnxModel, node: Node, x: Laid, pads: Sequence[Sequence[int]]) -> Any:
    """Return an input in channels-last order with zeros around it."""
    make = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)[len(pads) - 1]
    how = tuple(pads[0]) if len(pads) == 1 else tuple(tuple(pair) for pair in pads)
    return x.like(model.onnx_part(node, "pad", lambda name: make(how, name=name))(x.tensor))


def conv(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a convolution, depthwise where each channel has its own."""
    x, weight, bias = given[0].channels_last(), _array(given[1], node), _array((*given, None)[2], node)
    if weight is None or len(x.tensor.shape) < 3:
        return conv(model, node, [given[0].settled(), *given[1:]])
    found = windows(x, node, weight.shape[2:])
    kernel, strides, dilations, pads = found
    lacking = [place for place in range(2, weight.ndim) if x.order[place] is None]
    groups, channels = int(node.attributes.get("group", 1)), int(x.tensor.shape[-1])
    array = np.moveaxis(weight.squeeze(tuple(lacking)), (0, 1), (-1, -2))
    padding = "valid" if not np.any(pads) else "same" if same_of(x, found) else "pad"
    if padding == "pad":
        x, padding = padded(model, node, x, pads), "valid"
    words = {"dilation_rate": dilations, "padding": padding, "use_bias": bias is not None}
    rank = len(kernel)
    if groups == channels > 1 and rank < 3 and len(set(strides)) == 1:
        array = array.reshape(*kernel, channels, -1)
        kind = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)[rank - 1]
        words["depth_multiplier"] = int(array.shape[-1])
        layer = model.onnx_layer(
            node, lambda name: kind(tuple(kernel), strides=strides[0], name=name, **words), [array, bias],
            tuple(x.tensor.shape),
        )  # fmt: skip
        return x.like(layer(x.tensor))
    kind = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)[rank - 1]
    layer = model.onnx_layer(
        node,
        lambda name: kind(
            int(weight.shape[0]), tuple(kernel), strides=tuple(strides), groups=groups, name=name, **words
        ),
        [array, bias],
        tuple(x.tensor.shape),
    )
    layer.padding = padding
    return x.like(layer(x.tensor))


def conv_transpose(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a transposed convolution; what other pads than TensorFlow's leave is cut off afterwards."""
    x, weight, bias = given[0].channels_last(), _array(given[1], node), _array((*given, None)[2], node)
    a = node.attributes
    if weight is None or a.get("group", 1) != 1 or a.get("output_shape"):
        raise UsageError(
            "an ONNX ConvTranspose of output_shape, or of computed weights in groups, cannot run here: name a builder"
        )
    kernel, strides, dilations, pads = windows(x, node, weight.shape[2:])
    extra = kept(x, a.get("output_padding") or [0] * (weight.ndim - 2))
    sizes = [int(n) for n in x.tensor.shape[1:-1]]
    full = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    if str(a.get("auto_pad", "NOTSET")) in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(f - n * s, 0) for f, n, s in zip(full, sizes, strides, strict=True)]
        pads = [[t // 2, t - t // 2] for t in total]
    cut = [[low, high - more] for (low, high), more in zip(pads, extra, strict=True)]
    same = [
        [max(f - n * s, 0) // 2, f - n * s - max(f - n * s, 0) // 2]
        for f, n, s in zip(full, sizes, strides, strict=True)
    ]
    padding = "valid" if not np.any(cut) else "same" if cut == same else "cut"
    lacking = [place for place in range(2, weight.ndim) if x.order[place] is None]
    array = np.moveaxis(weight.squeeze(tuple(lacking)), (0, 1), (-1, -2))
    rank = len(kernel)
    kinds = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
    words: dict[str, Any] = {"padding": "same" if padding == "same" else "valid", "use_bias": bias is not None}
    longer = [max(0, -high) for _, high in cut]
    if padding == "cut" and any(longer):
        words["output_padding"] = tuple(longer)
    layer = model.onnx_layer(
        node, lambda name: kinds[rank - 1](int(weight.shape[1]), tuple(kernel), strides=tuple(strides),
                                           dilation_rate=tuple(dilations), name=name, **words),
        [array, bias], tuple(x.tensor.shape),
    )  # fmt: skip
    made = x.like(layer(x.tensor))
    if padding != "cut" or not any(low or high > 0 for low, high in cut):
        return made
    crops = [(low, max(high, 0)) for low, high in cut]
    make = (keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D)[rank - 1]
    how = crops[0] if rank == 1 else tuple(crops)
    return made.like(model.onnx_part(node, "crop", lambda name: make(how, name=name))(made.tensor))


def dense(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a dense layer on the last axis."""
    x, weight, bias = given[0], _array(given[1], node), _array((*given, None)[2], node)
    # Where the batch is not in front the graph means it: so does torch's attention, which has the time there.
    x = x if x.order[-1] == len(x.tensor.shape) - 1 and x.order[0] == 0 else x.settled()
    units = int(np.asarray(weight).shape[0])
    layer = model.onnx_layer(
        node, lambda name: keras.layers.Dense(units, use_bias=bias is not None, name=name),
        [np.asarray(weight).T, bias], tuple(x.tensor.shape),
    )  # fmt: skip
    return x.like(layer(x.tensor))


def batch_norm(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a batch normalisation in inference."""
    x = given[0].channels_last() if given[0].rank > 1 else given[0]
    eps = attribute(node.attributes, "epsilon", 1e-5)
    arrays = [_array(one, node) for one in given[1:5]]
    layer = model.onnx_layer(
        node, lambda name: keras.layers.BatchNormalization(epsilon=eps, name=name), arrays, tuple(x.tensor.shape)
    )
    return x.like(layer(x.tensor, training=False))


def layer_norm(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a layer normalisation over the last axes."""
    x, over = given[0], node.attributes.get("over")
    many = x.rank - int(node.attributes.get("axis", -1)) % x.rank
    last = tuple(range(len(x.tensor.shape) - many, len(x.tensor.shape)))
    if over is not None and over != x.rank - 1:
        places = [place for place in range(x.rank) if place != over and x.order[place] is not None]
        order = tuple([*places, over].index(p) if p in (*places, over) else None for p in range(x.rank))
        x = (x if x.order[over] is not None else x.settled()).in_order(order)
    else:
        x = x if x.order[-many:] == last else x.settled()
    eps, arrays = attribute(node.attributes, "epsilon", 1e-5), [_array(one, node) for one in given[1:3]]
    words = {"center": len(arrays) > 1 and arrays[1] is not None, "scale": arrays[0] is not None, "epsilon": eps}
    axis = -1 if many == 1 else list(range(-many, 0))
    layer = model.onnx_layer(
        node, lambda name: keras.layers.LayerNormalization(axis=axis, name=name, **words), arrays,
        tuple(x.tensor.shape),
    )  # fmt: skip
    return x.like(layer(x.tensor))


def group_norm(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a group or an instance normalisation."""
    x = given[0].channels_last()
    channels = int(x.tensor.shape[-1])
    groups = int(node.attributes.get("num_groups", channels))
    arrays = [np.asarray(_array(one, node)) for one in given[1:3]]
    arrays = [np.repeat(one, channels // groups) if one.size == groups != channels else one for one in arrays]
    eps = attribute(node.attributes, "epsilon", 1e-5)
    layer = model.onnx_layer(
        node, lambda name: keras.layers.GroupNormalization(groups, epsilon=eps, name=name), arrays,
        tuple(x.tensor.shape),
    )  # fmt: skip
    return x.like(layer(x.tensor))


def prelu(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a PReLU with a slope per channel, one per place, or one for all."""
    x, slope = given[0].channels_last() if given[0].rank > 2 else given[0], np.asarray(_array(given[1], node))
    turned = array_in_order(slope, x.order)
    if turned is None:
        raise UsageError("an ONNX PRelu with a slope per sample cannot be run here: name a builder instead")
    rank = len(x.tensor.shape)
    shape = (*(1,) * (rank - 1 - turned.ndim), *turned.shape)
    shared = [axis for axis, size in enumerate(shape, 1) if size == 1]
    layer = model.onnx_layer(
        node, lambda name: keras.layers.PReLU(shared_axes=shared or None, name=name), [turned.reshape(shape)],
        tuple(x.tensor.shape),
    )  # fmt: skip
    return x.like(layer(x.tensor))


def response_norm(_: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run a normalisation by the responses of the channels beside."""
    x, a = given[0].channels_last(), node.attributes
    size = int(a["size"])
    if size % 2 == 0 or len(x.tensor.shape) != 4:
        raise UsageError(f"an ONNX LRN of {size} channels cannot be run here: name a builder instead")
    alpha = attribute(a, "alpha", 1e-4) / size
    how = (size // 2, attribute(a, "bias", 1.0), alpha, attribute(a, "beta", 0.75))
    return x.like(tf.nn.local_response_normalization(x.tensor, *how))


def gather(model: OnnxModel, node: Node, given: Sequence[Any]) -> Any:
    """Run an embedding: rows of a table at the places that a tensor holds."""
    table = np.asarray(given[0])
    layer = model.onnx_layer(
        node, lambda name: keras.layers.Embedding(*table.shape, name=name), [table], tuple(given[1].tensor.shape)
    )
    return Laid(layer(given[1].tensor), (*given[1].order, len(given[1].tensor.shape)))


def recurrent(model: OnnxModel, node: Node, given: Sequence[Any]) -> list[Laid | None]:
    """Run an LSTM, a GRU or a plain recurrence; ONNX has an axis of directions, and mostly the time in front."""
    given = [*given, *[None] * (8 - len(given))]
    kernel, recurrent_kernel, bias = (_array(one, node) for one in given[1:4])
    if given[4] is not None or given[7] is not None or kernel is None or recurrent_kernel is None:
        raise UsageError(f"an ONNX {node.kind} with lengths or peepholes cannot be run here: name a builder")
    a, both = node.attributes, len(kernel) == 2
    refuse_recurrent(node.kind, a, len(kernel), reset_before=True)
    batch_first = bool(a.get("layout", 0))
    x = given[0] if batch_first else given[0].permuted((1, 0, 2))
    x = x.in_order((0, 1, 2)) if None not in x.order else x.settled()
    refuse_steps(a, x.shape[1])
    states = [_state(one, batch_first) for one in given[5:7] if _moves(one)]
    if both and states:
        raise UsageError(
            f"an ONNX {node.kind} of both directions that starts from states cannot be run here: name a builder"
        )
    if node.kind == "LSTM" and len(states) == 1:
        raise UsageError("an ONNX LSTM that starts from one state of two cannot be run here: name a builder")
    wanted = {name for other in model.onnx_graph.nodes for name in other.inputs} | set(model.onnx_graph.gives)
    outputs = [name if name in wanted else "" for name in [*node.outputs, "", "", ""][:3]]
    sequence, last = bool(outputs[0]), bool(outputs[2]) or bool(outputs[0] and outputs[1])
    after = bool(a.get("linear_before_reset", 0))
    biases = [None, None] if bias is None else list(bias)
    arrays = [
        part for w, r, b in zip(kernel, recurrent_kernel, biases, strict=False)
        for part in _keras_weights(node.kind, w, r, b, after)
    ]  # fmt: skip

    def make(name: str) -> Any:
        words: dict[str, Any] = {"return_sequences": sequence, "return_state": last, "use_bias": bias is not None}
        if node.kind == "GRU":
            words["reset_after"] = after
        if node.kind == "RNN":
            words["activation"] = bends(a)
        kind = {"LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU, "RNN": keras.layers.SimpleRNN}[node.kind]
        backwards = a.get("direction") == "reverse"
        one = kind(recurrent_kernel.shape[-1], go_backwards=backwards, name=name, **words)
        return keras.layers.Bidirectional(one, name=name) if both else one

    layer = model.onnx_layer(node, make, arrays, tuple(x.tensor.shape))
    words = {"initial_state": states if len(states) > 1 else states[0]} if states else {}
    made = layer(x.tensor, **words)
    made = list(made) if isinstance(made, list | tuple) else [made]
    hidden = made[0] if not last else None
    steps = made[0] if sequence else None
    ends = made[1:] if last else []
    if steps is not None and a.get("direction") == "reverse":
        steps = tf.reverse(steps, [1])
    return [_steps(steps, both, batch_first), *_ends(ends, hidden, both, batch_first, sequence)]


def _moves(state: Any) -> bool:
    if state is None:
        return False
    return isinstance(state, Laid) or bool(np.any(np.asarray(state)))


def _state(value: Any, batch_first: bool) -> Any:
    from parity.adapters.tensorflow_onnx import tensor

    if isinstance(value, Laid):
        return value.without([1 if batch_first else 0]).plain()
    return tensor(np.asarray(value).squeeze(1 if batch_first else 0))


def _steps(steps: Any, both: bool, batch_first: bool) -> Laid | None:
    if steps is None:
        return None
    if not both:
        return Laid(steps, (0, 1, None, 2) if batch_first else (1, None, 0, 2))
    batch, time, wide = (int(n) for n in steps.shape)
    apart = tf.reshape(steps, [batch, time, 2, wide // 2])
    return Laid(apart, (0, 1, 2, 3) if batch_first else (1, 2, 0, 3))


def _ends(ends: Sequence[Any], hidden: Any, both: bool, batch_first: bool, sequence: bool) -> list[Laid | None]:
    """Return the last hidden states, and those of an LSTM's cells, with an axis of directions."""
    if both:
        if not ends and hidden is not None and not sequence:
            batch, wide = (int(n) for n in hidden.shape)
            apart = tf.reshape(hidden, [batch, 2, wide // 2])
            return [Laid(apart, (0, 1, 2) if batch_first else (1, 0, 2)), None]
        half = len(ends) // 2
        pairs = [tf.stack([ends[i], ends[i + half]], 1) for i in range(half)]
        return [Laid(one, (0, 1, 2) if batch_first else (1, 0, 2)) for one in pairs]
    found = list(ends) if ends else [] if sequence else [hidden]
    return [Laid(one, (0, None, 1) if batch_first else (None, 0, 1)) for one in found]


def _keras_weights(kind: str, kernel: Array, recurrent_kernel: Array, bias: Array | None, after: bool) -> list[Any]:
    def turned(array: Array) -> Array:
        blocks = np.split(array, len(_KERAS_GATES[kind]))
        return np.concatenate([blocks[place] for place in _KERAS_GATES[kind]])

    found = [turned(kernel).T, turned(recurrent_kernel).T]
    if bias is not None:
        first, second = (turned(half) for half in np.split(bias, 2))
        found.append(np.stack([first, second]) if kind == "GRU" and after else first + second)
    return found
