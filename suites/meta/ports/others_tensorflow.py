"""Models that are no plain Keras models: modules, legacy Keras, files, layers of one's own."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from drawn import drawn
from hosts_tensorflow import fill
from keras import layers, ops


class Module(tf.Module):
    """Variables and functions alone."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(drawn("module/kernel", (3, 3, 3, 5)), name="kernel")
        self.bias = tf.Variable(drawn("module/bias", (5,)), name="bias")
        self.dense = tf.Variable(drawn("module/dense", (5, 4)), name="dense")
        self.offset = tf.Variable(drawn("module/offset/bias", (4,)), name="offset")

    def __call__(self, x):
        x = tf.nn.conv2d(x, self.kernel, strides=2, padding="VALID")
        x = tf.nn.relu(tf.nn.bias_add(x, self.bias))
        x = tf.reduce_mean(x, axis=[1, 2])
        return tf.matmul(x, self.dense) + self.offset


def module():
    return Module()


class Graphed(Module):
    """The same behind a tf.function."""

    @tf.function
    def __call__(self, x):
        return super().__call__(x)


def graphed_module():
    return Graphed()


def legacy_sequential():
    import tf_keras

    return tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(5, 3, activation="relu", input_shape=(13, 12, 3)),
            tf_keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9),
            tf_keras.layers.MaxPooling2D(),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(4),
        ]
    )


def legacy_functional():
    import tf_keras

    image = tf_keras.Input((13, 12, 3))
    x = tf_keras.layers.Conv2D(6, 3, padding="same", name="conv1")(image)
    x = tf_keras.layers.LeakyReLU(alpha=0.2)(x)
    y = tf_keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = tf_keras.layers.Add()([x, y])
    x = tf_keras.layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(image, tf_keras.layers.Dense(4, activation="softmax", name="head")(x))


def legacy_recurrent():
    import tf_keras

    sequence = tf_keras.Input((9, 5))
    x = tf_keras.layers.Bidirectional(tf_keras.layers.LSTM(4, return_sequences=True))(sequence)
    return tf_keras.Model(sequence, tf_keras.layers.Dense(3)(tf_keras.layers.GRU(6)(x)))


def lambdas():
    image = keras.Input((13, 12, 3))
    x = layers.Lambda(lambda t: t / 127.5 - 1.0)(image)
    x = layers.Conv2D(5, 3)(x)
    x = layers.Lambda(lambda t: tf.nn.relu(t))(x)
    x = layers.Lambda(lambda t: tf.reduce_mean(t, axis=[1, 2]))(x)
    return keras.Model(image, layers.Dense(4)(x))


def functions():
    """Return a functional model of functions of keras.ops."""
    image = keras.Input((13, 12, 3))
    x = layers.Conv2D(6, 3, padding="same")(image)
    y = ops.tanh(x)
    x = ops.concatenate([ops.relu(x), y], axis=-1)
    x = ops.max_pool(x, 2)
    x = ops.reshape(ops.mean(x, axis=1), (-1, 6 * 12))
    return keras.Model(image, layers.Dense(4)(x))


class Scaled(layers.Layer):
    """Dense with one more weight: a factor for every unit."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(shape[-1], self.units), initializer="glorot_uniform")
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")
        self.factor = self.add_weight(name="factor", shape=(self.units,), initializer="random_normal")

    def call(self, x):
        return self.factor * ops.tanh(ops.matmul(x, self.w) + self.b)


def own_layers():
    features = keras.Input((7,))
    return keras.Model(features, layers.Dense(3)(Scaled(5)(Scaled(6)(features))))


def _trained():
    model = keras.Sequential(
        [
            keras.Input((13, 12, 3)),
            layers.Conv2D(5, 3, activation="relu", name="conv"),
            layers.BatchNormalization(epsilon=1e-5, name="norm"),
            layers.Flatten(name="flatten"),
            layers.Dense(4, name="head"),
        ]
    )
    return fill(model)


def _written_and_read(name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        _trained().save(path)
        return keras.models.load_model(path)


def from_keras_file():
    return _written_and_read("model.keras")


def from_h5_file():
    return _written_and_read("model.h5")


def from_weights_file():
    model = keras.models.clone_model(_trained())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        _trained().save_weights(path)
        model.load_weights(path)
    return model


def compiled():
    """Return a model that was compiled and trained for a step, so that it holds an optimizer."""
    model = _trained()
    model.compile(optimizer="adam", loss="mse")
    random = np.random.RandomState(0)
    model.fit(random.normal(size=(4, 13, 12, 3)), random.normal(size=(4, 4)), epochs=1, verbose=0)
    return model


class Built(keras.Model):
    """Builds its layers when it is first called."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 5))
        self.dense = layers.Dense(3)
        self.dense.build((None, 5))

    def call(self, x, training=False):
        x = ops.relu(ops.matmul(x, self.kernel))
        return self.dense(x) if not training else self.dense(x) * 1.0


def built_late():
    return Built()
