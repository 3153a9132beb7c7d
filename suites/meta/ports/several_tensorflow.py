"""Networks whose ports have more than one fault, in Keras as they should be."""

import keras
from hosts_tensorflow import fill, hosted, rows
from keras import layers


def small_image():
    """Return a classifier of two convolutions, pooling with padding, a norm and two dense layers."""
    return fill(
        keras.Sequential(
            [
                keras.Input((33, 28, 3)),
                layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="conv1"),
                layers.BatchNormalization(name="norm1"),
                layers.Conv2D(7, 3, padding="same", name="conv2"),
                layers.LeakyReLU(name="leaky"),
                layers.MaxPooling2D(3, strides=2, padding="same", name="pool"),
                layers.Conv2D(9, (3, 2), activation="gelu", name="conv3"),
                layers.GlobalAveragePooling2D(name="mean"),
                layers.Dense(8, activation="relu", name="dense1"),
                layers.Dense(5, name="dense2"),
            ]
        )
    )


def strided_conv(x):
    return layers.Conv2D(x.shape[-1], 3, strides=2, padding="same", name="slot_conv")(x)


def batch_norm(x):
    return layers.BatchNormalization(name="slot")(x)


def square_conv(x):
    return layers.Conv2D(x.shape[-1], 3, padding="same", name="slot")(x)


def wide(x):
    x = layers.Conv2D(x.shape[-1], 3, padding="same", dilation_rate=2, name="slot_a")(x)
    x = layers.BatchNormalization(name="slot_norm")(x)
    return layers.LeakyReLU(name="slot_act")(x)


def normed_lstm(s):
    s = layers.LayerNormalization(name="slot_norm")(s)
    return layers.LSTM(s.shape[-1], return_sequences=True, name="slot_lstm")(s)


layer_norm_and_lstm = rows(normed_lstm)

no_bias_and_padding_shallow, no_bias_and_padding_deep = hosted(strided_conv, stride=2)
eps_and_swap_shallow, eps_and_swap_deep = hosted(batch_norm)
flip_and_swap_shallow, flip_and_swap_deep = hosted(square_conv)
three_in_a_row_shallow, three_in_a_row_deep = hosted(wide)
eps_and_gates_shallow, eps_and_gates_deep = hosted(layer_norm_and_lstm)
