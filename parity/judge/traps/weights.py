"""Weights that were loaded wrongly: what torch holds is TensorFlow's in another order, scale or place.

A trap is proposed only where the transformed weights are those that torch holds, so that the search stays cheap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.judge.traps import weight_forms as forms
from parity.judge.traps.recurrence import written_out
from parity.judge.traps.remedy import UNKNOWN, Remedy, change
from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import COMPUTES, Op

IDS = (
    "flatten-order", "kernel-layout", "kernel-spatial-swap", "kernel-flip", "depthwise-channel-order",
    "batchnorm-stats-swap", "lstm-gate-order", "gru-gate-order", "bias-missing-or-doubled", "weight-wrong-layer",
    "weight-scale", "init-distribution",
)  # fmt: skip
CONVOLUTIONS = ("conv", "conv_transpose", "depthwise_conv")
NORMS = ("batch_norm", "layer_norm", "group_norm")
GATES: Mapping[str, str] = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}  # in torch's order
IN_KERAS: Mapping[str, str] = {"lstm": "i, f, c, o", "gru": "z, r, h", "rnn": "h"}
IN_NORMS: Mapping[str, str] = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance",
}  # fmt: skip
PRODUCTS = ("matmul", "einsum")  # that a dense layer may be written as
WITH_BIAS = (*CONVOLUTIONS, "dense")


@dataclass(frozen=True)
class Match:
    """What torch holds under one role, in words: the trap, what it is, and the line that loads it rightly."""

    trap: str
    role: str
    is_what: str
    fix: str
    half: Array | None = None  # where two such things were done to a weight: it with only one of them undone


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    op = scene.torch
    if op is None or scene.tensorflow is None:
        return
    wrong = {
        role: array for role, array in scene.carried.items() if not forms.equal(scene.torch_weights.get(role), array)
    }
    wrong = {role: array for role, array in wrong.items() if role in scene.torch_weights}
    if not wrong:
        return
    found = list(matches(scene, wrong))
    for trap in dict.fromkeys(match.trap for match in found):
        yield _remedy(op, trap, [match for match in found if match.trap == trap], wrong)
    for role, array in wrong.items():
        if len(wrong) > 1:
            yield _as_it_is(scene, {role: array}, 6.5)
    yield _as_it_is(scene, wrong, 6.0)


def _remedy(op: Op, trap: str, own: Sequence[Match], wrong: Mapping[str, Array]) -> Remedy:
    said = ", ".join(dict.fromkeys(_named(match.role) for match in own))
    what = ", ".join(dict.fromkeys(match.is_what for match in own))
    says = f"with {said} loaded rightly: torch's is {what}"
    weights = {match.role: wrong[match.role] if match.half is None else match.half for match in own}
    remedy = change(op, trap, says, own[0].fix, weights=weights, cost=0.5)
    if all(match.half is None for match in own):
        return remedy
    # Of two things done to one weight each remedy undoes one; both together give the weight itself.
    edits = tuple({**edit, "whole": {match.role: wrong[match.role] for match in own}} for edit in remedy.edits)
    return replace(remedy, edits=edits, keys=frozenset(f"{key}:{trap}" for key in remedy.keys))


def _named(role: str) -> str:
    """Return a role as torch names its weights: the two biases of a GRU are compared as the rows of one array."""
    if role.startswith("biases"):
        return ", ".join(f"`{role.replace('biases', one)}`" for one in ("bias_ih", "bias_hh"))
    return f"`{role}`"


def _as_it_is(scene: Scene, weights: Mapping[str, Array], cost: float) -> Remedy:
    op = scene.torch
    assert op is not None
    said = ", ".join(_named(role) for role in weights)
    fix = _of_its_own(scene, op, weights) or f"load TensorFlow's weights into {said} of `{op.name}`"
    return change(op, UNKNOWN, f"with TensorFlow's {said}", fix, weights=weights, cost=cost)


def _of_its_own(scene: Scene, op: Op, weights: Mapping[str, Array]) -> str:
    """Return the line for weights that torch uses in several places where TensorFlow has several: none can hold both.

    Where nothing was copied, they may be equal after all, and were not loaded.
    """
    mine = scene.tensorflow
    if mine is None or scene.weights_mode == "as-is":
        return ""
    uses = [
        sum(dict(one.weights) == dict(main.weights) for one in trace.ops)
        for main, trace in ((mine, scene.tensorflow_trace), (op, scene.torch_trace))
    ]
    if uses[1] <= uses[0]:
        return ""
    shared = ", ".join(f"`{op.weights[role]}`" for role in weights if role in op.weights)
    return (
        f"weights of its own, as TensorFlow's `{mine.name}` has, in place of {shared}, which torch uses {uses[1]} times"
    )


def matches(scene: Scene, wrong: Mapping[str, Array]) -> Iterator[Match]:
    """Yield, for each role that differs, the first form of TensorFlow's weight that torch holds; or two at once."""
    fresh = {role: _never_loaded(scene, role, scene.torch_weights[role]) for role in wrong}
    if len(fresh) > 1 and scene.torch is not None and scene.torch.kind in NORMS and None not in fresh.values():
        yield from (match for match in fresh.values() if match is not None)  # a bias of zero is but one sign of it
        return
    for role, right in wrong.items():
        held = scene.torch_weights[role]
        one = _exchanged(scene, role, held) or _simple(scene, role, held, right)
        found = [one] if one is not None else _twice(scene, role, held, right)
        never = None if found else fresh[role]
        yield from found if never is None else [never]


