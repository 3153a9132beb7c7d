"""Networks whose faults `--repro` shows by calls that are no layers: picks, masks, states, packed steps."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def last_step():
    """A classifier of tokens by an LSTM's last step."""
    tokens = keras.Input((9,), dtype="int32")
    x = layers.LSTM(6, name="lstm")(layers.Embedding(20, 5, name="embedding")(tokens))
    return keras.Model(tokens, layers.Dense(3, name="head")(x))


def both_ends():
    """A classifier of padded tokens by both directions' last steps."""
    tokens = keras.Input((9,), dtype="int32")
    x = layers.Embedding(20, 5, mask_zero=True, name="embedding")(tokens)
    x = layers.Bidirectional(layers.LSTM(6), name="lstm")(x)
    return keras.Model(tokens, layers.Dense(3, name="head")(x))


class Attending(keras.Model):
    """An encoder whose mask is made of its tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(20, 12, name="embedding")
        self.attention = layers.MultiHeadAttention(3, 4, name="attention")
        self.head = layers.Dense(4, name="head")

    def call(self, tokens):
        x = self.embedding(tokens)
        return self.head(self.attention(x, x, attention_mask=tf.not_equal(tokens, 0)[:, None, :])[:, 0])


def attending():
    return Attending()


class Picking(keras.Model):
    """Gates one half of what it computes by the other, and picks some of it in an order of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = layers.Dense(12), layers.Dense(6), layers.Dense(3)

    def call(self, x):
        value, gate = tf.split(self.first(x), 2, axis=-1)
        return self.head(tf.gather(self.second(value * tf.sigmoid(gate)), [4, 0, 2, 1], axis=1))


def picking():
    return Picking()


def largest():
    features = keras.Input((5,))
    values, _ = keras.ops.top_k(layers.Dense(12, name="scores")(features), 3)
    return keras.Model(features, layers.Dense(3, name="head")(values))


def over_channels():
    image = keras.Input((10, 12, 4))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(image)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="head")(x))


class Shares(layers.Layer):
    """Multiplies with the shares that its weights have of their column."""

    def build(self, shape):
        self.scores = self.add_weight(shape=(shape[-1], 4), initializer="random_normal", name="scores")

    def call(self, x):
        return tf.matmul(x, tf.nn.softmax(self.scores, axis=0))


def shares():
    vector = keras.Input((5,))
    return keras.Model(vector, layers.Dense(3, name="head")(Shares(name="shares")(vector)))


def projected():
    """Multiplies with a table of 1,200 numbers that nobody trains."""
    table = np.random.default_rng(3).normal(size=(30, 40)).astype("float32")
    vector = keras.Input((30,))
    x = layers.Lambda(lambda x: tf.matmul(x, tf.constant(table)), name="projected")(vector)
    return keras.Model(vector, layers.Dense(3, name="head")(x))
