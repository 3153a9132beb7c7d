"""The layer zoo: every kind of layer that people use, and small networks made of them, each one description.

Sizes are odd, never square, and every axis has a length of its own, so that no exchange of axes goes unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.model.network import CHANNELS, SAME, Input, Network, Node

SIZES: Mapping[int, tuple[int, ...]] = {1: (13,), 2: (11, 8), 3: (7, 6, 5)}
CHANNEL_COUNT = 4
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign",
    "sigmoid", "log_sigmoid", "hard_sigmoid", "hard_silu", "tanh", "hard_tanh", "tanh_shrink", "soft_shrink",
    "hard_shrink", "exponential", "squareplus",
)  # fmt: skip


def single(name: str, kind: str, inputs: tuple[Input, ...], **config: Any) -> Network:
    """Return a network of one node, called `layer`."""
    return Network(name, inputs, (Node("layer", kind, tuple(given.name for given in inputs), config),))


def image(rank: int = 2, channels: int = CHANNEL_COUNT, name: str = "input") -> Input:
    """Return an input with `rank` spatial axes and channels last."""
    return Input(name, (*SIZES[rank], channels))


def sequence(steps: int = 6, features: int = 5, name: str = "input") -> Input:
    """Return an input of `steps` feature vectors."""
    return Input(name, (steps, features), SAME)


def convolutions() -> list[Network]:
    """Return convolutions of every rank: strides, dilation, groups, both paddings, even kernels, transposed ones."""
    found = []
    for rank in (1, 2, 3):
        kernel = [3, 2, 3][:rank] if rank != 2 else [3, 5]
        variants: dict[str, dict[str, Any]] = {
            "valid": {},
            "same": {"padding": "same"},
            "stride2-same": {"padding": "same", "strides": [2] * rank},
            "stride2-valid": {"strides": [2] * rank},
            "dilation2": {"dilation": [2] * rank, "kernel": [2] * rank},
            "groups2": {"groups": 2},
            "even-kernel-same": {"padding": "same", "kernel": [4] * rank},
            "no-bias": {"bias": False},
        }
        for label, extra in variants.items():
            config: dict[str, Any] = {"rank": rank, "filters": 6, "kernel": kernel, **extra}
            found.append(single(f"conv{rank}d-{label}", "conv", (image(rank),), **config))
        for padding in ("valid", "same"):
            config = {"rank": rank, "filters": 3, "kernel": [3] * rank, "strides": [2] * rank, "padding": padding}
            found.append(single(f"conv{rank}d-transpose-{padding}", "conv_transpose", (image(rank),), **config))
    base: dict[str, Any] = {"rank": 2, "kernel": [3, 3]}
    found += [
        single("depthwise-conv2d", "depthwise_conv", (image(),), **base, multiplier=2),
        single("depthwise-conv2d-same-stride2", "depthwise_conv", (image(),), **base, padding="same", strides=[2, 2]),
        single("separable-conv2d", "separable_conv", (image(),), **base, filters=5, multiplier=2, padding="same"),
        single("conv2d-transpose-stride3", "conv_transpose", (image(),), rank=2, filters=3, kernel=[2, 2],
               strides=[3, 3]),
        single("conv2d-transpose-even", "conv_transpose", (image(),), rank=2, filters=3, kernel=[4, 4], strides=[2, 2],
               padding="same"),
    ]  # fmt: skip
    return found


def pools() -> list[Network]:
    """Return maximum, average and global pooling of every rank."""
    found = []
    for rank in (1, 2, 3):
        for kind in ("max_pool", "avg_pool"):
            for padding in ("valid", "same"):
                config = {"rank": rank, "pool": [3] * rank, "strides": [2] * rank, "padding": padding}
                found.append(single(f"{kind}{rank}d-{padding}".replace("_", "-"), kind, (image(rank),), **config))
        for kind in ("global_avg_pool", "global_max_pool"):
            found.append(single(f"{kind}{rank}d".replace("_", "-"), kind, (image(rank),), rank=rank))
    return found


def normalisations() -> list[Network]:
    """Return batch, layer, group and RMS normalisation, on images and on sequences."""
    return [
        single("batch-norm-1d", "batch_norm", (Input("input", (7,)),)),
        single("batch-norm-2d", "batch_norm", (image(),)),
        single("batch-norm-2d-eps", "batch_norm", (image(),), eps=1.001e-5, momentum=0.9),
        single("batch-norm-2d-frozen", "batch_norm", (image(),), frozen=True),
        single("batch-norm-3d", "batch_norm", (image(3),)),
        single("layer-norm-sequence", "layer_norm", (sequence(),)),
        single("layer-norm-image", "layer_norm", (image(),), image=True),
        single("group-norm-2", "group_norm", (image(channels=6),), groups=2),
        single("group-norm-3", "group_norm", (image(channels=6),), groups=3),
        single("rms-norm", "rms_norm", (sequence(),)),
        single("l2-normalize", "l2_normalize", (sequence(),)),
    ]


def dense_and_recurrent() -> list[Network]:
    """Return dense, embedding, recurrent and attention layers."""
    tokens = Input("input", (6,), SAME, below=11)
    mask = Input("mask", (6, 4), SAME, below=2)
    query, value = Input("query", (6, 8), SAME), Input("value", (4, 8), SAME)
    found = [
        single("dense", "dense", (Input("input", (9,), SAME),), units=5),
        single("dense-no-bias", "dense", (Input("input", (9,), SAME),), units=5, bias=False),
        single("dense-sequence", "dense", (sequence(),), units=4),
        single("embedding", "embedding", (tokens,), tokens=11, units=5),
        single("attention-cross", "attention", (query, value), heads=2, key_dim=4),
        single("attention-masked", "attention", (query, value, mask), heads=4, key_dim=2),
    ]
    for kind in ("lstm", "gru"):
        found += [
            single(f"{kind}-sequence", kind, (sequence(),), units=4),
            single(f"{kind}-last", kind, (sequence(),), units=4, sequences=False),
            single(f"{kind}-bidirectional", kind, (sequence(),), units=3, bidirectional=True),
            single(f"{kind}-bidirectional-last", kind, (sequence(),), units=3, bidirectional=True, sequences=False),
        ]
    return found


def shapers() -> list[Network]:
    """Return padding, cropping, resizing, merging and the layers that only move numbers."""
    return [
        single("dropout", "dropout", (image(), Input("mask", (*SIZES[2], CHANNEL_COUNT), CHANNELS, below=2)), rate=0.4),
        single("zero-pad-1d", "zero_pad", (image(1),), pads=[[1, 2]]),
        single("zero-pad-2d", "zero_pad", (image(),), pads=[[1, 2], [0, 3]]),
        single("zero-pad-3d", "zero_pad", (image(3),), pads=[[1, 0], [2, 1], [0, 3]]),
        single("cropping-2d", "cropping", (image(),), crops=[[1, 2], [0, 3]]),
        single("upsample-nearest", "upsample", (image(),), size=[2, 3]),
        single("upsample-bilinear", "upsample", (image(),), size=[2, 3], method="bilinear"),
        single("upsample-1d", "upsample", (image(1),), size=[2]),
        single("upsample-3d", "upsample", (image(3),), size=[2, 1, 3]),
        single("resize-nearest", "resize", (image(),), size=[7, 13], method="nearest"),
        single("resize-bilinear", "resize", (image(),), size=[7, 13], method="bilinear"),
        single("resize-bicubic", "resize", (image(),), size=[22, 16], method="bicubic"),
        single("depth-to-space", "depth_to_space", (image(channels=12),), block=2),
        single("flatten", "flatten", (image(),)),
        single("rescaling", "rescale", (image(channels=3),), scale=1.0 / 255.0, offset=-0.5),
        single("softmax-channels", "softmax", (image(),), axis=-1, image=True),
        single("softmax-height", "softmax", (image(),), axis=1, image=True),
        single("log-softmax", "softmax", (Input("input", (9,), SAME),), log=True),
        *(single(f"merge-{kind}", kind, (image(), image(name="other"))) for kind in
          ("add", "multiply", "subtract", "maximum", "minimum", "average")),
        single("concatenate-channels", "concat", (image(), image(name="other", channels=3)), image=True),
        single("concatenate-width", "concat", (image(), image(name="other")), image=True, axis=2),
    ]  # fmt: skip


def activations() -> list[Network]:
    """Return every activation, and the learned one."""
    found = [
        single(f"activation-{name.replace('_', '-')}", "activation", (image(),), function=name) for name in ACTIVATIONS
    ]
    found.append(single("prelu-shared", "prelu", (image(),), rank=3))
    found.append(single("prelu-per-element", "prelu", (image(),), rank=3, shared=False))
    return found


def kinds() -> list[Network]:
    """Return every layer kind on its own."""
    return [
        *convolutions(), *pools(), *normalisations(), *dense_and_recurrent(), *shapers(), *activations(),
    ]  # fmt: skip


class _Builder:
    """Adds one node after another; each call returns the new node's name."""

    def __init__(self, name: str, *inputs: Input) -> None:
        self.name, self.inputs, self.nodes = name, inputs, list[Node]()

    def add(self, name: str, kind: str, *inputs: str, **config: Any) -> str:
        before = self.nodes[-1].name if self.nodes else self.inputs[0].name
        self.nodes.append(Node(name, kind, inputs or (before,), config))
        return name

    def conv(self, name: str, filters: int, kernel: int, *inputs: str, **config: Any) -> str:
        return self.add(name, "conv", *inputs, rank=2, filters=filters, kernel=[kernel, kernel], **config)

    def network(self) -> Network:
        return Network(self.name, tuple(self.inputs), tuple(self.nodes))


