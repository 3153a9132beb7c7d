"""A hidden layer with dropout, or noise, behind it."""

import keras
from keras import layers


def _behind(dropping):
    x = keras.Input((8,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(x)
    return keras.Model(x, layers.Dense(3, name="head")(dropping(hidden)))


def dense():
    return _behind(layers.Dropout(0.3, name="dropout"))


def noisy():
    return _behind(layers.GaussianNoise(0.5, name="gaussian_noise"))


def attention():
    x = keras.Input((6, 8))
    return keras.Model(x, layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(x, x))
