"""Recurrent layers in Keras, and cells that TensorFlow code writes out step by step."""

import keras
import tensorflow as tf
from keras import layers


def _reader(layer, shape=(7, 5)):
    sequence = keras.Input(shape)
    return keras.Model(sequence, layers.Dense(3, name="head")(layer(sequence)))


def lstm():
    return _reader(layers.LSTM(6, name="reader"))


def lstm_steps():
    return _reader(layers.LSTM(6, return_sequences=True, name="reader"))


def lstm_hard():
    return _reader(layers.LSTM(6, recurrent_activation="hard_sigmoid", name="reader"))


def gru():
    return _reader(layers.GRU(6, name="reader"))


def gru_opened():
    return _reader(layers.GRU(6, reset_after=False, name="reader"))


def both_ways():
    return _reader(layers.Bidirectional(layers.LSTM(6), name="reader"))


def each_way():
    sequence = keras.Input((7, 5))
    ways = [layers.LSTM(6, go_backwards=way, name=f"way_{way}".lower())(sequence) for way in (False, True)]
    return keras.Model(sequence, layers.Dense(3, name="head")(layers.Concatenate()(ways)))


class Cell(layers.Layer):
    """A cell for `layers.RNN`: two matrices, its gates side by side in an order of their own."""

    def __init__(self, units=6):
        super().__init__()
        self.units = self.output_size = units
        self.state_size = [units, units]

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 4 * self.units), name="w")
        self.u = self.add_weight(shape=(self.units, 4 * self.units), name="u")
        self.b = self.add_weight(shape=(4 * self.units,), initializer="zeros", name="b")

    def call(self, x, states):
        state, memory = states
        product = keras.ops.matmul(x, self.w) + keras.ops.matmul(state, self.u) + self.b
        exit_, forget, new, entrance = keras.ops.split(product, 4, axis=-1)
        memory = keras.ops.sigmoid(forget) * memory + keras.ops.sigmoid(entrance) * keras.ops.tanh(new)
        state = keras.ops.sigmoid(exit_) * keras.ops.tanh(memory)
        return state, [state, memory]


def cell():
    return _reader(layers.RNN(Cell(), name="reader"))


def rnn():
    return _reader(layers.SimpleRNN(6, name="reader"))


def words():
    ids = keras.Input((7,), dtype="int32")
    x = layers.LSTM(6, return_sequences=True, name="first")(layers.Embedding(20, 5)(ids))
    return keras.Model(ids, layers.Dense(3, name="head")(layers.LSTM(6, name="second")(x)))


def film():
    frames = keras.Input((4, 8, 9, 3))
    x = layers.ConvLSTM2D(5, 3, padding="same", return_sequences=True, name="first")(frames)
    x = layers.ConvLSTM2D(4, 3, padding="same", name="second")(layers.BatchNormalization(name="norm")(x))
    return keras.Model(frames, layers.Conv2D(2, 1, name="head")(x))


class Written(keras.Model):
    """Multiplies what it reads with one matrix and the state with another, or both with one."""

    def __init__(self, joined):
        super().__init__()
        self.joined, self.of_input, self.head = joined, layers.Dense(24), layers.Dense(3)
        self.of_state = None if joined else layers.Dense(24, use_bias=False)

    def call(self, x):
        state = memory = tf.zeros((tf.shape(x)[0], 6), x.dtype)
        for time in range(x.shape[1]):
            if self.joined:
                gates = self.of_input(tf.concat([x[:, time], state], -1))
            else:
                gates = self.of_input(x[:, time]) + self.of_state(state)
            entrance, forget, new, exit_ = tf.split(gates, 4, axis=-1)
            memory = tf.sigmoid(forget) * memory + tf.sigmoid(entrance) * tf.tanh(new)
            state = tf.sigmoid(exit_) * tf.tanh(memory)
        return self.head(state)


def written():
    return Written(joined=False)


def written_joined():
    return Written(joined=True)