def _simple(scene: Scene, role: str, held: Array, right: Array) -> Match | None:
    return _by_kind(scene, role, held, right) or _common(scene, role, held, right)


def _twice(scene: Scene, role: str, held: Array, right: Array) -> list[Match]:
    """Return what was done to a weight in two steps, such as transposed and flipped."""
    if scene.torch is not None and scene.torch.kind in GATES:
        return _gates_and_more(scene, scene.torch, role, held, right)
    if held.shape != right.shape or scene.torch is None or (role != "weight" and "bias" not in role):
        return []
    name, spatial = scene.torch.name, tuple(range(2, held.ndim))
    size = float(np.linalg.norm(held)) / (float(np.linalg.norm(right)) or 1.0)
    steps: list[tuple[str, str, str, Array]] = []
    if spatial and role == "weight":
        fix = f"w.flip({list(spatial)}) when loading `{name}.weight`"
        steps.append(("kernel-flip", "flipped", fix, np.flip(held, spatial)))
    if role != "weight":
        fix = _once(scene.torch, role)
        doubled = abs(size - 2.0) <= forms.RELATIVE
        steps += [("bias-missing-or-doubled", "twice the bias", fix, held / 2.0)] if doubled else []
    elif size and abs(size - 1.0) > forms.RELATIVE:
        fix = f"`{name}.weight` / {size:.7g} when loading"
        steps.append(("weight-scale", f"{size:.7g} times it", fix, held / size))
    for trap, what, fix, undone in steps:
        other = _simple(scene, role, undone, right)
        if other is not None and other.trap != trap:
            return [Match(trap, role, what, fix, undone), dataclasses.replace(other, half=held)]
    return []


def _gates_and_more(scene: Scene, op: Op, role: str, held: Array, right: Array) -> list[Match]:
    """Return what else was done to a weight whose gates stand in an order in which another weight's do."""
    count = len(GATES[op.kind])
    for other, array in scene.carried.items():
        loaded = scene.torch_weights.get(other)
        order = None if loaded is None else forms.block_order(loaded, array, count, _gate_axis(other, array))
        if order is None or held.shape != right.shape:
            continue
        axis = _gate_axis(role, right)
        blocks = np.split(held, count, axis)
        undone = np.concatenate([blocks[order.index(i)] for i in range(count)], axis)
        first, second = _in_order(op, role, order), _simple(scene, role, undone, right)
        if second is not None and second.trap != first.trap:
            return [dataclasses.replace(first, half=undone), dataclasses.replace(second, half=held)]
    return []


def _gate_axis(role: str, array: Array) -> int:
    return 1 if "biases" in role and array.ndim == 2 else 0


def _in_order(op: Op, role: str, order: Sequence[int]) -> Match:
    letters, wrong = GATES[op.kind], ", ".join(GATES[op.kind][i] for i in order)
    fix = f"gates in the order {', '.join(letters)} in all weights of `{op.name}`"
    if written_out(op):
        fix = f"take the gates of `{op.name}` in the order in which Keras has them, {IN_KERAS[op.kind]}"
    elif op.kind == "gru":
        fix += f": Keras has them as {IN_KERAS[op.kind]}"
    return Match(f"{op.kind}-gate-order", role, f"with its gates in the order {wrong}", fix)


