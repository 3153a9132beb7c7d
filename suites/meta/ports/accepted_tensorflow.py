"""Models of an examiner: one layer or two each, for ports that spell them in their own way."""

import keras
from keras import layers


def leaky():
    return keras.Sequential([keras.Input((9,)), layers.Dense(7), layers.LeakyReLU(name="leaky"), layers.Dense(2)])


def each_step():
    words = keras.Input((6, 5))
    tags = layers.Dense(4, activation="softmax", name="tag")
    return keras.Model(words, layers.TimeDistributed(tags, name="tags")(words))


def both_ways():
    words = keras.Input((7, 5))
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True, name="gru"), name="both")(words)
    return keras.Model(words, x)
