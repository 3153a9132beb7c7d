"""Normalisations and scales, in Keras as they should be."""

import keras
import tensorflow as tf
from hosts_tensorflow import deep, hosted, shallow, tokens
from keras import layers


def batch_norm(x):
    return layers.BatchNormalization(name="slot")(x)


def batch_norm_of_applications(x):
    return layers.BatchNormalization(epsilon=1.001e-5, name="slot")(x)


def torch_like_batch_norm(x):
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="slot")(x)


layer_norm = tokens(lambda s: layers.LayerNormalization(name="slot_inner")(s))
plain_layer_norm = tokens(
    lambda s: layers.LayerNormalization(epsilon=1e-5, center=False, scale=False, name="slot_inner")(s)
)


def group_norm(x):
    return layers.GroupNormalization(groups=2, epsilon=1e-5, name="slot")(x)


def tiny_normalised(x):
    """Return unit vectors of numbers so small that the floor under the norm decides."""
    x = layers.Rescaling(1e-8, name="slot_tiny")(x)
    return layers.Lambda(lambda t: tf.math.l2_normalize(t, axis=-1), name="slot_unit")(x)


def nothing(x):
    return x


def residual(x):
    """Return the map plus a fifth of what a convolution makes of it."""
    y = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu", name="slot_conv")(x)
    y = layers.Rescaling(0.2, name="slot_scale")(y)
    return layers.Add(name="slot_add")([x, y])


def before(network, layer):
    """Return the network with a layer before it that changes the image."""
    image = keras.Input((network.input_shape[1:]), name="pixels")
    return keras.Model(image, network(layer(image)))


def input_scale_shallow():
    return before(shallow(nothing), layers.Rescaling(1 / 255, name="scale"))


def input_mean_shallow():
    return before(shallow(nothing), layers.Rescaling(1 / 255, name="scale"))


def input_scale_deep():
    return before(deep(nothing), layers.Rescaling(1 / 127.5, offset=-1, name="scale"))


def channel_order_shallow():
    return before(shallow(nothing), layers.Lambda(lambda t: t[..., ::-1], name="to_bgr"))


def channel_order_deep():
    return before(deep(nothing), layers.Lambda(lambda t: tf.reverse(t, axis=[-1]), name="to_bgr"))


def frozen(builder):
    """Return a builder whose network has a frozen batch normalisation."""

    def build():
        network = builder()
        network.get_layer("slot").trainable = False
        return network

    return build


def with_positive_means(builder):
    """Return a builder whose network has moving means that could pass for variances."""

    def build():
        network = builder()
        mean = network.get_layer("slot").moving_mean
        mean.assign(keras.ops.abs(mean) + 0.2)
        return network

    return build


batchnorm_eps_shallow = hosted(batch_norm)[0]
batchnorm_eps_deep = hosted(batch_norm_of_applications)[1]
batchnorm_mode_shallow, batchnorm_mode_deep = hosted(torch_like_batch_norm)
batchnorm_stats_swap_shallow, batchnorm_stats_swap_deep = hosted(torch_like_batch_norm)
mean_variance_swap_shallow, mean_variance_swap_deep = map(with_positive_means, hosted(torch_like_batch_norm))
variance_root_shallow, variance_root_deep = hosted(torch_like_batch_norm)
layernorm_eps_shallow, layernorm_eps_deep = hosted(layer_norm)
groupnorm_groups_shallow, groupnorm_groups_deep = hosted(group_norm)
norm_axes_shallow, norm_axes_deep = hosted(plain_layer_norm)
l2_normalize_eps_shallow, l2_normalize_eps_deep = hosted(tiny_normalised)
residual_scale_shallow, residual_scale_deep = hosted(residual)
batchnorm_momentum_shallow = hosted(batch_norm)[0]
batchnorm_momentum_deep = hosted(batch_norm)[1]
batchnorm_running_variance_shallow, batchnorm_running_variance_deep = hosted(torch_like_batch_norm)
batchnorm_frozen_shallow, batchnorm_frozen_deep = map(frozen, hosted(torch_like_batch_norm))
