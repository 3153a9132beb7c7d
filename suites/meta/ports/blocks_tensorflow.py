"""The blocks of well-known networks, in Keras."""

import keras
import numpy as np
from keras import layers, ops


def normed(x, filters, kernel, strides=1, activation="relu"):
    if strides != 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(filters, kernel, strides=strides, use_bias=False)(x)
    else:
        x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
    return layers.Activation(activation)(x) if activation else x


def head(image, x):
    return keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))


def resnet_v1():
    """Return basic blocks, the second with a projection, and a bottleneck."""
    image = keras.Input((29, 26, 3))
    x = normed(image, 8, 3)
    y = normed(normed(x, 8, 3), 8, 3, activation=None)
    x = layers.ReLU()(layers.Add()([x, y]))
    y = normed(normed(x, 12, 3, strides=2), 12, 3, activation=None)
    x = layers.ReLU()(layers.Add()([normed(x, 12, 1, strides=2, activation=None), y]))
    y = normed(normed(normed(x, 6, 1), 6, 3), 12, 1, activation=None)
    x = layers.ReLU()(layers.Add()([x, y]))
    return head(image, x)


def resnet_v2():
    """Return two blocks whose normalisation and activation come first."""
    image = keras.Input((21, 18, 3))
    x = layers.Conv2D(8, 3, padding="same")(image)
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
        y = layers.Conv2D(8, 3, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(y))
        y = layers.Conv2D(8, 3, padding="same")(y)
        x = layers.add([x, y])
    return head(image, layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x)))


def densenet():
    """Return a dense block of three layers and a transition."""
    image = keras.Input((22, 18, 3))
    x = layers.Conv2D(6, 3)(image)
    for _ in range(3):
        y = layers.Activation("relu")(layers.BatchNormalization(epsilon=1e-5)(x))
        y = layers.Conv2D(8, 1, use_bias=False)(y)
        y = layers.Activation("relu")(layers.BatchNormalization(epsilon=1e-5)(y))
        y = layers.Conv2D(4, 3, padding="same", use_bias=False)(y)
        x = layers.Concatenate()([x, y])
    x = layers.Activation("relu")(layers.BatchNormalization(epsilon=1e-5)(x))
    return head(image, layers.AveragePooling2D(2, strides=2)(layers.Conv2D(9, 1, use_bias=False)(x)))


def inception():
    """Return two blocks of four branches each."""
    image = keras.Input((17, 19, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    for _ in range(2):
        a = normed(x, 4, 1)
        b = normed(normed(x, 4, 1), 6, 3)
        c = normed(normed(normed(x, 4, 1), 5, 3), 5, 3)
        d = normed(layers.AveragePooling2D(3, strides=1, padding="same")(x), 4, 1)
        x = layers.Concatenate()([a, b, c, d])
    return head(image, x)


def inverted_residual():
    """Return MobileNet's blocks: expand, depthwise, project."""

    def block(x, filters, strides):
        before = x.shape[-1]
        y = normed(x, 4 * before, 1, activation="relu6")
        if strides == 2:
            y = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(layers.ZeroPadding2D(1)(y))
        else:
            y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-5)(y))
        y = normed(y, filters, 1, activation=None)
        return layers.Add()([x, y]) if strides == 1 and filters == before else y

    image = keras.Input((23, 20, 3))
    x = normed(image, 6, 3, strides=2, activation="relu6")
    return head(image, block(block(block(x, 6, 1), 8, 2), 8, 1))


def squeeze_and_excite():
    image = keras.Input((17, 19, 3))
    x = normed(image, 8, 3, activation="silu")
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(3, 1, activation="silu")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(8, activation="hard_sigmoid")(layers.Dense(2, activation="relu")(gate))
    x = x * layers.Reshape((1, 1, 8))(gate)
    return head(image, x)


class Scale(layers.Layer):
    """One factor for every channel."""

    def build(self, shape):
        self.gamma = self.add_weight(
            name="gamma", shape=(shape[-1],), initializer=keras.initializers.RandomUniform(0.1, 0.9)
        )

    def call(self, x):
        return x * self.gamma


def convnext():
    """Return ConvNeXt's block: depthwise 7x7, norm, two Dense layers on the channels, a factor for every channel."""
    image = keras.Input((16, 12, 3))
    x = layers.Conv2D(6, 4, strides=4)(image)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    for _ in range(2):
        y = layers.DepthwiseConv2D(7, padding="same")(x)
        y = layers.LayerNormalization(epsilon=1e-6)(y)
        y = layers.Dense(6)(layers.Dense(24, activation="gelu")(y))
        x = layers.Add()([x, Scale()(y)])
    v = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(5)(v))


def highway():
    """Return two highway layers that make the gate first and write what it lets through as two products."""
    x = vector = keras.Input((7,))
    for _ in range(2):
        gate = layers.Dense(7, activation="sigmoid")(x)
        x = gate * layers.Dense(7, activation="relu")(x) + (1.0 - gate) * x
    return keras.Model(vector, layers.Dense(3)(x))


class Places(layers.Layer):
    """Mixes as many places as there are by a matrix that stands first: a row for each new place."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[1], shape[1]))
        self.bias = self.add_weight(name="bias", shape=(shape[1], 1), initializer="ones")

    def call(self, x):
        return ops.einsum("ts,bsd->btd", self.kernel, x) + self.bias


def spatial_gate():
    """Return a gMLP block's gate: half of the channels, mixed along the places, scales the other half."""
    places = keras.Input((6, 4))
    kept, mixed = ops.split(layers.Dense(10, activation="gelu")(places), 2, axis=-1)
    return keras.Model(places, layers.Dense(3)(kept * Places()(mixed)))


class Masked(layers.Layer):
    """A Dense whose kernel is multiplied by a mask, which is a number of its code."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.mask.shape[1]))
        self.bias = self.add_weight(name="bias", shape=self.mask.shape[1:], initializer="ones")

    def call(self, x):
        return ops.matmul(x, self.kernel * self.mask) + self.bias


def masked():
    """Return MADE: each output depends on the inputs before it alone."""
    places, degrees = np.arange(4), np.arange(9) % 3
    first = (places[:, None] <= degrees).astype("float32")
    last = (degrees[:, None] < places).astype("float32")
    return keras.Sequential([keras.Input((4,)), Masked(first), layers.ReLU(), Masked(last)])


class SteppedHead(keras.Model):
    """A cell stepped by hand, and the head called at every step."""

    def __init__(self):
        super().__init__()
        self.cell = layers.GRUCell(6)
        self.head = layers.Dense(2)

    def call(self, x):
        state, read = ops.zeros_like(x[:, 0, :1]) + ops.zeros((6,), x.dtype), []
        for step in range(5):
            state, _ = self.cell(x[:, step], [state])
            read.append(self.head(state))
        return ops.stack(read, axis=1)


def stepped_head():
    return SteppedHead()


def coupling():
    """Return RealNVP's couplings: two networks that read the same, of which one ends in an activation."""
    x = given = keras.Input((4,))
    volume = 0.0
    for kept in ([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]):
        kept = np.asarray(kept, "float32")
        read = x * kept
        scale, shift = (
            layers.Dense(4, activation=last)(layers.Dense(8, activation="relu")(read)) * (1.0 - kept)
            for last in ("tanh", None)
        )
        x = (x * ops.exp(-scale) - shift * ops.exp(-scale)) * (1.0 - kept) + read
        volume = volume - ops.sum(scale, axis=1)
    return keras.Model(given, [x, volume])