def resnet_v1_block() -> Network:
    """Return a bottleneck block with a strided projection: convolution, normalisation, addition, ReLU last."""
    b = _Builder("resnet-v1-block", image())
    b.conv("conv1", 3, 1, strides=[2, 2])
    b.add("bn1", "batch_norm", eps=1.001e-5)
    b.add("relu1", "activation", function="relu")
    b.conv("conv2", 3, 3, padding="same")
    b.add("bn2", "batch_norm", eps=1.001e-5)
    b.add("relu2", "activation", function="relu")
    b.conv("conv3", 6, 1)
    main = b.add("bn3", "batch_norm", eps=1.001e-5)
    b.conv("shortcut", 6, 1, "input", strides=[2, 2])
    side = b.add("bn0", "batch_norm", eps=1.001e-5)
    b.add("add", "add", main, side)
    b.add("out", "activation", function="relu")
    return b.network()


def resnet_v2_block() -> Network:
    """Return a pre-activation block: normalisation and ReLU before each convolution, SAME padding with stride 2."""
    b = _Builder("resnet-v2-block", image())
    b.add("bn1", "batch_norm")
    pre = b.add("relu1", "activation", function="relu")
    b.conv("conv1", 5, 3, padding="same", strides=[2, 2], bias=False)
    b.add("bn2", "batch_norm")
    b.add("relu2", "activation", function="relu")
    main = b.conv("conv2", 5, 3, padding="same")
    side = b.conv("shortcut", 5, 1, pre, strides=[2, 2])
    b.add("add", "add", main, side)
    return b.network()


