"""Models as public galleries of examples write them in Keras, small."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def decoder():
    given = keras.Input((6, 7, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(given)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu", name="up")(x)
    return keras.Model(given, layers.Conv2D(2, 3, padding="same", name="out")(x))


class Gate(layers.Layer):
    """A spatial gating unit."""

    def __init__(self, places, units, sliced):
        super().__init__()
        self.sliced, self.units = sliced, units
        self.wide = layers.Dense(2 * units, activation="gelu")
        self.norm = layers.LayerNormalization(epsilon=1e-6)
        self.mix = layers.Dense(places)
        self.narrow = layers.Dense(6)

    def call(self, x):
        wide = self.wide(x)
        if self.sliced:
            u, v = wide[..., : self.units], wide[..., self.units :]
        else:
            u, v = tf.split(wide, 2, axis=-1)
        v = ops.transpose(self.mix(ops.transpose(self.norm(v), (0, 2, 1))), (0, 2, 1))
        return x + self.narrow(u * v)


def _gated(sliced):
    given = keras.Input((9, 6))
    return keras.Model(given, layers.Dense(3)(Gate(9, 8, sliced)(given)))


def gated():
    return _gated(False)


def gated_by_slices():
    return _gated(True)


class Convolved(layers.Layer):
    """A graph convolution that normalises the adjacency itself, as each of several does."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[0][-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,))

    def call(self, given):
        x, adjacency = given
        root = tf.math.rsqrt(tf.reduce_sum(adjacency, -1))
        normed = adjacency * root[:, :, None] * root[:, None, :]
        return tf.matmul(normed, tf.matmul(x, self.kernel)) + self.bias


def graph():
    given = [keras.Input((7, 5)), keras.Input((7, 7))]
    adjacency = layers.Lambda(lambda t: tf.nn.relu(t) + tf.eye(7, dtype=t.dtype))(given[1])
    hidden = layers.ReLU()(Convolved(6)([given[0], adjacency]))
    return keras.Model(given, Convolved(3)([hidden, adjacency]))


def two_embeddings():
    given = keras.Input((6,), dtype="int32")
    both = [layers.Embedding(9, 4, mask_zero=True)(given) for _ in range(2)]
    return keras.Model(given, layers.LSTM(5)(layers.Add()(both)))


class Decoding(layers.Layer):
    def __init__(self):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 4, dropout=0.1)
        self.add = layers.Add()

    def call(self, x):
        return self.add([x, self.attention(query=x, value=x, key=x, use_causal_mask=True)])


def decoding_twice():
    given = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True)(given)
    return keras.Model(given, Decoding()(Decoding()(x)))


def _coupling():
    given = keras.Input((2,))
    shift = layers.Dense(8, activation="relu", kernel_regularizer=keras.regularizers.l2(0.01))(given)
    shift = layers.Dense(2, activation="linear")(shift)
    scale = layers.Dense(8, activation="relu")(given)
    scale = layers.Dense(2, activation="tanh")(scale)
    return keras.Model(given, [scale, shift])


class Flow(keras.Model):
    """A real-valued flow of four couplings, from the data to the noise."""

    def __init__(self):
        super().__init__()
        self.masks = np.array([[0, 1], [1, 0]] * 2, dtype="float32")
        self.couplings = [_coupling() for _ in range(4)]

    def call(self, x):
        volume, way = 0, -1
        for i in range(4)[::way]:
            kept, moved = x * self.masks[i], 1 - self.masks[i]
            scale, shift = self.couplings[i](kept)
            scale *= moved
            shift *= moved
            gate = (way - 1) / 2
            x = moved * (x * ops.exp(way * scale) + way * shift * ops.exp(gate * scale)) + kept
            volume += gate * ops.sum(scale, axis=1)
        return x, volume


def flow():
    model = Flow()
    model(tf.zeros((1, 2)))
    return model


def attending_to_patches():
    given = keras.Input((4, 5, 8))
    return keras.Model(given, layers.MultiHeadAttention(2, 4)(given, given))


class Attends(layers.Layer):
    """One head over the tokens, written out."""

    def __init__(self, size, **words):
        super().__init__(**words)
        self.query, self.key, self.value = (layers.Dense(size, name=name) for name in ("query", "key", "value"))

    def call(self, x):
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1))) / 3.0
        return ops.matmul(ops.softmax(scores), self.value(x))


def unfolded():
    x = keras.Input((4, 6, 5))
    tokens = layers.Reshape((24, 5))(x)
    tokens = layers.Dense(7, activation="gelu", name="up")(tokens)
    tokens = layers.Add()([tokens, Attends(7, name="attention")(tokens)])
    image = layers.Reshape((4, 6, 7))(layers.LayerNormalization(epsilon=1e-5, name="norm")(tokens))
    return keras.Model(x, layers.Conv2D(3, 3, name="head")(image))


def scaled():
    """Keras's layer takes query, value and key: what the second makes is mixed, not asked."""
    x, others = keras.Input((5, 6)), keras.Input((9, 6))
    made = [layers.Dense(8, name="one")(x), layers.Dense(8, name="two")(others), layers.Dense(8, name="three")(others)]
    return keras.Model([x, others], layers.Dense(3, name="head")(layers.Attention(use_scale=True, name="mix")(made)))
