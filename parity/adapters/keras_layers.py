"""Every node kind as a Keras layer, on whatever backend Keras runs; only public Keras names are used.

`keras` is handed in by the adapter that imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parity.errors import UsageError
from parity.model.network import Network, Node
from parity.model.spec import LayerSpec

ROLES: Mapping[str, tuple[str, ...]] = {
    "attention": tuple(f"{part}_{what}" for part in ("query", "key", "value", "output") for what in ("kernel", "bias")),
}
"""Names for weights whose own names repeat within a layer, in the layer's order."""


def layer(keras: Any, node: Node) -> Any:
    """Return a callable layer for one node; it takes the node's inputs and `training`.

    Raises
        UsageError: a kind that has no Keras form here.
    """
    make = _MAKERS.get(node.kind)
    if make is None:
        raise UsageError(f"the Keras adapter cannot build node kind `{node.kind}` (node `{node.name}`)")
    return make(keras, node)


def weight_roles(node: Node, variables: list[Any]) -> dict[str, Any]:
    """Return a layer's variables under names that are unique within it.

    Raises
        UsageError: the layer has other variables than the table expects.
    """
    names = ROLES.get(node.kind)
    if node.config.get("bidirectional"):
        names = tuple(f"{way}_{v.name}" for way, v in zip(_directions(variables), variables, strict=True))
    if names is None:
        names = tuple(v.name for v in variables)
    if len(names) != len(variables) or len(set(names)) != len(names):
        raise UsageError(f"layer `{node.name}` has the variables {[v.path for v in variables]}, not {list(names)}")
    return dict(zip(names, variables, strict=True))


class KerasWeights:
    """What every adapter that builds networks of Keras layers does alike, whatever backend Keras runs on."""

    network: Network | None = None
    _layers: dict[str, Any]

    def _network_variables(self) -> dict[str, Any]:
        network = self._described_network()
        found: dict[str, Any] = {}
        for name in self._layers:
            found |= {f"{name}/{role}": v for role, v in self._of_node(network.node(name)).items()}
        return found

    def _of_node(self, node: Node) -> dict[str, Any]:
        # A random generator's seed is a variable too, and no weight.
        held = [v for v in self._layers[node.holder].weights if "seed_generator" not in v.path]
        return weight_roles(node, held)

    def _described_network(self) -> Network:
        if self.network is None:
            raise UsageError("no network has been built in this worker yet: call `build_network` first")
        return self.network


def described_layer(keras: Any, layer: LayerSpec) -> Any:
    """Return the Keras layer that one layer of a `ModelSpec` describes.

    Raises
        UsageError: a kind that is not known here.
    """
    layers = keras.layers
    if layer.kind == "conv2d":
        return layers.Conv2D(layer.size, layer.kernel, padding="valid", use_bias=layer.bias, name=layer.name)
    if layer.kind == "max_pool2d":
        return layers.MaxPooling2D(layer.size, name=layer.name)
    if layer.kind == "flatten":
        return layers.Flatten(name=layer.name)
    if layer.kind == "dense":
        return layers.Dense(layer.size, use_bias=layer.bias, name=layer.name)
    if layer.kind in ("relu", "sigmoid"):
        return layers.Activation(layer.kind, name=layer.name)
    raise UsageError(f"the tensorflow adapter cannot build layer kind `{layer.kind}` (layer `{layer.name}`)")


def takes_training(layer: Any) -> bool:
    """Return whether a layer, or what is dressed as one here, can be told that it is in training."""
    return bool(getattr(layer, "_call_has_training_arg", not hasattr(layer, "_call_spec")))


def _directions(variables: list[Any]) -> list[str]:
    half = len(variables) // 2
    return ["forward"] * half + ["backward"] * half


def _rank(kind: str, node: Node) -> str:
    return f"{kind}{int(node.config['rank'])}D"


def _geometry(node: Node, *keys: str) -> dict[str, Any]:
    words = {"kernel": "kernel_size", "pool": "pool_size", "dilation": "dilation_rate"}
    found: dict[str, Any] = {}
    for key in keys:
        if key in node.config:
            value = node.config[key]
            found[words.get(key, key)] = tuple(value) if isinstance(value, (list, tuple)) else value
    return found


def _conv(keras: Any, node: Node) -> Any:
    kind = getattr(keras.layers, _rank("Conv", node))
    return kind(
        int(node.config["filters"]),
        use_bias=bool(node.config.get("bias", True)),
        groups=int(node.config.get("groups", 1)),
        **_geometry(node, "kernel", "strides", "padding", "dilation"),
        name=node.name,
    )


def _depthwise(keras: Any, node: Node) -> Any:
    return getattr(keras.layers, _rank("DepthwiseConv", node))(
        depth_multiplier=int(node.config.get("multiplier", 1)),
        use_bias=bool(node.config.get("bias", True)),
        **_geometry(node, "kernel", "strides", "padding", "dilation"),
        name=node.name,
    )