def densenet_block() -> Network:
    """Return two dense layers that concatenate what they find, and a transition with average pooling."""
    b = _Builder("densenet-block", image())
    before = "input"
    for index in (1, 2):
        b.add(f"bn{index}", "batch_norm", before, eps=1.001e-5)
        b.add(f"relu{index}", "activation", function="relu")
        found = b.conv(f"conv{index}", 3, 3, padding="same", bias=False)
        before = b.add(f"concat{index}", "concat", before, found, image=True)
    b.conv("transition", 5, 1)
    b.add("pool", "avg_pool", rank=2, pool=[2, 2])
    return b.network()


def inverted_residual() -> Network:
    """Return MobileNetV2's block: expansion, depthwise, projection, ReLU6, residual."""
    b = _Builder("inverted-residual", image())
    b.conv("expand", 8, 1, bias=False)
    b.add("bn1", "batch_norm", momentum=0.999)
    b.add("relu1", "activation", function="relu6")
    b.add("depthwise", "depthwise_conv", rank=2, kernel=[3, 3], padding="same", bias=False)
    b.add("bn2", "batch_norm", momentum=0.999)
    b.add("relu2", "activation", function="relu6")
    b.conv("project", 4, 1, bias=False)
    main = b.add("bn3", "batch_norm", momentum=0.999)
    b.add("add", "add", "input", main)
    return b.network()


