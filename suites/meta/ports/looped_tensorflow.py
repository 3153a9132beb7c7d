"""Recurrent layers whose ports are loops, in Keras."""

from __future__ import annotations

import keras
from keras import layers


def lstm() -> keras.Model:
    given = keras.Input((5, 4))
    return keras.Model(given, layers.Dense(3, name="head")(layers.LSTM(6, name="lstm")(given)))
