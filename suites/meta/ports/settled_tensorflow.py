"""Flattened vectors that meet others, kept statistics, and more that could not be told, in Keras and TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def _flat(image):
    return layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))


def flat_residual():
    image = keras.Input((8, 7, 3))
    x = _flat(image)
    return keras.Model(image, layers.Dense(5)(x + layers.Dense(120, activation="relu", name="inner")(x)))


def flat_gate():
    image = keras.Input((8, 7, 3))
    x = layers.Dropout(0.3)(_flat(image))
    gate = layers.Dense(120, activation="sigmoid", name="gate")(layers.Dense(16, activation="relu")(x))
    return keras.Model(image, layers.Dense(5)(layers.Multiply()([x, gate])))


def flat_highway():
    image = keras.Input((8, 7, 3))
    x = _flat(image)
    for _ in range(2):
        gate = layers.Dense(120, activation="sigmoid")(x)
        x = gate * layers.Dense(120, activation="tanh")(x) + (1.0 - gate) * x
    return keras.Model(image, layers.Dense(5)(x))


def flat_blocks():
    image = keras.Input((8, 7, 3))
    x = _flat(image)
    for _ in range(2):
        y = layers.Dense(16, activation="relu")(layers.LayerNormalization(epsilon=1e-5)(x))
        x = layers.Add()([x, layers.BatchNormalization(epsilon=1e-5)(layers.Dense(120)(y))])
    return keras.Model(image, [layers.Dense(5)(x), layers.Dense(2)(layers.Activation("tanh")(x))])


def flat_modulated():
    image, numbers = keras.Input((8, 7, 3)), keras.Input((5,))
    x = layers.BatchNormalization(epsilon=1e-5)(_flat(image)) * layers.Dense(120, name="scale")(numbers)
    x = x + layers.Dense(120, name="shift")(numbers)
    return keras.Model([image, numbers], layers.Dense(4)(layers.LayerNormalization(epsilon=1e-5)(x)))


def _bottleneck(x, norm):
    y = layers.ReLU()(norm("norm1")(layers.Conv2D(4, 1, use_bias=False, name="conv1")(x)))
    y = layers.ReLU()(norm("norm2")(layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv2")(y)))
    y = norm("norm3")(layers.Conv2D(8, 1, use_bias=False, name="conv3")(y))
    return layers.ReLU()(layers.Add()([x, y]))


def _detector(norm):
    image = keras.Input((12, 10, 3))
    x = layers.ReLU()(norm("norm0")(layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv0")(image)))
    return keras.Model(image, layers.Conv2D(3, 1, name="head")(_bottleneck(x, norm)))


def frozen_norms():
    return _detector(lambda name: layers.BatchNormalization(epsilon=1e-5, name=name))


def frozen_norms_usual_eps():
    return _detector(lambda name: layers.BatchNormalization(name=name))


def frozen_norms_without_shift():
    return _detector(lambda name: layers.BatchNormalization(epsilon=1e-5, center=False, name=name))


class FrozenBatchNorm(layers.Layer):
    """Normalises by statistics that nobody trains."""

    def build(self, shape):
        made = {}
        for name, start in (("weight", "ones"), ("bias", "zeros"), ("mean", "zeros"), ("variance", "ones")):
            made[name] = self.add_weight(name=name, shape=(shape[-1],), initializer=start, trainable=False)
        self.held = made

    def call(self, x):
        scale = self.held["weight"] * tf.math.rsqrt(self.held["variance"] + 1e-5)
        shift = self.held["bias"] - self.held["mean"] * scale
        return x * scale + shift


def frozen_norms_by_hand():
    return _detector(lambda name: FrozenBatchNorm(name=name))


def kept_statistics():
    numbers = keras.Input((9,))
    x = layers.BatchNormalization(epsilon=1e-5, name="norm1")(layers.Dense(12, name="first")(numbers))
    x = layers.BatchNormalization(epsilon=1e-5, name="norm2")(layers.Dense(7, activation="tanh", name="second")(x))
    return keras.Model(numbers, layers.Dense(3, name="head")(x))


class Statistics(layers.Layer):
    """A batch normalisation of vectors, written as its formula."""

    def build(self, shape):
        for name, start in (("gamma", "ones"), ("beta", "zeros"), ("mean", "zeros"), ("variance", "ones")):
            trained = name in ("gamma", "beta")
            held = self.add_weight(name=name, shape=(shape[-1],), initializer=start, trainable=trained)
            setattr(self, name, held)

    def call(self, x):
        return self.gamma * (x - self.mean) / tf.sqrt(self.variance + 1e-5) + self.beta


def kept_statistics_by_hand():
    numbers = keras.Input((9,))
    x = Statistics(name="norm1")(layers.Dense(12, name="first")(numbers))
    x = Statistics(name="norm2")(layers.Dense(7, activation="tanh", name="second")(x))
    return keras.Model(numbers, layers.Dense(3, name="head")(x))


BACKWARDS = np.array([103.939, 116.779, 123.68], "float32")  # blue, green, red
MEAN, SPREAD = np.array([0.485, 0.456, 0.406], "float32"), np.array([0.229, 0.224, 0.225], "float32")


def _of_pixels(prepare):
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(prepare(image))
    return keras.Model(image, layers.Conv2D(4, 3, name="conv2")(x))


def colours():
    return _of_pixels(lambda image: image[..., ::-1] - BACKWARDS)


def standard_pixels():
    return _of_pixels(lambda image: (image - MEAN) / SPREAD)


def rescaled_pixels():
    scale, offset = (1 / SPREAD).tolist(), (-MEAN / SPREAD).tolist()
    return _of_pixels(layers.Rescaling(scale, offset, name="prepare"))


def _standardised(x):
    return (x - tf.reduce_mean(x, [1, 2, 3], True)) / (tf.math.reduce_std(x, [1, 2, 3], True) + 1e-5)


def standardised_picture():
    return _of_pixels(layers.Lambda(_standardised, name="standard"))


def standardised_picture_by_tensorflow():
    return _of_pixels(layers.Lambda(tf.image.per_image_standardization, name="standard"))


def pooled_statistics():
    steps = keras.Input((17, 6))
    x = layers.Conv1D(8, 3, name="conv")(steps)
    both = layers.Lambda(lambda t: tf.concat([tf.reduce_mean(t, 1), tf.math.reduce_std(t, 1)], -1), name="pool")(x)
    return keras.Model(steps, layers.Dense(3, name="head")(both))


def _restyled(images):
    (content, style), axes = images, [1, 2]
    mean, variance = tf.nn.moments(content, axes, keepdims=True)
    other_mean, other_variance = tf.nn.moments(style, axes, keepdims=True)
    return (content - mean) / tf.sqrt(variance + 1e-5) * tf.sqrt(other_variance + 1e-5) + other_mean


def restyled():
    images = [keras.Input((12, 10, 4)), keras.Input((12, 10, 4))]
    return keras.Model(images, layers.Conv2D(4, 3, name="conv")(layers.Lambda(_restyled, name="style")(images)))


def positions_added():
    words = keras.Input((9,), dtype="int32")
    places = layers.Embedding(9, 8, name="places")(ops.arange(9)[None])  # a constant, from then on
    x = layers.Add(name="sum")([layers.Embedding(20, 8, name="words")(words), places])
    return keras.Model(words, layers.Dense(3, name="head")(x))


def _waves(count, width):
    places, rates = np.arange(count)[:, None], np.power(10000.0, -np.arange(0, width, 2) / width)
    return np.stack([np.sin(places * rates), np.cos(places * rates)], -1).reshape(count, width).astype("float32")


def waves():
    words = keras.Input((9,), dtype="int32")
    places = layers.Embedding(9, 8, weights=[_waves(9, 8)], trainable=False, name="places")
    x = layers.Embedding(20, 8, name="words")(words) * tf.sqrt(8.0) + places(tf.range(9))
    return keras.Model(words, layers.Dense(3, name="head")(x))


class Waves(keras.Model):
    def __init__(self):
        super().__init__()
        self.words, self.head = layers.Embedding(20, 8), layers.Dense(3)
        self.places = layers.Embedding(9, 8, weights=[_waves(9, 8)], trainable=False)

    def call(self, words):
        return self.head(self.words(words) * tf.sqrt(8.0) + self.places(tf.range(9)))


def waves_in_a_layer():
    return Waves()


def temporal():
    steps = keras.Input((23, 5))
    x = layers.Conv1D(6, 1, name="widen")(steps)
    for rate in (1, 2):
        causal = {"dilation_rate": rate, "padding": "causal", "activation": "relu"}
        y = layers.Conv1D(6, 3, name=f"second{rate}", **causal)(layers.Conv1D(6, 3, name=f"first{rate}", **causal)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(steps, layers.Dense(2, name="head")(x[:, -1]))
