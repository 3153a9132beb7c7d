"""Nested and shared networks, several inputs and outputs, in Keras."""

import keras
from keras import layers, ops


def encoder(name, channels=3):
    return keras.Sequential(
        [
            keras.Input((19, 16, channels)),
            layers.Conv2D(6, 3, activation="relu", name="conv"),
            layers.BatchNormalization(epsilon=1e-5, name="norm"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="down"),
        ],
        name=name,
    )


def nested():
    """Return a functional model of a Sequential in a functional model."""
    inner_image = keras.Input((19, 16, 3))
    x = encoder("stages")(inner_image)
    features = keras.Model(inner_image, layers.GlobalAveragePooling2D()(x), name="features")
    image = keras.Input((19, 16, 3))
    return keras.Model(image, layers.Dense(3, name="classifier")(features(image)))


def shared_layer():
    """Return a network that runs one convolution three times."""
    image = keras.Input((19, 16, 3))
    x = layers.Conv2D(6, 1, name="first")(image)
    again = layers.Conv2D(6, 3, padding="same", activation="tanh", name="again")
    for _ in range(3):
        x = again(x)
    return keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def siamese():
    """Return the distance between what one tower makes of two images."""
    tower = encoder("tower")
    left, right = keras.Input((19, 16, 3), name="left"), keras.Input((19, 16, 3), name="right")
    a, b = (layers.GlobalAveragePooling2D()(tower(image)) for image in (left, right))
    difference = ops.abs(a - b)
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid", name="score")(difference))


def siamese_at_once():
    """Return the same, of both images as one batch."""
    tower = encoder("tower")
    left, right = keras.Input((19, 16, 3), name="left"), keras.Input((19, 16, 3), name="right")
    towers = layers.GlobalAveragePooling2D()(tower(layers.Concatenate(axis=0)([left, right])))
    a, b = ops.split(towers, 2)
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid", name="score")(ops.abs(a - b)))


def two_towers():
    """Return a network with a tower for each of two unlike images, whose layers have the same shapes."""
    left, right = keras.Input((19, 16, 3), name="left"), keras.Input((19, 16, 3), name="right")
    a = layers.GlobalMaxPooling2D()(encoder("one")(left))
    b = layers.GlobalAveragePooling2D()(encoder("two")(right))
    return keras.Model([left, right], layers.Dense(2, name="score")(layers.Concatenate()([a, b])))


def image_and_features():
    image, features = keras.Input((19, 16, 3), name="image"), keras.Input((5,), name="features")
    x = layers.GlobalAveragePooling2D()(encoder("encoder")(image))
    y = layers.Dense(6, activation="relu", name="mlp1")(features)
    y = layers.Dense(6, activation="relu", name="mlp2")(y)
    return keras.Model([image, features], layers.Dense(2, name="head")(layers.Concatenate()([x, y])))


def two_outputs():
    image = keras.Input((19, 16, 3))
    x = encoder("trunk")(image)
    v = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, [layers.Dense(4, name="classes")(v), layers.Conv2D(1, 1, name="mask")(x)])


def named_outputs():
    image = keras.Input((19, 16, 3))
    v = layers.GlobalAveragePooling2D()(encoder("trunk")(image))
    return keras.Model(
        image, {"age": layers.Dense(1, name="age")(v), "kind": layers.Dense(4, activation="softmax", name="kind")(v)}
    )


class Tupled(keras.Model):
    """Returns a tuple that holds a tuple."""

    def __init__(self):
        super().__init__()
        self.trunk = layers.Conv2D(6, 3, activation="relu")
        self.a = layers.Dense(2)
        self.b = layers.Dense(3)

    def call(self, image):
        x = ops.mean(self.trunk(image), axis=(1, 2))
        return self.a(x), (self.b(x), x)


def tupled_outputs():
    return Tupled()


def autoencoder():
    image = keras.Input((16, 12, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="valid", activation="relu", name="enc1")(layers.ZeroPadding2D(1)(image))
    x = layers.Conv2D(8, 3, strides=2, padding="valid", activation="relu", name="enc2")(layers.ZeroPadding2D(1)(x))
    code = layers.Dense(5, name="code")(layers.Flatten()(x))
    x = layers.Dense(4 * 3 * 8, activation="relu", name="uncode")(code)
    x = layers.Reshape((4, 3, 8))(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation="relu", name="dec1")(x)
    return keras.Model(image, layers.Conv2DTranspose(3, 2, strides=2, activation="sigmoid", name="dec2")(x))


def unet():
    """Return a small U-Net: two levels down, two up, the maps of each level side by side."""

    def twice(x, filters, name):
        for part in ("a", "b"):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}{part}")(x)
        return x

    image = keras.Input((16, 24, 3))
    one = twice(image, 4, "one")
    two = twice(layers.MaxPooling2D()(one), 6, "two")
    x = twice(layers.MaxPooling2D()(two), 8, "bottom")
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up2")(x)
    x = twice(layers.Concatenate()([two, x]), 6, "right2")
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up1")(x)
    x = twice(layers.Concatenate()([one, x]), 4, "right1")
    return keras.Model(image, layers.Conv2D(1, 1, name="mask")(x))


def parallel():
    """Return four branches of one shape, summed two and two; only what follows tells them apart."""
    features = keras.Input((7,))
    a, b, c, d = (
        layers.Dense(6, activation=kind, name=f"branch_{kind}")(features) for kind in ("relu", "tanh", "elu", "silu")
    )
    x = layers.Concatenate()([a * b, c + d])
    return keras.Model(features, layers.Dense(3, name="head")(x))


def arithmetic():
    """Return operators between tensors and numbers."""
    features = keras.Input((7,))
    a = layers.Dense(6, name="a")(features)
    b = layers.Dense(6, name="b")(features)
    x = (a - b) * 0.5 + 1.0
    x = ops.maximum(x, a * b) / 3.0
    return keras.Model(features, layers.Dense(2, name="head")(ops.square(x) - x))


def identity_like():
    """Return a network with a layer that does nothing, and two outputs that are one tensor."""
    features = keras.Input((7,))
    x = layers.Dense(6, name="a")(layers.Identity()(features))
    return keras.Model(features, [x, layers.Activation("linear")(x)])
