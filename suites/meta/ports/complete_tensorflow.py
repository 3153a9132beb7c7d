"""Small networks as people publish them whole, in TensorFlow and Keras."""

import math

import keras
import tensorflow as tf
from keras import layers


class GraphHead(layers.Layer):
    def __init__(self, units, **words):
        super().__init__(**words)
        self.units = units

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], self.units), name="kernel")
        self.own = self.add_weight(shape=(self.units, 1), name="own")
        self.others = self.add_weight(shape=(self.units, 1), name="others")

    def call(self, given):
        x, edges = given
        h = tf.matmul(x, self.kernel)
        scores = tf.matmul(h, self.own) + tf.transpose(tf.matmul(h, self.others), [0, 2, 1])
        scores = tf.where(edges > 0.3, tf.nn.leaky_relu(scores, 0.2), -9e15 * tf.ones_like(scores))
        return tf.matmul(tf.nn.softmax(scores, -1), h)


def graph_attention():
    x, edges = keras.Input((9, 5)), keras.Input((9, 9))
    # Keras runs the second of these heads first.
    heads = [layers.Activation("elu")(GraphHead(4)([x, edges])) for _ in range(2)]
    return keras.Model([x, edges], GraphHead(3)([layers.Concatenate()(heads), edges]))


class HeadsBehindSamples(layers.Layer):
    def __init__(self, **words):
        super().__init__(**words)
        self.words = layers.Embedding(11, 8)
        self.q, self.k, self.v = (layers.Dense(8, name=name) for name in "qkv")
        self.first, self.last = layers.LayerNormalization(name="first"), layers.LayerNormalization(name="last")

    def call(self, ids):
        x = self.first(self.words(ids))
        q, k, v = (tf.concat(tf.split(layer(x), 2, axis=2), axis=0) for layer in (self.q, self.k, self.v))
        shares = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0)
        return self.last(tf.concat(tf.split(tf.matmul(shares, v), 2, axis=0), axis=2) + x)


def heads_behind_samples():
    given = keras.Input((7,), dtype="int32")
    return keras.Model(given, HeadsBehindSamples(name="attention")(given))


class MaskedByHand(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.random.stateless_normal((4, 3), (1, 2)), name="w")

    def __call__(self, x, mask):
        shares = tf.cast(mask, x.dtype)[:, :, None]
        return tf.matmul(tf.reduce_sum(x * shares, 1) / (1.0 + tf.reduce_sum(shares, 1)), self.w)


def masked_by_hand():
    return MaskedByHand()


class PaddedQueries(keras.Model):
    def __init__(self):
        super().__init__()
        self.words = layers.Embedding(20, 8, mask_zero=True)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.norm, self.head = layers.LayerNormalization(), layers.Dense(3)

    def call(self, ids):
        there = tf.not_equal(ids, 0)
        x = self.words(ids)
        # Keras masks the queries of padding, too, for the embedding says which these are.
        x = self.norm(x + self.attention(x, x, attention_mask=there[:, tf.newaxis, :]))
        return self.head(tf.reduce_max(tf.where(there[:, :, tf.newaxis], x, -1e9), axis=1))


def padded_queries():
    model = PaddedQueries()
    model(tf.ones((1, 9), tf.int32))
    return model


def sparsemax(z):
    falling = tf.sort(z, axis=-1, direction="DESCENDING")
    sums = tf.cumsum(falling, -1)
    held = tf.cast(1.0 + tf.cast(tf.range(1, z.shape[-1] + 1), z.dtype) * falling > sums, z.dtype)
    count = tf.reduce_sum(held, -1, keepdims=True)
    return tf.maximum(z - (tf.reduce_sum(falling * held, -1, keepdims=True) - 1.0) / count, 0.0)


class SparseShares(keras.Model):
    def __init__(self):
        super().__init__()
        self.scores, self.head = layers.Dense(6, use_bias=False), layers.Dense(2)

    def call(self, x):
        return self.head(sparsemax(self.scores(x)) * x)


def sparse_shares():
    model = SparseShares()
    model(tf.zeros((1, 6)))
    return model


class TimeSteps(layers.Layer):
    def call(self, steps):
        rates = tf.exp(-math.log(10000) * tf.range(8, dtype=tf.float32) / 8)
        turns = tf.cast(steps[:, 0], tf.float32)[:, None] * rates[None]
        return tf.concat([tf.sin(turns), tf.cos(turns)], -1)


def time_steps():
    given = keras.Input((1,), dtype="int32")
    return keras.Model(given, layers.Dense(5)(layers.Dense(6, activation="swish")(TimeSteps()(given))))


def text_lines():
    given = keras.Input((8, 20, 3))
    x = layers.MaxPooling2D((2, 2))(layers.Conv2D(6, 3, padding="same", activation="relu")(given))
    x = layers.Reshape((10, 4 * 6), name="steps")(layers.Permute((2, 1, 3))(x))
    return keras.Model(given, layers.Dense(5)(layers.LSTM(7)(layers.Dense(9, activation="relu", name="first")(x))))


def borders():
    given = keras.Input((7, 9, 3))
    x = layers.Lambda(lambda x: tf.pad(x, [[0, 0], [1, 2], [1, 1], [0, 0]], mode="SYMMETRIC"))(given)
    return keras.Model(given, layers.Conv2D(4, 3)(x))


class Tensordots(tf.Module):
    def __init__(self):
        super().__init__()
        sizes = enumerate(((6, 8), (8, 6), (6, 5)))
        self.w = [tf.Variable(tf.random.stateless_normal(size, (3, seed)), name=f"w{seed}") for seed, size in sizes]
        self.b = [
            tf.Variable(tf.random.stateless_normal((w.shape[1],), (4, 5)), name=f"b{i}") for i, w in enumerate(self.w)
        ]

    def __call__(self, x):
        x = tf.tanh(tf.tensordot(x, self.w[0], 1) + self.b[0])
        x = tf.nn.gelu(tf.tensordot(x, self.w[1], 1) + self.b[1], approximate=True)
        return tf.tensordot(x, self.w[2], 1) + self.b[2]


def tensordots():
    return Tensordots()
