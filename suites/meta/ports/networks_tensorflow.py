"""Parts of published networks, as Keras's examples and repositories of TensorFlow write them."""

import keras
from keras import layers, ops


def patches_convolved():
    image = keras.Input((12, 16, 3))
    x = layers.Reshape((12, 8))(layers.Conv2D(8, 4, strides=4, name="embed")(image))
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-6)(x))


def patches_extracted():
    image = keras.Input((12, 16, 3))
    x = layers.Dense(8, name="embed")(ops.reshape(ops.image.extract_patches(image, 4), (-1, 12, 48)))
    return keras.Model(image, layers.LayerNormalization(epsilon=1e-6)(x))
