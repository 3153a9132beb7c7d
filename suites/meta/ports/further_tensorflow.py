"""Networks as they stand in tutorials and papers' repositories, in Keras."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def generator():
    """Return what makes images out of noise: a Dense whose units become pixels."""
    noise = keras.Input((20,))
    x = layers.Dense(4 * 3 * 16, use_bias=False)(noise)
    x = layers.BatchNormalization(epsilon=1e-5)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Reshape((4, 3, 16))(x)
    x = layers.Conv2DTranspose(8, 4, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=1e-5)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    return keras.Model(noise, layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x))


def signal_generator():
    noise = keras.Input((11,))
    x = layers.Dense(6 * 5, activation="relu")(noise)
    x = layers.Reshape((6, 5))(x)
    return keras.Model(noise, layers.Conv1D(4, 3)(layers.UpSampling1D(2)(x)))


def coded():
    """Return an autoencoder with a flat code."""
    image = keras.Input((28, 20, 1))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(10, name="code")(layers.Flatten()(x))
    x = layers.Reshape((7, 5, 4))(layers.Dense(7 * 5 * 4, activation="relu", name="decode")(x))
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu", name="up1")(x)
    return keras.Model(image, layers.Conv2DTranspose(1, 3, 2, padding="same", activation="sigmoid", name="up2")(x))


def unscaled_norms():
    """Return two branches whose norms have no scale, since a ReLU follows."""

    def conv(x, filters, size):
        x = layers.Conv2D(filters, size, padding="same", use_bias=False)(x)
        return layers.Activation("relu")(layers.BatchNormalization(scale=False)(x))

    image = keras.Input((19, 17, 6))
    pooled = layers.AveragePooling2D(3, strides=1, padding="same")(image)
    x = layers.Concatenate()([conv(image, 4, 1), conv(conv(image, 4, 1), 6, 5), conv(pooled, 4, 1)])
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def stacked_attention():
    """Return attention whose queries, keys and values come out of one Dense, (3, heads, width) of it."""
    sequence = keras.Input((10, 12))
    qkv = ops.reshape(layers.Dense(36, name="qkv")(sequence), (-1, 10, 3, 3, 4))
    q, k, v = (ops.transpose(qkv, (2, 0, 3, 1, 4))[place] for place in range(3))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * 4**-0.5)
    mixed = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 10, 12))
    return keras.Model(sequence, layers.Dense(12, name="proj")(mixed))


def attention_of_pixels():
    """Return attention between the pixels of a picture, as diffusion models have it."""
    picture = keras.Input((5, 4, 6))
    q, k, v = (layers.Dense(6, name=name)(picture) for name in ("q", "k", "v"))
    scores = ops.reshape(ops.einsum("bhwc,bxyc->bhwxy", q, k) * 6**-0.5, (-1, 5, 4, 20))
    weights = ops.reshape(ops.softmax(scores, -1), (-1, 5, 4, 5, 4))
    mixed = ops.einsum("bhwxy,bxyc->bhwc", weights, v)
    return keras.Model(picture, picture + layers.Dense(6, name="out")(mixed))


def interleaved_attention():
    """Return the same with the three of each head side by side, and no biases."""
    sequence = keras.Input((10, 12))
    qkv = ops.reshape(layers.Dense(36, use_bias=False, name="qkv")(sequence), (-1, 10, 3, 3, 4))
    q, k, v = (ops.transpose(qkv[:, :, :, place], (0, 2, 1, 3)) for place in range(3))
    weights = ops.softmax(ops.einsum("bhqd,bhkd->bhqk", q, k) * 0.5, axis=-1)
    mixed = ops.transpose(ops.einsum("bhqk,bhkd->bhqd", weights, v), (0, 2, 1, 3))
    return keras.Model(sequence, layers.Dense(12, name="proj")(ops.reshape(mixed, (-1, 10, 12))))


class HeadsByHand(layers.Layer):
    """As the tutorials write it; nothing says which Dense is which, and they run in another order."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.width = heads, width
        self.wv, self.wk, self.wq, self.wo = (layers.Dense(width) for _ in range(4))

    def split(self, x):
        return ops.transpose(ops.reshape(x, (-1, x.shape[1], self.heads, self.width // self.heads)), (0, 2, 1, 3))

    def call(self, x):
        v, k, q = self.split(self.wv(x)), self.split(self.wk(x)), self.split(self.wq(x))
        weights = ops.softmax(q @ ops.transpose(k, (0, 1, 3, 2)) / (self.width // self.heads) ** 0.5, -1)
        return self.wo(ops.reshape(ops.transpose(weights @ v, (0, 2, 1, 3)), (-1, x.shape[1], self.width)))


def attention_by_hand():
    sequence = keras.Input((9, 12))
    return keras.Model(sequence, HeadsByHand(12, 3)(sequence))


def frames_to_sequence():
    """Return a convolution on every frame of a film, flattened, then an LSTM."""
    film = keras.Input((5, 12, 10, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(film)
    x = layers.TimeDistributed(layers.MaxPooling2D())(x)
    x = layers.Bidirectional(layers.LSTM(7))(layers.TimeDistributed(layers.Flatten())(x))
    return keras.Model(film, layers.Dense(1)(x))


def translator():
    """Return an encoder whose last states start the decoder."""
    source, target = keras.Input((7,), dtype="int32"), keras.Input((6,), dtype="int32")
    _, h, c = layers.LSTM(8, return_state=True)(layers.Embedding(20, 6, name="source")(source))
    y = layers.LSTM(8, return_sequences=True)(layers.Embedding(25, 6, name="target")(target), initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(25)(y))


class Fourier(layers.Layer):
    """Mixes places and channels."""

    def call(self, x):
        return ops.fft2((x, ops.zeros_like(x)))[0]


def fourier_mixing():
    sequence = keras.Input((10, 12))
    x = layers.LayerNormalization(epsilon=1e-5)(sequence + Fourier()(sequence))
    y = layers.Dense(12)(layers.Dense(20, activation="gelu")(x))
    x = layers.LayerNormalization(epsilon=1e-5)(x + y)
    return keras.Model(sequence, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


class Prototypes(layers.Layer):
    """The distance to each of seven points."""

    def build(self, shape):
        self.points = self.add_weight(shape=(7, shape[-1]), initializer="glorot_uniform", name="points")

    def call(self, x):
        return ops.sqrt(ops.sum(ops.square(ops.expand_dims(x, 1) - self.points), axis=-1))


def prototypes():
    features = keras.Input((9,))
    return keras.Model(features, Prototypes()(layers.Dense(6, activation="tanh")(features)))


def whole_numbers():
    """Return numbers rounded to sixteenths, and their remainders."""
    features = keras.Input((8,))
    x = ops.round(layers.Dense(6, activation="sigmoid")(features) * 15.0) / 15.0
    return keras.Model(features, ops.mod(layers.Dense(5)(x) * 3.0, 1.0))


def largest_four():
    sequence = keras.Input((15, 6))
    x = layers.Conv1D(8, 3, activation="relu", padding="same")(sequence)
    x = ops.top_k(ops.transpose(x, (0, 2, 1)), 4)[0]
    return keras.Model(sequence, layers.Dense(3)(layers.Flatten()(x)))


def squashed():
    """Return vectors squashed as capsules are, behind a leaky ReLU and a softplus written out."""
    vectors = keras.Input((6, 8))
    x = layers.LeakyReLU(negative_slope=(1 / 8 + 1 / 3) / 2)(layers.Dense(8)(vectors))
    x = ops.logaddexp(x, 0.0)
    size = ops.norm(x, axis=-1, keepdims=True)
    x = (size**2 / (1 + size**2)) * x / (size + 1e-8)
    return keras.Model(vectors, layers.Dense(3)(layers.Flatten()(x)))


def legacy_norms():
    """Return Keras 2's norms behind a convolution, where they take a fused kernel, and behind a Dense, where not."""
    import tf_keras

    made = tf_keras.layers
    return tf_keras.Sequential(
        [
            made.Conv2D(5, 3, input_shape=(9, 8, 3)),
            made.BatchNormalization(epsilon=1e-5, momentum=0.9, fused=True),
            made.ReLU(),
            made.GlobalAveragePooling2D(),
            made.Dense(6),
            made.BatchNormalization(epsilon=1e-5, momentum=0.9),
            made.Dense(2),
        ]
    )


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], "float32"), np.array([0.229, 0.224, 0.225], "float32")


def _small(image, x):
    x = layers.ReLU()(layers.Conv2D(6, 3, padding="same", name="conv")(x))
    return keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def whitened():
    """Return pixels with mean and deviation of their colours taken off by plain arithmetic."""
    image = keras.Input((12, 10, 3))
    return _small(image, (image / 255.0 - MEAN) / DEVIATION)


def whitened_by_layer():
    image = keras.Input((12, 10, 3))
    return _small(image, layers.Normalization(mean=MEAN, variance=DEVIATION**2, name="norm")(image))


class Whitened(tf.Module):
    """The same without Keras."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec((None, 12, 10, 3))])
    def __call__(self, x):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d((x - MEAN) / DEVIATION, self.kernel, 1, "SAME")), (1, 2))


def whitened_module():
    return Whitened()


def turned():
    """Return attention whose queries and keys are turned by their places, with tables made in double precision."""
    sequence = keras.Input((8, 12))
    q, k, v = (layers.Dense(12, name=name)(sequence) for name in ("q", "k", "v"))
    angles = np.arange(8)[:, None] / (100.0 ** (np.arange(6)[None] / 6))
    cos, sin = np.cos(angles).astype("float32"), np.sin(angles).astype("float32")

    def turn(x):
        a, b = x[..., :6], x[..., 6:]
        return ops.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    weights = ops.softmax(ops.einsum("btd,bsd->bts", turn(q), turn(k)) / np.sqrt(12.0), -1)
    return keras.Model(sequence, layers.Dense(4)(ops.matmul(weights, v)))


def sine_positions():
    """Return tokens with sines of their places, as in TensorFlow's tutorial on translation."""
    ids = keras.Input((40,), dtype="int32")
    places, depth = np.arange(40)[:, None], np.arange(16)[None]
    angles = places / np.power(10000, (2 * (depth // 2)) / np.float32(16))
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    x = layers.Embedding(50, 16)(ids) * np.sqrt(16.0).astype("float32") + angles[None].astype("float32")
    x = layers.LayerNormalization(epsilon=1e-6)(x + layers.MultiHeadAttention(2, 8)(x, x))
    return keras.Model(ids, layers.Dense(5)(x))


def enlarged_smoothly():
    image = keras.Input((12, 14, 3))
    first = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.AveragePooling2D(2)(first))
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    return keras.Model(image, layers.Conv2D(1, 1)(layers.Concatenate()([x, first])))


def masked_both_ways():
    """Return a sequence of tokens read both ways, zeros left out."""
    ids = keras.Input((9,), dtype="int32")
    x = layers.Bidirectional(layers.GRU(5))(layers.Embedding(20, 6, mask_zero=True)(ids))
    return keras.Model(ids, layers.Dense(1, activation="sigmoid")(x))


def conditioned():
    """Return an image whose channels are scaled and shifted by what another input says."""
    image, told = keras.Input((12, 10, 3)), keras.Input((4,))
    x = layers.Conv2D(8, 3, padding="same")(image)
    scale, shift = layers.Dense(8, name="scale")(told), layers.Dense(8, name="shift")(told)
    x = layers.ReLU()(x * ops.reshape(scale, (-1, 1, 1, 8)) + ops.reshape(shift, (-1, 1, 1, 8)))
    return keras.Model([image, told], layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))


def stem():
    """Return the first layers of a residual network, SAME throughout."""
    image = keras.Input((20, 20, 3))
    x = layers.Conv2D(8, 7, 2, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(x + layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def labelled_generator():
    """A noise vector and a label, each an image before they are joined."""
    noise, label = keras.Input((10,)), keras.Input((1,), dtype="int32")
    x = layers.Reshape((6, 5, 8))(layers.LeakyReLU(negative_slope=0.2)(layers.Dense(240)(noise)))
    y = layers.Reshape((6, 5, 2))(layers.Dense(60)(layers.Embedding(5, 8)(label)))
    return keras.Model([noise, label], layers.Conv2D(1, 5, padding="same")(layers.Concatenate()([x, y])))
