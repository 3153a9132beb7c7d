"""The networks that the faults are planted in, in Keras: a shallow one, and a deep one of five blocks with branches."""

import keras
from drawn import drawn
from keras import layers, ops


def fill(model):
    """Give every weight the values drawn for its name."""
    for variable in model.weights:
        variable.assign(drawn(variable.path.removeprefix(f"{model.name}/"), variable.shape))
    return model


def shallow(slot, size=(21, 18, 3)):
    """Return conv, the slot, conv, mean, dense."""
    image = keras.Input(size, name="image")
    x = layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = slot(x)
    x = layers.Conv2D(5, (2, 3), name="second")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return fill(keras.Model(image, layers.Dense(4, name="last")(x)))


def normed(x, filters, kernel, name, strides=1, padding="same"):
    """Return convolution and batch normalisation."""
    x = layers.Conv2D(filters, kernel, strides=strides, padding=padding, use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)


def deep(slot, stride=1, size=(33, 29, 3)):
    """Return a network of five blocks whose third one holds the slot on its longer branch."""
    image = keras.Input(size, name="image")
    x = layers.Activation("relu")(normed(image, 8, 3, "stem", padding="valid"))
    # block 1: residual
    y = layers.Activation("relu")(normed(x, 8, 3, "one_a"))
    x = layers.Activation("relu")(layers.Add()([x, normed(y, 8, 3, "one_b")]))
    # block 2: residual, smaller, with a projection
    y = normed(layers.ZeroPadding2D(1)(x), 12, 3, "two_a", strides=2, padding="valid")
    y = normed(layers.Activation("relu")(y), 12, 3, "two_b")
    x = layers.Activation("relu")(layers.Add()([normed(x, 12, 1, "two_skip", strides=2), y]))
    # block 3: the slot between two 1x1 convolutions
    y = layers.Activation("relu")(normed(x, 12, 1, "three_in"))
    y = normed(slot(y), 12, 1, "three_out")
    if stride != 1:
        x = layers.Conv2D(12, 1, strides=stride, name="three_skip")(x)
    x = layers.Activation("relu")(layers.Add()([x, y]))
    # block 4: dense, what it makes is appended
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="four_conv")(x)
    x = layers.Concatenate(name="four_joined")([x, y])
    # block 5: two branches side by side
    left = layers.Conv2D(7, 1, activation="relu", name="five_left")(x)
    right = layers.Conv2D(9, 3, padding="same", activation="relu", name="five_right")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Concatenate(name="five_joined")([left, right]))
    return fill(keras.Model(image, layers.Dense(5, name="head")(x)))


def hosted(slot, stride=1):
    """Return two builders: the shallow network with this slot, and the deep one."""

    def in_shallow():
        return shallow(slot)

    def in_deep():
        return deep(slot, stride)

    return in_shallow, in_deep


def gating(vector):
    """Return a slot: `vector` makes what every channel of the map is multiplied by."""

    def slot(x):
        weight = vector(layers.GlobalAveragePooling2D(name="slot_squeeze")(x))
        return layers.Multiply(name="slot_scaled")([x, layers.Reshape((1, 1, x.shape[-1]))(weight)])

    return slot


def tokens(sequence):
    """Return a slot: `sequence` sees the map as a row of tokens."""

    def slot(x):
        _, height, width, channels = x.shape
        x = sequence(layers.Reshape((height * width, channels))(x))
        return layers.Reshape((height, width, channels))(x)

    return slot


def rows(sequence):
    """Return a slot: `sequence` sees the mean of every row, and what it makes is added to the whole row."""

    def slot(x):
        y = sequence(ops.mean(x, axis=2))
        return layers.Add(name="slot_add")([x, layers.Reshape((x.shape[1], 1, y.shape[-1]))(y)])

    return slot


def text_shallow(embed, length=11):
    """Return embedding, mean, dense."""
    ids = keras.Input((length,), dtype="int32", name="ids")
    x = layers.GlobalAveragePooling1D(name="pool")(embed(ids))
    return fill(keras.Model(ids, layers.Dense(4, name="last")(x)))


def text_deep(embed, length=11):
    """Return a network of four blocks over tokens: two readings of the text, residual convolutions, a gate."""
    ids = keras.Input((length,), dtype="int32", name="ids")
    x = embed(ids)
    other = layers.Embedding(20, 8, name="other")(ids)
    x = layers.LayerNormalization(epsilon=1e-5, name="joined_norm")(layers.Add()([x, other]))
    for block in ("one", "two", "three"):
        y = layers.Conv1D(12, 3, padding="same", activation="relu", name=f"{block}_wide")(x)
        y = layers.Conv1D(8, 1, name=f"{block}_back")(y)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"{block}_norm")(layers.Add()([x, y]))
    gate = layers.Dense(8, activation="sigmoid", name="gate")(ops.mean(x, axis=1))
    left = ops.mean(x, axis=1) * gate
    right = layers.Dense(6, activation="tanh", name="right")(ops.max(x, axis=1))
    x = layers.Concatenate()([left, right])
    x = layers.Dense(9, activation="relu", name="hidden")(x)
    return fill(keras.Model(ids, layers.Dense(4, name="head")(x)))
