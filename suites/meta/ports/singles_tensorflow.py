"""A network whose code divides by the root of 6, in Keras."""

import keras
import numpy as np
from keras import layers, ops


def _scaled(divide):
    given = keras.Input((7, 12))
    x = ops.softmax(divide(layers.Dense(6, name="first")(given)), -1)
    return keras.Model(given, layers.Dense(3, name="head")(x))


def number():
    return _scaled(lambda x: x / 6**0.5)


def single():
    return _scaled(lambda x: x / np.sqrt(6).astype("float32"))


def array():
    return _scaled(lambda x: x * np.array([6**-0.5], "float32"))


def bent():
    given = keras.Input((7, 12))
    x = ops.gelu(layers.Dense(6, name="first")(given), approximate=True)
    return keras.Model(given, layers.Dense(3, name="head")(x))


def bent_by_digits():
    given = keras.Input((7, 12))
    x = layers.Dense(6, name="first")(given)
    x = 0.5 * x * (1.0 + ops.tanh(0.79788456 * (x + 0.044715 * x**3)))
    return keras.Model(given, layers.Dense(3, name="head")(x))
