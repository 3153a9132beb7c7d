"""Models whose ports in `written_torch.py` compute the same by other code."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

MASKS = [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]]
# A normalisation's scale, shift, mean and variance.
STATISTICS = [
    [1.5, 0.5, 0.8, 1.2, 0.9],
    [0.1, -0.2, 0.3, 0.0, 0.4],
    [0.3, -0.5, 0.2, -0.1, 0.6],
    [0.4, 1.2, 0.7, 0.2, 2.0],
]


def _network(name, activation=None):
    return keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(4, activation=activation)], name=name)


class Inverse(layers.Layer):
    def __init__(self, mask, **options):
        super().__init__(**options)
        self.mask, self.scale, self.shift = mask, _network("scale", "tanh"), _network("shift")

    def call(self, x):
        mask = tf.constant(self.mask, x.dtype)
        kept = x * mask
        scaled, shifted = self.scale(kept) * (1 - mask), self.shift(kept) * (1 - mask)
        x = (1 - mask) * (x * tf.exp(-scaled) - shifted * tf.exp(-scaled)) + kept
        return x, tf.reduce_sum(scaled, 1)


def uncoupled():
    x = features = keras.Input((4,))
    total = 0.0
    for i, mask in enumerate(MASKS[::-1]):
        x, one = Inverse(mask, name=f"flow{i}")(x)
        total -= one
    return keras.Model(features, [x, total])


class MaskedOnce(Inverse):
    def call(self, x):
        mask = tf.constant(self.mask, x.dtype)
        kept = x * mask
        return kept + (1 - mask) * (x * tf.exp(self.scale(kept)) + self.shift(kept))


def masked_once():
    return keras.Sequential([keras.Input((4,)), *(MaskedOnce(mask, name=f"flow{i}") for i, mask in enumerate(MASKS))])


def gelu_by_hand():
    features = keras.Input((6,))
    x = layers.Dense(8, name="first")(features)
    x = layers.Lambda(lambda x: 0.5 * x * (1.0 + tf.math.erf(x / tf.sqrt(2.0))), name="gelu")(x)
    return keras.Model(features, layers.Dense(3, name="head")(x))


class Steps(keras.Model):
    def __init__(self):
        super().__init__()
        self.shared = layers.Dense(12, use_bias=False, name="shared")
        self.own = [layers.Dense(12, use_bias=False, name=f"own{i}") for i in range(3)]
        self.masks = [layers.Dense(8, use_bias=False, name=f"mask{i}") for i in range(2)]
        self.head = layers.Dense(2, name="head")

    def gated(self, x):
        value, gate = tf.split(x, 2, -1)
        return value * tf.sigmoid(gate)

    def step(self, x, own):
        x = self.gated(self.shared(x))
        return (x + self.gated(own(x))) * tf.sqrt(0.5)

    def call(self, x):
        made, found = self.step(x, self.own[0]), 0.0
        for mask, own in zip(self.masks, self.own[1:], strict=True):
            made = self.step(tf.nn.softmax(mask(made[:, 4:])) * x, own)
            found += tf.nn.relu(made[:, :4])
        return self.head(found)


def steps():
    return Steps()


def masked_sum():
    x, mask = keras.Input((5, 4)), keras.Input((5,))
    made = layers.Dense(6, activation="relu", name="first")(x) * keras.ops.expand_dims(mask, -1)
    return keras.Model([x, mask], layers.Dense(2, name="head")(keras.ops.sum(made, 1)))


def _shares(share):
    features = keras.Input((6,))
    x = layers.Dense(5, activation="relu", name="first")(features)
    x = layers.Lambda(share, output_shape=(5,), name="shares")(x)
    return keras.Model(features, layers.Dense(3, name="head")(x))


def shares_by_sample():
    return _shares(lambda x: tf.vectorized_map(lambda one: one / (1.0 + tf.reduce_sum(one)), x))


def shares():
    return _shares(lambda x: x / (1.0 + tf.reduce_sum(x, -1, keepdims=True)))


def additive():
    x, asking = keras.Input((10, 4)), keras.Input((5, 3))
    queries, values = layers.Dense(6, name="queries")(asking), layers.Dense(6, name="values")(x)
    mixed = layers.AdditiveAttention(name="attention")([queries, values])
    return keras.Model([x, asking], layers.Dense(2, name="head")(mixed))


class Codebook(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.head = layers.Dense(4, name="first"), layers.Dense(6, name="head")
        self.codes = self.add_weight(shape=(4, 7), name="codes", initializer="random_normal")

    def call(self, x):
        x = self.first(x)
        distances = tf.reduce_sum(x**2, 1, keepdims=True) + tf.reduce_sum(self.codes**2, 0) - 2 * x @ self.codes
        chosen = tf.one_hot(tf.argmin(distances, 1), 7, dtype=x.dtype)
        return self.head(x + tf.stop_gradient(tf.matmul(chosen, self.codes, transpose_b=True) - x))


def codebook():
    return Codebook()


class Linear(keras.Model):
    def __init__(self):
        super().__init__()
        self.queries, self.keys, self.values = (layers.Dense(8, name=name) for name in ("queries", "keys", "values"))
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        queries, keys = tf.nn.elu(self.queries(x)) + 1, tf.nn.elu(self.keys(x)) + 1
        mixed = tf.cumsum(tf.einsum("btd,bte->btde", keys, self.values(x)), 1)
        total = tf.reduce_sum(queries * tf.cumsum(keys, 1), -1, keepdims=True)
        return self.head(tf.einsum("btd,btde->bte", queries, mixed) / (total + 1e-6))


def linear_attention():
    return Linear()


class Powers(keras.Model):
    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(3, 4, 6), name="powers", initializer="glorot_uniform")
        self.head = layers.Dense(2, name="head")

    def call(self, given):
        x, graph = given
        terms = [x, graph @ x]
        terms.append(2 * graph @ terms[1] - terms[0])
        made = tf.add_n([tf.tensordot(term, self.weight[k], 1) for k, term in enumerate(terms)])
        return self.head(tf.reduce_sum(tf.nn.relu(made), 1))


def powers():
    return Powers()


def _bent(function, steep=0.3):
    kernel = keras.initializers.RandomNormal(stddev=steep, seed=3)
    body = layers.Dense(400, activation=function, kernel_initializer=kernel, name="body")
    return keras.Sequential([keras.Input((6,)), body])


def elu():
    return _bent("elu")


def tanh():
    return _bent("tanh", 2.0)


def leaking():
    features = keras.Input((6,))
    x = layers.ReLU(negative_slope=0.1, name="act")(layers.Dense(5, name="body")(features))
    return keras.Model(features, layers.Dense(2, name="head")(x))


def lines():
    features = keras.Input((6,))
    x = layers.Dense(5, activation="relu", name="body")(features)
    return keras.Model(features, layers.Dense(2, name="head")(x))


def normed():
    features = keras.Input((6,))
    norm = layers.BatchNormalization(name="norm")
    x = norm(layers.Dense(5, name="body")(features))
    body = [[0.1 * ((3 * i + 7 * j) % 11) - 0.4 for j in range(5)] for i in range(6)]
    model = keras.Model(features, x)
    model.set_weights([np.float32(one) for one in (body, [0.1] * 5, *STATISTICS)])
    return model


def gated():
    sequence = keras.Input((5, 4))
    gru = layers.GRU(3, name="gru")
    model = keras.Model(sequence, gru(sequence))
    rng = np.random.default_rng(5)
    gru.set_weights([rng.normal(size=weight.shape) for weight in gru.weights])
    return model


def sloped():
    image = keras.Input((6, 5, 3))
    x = layers.Conv2D(4, 3, padding="same", name="body")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="act")(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="head")(x))


def places():
    return keras.Sequential([keras.Input((6, 5, 3)), layers.Dense(4, name="body")])


class Bilinear(layers.Layer):
    def build(self, shapes):
        sizes = shapes[0][-1], shapes[1][-1], 4
        self.kernel = self.add_weight(shape=sizes, name="kernel", initializer="glorot_uniform")
        self.bias = self.add_weight(shape=(4,), name="bias")

    def call(self, inputs):
        return tf.einsum("bi,ijk,bj->bk", inputs[0], self.kernel, inputs[1]) + self.bias


def bilinear():
    first, second = keras.Input((6,)), keras.Input((5,))
    return keras.Model([first, second], layers.Dense(3, name="head")(Bilinear(name="both")([first, second])))


class Directed(layers.Layer):
    """A convolution whose kernel is a length times a direction."""

    def __init__(self, normed=True, **words):
        super().__init__(**words)
        self.normed = normed

    def build(self, shape):
        self.direction = self.add_weight(shape=(3, shape[-1], 8), name="direction", initializer="glorot_uniform")
        self.length = self.add_weight(shape=(8,), name="length", initializer="ones")
        self.bias = self.add_weight(shape=(8,), name="bias")

    def call(self, x):
        direction = tf.nn.l2_normalize(self.direction, (0, 1)) if self.normed else self.direction
        return tf.nn.conv1d(x, self.length * direction, 1, "VALID") + self.bias


def _convolved(layer):
    x = keras.Input((9, 6))
    return keras.Model(x, layers.Dense(3, name="head")(layer(x)))


def directed():
    return _convolved(Directed(name="conv"))


def directed_at_any_length():
    return _convolved(Directed(False, name="conv"))


def convolved():
    return _convolved(layers.Conv1D(8, 3, name="conv"))
