"""How single layers and operations are made again: called without their activation, taken apart, executed by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from parity.adapters.tensorflow_model_activations import activation_of
from parity.adapters.tensorflow_model_layers import Leaf, is_plain_cell, known_class
from parity.adapters.tensorflow_model_tensors import Derived, filled, tensors_in

# Kinds whose layers may hold an activation of their own.
FUSED = frozenset({"conv", "depthwise_conv", "separable_conv", "conv_transpose", "dense", "einsum"})


def execute_raw(op: str, inputs: Sequence[Any], attributes: tuple[Any, ...], outputs: int) -> list[Any]:
    """Execute one operation of TensorFlow, seen by a gradient tape as any other."""
    from tensorflow.python.eager import context, execute

    pairs = zip(attributes[::2], attributes[1::2], strict=True)
    named = [(name, _usual(op, name) if value is None else value) for name, value in pairs]
    attributes = tuple(item for pair in named if pair[1] is not None for item in pair)
    made = execute.execute(op, outputs, list(inputs), attributes, context.context())
    if execute.must_record_gradient():
        execute.record_gradient(op, list(inputs), attributes, made)
    return list(made)


def _usual(op: str, name: Any) -> Any:
    """Return the default of an operation's attribute, which None stands for and a gradient asks for."""
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(op)
    wanted = name.decode() if isinstance(name, bytes) else str(name)
    default = next((attr.default_value for attr in getattr(known, "attr", ()) if attr.name == wanted), None)
    kind = default.WhichOneof("value") if default is not None else None
    return getattr(default, kind) if kind in ("s", "i", "f", "b") else None


def keep_function(op: str) -> None:
    """Let a function that was made for one call, as `tf.vectorized_map` does, live as long as the process."""
    from tensorflow.python.eager import context

    here = context.context()
    if here.has_function(op):
        made = here.get_function_def(op)
        here.add_function_def(made)  # the second time only counts: it lives until both are taken away
        for node in made.node_def:
            keep_function(node.op)