def _by_kind(scene: Scene, role: str, held: Array, right: Array) -> Match | None:
    kind, name = (scene.torch.kind, scene.torch.name) if scene.torch else ("", "")
    original = scene.tensorflow_weights.get("kernel")
    if kind == "depthwise_conv" and role == "bias":
        return _depthwise_bias(scene, name, held, right)
    if kind in CONVOLUTIONS and role == "weight":
        return _kernel(name, kind, held, right, original)
    if kind == "dense":
        heads = _heads_of_dense(scene, name, role, held, right)
        if heads is not None or role != "weight":
            return heads
        return _dense(scene, name, held, right, original)
    if kind in PRODUCTS and original is not None and held.ndim == right.ndim == original.ndim == 2:
        return _written_out(scene, name, role, held, right, original)
    if kind == "batch_norm":
        return _statistics(name, role, held, right, scene.carried.get("running_mean"))
    if kind in GATES and scene.torch is not None:
        return _gates(scene.torch, role, held, right) or _recurrent_kernel(scene, name, role, held, right)
    if kind == "attention":
        return _attention(scene, name, role, held, right)
    if kind == "embedding":
        return _embedding(scene, name, held, right)
    if kind == "prelu" and forms.constant(held):
        return Match(
            "prelu-sharing", role, "one slope for all", f"load all slopes into `{name}`: they are no single one"
        )
    return None


def _kernel(name: str, kind: str, held: Array, right: Array, original: Array | None) -> Match | None:
    fix = f"kernel.transpose({forms.order_to_torch(right.ndim)}) into `{name}.weight`"
    if kind == "depthwise_conv":  # (k.., C, M): there is nothing to exchange, and the channels are made one axis
        order = forms.order_to_torch(right.ndim, depthwise=True)
        fix = f"kernel.transpose({order}).reshape(-1, 1, {', '.join(map(str, right.shape[2:]))}) into `{name}.weight`"
    spatial = tuple(range(2, right.ndim))
    found = forms.swapped(held, right, spatial)
    if found:
        return Match("kernel-spatial-swap", "weight", "with its spatial axes exchanged", fix)
    if forms.equal(held, np.flip(right, spatial)):
        return Match("kernel-flip", "weight", "flipped", f"w.flip({list(spatial)}) when loading `{name}.weight`")
    if kind == "depthwise_conv" and original is not None and forms.multiplier_major(held, original):
        return Match("depthwise-channel-order", "weight", "ordered m*C + c instead of c*M + m", fix)
    word = forms.relaid(held, right, original)
    if word:
        return Match("kernel-layout", "weight", word, fix)
    inputs = forms.order_along(held, right, 1)
    if inputs is not None and inputs == list(range(len(inputs)))[::-1]:
        return Match("channel-order", "weight", "with its input channels reversed", f"w.flip(1) for `{name}.weight`")
    return None


def _depthwise_bias(scene: Scene, name: str, held: Array, right: Array) -> Match | None:
    """A bias whose channels stand as those of its kernel do."""
    kernel = scene.tensorflow_weights.get("kernel")
    loaded = scene.torch_weights.get("weight")
    if kernel is None or loaded is None or kernel.ndim < 2 or right.size != kernel.shape[-1] * kernel.shape[-2]:
        return None
    moved = right.reshape(kernel.shape[-2:]).T.reshape(-1)
    if not forms.multiplier_major(loaded, kernel) or not forms.equal(held, moved):
        return None
    line = f"bias as it is into `{name}.bias`, in the order of the kernel's channels: c*M + m"
    return Match("depthwise-channel-order", "bias", "ordered m*C + c instead of c*M + m", line)


