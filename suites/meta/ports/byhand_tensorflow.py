"""Sums in an order of their own, and normalisations that are written out step by step, in Keras and TensorFlow."""

import keras
import tensorflow as tf
from keras import layers, ops


def sum_of_three():
    words, places, kinds = (keras.Input((9,), dtype="int32") for _ in range(3))
    x, y, z = (layers.Embedding(n, 16)(ids) for n, ids in ((40, words), (12, places), (2, kinds)))
    return keras.Model([words, places, kinds], layers.Dense(4)((x + y) + z))


def three_branches():
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(6, 3, padding="same")(image)
    branches = [layers.Conv2D(6, size, padding="same")(x) for size in (1, 3, 5)]
    return keras.Model(image, layers.Conv2D(2, 1)(layers.Add(name="sum")(branches)))


def _between_convolutions(make, padding="same"):
    image = keras.Input((10, 8, 3))
    x = make(1)(layers.Conv2D(6, 3, padding=padding)(image))
    x = make(2)(layers.Conv2D(6, 3, padding=padding)(layers.ReLU()(x)))
    return keras.Model(image, layers.Conv2D(2, 1)(x))


def layer_norms():
    return _between_convolutions(lambda n: layers.LayerNormalization(epsilon=1e-6, name=f"norm{n}"))


class Affine(layers.Layer):
    """A scale and an offset for each channel."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
        self.offset = self.add_weight(name="offset", shape=(shape[-1],), initializer="zeros")


class InstanceNorm(Affine):
    def call(self, x):
        mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
        return self.scale * (x - mean) * tf.math.rsqrt(variance + 1e-5) + self.offset


def instance_norms():
    return _between_convolutions(lambda n: InstanceNorm(name=f"norm{n}"))


class GroupNorm(Affine):
    def call(self, x):
        _, height, width, channels = x.shape
        groups = tf.reshape(x, (-1, height, width, 3, channels // 3))
        mean, variance = tf.nn.moments(groups, [1, 2, 4], keepdims=True)
        x = tf.reshape((groups - mean) / tf.sqrt(variance + 1e-5), (-1, height, width, channels))
        return x * self.scale + self.offset


def group_norms():
    return _between_convolutions(lambda n: GroupNorm(name=f"norm{n}"))


def group_norm_layers():
    return _between_convolutions(lambda n: layers.GroupNormalization(3, epsilon=1e-5, name=f"norm{n}"))


class ChannelNorm(Affine):
    """Layer normalisation with TensorFlow's own functions."""

    def call(self, x):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, 1e-5)


def channel_norms():
    return _between_convolutions(lambda n: ChannelNorm(name=f"norm{n}"))


class BatchNorm(Affine):
    """Always with the statistics of the batch."""

    def call(self, x):
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, 1e-5)


def batch_norms():
    return _between_convolutions(lambda n: BatchNorm(name=f"norm{n}"))


def _of_sequence(norm):
    sequence = keras.Input((7, 12))
    return keras.Model(sequence, layers.Dense(3)(norm(layers.Dense(12)(sequence))))


class SequenceNorm(Affine):
    def call(self, x):
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        return centred / ops.sqrt(variance + 1e-5) * self.scale + self.offset


def sequence_norm():
    return _of_sequence(SequenceNorm(name="norm"))


class RootMeanSquare(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * tf.math.rsqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + 1e-6) * self.scale


def root_mean_square():
    return _of_sequence(RootMeanSquare(name="norm"))


def root_mean_square_layer():
    return _of_sequence(layers.RMSNormalization(epsilon=1e-6, name="norm"))


class Patches(layers.Layer):
    def __init__(self, size, stride, **kwargs):
        super().__init__(**kwargs)
        self.size, self.stride = size, stride

    def call(self, x):
        steps = [1, self.stride, self.stride, 1]
        x = tf.image.extract_patches(x, [1, self.size, self.size, 1], steps, [1, 1, 1, 1], "VALID")
        return tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


def _of_patches(size, stride):
    image = keras.Input((12, 16, 3))
    return keras.Model(image, layers.Dense(5)(layers.Dense(8, name="project")(Patches(size, stride)(image))))


def patches():
    return _of_patches(4, 4)


def overlapping_patches():
    return _of_patches(4, 3)