def decoded(attributes: tuple[Any, ...], tf: Any) -> dict[str, Any]:
    """Return an operation's attributes by name, as plain data where they are any."""
    found: dict[str, Any] = {}
    for name, value in zip(attributes[::2], attributes[1::2], strict=True):
        key = name.decode() if isinstance(name, bytes) else str(name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if key in ("DstT", "out_type", "output_type"):
            key, value = ("result" if key == "DstT" else key), tf.as_dtype(value).name
        if key not in (
            "T",
            "SrcT",
            "Tidx",
            "Tshape",
            "Tindices",
            "Tparams",
            "Taxis",
            "Tpaddings",
            "Tperm",
            "Tdim",
            "Tlen",
        ):
            found[key] = value
    return found


@dataclass(frozen=True)
class FromHandles(Derived):
    """Made by an operation that reads a variable by its handle."""

    handled: tuple[Any, ...] = ()

    def variables(self) -> tuple[Any, ...]:
        return (*self.handled, *super().variables())


_SHORT: Mapping[str, str] = {
    "AddV2": "add", "ConcatV2": "concat", "BatchMatMulV2": "matmul", "BatchMatMulV3": "matmul", "RealDiv": "divide",
    "Mul": "multiply", "Sub": "subtract", "PadV2": "pad", "GatherV2": "gather", "ResourceGather": "gather",
    "DepthwiseConv2dNative": "depthwise_conv2d", "Conv2DBackpropInput": "conv2d_transpose",
    "FusedBatchNormV3": "batch_norm", "SplitV": "split", "BiasAdd": "bias_add", "MaxPool": "max_pool",
    "AvgPool": "avg_pool",
}  # fmt: skip


def short_name(op: str) -> str:
    """Return what an operation of TensorFlow is called in a trace."""
    return _SHORT.get(op, op.lower())


def takes_training(layer: Any) -> bool:
    """Tell whether a layer's call knows a training mode."""
    known = getattr(layer, "_call_has_training_arg", None)
    return bool(getattr(layer, "_expects_training_arg", False) if known is None else known)


def fused_activation(layer: Any) -> Any:
    """Return the activation that a layer ends with; None for none."""
    activation = getattr(layer, "activation", None)
    return None if activation is None or getattr(activation, "__name__", "") == "linear" else activation


@contextmanager
def without_activation(layer: Any, activation: Any) -> Iterator[None]:
    """Let a layer pass its result on as it is before its own activation."""
    if activation is None:
        yield
        return
    held = "activation" in layer.__dict__
    layer.__dict__["activation"] = _as_it_is  # not by assignment: Keras would track it, or refuse it after building
    try:
        yield
    finally:
        if held:
            layer.__dict__["activation"] = activation
        else:
            del layer.__dict__["activation"]


def _as_it_is(x: Any) -> Any:
    return x


def layer_runner(tf: Any, layer: Any, template: Any, training: bool, bare: bool) -> Callable[[list[Any]], list[Any]]:
    """Return how to call a layer again with other tensors, `bare` of its own activation."""

    def run(tensors: list[Any]) -> list[Any]:
        args, kwargs = filled(template, tensors, {}, tf.identity)
        words = {**kwargs, "training": training} if takes_training(layer) else kwargs
        with without_activation(layer, fused_activation(layer) if bare else None):
            result = layer(*args, **words)
        return list({tensor._id: tensor for tensor in tensors_in(result)}.values())

    return run


def separable_leaves(leaf: Leaf, path: str) -> list[tuple[str, Leaf]]:
    """Return the two convolutions of a separable one, with their names."""
    config, weights = dict(leaf.config), leaf.weights
    filters, multiplier, rank = config.pop("filters"), config.pop("multiplier"), config["rank"]
    first = Leaf("depthwise_conv", {**config, "multiplier": multiplier, "bias": False})
    first.weights |= {"kernel": weights["depthwise_kernel"]} if "depthwise_kernel" in weights else {}
    ones, none = [1] * rank, [[0, 0]] * rank
    points = {"rank": rank, "filters": filters, "kernel": ones, "strides": ones, "padding": "valid", "pads": none}
    points |= {"dilation": ones, "groups": 1, "bias": config["bias"], "pad_mode": "zeros"}
    second = Leaf("conv", points)
    for role, name in (("kernel", "pointwise_kernel"), ("bias", "bias")):
        second.weights |= {role: weights[name]} if name in weights else {}
    return [(f"{path}:depthwise", first), (path, second)]


def static_parts(layer: Any, leaf: Leaf, path: str) -> list[tuple[str, Leaf]]:
    """Return the operations that one layer will be, known without running it."""
    found = separable_leaves(leaf, path) if leaf.kind == "separable_conv" else [(path, leaf)]
    activation = fused_activation(layer) if leaf.kind in FUSED else None
    known = None if activation is None else activation_of(activation, None)
    if known is not None:
        found.append((f"{path}:{label_of(known)}", Leaf(*known)))
    return found


def label_of(found: tuple[str, dict[str, Any]]) -> str:
    """Return what an activation is called after its layer's name."""
    kind, config = found
    return str(config.get("function", "log_softmax" if config.get("log") else kind))


def separable_halves(layer: Any, config: Mapping[str, Any], tf: Any) -> tuple[Any, Any]:
    """Return the two functions of a separable convolution, of a list of one tensor each."""
    import keras

    strides, dilation = tuple(config["strides"]), tuple(config["dilation"])
    causal = str(layer.padding) == "causal"

    def depthwise(tensors: list[Any]) -> list[Any]:
        x = tf.pad(tensors[0], [[0, 0], config["pads"][0], [0, 0]]) if causal else tensors[0]
        kernel = tf.convert_to_tensor(layer.depthwise_kernel)
        padding = "valid" if causal else layer.padding
        return [keras.ops.depthwise_conv(x, kernel, strides, padding, layer.data_format, dilation)]

    def pointwise(tensors: list[Any]) -> list[Any]:
        kernel = tf.convert_to_tensor(layer.pointwise_kernel)
        y = keras.ops.conv(tensors[0], kernel, 1, "valid", layer.data_format)
        if not layer.use_bias:
            return [y]
        last = layer.data_format == "channels_last"
        shape = (1,) * (len(y.shape) - 1) + (-1,) if last else (1, -1) + (1,) * (len(y.shape) - 2)
        return [keras.ops.add(y, tf.reshape(tf.convert_to_tensor(layer.bias), shape))]

    return depthwise, pointwise


def layers_of_stack(layer: Any) -> list[Any] | None:
    """Return a layer for each cell of an `RNN` around `StackedRNNCells`; one behind the other they compute the same.

    None for what cannot be taken apart so: a stack that keeps its states, or holds a cell of the user's own.
    """
    stack = layer.cell
    if getattr(known_class(stack), "__name__", "") != "StackedRNNCells" or layer.stateful or len(stack.cells) < 2:
        return None
    if not type(layer).__module__.startswith("keras.") or not all(map(is_plain_cell, stack.cells)):
        return None
    kind, last = known_class(layer), len(stack.cells) - 1
    assert kind is not None
    return [
        kind(
            cell, return_sequences=bool(layer.return_sequences) or index < last, return_state=bool(layer.return_state),
            go_backwards=bool(layer.go_backwards) and index == 0, unroll=bool(layer.unroll),
            zero_output_for_mask=bool(layer.zero_output_for_mask), dtype=layer.dtype_policy, name=cell.name,
        )
        for index, cell in enumerate(stack.cells)
    ]  # fmt: skip


def run_stack(pieces: Sequence[Any], x: Any, states: Any, words: Mapping[str, Any]) -> Any:
    """Return what a stack answers by calling the layers of its cells one behind the other, each with its own state."""
    ends = []
    for index, piece in enumerate(pieces):
        own = None if states is None else states[index]
        alone = own is not None and not isinstance(own, list | tuple)
        more = {} if own is None else {"initial_state": [own] if alone else list(own)}
        made = piece(x, **words, **more)
        if piece.return_state:
            x, *state = made
            ends.append(state[0] if alone else state)
        else:
            x = made
    return (x, *ends) if ends else x


def state_of(layer: Any) -> list[Any]:
    """Return the variables that running a layer may change without training: its statistics."""
    try:
        return list(layer.non_trainable_variables) if not hasattr(layer, "gamma") else [
            variable for variable in (getattr(layer, "moving_mean", None), getattr(layer, "moving_variance", None))
            if variable is not None
        ]  # fmt: skip
    except Exception:
        return []


def made_by(layer: Any) -> str:
    """Return the class that a layer is of, as its user writes it."""
    kind = type(layer)
    library = kind.__module__.split(".")[0]
    return (
        f"{library}.layers.{kind.__name__}"
        if library in ("keras", "tf_keras")
        else f"{kind.__module__}.{kind.__name__}"
    )
