"""Networks with an operation along one axis, in Keras."""

import keras
from keras import layers, ops


def _of_steps(operation):
    given = keras.Input((7, 6))
    x = operation(layers.Dense(6, name="first")(given))
    return keras.Model(given, layers.Dense(3, name="head")(x))


def sums():
    return _of_steps(lambda x: ops.cumsum(x, axis=1))


def products():
    return _of_steps(lambda x: ops.cumprod(x, axis=1))


def turned():
    return _of_steps(lambda x: ops.flip(x, axis=1))


def shifted():
    return _of_steps(lambda x: ops.roll(x, 2, axis=1))


def logs():
    return _of_steps(lambda x: x - ops.logsumexp(x, axis=1, keepdims=True))


def units():
    return _of_steps(lambda x: ops.normalize(x, axis=1))


def _of_images(operation):
    given = keras.Input((9, 11, 5))
    x = operation(layers.Conv2D(6, 3, name="first")(given))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(4, 3, name="second")(x))
    return keras.Model(given, layers.Dense(3, name="head")(x))


def sums_of_rows():
    return _of_images(lambda x: ops.cumsum(x, axis=1))


def turned_rows():
    return _of_images(lambda x: ops.flip(x, axis=1))
