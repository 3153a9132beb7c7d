"""Models in Keras and TensorFlow whose ports had been told wrongly."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def _cosine(bias):
    first, second = keras.Input((6,)), keras.Input((6,))
    queries, keys = (layers.Dense(5, use_bias=bias, name=name) for name in ("queries", "keys"))
    return keras.Model([first, second], layers.Dot(1, normalize=True, name="cosine")([queries(first), keys(second)]))


def cosine():
    return _cosine(False)


def cosine_behind_a_bias():
    return _cosine(True)


def _unit(function):
    x = keras.Input((6,))
    y = layers.Lambda(function, name="unit")(layers.Dense(5, use_bias=False, name="inner")(x))
    return keras.Model(x, layers.Dense(3, name="outer")(y))


def above_a_floor():
    return _unit(lambda x: x / tf.maximum(tf.norm(x, axis=-1, keepdims=True), 0.01))


def above_a_root():
    return _unit(lambda x: x / tf.sqrt(tf.reduce_sum(x**2, -1, keepdims=True) + 1e-4))


def with_an_addend():
    return _unit(lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 0.01))


def with_a_small_addend():
    return _unit(lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 1e-8))


class Attention(layers.Layer):
    """Two heads over sequences of 8 numbers a step, written out."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.parts = [layers.Dense(8, name=name) for name in ("query", "key", "value", "output")]

    def call(self, x, added):
        steps = x.shape[1]
        query, key, value = (
            tf.transpose(tf.reshape(one(x), (-1, steps, 2, 4)), (0, 2, 1, 3)) for one in self.parts[:3]
        )
        scores = tf.matmul(query, key, transpose_b=True) / 2.0
        y = tf.matmul(tf.nn.softmax(scores + added, -1), value)
        return self.parts[3](tf.reshape(tf.transpose(y, (0, 2, 1, 3)), (-1, steps, 8)))


class Causal(Attention):
    def call(self, x):
        steps = x.shape[1]
        keep = tf.linalg.band_part(tf.ones((steps, steps), x.dtype), -1, 0)
        return super().call(x, (1.0 - keep) * -1e9)


def padded():
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, name="embedding")(ids)
    added = layers.Lambda(lambda i: (1.0 - tf.cast(i != 0, tf.float32)[:, None, None]) * -1e9, name="mask")(ids)
    return keras.Model(ids, layers.Dense(3, name="last")(Attention(name="attention")(x, added)))


def causal():
    x = keras.Input((6, 8))
    return keras.Model(x, layers.Dense(3, name="last")(Causal(name="attention")(x)))


def coloured():
    """Colours read backwards, less a mean for each."""
    image = keras.Input((6, 7, 3))

    def less_their_means(x):
        red, green, blue = tf.unstack(x, axis=-1)
        return tf.stack([blue - 103.9, green - 116.8, red - 123.7], -1)

    x = layers.Lambda(less_their_means, name="means")(image)
    return keras.Model(image, layers.Conv2D(4, 3, name="conv")(x))


def _image(*parts):
    image = keras.Input((12, 10, 3))
    x = image
    for part in parts:
        x = part(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="last")(x))


def layer_norm():
    return _image(layers.Conv2D(6, 3, name="conv"), layers.LayerNormalization(name="norm"))


def group_norm():
    return _image(layers.Conv2D(6, 3, name="conv"), layers.GroupNormalization(3, name="norm"))


def deviations():
    """A mean and a deviation of every number over time."""
    x = keras.Input((9, 4))
    y = layers.Conv1D(6, 3, activation="relu", name="first")(x)
    y = layers.Conv1D(6, 3, activation="elu", name="second")(y)
    y = layers.Lambda(lambda y: tf.concat([tf.reduce_mean(y, 1), tf.math.reduce_std(y, 1)], -1), name="both")(y)
    return keras.Model(x, layers.Dense(3, name="last")(y))


def two_views():
    image = keras.Input((8, 9, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="first")(image))
    x = layers.MaxPooling2D(2, name="pool")(layers.ReLU(name="relu")(x))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="elu", name="second")(x)
    tower = keras.Model(image, layers.Dense(5, name="code")(layers.GlobalAveragePooling2D()(x)), name="tower")
    first, second = keras.Input((8, 9, 3)), keras.Input((8, 9, 3))
    apart = layers.Lambda(lambda codes: tf.abs(codes[0] - codes[1]), name="apart")([tower(first), tower(second)])
    return keras.Model([first, second], layers.Dense(1, name="score")(apart))


def _drawn(model):
    """Give a model weights that its port can draw, too."""
    rng = np.random.default_rng(5)
    for layer in model.layers:
        layer.set_weights([rng.normal(0.0, 0.4, w.shape).astype(np.float32) for w in layer.get_weights()])
    return model


def bordered():
    return _drawn(_image(layers.Conv2D(5, 3, padding="same", name="conv")))


def mirrored():
    mirror = layers.Lambda(lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"), name="mirror")
    return _drawn(_image(mirror, layers.Conv2D(5, 3, name="conv")))
