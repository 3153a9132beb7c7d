"""Pixels made of channels and channels made of pixels by one call, channels repeated one by one, in Keras."""

import keras
import tensorflow as tf
from keras import layers, ops


class Gate(layers.Layer):
    """A gate for each element of a sample."""

    def build(self, shape):
        self.gate = self.add_weight(shape=tuple(shape[1:]), initializer="random_normal", name="gate")

    def call(self, x):
        return x * tf.sigmoid(self.gate)


def _behind_a_convolution(follows):
    given = keras.Input((4, 6, 3))
    return keras.Model(given, follows(layers.Conv2D(8, 3, padding="same", name="conv")(given)))


def _larger(x):
    return layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2), name="larger")(x)


def rows():
    return _behind_a_convolution(lambda x: layers.GRU(5, name="gru")(layers.Reshape((8, 24))(_larger(x))))


def row_by_row():
    def follows(x):
        x = layers.GRU(5, return_sequences=True, name="gru")(layers.Reshape((8, 24))(_larger(x)))
        return layers.Dense(3, name="out")(layers.Flatten()(x))

    return _behind_a_convolution(follows)


def flattened():
    def follows(x):
        x = layers.Flatten()(layers.Lambda(lambda t: tf.nn.space_to_depth(t, 2), name="smaller")(x))
        return layers.Dense(4, name="out")(layers.Activation("tanh", name="act")(x))

    return _behind_a_convolution(follows)


def _head(x):
    return layers.Dense(4, name="out")(layers.Flatten()(ops.tanh(x)))


def gated():
    return _behind_a_convolution(lambda x: _head(Gate(name="gate")(ops.repeat(x, 2, -1))))


def repeated():
    return _behind_a_convolution(lambda x: _head(ops.repeat(x, 2, -1)))


def convolved():
    def follows(x):
        x = layers.Lambda(lambda t: tf.nn.space_to_depth(t, 2), name="smaller")(x)
        return layers.Conv2D(3, 1, name="out")(x)

    return _behind_a_convolution(follows)
