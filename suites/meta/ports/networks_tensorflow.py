"""Parts of published networks, as Keras's examples and repositories of TensorFlow write them."""

import keras
import numpy as np
from keras import layers, ops


def patches_convolved():
    image = keras.Input((12, 16, 3))
    x = layers.Reshape((12, 8))(layers.Conv2D(8, 4, strides=4, name="embed")(image))
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-6)(x))


def patches_extracted():
    image = keras.Input((12, 16, 3))
    x = layers.Dense(8, name="embed")(ops.reshape(ops.image.extract_patches(image, 4), (-1, 12, 48)))
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-6)(x))


def enlarged():
    """A network of super-resolution takes the mean colour away with numbers of its code, and gives it back."""
    mean = np.array([0.4488, 0.4371, 0.4040], np.float32) * 255
    image = keras.Input((7, 6, 3))
    x = layers.Conv2D(6, 3, padding="same", name="head")((image - mean) / 127.5)
    return keras.Model(image, layers.Conv2D(3, 3, padding="same", name="tail")(ops.relu(x)) * 127.5 + mean)


class Swish(layers.Layer):
    def call(self, x):
        return x * ops.sigmoid(x)


def _bent(last):
    image = keras.Input((9, 8, 3))
    x = Swish(name="first")(layers.BatchNormalization()(layers.Conv2D(6, 3)(image)))
    x = last(layers.BatchNormalization()(layers.Conv2D(5, 3)(x)))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def bent():
    return _bent(Swish(name="last"))


def bent_by_relu():
    return _bent(layers.ReLU(name="last"))


def bent_not_at_all():
    return _bent(layers.Identity())


APART = np.abs(np.arange(6)[:, None] - np.arange(6))


class Near(layers.Layer):
    """Adds what a table, with a row for each distance, has for two heads."""

    def build(self, _):
        self.biases = self.add_weight(name="biases", shape=(6, 2), initializer="random_normal")

    def call(self, x):
        return x + ops.transpose(ops.take(self.biases, APART, axis=0), (2, 0, 1))


def near():
    x = words = keras.Input((6, 8))
    for name in ("near", "near_1"):
        q, k, v = [ops.transpose(ops.reshape(layers.Dense(8)(x), (-1, 6, 2, 4)), (0, 2, 1, 3)) for _ in range(3)]
        scores = ops.softmax(Near(name=name)(ops.matmul(q / 2, ops.transpose(k, (0, 1, 3, 2)))))
        x = x + layers.Dense(8)(ops.reshape(ops.transpose(ops.matmul(scores, v), (0, 2, 1, 3)), (-1, 6, 8)))
    return keras.Model(words, x)


def shuffled():
    """Makes pixels of channels by hand, a block of each colour after the other."""
    image = keras.Input((7, 6, 3))
    x = ops.reshape(layers.Conv2D(12, 3, padding="same")(image), (-1, 7, 6, 2, 2, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 14, 12, 3))
    return keras.Model(image, layers.Conv2D(4, 3)(x))
