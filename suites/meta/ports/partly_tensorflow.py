"""Two attentions in one model: layers, and written out."""

import keras
from keras import layers, ops


def _divided(x, heads):
    places = x.shape[1]
    return ops.transpose(ops.reshape(x, (-1, places, heads, 4)), (0, 2, 1, 3))


def _written(queries, keys, name, heads=2, pairs=2, initializer="glorot_uniform"):
    words = {"kernel_initializer": initializer}
    q = _divided(layers.Dense(4 * heads, name=name + "_q", **words)(queries), heads)
    k = _divided(layers.Dense(4 * pairs, name=name + "_k", **words)(keys), pairs)
    v = _divided(layers.Dense(4 * pairs, name=name + "_v", **words)(keys), pairs)
    k, v = (ops.repeat(x, heads // pairs, axis=1) for x in (k, v))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0)
    joined = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, queries.shape[1], 4 * heads))
    return layers.Dense(8, name=name + "_o")(joined)


def decoder():
    memory, given = keras.Input((7, 8)), keras.Input((3, 8))
    x = given + layers.MultiHeadAttention(2, 4, name="own")(given, given)
    return keras.Model([memory, given], x + layers.MultiHeadAttention(2, 4, name="cross")(x, memory))


def decoder_by_hand():
    memory, given = keras.Input((7, 8)), keras.Input((3, 8))
    x = given + _written(given, given, "own")
    return keras.Model([memory, given], x + _written(x, memory, "cross"))


class Probe(layers.Layer):
    def build(self, shape):  # noqa: ARG002
        self.probe = self.add_weight(shape=(1, 1, 8), name="probe", initializer="normal")

    def call(self, x):
        return ops.repeat(self.probe, ops.shape(x)[0], axis=0)


def pooled():
    image = keras.Input((7, 8))
    x = image + layers.MultiHeadAttention(2, 4, name="own")(image, image)
    return keras.Model(image, layers.MultiHeadAttention(2, 4, name="cross")(Probe()(x), x)[:, 0])


def two():
    tokens = keras.Input((7, 8))
    x = tokens + _written(tokens, tokens, "one")
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(tokens, x + _written(x, x, "other"))


def grouped():
    tokens = keras.Input((7, 8))
    x = tokens + _written(tokens, tokens, "one", heads=2, pairs=1)
    return keras.Model(tokens, layers.Dense(8, name="down")(ops.relu(layers.Dense(16, name="up")(x))))


def seeded():
    tokens, initializer = keras.Input((7, 8)), keras.initializers.GlorotUniform(seed=3)
    return keras.Model(tokens, _written(tokens, tokens, "one", initializer=initializer))


def cloned():
    x = tokens = keras.Input((7, 8))
    for n in range(2):
        x = layers.LayerNormalization(epsilon=1e-5)(x + layers.MultiHeadAttention(2, 4, name=f"attention_{n}")(x, x))
        y = layers.Dense(8, name=f"down_{n}")(layers.Dense(16, activation="relu", name=f"up_{n}")(x))
        x = layers.LayerNormalization(epsilon=1e-5)(x + y)
    return keras.Model(tokens, x)


def additive():
    """Bahdanau's attention over what a GRU made, asked twice."""
    given = keras.Input((7, 8))
    made = layers.GRU(6, return_sequences=True, name="encoder")(given)
    first, second, score = layers.Dense(6, name="W1"), layers.Dense(6, name="W2"), layers.Dense(1, name="V")
    step, state = layers.Dense(6, activation="tanh", name="step"), made[:, -1]
    for _ in range(2):
        weights = ops.softmax(score(ops.tanh(first(state[:, None]) + second(made))), axis=1)
        state = step(ops.concatenate([ops.sum(weights * made, axis=1), state], axis=-1))
    return keras.Model(given, layers.Dense(3, name="head")(state))
