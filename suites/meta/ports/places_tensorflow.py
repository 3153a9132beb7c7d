"""Pictures whose height and width change places, or not, before something reads them place by place."""

import keras
from keras import layers

SIZE = (6, 6, 3)


def _network(given, x):
    return keras.Model(given, layers.Dense(3, name="head")(x))


def _convolved(given, units=4, activation=None):
    return layers.Conv2D(units, 3, padding="same", activation=activation, name="conv")(given)


def _flattened(turned, size):
    given = keras.Input(size)
    x = _convolved(given, activation="relu")
    return _network(given, layers.Flatten()(layers.Permute((2, 1, 3), name="turned")(x) if turned else x))


def flattened():
    return _flattened(False, (5, 6, 3))


def flattened_turned():
    return _flattened(True, (5, 6, 3))


def flattened_square():
    return _flattened(False, SIZE)


def flattened_square_turned():
    return _flattened(True, SIZE)


def convolved():
    given = keras.Input(SIZE)
    x = layers.Conv2D(5, 3, name="second")(_convolved(given, activation="relu"))
    return _network(given, layers.GlobalAveragePooling2D()(x))


def read_by_columns():
    given = keras.Input(SIZE)
    x = layers.Reshape((6, 24))(layers.Permute((2, 1, 3), name="permute")(_convolved(given)))
    return _network(given, layers.LSTM(5, name="rnn")(x))


def attended():
    given = keras.Input(SIZE)
    x = layers.Reshape((36, 8))(_convolved(given, 8))
    return _network(given, layers.Flatten()(layers.MultiHeadAttention(2, 4, name="attention")(x, x)))


def film():
    given = keras.Input((3, 4, 4, 2))
    return _network(given, layers.Flatten()(layers.Conv3D(4, 3, padding="same", name="conv")(given)))


def normalised():
    given = keras.Input(SIZE)
    x = layers.Flatten()(_convolved(given, 8))
    return _network(given, layers.BatchNormalization(epsilon=1e-5, name="norm")(x))


def steps():
    given = keras.Input((5, 6))
    return _network(given, layers.Flatten()(layers.LSTM(4, return_sequences=True, name="rnn")(given)))
