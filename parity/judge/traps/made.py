"""Kernels that a model's own code makes of its weights as it runs: turned round, or of length one along an axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from parity.judge.traps.remedy import UNKNOWN, Remedy, remake, replace
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import MADE, Op

IDS = ()
CONVOLUTIONS = ("conv", "conv_transpose", "depthwise_conv")
PRODUCTS = ("dense", "matmul", "einsum")
TURNS = frozenset({"transpose", "permute", "swapaxes", "movedim", "moveaxis", "swapdims", "T", "mT", "t"})
RESHAPES = frozenset({"view", "reshape", "unflatten", "flatten", "view_as"})
LENGTHS = frozenset({"normalize", "norm", "vector_norm", "linalg_norm", "rsqrt", "sqrt"})
SCALES = frozenset({"mul", "multiply", "div", "divide", "true_divide"})
AS_IT_IS = "as it is"
FLOOR = 1e-12  # of a sum of squares, as TensorFlow has it


@dataclass(frozen=True)
class Form:
    """A kernel as code may make it of a weight: in torch's layout, in words, and the trap that it is to leave it so."""

    kernel: Array
    says: str
    trap: str


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    mine, theirs = scene.tensorflow, scene.torch
    if mine is None or theirs is None or theirs.kind not in (*CONVOLUTIONS, *PRODUCTS):
        return
    kernel = next((scene.carried[role] for role in ("weight", "other") if role in scene.carried), None)
    known = any(role in mine.weights for role in ("kernel", "depthwise_kernel"))
    said = [str(one).partition(":") for one in theirs.config.get(MADE, ())]
    made = frozenset(name for name, _, _ in said)
    moved = [frozenset(map(int, axes.split(","))) for _, _, axes in said if axes]
    if kernel is None or kernel.ndim < 2 or (known and not made):
        return
    if theirs.kind == "matmul" and kernel.ndim == 2:
        kernel = kernel.T  # as a linear layer holds it
    for form in [
        Form(kernel, AS_IT_IS, _done(theirs, kernel, made, moved)),
        *([] if known else _forms(theirs, kernel, made)),
    ]:
        left = f", not through {' and '.join(name for name, _, _ in said)}" if said and form.says == AS_IT_IS else ""
        says, fix = f"with its weight {form.says}", f"the weight {form.says} in `{theirs.name}`{left}"
        array = np.ascontiguousarray(form.kernel)
        if theirs.kind == "matmul":
            yield replace(theirs, form.trap, says, fix, "dense", {}, {"weight": array})
        else:
            role = "other" if theirs.kind == "einsum" else "weight"
            yield remake(theirs, form.trap, says, fix, {role: array})


def _forms(op: Op, kernel: Array, made: frozenset[str]) -> Iterator[Form]:
    """Yield what TensorFlow's code may make of a kernel."""
    spatial = tuple(range(2, kernel.ndim)) if op.kind in CONVOLUTIONS else ()
    for axes in dict.fromkeys((spatial, *((axis,) for axis in spatial))) if spatial else ():
        yield Form(np.flip(kernel, axes), f"flipped: w.flip({list(axes)})", "kernel-flip")
    if len(spatial) > 1:
        says = "with its last two axes exchanged: w.transpose(-1, -2)"
        yield Form(np.swapaxes(kernel, -1, -2), says, "kernel-spatial-swap")
    trap = "axis-mismatch" if made & LENGTHS else "weight-scale"
    for axis in (0, 1) if op.kind != "einsum" else ():
        length = np.sqrt(np.maximum(np.square(kernel).sum(axis, keepdims=True), FLOOR))
        dim = 1 - axis if op.kind == "matmul" else axis  # as the model's own code holds it
        yield Form(kernel / length, f"of length 1 along dim {dim}: F.normalize(w, dim={dim})", trap)


def _done(op: Op, kernel: Array, made: frozenset[str], moved: Sequence[frozenset[int]]) -> str:
    """Return the trap that it is that torch's code makes something of a weight where TensorFlow takes it as it is.

    `moved` are the axes that each call exchanges; of a weight that is reshaped first they are no axes of the kernel.
    """
    if "flip" in made:
        return "kernel-flip"
    if made & TURNS:
        if made & RESHAPES:
            return "depthwise-channel-order" if _multiplies(op, kernel) else "kernel-layout"
        swapped = kernel.ndim > 3 and any(len(axes) > 1 and min(axes) > 1 for axes in moved)
        return "kernel-spatial-swap" if swapped else "kernel-layout"
    if made and made <= SCALES:
        return "weight-scale"
    return "weight-scale" if made & LENGTHS else UNKNOWN


def _multiplies(op: Op, kernel: Array) -> bool:
    """Return whether a convolution makes several channels of each group."""
    groups = int(op.config.get("groups") or 1)
    return op.kind == "depthwise_conv" or (groups > 1 and kernel.shape[0] > groups)
