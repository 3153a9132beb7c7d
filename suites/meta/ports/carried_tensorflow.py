"""How weights are carried: one bias of two products, layers that are one elsewhere, tables; Keras and TensorFlow."""

import keras
import tensorflow as tf
from keras import layers, ops


class Tied(keras.Model):
    """The table of the words is the matrix of the head, which has a bias of its own."""

    def __init__(self, words, turned):
        super().__init__()
        self.words, self.dense, self.turned = layers.Embedding(words, 12), layers.Dense(12, activation="gelu"), turned

    def build(self, shape):
        self.words.build(shape)
        self.bias = self.add_weight(shape=(self.words.input_dim,), initializer="zeros", name="bias")

    def call(self, ids):
        x = self.dense(self.words(ids))
        if self.turned:
            return ops.matmul(x, ops.transpose(self.words.embeddings)) + self.bias
        return tf.matmul(x, self.words.embeddings, transpose_b=True) + self.bias


def tied():
    return Tied(21, True)


def tied_square():
    return Tied(12, False)


class Products(layers.Layer):
    """Two products and one bias, as recurrent cells are written out."""

    def build(self, shapes):
        for name, size in zip(("first", "second"), shapes, strict=True):
            setattr(self, name, self.add_weight(shape=(size[-1], 6), name=name))
        self.bias = self.add_weight(shape=(6,), initializer="zeros", name="bias")

    def call(self, inputs):
        return ops.tanh(inputs[0] @ self.first + inputs[1] @ self.second + self.bias)


def products():
    x, h = keras.Input((5,)), keras.Input((7,))
    return keras.Model([x, h], layers.Dense(3)(Products(name="products")([x, h])))


def products_of_layers():
    x, h = keras.Input((5,)), keras.Input((7,))
    summed = layers.Dense(6, name="first")(x) + layers.Dense(6, use_bias=False, name="second")(h)
    return keras.Model([x, h], layers.Dense(3)(ops.tanh(summed)))


class Recurrence(tf.Module):
    """A recurrent cell step by step; its first state is nothing."""

    def __init__(self):
        super().__init__()
        draw = tf.random.Generator.from_seed(3)
        for name in ("update", "new"):
            setattr(self, f"{name}_x", tf.Variable(draw.normal((5, 6)) * 0.3))
            setattr(self, f"{name}_h", tf.Variable(draw.normal((6, 6)) * 0.3))
            setattr(self, f"{name}_bias", tf.Variable(draw.normal((6,)) * 0.3))
        self.head, self.bias = tf.Variable(draw.normal((6, 3))), tf.Variable(draw.normal((3,)))

    def __call__(self, x):
        h = tf.zeros((tf.shape(x)[0], 6), x.dtype)
        for step in range(x.shape[1]):
            z = tf.sigmoid(x[:, step] @ self.update_x + h @ self.update_h + self.update_bias)
            n = tf.tanh(x[:, step] @ self.new_x + h @ self.new_h + self.new_bias)
            h = z * h + (1.0 - z) * n
        return h @ self.head + self.bias


def recurrence():
    return Recurrence()


class Gated(layers.Layer):
    """A filter, and a gate that may be computed before it."""

    def __init__(self, width, gate_first=False, linear=False, **kwargs):
        super().__init__(**kwargs)
        self.filter = layers.Conv1D(width, 2, dilation_rate=2, padding="causal")
        self.gate = layers.Conv1D(width, 2, dilation_rate=2, padding="causal")
        self.gate_first, self.linear = gate_first, linear

    def call(self, x):
        if self.gate_first:
            gate = self.gate(x)
            return ops.sigmoid(gate) * ops.tanh(self.filter(x))
        return (self.filter(x) if self.linear else ops.tanh(self.filter(x))) * ops.sigmoid(self.gate(x))


