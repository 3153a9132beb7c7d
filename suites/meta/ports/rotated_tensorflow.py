"""Attention with rotary positions, in Keras."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def _turned(x):
    angles = np.outer(np.arange(7), 1.0 / 10000.0 ** (np.arange(0, 6, 2) / 6))[None, :, None, :]
    cosine, sine = (tf.constant(table, dtype=x.dtype) for table in (np.cos(angles), np.sin(angles)))
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cosine - second * sine, first * sine + second * cosine], -1)


class Attention(keras.Model):
    def __init__(self, keys):
        super().__init__()
        self.keys = keys
        self.q = layers.Dense(24, use_bias=False, name="q")
        self.k, self.v = (layers.Dense(6 * keys, use_bias=False, name=name) for name in "kv")
        self.o = layers.Dense(16, use_bias=False, name="o")

    def call(self, x):
        q, k, v = (
            tf.reshape(layer(x), (-1, 7, many, 6))
            for layer, many in ((self.q, 4), (self.k, self.keys), (self.v, self.keys))
        )
        q, k = _turned(q), _turned(k)
        k, v = (tf.repeat(one, 4 // self.keys, axis=2) for one in (k, v))
        scores = tf.einsum("bqhd,bkhd->bhqk", q, k) / 6**0.5
        allowed = tf.linalg.band_part(tf.ones((7, 7), dtype=tf.bool), -1, 0)
        shares = tf.nn.softmax(tf.where(allowed, scores, tf.constant(-1e9, scores.dtype)))
        return self.o(tf.reshape(tf.einsum("bhqk,bkhd->bqhd", shares, v), (-1, 7, 24)))


def as_many_keys():
    return Attention(4)


def fewer_keys():
    return Attention(2)
