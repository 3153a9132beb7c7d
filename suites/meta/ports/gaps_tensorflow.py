"""Models in Keras and TensorFlow, in whose ports one thing may be written otherwise than it is meant."""

import keras


def _convolutions(kit=keras):
    image = kit.Input((12, 10, 3))
    x = kit.layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = kit.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    return kit.Model(image, kit.layers.Dense(4, name="head")(kit.layers.GlobalAveragePooling2D()(x)))


def convolutions():
    return _convolutions()


def _frozen(network):
    network.get_layer("first").trainable = False
    return network


def frozen_first():
    return _frozen(_convolutions())


def frozen_first_of_keras_2():
    import tf_keras

    return _frozen(_convolutions(tf_keras))
