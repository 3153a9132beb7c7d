"""Models of an examiner: one layer or two each, for ports that spell them in their own way."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def leaky():
    return keras.Sequential([keras.Input((9,)), layers.Dense(7), layers.LeakyReLU(name="leaky"), layers.Dense(2)])


def elu():
    return keras.Sequential([keras.Input((9,)), layers.Dense(7, activation="elu", name="elu"), layers.Dense(2)])


def each_step():
    words = keras.Input((6, 5))
    tags = layers.Dense(4, activation="softmax", name="tag")
    return keras.Model(words, layers.TimeDistributed(tags, name="tags")(words))


def both_ways():
    words = keras.Input((7, 5))
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True, name="gru"), name="both")(words)
    return keras.Model(words, x)


def square():
    return keras.Sequential([keras.Input((6,)), layers.Dense(6, name="square"), layers.Dense(2, name="head")])


def multiplied():
    image = keras.Input((9, 7, 3))
    return keras.Model(image, layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(image))


def heads():
    words = keras.Input((6, 8))
    return keras.Model(words, layers.MultiHeadAttention(2, 4, name="attention")(words, words))


class BentTwice(tf.Module):
    """Two products of one size, of which only the first has a bias of its own."""

    def __init__(self):
        super().__init__()
        draw = tf.random.Generator.from_seed(4)
        self.kernels = [tf.Variable(draw.normal(shape)) for shape in ((7, 9), (9, 9), (9, 9), (9, 3))]
        self.biases = [tf.Variable(draw.normal((size,))) for size in (9, 9, 9, 3)]
        self.scale, self.shift = tf.Variable(draw.normal((9,))), tf.Variable(draw.normal((9,)))

    def __call__(self, x):
        x = tf.nn.gelu(x @ self.kernels[0] + self.biases[0])
        bent = tf.nn.leaky_relu(x @ self.kernels[1] + self.biases[1])
        mean, variance = tf.nn.moments(bent, [-1], keepdims=True)
        bent = tf.nn.batch_normalization(bent, mean, variance, self.shift, self.scale, 1e-3)
        x = x + 0.5 * (bent @ self.kernels[2]) + self.biases[2]
        return tf.nn.softmax(x @ self.kernels[3] + self.biases[3])


bent_twice = BentTwice


def numbers(*shape):
    return np.random.RandomState(sum(shape)).normal(size=shape).astype("float32")


def gated():
    words = keras.Input((5, 3))
    layer = layers.GRU(4, return_sequences=True, name="gru")
    model = keras.Model(words, layer(words))
    layer.set_weights([numbers(3, 12), numbers(4, 12), numbers(2, 12)])
    return model


def turned():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(5, name="turned")])
    model.set_weights([numbers(5, 5), numbers(5)])
    return model


def normed():
    return keras.Sequential([keras.Input((6, 5)), layers.LayerNormalization(name="norm"), layers.Dense(2, name="head")])


def tokens():
    """Return a network that makes tokens of an image, mixes them, and makes an image of them again."""
    image = keras.Input((16, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="patches")(image)
    x = layers.Reshape((-1, 8), name="tokens")(x)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = x + layers.Dense(8, activation="relu", name="mix")(y)
    x = layers.Reshape((7, 5, 8), name="image")(x)
    x = x + layers.Conv2D(8, 3, padding="same", name="conv")(layers.BatchNormalization(epsilon=1e-5, name="batch")(x))
    return keras.Model(image, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))


def mixed():
    words = keras.Input((6, 8))
    x = layers.Dense(12, activation=keras.activations.gelu, name="wide")(words)
    return keras.Model(words, layers.Dense(8, name="narrow")(layers.Dropout(0.1)(x)))


def largest():
    x = keras.Input((8, 6, 3))
    scores = keras.layers.Conv2D(4, 3, name="scores")(x)
    return keras.Model(x, keras.ops.argmax(scores, axis=-1))


def columns():
    x = keras.Input((9,))
    wide = keras.layers.Dense(7, activation="relu", name="wide")(x)
    return keras.Model(x, keras.layers.Dense(5, name="narrow")(wide))


def doubled():
    x = keras.Input((8, 6, 3))
    first = keras.layers.Conv2D(5, 3, activation="relu", name="first")(x)
    second = keras.layers.Conv2D(4, 3, use_bias=False, name="second")(first)
    return keras.Model(x, keras.layers.GlobalAveragePooling2D()(second))


def each_normed():
    x = keras.Input((8, 6, 3))
    normed = keras.layers.GroupNormalization(groups=5, epsilon=1e-5, name="each")(
        keras.layers.Conv2D(5, 3, name="conv")(x)
    )
    return keras.Model(x, keras.layers.Conv2D(2, 1, name="last")(normed))


class Pictures(tf.Module):
    """Takes pictures as they come, and makes them grey and even itself."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.Generator.from_seed(1).normal((3, 3, 1, 4)), name="kernel")

    def __call__(self, x):
        even = tf.image.per_image_standardization(tf.image.rgb_to_grayscale(x))
        return tf.nn.conv2d(even, self.kernel, 1, "VALID")


pictures = Pictures


class InPowers(keras.layers.Layer):
    def call(self, x):
        return keras.ops.exp2(x)


def powers():
    x = keras.Input((9,))
    return keras.Model(x, InPowers()(keras.layers.Dense(5, name="scores")(x)))


def stepped():
    words = keras.Input((5, 3))
    layer = layers.LSTM(4, name="lstm")
    model = keras.Model(words, layer(words))
    layer.set_weights([numbers(3, 16), numbers(4, 16), numbers(16)])
    return model


def opened():
    words = keras.Input((5, 3))
    return keras.Model(words, layers.GRU(4, name="gru")(words))


class Apart(tf.Module):
    """Every channel by itself, with what TensorFlow's function takes for granted."""

    def __init__(self):
        super().__init__()
        draw = tf.random.Generator.from_seed(1).normal
        self.kernel = tf.Variable(draw((3, 3, 4, 1)), name="kernel")

    def __call__(self, x):
        return keras.ops.celu(tf.nn.depthwise_conv2d(x, self.kernel, [1, 1, 1, 1], "VALID"), 0.7)


apart = Apart


class Placed(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), name="table")

    def call(self, x):
        return x + self.table


def placed():
    x = keras.Input((8, 6, 3))
    return keras.Model(x, layers.Conv2D(2, 3, name="last")(Placed(name="placed")(layers.Conv2D(4, 3, name="first")(x))))


def frozen():
    x = keras.Input((8, 6, 3))
    normed = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="first")(x))
    return keras.Model(x, layers.Conv2D(2, 3, name="last")(layers.ReLU()(normed)))


class Tokens(keras.layers.Layer):
    """Keeps a token for what is masked in training, of which a prediction reads nothing."""

    def build(self, input_shape):
        self.mask_token = self.add_weight(shape=(1, 1, input_shape[-1]), name="mask_token")
        self.class_token = self.add_weight(shape=(1, 1, input_shape[-1]), name="class_token")

    def call(self, x):
        return x + self.class_token


def spare():
    tokens = keras.Input((7, 8))
    return keras.Model(tokens, keras.layers.Dense(3, name="head")(Tokens(name="tokens")(tokens)))
