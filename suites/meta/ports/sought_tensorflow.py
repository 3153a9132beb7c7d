"""Models in Keras and TensorFlow whose ports had been told wrongly."""

import keras
import tensorflow as tf
from keras import layers


def _cosine(bias):
    first, second = keras.Input((6,)), keras.Input((6,))
    queries, keys = (layers.Dense(5, use_bias=bias, name=name) for name in ("queries", "keys"))
    return keras.Model([first, second], layers.Dot(1, normalize=True, name="cosine")([queries(first), keys(second)]))


def cosine():
    return _cosine(False)


def cosine_behind_a_bias():
    return _cosine(True)


def _unit(function):
    x = keras.Input((6,))
    y = layers.Lambda(function, name="unit")(layers.Dense(5, use_bias=False, name="inner")(x))
    return keras.Model(x, layers.Dense(3, name="outer")(y))


def above_a_floor():
    return _unit(lambda x: x / tf.maximum(tf.norm(x, axis=-1, keepdims=True), 0.01))


def above_a_root():
    return _unit(lambda x: x / tf.sqrt(tf.reduce_sum(x**2, -1, keepdims=True) + 1e-4))


def with_an_addend():
    return _unit(lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 0.01))


def with_a_small_addend():
    return _unit(lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 1e-8))
