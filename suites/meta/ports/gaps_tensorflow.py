"""Models in Keras and TensorFlow, in whose ports one thing may be written otherwise than it is meant."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def _convolutions(kit=keras):
    image = kit.Input((12, 10, 3))
    x = kit.layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = kit.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    return kit.Model(image, kit.layers.Dense(4, name="head")(kit.layers.GlobalAveragePooling2D()(x)))


def convolutions():
    return _convolutions()


def _frozen(network):
    network.get_layer("first").trainable = False
    return network


def frozen_first():
    return _frozen(_convolutions())


def frozen_first_of_keras_2():
    import tf_keras

    return _frozen(_convolutions(tf_keras))


class TrueConvolution(layers.Layer):
    """Flips its kernel, as signal processing means a convolution."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 8), name="kernel", initializer="glorot_uniform")
        self.bias = self.add_weight(shape=(8,), name="bias", initializer="zeros")

    def call(self, x):
        return tf.nn.relu(tf.nn.conv2d(x, self.kernel[::-1, ::-1], 1, "VALID") + self.bias)


def true_convolution():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = layers.GlobalAveragePooling2D()(TrueConvolution(name="second")(x))
    return keras.Model(image, layers.Dense(4, name="head")(x))


class Directions(layers.Layer):
    """Measures how far its input goes in learned directions."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel", initializer="glorot_uniform")

    def call(self, x):
        return tf.matmul(x, tf.math.l2_normalize(self.kernel, axis=0))


def directions():
    image = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, activation="relu", name="first")(image))
    return keras.Model(image, Directions(name="directions")(x))


def residual():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    y = layers.BatchNormalization(epsilon=1e-5)(layers.Conv2D(6, 3, padding="same", name="second")(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="behind")(layers.Add(name="add")([y, x])))
    return keras.Model(image, layers.Dense(4, name="head")(x))


def _gated(gate):
    image = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(gate(layers.Conv2D(6, 3, name="first")(image)))
    return keras.Model(image, layers.Dense(4, name="head")(x))


def gated():
    return _gated(layers.Activation("hard_silu", name="gate"))


def gated_by_hand():
    return _gated(layers.Lambda(lambda x: x * tf.nn.relu6(x + 3.0) / 6.0, name="gate"))


def two_pools():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="first")(image)
    pools = layers.GlobalAveragePooling2D(name="mean"), layers.GlobalMaxPooling2D(name="largest")
    return keras.Model(image, layers.Dense(4, name="head")(layers.Concatenate()([pool(x) for pool in pools])))


def _units(function):
    image = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="first")(image))
    return keras.Model(image, layers.Dense(4, name="head")(layers.Lambda(function, name="unit")(x)))


def beyond_the_root():
    return _units(lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 1e-3))


def within_the_root():
    return _units(lambda x: x / tf.sqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True) + 1e-3))


def _normalised(kind):
    image = keras.Input((12, 10, 3))
    x = kind(epsilon=1e-5, name="norm")(layers.Conv2D(6, 3, name="first")(image))
    return keras.Model(image, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def normalised():
    return _normalised(layers.BatchNormalization)


class Always(layers.Layer):
    """Calls a normalisation in training mode, come what may."""

    def __init__(self, **options):
        super().__init__()
        self.norm = layers.BatchNormalization(**options)

    def call(self, x):
        return self.norm(x, training=True)


def always_of_the_batch():
    return _normalised(Always)


class Spectrum(layers.Layer):
    """Mixes a sequence by a transform over two axes, and shows the size of another one."""

    def call(self, x):
        mixed = tf.math.real(tf.signal.fft2d(tf.cast(x, tf.complex64)))
        return tf.concat([mixed, tf.abs(tf.signal.rfft(x))], -1)


def spectrum():
    sequence = keras.Input((6, 4))
    x = Spectrum(name="spectrum")(layers.Dense(5, name="first")(sequence))
    return keras.Model(sequence, layers.Dense(3, name="last")(x))


class Drops(keras.Model):
    """Drops numbers between two convolutions, in training or always."""

    def __init__(self, drop, always=None):
        super().__init__()
        self.first, self.drop, self.always = layers.Conv2D(6, 3, name="first"), drop, always
        self.second, self.head = layers.Conv2D(5, 3, name="second"), layers.Dense(4, name="head")

    def call(self, x, training=None):
        x = self.drop(self.first(x), training=self.always or training)
        return self.head(tf.reduce_mean(self.second(x), (1, 2)))


def drops():
    return Drops(layers.Dropout(0.4, name="drop"))


def drops_as_built():
    image = keras.Input((12, 10, 3))
    x = layers.Dropout(0.4, name="drop")(layers.Conv2D(6, 3, name="first")(image), training=True)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, name="second")(x))
    return keras.Model(image, layers.Dense(4, name="head")(x))


def drops_always():
    return Drops(layers.Dropout(0.4, name="drop"), True)


def drops_channels():
    return Drops(layers.SpatialDropout2D(0.4, name="drop"), True)


def drops_by_function():
    return Drops(lambda x, training: tf.nn.dropout(x, 0.4))  # noqa: ARG005


def noisy_always():
    return Drops(layers.GaussianNoise(0.4, name="drop"), True)


def slopes():
    image = keras.Input((6, 5, 3))
    x = layers.PReLU("random_uniform", name="slopes")(layers.Conv2D(4, 3, padding="same", name="first")(image))
    return keras.Model(image, layers.Dense(3, name="last")(layers.Flatten()(x)))


def depthwise():
    image = keras.Input((9, 8, 4))
    x = layers.DepthwiseConv2D(3, depth_multiplier=3, padding="same", name="inner")(image)
    x = layers.Conv2D(6, 1, name="last")(layers.ReLU()(layers.BatchNormalization(name="norm")(x)))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def cut_to_size():
    image = keras.Input((7, 6, 3))
    x = layers.Conv2DTranspose(5, 3, 2, padding="same", name="up")(image)[:, :13, :11]
    x = x + layers.Conv2D(5, 1, name="beside")(layers.Cropping2D(((0, 1), (0, 1)))(layers.UpSampling2D()(image)))
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def centred_backwards():
    image = keras.Input((8, 7, 3))
    x = image[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="first")(x)))


def no_activation():
    vector = keras.Input((9,))
    x = layers.Activation("linear", name="nothing")(layers.Dense(12, name="first")(vector))
    return keras.Model(vector, layers.Dense(3, name="last")(x))


def distance():
    first, second = keras.Input((9, 8, 3)), keras.Input((9, 8, 3))
    shared = layers.Conv2D(6, 3, activation="relu", name="shared")
    apart = layers.GlobalMaxPooling2D()(shared(first)) - layers.GlobalAveragePooling2D()(shared(second))
    return keras.Model([first, second], layers.Dense(4, name="last")(keras.ops.abs(apart)))


def normalised_first():
    image = keras.Input((12, 10, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="first")(image))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.ReLU(name="behind")(x))))


def rectified_first():
    image = keras.Input((12, 10, 3))
    x = layers.ReLU(name="behind")(layers.Conv2D(6, 3, name="first")(image))
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="norm")(x))
    return keras.Model(image, layers.Dense(4)(x))


def attends(places=7, heads=3, size=4):
    sequence = keras.Input((places, heads * size))
    x = layers.MultiHeadAttention(heads, size, name="attends")(sequence, sequence)
    return keras.Model(sequence, layers.Dense(5, name="last")(layers.LayerNormalization()(x)))


def equations():
    sequence = keras.Input((5, 12))
    query, key, value = (
        layers.EinsumDense("bte,ehd->bthd", (5, 3, 4), bias_axes="hd", name=name)(sequence)
        for name in ("query", "key", "value")
    )
    shares = keras.ops.softmax(keras.ops.einsum("bthd,bshd->bhts", query, key) / 2.0)
    x = keras.ops.einsum("bhts,bshd->bthd", shares, value)
    return keras.Model(sequence, layers.EinsumDense("bthd,hde->bte", (5, 7), bias_axes="e", name="out")(x))


def attends_to_five():
    return attends(5, 2, 5)


def shuffled():
    image = keras.Input((9, 8, 4))
    x = layers.Conv2D(12, 3, padding="same", groups=2, activation="relu", name="first")(image)
    x = layers.Reshape((9, 8, 12))(layers.Permute((1, 2, 4, 3))(layers.Reshape((9, 8, 3, 4))(x)))
    x = layers.Conv2D(6, 1, groups=3, name="last")(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def _around(layer):
    sequence = keras.Input((7, 6))
    return keras.Model(sequence, layers.Dense(3, name="head")(layer(layers.Dense(5, name="first")(sequence))))


def layer_norm():
    return _around(layers.LayerNormalization(epsilon=1e-5, name="norm"))


class ScaleFirst(layers.Layer):
    """Normalises by a scale that was divided by the deviation."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros", name="shift")

    def call(self, x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        scale = self.scale / tf.sqrt(tf.math.reduce_variance(x, -1, keepdims=True) + 1e-5)
        return x * scale + (self.shift - mean * scale)


def norm_scale_first():
    return _around(ScaleFirst(name="norm"))


def attention_unbiased():
    sequence = keras.Input((7, 6))
    attention = layers.MultiHeadAttention(2, 3, use_bias=False, name="attention")
    return keras.Model(sequence, layers.Dense(3, name="head")(attention(sequence, sequence)))


def normalised_without_batch():
    image = keras.Input((12, 10, 3))
    x = layers.BatchNormalization(epsilon=1e-3, name="norm")(layers.Conv2D(6, 3, name="first")(image))
    return keras.Model(image, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))


