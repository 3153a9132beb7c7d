"""Carry the weights of any layer kind from one framework to the other and back, one table for all kinds.

The same functions carry gradients, optimizer slots and updates: all of them are permutations, stackings and sums of
equal things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.errors import PairingError
from parity.model.network import FLAT, Array, Network, Node

Carry = Callable[[Array], Array]


@dataclass(frozen=True)
class Link:
    """One weight under both names: TensorFlow's `role` within its layer, torch's name within its module."""

    tensorflow: str
    torch: str
    to_torch: Carry
    to_tensorflow: Carry
    trainable: bool = True


def links(network: Network, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Link, ...]:
    """Return the links of one node's own weights.

    `shapes` holds the TensorFlow shape of every tensor of the network without its batch axis: a Dense after Flatten
    needs to know what was flattened.
    """
    if node.kind == "dense" and network.layouts()[node.inputs[0]] == FLAT:
        kernel = _after_flatten(shapes[network.flattened()[node.inputs[0]]])
        return (kernel, *_bias(node))
    make = _KINDS.get(node.kind)
    return make(node) if make else ()


def links_of(kind: str, config: Mapping[str, Any]) -> tuple[Link, ...]:
    """Return the links of any layer of a kind, whatever network it stands in; none for a kind without weights."""
    make = _KINDS.get(kind)
    return make(Node(kind, kind, (), config)) if make else ()


def to_torch(weights: Mapping[str, Array], network: Network, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Return torch's `node.name` arrays from TensorFlow's `node/role` arrays.

    Raises
        PairingError: a weight is missing, or belongs to no node.
    """
    moved, used = {}, set()
    for node in network.owners():
        for link in links(network, node, shapes):
            name = f"{node.name}/{link.tensorflow}"
            if name not in weights:
                raise PairingError(f"tensorflow weight `{name}` is missing; there are {sorted(weights)}")
            moved[f"{node.name}.{link.torch}"] = np.ascontiguousarray(link.to_torch(weights[name]))
            used.add(name)
    _refuse_left_over("tensorflow", set(weights) - used)
    return moved


def to_tensorflow(
    weights: Mapping[str, Array], network: Network, shapes: Mapping[str, tuple[int, ...]], partial: bool = False
) -> dict[str, Array]:
    """Return TensorFlow's `node/role` arrays from torch's; with `partial`, what is not there is left out.

    Raises
        PairingError: a weight is missing, or belongs to no node.
    """
    moved, used = {}, set()
    for node in network.owners():
        for link in links(network, node, shapes):
            name = f"{node.name}.{link.torch}"
            if name not in weights:
                if partial:
                    continue
                raise PairingError(f"torch weight `{name}` is missing; there are {sorted(weights)}")
            moved[f"{node.name}/{link.tensorflow}"] = np.ascontiguousarray(link.to_tensorflow(weights[name]))
            used.add(name)
    _refuse_left_over("torch", set(weights) - used)
    return moved


def _refuse_left_over(side: str, names: set[str]) -> None:
    if names:
        raise PairingError(f"{side} weights that belong to no node: {', '.join(f'`{name}`' for name in sorted(names))}")


def _keep(array: Array) -> Array:
    return array


def _transposed(array: Array) -> Array:
    return array.T


