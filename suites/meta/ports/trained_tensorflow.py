"""Small networks whose forward passes agree with their ports', which train otherwise, in Keras."""

import keras
import tensorflow as tf
from keras import layers


def along_time():
    """Return a normalisation of each step of a sequence, not of each channel."""
    x = inputs = keras.Input((6, 4))
    x = layers.Conv1D(5, 3, name="conv")(x)
    x = layers.BatchNormalization(axis=1, momentum=0.9, epsilon=1e-5, name="norm")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


def normalised():
    x = inputs = keras.Input((8, 9, 3))
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm")(layers.Conv2D(6, 3, name="conv")(x))
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def both_ways():
    x = inputs = keras.Input((7, 5))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="lstm")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


def averaged_words():
    x = inputs = keras.Input((9,), dtype="int32")
    x = layers.Embedding(10, 5, name="words")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


def dense(stop=False, trainable=True):
    x = inputs = keras.Input((7,))
    x = layers.Dense(8, activation="tanh", name="first", trainable=trainable)(x)
    if stop:
        x = layers.Lambda(tf.stop_gradient)(x)
    x = layers.Dense(6, activation="tanh", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def dense_stopped():
    return dense(stop=True)


def dense_frozen():
    return dense(trainable=False)
