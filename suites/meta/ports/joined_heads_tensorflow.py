"""Attention whose heads code divides and joins again, in Keras."""

import keras
from keras import layers, ops


class Attention(layers.Layer):
    def __init__(self, **words):
        super().__init__(**words)
        self.q, self.k, self.v, self.o = (layers.Dense(8, name=name) for name in "qkvo")

    def call(self, x):
        many = ops.shape(x)[0]
        q, k, v = (
            ops.transpose(ops.reshape(layer(x), (many, 7, 2, 4)), (0, 2, 1, 3)) for layer in (self.q, self.k, self.v)
        )
        shares = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0, -1)
        return self.o(ops.reshape(ops.transpose(ops.matmul(shares, v), (0, 2, 1, 3)), (many, 7, 8)))


def by_hand():
    given = keras.Input((7, 8))
    return keras.Model(given, layers.Dense(3, name="head")(Attention(name="attention")(given)))


def ready_made():
    given = keras.Input((7, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(given, given)
    return keras.Model(given, layers.Dense(3, name="head")(x))


class Fused(layers.Layer):
    def __init__(self, **words):
        super().__init__(**words)
        self.qkv, self.o = layers.Dense(24, name="qkv"), layers.Dense(8, name="o")

    def call(self, x):
        many = ops.shape(x)[0]
        q, k, v = ops.unstack(ops.transpose(ops.reshape(self.qkv(x), (many, 7, 3, 2, 4)), (2, 0, 3, 1, 4)), 3)
        shares = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0, -1)
        return self.o(ops.reshape(ops.transpose(ops.matmul(shares, v), (0, 2, 1, 3)), (many, 7, 8)))


def fused():
    given = keras.Input((7, 8))
    return keras.Model(given, layers.Dense(3, name="head")(Fused(name="attention")(given)))
