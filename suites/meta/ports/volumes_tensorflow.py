"""Small models of sequences and volumes, as people write them in Keras."""

from __future__ import annotations

import keras
from keras import layers


def scores() -> keras.Model:
    """Return a volume's classes at each place, as shares."""
    image = keras.Input((3, 4, 5, 2))
    x = layers.Conv3D(4, 3, padding="same", activation="relu", name="inner")(image)
    return keras.Model(image, layers.Conv3D(3, 1, activation="softmax", name="head")(x))


def rooted() -> keras.Model:
    """Return a sequence that is scaled to a root mean square of one at each step."""
    steps = keras.Input((7, 5))
    x = layers.Dense(6, activation="tanh", name="inner")(steps)
    x = layers.RMSNormalization(name="rms")(x)
    return keras.Model(steps, layers.Dense(3, name="head")(x))


def whole() -> keras.Model:
    """Return a sequence that is normalised as a whole, with weights for each of its numbers."""
    steps = keras.Input((7, 5))
    x = layers.Dense(6, activation="tanh", name="inner")(steps)
    x = layers.LayerNormalization(axis=[1, 2], epsilon=1e-5, name="norm")(x)
    return keras.Model(steps, layers.Dense(3, name="head")(x))


def shortened() -> keras.Model:
    """Return a sequence that is convolved without padding, then pooled with it."""
    steps = keras.Input((14, 3))
    x = layers.Conv1D(6, 4, activation="tanh", name="conv")(steps)
    x = layers.MaxPooling1D(3, 2, padding="same", name="pool")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(steps, layers.Dense(4, name="head")(x))


def handed() -> keras.Model:
    """Return a sequence that is read on from what another one left."""
    source, target = keras.Input((6, 3)), keras.Input((5, 2))
    _, h, c = layers.LSTM(7, return_state=True, name="reader")(source)
    y = layers.LSTM(7, return_sequences=True, name="writer")(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(4, name="head")(y))


def attended() -> keras.Model:
    """Return a sequence that attends to itself."""
    steps = keras.Input((7, 12))
    y = layers.MultiHeadAttention(3, 4, name="attention")(steps, steps)
    return keras.Model(steps, layers.Dense(3, name="head")(layers.Add(name="sum")([steps, y])))


def unscaled() -> keras.Model:
    """Return queries beside what they find, in products that nothing scales."""
    queries, values = keras.Input((5, 6)), keras.Input((7, 6))
    found = layers.Attention(name="attention")([layers.Dense(6, name="q")(queries), layers.Dense(6, name="v")(values)])
    return keras.Model(
        [queries, values], layers.Dense(2, name="head")(layers.Concatenate(name="both")([found, queries]))
    )


def both_ways() -> keras.Model:
    """Return what two directions read, their mean at each step and the product of what they end with."""
    steps = keras.Input((6, 3))
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="ave", name="each")(steps)
    x = layers.Bidirectional(layers.SimpleRNN(4), merge_mode="mul", name="ends")(x)
    return keras.Model(steps, layers.Dense(2, name="head")(x))


def pooled() -> keras.Model:
    """Return the mean of all tokens behind a norm."""
    tokens = keras.Input((7, 6))
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(layers.Dense(6, name="inner")(tokens))
    return keras.Model(tokens, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D(name="mean")(x)))


def rows() -> keras.Model:
    """Return what a convolutional LSTM makes of rows of places, one after another."""
    frames = keras.Input((4, 9, 2))
    x = layers.ConvLSTM1D(4, 3, padding="same", name="rows")(frames)
    return keras.Model(frames, layers.Dense(2, name="head")(layers.Flatten(name="flat")(x)))
