"""Encoders whose flattened image or sequence is repeated for each step of a decoder, in Keras."""

import keras
from keras import layers


def _decoder(given, x, layer, steps=6, beside=None):
    x = layers.RepeatVector(steps, name="repeat")(layers.Flatten(name="flatten")(x))
    if beside is not None:
        x = layers.Concatenate(name="beside")([x, beside])
    return keras.Model(given, layers.Dense(2, name="head")(layer(x)))


def _series():
    given = keras.Input((9, 3))
    return given, layers.Conv1D(5, 2, activation="relu", name="conv")(given)


def lstm():
    return _decoder(*_series(), layers.LSTM(4, return_sequences=True, name="decoder"))


def gru():
    return _decoder(*_series(), layers.GRU(4, return_sequences=True, name="decoder"))


def dense():
    return _decoder(*_series(), layers.Dense(4, activation="tanh", name="decoder"))


def image():
    given = keras.Input((7, 6, 2))
    x = layers.MaxPooling2D(2, name="pool")(layers.Conv2D(5, 3, activation="relu", name="conv")(given))
    return _decoder(given, x, layers.LSTM(4, return_sequences=True, name="decoder"))


def joined():
    given, x = _series()
    beside = keras.Input((6, 7))
    return _decoder([given, beside], x, layers.LSTM(4, name="decoder"), beside=beside)
