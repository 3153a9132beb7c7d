"""What a layer is given beside one input: the last states of another, masks made of the model's inputs, in Keras."""

import keras
from keras import layers, ops


def translator():
    source, target = keras.Input((7, 6)), keras.Input((5, 6))
    _, h, c = layers.LSTM(8, return_state=True, name="encoder")(source)
    y = layers.LSTM(8, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(4, name="head")(y))


def both_ways(kind=layers.GRU):
    source, target = keras.Input((7, 6)), keras.Input((5, 6))
    _, *states = layers.Bidirectional(kind(4, return_state=True), name="encoder")(source)
    y = layers.Bidirectional(kind(4, return_sequences=True), name="decoder")(target, initial_state=states)
    return keras.Model([source, target], layers.Dense(4, name="head")(y))


def both_ways_lstm():
    return both_ways(layers.LSTM)


def joined():
    """Return a decoder that runs forwards only, from the states of both directions side by side."""
    source, target = keras.Input((7, 6)), keras.Input((5, 6))
    _, h1, c1, h2, c2 = layers.Bidirectional(layers.LSTM(4, return_state=True), name="encoder")(source)
    h, c = layers.Concatenate()([h1, h2]), layers.Concatenate()([c1, c2])
    y = layers.LSTM(8, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(4, name="head")(y))


def tokens():
    ids = keras.Input((9,), dtype="int32")
    x = layers.GRU(5, name="reader")(layers.Embedding(20, 6, mask_zero=True, name="words")(ids))
    return keras.Model(ids, layers.Dense(1, name="head")(x))


class Seen(layers.Layer):
    def call(self, places):
        return ops.expand_dims(places > -1.0, 1)


def padded():
    sequence, places = keras.Input((7, 12)), keras.Input((7,))
    attention = layers.MultiHeadAttention(3, 4, name="attention")
    return keras.Model([sequence, places], attention(sequence, sequence, attention_mask=Seen()(places)))


def plain():
    sequence = keras.Input((7, 12))
    return keras.Model(sequence, layers.MultiHeadAttention(3, 4, name="attention")(sequence, sequence))


def one_way():
    sequence = keras.Input((7, 5))
    return keras.Model(sequence, layers.Dense(3, name="head")(layers.LSTM(6, name="reader")(sequence)))


def ends(merge_mode="concat"):
    """Return a network that goes on with the last state of each direction."""
    sequence = keras.Input((7, 5))
    x = layers.Dense(8, activation="relu", name="first")(sequence)
    x = layers.Bidirectional(layers.GRU(6), merge_mode=merge_mode, name="reader")(x)
    return keras.Model(sequence, layers.Dense(3, name="head")(x))


def ends_summed():
    return ends("sum")
