"""A small classifier, for ports that are right forwards alone, and functions with gradients of their own, in Keras."""

import keras
import tensorflow as tf
from keras import layers


def classifier():
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(image)
    return keras.Model(image, layers.Dense(4, name="head")(layers.Flatten()(x)))


@tf.custom_gradient
def against(x):
    """Return the same, and turn its gradient round, as networks that adapt to another domain do."""
    return tf.identity(x), lambda gradient: -gradient


@tf.custom_gradient
def binary(x):
    """Return the sign, with the gradient of a line between -1 and 1."""
    return tf.sign(x), lambda gradient: tf.where(tf.abs(x) <= 1.0, gradient, tf.zeros_like(gradient))


class Gated(keras.Model):
    """A layer of signs, and a gate whose gradient is turned round."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = layers.Dense(9), layers.Dense(9), layers.Dense(4)

    def call(self, x):
        x = binary(self.first(x))
        return self.last(x * against(tf.sigmoid(self.gate(x))))


def gated():
    return Gated()
