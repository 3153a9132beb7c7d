"""Carry weights from one framework's names and layouts to the other's, and account for every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parity.errors import PairingError
from parity.model import layout
from parity.model.layout import Array
from parity.model.spec import ModelSpec, WeightSpec

# role: (Keras variable, torch parameter). Source: keras.layers.Dense, torch.nn.Linear.
_NAMES = {"kernel": ("kernel", "weight"), "bias": ("bias", "bias")}


@dataclass(frozen=True)
class WeightLink:
    """One weight under both its names, its TensorFlow shape and its layout."""

    tensorflow: str
    torch: str
    weight: WeightSpec


@dataclass(frozen=True)
class WeightAudit:
    """What became of each weight: how many moved, and which stayed without a partner."""

    copied: int
    unmatched_tensorflow: tuple[str, ...]
    unmatched_torch: tuple[str, ...]


def weight_map(spec: ModelSpec) -> tuple[WeightLink, ...]:
    """Return the one named map between the two frameworks' weights of `spec`, in layer order."""
    links = []
    for step in spec.shapes():
        for weight in step.weights:
            keras_name, torch_name = _NAMES[weight.role]
            name = step.layer.name
            links.append(WeightLink(f"{name}/{keras_name}", f"{name}.{torch_name}", weight))
    return tuple(links)


def to_torch(weights: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Return torch's state (names and layouts) from Keras weights named `layer/variable`.

    Raises
        PairingError: a weight is missing, left over, or of a shape that the map does not expect.
    """
    links = weight_map(spec)
    _audit_names("tensorflow", weights, [link.tensorflow for link in links])
    for link in links:
        _check_shape("tensorflow", link.tensorflow, weights[link.tensorflow], link.weight.shape)
    return {
        link.torch: layout.to_torch(weights[link.tensorflow], link.weight.layout, dict(link.weight.sizes))
        for link in links
    }


def to_tensorflow(weights: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Return Keras weights named `layer/variable` from torch's state.

    Raises
        PairingError: a weight is missing, left over, or of a shape that the map does not expect.
    """
    links = weight_map(spec)
    _audit_names("torch", weights, [link.torch for link in links])
    moved = {}
    for link in links:
        array = weights[link.torch]
        _check_shape("torch", link.torch, array, torch_shape(link.weight))
        moved[link.tensorflow] = layout.to_tensorflow(array, link.weight.layout, dict(link.weight.sizes))
    return moved


def torch_shape(weight: WeightSpec) -> tuple[int, ...]:
    """Return the shape that torch gives a weight whose TensorFlow shape is known."""
    if weight.layout == "conv2d-kernel":
        kernel_h, kernel_w, inputs, outputs = weight.shape
        return (outputs, inputs, kernel_h, kernel_w)
    return weight.shape[::-1]


def audit(tensorflow: Mapping[str, Array], torch: Mapping[str, Array], spec: ModelSpec) -> WeightAudit:
    """Return which weights have a partner, without moving anything."""
    links = weight_map(spec)
    both = [link for link in links if link.tensorflow in tensorflow and link.torch in torch]
    return WeightAudit(
        len(both),
        tuple(sorted(set(tensorflow) - {link.tensorflow for link in both})),
        tuple(sorted(set(torch) - {link.torch for link in both})),
    )


def _audit_names(side: str, weights: Mapping[str, Array], expected: list[str]) -> None:
    missing = [name for name in expected if name not in weights]
    extra = [f"`{name}` {weights[name].shape}" for name in weights if name not in expected]
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"missing: {', '.join(f'`{name}`' for name in missing)}")
        if extra:
            parts.append(f"used by no layer: {', '.join(extra)}")
        raise PairingError(f"{side} weights do not fit the model ({'; '.join(parts)}); each must be used exactly once")


def _check_shape(side: str, name: str, array: Array, expected: tuple[int, ...]) -> None:
    if tuple(array.shape) != expected:
        raise PairingError(f"{side} weight `{name}` has shape {tuple(array.shape)}, and the map expects {expected}")
