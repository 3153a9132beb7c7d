"""Models of an examiner who had not read the tool: attention in several hands' ways, norms and branches."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def keys_first():
    """Scores as Keras's own attention has them: a product of keys and queries, transposed before the softmax."""
    image = keras.Input((8, 12))
    queries, keys, values = (
        layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 4), bias_axes="de", name=name)(image)
        for name in ("queries", "keys", "values")
    )
    shares = ops.softmax(ops.einsum("aecd,abcd->acbe", keys, queries * 0.5))
    mixed = ops.einsum("acbe,aecd->abcd", shares, values)
    x = layers.EinsumDense("abcd,cde->abe", output_shape=(None, 12), bias_axes="e", name="out")(mixed)
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-5, name="norm")(image + x))


def joined_heads():
    x = keras.Input((7, 8))
    queries, keys, values, same = (layers.Dense(8, use_bias=False, name=name)(x) for name in "qkvr")
    apart = [ops.stack(ops.split(one, 2, axis=-1), axis=1) for one in (queries, keys, values)]
    shares = ops.softmax(ops.matmul(apart[0], ops.transpose(apart[1], (0, 1, 3, 2))))
    mixed = ops.matmul(shares, apart[2])
    mixed = ops.concatenate([mixed[:, 0], mixed[:, 1]], -1)
    return keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(ops.relu(mixed + same))))


def normed_map():
    image = keras.Input((8, 12, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


class Halved(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = layers.Dense(6), layers.Dense(6), layers.Dense(3)

    def call(self, x):
        first = self.first(x)
        return self.head(tf.nn.relu((first + self.second(first)) * tf.sqrt(0.5)))


def halved():
    return Halved()


class Responding(keras.Model):
    """The normalisation of AlexNet, whose alpha counts for each neighbour; torch's counts for all of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Conv2D(6, 3, activation="relu"), layers.Conv2D(4, 3)

    def call(self, x):
        return self.second(tf.nn.local_response_normalization(self.first(x), 2, bias=1.0, alpha=2e-5, beta=0.75))


def responding():
    return Responding()


def _rotated(x, exact):
    """Half of each head's vector turned against the other half, as far as its place says."""
    angles = np.arange(7)[:, None] / np.array([1.0, 10.0])
    tables = (table[None, :, None] for table in (np.cos(angles), np.sin(angles)))
    cosine, sine = (ops.convert_to_tensor(table if exact else table.astype("float32"), x.dtype) for table in tables)
    first, second = x[..., :2], x[..., 2:]
    return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)


class Turned(layers.Layer):
    """Attention by turned queries and keys."""

    def __init__(self, exact, **words):
        super().__init__(**words)
        self.exact = exact
        self.q, self.k, self.v, self.out = (
            layers.Dense(12, use_bias=False, name=name) for name in ("q", "k", "v", "out")
        )

    def call(self, x):
        queries, keys, values = (ops.reshape(layer(x), (-1, 7, 3, 4)) for layer in (self.q, self.k, self.v))
        queries, keys = _rotated(queries, self.exact), _rotated(keys, self.exact)
        scores = ops.einsum("bqhd,bkhd->bhqk", queries, keys) / 2.0
        shares = ops.softmax(scores + np.triu(np.full((7, 7), -1e9, "float32"), 1))
        return self.out(ops.reshape(ops.einsum("bhqk,bkhd->bqhd", shares, values), (-1, 7, 12)))


def rotating(exact=True):
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 12, name="words")(words)
    for number in range(2):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"norm{number}")(x)
        x = x + Turned(exact, name=f"turned{number}")(y)
    return keras.Model(words, layers.Dense(5, name="head")(x))


def rotating_by_rounded_tables():
    return rotating(False)


def pyramid():
    """Convolutions of several rates on one image, and its mean, joined."""
    image = keras.Input((13, 17, 3))
    rates = (1, 2, 3, 4, 5)
    found = [
        layers.Conv2D(6, 3, dilation_rate=one, padding="same", use_bias=False, name=f"rate{one}")(image)
        for one in rates
    ]
    found = [layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name=f"norm{n}")(x)) for n, x in enumerate(found)]
    return keras.Model(image, layers.Conv2D(4, 1, name="last")(layers.Concatenate(name="joined")(found)))


def asked():
    """Keras's own layer of products, which are not scaled."""
    questions, texts = keras.Input((5, 6)), keras.Input((9, 6))
    queries, values = layers.LSTM(8, return_sequences=True)(questions), layers.LSTM(8, return_sequences=True)(texts)
    found = layers.Attention(name="asking")([queries, values])
    return keras.Model(
        [questions, texts], layers.Dense(3, name="head")(layers.Concatenate(name="both")([queries, found]))
    )


