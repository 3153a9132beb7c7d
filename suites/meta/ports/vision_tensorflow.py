"""Models of pictures as people write them, in which a fault was once told twice, elsewhere, or not at all."""

import keras
import tensorflow as tf
from keras import layers


def _picture(channels=3):
    return keras.Input((13, 17, channels))


def gated():
    """Averages and largest values share two layers, whose ReLU is dead for the averages as they are built."""
    image = _picture()
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(image)
    negative = keras.initializers.RandomUniform(-0.5, -0.1)
    squeeze = layers.Dense(4, activation="relu", use_bias=False, kernel_initializer=negative, name="squeeze")
    excite = layers.Dense(6, use_bias=False, name="excite")
    both = [excite(squeeze(pooled(x))) for pooled in (layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D())]
    gate = layers.Activation("sigmoid", name="gate")(layers.Add()(both))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 6))(gate)])
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


def bottleneck():
    image = _picture()
    x = layers.Conv2D(6, 3, use_bias=False, name="first")(image)
    x = layers.BatchNormalization(name="linear")(x)
    h = layers.ReLU(6.0)(layers.Conv2D(12, 1, name="expand")(x))
    return keras.Model(image, layers.Add()([x, layers.Conv2D(6, 1, name="project")(h)]))


def stem():
    image = _picture()
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.MaxPooling2D(3, 2, name="pool")(layers.ZeroPadding2D(1, name="pad")(x))
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


def negative_stem():
    image = _picture()
    x = layers.Conv2D(6, 3, padding="same", name="conv")(image)
    x = layers.MaxPooling2D(3, 2, name="pool")(layers.ZeroPadding2D(1, name="pad")(x))
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


def same_stem():
    x = layers.Conv2D(6, 3, name="conv")(image := _picture())
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


class Patches(layers.Layer):
    def build(self, _):
        self.places = self.add_weight(name="places", shape=(1, 12, 8), initializer="random_normal")

    def call(self, x):
        return tf.reshape(x, (-1, 12, 8)) + self.places


def patches():
    image = keras.Input((12, 16, 3))
    x = Patches(name="patches")(layers.Conv2D(8, 4, 4, name="embed")(image))
    h = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Add(name="residual")([x, layers.Dense(8, activation="gelu", name="mlp")(h)])
    return keras.Model(image, layers.Dense(5, name="head")(layers.GlobalAveragePooling1D()(x)))


def towers():
    left, right = _picture(1), _picture(1)
    tower = keras.Sequential(
        [
            _picture(1),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.Conv2D(6, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dense(5, name="embed"),
        ],
        name="tower",
    )
    apart = layers.Lambda(lambda both: tf.abs(both[0] - both[1]), name="apart")([tower(left), tower(right)])
    return keras.Model([left, right], layers.Dense(1, name="head")(apart))


def grouped():
    image = _picture(4)
    x = layers.Conv2D(8, 3, groups=4, activation="relu", name="first")(image)
    x = layers.Conv2D(8, 3, strides=2, groups=8, use_bias=False, name="each")(x)
    return keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def averaged():
    image = _picture()
    x = layers.Conv2D(6, 4, padding="same", activation="relu", name="conv")(image)
    x = layers.AveragePooling2D(2, strides=1, padding="same", name="average")(x)
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(x))


def prepared():
    image = _picture()
    x = layers.Rescaling(1 / 255.0)(layers.Resizing(9, 11)(image))
    x = (x - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])
    return keras.Model(image, layers.Conv2D(4, 3, name="conv")(x))


class Sampling(layers.Layer):
    def call(self, inputs):
        mean, log_variance = inputs
        return mean + keras.ops.exp(0.5 * log_variance) * keras.random.normal(keras.ops.shape(mean))


def sampled():
    image = _picture(1)
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image))
    mean, log_variance = layers.Dense(5, name="mean")(x), layers.Dense(5, name="log_variance")(x)
    x = Sampling(name="sample")([mean, log_variance])
    return keras.Model(image, layers.Dense(6, activation="sigmoid", name="decoder")(x))


class Block(layers.Layer):
    """Leaves its branch out for some samples, by code of its own."""

    def __init__(self, kept, **words):
        super().__init__(**words)
        self.kept = kept
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.dense = layers.Dense(6, activation="gelu", name="dense")

    def call(self, x, training=False):
        y = self.dense(self.norm(x))
        if training:
            y = y / self.kept * tf.floor(self.kept + tf.random.uniform([tf.shape(x)[0], 1, 1, 1]))
        return x + y


class DropPath(layers.Layer):
    def __init__(self, drop_prob, **words):
        super().__init__(**words)
        self.drop_prob = drop_prob

    def call(self, x, training=False):
        if not training or not self.drop_prob:
            return x
        kept = 1.0 - self.drop_prob
        return x / kept * tf.floor(kept + tf.random.uniform([tf.shape(x)[0], 1, 1, 1]))


def dropping():
    image = _picture()
    x = layers.RandomRotation(0.2, name="turn")(layers.RandomFlip("horizontal", name="flip")(image))
    x = Block(0.9, name="first")(layers.Conv2D(6, 3, name="conv")(x))
    x = layers.Add()([x, DropPath(0.2, name="drop")(layers.Conv2D(6, 1, name="branch")(x))])
    return keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def attended():
    image = _picture()
    x = layers.Conv2D(6, 3, name="conv")(image)
    queries, keys = layers.Conv2D(2, 1, name="queries")(x), layers.Conv2D(2, 1, name="keys")(x)
    values = layers.Conv2D(6, 1, name="values")(x)

    def attend(all_three):
        q, k, v = (tf.reshape(one, (-1, 11 * 15, one.shape[-1])) for one in all_three)
        shares = tf.nn.softmax(tf.matmul(q, k, transpose_b=True))
        return tf.reshape(tf.matmul(shares, v), (-1, 11, 15, 6))

    y = layers.Lambda(attend, output_shape=(11, 15, 6), name="attend")([queries, keys, values])
    return keras.Model(image, layers.Conv2D(4, 3, name="last")(layers.Add()([x, y])))