def _dense(scene: Scene, name: str, held: Array, right: Array, original: Array | None) -> Match | None:
    if _becomes_image(scene) and forms.order_along(held, right, 0) is not None:
        return None  # it is its units that stand in another order
    if original is not None and not forms.equal(original.T, right) and forms.equal(held, original.T):
        shape = _flattened(scene)
        sizes = f"{shape}" if shape else "(H, W, C)"
        back = f"({', '.join(str(n) for n in (shape[-1], *shape[:-1]))})" if shape else "(C, H, W)"
        axes = (len(shape) - 1, *range(len(shape) - 1), len(shape)) if shape else (2, 0, 1, 3)
        fix = f"kernel.reshape{sizes[:-1]}, -1).transpose{axes}.reshape({right.shape[1]}, -1).T into `{name}.weight`"
        return Match("flatten-order", "weight", f"with its inputs ordered {sizes} where torch flattens {back}", fix)
    word = forms.relaid(held, right, original)
    if word:
        return Match("kernel-layout", "weight", word, f"kernel.T into `{name}.weight`")
    order = forms.order_along(held, right, 1)
    if order is None:
        return None
    if forms.is_flatten_order(order):
        return Match(
            "flatten-order",
            "weight",
            "with its inputs in the other order of Flatten",
            f"permute the inputs of `{name}.weight` from (H, W, C) to (C, H, W) exactly once",
        )
    return Match(UNKNOWN, "weight", "with its inputs in another order", f"reorder the inputs of `{name}.weight`")


def _written_out(scene: Scene, name: str, role: str, held: Array, right: Array, original: Array) -> Match | None:
    """Return what is wrong with the matrix of a dense layer that is written out, held by units or by inputs."""
    by_units = forms.equal(np.sort(right.sum(1)), np.sort(original.sum(0)))
    found = _dense(scene, name, *((held, right) if by_units else (held.T, right.T)), original)
    if found is None:
        return None
    return replace(found, role=role, fix=found.fix.replace(f"`{name}.weight`", f"the matrix of `{name}`"))


def _heads_of_dense(scene: Scene, name: str, role: str, held: Array, right: Array) -> Match | None:
    """Return that a linear layer has its heads interleaved, which TensorFlow's kernel has as an axis of its own."""
    given = scene.tensorflow_weights.get("kernel" if role == "weight" else role)
    if given is None or given.ndim != right.ndim + 1:
        return None
    before = role == "weight" and given.shape[-1] == right.shape[0] and given.shape[0] != right.shape[1]
    heads = given.shape[0] if before or role != "weight" else given.shape[1]
    if heads < 2 or not forms.interleaved(held, right, heads, 1 if before else 0):
        return None
    fix = f"each head a contiguous run of numbers in `{name}`: kernel.reshape(E, heads * key_dim).T"
    return Match("attention-scale-or-heads", role, "with its heads interleaved", fix)


def _flattened(scene: Scene) -> tuple[int, ...]:
    """Return TensorFlow's shape, without the batch, of what was flattened before the layer."""
    makers = scene.tensorflow_trace.producers()
    tensor = scene.tensorflow.inputs[0] if scene.tensorflow and scene.tensorflow.inputs else None
    while tensor is not None:
        shape = scene.tensorflow_trace.shapes.get(tensor, ())
        if len(shape) > 2:
            return tuple(shape[1:])
        maker = makers.get(tensor)
        tensor = maker.inputs[0] if maker is not None and maker.inputs and not maker.weights else None
    return ()


def _statistics(name: str, role: str, held: Array, right: Array, mean: Array | None) -> Match | None:
    if role != "running_var":
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        known = {
            "the square root of the variance": np.sqrt(right),
            "one over the standard deviation": 1 / np.sqrt(right),
            "one over the variance": 1 / right,
            "the square of the variance": right**2,
        }
    for what, array in known.items():
        if forms.equal(held, array):
            return Match("batchnorm-stats-swap", role, what, f"`{name}.running_var` = moving_variance")
    if mean is not None and _made_positive(held, mean):
        fix = f"`{name}.running_mean`, `{name}.running_var` = moving_mean, moving_variance"
        return Match("batchnorm-stats-swap", role, "what belongs into `running_mean`, made positive", fix)
    return None


def _made_positive(held: Array, mean: Array) -> bool:
    """Return whether numbers are those of a mean whose negative ones were turned round or cut off."""
    if held.shape != mean.shape or forms.constant(held):
        return False
    above = mean > 0.0
    kept = forms.equal(held[above], mean[above]) if above.any() else False
    return forms.equal(held, np.abs(mean)) or (kept and forms.constant(held[~above]))