class ListedAndSummed(keras.Model):
    """Takes a list of two inputs, and returns the mean of what it computes beside it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(5, name="first"), layers.Dense(5, name="second")

    def call(self, inputs):
        made = tf.nn.relu(self.first(inputs[0]) + self.second(inputs[1]))
        return made, tf.reduce_mean(made)


def listed_and_summed():
    return ListedAndSummed()


class RowsKept(keras.Model):
    """Keeps the rows that begin with a positive number, however many these are."""

    def __init__(self):
        super().__init__()
        self.first, self.head = layers.Dense(5, name="first"), layers.Dense(3, name="head")

    def call(self, x):
        x = self.first(x)
        return self.head(tf.boolean_mask(x, x[:, 0] > 0))


def rows_kept():
    return RowsKept()


def fused():
    features = keras.Input((6,))
    first, second, third = (layers.Dense(4, name=name)(features) for name in ("first", "second", "third"))
    return keras.Model(features, layers.Dense(3, name="head")(first + 0.5 * (keras.ops.sigmoid(second) * third)))


def _repeating(repeat):
    features = keras.Input((6,))
    x = layers.Lambda(repeat, output_shape=(10,), name="repeat")(layers.Dense(5, name="first")(features))
    return keras.Model(features, layers.Dense(3, name="head")(x))


def repeated():
    return _repeating(lambda x: tf.repeat(x, 2, axis=-1))


def stacked():
    return _repeating(lambda x: tf.reshape(tf.stack([x, x], -1), [-1, 10]))


def highway():
    x = features = keras.Input((6,))
    for name in ("first", "second"):
        gate = layers.Dense(6, activation="sigmoid", name=f"{name}_gate")(x)
        inner = layers.Dense(6, activation="relu", name=f"{name}_inner")(x)
        x = layers.Add(name=name)([gate * inner, (1.0 - gate) * x])
    return keras.Model(features, x)


def crossed():
    image = keras.Input((7, 9, 3))
    x = layers.Conv2D(4, 3, name="stem")(image)
    both = [keras.ops.mean(x, 2, keepdims=True), keras.ops.transpose(keras.ops.mean(x, 1, keepdims=True), (0, 2, 1, 3))]
    shared = layers.Conv2D(2, 1, activation="relu", name="shared")(keras.ops.concatenate(both, 1))
    rows, columns = keras.ops.split(shared, [5], axis=1)
    rows = layers.Conv2D(4, 1, activation="sigmoid", name="rows")(rows)
    columns = layers.Conv2D(4, 1, activation="sigmoid", name="columns")(keras.ops.transpose(columns, (0, 2, 1, 3)))
    return keras.Model(image, x * rows * columns)


def involved():
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    kernels = layers.Conv2D(9, 1, name="kernels")(x)

    def weighed(given):
        patches = tf.image.extract_patches(given[0], [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
        products = tf.reshape(patches, (-1, 6, 6, 9, 4, 1)) * tf.reshape(given[1], (-1, 6, 6, 9, 1, 1))
        return tf.reshape(tf.reduce_sum(products, 3), (-1, 6, 6, 4))

    x = layers.ReLU(name="relu")(layers.Lambda(weighed, output_shape=(6, 6, 4), name="weighed")([x, kernels]))
    return keras.Model(image, layers.Conv2D(2, 1, name="head")(x))
