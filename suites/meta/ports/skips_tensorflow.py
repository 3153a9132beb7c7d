"""Residuals and skips of a stack: two convolutions of one pixel, or one split; nothing reads the last residual."""

import keras
from keras import layers, ops


class Stack(keras.Model):
    def __init__(self, residual=5, skip=7, together=False):
        super().__init__()
        self.sizes, self.together = (residual, skip), together
        self.enter = layers.Conv1D(residual, 1, name="enter")
        self.wide = [layers.Conv1D(residual, 3, padding="same", activation="tanh", name=f"wide{i}") for i in range(3)]
        if together:
            self.both = [layers.Conv1D(residual + skip, 1, name=f"both{i}") for i in range(3)]
        else:
            self.residual = [layers.Conv1D(residual, 1, name=f"residual{i}") for i in range(3)]
            self.skip = [layers.Conv1D(skip, 1, name=f"skip{i}") for i in range(3)]
        self.leave = layers.Conv1D(4, 1, name="leave")

    def call(self, x):
        x, total = self.enter(x), 0.0
        for place, wide in enumerate(self.wide):
            made = wide(x)
            if self.together:
                residual, skip = ops.split(self.both[place](made), [self.sizes[0]], axis=-1)
            else:
                skip, residual = self.skip[place](made), self.residual[place](made)
            total = total + skip
            x = x + residual
        return self.leave(ops.relu(total))


def stack():
    return Stack()


def stack_of_one_size():
    return Stack(6, 6)


def stack_together():
    return Stack(together=True)