def _gates(op: Op, role: str, held: Array, right: Array) -> Match | None:
    name, order = op.name, forms.block_order(held, right, len(GATES[op.kind]), _gate_axis(role, right))
    if order is not None:
        return _in_order(op, role, order)
    if "bias" in role and right.ndim == held.ndim == 2:
        fix = f"load both rows of Keras's bias into `{name}`"
        if forms.equal(held, np.stack([right[0], right[0]])):
            return Match("bias-missing-or-doubled", role, "the input bias twice", fix)
        for row, which in enumerate(("input", "recurrent")):
            if right[row].any() and not held[row].any() and forms.equal(held[1 - row], right[1 - row]):
                return Match("bias-missing-or-doubled", role, f"zero for the {which} bias", fix)
    return None


def _recurrent_kernel(scene: Scene, name: str, role: str, held: Array, right: Array) -> Match | None:
    """Kernels of gates that were not transposed, all at once or one by one: as square ones they fit."""
    if not role.startswith("weight_") or scene.torch is None or held.shape != right.shape:
        return None
    letters = GATES[scene.torch.kind]
    fix = f"kernel.T into `{name}.{role}`"
    turned = forms.transposed_blocks(held, right, len(letters))
    if turned:
        which = "" if len(turned) == len(letters) else f" in the gates {', '.join(letters[i] for i in turned)}"
        return Match("kernel-layout", role, f"not transposed{which}", fix)
    word = forms.relaid(held, right, None)
    return Match("kernel-layout", role, word, fix) if word else None


def _attention(scene: Scene, name: str, role: str, held: Array, right: Array) -> Match | None:
    heads = int(scene.torch.config.get("heads", 1)) if scene.torch else 1
    axis = 1 if role.startswith("out") else 0
    if heads > 1 and axis < held.ndim and forms.interleaved(held, right, heads, axis):
        return Match(
            "attention-scale-or-heads",
            role,
            "with its heads interleaved",
            f"each head a contiguous run of rows in `{name}`: kernel.reshape(E, heads * key_dim).T",
        )
    if role.endswith("weight") and forms.relaid(held, right, None):
        return Match("kernel-layout", role, "not transposed", f"kernel.reshape(E, -1).T into `{name}`")
    return None


def _embedding(scene: Scene, name: str, held: Array, right: Array) -> Match | None:
    for by in (1, -1, 2, -2):
        if held.shape == right.shape and forms.equal(
            held[abs(by) :] if by > 0 else held[:by], right[:-by] if by > 0 else right[-by:]
        ):
            return Match(
                "embedding-offset", "weight", f"moved by {by:+d} rows", f"row i of TensorFlow is row i of `{name}`"
            )
    if held.shape != right.shape:
        return None
    differing: Array = np.flatnonzero(~np.isclose(held, right, rtol=1e-6, atol=0.0).all(axis=1))
    index = scene.torch.config.get("padding_index") if scene.torch else None
    if len(differing) == 1 and (not held[differing[0]].any() or differing[0] == index):
        row = differing[0]
        fix = f"load row {row} of TensorFlow's as well into `{name}.weight`: it is an ordinary one there"
        fix = f"padding_idx=None in `{name}`, and {fix}" if index is not None else fix
        return Match("embedding-padding-index", "weight", f"with row {row} zeroed", fix)
    return None


def _exchanged(scene: Scene, role: str, held: Array) -> Match | None:
    """Another weight of the layer, or of another layer, under this role."""
    op, mine = scene.torch, scene.tensorflow
    if op is None or mine is None:
        return None
    for other, array in scene.carried.items():
        if other == role or held.size < 2 or not forms.equal(held, array):
            continue
        if op.kind in NORMS:
            keras = {role: IN_NORMS[role] for role in scene.carried if role in IN_NORMS}
            fix = f"`{op.name}`: {', '.join(keras)} = {', '.join(keras.values())}"
            return Match("batchnorm-stats-swap", role, f"what belongs into `{other}`", fix)
        fix = f"load `{role}` and `{other}` of `{op.name}` the other way round"
        return Match("weight-wrong-layer", role, f"what belongs into `{other}`", fix)
    for layer, given in scene.alternatives.items():
        theirs = given.get(role)
        if theirs is not None and not forms.constant(theirs) and forms.equal(held, theirs):
            fix = f"load TensorFlow's `{mine.name}` into `{op.name}`, not `{layer}`"
            return Match("weight-wrong-layer", role, f"that of `{layer}`", fix)
    return None


