"""Biases: one that only one side adds, that torch adds twice, or of which its code makes another one first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.judge.traps.inputs import written
from parity.judge.traps.remedy import Remedy, called, change, insert, remake
from parity.judge.traps.scene import Scene
from parity.model.trace import Op, used_weights, weight_names

IDS = ("bias-missing-or-doubled",)
TRAP = IDS[0]
LAYERS = ("conv", "conv_transpose", "depthwise_conv", "dense")
PRODUCTS = ("matmul", "einsum")  # that a dense layer may be written as


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    op, mine = scene.torch, scene.tensorflow
    if op is not None and mine is not None and op.kind in (*LAYERS, *PRODUCTS):
        yield from _of_layers(scene, op)
    for op in scene.torch_ops:
        if op.kind == "add":
            yield from _again(scene, op)


def _of_layers(scene: Scene, op: Op) -> Iterator[Remedy]:
    held, given = scene.torch_weights.get("bias"), scene.carried.get("bias")
    call = op.made_by.startswith("torch.nn.functional.")
    if given is None and "bias" in scene.tensorflow_weights:
        given = scene.tensorflow_weights["bias"]
    if op.kind == "dense" and any("^" in reference for reference in op.weights.values()):  # a sum of layers
        other, says = (given, "with TensorFlow's bias") if held is None else (held, "without a bias")
        if (held is None) != (given is None) and other is not None:
            fix = f"bias={held is None} in `{op.name}`"
            other = other if held is None else -other
            yield insert(op.outputs[0], TRAP, says, fix, "add", {}, weights={"other": other})
    elif op.kind in PRODUCTS:
        if given is not None:
            fix = f"add TensorFlow's bias to the result of `{op.name}`"
            yield insert(op.outputs[0], TRAP, "with TensorFlow's bias", fix, "add", {}, weights={"other": given})
    elif held is None and given is not None and op.config.get("bias"):
        makers = [one for one in scene.torch_ops if set(one.outputs) & set(op.inputs[1:])]
        said = [f"`{one.name}` ({written(one.config)})" if "scale" in one.config else f"`{one.name}`" for one in makers]
        fix = ", without ".join([f"the bias as it is in `{op.name}`", *said])
        yield remake(op, TRAP, "with TensorFlow's bias as it is", fix, {"bias": given})
    elif held is None and given is not None:
        fix = f"TensorFlow's bias to `{op.name}`" if call else f"bias=True in `{op.name}`"
        yield change(op, TRAP, "with TensorFlow's bias", fix, {"bias": True}, {"bias": given})
    elif held is not None and given is None:
        weights = {"bias": np.zeros_like(held)}
        fix = f"bias={None if call else False} in `{op.name}`"
        yield change(op, TRAP, "without a bias", fix, weights=weights)


def _again(scene: Scene, op: Op) -> Iterator[Remedy]:
    """A bias that a layer of torch's has added already."""
    makers = scene.torch_trace.producers()
    read = {tensor: makers[tensor] for tensor in op.inputs if tensor in makers and not makers[tensor].inputs}
    kept = [tensor for tensor in op.inputs if tensor not in read]
    held = {name for _, _, name in used_weights((op, *read.values()))}
    layers = [
        one for one in scene.torch_trace.ops
        if one.kind in LAYERS and set(weight_names(one.weights.get("bias", ""))) & held
    ]  # fmt: skip
    if len(kept) != 1 or not layers:
        return
    edit = {"op": op.index, "skip": True, "inputs": kept}
    fix = f"remove `{op.name}`: `{layers[0].name}` has added its bias"
    one = Remedy(TRAP, (edit,), "with the bias added once", fix, 0.9, frozenset({f"{op.index}:*"}))
    yield called(one, scene.beside(kept[0]), op.name)
