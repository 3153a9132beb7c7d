"""Parts of published language and vision models, as their TensorFlow classes are written."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Tables(keras.layers.Layer):
    """Words, places and types, looked up in variables by numbers of which some depend on no input."""

    def build(self, _):
        self.words = self.add_weight(shape=(20, 8), initializer="normal", name="words")
        self.places = self.add_weight(shape=(11, 8), initializer="normal", name="places")
        self.types = self.add_weight(shape=(2, 8), initializer="normal", name="types")

    def call(self, ids):
        places = tf.gather(self.places, tf.range(ids.shape[1])[None])
        types = tf.gather(self.types, tf.zeros_like(ids))
        return tf.gather(self.words, ids) + places + types


def looked_up():
    ids = keras.Input((7,), dtype="int32")
    x = layers.LayerNormalization(epsilon=1e-12, name="norm")(Tables(name="tables")(ids))
    return keras.Model(ids, layers.Dense(5, name="out")(x))


class RowBias(keras.layers.Layer):
    """A dense layer whose bias is a row."""

    def __init__(self, units, **words):
        super().__init__(**words)
        self.units = units

    def build(self, shape):
        self.weight = self.add_weight(shape=(shape[-1], self.units), initializer="normal", name="weight")
        self.bias = self.add_weight(shape=(1, self.units), initializer="normal", name="bias")

    def call(self, x):
        flat = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), self.weight) + self.bias
        return tf.reshape(flat, [-1, *x.shape[1:-1], self.units])


def row_biases():
    x = given = keras.Input((6, 8))
    x = RowBias(12, name="widen")(x)
    x = keras.activations.gelu(x, approximate=True)
    return keras.Model(given, RowBias(8, name="narrow")(x))


class Window(keras.layers.Layer):
    """Attention within a window, with a bias for every relative place that a table holds for each head."""

    def build(self, _):
        self.table = self.add_weight(shape=(7, 2), initializer="normal", name="table")
        steps = np.arange(4)
        index = (steps[:, None] - steps[None]) + 3
        self.index = self.add_weight(
            shape=(4, 4), dtype="int32", trainable=False, name="index", initializer=keras.initializers.Zeros()
        )
        self.index.assign(index)
        self.query, self.key, self.value = (layers.Dense(6, name=name) for name in ("query", "key", "value"))

    def call(self, x):
        heads = [
            tf.transpose(tf.reshape(layer(x), [-1, 4, 2, 3]), [0, 2, 1, 3])
            for layer in (self.query, self.key, self.value)
        ]
        scores = tf.matmul(heads[0], heads[1], transpose_b=True) / tf.sqrt(tf.cast(3, x.dtype))
        bias = tf.gather(self.table, tf.reshape(self.index, [-1]))
        scores += tf.transpose(tf.reshape(bias, [4, 4, 2]), [2, 0, 1])[None]
        mixed = tf.matmul(tf.nn.softmax(scores, axis=-1), heads[2])
        return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, 4, 6])


def window():
    given = keras.Input((4, 6))
    return keras.Model(given, layers.Dense(5, name="out")(Window(name="window")(given)))


class Headed(keras.layers.Layer):
    """Heads as an axis of every kernel, and as many numbers in all heads as in a vector."""

    def build(self, _):
        self.kernels = [self.add_weight(shape=(8, 2, 4), initializer="normal", name=name) for name in "qkvo"]

    def call(self, x):
        query, key, value = (tf.einsum("bih,hnd->bind", x, kernel) for kernel in self.kernels[:3])
        scores = tf.einsum("bind,bjnd->bnij", query, key) * 0.5
        mixed = tf.einsum("bnij,bjnd->bind", tf.nn.softmax(scores, axis=-1), value)
        return tf.einsum("bind,hnd->bih", mixed, self.kernels[3])


def headed():
    given = keras.Input((7, 8))
    return keras.Model(given, Headed(name="heads")(given))


class Relative(keras.layers.Layer):
    """A table of relative places that is normalised before it is used."""

    def build(self, _):
        self.table = self.add_weight(shape=(5, 8), initializer="normal", name="table")
        self.norm = layers.LayerNormalization(epsilon=1e-7, name="norm")
        self.norm.build((5, 8))

    def call(self, x):
        return tf.matmul(x, self.norm(self.table), transpose_b=True)


def relative():
    given = keras.Input((6, 8))
    return keras.Model(given, layers.Dense(4, name="out")(Relative(name="places")(given)))


def rooted():
    """Scores divided by a root that Python took, some masked."""
    given = keras.Input((6, 8))
    query, key = (layers.Dense(8, name=name)(given) for name in ("query", "key"))
    scores = keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1)))
    scores = keras.ops.where(np.tri(6, dtype=bool), scores, -1e9) / 8**0.5
    mixed = keras.ops.matmul(keras.ops.softmax(scores), layers.Dense(8, name="value")(given))
    return keras.Model(given, mixed)


def grouped():
    """More heads of queries than of keys and values, each from a layer of its own."""
    given = keras.Input((7, 10))
    query = layers.EinsumDense("bqm,uhm->bquh", (None, 4, 6), name="query")(given)
    key = layers.EinsumDense("bkm,mvh->bkvh", (None, 2, 6), name="key")(given)
    value = layers.EinsumDense("bkm,mvh->bkvh", (None, 2, 6), name="value")(given)
    key, value = keras.ops.repeat(key, 2, axis=2), keras.ops.repeat(value, 2, axis=2)
    scores = keras.ops.softmax(keras.ops.einsum("bqhd,bkhd->bhqk", query, key) / 6**0.5)
    mixed = keras.ops.einsum("bhqk,bkhd->bqhd", scores, value)
    return keras.Model(given, layers.EinsumDense("bquh,uhm->bqm", (None, 10), name="out")(mixed))


def boxes():
    given = keras.Input((10,))
    x = layers.Dense(16, activation="relu", name="body")(given)
    return keras.Model(given, [layers.Dense(4, name="box")(x), layers.Dense(3, name="kind")(x)])


def rows_of_three():
    """Queries, keys and values from layers of their own, where GPT-2 has one with its inputs in rows."""
    given = keras.Input((7, 8))
    heads = [
        keras.ops.transpose(layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de", name=name)(given), order)
        for name, order in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3)))
    ]
    mixed = keras.ops.matmul(keras.ops.softmax(keras.ops.matmul(heads[0], heads[1]) * 0.5), heads[2])
    mixed = keras.ops.transpose(mixed, (0, 2, 1, 3))
    return keras.Model(given, layers.EinsumDense("abcd,cde->abe", (None, 8), bias_axes="e", name="out")(mixed))


def reversible():
    ids = keras.Input((7,), dtype="int32")
    table = layers.ReversibleEmbedding(20, 8, tie_weights=True, name="words")
    x = layers.Dense(8, activation="tanh", name="inner")(table(ids))
    return keras.Model(ids, table(x, reverse=True))


class Biased(keras.layers.Layer):
    """Scores with a learned bias for every place, to which what is blocked was added before."""

    def build(self, _):
        self.bias = self.add_weight(shape=(11, 2), initializer="normal", name="bias")
        self.query, self.key, self.value = (layers.Dense(8, name=name) for name in ("query", "key", "value"))

    def call(self, x):
        query, key, value = (
            tf.transpose(tf.reshape(layer(x), [-1, 6, 2, 4]), [0, 2, 1, 3])
            for layer in (self.query, self.key, self.value)
        )
        steps = tf.range(6)
        bias = tf.transpose(tf.gather(self.bias, steps[:, None] - steps[None] + 5), [2, 0, 1])[None]
        seen = tf.tile(tf.constant(np.tri(6, dtype="float32"))[None, None], [x.shape[0] or 1, 1, 1, 1])
        bias += (1.0 - seen) * -1e9
        mixed = tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias + 1e-9, axis=-1), value)
        return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, 6, 8])


def biased():
    given = keras.Input((6, 8))
    return keras.Model(given, layers.Dense(5, name="out")(Biased(name="biased")(given)))


class Kept(keras.layers.Layer):
    """One head whose scores have a learned bias by the distance of two places."""

    def build(self, _):
        self.distances = self.add_weight(shape=(6,), initializer="normal", name="distances")
        self.query, self.key = layers.Dense(8, name="query"), layers.Dense(8, name="key")

    def call(self, x):
        steps = np.arange(6)
        bias = tf.gather(self.distances, np.abs(steps[:, None] - steps[None]))
        return tf.matmul(tf.nn.softmax(tf.matmul(self.query(x), self.key(x), transpose_b=True) * 8**-0.5 + bias), x)


def kept():
    given = keras.Input((6, 8))
    return keras.Model(given, layers.Dense(5, name="out")(Kept(name="kept")(given)))


class Crossed(keras.layers.Layer):
    """Three steps of a cross network, each with its own weights or all in two that are looked up by the step."""

    def __init__(self, as_one=False, **words):
        super().__init__(**words)
        self.as_one = as_one

    def build(self, shape):
        first = (3,) if self.as_one else ()
        made = [
            (self.add_weight(shape=(*first, shape[-1], 1), name=f"kernel_{step}"),
             self.add_weight(shape=(*first, shape[-1], 1), name=f"bias_{step}"))
            for step in range(1 if self.as_one else 3)
        ]  # fmt: skip
        self.kernels, self.biases = made[0] if self.as_one else zip(*made, strict=True)

    def call(self, x):
        first = given = tf.expand_dims(x, 2)
        for step in range(3):
            given = tf.matmul(first, tf.tensordot(given, self.kernels[step], (1, 0))) + self.biases[step] + given
        return tf.squeeze(given, 2)


def crossed(as_one=False):
    given = keras.Input((9,))
    return keras.Model(given, layers.Dense(4, name="out")(Crossed(as_one, name="crossed")(given)))


def crossed_as_one():
    return crossed(as_one=True)


class Rotated(keras.layers.Layer):
    """Causal attention whose queries and keys are turned by their places, pair by pair, written with real numbers."""

    def build(self, _):
        names = ("query", "key", "value", "out")
        self.query, self.key, self.value, self.mix = (layers.Dense(16, use_bias=False, name=name) for name in names)

    def turned(self, x):
        angles = tf.range(6, dtype=x.dtype)[:, None] * 10000.0 ** (-tf.range(4, dtype=x.dtype) / 4.0)
        cos, sin = tf.cos(angles)[:, None], tf.sin(angles)[:, None]
        even, odd = x[..., ::2], x[..., 1::2]
        return tf.reshape(tf.stack([even * cos - odd * sin, even * sin + odd * cos], -1), (-1, 6, 2, 8))

    def call(self, x):
        query, key, value = (tf.reshape(layer(x), (-1, 6, 2, 8)) for layer in (self.query, self.key, self.value))
        scores = tf.einsum("bqhd,bkhd->bhqk", self.turned(query), self.turned(key)) * 8**-0.5
        scores += tf.constant(np.triu(np.full((6, 6), -1e9, "float32"), 1))
        mixed = tf.einsum("bhqk,bkhd->bqhd", tf.nn.softmax(scores), value)
        return self.mix(tf.reshape(mixed, (-1, 6, 16)))


def rotated():
    given = keras.Input((6, 16))
    return keras.Model(given, layers.Dense(5, name="last")(given + Rotated(name="rotated")(given)))
