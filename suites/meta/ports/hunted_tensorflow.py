"""What testers who did not know the tool brought, reduced to what matters, in Keras and TensorFlow."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def _flat(image):
    return layers.Flatten()(layers.Conv2D(4, 3)(image))


def flat_norm():
    image = keras.Input((8, 7, 3))
    return keras.Model(image, layers.Dense(5)(layers.BatchNormalization(epsilon=1e-5)(_flat(image))))


def flat_layer_norm():
    image = keras.Input((8, 7, 3))
    return keras.Model(image, layers.Dense(5)(layers.LayerNormalization(epsilon=1e-5)(_flat(image))))


def flat_product():
    image = keras.Input((8, 7, 3))
    return keras.Model(image, layers.Dense(5)(layers.Multiply()([_flat(image), _flat(image)])))


def flat_beside_numbers():
    image, numbers = keras.Input((8, 7, 3)), keras.Input((5,))
    return keras.Model([image, numbers], layers.Dense(4)(layers.Concatenate()([_flat(image), numbers])))


def flat_pyramid():
    image = keras.Input((16, 12, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    levels = [layers.Flatten()(layers.MaxPooling2D((16 // n, 12 // n))(x)) for n in (4, 2, 1)]
    return keras.Model(image, layers.Dense(4)(layers.BatchNormalization(epsilon=1e-5)(layers.Concatenate()(levels))))


def flat_result():
    image = keras.Input((8, 7, 3))
    return keras.Model(image, layers.BatchNormalization(epsilon=1e-5, name="norm")(_flat(image)))


class Patches(layers.Layer):
    """Cuts an image into squares of four."""

    def call(self, x):
        return ops.reshape(tf.image.extract_patches(x, [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], "VALID"), (-1, 12, 48))


def patches():
    image = keras.Input((12, 16, 3))
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-6)(layers.Dense(8)(Patches()(image))))


def capped():
    image = keras.Input((12, 10, 3))
    x = layers.ReLU(6.0, name="capped")(layers.Conv2D(6, 3, activation="tanh")(image))  # six is never reached
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


class Neighbours(tf.Module):
    """Divides by what the neighbouring channels hold: two on either side."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal((3, 3, 3, 8), stddev=0.3))

    def __call__(self, x):
        x = tf.nn.conv2d(x, self.kernel, 1, "SAME")
        return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=0.1, beta=0.75)


def neighbours():
    return Neighbours()


class Rms(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6) * self.scale


def root_mean_square():
    sequence = keras.Input((6, 16))
    return keras.Model(sequence, layers.Dense(3)(Rms()(layers.Dense(16)(sequence))))


class Places(layers.Layer):
    """Adds sines of the places; the table is computed in double and cast."""

    def call(self, x):
        angles = np.arange(11)[:, None] / 10000 ** (np.arange(8)[None] // 2 * 2 / 8)
        table = np.where(np.arange(8) % 2, np.cos(angles), np.sin(angles))
        return x + ops.cast(table, x.dtype)


def places():
    ids = keras.Input((11,), dtype="int32")
    return keras.Model(ids, layers.Dense(3)(Places()(layers.Embedding(40, 8)(ids))))


def named():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, activation="relu")(image)
    logits = layers.Dense(5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, {"logits": logits, "mask": layers.Conv2D(1, 1, activation="sigmoid")(x)})


def boxes():
    """The heads of two levels, a row of four numbers for each of two boxes per pixel."""
    image = keras.Input((12, 10, 3))
    first = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    levels = [layers.Conv2D(8, 3, padding="same")(x) for x in (first, layers.MaxPooling2D(2)(first))]
    return keras.Model(image, layers.Concatenate(axis=1)([layers.Reshape((-1, 4))(x) for x in levels]))


def complement():
    vector = keras.Input((9,))
    shares = layers.Dense(6, activation="softmax")(vector)  # small beside what they are taken from
    return keras.Model(vector, layers.Dense(3)(layers.Lambda(lambda x: 1.3 - x)(shares)))


def thrice():
    image = keras.Input((4, 6, 3))
    x = layers.Resizing(12, 18, interpolation="bilinear", name="larger")(layers.Conv2D(4, 3, padding="same")(image))
    return keras.Model(image, layers.Conv2D(2, 1)(x))


def value():
    """A head without an activation, behind a mean that is never negative."""
    image = keras.Input((12, 10, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    return keras.Model(image, [layers.Dense(1)(x), ops.clip(layers.Dense(2)(x), -20.0, 2.0)])


def steps():
    """As many steps as channels: a sample's shape says nothing of its axes."""
    sequence = keras.Input((8, 3))
    return keras.Model(sequence, layers.LSTM(8, return_sequences=True, name="lstm")(sequence))


def duel():
    """A value and advantages, whose mean is taken away."""
    vector = keras.Input((9,))
    x = layers.Dense(12, activation="relu")(vector)
    value, advantage = layers.Dense(1)(x), layers.Dense(4)(x)
    return keras.Model(vector, value + (advantage - ops.mean(advantage, axis=1, keepdims=True)))


def residual():
    """Three blocks around which their input is led, and a norm at the end."""
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    for place in range(3):
        y = layers.Conv2D(6, 3, padding="same", activation="tanh", name=f"conv{place}")(x)
        x = layers.Activation("silu", name=f"act{place}")(layers.Add(name=f"sum{place}")([x, y]))
    x = layers.LayerNormalization(epsilon=1e-5, name="last_norm")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(3, name="head")(x))
