"""Networks as they stand in tutorials and papers' repositories, in Keras."""

import keras
from keras import layers


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
