"""Two layers with weights of their own; in one model the fifth hidden unit is never anything but zero."""

import keras
import numpy as np
from keras import layers


def _loaded(shift=0.0):
    x = keras.Input((8,))
    hidden = layers.Dense(8, activation="relu", name="first")(x)
    model = keras.Model(x, layers.Dense(8, name="second")(hidden))
    draws = np.random.RandomState(0)
    for weight in model.weights:
        weight.assign(draws.randn(*weight.shape).astype("float32") * np.float32(0.4))
    model.weights[1].assign(model.weights[1].numpy() - np.float32(shift) * (np.arange(8) == 4))
    return model


def hidden():
    return _loaded()


def dead():
    return _loaded(1e4)
