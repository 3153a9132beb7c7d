"""What reads flattened images, of a picture or of each frame of a film, other than a dense layer, in Keras."""

import keras
import tensorflow as tf
from keras import layers, ops


def _picture():
    given = keras.Input((6, 5, 2))
    return given, layers.Flatten(name="flatten")(layers.Conv2D(4, 3, activation="relu", name="conv")(given))


def _film():
    given = keras.Input((4, 6, 5, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu", name="conv"))(given)
    return given, layers.TimeDistributed(layers.Flatten())(x)


def _head(given, x):
    return keras.Model(given, layers.Dense(2, name="head")(x))


def group_norm():
    given, x = _picture()
    return _head(given, layers.GroupNormalization(1, epsilon=1e-5, name="norm")(x))


class Centres(layers.Layer):
    """Radial basis functions."""

    def build(self, shape):
        self.centres = self.add_weight(shape=(5, shape[-1]), initializer="uniform", name="centres")

    def call(self, x):
        return tf.exp(-tf.reduce_sum(tf.square(x[:, None, :] - self.centres[None]), -1))


def centres():
    given, x = _picture()
    return _head(given, Centres(name="centres")(x))


class Squares(layers.Layer):
    """The second half of a factorisation machine: squares of both."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), initializer="uniform", name="kernel")

    def call(self, x):
        return tf.matmul(tf.square(x), tf.square(self.kernel))


def squares():
    given, x = _picture()
    return _head(given, Squares(name="squares")(x))


def pooled_by_attention():
    given, x = _film()
    shares = layers.Softmax(1)(layers.Dense(1, name="score")(layers.Dense(6, activation="tanh", name="hidden")(x)))
    return _head(given, ops.sum(shares * x, 1))


def attention():
    given, x = _film()
    return _head(given, layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 24, name="attention")(x, x)))


def attention_added():
    given, x = _film()
    x = x + layers.MultiHeadAttention(2, 24, name="attention")(x, x)
    return _head(given, layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


def dense_added():
    given, x = _film()
    return _head(given, layers.GRU(4, name="gru")(x + layers.Dense(48, activation="tanh", name="dense")(x)))


def convolved():
    given, x = _film()
    return _head(given, layers.GlobalAveragePooling1D()(layers.Conv1D(5, 2, activation="relu", name="over")(x)))


def normalised():
    given, x = _film()
    return _head(given, layers.SimpleRNN(3, name="rnn")(layers.BatchNormalization(epsilon=1e-5, name="norm")(x)))


def _shuffled(layer, shuffle=True):
    given = keras.Input((4, 6))
    x = layers.Dense(8, name="first")(given)
    if shuffle:
        x = ops.reshape(x, (-1, 4, 2, 4))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2)), (-1, 4, 8))
    return _head(given, layer(x))


def shuffled_convolved():
    return _shuffled(layers.Conv1D(3, 2, name="over"))


def shuffled_attention():
    return _shuffled(lambda x: layers.MultiHeadAttention(2, 4, name="over")(x, x))


def shuffled_dense():
    return _shuffled(layers.Dense(3, name="over"))


def dense_without_a_shuffle():
    return _shuffled(layers.Dense(3, name="over"), shuffle=False)
