"""Layers that train, computed weights and merged directions, in Keras and TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from drawn import drawn
from keras import layers


def normed():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm")(x))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def normed_away():
    """Return convolutions whose biases the norms behind them take away again: they have no gradient but rounding."""
    image = keras.Input((12, 10, 3))
    x = layers.BatchNormalization(name="norm1")(layers.Conv2D(6, 3, name="conv1")(image))
    x = shortcut = layers.ReLU()(x)
    x = layers.BatchNormalization(name="norm2")(layers.Conv2D(6, 3, padding="same", name="conv2")(x))
    x = layers.ReLU()(layers.Add()([x, shortcut]))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def _drawn(model):
    """Give a model weights that its port can draw, too."""
    rng = np.random.default_rng(7)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([rng.normal(0.0, 0.3, w.shape).astype(np.float32) for w in layer.weights])
    return model


def _filters(wrapped):
    image = keras.Input((12, 10, 3))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(8, 3, name="first")(image))
    x = layers.LeakyReLU(0.2)(wrapped(layers.Conv2D(8, 3, name="second"))(x))
    return keras.Model(image, layers.Dense(1, name="last")(layers.GlobalAveragePooling2D()(x)))


def filters():
    return _drawn(_filters(lambda layer: layer))


def normalised_filters():
    return _filters(layers.SpectralNormalization)


def both_ways():
    sequence = keras.Input((8, 5))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), merge_mode="sum", name="first")(sequence)
    x = layers.Dense(5, activation="relu", name="inner")(x)
    x = layers.Bidirectional(layers.GRU(4), merge_mode="ave", name="second")(x)
    return keras.Model(sequence, layers.Dense(2)(layers.BatchNormalization(name="norm")(x)))


def both_ways_multiplied():
    sequence = keras.Input((8, 5))
    x = layers.Dense(5, activation="relu", name="inner")(sequence)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), merge_mode="mul", name="first")(x)
    return keras.Model(sequence, layers.Dense(2)(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


def both_ways_time_first():
    sequence = keras.Input((8, 5))
    x = layers.Bidirectional(layers.SimpleRNN(6, return_sequences=True), merge_mode="mul", name="first")(sequence)
    return keras.Model(sequence, layers.Dense(2)(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


def backwards():
    sequence = keras.Input((8, 5))
    x = layers.Dense(5, activation="relu", name="inner")(sequence)
    x = layers.GRU(6, return_sequences=True, go_backwards=True, name="first")(x)
    return keras.Model(sequence, layers.Dense(2)(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


def _standardised(function):
    image = keras.Input((9, 7, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    return keras.Model(image, layers.Conv2D(4, 3)(layers.Lambda(function, output_shape=(7, 5, 6), name="norm")(x)))


def centred_first():
    def standard(x):
        x = x - tf.reduce_mean(x, (1, 2), keepdims=True)
        return x / tf.sqrt(tf.math.reduce_variance(x, (1, 2), keepdims=True) + 1e-5)

    return _standardised(standard)


def centred_apart():
    def standard(x):
        mean = tf.reduce_mean(x, (1, 2), keepdims=True)
        return (x - mean) / tf.sqrt(tf.math.reduce_variance(x, (1, 2), keepdims=True) + 1e-5)

    return _standardised(standard)


def legacy_elsewhere():
    """Return a model of another module's, whose function is the first to import the older Keras."""
    from further_tensorflow import legacy_norms

    return legacy_norms()


def oblong():
    image = keras.Input((13, 11, 3))
    x = layers.Conv2D(6, (5, 3), strides=(2, 1), padding="same", activation="relu", name="tall")(image)
    return keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))


def beside():
    """Return two convolutions of one shape side by side."""
    image = keras.Input((9, 8, 3))
    x = layers.Concatenate(name="both")([layers.Conv2D(4, 3, name=name)(image) for name in ("one", "other")])
    model = keras.Model(image, layers.GlobalMaxPooling2D()(layers.ReLU()(x)))
    for name in ("one", "other"):
        model.get_layer(name).set_weights([drawn(f"{name}/kernel", (3, 3, 3, 4)), drawn(f"{name}/bias", (4,))])
    return model


def capsules():
    """Return capsules of four numbers each, whose length is taken three times."""

    def squash(t):
        shares = tf.reduce_sum(t**2, -1) / (1.0 + tf.reduce_sum(t**2, -1))
        return shares / tf.sqrt(tf.reduce_sum(t**2, -1) + 1e-7)

    image = keras.Input((8, 7, 3))
    x = layers.Reshape((-1, 4), name="capsules")(layers.Conv2D(8, 3, name="conv")(image))
    return keras.Model(image, layers.Dense(2)(layers.Lambda(squash, name="squash")(x)))


class Penalised(keras.Model):
    """Returns what its activations cost beside its answer: one number for the whole batch."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = layers.Dense(4, name="hidden"), layers.Dense(3, name="head")

    def call(self, x):
        x = self.hidden(x)
        return self.head(tf.tanh(x)), 0.5 * tf.reduce_sum(tf.square(x)) / 7.0


def penalised():
    return Penalised()