class Fused(layers.Layer):
    """Filter and gate are one convolution."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv1D(2 * width, 2, dilation_rate=2, padding="causal")

    def call(self, x):
        values, gate = ops.split(self.conv(x), 2, -1)
        return ops.tanh(values) * ops.sigmoid(gate)


def _waves(make):
    sequence = keras.Input((15, 3))
    x = layers.Conv1D(5, 1)(sequence)
    for block in range(2):
        x = x + layers.Conv1D(5, 1)(make(block)(x))
    return keras.Model(sequence, layers.Dense(2)(x))


def waves():
    return _waves(lambda block: Gated(4, name=f"gated{block}"))


def waves_gate_first():
    return _waves(lambda block: Gated(4, gate_first=True, name=f"gated{block}"))


def waves_linear():
    return _waves(lambda block: Gated(4, linear=True, name=f"gated{block}"))


def waves_fused():
    return _waves(lambda block: Fused(4, name=f"gated{block}"))


class Biased(layers.Layer):
    """Adds to scores of places what a table has for how far they are apart, for two heads."""

    def build(self, _):
        self.table = self.add_weight(shape=(9, 2), name="table", initializer="random_normal")

    def call(self, scores):
        places = [[q - p + 4 for q in range(5)] for p in range(5)]
        chosen = ops.take(self.table, ops.reshape(ops.convert_to_tensor(places), (-1,)), axis=0)
        return scores + ops.transpose(ops.reshape(chosen, (5, 5, 2)), (2, 0, 1))[None]


def tables():
    x = sequence = keras.Input((5, 6))
    for block in range(2):
        scores = ops.reshape(layers.Dense(10, name=f"scores{block}")(x), (-1, 5, 2, 5))
        scores = ops.softmax(Biased(name=f"biased{block}")(ops.transpose(scores, (0, 2, 1, 3))))
        scores = ops.softmax(Biased(name=f"again{block}")(scores))
        x = layers.Dense(6, name=f"mixed{block}")(ops.reshape(ops.transpose(scores, (0, 2, 1, 3)), (-1, 5, 10)))
    return keras.Model(sequence, x)


class Tokens(layers.Layer):
    """Puts two tokens before a sequence, and adds a table of places."""

    def build(self, shape):
        self.first = self.add_weight(shape=(1, 1, 8), name="first", initializer="random_normal")
        self.second = self.add_weight(shape=(1, 1, 8), name="second", initializer="random_normal")
        self.places = self.add_weight(shape=(1, shape[1] + 2, 8), name="places", initializer="random_normal")

    def call(self, x):
        both = [ops.broadcast_to(one, (ops.shape(x)[0], 1, 8)) for one in (self.first, self.second)]
        return ops.concatenate([*both, x], 1) + self.places


def tokens():
    sequence = keras.Input((5, 8))
    x = Tokens(name="tokens")(layers.Dense(8)(sequence))
    return keras.Model(sequence, layers.Dense(3)(ops.tanh(x)))


def _grouped(x, filters, groups, strides, name, split=False):
    size = x.shape[-1] // groups
    parts = ops.split(x, groups, -1) if split else [x[..., k * size : (k + 1) * size] for k in range(groups)]
    made = [layers.Conv2D(filters // groups, 3, strides, "same", use_bias=split)(part) for part in parts]
    return layers.Concatenate(name=name)(made)


def _next(make):
    image = keras.Input((13, 9, 3))
    x = layers.Conv2D(8, 3, padding="same")(image)
    for block in range(2):
        y = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(make(x, block)))
        x = x + layers.Conv2D(8, 1, use_bias=False)(y)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def groups_apart():
    return _next(lambda x, block: _grouped(x, 8, 4, 1, f"joined{block}"))


def groups_split():
    return _next(lambda x, block: _grouped(x, 8, 2, 1, f"joined{block}", split=True))


def groups_together():
    return _next(lambda x, block: layers.Conv2D(8, 3, padding="same", groups=4, name=f"grouped{block}")(x))


class Standardised(layers.Conv2D):
    """A convolution with a kernel of mean 0 and variance 1."""

    def call(self, x):
        mean, variance = tf.nn.moments(self.kernel, [0, 1, 2], keepdims=True)
        kernel = (self.kernel - mean) / tf.sqrt(variance + 1e-6)
        return tf.nn.conv2d(x, kernel, self.strides, self.padding.upper()) + self.bias


def standardised():
    image = keras.Input((12, 10, 3))
    x = layers.ReLU()(Standardised(3, 3, padding="same", name="first")(image))
    x = layers.ReLU()(Standardised(6, 3, padding="same", name="second")(x))
    return keras.Model(image, layers.Conv2D(2, 1)(x))


class Mixture(layers.Layer):
    """Several convolutions, each with a share that depends on the image."""

    def build(self, _):
        self.route = layers.Dense(3, activation="sigmoid")
        self.convolutions = [layers.Conv2D(8, 3, padding="same", use_bias=False) for _ in range(3)]

    def call(self, x):
        shares = self.route(ops.mean(x, (1, 2)))
        return sum(shares[:, i][:, None, None, None] * one(x) for i, one in enumerate(self.convolutions))


def mixture():
    image = keras.Input((12, 10, 3))
    x = Mixture(name="mixture")(layers.Conv2D(8, 3, activation="relu")(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(ops.tanh(x))))


def recurrent_images():
    frames = keras.Input((4, 9, 11, 2))
    x = layers.ConvLSTM2D(5, 3, padding="same", return_sequences=True)(frames)
    x = layers.ConvLSTM2D(6, 3, padding="same")(x)
    return keras.Model(frames, layers.Conv2D(1, 1)(x))


def cells():
    sequence = keras.Input((5, 4))
    stack = layers.StackedRNNCells([layers.LSTMCell(6), layers.LSTMCell(5)])
    return keras.Model(sequence, layers.Dense(3)(layers.RNN(stack)(sequence)))


def sized():
    image = keras.Input((12, 10, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x))
    return keras.Model(image, layers.Dense(3, name="head")(layers.Dense(10, activation="relu", name="hidden")(x)))


class Signal(layers.Layer):
    """Convolves a signal with TensorFlow's own function, and adds a bias to what that gives."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, shape[-1], 4), name="kernel")
        self.bias = self.add_weight(shape=(4,), name="bias")

    def call(self, x):
        return tf.nn.bias_add(tf.nn.conv1d(x, self.kernel, 1, "VALID"), self.bias)


