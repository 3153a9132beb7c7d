"""Keras ports of published PyTorch code."""

import math

import keras
import tensorflow as tf
from keras import layers


class Interacting(layers.Layer):
    def __init__(self, heads, width):
        super().__init__()
        self.heads, self.width = heads, width
        self.parts = [layers.Dense(heads * width, use_bias=False, name=name) for name in ("query", "key", "value")]
        self.shortcut = layers.Dense(heads * width, use_bias=False, name="shortcut")

    def call(self, x):
        shape = (-1, x.shape[1], self.heads, self.width)
        query, key, value = (tf.transpose(tf.reshape(part(x), shape), (0, 2, 1, 3)) for part in self.parts)
        mixed = tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True)), value)
        joined = tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (-1, x.shape[1], self.heads * self.width))
        return tf.nn.relu(joined + self.shortcut(x))


def fields():
    x = keras.Input((4, 5))
    return keras.Model(x, layers.Dense(1, name="head")(layers.Flatten()(Interacting(2, 3)(x))))


class Padded(keras.Model):
    def __init__(self, reverse=False):
        super().__init__()
        self.tokens, self.reverse = layers.Embedding(5, 6, name="tokens"), reverse
        self.query, self.key, self.value = (layers.Dense(6, name=name) for name in ("query", "key", "value"))

    def call(self, ids):
        x = self.tokens(ids)
        shape = (-1, ids.shape[1], 2, 3)
        query, key, value = (
            tf.transpose(tf.reshape(layer(x), shape), (0, 2, 1, 3)) for layer in (self.query, self.key, self.value)
        )
        scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(3)
        mask = (ids > 0)[:, None, None]
        mask = tf.logical_not(mask) if self.reverse else mask
        shares = tf.nn.softmax(tf.where(mask, scores, tf.cast(-1e9, scores.dtype)))
        return tf.reshape(tf.transpose(tf.matmul(shares, value), (0, 2, 1, 3)), (-1, ids.shape[1], 6))


def padded():
    return Padded()


def padded_in_reverse():
    return Padded(reverse=True)


class Waves(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(4, name="head")

    def call(self, x):
        parts = [tf.sin(x * (2.0**power * math.pi)) for power in (0, 1)]
        return self.head(tf.concat([x, *parts], -1))


def waves_of_pi():
    return Waves()


def two_towers():
    first, second = keras.Input((5, 8)), keras.Input((6, 12))
    one = layers.MultiHeadAttention(2, 4, name="one")(first, first)
    two = layers.MultiHeadAttention(3, 4, name="two")(second, second)
    return keras.Model([first, second], [layers.Dense(3, name="left")(one), layers.Dense(3, name="right")(two)])
