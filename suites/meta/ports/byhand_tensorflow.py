"""What is cut into patches by hand, in Keras and TensorFlow."""

import keras
import tensorflow as tf
from keras import layers


class Patches(layers.Layer):
    def __init__(self, size, stride, **kwargs):
        super().__init__(**kwargs)
        self.size, self.stride = size, stride

    def call(self, x):
        steps = [1, self.stride, self.stride, 1]
        x = tf.image.extract_patches(x, [1, self.size, self.size, 1], steps, [1, 1, 1, 1], "VALID")
        return tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


def _of_patches(size, stride):
    image = keras.Input((12, 16, 3))
    return keras.Model(image, layers.Dense(5)(layers.Dense(8, name="project")(Patches(size, stride)(image))))


def patches():
    return _of_patches(4, 4)


def overlapping_patches():
    return _of_patches(4, 3)