def _separable(keras: Any, node: Node) -> Any:
    return getattr(keras.layers, _rank("SeparableConv", node))(
        int(node.config["filters"]),
        depth_multiplier=int(node.config.get("multiplier", 1)),
        use_bias=bool(node.config.get("bias", True)),
        **_geometry(node, "kernel", "strides", "padding", "dilation"),
        name=node.name,
    )


def _conv_transpose(keras: Any, node: Node) -> Any:
    rank = int(node.config["rank"])
    return getattr(keras.layers, f"Conv{rank}DTranspose")(
        int(node.config["filters"]),
        use_bias=bool(node.config.get("bias", True)),
        **_geometry(node, "kernel", "strides", "padding"),
        name=node.name,
    )


def _pool(kind: str) -> Callable[[Any, Node], Any]:
    def make(keras: Any, node: Node) -> Any:
        return getattr(keras.layers, _rank(kind, node))(**_geometry(node, "pool", "strides", "padding"), name=node.name)

    return make


def _global_pool(kind: str) -> Callable[[Any, Node], Any]:
    return lambda keras, node: getattr(keras.layers, _rank(kind, node))(name=node.name)


def _batch_norm(keras: Any, node: Node) -> Any:
    made = keras.layers.BatchNormalization(
        epsilon=float(node.config.get("eps", 1e-3)), momentum=float(node.config.get("momentum", 0.99)), name=node.name
    )
    made.trainable = not node.config.get("frozen", False)
    return made


def _norm(kind: str, default: float) -> Callable[[Any, Node], Any]:
    def make(keras: Any, node: Node) -> Any:
        extra = {"groups": int(node.config["groups"])} if kind == "GroupNormalization" else {}
        eps = float(node.config.get("eps", default))
        return getattr(keras.layers, kind)(epsilon=eps, name=node.name, **extra)

    return make


def _recurrent(kind: str) -> Callable[[Any, Node], Any]:
    def make(keras: Any, node: Node) -> Any:
        extra = {"reset_after": bool(node.config.get("reset_after", True))} if kind == "GRU" else {}
        core = getattr(keras.layers, kind)(
            int(node.config["units"]), return_sequences=bool(node.config.get("sequences", True)), **extra
        )
        return keras.layers.Bidirectional(core, name=node.name) if node.config.get("bidirectional") else core

    return make


class Attention:
    """`MultiHeadAttention` with an optional third input, the mask of zeros and ones (n, t, s)."""

    def __init__(self, core: Any) -> None:
        self.core = core

    def __call__(self, query: Any, value: Any, mask: Any = None, training: bool = False) -> Any:
        return self.core(query, value, attention_mask=mask, training=training)

    @property
    def weights(self) -> list[Any]:
        """The core's variables."""
        return list(self.core.weights)


def _attention(keras: Any, node: Node) -> Any:
    return Attention(
        keras.layers.MultiHeadAttention(int(node.config["heads"]), int(node.config["key_dim"]), name=node.name)
    )


def _activation(keras: Any, node: Node) -> Any:
    name = str(node.config["function"])
    functions = keras.activations
    special: Mapping[str, Callable[[], Any]] = {
        "leaky_relu": lambda: keras.layers.LeakyReLU(float(node.config.get("slope", 0.3))),
        "elu": lambda: keras.layers.ELU(float(node.config.get("alpha", 1.0))),
        "celu": lambda: _plain(lambda x: functions.celu(x, float(node.config.get("alpha", 1.0)))),
        "gelu_tanh": lambda: _plain(lambda x: functions.gelu(x, approximate=True)),
        "soft_shrink": lambda: _plain(lambda x: functions.soft_shrink(x, float(node.config.get("threshold", 0.5)))),
        "hard_shrink": lambda: _plain(lambda x: functions.hard_shrink(x, float(node.config.get("threshold", 0.5)))),
    }
    if name in special:
        return special[name]()
    return keras.layers.Activation(name, name=node.name)


class Plain:
    """A function of tensors dressed as a layer without weights; `training` is dropped."""

    weights: tuple[Any, ...] = ()

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *inputs: Any, training: bool = False) -> Any:  # noqa: ARG002
        return self.function(*inputs)


def _plain(function: Callable[..., Any]) -> Plain:
    return Plain(function)


class Merging:
    """A Keras merging layer takes one list."""

    weights: tuple[Any, ...] = ()

    def __init__(self, core: Any) -> None:
        self.core = core

    def __call__(self, *inputs: Any, training: bool = False) -> Any:  # noqa: ARG002
        return self.core(list(inputs))


def _merge(kind: str) -> Callable[[Any, Node], Any]:
    return lambda keras, node: Merging(getattr(keras.layers, kind)(name=node.name))


