"""A residual and a convolution that strides over it: with SAME, or with a padding of its own."""

import keras
from keras import layers


def same():
    return _model(layers.Conv2D(5, 3, strides=2, padding="same", name="after"))


def padded():
    return _model(layers.ZeroPadding2D(1, name="border"), layers.Conv2D(5, 3, strides=2, name="after"))


def _model(*after):
    image = keras.Input((10, 8, 6))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="inner")(image)
    x = layers.Conv2D(6, 1, name="project")(x)
    x = layers.Add(name="joined")([image, x])
    for layer in after:
        x = layer(x)
    return keras.Model(image, layers.GlobalAveragePooling2D(name="pool")(x))
