"""The same arithmetic as it is written by different people, in Keras and TensorFlow; some of it behind a fault."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class PixelNorm(layers.Layer):
    """Scales every pixel to a mean square of one."""

    def call(self, x):
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-8)


def pixel_norms():
    image = keras.Input((12, 10, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same")(image))
    x = layers.Conv2D(8, 3, padding="same")(layers.LeakyReLU(negative_slope=0.2)(PixelNorm()(x)))
    return keras.Model(image, layers.Conv2D(3, 1)(PixelNorm()(x)))


class Pixels(tf.Module):
    """Reads colours backwards and takes their means away."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal((3, 3, 3, 8), stddev=0.1))

    def __call__(self, x):
        x = (x[..., ::-1] - tf.constant((104.0, 117.0, 124.0))) / 64.0
        return tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME"))


def pixels():
    return Pixels()


class Picture(keras.Model):
    """Ends in colours from 0 to 255."""

    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(6, 3, padding="same", name="first")
        self.norm = layers.BatchNormalization(name="norm")
        self.last = layers.Conv2D(3, 3, padding="same", name="last")

    def call(self, x):
        x = self.last(tf.nn.relu(self.norm(self.first(x))))
        return (tf.tanh(x) + 1) / 2 * 255.0


def picture():
    return Picture()


class Places(layers.Layer):
    """Returns where each channel has its mass, in flat tables of places."""

    def call(self, x):
        height, width, channels = x.shape[1:]
        share = tf.nn.softmax(tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, channels, height * width)))
        rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        tables = [table.ravel().astype("float32") for table in (columns, rows)]
        return tf.concat([tf.reduce_sum(share * table, -1) for table in tables], -1)


def places_of_mass():
    image = keras.Input((9, 7, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same")(image))
    return keras.Model(image, layers.Dense(4)(Places()(x)))


def causal():
    sequence = keras.Input((23, 5))
    x = layers.Conv1D(8, 3, padding="causal", activation="relu", name="conv1")(sequence)
    x = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu", name="conv2")(x)
    return keras.Model(sequence, layers.Dense(4)(x[:, -1]))


class Blur(layers.Layer):
    """Smooths every channel by a fixed kernel before it takes every second pixel."""

    def call(self, x):
        kernel = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0])[:, :, None, None] / 16
        return tf.nn.depthwise_conv2d(x, tf.constant(np.tile(kernel, (1, 1, 6, 1)), x.dtype), [1, 2, 2, 1], "VALID")


def blurred():
    image = keras.Input((13, 11, 3))
    return keras.Model(image, layers.Conv2D(4, 1)(Blur(name="blur")(layers.Conv2D(6, 3)(image))))


def _unpool(x, places, size):
    """Put numbers back where they were the largest; places count channels last."""
    count = tf.shape(x)[0]
    places = tf.reshape(places, (count, -1)) + tf.range(count, dtype=places.dtype)[:, None] * size
    whole = tf.reshape(tf.cast(count, places.dtype) * size, (1,))
    made = tf.scatter_nd(tf.reshape(places, (-1, 1)), tf.reshape(x, (-1,)), whole)
    return tf.reshape(made, (count, size))


class Unpooled(keras.Model):
    def __init__(self):
        super().__init__()
        self.down, self.middle = layers.Conv2D(6, 3, padding="same"), layers.Conv2D(6, 3, padding="same", name="middle")
        self.up = layers.Conv2D(4, 3, padding="same")

    def call(self, x):
        x = tf.nn.relu(self.down(x))
        size = x.shape[1:]
        x, places = tf.nn.max_pool_with_argmax(x, 2, 2, "VALID")
        x = _unpool(self.middle(x), places, size[0] * size[1] * size[2])
        return self.up(tf.reshape(x, (-1, *size)))


def unpooled():
    return Unpooled()


class Sparse(layers.Layer):
    """Scores of which the smallest become zero, and the others add up to one."""

    def call(self, x):
        ordered = tf.sort(x, direction="DESCENDING", axis=-1)
        sums = tf.cumsum(ordered, -1) - 1.0
        places = tf.range(1.0, x.shape[-1] + 1.0)
        count = tf.reduce_sum(tf.cast(tf.cast(places, x.dtype) * ordered > sums, tf.int32), -1, keepdims=True)
        floor = tf.gather(sums, count - 1, batch_dims=1, axis=1) / tf.cast(count, x.dtype)
        return tf.nn.relu(x - floor)