def _kernel_to_torch(kernel: Array) -> Array:
    """(k.., a, b) to (b, a, k..): inputs and outputs of a convolution, outputs and inputs of a transposed one."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _kernel_to_tensorflow(kernel: Array) -> Array:
    return np.moveaxis(kernel, (0, 1), (-1, -2))


def _depthwise_to_torch(kernel: Array) -> Array:
    moved = np.moveaxis(kernel, (-2, -1), (0, 1))  # (c, m, k..): output channel c*M + m
    return moved.reshape(-1, 1, *kernel.shape[:-2])


def _depthwise_to_tensorflow(multiplier: int) -> Carry:
    def carry(kernel: Array) -> Array:
        return np.moveaxis(kernel.reshape(-1, multiplier, *kernel.shape[2:]), (0, 1), (-2, -1))

    return carry


def _after_flatten(flattened: tuple[int, ...]) -> Link:
    *spatial, channels = flattened

    def forth(kernel: Array) -> Array:
        return np.moveaxis(kernel.reshape(*flattened, -1), -2, 0).reshape(-1, kernel.shape[-1]).T

    def back(kernel: Array) -> Array:
        return np.moveaxis(kernel.T.reshape(channels, *spatial, -1), 0, -2).reshape(-1, kernel.shape[0])

    return Link("kernel", "weight", forth, back)


def _bias(node: Node, torch: str = "bias") -> tuple[Link, ...]:
    return (Link("bias", torch, _keep, _keep),) if node.config.get("bias", True) else ()


def _dense(node: Node) -> tuple[Link, ...]:
    return (Link("kernel", "weight", _transposed, _transposed), *_bias(node))


def _conv(node: Node) -> tuple[Link, ...]:
    return (Link("kernel", "weight", _kernel_to_torch, _kernel_to_tensorflow), *_bias(node))


def _depthwise(node: Node) -> tuple[Link, ...]:
    back = _depthwise_to_tensorflow(int(node.config.get("multiplier", 1)))
    return (Link("kernel", "weight", _depthwise_to_torch, back), *_bias(node))


def _separable(node: Node) -> tuple[Link, ...]:
    back = _depthwise_to_tensorflow(int(node.config.get("multiplier", 1)))
    return (
        Link("depthwise_kernel", "depthwise.weight", _depthwise_to_torch, back),
        Link("pointwise_kernel", "pointwise.weight", _kernel_to_torch, _kernel_to_tensorflow),
        *_bias(node, "pointwise.bias"),
    )


def _batch_norm(node: Node) -> tuple[Link, ...]:
    return (
        *_scale_and_shift(node),
        Link("moving_mean", "running_mean", _keep, _keep, trainable=False),
        Link("moving_variance", "running_var", _keep, _keep, trainable=False),
    )


def _scale_and_shift(_: Node) -> tuple[Link, ...]:
    return (Link("gamma", "weight", _keep, _keep), Link("beta", "bias", _keep, _keep))


def _rms_norm(_: Node) -> tuple[Link, ...]:
    return (Link("scale", "weight", _keep, _keep),)


def _embedding(_: Node) -> tuple[Link, ...]:
    return (Link("embeddings", "weight", _keep, _keep),)


def _prelu(node: Node) -> tuple[Link, ...]:
    if node.config.get("shared", True):  # one slope per channel, (1, .., c) in Keras
        rank = int(node.config["rank"])
        return (Link("alpha", "weight", lambda a: a.reshape(-1), lambda a: a.reshape((1,) * (rank - 1) + (-1,))),)
    return (Link("alpha", "weight", lambda a: np.moveaxis(a, -1, 0), lambda a: np.moveaxis(a, 0, -1)),)


def _lstm_cell(prefix: str = "", suffix: str = "") -> tuple[Link, ...]:
    # Gates i, f, c, o in both. The second bias of torch stays zero and fixed: two trainable ones would move twice.
    return (
        Link(f"{prefix}kernel", f"weight_ih_l0{suffix}", _transposed, _transposed),
        Link(f"{prefix}recurrent_kernel", f"weight_hh_l0{suffix}", _transposed, _transposed),
        Link(f"{prefix}bias", f"bias_ih_l0{suffix}", _keep, _keep),
    )


def _conv_lstm(_: Node) -> tuple[Link, ...]:
    return (
        Link("kernel", "weight_ih_l0", _kernel_to_torch, _kernel_to_tensorflow),
        Link("recurrent_kernel", "weight_hh_l0", _kernel_to_torch, _kernel_to_tensorflow),
        Link("bias", "bias_ih_l0", _keep, _keep),
    )


def _swap_gates(array: Array) -> Array:
    """Exchange the first two of three gates along the last axis: z, r, h in Keras and r, z, n in torch."""
    first, second, third = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, third], axis=-1)


def _gru_cell(prefix: str = "", suffix: str = "") -> tuple[Link, ...]:
    def forth(kernel: Array) -> Array:
        return _swap_gates(kernel).T

    def back(kernel: Array) -> Array:
        return _swap_gates(kernel.T)

    return (
        Link(f"{prefix}kernel", f"weight_ih_l0{suffix}", forth, back),
        Link(f"{prefix}recurrent_kernel", f"weight_hh_l0{suffix}", forth, back),
        # Keras keeps both biases in one variable (2, 3 units); it is carried as one, the adapter splits it.
        Link(f"{prefix}bias", f"biases_l0{suffix}", _swap_gates, _swap_gates),
    )


def _recurrent(node: Node) -> tuple[Link, ...]:
    cell = _gru_cell if node.kind == "gru" else _lstm_cell  # a plain one has the same weights as an LSTM, one gate wide
    if node.config.get("bidirectional"):
        return (*cell("forward_"), *cell("backward_", "_reverse"))
    return cell()


def _attention(node: Node) -> tuple[Link, ...]:
    found = []
    for role in ("query", "key", "value"):
        found.append(Link(f"{role}_kernel", f"{role}.weight", *_heads_in(node)))
        found.append(Link(f"{role}_bias", f"{role}.bias", lambda b: b.reshape(-1), _heads_of(node)))
    found.append(Link("output_kernel", "out_proj.weight", *_heads_out(node)))
    found.append(Link("output_bias", "out_proj.bias", _keep, _keep))
    return tuple(found)


def _heads_in(node: Node) -> tuple[Carry, Carry]:
    heads = int(node.config["heads"])
    return (
        lambda kernel: kernel.reshape(kernel.shape[0], -1).T,
        lambda weight: weight.T.reshape(weight.shape[1], heads, -1),
    )


def _heads_of(node: Node) -> Carry:
    heads = int(node.config["heads"])
    return lambda bias: bias.reshape(heads, -1)


def _heads_out(node: Node) -> tuple[Carry, Carry]:
    heads = int(node.config["heads"])
    return (
        lambda kernel: kernel.reshape(-1, kernel.shape[-1]).T,
        lambda weight: weight.T.reshape(heads, -1, weight.shape[0]),
    )


_KINDS: Mapping[str, Callable[[Node], tuple[Link, ...]]] = {
    "dense": _dense,
    "conv": _conv,
    "conv_transpose": _conv,
    "depthwise_conv": _depthwise,
    "separable_conv": _separable,
    "batch_norm": _batch_norm,
    "layer_norm": _scale_and_shift,
    "group_norm": _scale_and_shift,
    "instance_norm": _scale_and_shift,
    "rms_norm": _rms_norm,
    "embedding": _embedding,
    "prelu": _prelu,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": _recurrent,
    "conv_lstm": _conv_lstm,
    "attention": _attention,
}

KINDS_WITH_WEIGHTS: Any = tuple(_KINDS)
