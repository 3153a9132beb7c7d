"""Layers whose weights are kept as one, two blocks of attention, three experts, one score."""

import keras
from keras import layers, ops


class Own(layers.Layer):
    def build(self, _):
        self.kernels = self.add_weight(shape=(3, 8, 8), name="kernels")

    def call(self, x):
        for number in range(3):
            x = ops.relu(ops.matmul(x, self.kernels[number]))
        return x


def kernels():
    x = keras.Input((8,))
    return keras.Model(x, layers.Dense(3, name="head")(Own(name="own")(x)))


def blocks():
    given = x = keras.Input((6, 8))
    for number in range(2):
        q, k, v = (layers.Dense(8, name=f"block{number}_{one}")(x) for one in "qkv")
        scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 8**0.5)
        x = x + layers.Dense(8, name=f"block{number}_o")(ops.matmul(scores, v))
    return keras.Model(given, x)


def experts():
    x = keras.Input((8,))
    gate = ops.softmax(layers.Dense(3, name="gate")(x))
    made = [layers.Dense(6, name=f"expert_{number}", activation="relu")(x) for number in range(3)]
    mixed = sum(gate[:, number : number + 1] * one for number, one in enumerate(made))
    return keras.Model(x, layers.Dense(3, name="head")(mixed))


def score():
    x = keras.Input((8,))
    return keras.Model(x, layers.Dense(1, name="score")(x))
