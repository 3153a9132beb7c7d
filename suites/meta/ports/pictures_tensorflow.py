"""What models do to pictures before their first layer, in TensorFlow."""

import keras
import tensorflow as tf
from drawn import drawn
from keras import layers


def behind(prepared, picture):
    """Return a small network behind prepared pictures."""
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(prepared)
    return keras.Model(picture, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="pool")(x)))


def grey():
    """Return a network of grey pictures, as TensorFlow makes them of colours."""
    picture = keras.Input((18, 16, 3))
    return behind(layers.Lambda(tf.image.rgb_to_grayscale, name="grey")(picture), picture)


def whole_numbers():
    """Return a network that divides bytes itself."""
    picture = keras.Input((14, 12, 3), dtype="int32")
    return behind(layers.Lambda(lambda x: tf.cast(x, tf.float32) / 255.0, name="scaled")(picture), picture)


def smoothed():
    """Return a network of pictures that are made smaller with a wide kernel."""
    picture = keras.Input((18, 16, 3))
    smaller = layers.Lambda(lambda x: tf.image.resize(x, (9, 7), antialias=True), name="smaller")
    return behind(smaller(picture), picture)


def norms():
    """Return norms of which each lacks a scale or a shift."""
    picture = keras.Input((12, 10, 4))
    x = layers.BatchNormalization(center=False, name="unshifted")(picture)
    x = layers.Conv2D(5, 3, name="middle")(x)
    x = layers.BatchNormalization(scale=False, name="unscaled")(x)
    return behind(x, picture)


def words():
    """Return a network of three widths of words (Kim, 2014)."""
    tokens = keras.Input((14,), dtype="int32")
    x = layers.Embedding(30, 6, name="words")(tokens)
    parts = [layers.Conv1D(5, width, activation="relu", name=f"of{width}")(x) for width in (2, 3, 4)]
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(part) for part in parts])
    return keras.Model(tokens, layers.Dense(2, name="head")(x))


def words_as_pictures():
    """Return the same with sentences as pictures of one channel."""
    tokens = keras.Input((14,), dtype="int32")
    x = layers.Reshape((14, 6, 1))(layers.Embedding(30, 6, name="words")(tokens))
    parts = [layers.Conv2D(5, (width, 6), activation="relu", name=f"of{width}")(x) for width in (2, 3, 4)]
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(part) for part in parts])
    return keras.Model(tokens, layers.Dense(2, name="head")(x))


def drawn_generator():
    """Return a network that makes a picture of eight numbers, its weights drawn from their names."""
    start = keras.Input((8,))
    x = layers.Reshape((4, 3, 6))(layers.Dense(72, activation="relu", name="start")(start))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="second")(x)
    model = keras.Model(start, x)
    for weight in model.weights:
        weight.assign(drawn(weight.path, weight.shape))
    return model


def selected():
    """Return a network that chooses between kernels; its pictures are as high and wide as they have channels."""
    picture = keras.Input((6, 6, 3))
    sizes = [layers.Conv2D(6, size, padding="same", name=f"by_{size}")(picture) for size in (3, 5)]
    pooled = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="both")(sizes))
    gates = layers.Softmax(axis=3, name="gates")(layers.Reshape((1, 1, 2, 6))(layers.Dense(12, name="gate")(pooled)))
    chosen = layers.Lambda(lambda x: tf.reduce_sum(tf.stack(x[:2], 3) * x[2], 3), name="chosen")([*sizes, gates])
    return keras.Model(picture, layers.Conv2D(3, 1, name="head")(chosen))
