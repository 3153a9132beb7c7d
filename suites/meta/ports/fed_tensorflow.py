"""Layers that are the same in the port, and read something else there."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers


def mean_and_spread() -> keras.Model:
    given = keras.Input((9,))
    x = layers.Dense(7, activation="relu", name="hidden")(given)
    mean, spread = layers.Dense(3, name="mean")(x), layers.Dense(3, name="spread")(x)
    return keras.Model(given, [layers.Dense(9, name="decoded")(mean), spread])


class Crossed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = layers.Dense(1), layers.Dense(1), layers.Dense(2)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        crossed = x * self.first(x) + x
        crossed = x * self.second(crossed) + crossed
        return self.head(crossed)


def crossed() -> keras.Model:
    return Crossed()


def latents() -> keras.Model:
    queries, context = keras.Input((5, 12)), keras.Input((9, 12))
    normed = layers.LayerNormalization(epsilon=1e-5, name="normed")(context)
    attended = layers.MultiHeadAttention(2, 6, name="attention")(queries, normed)
    return keras.Model([queries, context], layers.Dense(4, name="head")(queries + attended))


def two_texts() -> keras.Model:
    title, body = keras.Input((6,), dtype="int32"), keras.Input((9,), dtype="int32")
    both = [
        layers.GlobalMaxPooling1D(name=f"most_{name}")(layers.Embedding(20, 5, name=name)(ids))
        for name, ids in (("title", title), ("body", body))
    ]
    return keras.Model([title, body], layers.Dense(3, name="head")(layers.Concatenate()(both)))


def stars() -> keras.Model:
    given = keras.Input((9,))
    x = layers.Dense(1, activation="sigmoid", name="liked")(given)
    return keras.Model(given, x * 4.5 + 0.5)
