"""Activations and normalisations, in Keras."""

import keras
from keras import layers, ops


def _chain(size, *made):
    """Return convolutions, each followed by one of the layers or functions given."""
    image = x = keras.Input(size)
    for index, layer in enumerate(made):
        x = layer(layers.Conv2D(5, 1 if index else 3, name=f"conv{index}")(x))
    return keras.Model(image, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))


def rectifiers():
    return _chain(
        (13, 11, 3),
        layers.LeakyReLU(negative_slope=0.01),
        layers.ReLU(),
        layers.ReLU(max_value=6.0),
        layers.ELU(),
        layers.Activation("selu"),
        layers.Activation(lambda x: keras.activations.celu(x, alpha=1.3)),
    )


def smooth():
    return _chain(
        (13, 11, 3),
        layers.Activation("gelu"),
        layers.Activation("silu"),
        layers.Activation("mish"),
        layers.Activation("softplus"),
        layers.Activation("softsign"),
        layers.Activation("tanh"),
        layers.Activation("sigmoid"),
    )


def hard():
    return _chain(
        (13, 11, 3),
        layers.Activation("hard_sigmoid"),
        layers.Activation("hard_silu"),
        layers.Activation("hard_tanh"),
        layers.Activation("tanh_shrink"),
        layers.Activation("log_sigmoid"),
        layers.Activation("relu6"),
    )


def functions():
    return _chain((13, 11, 3), ops.relu, ops.sigmoid, ops.silu, ops.gelu, ops.leaky_relu, ops.softplus)


def learned():
    """Return slopes that are learned, one for each channel."""
    return _chain(
        (13, 11, 3),
        layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.RandomUniform(0.1, 0.4)),
        layers.PReLU(shared_axes=[1, 2, 3], alpha_initializer=keras.initializers.Constant(0.25)),
    )


def norms():
    return _chain(
        (13, 11, 3),
        layers.GroupNormalization(groups=5, epsilon=1e-5),
        layers.LayerNormalization(epsilon=1e-6),
        layers.BatchNormalization(epsilon=1e-5, scale=False, center=False),
        layers.UnitNormalization(axis=-1),
        layers.GroupNormalization(groups=1, epsilon=1e-5),
        layers.BatchNormalization(),
    )


def whole_map_norm():
    image = keras.Input((6, 5, 4))
    x = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-5)(layers.Conv2D(4, 1)(image))
    return keras.Model(image, layers.Conv2D(2, 3)(x))


def root_mean_square():
    sequence = keras.Input((7, 6))
    x = layers.RMSNormalization(epsilon=1e-5)(layers.Dense(6)(sequence))
    return keras.Model(sequence, layers.Dense(3)(x))


def log_softmax():
    features = keras.Input((7,))
    x = layers.Dense(6, activation="softmax")(features)
    return keras.Model(features, ops.log_softmax(layers.Dense(4)(x), axis=-1))
