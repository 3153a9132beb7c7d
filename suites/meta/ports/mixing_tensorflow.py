"""Two graph layers: their kernel before the product with the graph, or behind it, with a bias or none."""

import keras
from keras import layers, ops


class Mixing(layers.Layer):
    def __init__(self, units, kernel_first=True, bias=True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.kernel_first, self.has_bias = units, kernel_first, bias

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias") if self.has_bias else None

    def call(self, inputs):
        x, graph = inputs
        if self.kernel_first:
            x = ops.matmul(graph, ops.matmul(x, self.kernel))
        else:
            x = ops.matmul(ops.matmul(graph, x), self.kernel)
        return ops.relu(x if self.bias is None else x + self.bias)


class DenseBehind(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units, "relu")

    def call(self, inputs):
        x, graph = inputs
        return self.dense(ops.matmul(graph, x))


def _network(layer, units=(8, 6), **kwargs):
    x, graph = keras.Input((7, 5)), keras.Input((7, 7))
    hidden = layer(units[0], name="first", **kwargs)([x, graph])
    hidden = layer(units[1], name="second", **kwargs)([hidden, graph])
    return keras.Model([x, graph], layers.Dense(2, name="out")(ops.mean(hidden, axis=1)))


def kernel_first():
    return _network(Mixing)


def kernel_first_of_one_size():
    return _network(Mixing, (5, 5))


def kernel_first_without_bias():
    return _network(Mixing, bias=False)


def kernel_last():
    return _network(Mixing, kernel_first=False)


def dense_behind():
    return _network(DenseBehind)
