"""Builders of the networks in which faults are planted."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class ByHand(layers.Layer):
    """Attention of four heads, step by step; of a mask, its reverse times -1e9 is added to the scores."""

    def __init__(self, causal=False, **options):
        super().__init__(**options)
        self.causal = causal
        self.q, self.k, self.v, self.o = (layers.Dense(24, name=one) for one in "qkvo")

    def call(self, x, memory, mask=None):
        steps, places = x.shape[1], memory.shape[1]

        def split(tensor, count):
            return tf.transpose(tf.reshape(tensor, (-1, count, 4, 6)), (0, 2, 1, 3))

        q, k, v = split(self.q(x), steps), split(self.k(memory), places), split(self.v(memory), places)
        scores = tf.matmul(q, k, transpose_b=True) / 6**0.5
        if mask is not None:
            scores = scores + (1.0 - tf.cast(mask, scores.dtype))[:, None, None, :] * -1e9
        if self.causal:
            scores = tf.where(tf.linalg.band_part(tf.ones((steps, places), tf.bool), -1, 0), scores, -1e9)
        y = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), (0, 2, 1, 3))
        return self.o(tf.reshape(y, (-1, steps, 24)))


def _embedded():
    ids = keras.Input((9,), dtype="int32")
    mask = layers.Lambda(lambda t: tf.not_equal(t, 0), name="mask")(ids)
    return ids, layers.Embedding(31, 24, name="embedding")(ids), mask


def padded():
    ids, x, mask = _embedded()
    pairs = layers.Lambda(lambda t: t[:, None, :], name="pairs")(mask)
    y = layers.MultiHeadAttention(4, 6, name="attention")(x, x, attention_mask=pairs)
    return keras.Model(ids, layers.Dense(5, name="head")(y))


def causal():
    x = keras.Input((9, 24))
    y = layers.MultiHeadAttention(4, 6, name="attention")(x, x, use_causal_mask=True)
    return keras.Model(x, layers.Dense(5, name="head")(y))


def by_hand():
    ids, x, mask = _embedded()
    return keras.Model(ids, layers.Dense(5, name="head")(ByHand(name="attention")(x, x, mask)))


def later():
    x = keras.Input((9, 24))
    return keras.Model(x, layers.Dense(5, name="head")(ByHand(causal=True, name="attention")(x, x)))


def crossed():
    memory, x = keras.Input((9, 24)), keras.Input((7, 24))
    return keras.Model([memory, x], layers.Dense(5, name="head")(ByHand(name="attention")(x, memory)))


def normed():
    x = keras.Input((7, 24))
    y = layers.LayerNormalization(epsilon=1e-3, name="norm")(layers.Dense(24, name="first")(x))
    return keras.Model(x, layers.Dense(5, name="head")(y))


def normed_pixels():
    x = keras.Input((7, 6, 12))
    y = layers.LayerNormalization(epsilon=1e-3, name="norm")(layers.Conv2D(10, 1, name="first")(x))
    return keras.Model(x, layers.Conv2D(5, 3, name="last")(y))


def shares():
    x = keras.Input((9, 8, 3))
    return keras.Model(x, layers.Softmax(name="shares")(layers.Conv2D(5, 3, name="conv")(x)))


def blurred():
    x = keras.Input((14, 18, 3))
    y = layers.Lambda(lambda t: tf.image.resize(t, (7, 9), method="area"), name="half")(x)
    y = layers.Activation("tanh", name="tanh")(y)
    return keras.Model(x, layers.Conv2D(6, 3, strides=2, padding="same", name="conv")(y[:, :6, :8]))


def blocks():
    x = keras.Input((5, 6, 12))
    y = layers.Conv2D(12, 1, name="first")(x)
    y = layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2), name="shuffle")(y)
    return keras.Model(x, layers.Conv2D(4, 3, name="last")(y))


def _both_ways(layer):
    x = keras.Input((5, 4))
    y = layers.Bidirectional(layer(3, return_sequences=True), name="both")(x)
    return keras.Model(x, layers.Dense(2, name="head")(y))


def both_ways_lstm():
    return _both_ways(layers.LSTM)


def both_ways_gru():
    return _both_ways(layers.GRU)


def two_gates():
    """What is let through, and by how much, made of one input by two layers of one size."""
    x = keras.Input((13,))
    gate = layers.Dense(16, activation="sigmoid", name="gate")(x)
    value = layers.Dense(16, activation="tanh", name="value")(x)
    model = keras.Model(x, layers.Dense(5, name="head")(layers.Multiply(name="let")([gate, value])))
    for seed, layer in enumerate(layer for layer in model.layers if layer.weights):
        drawn = np.random.default_rng(seed)
        layer.set_weights([drawn.standard_normal(weight.shape) / 4 for weight in layer.weights])
    return model


def gru():
    x = keras.Input((5, 4))
    return keras.Model(x, layers.Dense(2, name="head")(layers.GRU(3, name="gru")(x)))


def both_ways_behind_tanh():
    x = keras.Input((5, 4))
    y = layers.Activation("tanh", name="tanh")(x)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(y)
    return keras.Model(x, layers.Dense(2, name="head")(y))
