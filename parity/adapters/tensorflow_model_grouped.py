"""Gradients of grouped convolutions, which TensorFlow has on a GPU and inside XLA alone: a watched run is neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KIND = "Conv2D"


class _Group:
    """One group of a convolution, as the gradient of a whole one reads it."""

    def __init__(self, op: Any, inputs: Sequence[Any]) -> None:
        self.inputs, self.get_attr = inputs, op.get_attr


class ByGroup:
    """The gradient of a convolution, group by group where TensorFlow has none for several."""

    def __init__(self, tf: Any, whole: Any) -> None:
        self.tf, self.whole = tf, whole

    def __call__(self, op: Any, upstream: Any) -> list[Any]:
        image, kernel = op.inputs[0], op.inputs[1]
        axis = 1 if op.get_attr("data_format") in (b"NCHW", "NCHW") else 3
        groups = int(image.shape[axis]) // int(kernel.shape[2])
        if groups == 1 or "GPU" in getattr(image, "device", ""):
            return list(self.whole(op, upstream))
        split = self.tf.split
        parts = zip(split(image, groups, axis), split(kernel, groups, 3), split(upstream, groups, axis), strict=True)
        found = [self.whole(_Group(op, [x, w]), dy) for x, w, dy in parts]
        return [self.tf.concat([of_x for of_x, _ in found], axis), self.tf.concat([of_w for _, of_w in found], 3)]


def grouped_gradients(tf: Any) -> None:
    """Let this process differentiate grouped convolutions that run as single operations on a CPU."""
    from tensorflow.python.framework import ops

    known = ops.gradient_registry._registry[KIND]
    if not isinstance(known["type"], ByGroup):
        known["type"] = ByGroup(tf, known["type"])
