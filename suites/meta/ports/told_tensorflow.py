"""Networks whose ports lack something that no setting brings back, in Keras."""

import keras
import tensorflow as tf
from keras import layers
from told_tables import in_turns


def blocks():
    given = keras.Input((7, 12))
    x = layers.Dense(12, name="first")(given)
    for number in range(2):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"norm_{number}")(x)
        y = layers.Dense(12, name=f"down_{number}")(layers.Dense(24, activation="relu", name=f"up_{number}")(y))
        x = layers.Add(name=f"add_{number}")([x, y])
    return keras.Model(given, layers.Dense(3, name="head")(x))


class Places(layers.Layer):
    def call(self, x):
        return x + in_turns(7, 12)[None]


def places():
    given = keras.Input((7, 12))
    x = Places(name="places")(layers.Dense(12, name="first")(given))
    return keras.Model(given, layers.Dense(3, name="head")(layers.LayerNormalization(epsilon=1e-5, name="norm")(x)))


def heads():
    given = keras.Input((12,))
    x = layers.Dense(8, activation="relu", name="body")(given)
    return keras.Model(given, [layers.Dense(3, name="a")(x), layers.Dense(4, activation="sigmoid", name="b")(x)])


def _masked(layer):
    given = keras.Input((7,), dtype="int32")
    x = layer(layers.Embedding(9, 6, mask_zero=True, name="words")(given))
    return keras.Model(given, layers.Dense(3, name="head")(x))


def masked_lstm():
    return _masked(layers.LSTM(5, name="over"))


def masked_mean():
    return _masked(layers.GlobalAveragePooling1D(name="over"))


def pictures():
    return keras.Sequential([
        keras.Input((20, 28, 3)),
        layers.Conv2D(8, 3, activation="relu", name="first"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Conv2D(12, 3, activation="relu", name="second"),
        layers.Flatten(name="flatten"),
        layers.Dense(16, activation="relu", name="hidden"),
        layers.Dense(5, name="head"),
    ])  # fmt: skip


def tokens():
    return keras.Sequential([
        keras.Input((7,), dtype="int32"),
        layers.Embedding(9, 6, name="table"),
        layers.GRU(10, name="over"),
        layers.Dense(3, name="head"),
    ])  # fmt: skip


def every_token():
    given = keras.Input((7, 12))
    x = layers.Dense(12, name="first")(given)
    return keras.Model(given, layers.LayerNormalization(epsilon=1e-5, name="norm")(x))


def first_token():
    given = keras.Input((7, 12))
    x = layers.Dense(12, name="first")(given)
    return keras.Model(given, layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, 0]))


def stepped():
    given = keras.Input((7, 4))
    x = layers.RNN(layers.LSTMCell(5), name="steps")(given)
    return keras.Model(given, layers.Dense(3, name="head")(x))


class Waves(tf.Module):
    """Sequences that TensorFlow convolves as pictures of one row."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((5, 2, 4), (1, 2)), name="kernel")
        self.bias = tf.Variable(tf.zeros(4), name="bias")

    def __call__(self, x):
        return tf.nn.conv1d(x, self.kernel, 1, "VALID") + self.bias


def waves():
    return Waves()
