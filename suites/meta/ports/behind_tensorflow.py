"""Layers that normalise, with a scale and a shift of their own, or of a layer behind them."""

import keras
import tensorflow as tf
from keras import layers


def _of_images(norm):
    x = keras.Input((9, 7, 3))
    y = norm(layers.Conv2D(8, 3, name="conv")(x))
    return keras.Model(x, layers.Conv2D(3, 1, name="head")(y))


def _of_sequences(*norms):
    x = y = keras.Input((9, 6))
    for layer in (layers.Dense(8, name="lift"), *norms, layers.Dense(3, name="head")):
        y = layer(y)
    return keras.Model(x, y)


def batch():
    return _of_images(layers.BatchNormalization(epsilon=1e-5, name="norm"))


def group():
    return _of_images(layers.GroupNormalization(4, epsilon=1e-5, name="norm"))


def image():
    return _of_images(layers.LayerNormalization(epsilon=1e-5, name="norm"))


def layer():
    return _of_sequences(layers.LayerNormalization(epsilon=1e-5, name="norm"))


def root():
    return _of_sequences(layers.RMSNormalization(epsilon=1e-6, name="norm"))


class Scale(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), name="gain", initializer="ones")
        self.shift = self.add_weight(shape=(shape[-1],), name="shift")

    def call(self, x):
        return x * self.gain + self.shift


def layer_in_two():
    bare = layers.LayerNormalization(epsilon=1e-5, center=False, scale=False, name="norm")
    return _of_sequences(bare, Scale(name="scale"))


class Length(layers.Layer):
    def call(self, x):
        return tf.math.l2_normalize(x, -1)


def length():
    return _of_sequences(Length(name="norm"))


class Root(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), name="gain", initializer="ones")

    def call(self, x):
        return self.gain * x / (tf.norm(x, axis=-1, keepdims=True) * x.shape[-1] ** -0.5 + 1e-6)


def root_by_length():
    return _of_sequences(Root(name="norm"))