def inception_block() -> Network:
    """Return four branches side by side, concatenated along channels."""
    b = _Builder("inception-block", image())
    one = b.conv("branch1", 3, 1, "input")
    b.conv("reduce2", 2, 1, "input")
    two = b.conv("branch2", 4, 3, padding="same")
    b.conv("reduce3", 2, 1, "input")
    three = b.conv("branch3", 2, 5, padding="same")
    b.add("pool4", "max_pool", "input", rank=2, pool=[3, 3], strides=[1, 1], padding="same")
    four = b.conv("branch4", 3, 1)
    b.add("concat", "concat", one, two, three, four, image=True)
    b.add("relu", "activation", function="relu")
    return b.network()


def unet() -> Network:
    """Return one level of a U-Net: down by pooling, up by a transposed convolution, the skip concatenated."""
    b = _Builder("u-net", Input("input", (12, 8, 3)))
    b.conv("down", 4, 3, padding="same")
    skip = b.add("relu1", "activation", function="relu")
    b.add("pool", "max_pool", rank=2, pool=[2, 2])
    b.conv("bottom", 6, 3, padding="same")
    b.add("relu2", "activation", function="relu")
    up = b.add("up", "conv_transpose", rank=2, filters=4, kernel=[3, 3], strides=[2, 2], padding="same")
    b.add("concat", "concat", skip, up, image=True)
    b.conv("out", 2, 3, padding="same")
    b.add("softmax", "softmax", axis=-1, image=True)
    return b.network()


def transformer_block() -> Network:
    """Return an encoder block: attention and a feed-forward part, each with a residual and layer normalisation."""
    b = _Builder("transformer-encoder-block", sequence(6, 8), Input("mask", (6, 6), SAME, below=2))
    b.add("attention", "attention", "input", "input", "mask", heads=2, key_dim=4)
    b.add("add1", "add", "input", "attention")
    first = b.add("norm1", "layer_norm", eps=1e-6)
    b.add("up", "dense", units=12)
    b.add("gelu", "activation", function="gelu")
    b.add("down", "dense", units=8)
    b.add("add2", "add", first, "down")
    b.add("norm2", "layer_norm", eps=1e-6)
    return b.network()


def lstm_classifier() -> Network:
    """Return embedding, bidirectional LSTM, dense, softmax."""
    b = _Builder("lstm-classifier", Input("input", (7,), SAME, below=13))
    b.add("embedding", "embedding", tokens=13, units=5)
    b.add("lstm", "lstm", units=4, bidirectional=True, sequences=False)
    b.add("dense", "dense", units=3)
    b.add("softmax", "softmax", axis=-1)
    return b.network()


def shared_layers() -> Network:
    """Return two inputs through one shared convolution and one shared dense layer, then compared."""
    b = _Builder("shared-layers", image(), image(name="other"))
    b.conv("conv", 5, 3, "input")
    b.conv("conv_again", 5, 3, "other", share="conv")
    b.add("flat1", "flatten", "conv")
    b.add("dense", "dense", units=6)
    b.add("flat2", "flatten", "conv_again")
    b.add("dense_again", "dense", units=6, share="dense")
    b.add("both", "multiply", "dense", "dense_again")
    b.add("tanh", "activation", function="tanh")
    return b.network()


def small_cnn() -> Network:
    """Return a relative of the example network: convolution, ReLU, pooling, Flatten, two dense layers, logistic."""
    b = _Builder("small-cnn", image())
    b.conv("conv1", 5, 3)
    b.add("relu1", "activation", function="relu")
    b.add("pool1", "max_pool", rank=2, pool=[2, 2])
    b.add("flatten", "flatten")
    b.add("dense1", "dense", units=7)
    b.add("relu2", "activation", function="relu")
    b.add("dense2", "dense", units=3)
    b.add("sigmoid", "activation", function="sigmoid")
    return b.network()


def small_networks() -> list[Network]:
    """Return the small networks that people build out of these layers."""
    return [
        small_cnn(), resnet_v1_block(), resnet_v2_block(), densenet_block(), inverted_residual(), inception_block(),
        unet(), transformer_block(), lstm_classifier(), shared_layers(),
    ]  # fmt: skip


def has_weights(network: Network) -> bool:
    """Return whether any node of a network holds weights."""
    held = {"conv", "conv_transpose", "depthwise_conv", "separable_conv", "batch_norm", "layer_norm", "group_norm",
            "rms_norm", "dense", "embedding", "lstm", "gru", "attention", "prelu"}  # fmt: skip
    return any(node.kind in held for node in network.nodes)
