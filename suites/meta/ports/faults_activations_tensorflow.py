"""Activations, biases and weights, in Keras as they should be."""

import keras
from hosts_tensorflow import deep, fill, gating, hosted, shallow
from keras import layers, ops


def conv(x, activation=None, **options):
    return layers.Conv2D(x.shape[-1], 3, padding="same", activation=activation, name="slot_conv", **options)(x)


def then(activation):
    """Return a slot: a convolution, then this layer or function."""
    return lambda x: activation(conv(x))


def nothing(x):
    return x


def six_at_most(x):
    return layers.ReLU(6.0, name="slot_act")(layers.Rescaling(7.0, name="slot_more")(conv(x)))


def tanh_gelu(x):
    return ops.gelu(conv(x))  # the function of keras.ops approximates with tanh


def legacy_hard_sigmoid():
    """Return a model of the legacy Keras, whose hard_sigmoid has another slope."""
    import tf_keras

    model = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(6, 3, activation="relu", name="first", input_shape=(21, 18, 3)),
            tf_keras.layers.Conv2D(6, 3, padding="same", name="slot_conv"),
            tf_keras.layers.Activation("hard_sigmoid", name="slot_act"),
            tf_keras.layers.Conv2D(5, (2, 3), name="second"),
            tf_keras.layers.GlobalAveragePooling2D(name="pool"),
            tf_keras.layers.Dense(4, name="last"),
        ]
    )
    from drawn import drawn

    for weight in model.weights:
        weight.assign(drawn(weight.name.partition(":")[0], weight.shape))
    return model


def residual(x):
    """Return the map plus what two convolutions make of it, without an activation after the sum."""
    y = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu", name="slot_a")(x)
    y = layers.Conv2D(x.shape[-1], 3, padding="same", name="slot_b")(y)
    return layers.Add(name="slot_add")([x, y])


def bottleneck(x):
    """Return two convolutions of one shape."""
    x = layers.Conv2D(x.shape[-1], 3, padding="same", activation="tanh", name="slot_a")(x)
    return layers.Conv2D(x.shape[-1], 3, padding="same", name="slot_b")(x)


def two_gates(v):
    v = layers.Dense(v.shape[-1], activation="relu", name="slot_inner_a")(v)
    return layers.Dense(v.shape[-1], name="slot_inner_b")(v)


def with_weight_norm(x):
    return layers.Conv2D(x.shape[-1], 3, padding="same", name="slot_conv")(x)


class FlippedHead(keras.layers.Layer):
    """Dense, spelled out."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,))

    def call(self, x):
        return ops.matmul(x, self.kernel) + self.bias


def output_permutation_shallow():
    return shallow(nothing)


def output_permutation_deep():
    network = deep(nothing)
    return fill(keras.Model(network.input, FlippedHead(5, name="classes")(network.get_layer("pool").output)))


gelu_approximation_shallow = hosted(lambda x: conv(x, "gelu"))[0]
gelu_approximation_deep = hosted(tanh_gelu)[1]
leaky_slope_shallow = hosted(then(layers.LeakyReLU(name="slot_act")))[0]
leaky_slope_deep = hosted(lambda x: conv(x, "leaky_relu"))[1]
prelu_sharing_shallow, prelu_sharing_deep = hosted(lambda x: layers.PReLU(name="slot_act")(conv(x)))
elu_alpha_shallow, elu_alpha_deep = hosted(then(layers.ELU(name="slot_act")))
softplus_threshold_shallow, softplus_threshold_deep = hosted(lambda x: conv(x, "softplus"))
hard_sigmoid_slope_shallow = legacy_hard_sigmoid
hard_sigmoid_slope_deep = hosted(lambda x: conv(x, "hard_sigmoid"))[1]
relu6_missing_shallow, relu6_missing_deep = hosted(six_at_most)
activation_missing_shallow, activation_missing_deep = hosted(lambda x: conv(x, "relu"))
activation_extra_shallow, activation_extra_deep = hosted(residual)
bias_missing_shallow, bias_missing_deep = hosted(conv)
weight_wrong_layer_shallow, weight_wrong_layer_deep = hosted(bottleneck)
dense_wrong_layer_shallow, dense_wrong_layer_deep = hosted(gating(two_gates))
weight_scale_shallow, weight_scale_deep = hosted(with_weight_norm)
spectral_norm_shallow, spectral_norm_deep = hosted(with_weight_norm)
never_loaded_shallow, never_loaded_deep = hosted(with_weight_norm)
dropout_active_shallow = hosted(lambda x: layers.Dropout(0.3, name="slot_drop")(conv(x)))[0]
dropout_active_deep = hosted(lambda x: layers.SpatialDropout2D(0.4, name="slot_drop")(conv(x)))[1]