def _concat(keras: Any, node: Node) -> Any:
    return Merging(keras.layers.Concatenate(axis=int(node.config.get("axis", -1)), name=node.name))


def _softmax(keras: Any, node: Node) -> Any:
    axis = int(node.config.get("axis", -1))
    if node.config.get("log"):
        return _plain(lambda x: keras.activations.log_softmax(x, axis=axis))
    return keras.layers.Softmax(axis=axis, name=node.name)


def _prelu(keras: Any, node: Node) -> Any:
    shared = list(range(1, int(node.config["rank"]))) if node.config.get("shared", True) else None
    return keras.layers.PReLU(shared_axes=shared, name=node.name)


def _spatial(name: str, argument: str, key: str) -> Callable[[Any, Node], Any]:
    def make(keras: Any, node: Node) -> Any:
        pairs = tuple(tuple(int(v) for v in pair) for pair in node.config[key])
        given = pairs if len(pairs) > 1 else pairs[0]
        return getattr(keras.layers, f"{name}{len(pairs)}D")(**{argument: given}, name=node.name)

    return make


def _resize(keras: Any, node: Node) -> Any:
    height, width = (int(v) for v in node.config["size"])
    return keras.layers.Resizing(height, width, interpolation=str(node.config["method"]), name=node.name)


def _upsample(keras: Any, node: Node) -> Any:
    factors = tuple(int(f) for f in node.config["size"])
    kind = getattr(keras.layers, f"UpSampling{len(factors)}D")
    if len(factors) == 2:
        return kind(factors, interpolation=str(node.config.get("method", "nearest")), name=node.name)
    return kind(factors if len(factors) > 1 else factors[0], name=node.name)


def _to_sequence(keras: Any, _: Node) -> Any:
    return _plain(lambda x: keras.ops.reshape(x, (x.shape[0], -1, x.shape[-1])))


def _l2_normalize(keras: Any, _: Node) -> Any:
    def forward(x: Any) -> Any:
        ops = keras.ops  # tf.math.l2_normalize in Keras's words
        square = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return ops.multiply(x, ops.rsqrt(ops.maximum(square, 1e-12)))

    return _plain(forward)


def _depth_to_space(keras: Any, node: Node) -> Any:
    block = int(node.config["block"])

    def forward(x: Any) -> Any:
        n, h, w, c = x.shape
        y = keras.ops.reshape(x, (n, h, w, block, block, c // block**2))
        return keras.ops.reshape(keras.ops.transpose(y, (0, 1, 3, 2, 4, 5)), (n, h * block, w * block, c // block**2))

    return _plain(forward)


def _select(keras: Any, node: Node) -> Any:
    order = [int(i) for i in node.config["order"]]
    return _plain(lambda x: keras.ops.take(x, order, axis=-1))


_MAKERS: Mapping[str, Callable[[Any, Node], Any]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "separable_conv": _separable,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool("MaxPooling"),
    "avg_pool": _pool("AveragePooling"),
    "global_avg_pool": _global_pool("GlobalAveragePooling"),
    "global_max_pool": _global_pool("GlobalMaxPooling"),
    "batch_norm": _batch_norm,
    "layer_norm": _norm("LayerNormalization", 1e-3),
    "group_norm": _norm("GroupNormalization", 1e-3),
    "rms_norm": _norm("RMSNormalization", 1e-6),
    "dense": lambda keras, node: keras.layers.Dense(
        int(node.config["units"]), use_bias=bool(node.config.get("bias", True)), name=node.name
    ),
    "embedding": lambda keras, node: keras.layers.Embedding(
        int(node.config["tokens"]), int(node.config["units"]), name=node.name
    ),
    "lstm": _recurrent("LSTM"),
    "gru": _recurrent("GRU"),
    "attention": _attention,
    "zero_pad": _spatial("ZeroPadding", "padding", "pads"),
    "cropping": _spatial("Cropping", "cropping", "crops"),
    "resize": _resize,
    "upsample": _upsample,
    "activation": _activation,
    "prelu": _prelu,
    "softmax": _softmax,
    "concat": _concat,
    "add": _merge("Add"),
    "multiply": _merge("Multiply"),
    "subtract": _merge("Subtract"),
    "maximum": _merge("Maximum"),
    "minimum": _merge("Minimum"),
    "average": _merge("Average"),
    "flatten": lambda keras, node: keras.layers.Flatten(name=node.name),
    "to_sequence": _to_sequence,
    "rescale": lambda keras, node: keras.layers.Rescaling(
        float(node.config["scale"]), float(node.config.get("offset", 0.0)), name=node.name
    ),
    "l2_normalize": _l2_normalize,
    "depth_to_space": _depth_to_space,
    "select": _select,
}
