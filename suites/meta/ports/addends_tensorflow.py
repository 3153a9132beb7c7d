"""Linear layers of several tensors, joined before one layer or added behind several, in Keras."""

import keras
import tensorflow as tf
from keras import layers


class Graph(keras.Model):
    """A layer that reads each node beside the sum of its neighbours."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = layers.Dense(8, activation="relu", name="mix"), layers.Dense(3, name="head")

    def call(self, given):
        x, edges = given
        return self.head(self.mix(tf.concat([x, tf.matmul(edges, x)], -1)))


def graph():
    model = Graph()
    model([tf.zeros((1, 10, 6)), tf.zeros((1, 10, 10))])
    return model


def attention():
    states, query = keras.Input((9, 12)), keras.Input((12,))
    both = layers.Concatenate()([states, layers.RepeatVector(9)(query)])
    scores = layers.Dense(1, name="score")(layers.Dense(7, activation="tanh", name="mix")(both))
    return keras.Model([states, query], layers.Dot(1)([layers.Softmax(axis=1)(scores), states]))


def _towers():
    inputs = [keras.Input((6,)), keras.Input((10,))]
    first = layers.Dense(8, activation="relu", name="first")(inputs[0])
    return inputs, (first, layers.Dense(5, activation="relu", name="second")(inputs[1]))


def towers(**how):
    inputs, both = _towers()
    x = layers.Dense(7, name="mix", **how)(layers.Concatenate()(list(both)))
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Activation("silu")(x)))


def towers_without_bias():
    return towers(use_bias=False)


def towers_added():
    inputs, (first, second) = _towers()
    x = layers.Add()([layers.Dense(7, name="mix")(first), layers.Dense(7, use_bias=False, name="beside")(second)])
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Activation("silu")(x)))


def either_way():
    a, b = inputs = [keras.Input((6,)), keras.Input((10,))]
    x = layers.Dense(7, name="mix")(layers.Concatenate()([a, b]))
    y = layers.Add()([layers.Dense(7, name="one")(a), layers.Dense(7, use_bias=False, name="other")(b)])
    both = layers.Multiply()([layers.ReLU()(x), layers.Activation("tanh")(y)])
    return keras.Model(inputs, layers.Dense(2, name="head")(both))


class Duel(keras.Model):
    def __init__(self, joined):
        super().__init__()
        self.body, self.value = layers.Dense(12, activation="relu", name="body"), layers.Dense(1, name="value")
        self.advantage, self.joined = layers.Dense(4, name="advantage"), joined

    def call(self, x):
        x = self.body(x)
        value, advantage = self.value(x), self.advantage(x)
        return self.joined(value, advantage, tf.reduce_mean(advantage, axis=1, keepdims=True))


def duel():
    return Duel(lambda value, advantage, mean: value + (advantage - mean))


def duel_of_advantage_first():
    return Duel(lambda value, advantage, mean: advantage - mean + value)
