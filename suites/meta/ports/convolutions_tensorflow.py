"""Every kind of convolution, in Keras."""

import keras
from keras import layers


def _ends(x, image):
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def depthwise():
    image = keras.Input((15, 18, 4))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu")(image)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x)
    return _ends(layers.Conv2D(5, 1, activation="relu")(x), image)


def separable():
    image = keras.Input((15, 18, 4))
    x = layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="sep1")(image)
    return _ends(layers.SeparableConv2D(7, (3, 2), name="sep2")(x), image)


def transposed():
    """Return an image enlarged twice: without padding, and to exactly twice the size."""
    image = keras.Input((7, 6, 4))
    x = layers.Conv2DTranspose(5, 2, strides=2, activation="relu")(image)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
    return keras.Model(image, x)


def transposed_wide():
    """Return an image enlarged with kernels of four, which both frameworks crop alike."""
    image = keras.Input((7, 6, 4))
    return keras.Model(image, layers.Conv2DTranspose(3, 4, strides=2, padding="same")(image))


def signals():
    """Return 1-D convolutions along a sequence."""
    signal = keras.Input((40, 3))
    x = layers.Conv1D(6, 5, strides=2, activation="relu")(signal)
    x = layers.MaxPooling1D(2)(x)
    x = layers.Conv1D(8, 3, padding="same", dilation_rate=2, activation="relu")(x)
    return keras.Model(signal, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def causal():
    signal = keras.Input((23, 3))
    x = layers.Conv1D(6, 3, padding="causal", activation="relu")(signal)
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu")(x)
    return keras.Model(signal, layers.Conv1D(2, 1)(x))


def volumes():
    volume = keras.Input((9, 8, 7, 2))
    x = layers.Conv3D(4, (3, 2, 3), activation="relu")(volume)
    x = layers.Conv3D(4, (2, 2, 1), strides=(2, 2, 1))(x)
    x = layers.Conv3D(5, 2, padding="same", activation="relu")(x)
    return keras.Model(volume, layers.Dense(3)(layers.GlobalAveragePooling3D()(x)))


def dilated():
    image = keras.Input((19, 22, 3))
    x = layers.Conv2D(4, 3, dilation_rate=2, activation="relu")(image)
    return _ends(layers.Conv2D(6, 3, padding="same", dilation_rate=(1, 3), activation="relu")(x), image)


def grouped():
    image = keras.Input((13, 12, 4))
    x = layers.Conv2D(6, 3, groups=2, activation="relu")(image)
    return _ends(layers.Conv2D(9, 3, groups=3)(x), image)


def padded_pools():
    image = keras.Input((14, 17, 3))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(layers.Conv2D(5, 3)(image))
    return _ends(layers.AveragePooling2D(3, strides=1, padding="same")(x), image)


def reflected():
    image = keras.Input((14, 17, 3))
    x = keras.ops.pad(image, ((0, 0), (1, 1), (2, 2), (0, 0)), mode="reflect")
    return _ends(layers.Conv2D(5, (3, 5), activation="relu")(x), image)


def enlarged():
    image = keras.Input((7, 6, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(image)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D((2, 3), interpolation="bilinear")(x)
    return keras.Model(image, layers.Conv2D(2, 1)(x))


def cropped():
    image = keras.Input((17, 15, 3))
    x = layers.Conv2D(5, 3, activation="relu")(image)
    return _ends(layers.Cropping2D(((1, 2), (0, 3)))(x), image)


def tall_and_wide():
    """Return kernels that are not square, one after the other."""
    image = keras.Input((17, 15, 3))
    x = layers.Conv2D(5, (1, 7), padding="same", activation="relu")(image)
    return _ends(layers.Conv2D(5, (7, 1), padding="same", strides=(1, 2), activation="relu")(x), image)