def _common(scene: Scene, role: str, held: Array, right: Array) -> Match | None:
    name = scene.torch.name if scene.torch else ""
    if "bias" in role and not held.any() and right.any():
        both = scene.torch is not None and scene.torch.kind in GATES and right.ndim == 2
        fix = (
            f"load both rows of Keras's bias into `{name}`" if both else f"load TensorFlow's bias into `{name}.{role}`"
        )
        return Match("bias-missing-or-doubled", role, "zero", fix)
    if held.shape != right.shape:
        return None
    factor = forms.factor(held, right)
    if factor is not None and "bias" in role and abs(factor - 2.0) < 1e-6:
        return Match("bias-missing-or-doubled", role, "twice the bias", _once(scene.torch, role))
    if factor is not None:
        return Match("weight-scale", role, f"{factor:.7g} times it", f"`{name}.{role}` / {factor:.7g} when loading")
    if forms.factor_per_row(held, right):
        return Match(
            "weight-scale",
            role,
            "scaled by a factor per output channel",
            f"load `{name}.{role}` without that scale (a weight norm, or a folded normalisation)",
        )
    order = forms.order_along(held, right, 0)
    if order is not None and forms.is_flatten_order(order) and _becomes_image(scene):
        return Match(
            "flatten-order",
            role,
            "with its units in the order (H, W, C) of TensorFlow's Reshape, where torch's makes (C, H, W) of them",
            f"permute `{name}.{role}` along its first axis from (H, W, C) to (C, H, W), or permute behind the reshape",
        )
    if order is not None and not role.startswith("running"):
        shown = str(order) if len(order) <= 12 else f"[{', '.join(map(str, order[:8]))}, ...]"
        along = f", and `{name}.bias` likewise" if role == "weight" and "bias" in scene.torch_weights else ""
        return Match(
            "output-permutation",
            role,
            "with its outputs in another order",
            f"`{name}.{role}`[{shown}]{along}: TensorFlow's order of classes or channels",
        )
    return None


def _once(op: Op | None, role: str) -> str:
    """Return the line that loads a bias once: recurrent layers have two, whose sum counts, and others have one."""
    name = op.name if op is not None else ""
    if op is not None and op.kind in GATES:
        return f"load the bias into one of the two biases of `{name}` and zeros into the other"
    return f"`{name}.{role}` / 2 when loading"


def _becomes_image(scene: Scene) -> bool:
    """Whether torch's result is made an image, or a sequence, of several channels, at once or behind an activation."""
    readers, trace = scene.torch_trace.consumers(), scene.torch_trace
    tensor = scene.torch.outputs[0] if scene.torch is not None and scene.torch.outputs else None
    while tensor is not None and len(readers.get(tensor, [])) == 1:
        reader = readers[tensor][0]
        shape = trace.shapes.get(reader.outputs[0], ())
        if reader.kind == "reshape" and len(shape) > 2 and shape[1] > 1:
            return True
        tensor = reader.outputs[0] if reader.effect != COMPUTES or reader.kind in NORMS else None
    return False


def _never_loaded(scene: Scene, role: str, held: Array) -> Match | None:
    """Torch's own initial weights: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), or a normalisation's zeros and ones."""
    op = scene.torch
    assert op is not None
    usual = {"running_mean": 0.0, "running_var": 1.0, "weight": 1.0, "bias": 0.0}
    plain = op.kind in NORMS and role in usual and bool((held == usual[role]).all())
    if not plain and op.kind in WITH_BIAS:
        weight = scene.torch_weights.get("weight", held)
        limit = float(np.prod(weight.shape[1:])) ** -0.5
        largest = float(np.abs(held).max(initial=0.0))
        plain = largest <= limit * (1.0 + 1e-6) and largest >= limit * (1.0 - 4.0 / held.size) and held.size >= 8
        plain = plain and abs(float(held.std()) / (limit / 3.0**0.5) - 1.0) < 3.0 / held.size**0.5
    if not plain:
        return None
    return Match("init-distribution", role, "torch's own initial value", f"load TensorFlow's weights into `{op.name}`")
