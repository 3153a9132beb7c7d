"""Attention with rotary positions: what turns together in a head is half a head apart, or are neighbours."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def angles(places, size):
    frequencies = 1.0 / (10000.0 ** (np.arange(0, size, 2) / size))
    turned = np.outer(np.arange(places), frequencies).astype("float32")
    return np.cos(turned), np.sin(turned)


def halves(x, cos, sin):
    cos, sin = np.concatenate([cos, cos], -1), np.concatenate([sin, sin], -1)
    first, second = ops.split(x, 2, axis=-1)
    return x * cos + ops.concatenate([-second, first], axis=-1) * sin


def pairs(x, cos, sin):
    first, second = x[..., 0::2], x[..., 1::2]
    turned = ops.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return ops.reshape(turned, ops.shape(x))


def complex_pairs(x, cos, sin):
    turned = tf.complex(x[..., 0::2], x[..., 1::2]) * tf.complex(tf.constant(cos), tf.constant(sin))
    return tf.reshape(tf.stack([tf.math.real(turned), tf.math.imag(turned)], -1), tf.shape(x))


class Attention(layers.Layer):
    def __init__(self, turn, turned=8, heads_first=True, **named):
        super().__init__(**named)
        self.query, self.key, self.value, self.out = (
            layers.Dense(16, use_bias=False, name=name) for name in ("query", "key", "value", "out")
        )
        self.turn, self.turned, self.heads_first = turn, turned, heads_first

    def rotated(self, x):
        tables = angles(x.shape[-2] if self.heads_first else x.shape[-3], self.turned)
        if not self.heads_first:
            tables = [table[:, None] for table in tables]
        if self.turned == x.shape[-1]:
            return self.turn(x, *tables)
        turned, kept = x[..., : self.turned], x[..., self.turned :]
        return ops.concatenate([self.turn(turned, *tables), kept], axis=-1)

    def call(self, x):
        apart = (-1, x.shape[1], 2, 8)
        q, k, v = (ops.reshape(layer(x), apart) for layer in (self.query, self.key, self.value))
        if not self.heads_first:
            q, k = self.rotated(q), self.rotated(k)
        q, k, v = (ops.transpose(one, (0, 2, 1, 3)) for one in (q, k, v))
        if self.heads_first:
            q, k = self.rotated(q), self.rotated(k)
        shares = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / np.sqrt(8.0), axis=-1)
        read = ops.transpose(ops.matmul(shares, v), (0, 2, 1, 3))
        return self.out(ops.reshape(read, (-1, x.shape[1], 16)))


def model(turn, **words):
    tokens = keras.Input((6, 16))
    x = tokens
    for number in (1, 2):
        normed = layers.LayerNormalization(epsilon=1e-5, name=f"norm{number}")(x)
        x = x + Attention(turn, name=f"attention{number}", **words)(normed)
    return keras.Model(tokens, layers.Dense(4, name="head")(layers.LayerNormalization(epsilon=1e-5, name="last")(x)))


def turning_halves():
    return model(halves)


def turning_pairs():
    return model(pairs)


def turning_halves_of_places():
    return model(halves, heads_first=False)


def turning_halves_of_some():
    return model(halves, turned=4)


def turning_complex_pairs():
    return model(complex_pairs)
