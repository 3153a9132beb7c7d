"""Small networks as people publish them whole, in TensorFlow and Keras."""

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
