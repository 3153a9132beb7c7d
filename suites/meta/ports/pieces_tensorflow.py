"""Networks that take a tensor apart, or pad it, in Keras."""

import keras
from keras import layers, ops


def _of(operation):
    given = keras.Input((7, 8))
    x = operation(layers.Dense(8, name="first")(given))
    return keras.Model(given, layers.Dense(3, name="head")(x))


def gate_of_halves():
    def gate(x):
        value, weight = ops.split(x, 2, axis=-1)
        return value * ops.sigmoid(weight)

    return _of(gate)


def gate_in_turns():
    return _of(lambda x: x[..., 0::2] * ops.sigmoid(x[..., 1::2]))


def product_of_halves():
    return _of(lambda x: ops.multiply(*ops.split(x, 2, axis=-1)))


def padded_before():
    return _of(lambda x: ops.pad(x, [[0, 0], [2, 0], [0, 0]]))


def middle():
    return _of(lambda x: x[:, 1:5])
