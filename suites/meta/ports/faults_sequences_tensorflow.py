"""Recurrence, attention and embeddings, in Keras as they should be."""

import numpy as np
from hosts_tensorflow import hosted, rows, text_deep, text_shallow, tokens
from keras import layers, ops


def lstm(s):
    return layers.LSTM(s.shape[-1], return_sequences=True, name="slot_inner")(s)


def gru(s):
    return layers.GRU(s.shape[-1], return_sequences=True, name="slot_inner")(s)


def old_gru(s):
    return layers.GRU(s.shape[-1], return_sequences=True, reset_after=False, name="slot_inner")(s)


def both_ends(x):
    """Return an image to which the last states of both directions over the means of its rows are added."""
    channels = x.shape[-1]
    means = ops.mean(x, axis=2)
    ends = layers.Bidirectional(layers.GRU(channels // 2), name="slot_inner")(means)
    return layers.Add(name="slot_add")([x, layers.Reshape((1, 1, channels), name="slot_wide")(ends)])


def near(length):
    """Return which tokens may look at which: neighbours up to three places away."""
    places = np.arange(length)
    return (np.abs(places[:, None] - places[None, :]) <= 3)[None]


def masked(s):
    attention = layers.MultiHeadAttention(2, s.shape[-1] // 2, name="slot_inner")
    return attention(s, s, attention_mask=near(s.shape[1]))


def attention(s):
    return layers.MultiHeadAttention(3, s.shape[-1] // 3, name="slot_inner")(s, s)


def embed(ids):
    return layers.Embedding(20, 8, name="embed")(ids)


def text(embedding):
    """Return two builders: the shallow text network and the deep one."""
    return lambda: text_shallow(embedding), lambda: text_deep(embedding)


lstm_gate_order_shallow, lstm_gate_order_deep = hosted(rows(lstm))
gru_gate_order_shallow, gru_gate_order_deep = hosted(rows(gru))
recurrent_last_step_shallow, recurrent_last_step_deep = hosted(both_ends)
gru_reset_after_shallow, gru_reset_after_deep = hosted(rows(old_gru))
bias_doubled_shallow, bias_doubled_deep = hosted(rows(lstm))
attention_mask_polarity_shallow, attention_mask_polarity_deep = hosted(tokens(masked))
attention_heads_shallow, attention_heads_deep = hosted(tokens(attention))
attention_scale_shallow, attention_scale_deep = hosted(tokens(attention))
embedding_offset_shallow, embedding_offset_deep = text(embed)
embedding_padding_index_shallow, embedding_padding_index_deep = text(embed)
