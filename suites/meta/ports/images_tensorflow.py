"""Small image classifiers in Keras, written in the ways that people write them."""

import keras
from keras import layers, ops


def sequential():
    return keras.Sequential(
        [
            keras.Input((21, 18, 3)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(7, activation="relu"),
            layers.Dense(4),
        ]
    )


def functional():
    image = keras.Input((21, 18, 3))
    x = layers.Conv2D(5, 3, name="conv1")(image)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(6, (3, 2), activation="relu", name="conv2")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(9, activation="tanh", name="fc1")(x)
    return keras.Model(image, layers.Dense(4, name="fc2")(x))


class Subclassed(keras.Model):
    """Layers as attributes, the order in `call`."""

    def __init__(self):
        super().__init__()
        self.conv1 = layers.Conv2D(5, 3, activation="relu")
        self.conv2 = layers.Conv2D(6, 3, strides=2)
        self.flatten = layers.Flatten()
        self.classifier = layers.Dense(4)

    def call(self, x):
        x = self.conv1(x)
        x = ops.relu(self.conv2(x))
        return self.classifier(self.flatten(x))


def subclassed():
    return Subclassed()


class Unordered(keras.Model):
    """The last layer is registered first."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(4)
        self.late = layers.Conv2D(8, 3, activation="relu")
        self.early = layers.Conv2D(8, 3, activation="relu")
        self.first = layers.Conv2D(8, 1)

    def call(self, x):
        x = self.late(self.early(self.first(x)))
        return self.head(ops.mean(x, axis=(1, 2)))


def unordered():
    return Unordered()


def regularised():
    """Return convolutions with batch normalisation and dropout."""
    return keras.Sequential(
        [
            keras.Input((19, 22, 3)),
            layers.Conv2D(6, 3, use_bias=False),
            layers.BatchNormalization(epsilon=1e-5, momentum=0.9),
            layers.Activation("relu"),
            layers.SpatialDropout2D(0.2),
            layers.Conv2D(7, 3, padding="same"),
            layers.BatchNormalization(epsilon=1e-5, momentum=0.9),
            layers.Activation("relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3),
        ]
    )


def zero_padded():
    return keras.Sequential(
        [
            keras.Input((20, 17, 3)),
            layers.ZeroPadding2D(3),
            layers.Conv2D(6, 7, strides=2, use_bias=False),
            layers.ReLU(),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(3, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


def same_strided():
    """Return three strided convolutions that pad unevenly."""
    return keras.Sequential(
        [
            keras.Input((32, 27, 3)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(8, 2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


def pooled():
    image = keras.Input((17, 20, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def pooled_keeping():
    image = keras.Input((17, 20, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.GlobalMaxPooling2D(keepdims=True)(x)
    return keras.Model(image, layers.Flatten()(layers.Conv2D(4, 1)(x)))


def rescaled():
    image = keras.Input((17, 20, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(6, 3, activation="relu")(x)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def standardised():
    """Return a network behind a Normalization layer with the means and variances of ImageNet."""
    image = keras.Input((17, 20, 3))
    x = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])(image)
    x = layers.Conv2D(6, 3, activation="relu")(x)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def sigmoid_output():
    image = keras.Input((17, 20, 1))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def map_output():
    """Return a fully convolutional network, whose output is an image."""
    image = keras.Input((17, 20, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    return keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(x))


def unpadded_channels_last():
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))


def per_pixel_dense():
    """Return Dense layers on the channels of every pixel, which are 1x1 convolutions."""
    image = keras.Input((9, 8, 3))
    x = layers.Dense(6, activation="gelu")(image)
    x = layers.Dense(4)(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def mlp():
    features = keras.Input((13,))
    x = layers.Dense(16, activation="relu")(features)
    x = layers.Dense(16, activation="relu")(x)
    return keras.Model(features, layers.Dense(2)(x))