def fading():
    """A sum with numbers so small that TensorFlow computes with zero in their place."""
    numbers = keras.Input((300,))
    large = layers.Activation("gelu", name="fading")(layers.Rescaling(8.0, name="large")(numbers))
    return keras.Model(numbers, layers.Add(name="sum")([layers.ReLU(name="cut")(numbers), large]))


def normed():
    return keras.Sequential(
        [keras.Input((6, 5, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")]
    )


def remembering():
    return keras.Sequential([
        keras.Input((7, 5)), layers.GRU(6, return_sequences=True, name="gru"), layers.LSTM(4, name="lstm"),
        layers.Dense(3, name="head"),
    ])  # fmt: skip


class Sought(layers.Layer):
    """Attention of one head whose scores are divided by a root that its code takes."""

    def __init__(self, **words):
        super().__init__(**words)
        self.q, self.k, self.v = (layers.Dense(8, name=name) for name in ("q", "k", "v"))

    def call(self, x):
        scores = tf.matmul(self.q(x), self.k(x), transpose_b=True) / tf.sqrt(tf.constant(8.0, x.dtype))
        return tf.matmul(tf.nn.softmax(scores), self.v(x))


def rooted():
    numbers = keras.Input((5, 6))
    return keras.Model(numbers, Sought(name="sought")(numbers))


def drawn_heads():
    sequence = keras.Input((5, 12))
    attention = layers.MultiHeadAttention(3, 4, name="attention")
    model = keras.Model(sequence, attention(sequence, sequence))
    rng = np.random.default_rng(5)
    attention.set_weights([rng.normal(size=weight.shape) * 0.3 for weight in attention.weights])
    return model


class ThroughNumpy(keras.Model):
    def __init__(self):
        super().__init__()
        self.body = layers.Dense(4, name="body")

    def call(self, x):
        y = self.body(x)
        return tf.numpy_function(np.tanh, [y], y.dtype)


def through_numpy():
    return ThroughNumpy()


def graded():
    return keras.Sequential(
        [keras.Input((9,)), layers.Dense(7, activation="relu", name="body"), layers.Dense(4, name="head")]
    )


def turned_by_halves():
    """Halves of each head turned against each other, as a product of the whole and one of its halves exchanged."""
    numbers = keras.Input((5, 6))
    angles = np.tile(np.arange(5)[:, None] / np.array([1.0, 10.0]), 2)
    x = layers.Permute((2, 1, 3))(layers.Reshape((5, 3, 4))(layers.Dense(12, name="made")(numbers)))
    first, second = ops.split(x, 2, -1)
    cosine, sine = (table.astype("float32") for table in (np.cos(angles), np.sin(angles)))
    x = x * cosine + ops.concatenate([-second, first], -1) * sine
    x = layers.Reshape((5, 12))(layers.Permute((2, 1, 3))(x))
    return keras.Model(numbers, layers.Dense(4, name="head")(x))


def kept():
    image = keras.Input((6, 5, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    return keras.Model(image, layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm")(x)))


def bent():
    """Return GPT-2's GELU, written out, between two Dense layers."""
    numbers = keras.Input((5, 6))
    x = layers.Dense(9, name="wide")(numbers)
    x = 0.5 * x * (1.0 + ops.tanh((x + 0.044715 * ops.power(x, 3)) * np.sqrt(2.0 / np.pi)))
    return keras.Model(numbers, layers.Dense(4, name="narrow")(x))


def bent_at_once():
    numbers = keras.Input((5, 6))
    x = layers.Activation("gelu", name="act")(layers.Dense(9, name="wide")(numbers))
    return keras.Model(numbers, layers.Dense(4, name="narrow")(x))


def tagging():
    words = keras.Input((7, 6))
    tags = layers.Dense(4, activation="softmax", name="tag")
    return keras.Model(words, layers.TimeDistributed(tags, name="tags")(layers.GRU(5, return_sequences=True)(words)))


class Spectrum(keras.Model):
    """Of a signal, through the window that TensorFlow takes by default."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(3, name="out")

    def call(self, signal):
        return self.out(tf.abs(tf.signal.stft(signal, frame_length=32, frame_step=16)))


def spectrum():
    return Spectrum()


def scored():
    numbers = keras.Input((7, 12))
    x = layers.MultiHeadAttention(3, 4, name="attention")(numbers, numbers)
    return keras.Model(numbers, layers.Dense(5, name="head")(numbers + x))
