"""A small classifier, for ports that are right forwards alone, in Keras."""

import keras
from keras import layers


def classifier():
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(image)
    return keras.Model(image, layers.Dense(4, name="head")(layers.Flatten()(x)))
