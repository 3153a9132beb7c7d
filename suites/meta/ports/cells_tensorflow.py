"""Recurrence in its other forms, in Keras: cells in loops and stacks, sequences of several lengths, of an image."""

import keras
import tensorflow as tf
from drawn import drawn
from keras import layers, ops


class Loop(keras.Model):
    """Calls cells in a loop of its own, from zeros on; `take` makes one tensor of all steps and the last states."""

    def __init__(self, cells, take):
        super().__init__()
        self.cells, self.take, self.head = cells, take, layers.Dense(3)

    def call(self, x):
        states = [[ops.zeros((x.shape[0], n), x.dtype) for n in _sizes(cell)] for cell in self.cells]
        steps = []
        for time in range(x.shape[1]):
            y = x[:, time]
            for number, cell in enumerate(self.cells):
                y, states[number] = cell(y, states[number])
            steps.append(y)
        return self.head(self.take(steps, states))


def _sizes(cell):
    return cell.state_size if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]


def _all(steps, _):
    return ops.stack(steps, axis=1)


def _last(steps, _):
    return steps[-1]


def gru_loop():
    return Loop([layers.GRUCell(6)], _all)


def gru_loop_mean():
    return Loop([layers.GRUCell(6)], lambda steps, _: ops.mean(ops.stack(steps, axis=1), axis=1))


def gru_loop_reset_before():
    return Loop([layers.GRUCell(6, reset_after=False)], _all)


def gru_drawn():
    """Return the loop with weights that torch's file draws alike."""
    network = Loop([layers.GRUCell(6, name="gru_cell")], _all)
    network.head = layers.Dense(3, name="head")
    network(ops.zeros((2, 7, 5)))
    for weight in network.weights:
        weight.assign(drawn("/".join(["rnn", *weight.path.split("/")[-2:]]), weight.shape))
    return network


def lstm_loop():
    return Loop([layers.LSTMCell(6)], lambda _, states: ops.concatenate(states[0], axis=-1))


def rnn_loop():
    return Loop([layers.SimpleRNNCell(6)], _last)


def two_cells():
    return Loop([layers.LSTMCell(6), layers.LSTMCell(5)], _all)


def two_alike():
    return Loop([layers.GRUCell(6), layers.GRUCell(6)], _all)


def around_gru():
    sequence = keras.Input((7, 5))
    y, state = layers.RNN(layers.GRUCell(6), return_sequences=True, return_state=True)(sequence)
    return keras.Model(sequence, [layers.Dense(3)(y), layers.Dense(2)(state)])


def around_lstm():
    sequence = keras.Input((7, 5))
    x = layers.RNN(layers.LSTMCell(6), return_sequences=True)(sequence)
    return keras.Model(sequence, layers.Dense(3)(layers.RNN(layers.LSTMCell(4))(x)))


def around_both_ways():
    sequence = keras.Input((7, 5))
    x = layers.Bidirectional(layers.RNN(layers.GRUCell(6), return_sequences=True))(sequence)
    return keras.Model(sequence, layers.Dense(3)(x))


def stack():
    sequence = keras.Input((7, 5))
    cells = layers.StackedRNNCells([layers.LSTMCell(6), layers.LSTMCell(6), layers.LSTMCell(6)])
    return keras.Model(sequence, layers.Dense(3)(layers.RNN(cells, return_sequences=True)(sequence)))


def stack_of_gru():
    sequence = keras.Input((7, 5))
    cells = layers.StackedRNNCells([layers.GRUCell(6), layers.GRUCell(6)])
    return keras.Model(sequence, layers.Dense(3)(layers.RNN(cells)(sequence)))


class Translator(keras.Model):
    """Reads with a stack of cells, and writes from its states on with another."""

    def __init__(self):
        super().__init__()
        self.reader, self.writer = (
            layers.RNN(
                layers.StackedRNNCells([layers.LSTMCell(6), layers.LSTMCell(6)]),
                return_sequences=True,
                return_state=True,
            )
            for _ in range(2)
        )
        self.head = layers.Dense(4)

    def call(self, inputs):
        given, told = inputs
        _, *states = self.reader(given)
        return self.head(self.writer(told, initial_state=states)[0])


def stack_translator():
    return Translator()


class Attending(keras.Model):
    """Writes step by step with a cell that looks back at what was read."""

    def __init__(self):
        super().__init__()
        self.words, self.read = layers.Embedding(20, 8), layers.GRU(10, return_sequences=True, return_state=True)
        self.query, self.key, self.score = layers.Dense(10, use_bias=False), layers.Dense(10), layers.Dense(1)
        self.told, self.cell, self.head = layers.Embedding(15, 7), layers.GRUCell(10), layers.Dense(15)

    def call(self, inputs):
        given, told = inputs
        read, state = self.read(self.words(given))
        told, steps = self.told(told), []
        for time in range(told.shape[1]):
            seen = self.score(ops.tanh(self.query(state)[:, None, :] + self.key(read)))
            seen = ops.sum(ops.softmax(seen, axis=1) * read, axis=1)
            y, [state] = self.cell(ops.concatenate([told[:, time], seen], -1), [state])
            steps.append(self.head(y))
        return ops.stack(steps, axis=1)


def attending():
    return Attending()


def gru_layer():
    sequence = keras.Input((7, 5))
    return keras.Model(sequence, layers.Dense(3)(layers.GRU(6, return_sequences=True)(sequence)))


def lstm_states():
    sequence = keras.Input((7, 5))
    _, *states = layers.LSTM(6, return_state=True)(sequence)
    return keras.Model(sequence, layers.Dense(3)(layers.Concatenate()(states)))


def _columns(image):
    x = layers.MaxPooling2D(2)(layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    x = layers.BatchNormalization(epsilon=1e-5)(layers.Conv2D(5, 3, padding="same")(x))
    return layers.Reshape((x.shape[2], x.shape[1] * x.shape[3]))(layers.Permute((2, 1, 3))(x))


def columns():
    """Return what reads an image column by column: each is a step, its rows and channels are its numbers."""
    image = keras.Input((8, 18, 1))
    x = layers.Dense(7, activation="relu")(_columns(image))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    return keras.Model(image, layers.Dense(5, activation="log_softmax")(x))


def columns_at_once():
    image = keras.Input((8, 18, 1))
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True))(_columns(image))
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


class Lengths(keras.Model):
    """Two recurrent layers over sequences of several lengths, the second after the first."""

    def __init__(self, first, second):
        super().__init__()
        self.project, self.first, self.second, self.head = layers.Dense(6), first, second, layers.Dense(3)

    def call(self, inputs):
        x, lengths = inputs
        mask = ops.arange(x.shape[1])[None] < lengths
        return self.head(self.second(self.first(self.project(x), mask=mask), mask=mask))


def lengths():
    return Lengths(layers.Bidirectional(layers.LSTM(5, return_sequences=True)), layers.GRU(7))


def lengths_one_way():
    return Lengths(layers.GRU(5, return_sequences=True), layers.LSTM(7))


def lengths_two_layers():
    return Lengths(*(layers.Bidirectional(layers.LSTM(5, return_sequences=n == 0)) for n in range(2)))


class Sharpened(layers.Layer):
    """An operation that TensorFlow has for float32 alone, in a layer that is built before it has seen numbers."""

    def call(self, x):
        return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=0.1, beta=0.75)


def sharpened():
    image = keras.Input((9, 8, 3))
    x = Sharpened()(layers.Conv2D(8, 3, padding="same")(image))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
