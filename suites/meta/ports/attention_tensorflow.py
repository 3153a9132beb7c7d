"""Attention and transformers, in Keras."""

import keras
import numpy as np
from keras import layers, ops


def self_attention():
    sequence = keras.Input((7, 12))
    return keras.Model(sequence, layers.MultiHeadAttention(3, 4, name="attention")(sequence, sequence))


def cross_attention():
    sequence, memory = keras.Input((7, 12), name="sequence"), keras.Input((5, 12), name="memory")
    return keras.Model([sequence, memory], layers.MultiHeadAttention(3, 4, name="attention")(sequence, memory))


def cross_attention_by_hand():
    """Return the same with three dense layers, which torch holds as one weight."""
    sequence, memory = keras.Input((7, 12), name="sequence"), keras.Input((5, 12), name="memory")

    def heads(x, name):
        made = layers.Dense(12, name=name)(x)
        return ops.transpose(ops.reshape(made, (-1, x.shape[1], 3, 4)), (0, 2, 1, 3))

    q, k, v = heads(sequence, "q"), heads(memory, "k"), heads(memory, "v")
    shares = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * 0.5)
    made = ops.reshape(ops.transpose(ops.matmul(shares, v), (0, 2, 1, 3)), (-1, 7, 12))
    return keras.Model([sequence, memory], layers.Dense(12, name="out")(made))


def causal_attention():
    sequence = keras.Input((7, 12))
    attention = layers.MultiHeadAttention(3, 4, name="attention")
    return keras.Model(sequence, attention(sequence, sequence, use_causal_mask=True))


def masked_attention():
    sequence = keras.Input((7, 12))
    places = np.arange(7)
    mask = (np.abs(places[:, None] - places[None, :]) <= 2)[None]
    attention = layers.MultiHeadAttention(3, 4, name="attention")
    return keras.Model(sequence, attention(sequence, sequence, attention_mask=mask))


def encoder_block(x, name, first):
    """Return one block; with `first`, the norms come before attention and feed-forward, else after the sums."""
    attention = layers.MultiHeadAttention(3, 4, name=f"{name}_attention")
    norm1 = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")
    norm2 = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")
    wide = layers.Dense(20, activation="gelu" if first else "relu", name=f"{name}_wide")
    back = layers.Dense(12, name=f"{name}_back")
    if first:
        y = norm1(x)
        x = x + layers.Dropout(0.1)(attention(y, y))
        return x + layers.Dropout(0.1)(back(wide(norm2(x))))
    x = norm1(x + attention(x, x))
    return norm2(x + back(wide(x)))


def encoder():
    """Return two blocks, norms after the sums."""
    sequence = keras.Input((7, 12))
    x = encoder_block(encoder_block(sequence, "one", False), "two", False)
    return keras.Model(sequence, x)


def pre_norm_encoder():
    """Return two blocks, norms first."""
    sequence = keras.Input((7, 12))
    x = encoder_block(encoder_block(sequence, "one", True), "two", True)
    return keras.Model(sequence, x)


class Positions(layers.Layer):
    """Puts a token in front, then adds a vector for each place."""

    def build(self, shape):
        _, length, width = shape
        self.token = self.add_weight(name="token", shape=(1, 1, width), initializer="random_normal")
        self.places = self.add_weight(name="places", shape=(1, length + 1, width), initializer="random_normal")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.places


def vision_transformer():
    """Return patches, a class token, positions, two blocks, a head on the class token."""
    image = keras.Input((16, 12, 3))
    x = layers.Conv2D(12, 4, strides=4, name="patches")(image)
    x = layers.Reshape((12, 12))(x)
    x = Positions(name="positions")(x)
    x = encoder_block(encoder_block(x, "one", True), "two", True)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(image, layers.Dense(5, name="head")(x[:, 0]))


class TokensAndPlaces(layers.Layer):
    """The sum of a vector for each token and one for each place."""

    def __init__(self, tokens, places, width, **options):
        super().__init__(**options)
        self.tokens = layers.Embedding(tokens, width, name="tokens")
        self.places = layers.Embedding(places, width, name="places")

    def call(self, ids):
        return self.tokens(ids) + self.places(ops.arange(ids.shape[1]))


def language_model():
    """Return tokens and learned places, one causal block, logits for every token."""
    ids = keras.Input((7,), dtype="int32")
    x = TokensAndPlaces(30, 7, 12, name="embedding")(ids)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm1")(x)
    x = x + layers.MultiHeadAttention(3, 4, name="attention")(y, y, use_causal_mask=True)
    y = layers.LayerNormalization(epsilon=1e-5, name="norm2")(x)
    x = x + layers.Dense(12, name="back")(keras.activations.gelu(layers.Dense(20, name="wide")(y), approximate=True))
    return keras.Model(ids, layers.Dense(30, use_bias=False, name="logits")(x))


def plain_dot_product():
    """Return attention without weights of its own, on three projections."""
    sequence = keras.Input((7, 6))
    q, k, v = (layers.Dense(6, name=name)(sequence) for name in ("q", "k", "v"))
    return keras.Model(sequence, layers.Dense(3, name="out")(layers.Attention()([q, v, k])))


class CausalHeads(layers.Layer):
    """One product for queries, keys and values; the future is masked by a large negative number."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = layers.Dense(36), layers.Dense(12)

    def call(self, x):
        heads = [ops.transpose(ops.reshape(x, (-1, 7, 3, 4)), (0, 2, 1, 3)) for x in ops.split(self.qkv(x), 3, -1)]
        scores = ops.matmul(heads[0], ops.transpose(heads[1], (0, 1, 3, 2))) / 2.0
        scores = ops.where(np.tril(np.ones((7, 7), bool)), scores, -1e9)
        made = ops.matmul(ops.softmax(scores), heads[2])
        return self.out(ops.reshape(ops.transpose(made, (0, 2, 1, 3)), (-1, 7, 12)))


def causal_attention_in_one_product():
    sequence = keras.Input((7, 12))
    return keras.Model(sequence, CausalHeads()(sequence))
