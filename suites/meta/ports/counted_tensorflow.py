"""Tokens and the positions that the code counts itself; numbers that are kept in half precision for a moment."""

import keras
import tensorflow as tf
from keras import layers, ops


class Tokens(keras.Model):
    def __init__(self, count):
        super().__init__()
        self.tokens, self.places = layers.Embedding(20, 8, name="tokens"), layers.Embedding(14, 8, name="places")
        self.norm, self.head = layers.LayerNormalization(epsilon=1e-5, name="norm"), layers.Dense(3, name="head")
        self.count = count

    def call(self, ids):
        return self.head(self.norm(self.tokens(ids) + self.places(self.count(ids.shape[1]))))


def counted():
    return Tokens(tf.range)


def counted_by_keras():
    return Tokens(ops.arange)


class Places(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=(14, shape[-1]), name="table")

    def call(self, x):
        return x + self.table[: x.shape[1]]


def counted_as_rows_of_weights():
    # Two of them, of one shape: which is which is told by where they are read.
    ids = keras.Input((9,), dtype="int32")
    x = Places(name="places")(layers.Embedding(20, 8, name="tokens")(ids))
    x = layers.Dense(8, activation="tanh", name="between")(layers.LayerNormalization(epsilon=1e-5, name="norm")(x))
    return keras.Model(ids, layers.Dense(3, name="head")(Places(name="again")(x)))


class Dense(keras.Model):
    def __init__(self, kept=None):
        super().__init__()
        self.one, self.two = layers.Dense(9, activation="relu", name="one"), layers.Dense(3, name="two")
        self.kept = kept

    def call(self, x):
        x = self.one(x)
        return self.two(x if self.kept is None else tf.cast(tf.cast(x, self.kept), tf.float32))


def dense():
    return Dense()


def dense_in_half():
    return Dense("float16")


class ToHalf(Dense):
    def call(self, x):
        return ops.cast(super().call(x), "float16")


def dense_to_half():
    return ToHalf()