def sparse():
    numbers = keras.Input((7,))
    return keras.Model(numbers, layers.Dense(2)(Sparse(name="sparse")(layers.Dense(6, name="scores")(numbers))))


@keras.saving.register_keras_serializable()
class Biased(layers.Layer):
    """BEiT's bias: a vector that is added to queries, or values, alone."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias


def _heads(x, heads=4):
    return keras.ops.transpose(layers.Reshape((-1, heads, x.shape[-1] // heads))(x), [0, 2, 1, 3])


def _biased_parts(turned):
    x = keras.Input((7, 24))
    q, k, v = keras.ops.split(layers.Dense(72, use_bias=False, name="qkv")(x), 3, axis=-1)
    q, v = Biased(name="query_bias")(q), Biased(name="value_bias")(v)
    if turned:  # a table of positions, in float32
        table = np.cos(np.arange(7)[:, None] / 10 ** np.linspace(0, 2, 24)).astype("float32")
        q, k = q * table, k * table
    scores = layers.Softmax(name="shares")(_heads(q) @ keras.ops.transpose(_heads(k), [0, 1, 3, 2]) * 6**-0.5)
    y = layers.Reshape((7, 24))(keras.ops.transpose(scores @ _heads(v), [0, 2, 1, 3]))
    return keras.Model(x, layers.Dense(24, name="proj")(y))


def biased_parts():
    return _biased_parts(turned=False)


def biased_parts_turned():
    return _biased_parts(turned=True)


def factored():
    """CoaT's attention: the keys' shares by their places, and the values by queries once more."""
    x = keras.Input((7, 24))
    q, k, v = (_heads(part) for part in keras.ops.split(layers.Dense(72, name="qkv")(x), 3, axis=-1))
    context = keras.ops.transpose(layers.Softmax(axis=2, name="shares")(k), [0, 1, 3, 2]) @ v
    y = (q @ context) * 6**-0.5 + q * v
    return keras.Model(x, layers.Dense(24, name="proj")(layers.Reshape((7, 24))(keras.ops.transpose(y, [0, 2, 1, 3]))))


class Correlated(layers.Layer):
    """How much two signals are alike when one is shifted, for every shift, by their spectra."""

    def build(self, _):
        self.first, self.second = layers.Dense(4, name="first"), layers.Dense(4, name="second")

    def call(self, x):
        first, second = (tf.signal.rfft(tf.transpose(one(x), (0, 2, 1))) for one in (self.first, self.second))
        return tf.transpose(tf.signal.irfft(first * tf.math.conj(second), [12]), (0, 2, 1))


def correlated():
    sequence = keras.Input((12, 3))
    return keras.Model(sequence, layers.Dense(2, name="head")(Correlated(name="correlated")(sequence)))


class Delayed(layers.Layer):
    """Shifts a signal by as much as says where it is largest in the mean of all samples."""

    def call(self, x):
        place = tf.argmax(tf.reduce_mean(tf.reduce_mean(x, -1), 0), output_type=tf.int32)
        return tf.roll(x, -place, 1) * tf.range(1.0, 13.0)[:, None]


def delayed():
    sequence = keras.Input((12, 3))
    x = Delayed(name="delayed")(layers.Dense(4, name="before")(sequence))
    return keras.Model(sequence, layers.Dense(2, name="head")(x))


def _eps(number):
    return keras.Sequential([
        keras.Input((7,)), layers.Dense(6, name="before"), layers.BatchNormalization(epsilon=number, name="batch"),
        layers.Dense(5, activation="tanh"), layers.LayerNormalization(epsilon=number, name="layer"), layers.Dense(2),
    ])  # fmt: skip


def eps():
    return _eps(0.001)


def eps_out_of_float32():
    return _eps(float(np.float32(0.001)))


class Located(layers.Layer):
    """Adds what a dense layer makes of the coordinates of each place."""

    def build(self, shape):
        self.token = layers.Dense(shape[-1], name="token")
        self.token.build((None, 2))

    def call(self, x):
        rows, columns = np.indices(x.shape[1:3])
        places = np.stack([np.sin(rows), np.cos(columns)], -1).reshape(1, -1, 2).astype("float32")
        return x + keras.ops.reshape(self.token(places), (1, *x.shape[1:]))


def located():
    image = keras.Input((7, 5, 3))
    x = Located(name="located")(layers.Conv2D(6, 3, padding="same", name="conv")(image))
    return keras.Model(image, layers.Dense(4, name="mixed")(layers.Reshape((35, 6))(x)))
