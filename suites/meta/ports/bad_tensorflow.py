"""Builders that go wrong, in Keras; `good` is the one that does not."""

import os
import signal
import sys
import time

import keras
import tensorflow as tf
from keras import layers


def good():
    return keras.Sequential(
        [
            keras.Input((9, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.Flatten(name="flatten"),
            layers.Dense(3, name="dense"),
        ]
    )


def raises():
    return keras.Sequential([keras.Input((9, 8, 3)), layers.Dense(3, units_of="length")])


def raises_own():
    raise RuntimeError("the checkpoint of epoch 12\nis not where it was")


def needs_arguments(width, depth=2):
    return keras.Sequential([keras.Input((9, 8, 3)), layers.Dense(width * depth)])


def returns_nothing():
    good()


def returns_number():
    return 7


def returns_list():
    return [good(), good()]


def returns_dict():
    return {"model": good()}


def returns_class():
    return keras.Model


not_a_function = 3


def exits():
    sys.exit("I do not like this machine")


def exits_well():
    sys.exit(0)


def hangs():
    time.sleep(3600)


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def talks():
    """Return the good network, after a great deal of printing to both streams, also past Python's own."""
    for line in range(20_000):
        print("loading shard", line)
        print("warning", line, file=sys.stderr)
    os.write(1, b"written to the file descriptor\n" * 1000)
    return good()


def volumes():
    """Return a network with a pooling that has no float64 kernel."""
    volume = keras.Input((6, 7, 8, 2))
    x = layers.Conv3D(3, 2, name="conv")(volume)
    x = layers.MaxPooling3D(2, name="pool")(x)
    return keras.Model(volume, layers.Dense(3, name="head")(layers.GlobalAveragePooling3D()(x)))


class Counting(keras.Model):
    """Changes a weight whenever it is called."""

    def __init__(self):
        super().__init__()
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)
        self.dense = layers.Dense(3)

    def call(self, x):
        self.calls.assign_add(1.0)
        return self.dense(x) + self.calls


def counting():
    return Counting()


class Remembering(keras.Model):
    """Counts its calls where nobody can see it."""

    def __init__(self):
        super().__init__()
        self.dense, self.calls = layers.Dense(3), 0

    def call(self, x):
        self.calls += 1
        return self.dense(x) * float(self.calls)


def remembering():
    return Remembering()


class Unhooked(layers.Dense):
    """Overrides what hooks would go by."""

    def __call__(self, x):
        if not self.built:
            self.build(x.shape)
        return self.call(x)


class WithUnhooked(keras.Model):
    """Holds such a layer."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4, activation="relu")
        self.second = Unhooked(3)

    def call(self, x):
        return self.second(self.first(x))


def unhooked():
    return WithUnhooked()


def two_dense():
    return keras.Sequential([keras.Input((8,)), layers.Dense(4, activation="relu"), layers.Dense(3)])


def one_dense():
    return keras.Sequential([keras.Input((8,)), layers.Dense(3)])


def scaled_dense():
    """Return a Dense layer whose output is 1 larger than it should be."""
    features = keras.Input((8,))
    return keras.Model(features, layers.Dense(3)(features) + 1.0)


def not_finite():
    """Return the logarithm of numbers that may be negative."""
    features = keras.Input((8,))
    return keras.Model(features, layers.Lambda(lambda t: tf.math.log(t))(layers.Dense(3)(features)))


def two_outputs():
    features = keras.Input((8,))
    return keras.Model(features, [layers.Dense(3)(features), layers.Dense(2)(features)])


class Empty(tf.Module):
    """A module that cannot be called."""


def no_call():
    return Empty()


class Drawing(keras.Model):
    """Adds other noise at every call."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x) + keras.random.normal((3,))


def drawing():
    return Drawing()


class Thin(tf.Module):
    """Returns tensors that are no arrays: what is not zero alone, or rows of several lengths."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def __call__(self, x):
        return self.made(x)


def thin():
    return Thin(tf.sparse.from_dense)


def ragged():
    return Thin(tf.RaggedTensor.from_tensor)


def in_bfloat16():
    """Return a network of layers that compute in bfloat16."""
    return keras.Sequential([keras.Input((8,)), layers.Dense(3, dtype="mixed_bfloat16")])


def not_eager():
    """Switch to what TensorFlow 1 did."""
    tf.compat.v1.disable_eager_execution()
    return one_dense()


class Leaving(keras.Model):
    """Ends the program as it runs."""

    def call(self, x):
        sys.exit(len(x) - 3)


def leaving():
    return Leaving()


def of_keras_2():
    """Return what `tf.keras` understood when it was Keras 2."""
    return tf.keras.Sequential([tf.keras.layers.Dense(3, weights=None, input_shape=(8,))])


def strided():
    image = keras.Input((20, 18, 1))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="second")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(image, keras.layers.Dense(3, name="head")(x))


class StopsMidway(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = keras.layers.Dense(6, name="first"), keras.layers.Dense(3, name="second")
        self.head = keras.layers.Dense(2, name="head")

    def call(self, x):
        x = self.second(keras.ops.gelu(self.first(x)))
        return self.head(keras.ops.matmul(x, keras.ops.ones((7, 7))))


def stops_midway():
    return StopsMidway()
