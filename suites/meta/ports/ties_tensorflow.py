"""Maxima over equal numbers, and one attention for all steps, in Keras."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

PLACES = 12


def words():
    ids = keras.Input((20,), dtype="int32")
    x = layers.Embedding(30, 8)(ids)
    found = [layers.GlobalMaxPooling1D()(layers.Conv1D(6, size, activation="relu")(x)) for size in (3, 4)]
    return keras.Model(ids, layers.Dense(2)(layers.concatenate(found)))


def padded():
    x = image = keras.Input((15, 13, 3))
    x = layers.Conv2D(6, 3, activation="relu")(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, 2)(x)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


class Placed(layers.Layer):
    """Adds what is learned for each place, which starts at zero."""

    def build(self, shape):
        self.places = self.add_weight(shape=(PLACES, shape[-1]), initializer="zeros", name="places")

    def call(self, x):
        return x + self.places


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def from_zero():
    ids = keras.Input((PLACES,), dtype="int32")
    tokens, placed, head = layers.Embedding(3, 8), Placed(), layers.Dense(2)
    model = keras.Model(ids, head(layers.GlobalMaxPooling1D()(placed(tokens(ids)))))
    tokens.set_weights([drawn(3, 8)])
    head.set_weights([drawn(8, 2), drawn(2)])
    return model


class Attention(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.asked, self.known, self.score = layers.Dense(units), layers.Dense(units), layers.Dense(1)

    def call(self, state, steps):
        scores = self.score(tf.nn.tanh(self.asked(tf.expand_dims(state, 1)) + self.known(steps)))
        return tf.reduce_sum(tf.nn.softmax(scores, axis=1) * steps, axis=1)


class Reader(keras.Model):
    """Looks at all steps three times, each time from what it saw before."""

    def __init__(self):
        super().__init__()
        self.attention, self.mix, self.head = Attention(5), layers.Dense(4, activation="tanh"), layers.Dense(2)

    def call(self, x):
        state = x[:, 0]
        for _ in range(3):
            state = self.mix(self.attention(state, x))
        return self.head(state)


def reader():
    return Reader()
