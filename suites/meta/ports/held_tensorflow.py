"""Where weights are held: fusion weights, a learned start, a token, groups by depthwise layers; in Keras."""

import keras
import tensorflow as tf
from keras import layers, ops


class Fusion(layers.Layer):
    """Adds its inputs by weights of their own, which are normalised at the end."""

    def build(self, shapes):
        self.share = self.add_weight(name="share", shape=(len(shapes),), initializer="ones")

    def call(self, inputs):
        share = tf.nn.relu(self.share)
        total = sum(share[index] * one for index, one in enumerate(inputs))
        return total / (tf.reduce_sum(share) + 1e-4)


def fusion():
    wide, small = keras.Input((12, 8, 3)), keras.Input((6, 4, 3))
    first = Fusion(name="fuse1")([wide, layers.UpSampling2D(name="up")(small)])
    first = layers.Conv2D(4, 3, padding="same", name="conv1")(ops.silu(first))
    second = Fusion(name="fuse2")([first, layers.Conv2D(4, 1, name="side")(wide), layers.Conv2D(4, 1)(wide)])
    return keras.Model([wide, small], layers.Conv2D(2, 3, padding="same", name="out")(ops.silu(second)))


class LearnedStart(keras.Model):
    """A picture that is learned, and what the input makes of it."""

    def __init__(self):
        super().__init__()
        self.start = self.add_weight(name="start", shape=(1, 5, 4, 6), initializer="random_normal")
        self.style = layers.Dense(7, name="style")
        self.grow, self.out = layers.Conv2D(7, 3, padding="same", name="grow"), layers.Conv2D(3, 1, name="out")

    def call(self, z):
        picture = tf.tile(self.start, [tf.shape(z)[0], 1, 1, 1])
        return self.out(tf.nn.relu(self.grow(picture)) * self.style(z)[:, None, None])


def learned_start():
    return LearnedStart()


class Token(layers.Layer):
    """Puts a learned token in front, and adds positions."""

    def build(self, shape):
        self.token = self.add_weight(name="token", shape=(1, 1, shape[-1]), initializer="random_normal")
        self.place = self.add_weight(name="place", shape=(1, shape[1] + 1, shape[-1]), initializer="random_normal")

    def call(self, x):
        return tf.concat([tf.broadcast_to(self.token, [tf.shape(x)[0], 1, x.shape[-1]]), x], 1) + self.place


def token():
    sequence = keras.Input((6, 8))
    x = Token(name="token")(sequence)
    for block in range(2):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{block}")(x)
        x = x + layers.Dense(8, name=f"narrow{block}")(layers.Dense(16, activation="gelu", name=f"wide{block}")(y))
    return keras.Model(sequence, layers.Dense(3, name="out")(x[:, 0]))


def groups_by_depthwise():
    """Two groups of three channels each, as keras.applications writes ResNeXt."""
    image, deep, groups = keras.Input((11, 9, 3)), 3, 2
    x = layers.ReLU()(layers.Conv2D(groups * deep, 1, name="first")(image))
    x = layers.DepthwiseConv2D(3, depth_multiplier=deep, use_bias=False, name="depthwise")(layers.ZeroPadding2D(1)(x))
    x = layers.Reshape((11, 9, groups, deep, deep))(x)
    x = layers.Lambda(lambda t: sum(t[:, :, :, :, k] for k in range(deep)))(x)
    x = layers.BatchNormalization(name="norm")(layers.Reshape((11, 9, groups * deep))(x))
    return keras.Model(image, layers.Dense(4, name="out")(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def baked_positions():
    """The positions' embedding is called while the model is built, and is a constant from then on."""
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 6, name="words")(words) + layers.Embedding(7, 6, name="places")(ops.arange(7))
    return keras.Model(words, layers.Dense(3, name="out")(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


class Queries(layers.Layer):
    """Attends with queries that are learned."""

    def build(self, shape):
        self.queries = self.add_weight(name="queries", shape=(1, 3, 8), initializer="random_normal")
        self.attention = layers.MultiHeadAttention(2, 4, name="attention")
        self.attention.build((None, 3, 8), shape)

    def call(self, x):
        return self.attention(tf.repeat(self.queries, tf.shape(x)[0], axis=0), x)


def learned_queries():
    sequence = keras.Input((6, 8))
    return keras.Model(sequence, layers.Dense(3, name="out")(Queries(name="read")(sequence)))


class Factors(layers.Layer):
    """A kernel of low rank, as the product of two."""

    def build(self, shape):
        self.left = self.add_weight(name="left", shape=(shape[-1], 2), initializer="random_normal")
        self.right = self.add_weight(name="right", shape=(2, 5), initializer="random_normal")

    def call(self, x):
        return tf.matmul(x, tf.matmul(self.left, self.right))


def factors():
    numbers = keras.Input((8,))
    return keras.Model(numbers, layers.Dense(3, name="out")(ops.tanh(Factors(name="low")(numbers))))
