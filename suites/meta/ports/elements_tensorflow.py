"""Weights for each element of an image, patches as numbers in a row, and kernels scaled for each sample, in Keras."""

import keras
import tensorflow as tf
from keras import layers


class Table(layers.Layer):
    """A weight for each element of a sample, which is added, taken from, or multiplied with it."""

    def __init__(self, how="add", **given):
        super().__init__(**given)
        self.how = how

    def build(self, shape):
        self.table = self.add_weight(shape=tuple(shape[1:]), initializer="random_normal", name="table")

    def call(self, x):
        return {"add": x + self.table, "from": self.table - x, "multiply": x * self.table}[self.how]


def _between(layer, shape=(10, 10, 6)):
    x = given = keras.Input(shape)
    x = layer(layers.Conv2D(8, 3, name="before")(x))
    return keras.Model(given, layers.Conv2D(4, 1, name="after")(layers.Activation("tanh", name="act")(x)))


def slopes():
    return _between(layers.PReLU(name="slopes"), (9, 7, 6))


def slopes_of_a_cube():
    return _between(layers.PReLU(name="slopes"))


def norm_of_a_cube():
    return _between(layers.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5, name="norm"))


def added():
    return _between(Table(name="table"))


def taken_from():
    return _between(Table("from", name="table"))


def multiplied():
    return _between(Table("multiply", name="table"))


def convolution(**how):
    x = given = keras.Input((11, 9, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv", **how)(x)
    return keras.Model(given, layers.Conv2D(4, 1, name="head")(x))


class Patches(layers.Layer):
    """A dense layer of the patches around each pixel."""

    def __init__(self, **given):
        super().__init__(**given)
        self.dense = layers.Dense(6, activation="relu", name="dense")

    def call(self, x):
        return self.dense(tf.image.extract_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME"))


def patches():
    x = given = keras.Input((11, 9, 3))
    return keras.Model(given, layers.Conv2D(4, 1, name="head")(Patches(name="patches")(x)))


class Modulated(layers.Layer):
    """StyleGAN2's convolution: the image is scaled before it and behind it, by a style and the kernel's own length."""

    def __init__(self, filters, size=3, **given):
        super().__init__(**given)
        self.filters, self.size = filters, size

    def build(self, shapes):
        channels = shapes[0][-1]
        self.style = layers.Dense(channels, bias_initializer="ones", name="style")
        self.style.build(shapes[1])
        self.kernel = self.add_weight(shape=(self.size, self.size, channels, self.filters), name="kernel")

    def call(self, given):
        x, style = given
        scale = self.style(style)
        y = tf.nn.conv2d(x * scale[:, None, None, :], self.kernel, 1, "SAME")
        if self.size == 1:
            return y
        scaled = self.kernel[None] * scale[:, None, None, :, None]
        return y * tf.math.rsqrt(tf.reduce_sum(tf.square(scaled), [1, 2, 3]) + 1e-8)[:, None, None, :]


class Biased(layers.Layer):
    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), name="bias")

    def call(self, x):
        return tf.nn.leaky_relu(x + self.bias, 0.2)


def generator():
    start, style = keras.Input((4, 4, 8)), keras.Input((8,))
    mapped = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(8, name="map")(style))
    x = Biased(name="bias_0")(Modulated(8, name="conv_0")([start, mapped]))
    image = Modulated(3, 1, name="image_0")([x, mapped])
    x = layers.UpSampling2D(interpolation="bilinear", name="up")(x)
    x = Biased(name="bias_1")(Modulated(8, name="conv_1")([x, mapped]))
    x = Biased(name="bias_2")(Modulated(8, name="conv_2")([x, mapped]))
    image = layers.UpSampling2D(interpolation="bilinear", name="up_image")(image)
    return keras.Model([start, style], image + Modulated(3, 1, name="image_1")([x, mapped]))
