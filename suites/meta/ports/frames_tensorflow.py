"""A small network of each frame, flattened, and a head of all of them, in Keras."""

import keras
from keras import layers


def flattened():
    given = keras.Input((3, 4, 6, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, padding="same"), name="convs")(given)
    x = layers.TimeDistributed(layers.Flatten(), name="flat")(x)
    x = layers.TimeDistributed(layers.Dense(5), name="features")(x)
    return keras.Model(given, layers.Dense(2, name="head")(layers.Flatten()(x)))