def signal():
    sequence = keras.Input((7, 5))
    return keras.Model(sequence, layers.Dense(3)(ops.tanh(Signal(name="signal")(sequence))))


class Square(layers.Layer):
    """Multiplies by a square matrix, as many inputs as units."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, x):
        return tf.tensordot(x, self.kernel, axes=(-1, 0))


def squares():
    sequence = keras.Input((7, 5))
    x = ops.tanh(Square(name="square1")(sequence))
    return keras.Model(sequence, layers.Dense(3)(ops.tanh(Square(name="square2")(x))))


class BiasesInRows(layers.Layer):
    """A recurrence written out that keeps both of its biases in one variable, as Keras's GRU does."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.recurrent = self.add_weight(shape=(4, 4), name="recurrent")
        self.biases = self.add_weight(shape=(2, 4), name="biases", initializer="glorot_uniform")

    def call(self, x):
        state = tf.zeros((tf.shape(x)[0], 4), x.dtype)
        for step in range(x.shape[1]):
            fed = tf.matmul(x[:, step], self.kernel) + self.biases[0]
            state = tf.tanh(fed) * tf.sigmoid(tf.matmul(state, self.recurrent) + self.biases[1])
        return state


def biases_in_rows():
    sequence = keras.Input((3, 5))
    return keras.Model(sequence, layers.Dense(3)(BiasesInRows(name="rows")(sequence)))


class Neighbours(layers.Layer):
    """Attention whose scores are a sum of what a node and what its neighbour say of themselves, by heads."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 2, 5), name="kernel")
        self.own, self.other = (self.add_weight(shape=(5, 2, 1), name=name) for name in ("own", "other"))

    def call(self, x):
        x = tf.einsum("bni,iho->bnho", x, self.kernel)
        own, other = (tf.einsum("bnhi,iho->bnho", x, weight) for weight in (self.own, self.other))
        scores = tf.nn.leaky_relu(own + tf.einsum("bnho->bohn", other), alpha=0.2)
        found = tf.einsum("bnhm,bmhi->bnhi", tf.nn.softmax(scores, axis=-1), x)
        return tf.reshape(found, (-1, found.shape[1], 10))


def neighbours():
    nodes = keras.Input((6, 4))
    return keras.Model(nodes, layers.Dense(2, name="head")(Neighbours(name="neighbours")(nodes)))
