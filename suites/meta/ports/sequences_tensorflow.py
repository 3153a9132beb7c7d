"""Recurrent networks and text, in Keras."""

import keras
from hosts_tensorflow import fill
from keras import layers, ops


def _head(x, sequence):
    return keras.Model(sequence, layers.Dense(3, name="head")(x))


def lstm_last():
    sequence = keras.Input((9, 5))
    return _head(layers.LSTM(7)(sequence), sequence)


def lstm_drawn():
    """Return the last step of an LSTM, with weights that torch's file draws alike."""
    sequence = keras.Input((9, 5), name="sequence")
    return fill(_head(layers.LSTM(7, name="rnn")(sequence), sequence))


def lstm_sequence():
    sequence = keras.Input((9, 5))
    return _head(layers.LSTM(7, return_sequences=True)(sequence), sequence)


def lstm_both_ways():
    sequence = keras.Input((9, 5))
    return _head(layers.Bidirectional(layers.LSTM(4, return_sequences=True))(sequence), sequence)


def lstm_both_ways_last():
    sequence = keras.Input((9, 5))
    return _head(layers.Bidirectional(layers.LSTM(4))(sequence), sequence)


def lstm_stacked():
    sequence = keras.Input((9, 5))
    x = layers.LSTM(6, return_sequences=True)(sequence)
    return _head(layers.LSTM(4)(x), sequence)


def lstm_two_layers():
    sequence = keras.Input((9, 5))
    x = layers.LSTM(6, return_sequences=True)(sequence)
    return _head(layers.LSTM(6, return_sequences=True)(x), sequence)


def lstm_states():
    """Return the last output and the last cell."""
    sequence = keras.Input((9, 5))
    _, hidden, cell = layers.LSTM(6, return_state=True)(sequence)
    return _head(layers.Concatenate()([hidden, cell]), sequence)


def gru_last():
    sequence = keras.Input((9, 5))
    return _head(layers.GRU(7)(sequence), sequence)


def gru_both_ways():
    sequence = keras.Input((9, 5))
    return _head(layers.Bidirectional(layers.GRU(4, return_sequences=True))(sequence), sequence)


def simple_rnn():
    sequence = keras.Input((9, 5))
    return _head(layers.SimpleRNN(7)(sequence), sequence)


def text_lstm():
    ids = keras.Input((9,), dtype="int32")
    x = layers.Embedding(30, 6)(ids)
    return _head(layers.LSTM(7)(layers.SpatialDropout1D(0.2)(x)), ids)


def text_average():
    ids = keras.Input((9,), dtype="int32")
    return _head(layers.GlobalAveragePooling1D()(layers.Embedding(30, 6)(ids)), ids)


def text_convolutions():
    """Return three convolutions of other lengths side by side, the largest number of each."""
    ids = keras.Input((12,), dtype="int32")
    x = layers.Embedding(30, 6)(ids)
    found = [layers.GlobalMaxPooling1D()(layers.Conv1D(4, size, activation="relu")(x)) for size in (2, 3, 4)]
    return _head(layers.Dropout(0.5)(layers.Concatenate()(found)), ids)


class Tied(keras.Model):
    """The table of the embedding is the kernel of the last layer, too."""

    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(30, 6)
        self.mix = layers.Dense(6, activation="tanh")

    def call(self, ids):
        x = self.mix(self.table(ids))
        return ops.matmul(x, ops.transpose(self.table.embeddings))


def tied():
    return Tied()


def frames():
    """Return a small convolutional network for every frame, then an LSTM."""
    video = keras.Input((4, 9, 8, 3))
    frame = keras.Sequential(
        [keras.Input((9, 8, 3)), layers.Conv2D(5, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    )
    return _head(layers.LSTM(6)(layers.TimeDistributed(frame)(video)), video)
