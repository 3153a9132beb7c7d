"""The example network, and its close relatives, as one frozen description.

Both frameworks are built from the same `ModelSpec`; layer names are the same on both sides, so a report can say
`conv1` and mean one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from parity.errors import UsageError

KINDS = ("conv2d", "relu", "max_pool2d", "flatten", "dense", "sigmoid")


@dataclass(frozen=True)
class WeightSpec:
    """One weight of one layer: its role, TensorFlow shape and the layout that both frameworks' axes follow."""

    role: str
    layout: str
    shape: tuple[int, ...]
    sizes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class LayerSpec:
    """One layer: its name, its kind, and the one number that the kind needs (filters, pool size or units)."""

    name: str
    kind: str
    size: int = 0
    kernel: tuple[int, int] = (1, 1)
    bias: bool = True


@dataclass(frozen=True)
class LayerShape:
    """What a layer turns into what: TensorFlow-ordered shapes without the batch axis, and its weights."""

    layer: LayerSpec
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_layout: str
    output_layout: str
    input_sizes: tuple[tuple[str, int], ...]
    output_sizes: tuple[tuple[str, int], ...]
    weights: tuple[WeightSpec, ...]


@dataclass(frozen=True)
class ModelSpec:
    """A sequential network over images; `height`, `width`, `channels` describe the input without the batch axis."""

    name: str
    height: int
    width: int
    channels: int
    layers: tuple[LayerSpec, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_dict` turns back into an equal description."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ModelSpec:
        """Build the description from what `to_dict` returned, lists in place of tuples allowed."""
        layers = tuple(LayerSpec(**{**layer, "kernel": tuple(layer["kernel"])}) for layer in data["layers"])
        return ModelSpec(**{**data, "layers": layers})

    def without(self, name: str) -> ModelSpec:
        """Return the same network with one layer left out, as a careless port would."""
        return replace(self, layers=tuple(layer for layer in self.layers if layer.name != name))

    def with_layer(self, name: str, **changes: Any) -> ModelSpec:
        """Return the same network with one layer's numbers changed."""
        return replace(self, layers=tuple(replace(la, **changes) if la.name == name else la for la in self.layers))

    def shapes(self) -> tuple[LayerShape, ...]:
        """Return every layer's shapes, layouts and weights, in order.

        Raises
            UsageError: a layer that does not fit what comes before it.
        """
        shape: tuple[int, ...] = (self.height, self.width, self.channels)
        layout = "image"
        sizes: tuple[tuple[str, int], ...] = ()
        found = []
        for layer in self.layers:
            step = _layer_shape(layer, shape, layout, sizes)
            found.append(step)
            shape, layout, sizes = step.output_shape, step.output_layout, step.output_sizes
        return tuple(found)

    def parameters(self) -> int:
        """Return the number of trainable numbers."""
        total = 0
        for step in self.shapes():
            for weight in step.weights:
                count = 1
                for size in weight.shape:
                    count *= size
                total += count
        return total


def example_cnn(
    height: int = 150, width: int = 150, channels: int = 1, filters: int = 16, hidden: int = 64
) -> ModelSpec:
    """Return the chest-radiograph classifier: one convolution, one pooling, two dense layers, one probability.

    Source: DESIGN of this project, after the published notebooks on the Kaggle data set
    `paultimothymooney/chest-xray-pneumonia`.
    """
    if channels not in (1, 3):
        raise UsageError(f"`channels` (={channels}) must be 1 (grey) or 3 (RGB)")
    return ModelSpec(
        "cnn",
        height,
        width,
        channels,
        (
            LayerSpec("conv1", "conv2d", filters, (3, 3)),
            LayerSpec("relu1", "relu"),
            LayerSpec("pool1", "max_pool2d", 2),
            LayerSpec("flatten", "flatten"),
            LayerSpec("dense1", "dense", hidden),
            LayerSpec("relu2", "relu"),
            LayerSpec("dense2", "dense", 1),
            LayerSpec("sigmoid", "sigmoid"),
        ),
    )


def _layer_shape(
    layer: LayerSpec, shape: tuple[int, ...], layout: str, sizes: tuple[tuple[str, int], ...]
) -> LayerShape:
    if layer.kind in ("conv2d", "max_pool2d", "flatten") and len(shape) != 3:
        raise UsageError(f"layer `{layer.name}` ({layer.kind}) needs an image, and is given shape {shape}")
    if layer.kind == "dense" and len(shape) != 1:
        raise UsageError(f"layer `{layer.name}` (dense) needs a vector, and is given shape {shape}")
    if layer.kind == "conv2d":
        return _conv_shape(layer, shape)
    if layer.kind == "max_pool2d":
        height, width, channels = shape
        out = (height // layer.size, width // layer.size, channels)
        _refuse_empty(layer, out, shape)
        return LayerShape(layer, shape, out, "image", "image", (), (), ())
    if layer.kind == "flatten":
        height, width, channels = shape
        named = (("h", height), ("w", width), ("c", channels))
        return LayerShape(layer, shape, (height * width * channels,), "image", "flat-image", (), named, ())
    if layer.kind == "dense":
        return _dense_shape(layer, shape, layout, sizes)
    if layer.kind in ("relu", "sigmoid"):
        return LayerShape(layer, shape, shape, layout, layout, sizes, sizes, ())
    raise UsageError(f"layer `{layer.name}` has kind `{layer.kind}`; known kinds: {', '.join(KINDS)}")


def _conv_shape(layer: LayerSpec, shape: tuple[int, ...]) -> LayerShape:
    (height, width, channels), (kernel_h, kernel_w) = shape, layer.kernel
    out = (height - kernel_h + 1, width - kernel_w + 1, layer.size)
    _refuse_empty(layer, out, shape)
    weights = [WeightSpec("kernel", "conv2d-kernel", (kernel_h, kernel_w, channels, layer.size))]
    if layer.bias:
        weights.append(WeightSpec("bias", "vector", (layer.size,)))
    return LayerShape(layer, shape, out, "image", "image", (), (), tuple(weights))


def _dense_shape(
    layer: LayerSpec, shape: tuple[int, ...], layout: str, sizes: tuple[tuple[str, int], ...]
) -> LayerShape:
    kernel_layout = "dense-kernel-after-flatten" if layout == "flat-image" else "dense-kernel"
    weights = [WeightSpec("kernel", kernel_layout, (shape[0], layer.size), sizes)]
    if layer.bias:
        weights.append(WeightSpec("bias", "vector", (layer.size,)))
    return LayerShape(layer, shape, (layer.size,), layout, "vector", sizes, (), tuple(weights))


def _refuse_empty(layer: LayerSpec, out: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if min(out) < 1:
        raise UsageError(f"layer `{layer.name}` ({layer.kind}) leaves nothing of an input of shape {shape}")
