"""Networks whose layers could belong together in two ways, or whose weights lie deep in plain containers, in Keras."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class TwoHeads(keras.Model):
    """Two heads that read one flattened image."""

    def __init__(self):
        super().__init__()
        self.flat = layers.Flatten()
        self.mean, self.spread = layers.Dense(5, name="mean"), layers.Dense(5, name="spread")
        self.back = layers.Dense(6, name="back")

    def call(self, x):
        h = self.flat(x)
        mean = self.mean(h)
        return {"back": self.back(mean), "mean": mean, "spread": self.spread(h)}


def two_heads():
    return TwoHeads()


class FourOfFour(keras.Model):
    """An attention of as many heads as each of them has numbers."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(16, name=name) for name in ("query", "key", "value"))
        self.output_layer = layers.Dense(16, name="output")

    def call(self, x):
        query, key, value = (tf.reshape(layer(x), (-1, 7, 4, 4)) for layer in (self.query, self.key, self.value))
        scores = tf.einsum("bqhd,bkhd->bhqk", query, key) / 2.0
        allowed = tf.linalg.band_part(tf.ones((7, 7), dtype=tf.bool), -1, 0)
        shares = tf.nn.softmax(tf.where(allowed, scores, tf.constant(-1e9, scores.dtype)))
        return self.output_layer(tf.reshape(tf.einsum("bhqk,bkhd->bqhd", shares, value), (-1, 7, 16)))


def four_of_four():
    return FourOfFour()


class Gated(tf.Module):
    """Layers as tuples of variables in a list, beside a tuple that holds another."""

    def __init__(self):
        super().__init__()
        numbers = np.random.default_rng(0)
        sizes = [(6, 8), (8,), (8, 8), (8,), (8, 8), (8,), (8, 3)]
        made = [tf.Variable(numbers.normal(size=size).astype("float32") * 0.4) for size in sizes]
        self.first, self.layers = (made[0], made[1]), [(made[2], made[3], made[4], made[5])]
        self.last = {"of": (("kernel", made[6]),)}

    def __call__(self, x):
        x = tf.nn.relu(x @ self.first[0] + self.first[1])
        for kernel, bias, gate, gate_bias in self.layers:
            share = tf.sigmoid(x @ gate + gate_bias)
            x = share * tf.tanh(x @ kernel + bias) + (1.0 - share) * x
        return x @ self.last["of"][0][1]


def gated():
    return Gated()


class Mirrored(layers.Layer):
    def call(self, x):
        return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")


def mirrored():
    given = keras.Input((9, 11, 3))
    x = layers.Conv2D(4, 3, name="first")(Mirrored(name="around")(given))
    return keras.Model(given, layers.Conv2D(2, 3, name="second", use_bias=False)(layers.ReLU()(x)))


def centred():
    given = keras.Input((6,))
    x = layers.Dense(4, name="first")(given)
    return keras.Model(given, x - keras.ops.mean(x, axis=1, keepdims=True))
