"""Networks whose ports have one fault that is easily called another, in Keras and TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def masked_attention():
    ids = keras.Input((9,), dtype="int32")
    mask = layers.Lambda(lambda x: tf.not_equal(x, 0)[:, None, :], name="mask")(ids)
    x = layers.Embedding(6, 12)(ids)
    x = x + layers.MultiHeadAttention(2, 6, name="attention")(x, x, attention_mask=mask)
    return keras.Model(ids, layers.Dense(3)(layers.GlobalMaxPooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))))


def _preprocessed(prepare):
    image = keras.Input((14, 12, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="first")(prepare(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def blue_first():
    return _preprocessed(keras.applications.resnet50.preprocess_input)


def standardised():
    return _preprocessed(keras.applications.densenet.preprocess_input)


def grouped():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(8, 1, activation="relu")(image)
    x = layers.Conv2D(8, 3, padding="same", groups=4, activation="relu", name="grouped")(x)
    return keras.Model(image, layers.Conv2D(4, 1)(x))


def depthwise():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 1, activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="grouped")(x)
    return keras.Model(image, layers.Conv2D(4, 1)(layers.ReLU()(x)))


def unit_vectors():
    x = keras.Input((7,))
    y = layers.Dense(5, use_bias=False, name="project")(x)
    return keras.Model(x, layers.Lambda(lambda t: tf.math.l2_normalize(t, axis=-1), name="unit")(y))


def unit_vectors_behind_a_bias():
    x = keras.Input((7,))
    y = layers.Dense(5, name="project", bias_initializer="ones")(x)
    return keras.Model(x, layers.Lambda(lambda t: tf.math.l2_normalize(t, axis=-1), name="unit")(y))


class Pixels(layers.Layer):
    """Attention of every pixel to every other, with one head."""

    def __init__(self, scaled=True):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(8, name=name) for name in ("q", "k", "v"))
        self.scale = 8**-0.5 if scaled else None

    def call(self, x):
        _, h, w, _ = x.shape
        scores = tf.einsum("bhwc,bxyc->bhwxy", self.query(x), self.key(x))
        scores = scores if self.scale is None else scores * self.scale
        shares = tf.nn.softmax(tf.reshape(scores, (-1, h, w, h * w)))
        return tf.einsum("bhwxy,bxyc->bhwc", tf.reshape(shares, (-1, h, w, h, w)), self.value(x))


def pixels():
    image = keras.Input((5, 4, 8))
    return keras.Model(image, layers.Conv2D(3, 1)(Pixels()(image)))


class Blocks(tf.Module):
    """Two blocks of a language model, by bare products."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(5)

        def weight(*shape, name):
            return tf.Variable(draw.standard_normal(shape).astype(np.float32) / 3.0, name=name)

        self.table = weight(17, 12, name="table")
        self.blocks = [
            {part: weight(*shape, name=f"{part}{number}") for part, shape in SHAPES.items()} for number in range(2)
        ]

    def __call__(self, ids):
        steps = ids.shape[1]
        seen = tf.linalg.band_part(tf.ones((steps, steps)), -1, 0)
        x = tf.gather(self.table, ids)
        for one in self.blocks:
            mean, variance = tf.nn.moments(x, [-1], keepdims=True)
            y = (x - mean) * tf.math.rsqrt(variance + 1e-5) * one["gain"] + one["shift"]
            parts = tf.split(tf.matmul(y, one["joint"]) + one["joint_bias"], 3, -1)
            q, k, v = (tf.transpose(tf.reshape(part, (-1, steps, 3, 4)), (0, 2, 1, 3)) for part in parts)
            scores = tf.matmul(q, k, transpose_b=True) / 2.0
            shares = tf.nn.softmax(scores * seen - 1e9 * (1.0 - seen))
            y = tf.reshape(tf.transpose(tf.matmul(shares, v), (0, 2, 1, 3)), (-1, steps, 12))
            x = x + tf.matmul(y, one["out"]) + one["out_bias"]
        return tf.matmul(x, self.table, transpose_b=True)


SHAPES = {
    "gain": (12,), "shift": (12,), "joint": (12, 36), "joint_bias": (36,), "out": (12, 12), "out_bias": (12,),
}  # fmt: skip


def blocks():
    return Blocks()


def each_channel():
    image = keras.Input((12, 10, 3))
    x = layers.GroupNormalization(groups=-1, epsilon=1e-5, name="norm")(layers.Conv2D(6, 3)(image))
    return keras.Model(image, layers.Conv2D(2, 1)(layers.ReLU()(x)))


def _drawn(model):
    draw = np.random.default_rng(3)
    model.set_weights([draw.standard_normal(array.shape).astype(np.float32) / 2.0 for array in model.get_weights()])
    return model


def simple_recurrence():
    x = keras.Input((8, 4))
    return _drawn(keras.Model(x, layers.SimpleRNN(5, name="recurrence")(x)))


def long_memory():
    x = keras.Input((8, 4))
    return _drawn(keras.Model(x, layers.LSTM(5, return_sequences=True, name="recurrence")(x)))


def square():
    x = keras.Input((6, 6))
    y = layers.Dense(6, activation="tanh")(x)
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D(name="mean")(y)))
