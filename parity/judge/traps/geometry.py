"""Where windows stand and what they reach: padding, strides, dilation, groups, crops, and the axis that is meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from parity.judge.traps.remedy import Remedy, called, change, insert, numbers, replace, skip
from parity.judge.traps.scene import Scene, same
from parity.model.layout import Array
from parity.model.trace import Op, read_first

IDS = (
    "same-padding-stride", "padding-mode", "stride-placement", "dilation-or-groups", "conv-transpose-crop",
    "pixel-shuffle-order", "axis-mismatch",
)  # fmt: skip
CONVOLUTIONS = ("conv", "depthwise_conv")
WINDOWS = (*CONVOLUTIONS, "conv_transpose", "max_pool", "avg_pool", "resize")
AXIS_KINDS = (
    "softmax", "concat", "stack", "reduce", "batch_norm", "group_norm", "l2_normalize", "argmax", "gather",
)  # fmt: skip
SHUFFLES = ("depth_to_space", "space_to_depth")
POOLED: Mapping[str, str] = {"global_avg_pool": "mean", "global_max_pool": "max"}
IMAGE_AXES = 4  # of a batch of images
MIN_KERNEL = 3  # axes of the kernel of a convolution over one axis
Pads = list[list[int]]


def flat_pads(pads: Sequence[Sequence[int]]) -> str:
    """Return the tuple that `F.pad` takes: last axis first."""
    return numbers(int(v) for pair in reversed(list(pads)) for v in pair)


def per_axis(config: Any, key: str, rank: int, default: int = 1) -> list[int]:
    """Return a size per axis."""
    value = config.get(key)
    if value is None:
        return [default] * rank
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)] * rank


def pads_of(op: Op, key: str = "pads") -> Pads:
    """Return (before, after) per axis; zeros where an operation says nothing."""
    rank = int(op.config.get("rank") or len(op.config.get("kernel") or op.config.get("pool") or [0, 0]))
    return [[int(lo), int(hi)] for lo, hi in op.config.get(key) or [[0, 0]] * rank]


def around(scene: Scene, op: Op, side: str) -> Pads:
    """Return an operation's own padding with that of padding layers without partner before it."""
    total = pads_of(op)
    for extra in padding_before(scene, op, side):
        total = [[a + int(lo), b + int(hi)] for (a, b), (lo, hi) in zip(total, extra.config["pads"], strict=True)]
    return total


def padding_before(scene: Scene, op: Op, side: str) -> list[Op]:
    """Return the padding layers without partner before an operation, and behind whatever else has a window."""
    ops, extras = scene.torch_ops, scene.extra_torch
    if side == "tensorflow":
        ops, extras = scene.tensorflow_ops, scene.extra_tensorflow
    makers = {tensor: one for one in ops for tensor in one.outputs}
    open_, reached = list(op.inputs), set[int]()
    while open_:
        maker = makers.get(open_.pop())
        if maker is not None and maker.index not in reached and maker.kind not in WINDOWS:
            reached.add(maker.index)
            open_ += maker.inputs
    return [layer for layer in padding_layers(extras, len(pads_of(op))) if layer.index in reached]


def padding_layers(ops: Sequence[Op], rank: int) -> list[Op]:
    """Return the operations that pad `rank` axes with zeros."""
    return [
        op
        for op in ops
        if op.kind == "zero_pad"
        and len(op.config.get("pads") or []) == rank
        and op.config.get("mode", "constant") == "constant"
        and not op.config.get("value")
    ]


def padding_line(op: Op, pads: Pads, value: str = "") -> str:
    """Return the porter's line for padding: an argument where it is symmetric, `F.pad` where not."""
    if all(lo == hi for lo, hi in pads):
        return f"padding={numbers(lo for lo, _ in pads)} in `{op.name}`"
    return f"x = F.pad(x, {flat_pads(pads)}{value}) before `{op.name}`, and padding=0 there"


def with_pads(scene: Scene, op: Op, remedy: Remedy) -> Remedy:
    """Return a remedy that sets an operation's padding, with torch's own padding layers before it left out."""
    layers = padding_before(scene, op, "torch")
    skipped = [skip(layer, "", "", "") for layer in layers]
    edits = (*remedy.edits, *(edit for one in skipped for edit in one.edits))
    keys = remedy.keys.union(*(one.keys for one in skipped))
    fix = instead_of(layers, op, remedy.fix) if remedy.fix else ""
    return Remedy(remedy.trap, edits, remedy.says, fix, remedy.cost, frozenset(keys))


def instead_of(layers: Sequence[Op], op: Op, fix: str) -> str:
    """Return the porter's line for padding where torch pads in operations of its own, which are to go."""
    if not layers:
        return fix
    names = " and ".join(f"`{layer.name}`" for layer in layers)
    here = f" before `{op.name}`"
    return fix.replace(here, f"{here} in place of {names}", 1) if here in fix else f"{fix}, and without {names}"


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind in CONVOLUTIONS and theirs.kind in CONVOLUTIONS:
            yield from _padding(scene, mine, theirs)
            yield from _steps(scene, mine, theirs, around(scene, mine, "tensorflow"), around(scene, theirs, "torch"))
            yield from _groups(scene, mine, theirs)
            yield from _turned(scene, mine, theirs)
        elif mine.kind == theirs.kind == "conv_transpose":
            yield from _crops(scene, mine, theirs)
        elif mine.kind == theirs.kind == "zero_pad":
            yield from _zero_pad(scene, mine, theirs)
        elif mine.kind == "zero_pad" and theirs.kind == "op:pad":
            yield from _pad_of_steps(scene, mine, theirs)
        elif mine.kind == theirs.kind and mine.kind in SHUFFLES:
            yield from _shuffle(mine, theirs)
        if mine.kind == theirs.kind and mine.kind in AXIS_KINDS:
            yield from axis(scene, mine, theirs, "axis-mismatch")
        elif mine.kind in POOLED or theirs.kind in POOLED:
            yield from _reductions(scene, mine, theirs)
    yield from _shuffled_by_hand(scene)


def _padding(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted, held = around(scene, mine, "tensorflow"), around(scene, theirs, "torch")
    if wanted != held:
        says = f"with torch padding {flat_pads(wanted)}"
        one = change(theirs, "same-padding-stride", says, padding_line(theirs, wanted), {"pads": wanted})
        # A causal convolution may be padded on both sides, and what came after is cut off: at the wrong end, perhaps.
        yield from _instead_of_slices(scene, with_pads(scene, theirs, one))
    yield from _mirrored(scene, theirs)
    yield from _plain(scene, mine, theirs)
    modes = [str(op.config.get("pad_mode") or "zeros") for op in (mine, theirs)]
    if modes[0] != modes[1]:
        fix = f'padding_mode="{modes[0]}" in `{theirs.name}`'
        yield change(theirs, "padding-mode", f"with {modes[0]} as padding", fix, {"pad_mode": modes[0]})


# Modes of padding layers, as torch's convolutions call them.
_PAD_MODES = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "replicate", "edge": "replicate",
              "circular": "circular", "wrap": "circular"}  # fmt: skip


_MODES_OF_LAYERS = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def _mirrored(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """TensorFlow pads in a layer of its own, with numbers of the image; torch pads zeros, maybe in its convolution."""
    rank = len(pads_of(theirs))
    layers = [op for op in scene.extra_tensorflow if op.kind == "zero_pad" and len(op.config.get("pads") or []) == rank]
    modes = [_PAD_MODES.get(str(op.config.get("mode")).lower()) for op in layers]
    origin = scene.origin(theirs, "torch")
    if len(layers) != 1 or modes[0] is None or not any(map(any, around(scene, theirs, "torch"))) or origin is None:
        return
    pads = [[int(lo), int(hi)] for lo, hi in layers[0].config["pads"]]
    plain = with_pads(scene, theirs, change(theirs, "", "", "", {"pads": [[0, 0]] * rank, "pad_mode": "zeros"}))
    padded = insert(theirs.inputs[0], "", "", "", "zero_pad", {"pads": pads, "mode": modes[0], "value": 0.0})
    fix = f'x = F.pad(x, {flat_pads(pads)}, mode="{modes[0]}") before `{theirs.name}`, and padding=0 there'
    if modes[0] in ("reflect", "replicate", "circular") and all(lo == hi for lo, hi in pads):
        fix = f'padding={numbers(lo for lo, _ in pads)}, padding_mode="{modes[0]}" in `{theirs.name}`'
    if modes[0] == "symmetric":
        fix = f"{_by_hand(pads)} before `{theirs.name}`, and padding=0 there"
    says = f"with {modes[0]} as padding of {flat_pads(pads)} instead of zeros"
    # Edits that still say what they change: a kernel may be flipped besides.
    yield Remedy("padding-mode", (*plain.edits, *padded.edits), says, fix, 0.9, plain.keys | padded.keys)


def _plain(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Torch pads in a layer of its own, with numbers of the image, where TensorFlow pads zeros."""
    wanted = around(scene, mine, "tensorflow")
    layers = [
        op for op in scene.extra_torch if op.kind == "zero_pad" and len(op.config.get("pads") or []) == len(wanted)
    ]
    for op in layers:
        if str(op.config.get("mode") or "constant") != "constant" and pads_of(op) == wanted:
            line, name = f"F.pad(x, {flat_pads(wanted)}) in place of `{op.name}`", op.name
            if op.name.startswith(f"{theirs.name}."):  # by the convolution itself, before it computes anything
                line, name = f'padding_mode="zeros" in `{theirs.name}`', theirs.name
            one = change(op, "padding-mode", "with zeros as padding", line, {"mode": "constant", "value": 0.0})
            yield called(one, mine.name, name)


def _steps(scene: Scene, mine: Op, theirs: Op, wanted: Pads, held: Pads) -> Iterator[Remedy]:
    """Strides and dilation, alone and with the padding that goes with them."""
    rank = len(wanted)
    for key, word, trap in (("strides", "stride", "stride-placement"), ("dilation", "dilation", "dilation-or-groups")):
        value = per_axis(mine.config, key, rank)
        if value == per_axis(theirs.config, key, rank):
            continue
        says, fix = f"with torch {word} {numbers(value)}", f"{word}={numbers(value)} in `{theirs.name}`"
        yield change(theirs, trap, says, fix, {key: value})
        if wanted != held:
            line = padding_line(theirs, wanted)
            both = change(
                theirs,
                trap,
                f"{says} and padding {flat_pads(wanted)}",
                f"{fix}, and {line}",
                {key: value, "pads": wanted},
                cost=1.2,
            )
            yield with_pads(scene, theirs, both)


def _groups(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    channels = scene.shapes.get(read_first(theirs), (0, 0))[1]
    groups = [channels if op.kind == "depthwise_conv" else int(op.config.get("groups") or 1) for op in (mine, theirs)]
    if groups[0] == groups[1]:
        return
    weights = _kernel_of_groups(scene, mine) if theirs is scene.torch else {}
    edit = change(
        theirs,
        "dilation-or-groups",
        f"with {groups[0]} groups",
        f"groups={groups[0]} in `{theirs.name}`",
        {"groups": groups[0]},
        weights,
    )
    # A depthwise convolution has no number of groups to set: the kind must say so.
    edits = tuple({**one, "kind": "conv"} for one in edit.edits)
    yield Remedy(edit.trap, edits, edit.says, edit.fix, edit.cost, edit.keys)


def _kernel_of_groups(scene: Scene, mine: Op) -> dict[str, Array]:
    """Return TensorFlow's kernel in torch's layout; of other groups it has another shape, and was never carried."""
    if "weight" in scene.carried:
        return {"weight": scene.carried["weight"]}
    kernel = scene.tensorflow_weights.get("kernel") if mine is scene.tensorflow else None
    if kernel is None or kernel.ndim < MIN_KERNEL:
        return {}
    return {"weight": _in_torch_layout(mine, kernel)}


def _in_torch_layout(op: Op, kernel: Array) -> Array:
    if op.kind == "depthwise_conv":  # (k.., C, M) to (C * M, 1, k..)
        return np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *kernel.shape[:-2])
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _turned(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Yield the remedy for a kernel of TensorFlow's sizes in the reverse order, padded so that its result fits."""
    sizes = [list(op.config.get("kernel") or []) for op in (mine, theirs)]
    kernel = scene.tensorflow_weights.get("kernel") if mine is scene.tensorflow and theirs is scene.torch else None
    if kernel is None or sizes[0] == sizes[1] or sizes[0] != sizes[1][::-1] or kernel.ndim != len(sizes[0]) + 2:
        return
    wanted, rank = around(scene, mine, "tensorflow"), len(sizes[0])
    words = {"strides": "stride", "dilation": "dilation"}
    steps = {key: per_axis(mine.config, key, rank) for key in words}
    steps = {key: value for key, value in steps.items() if value != per_axis(theirs.config, key, rank)}
    said = [f"{words[key]}={numbers(value)}" for key, value in steps.items()]
    told = ", ".join([f"kernel_size={numbers(sizes[0])}", *said])
    fix = f"{told} in `{theirs.name}`, and {padding_line(theirs, wanted)}"
    says = f"with a kernel of {numbers(sizes[0])}"
    config, weights = {"kernel": sizes[0], "pads": wanted, **steps}, {"weight": _in_torch_layout(mine, kernel)}
    yield with_pads(scene, theirs, change(theirs, "kernel-spatial-swap", says, fix, config, weights))


def _crops(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted, held = pads_of(mine, "crops"), pads_of(theirs, "crops")
    rank = len(wanted)
    for key, word, trap in (("strides", "stride", "stride-placement"), ("dilation", "dilation", "dilation-or-groups")):
        value = per_axis(mine.config, key, rank)
        if value != per_axis(theirs.config, key, rank):
            says, fix = f"with torch {word} {numbers(value)}", f"{word}={numbers(value)} in `{theirs.name}`"
            yield change(theirs, trap, says, fix, {key: value, "crops": wanted}, cost=1.2)
    if wanted == held:
        return
    size = scene.tensorflow_trace.shapes[mine.outputs[0]][1 : 1 + rank]
    parts = ", ".join(f"{lo}:{lo + n}" for (lo, _), n in zip(wanted, size, strict=True))
    fix = f"padding=0, output_padding=0 in `{theirs.name}`, then y = y[:, :, {parts}]"
    if any(hi < 0 for _, hi in wanted):
        pads = flat_pads([[0, max(-hi, 0)] for _, hi in wanted])
        fix = f"padding=0, output_padding=0 and bias=False in `{theirs.name}`, then y = F.pad(y, {pads}) + bias"
    says = f"with the whole result cropped by {', '.join(numbers(pair) for pair in wanted)}"
    yield from _instead_of_slices(scene, change(theirs, "conv-transpose-crop", says, fix, {"crops": wanted}))


def _instead_of_slices(scene: Scene, remedy: Remedy) -> Iterator[Remedy]:
    """Yield a remedy, and the same without what torch cuts off the result afterwards."""
    yield remedy
    slices = [skip(op, "", "", "") for op in scene.extra_torch if op.kind in ("slice", "cropping")]
    if slices:
        edits = (*remedy.edits, *(edit for one in slices for edit in one.edits))
        keys = remedy.keys.union(*(one.keys for one in slices))
        names = " and ".join(f"`{op.name}`" for op in scene.extra_torch if op.kind in ("slice", "cropping"))
        fix = f"{remedy.fix} in place of {names}" if ", then " in remedy.fix else f"{remedy.fix}, and without {names}"
        yield dataclasses.replace(remedy, edits=edits, keys=frozenset(keys), fix=fix)


def _zero_pad(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted = [list(pair) for pair in mine.config.get("pads") or []]
    if wanted != [list(pair) for pair in theirs.config.get("pads") or []]:
        fix = f"F.pad(x, {flat_pads(wanted)}) in `{theirs.name}`"
        yield change(theirs, "same-padding-stride", f"with torch padding {flat_pads(wanted)}", fix, {"pads": wanted})
    modes = [str(op.config.get("mode") or "constant") for op in (mine, theirs)]
    if modes[0] != modes[1]:
        line, name = f'mode="{modes[0]}" in `{theirs.name}`', theirs.name
        host = _host(scene, theirs)
        if host is not None and modes[0] in _MODES_OF_LAYERS:
            line, name = f'padding_mode="{_MODES_OF_LAYERS[modes[0]]}" in `{host.name}`', host.name
        if modes[0] == "symmetric":
            line = f"{_by_hand(wanted)} in place of `{theirs.name}`"
        one = change(theirs, "padding-mode", f"with {modes[0]} padding", line, {"mode": modes[0]})
        yield one if host is None else called(one, mine.name, name)


def _by_hand(pads: Sequence[Sequence[int]]) -> str:
    """Return the lines that mirror each end with its last number, which no mode of torch's does."""
    lines = []
    for axis, (low, high) in enumerate(pads, start=2):
        whole = ":, " * axis
        parts = [f"x[{whole}:{low}].flip({axis})"] if low else []
        parts += ["x", *([f"x[{whole}-{high}:].flip({axis})"] if high else [])]
        if len(parts) > 1:
            lines.append(f"x = torch.cat([{', '.join(parts)}], {axis})")
    return "; ".join(lines)


def _host(scene: Scene, pad: Op) -> Op | None:
    """The convolution that pads by itself before it computes anything: its code has no line for the padding."""
    readers = [op for op in scene.torch_trace.ops if set(op.inputs) & set(pad.outputs)]
    return next((op for op in readers if pad.name.startswith(f"{op.name}.")), None)


def _pad_of_steps(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """Torch pads an axis that is none of an image's, as the steps of a sequence with its channels last."""
    given, held = list(mine.config.get("pads") or []), list(theirs.config.get("pads") or [])
    for places in scene.axis_maps(mine, theirs):
        wanted = [[0, 0] for _ in held]
        for axis, pair in enumerate(given, start=1):
            wanted[places[axis]] = [int(one) for one in pair]
        if wanted != held and len(places) == len(held):
            config = {"pads": wanted[1:], "mode": "constant", "value": float(theirs.config.get("value") or 0.0)}
            says, fix = (
                f"with torch padding {flat_pads(wanted[1:])}",
                f"F.pad(x, {flat_pads(wanted[1:])}) in `{theirs.name}`",
            )
            yield replace(theirs, "same-padding-stride", says, fix, "zero_pad", config)


def _shuffle(mine: Op, theirs: Op) -> Iterator[Remedy]:
    orders = [str(op.config.get("order") or "block-major") for op in (mine, theirs)]
    if orders[0] == orders[1]:
        return
    b = int(mine.config.get("block") or theirs.config.get("block") or 2)
    back = "x = x.reshape(n, c // {0}, {0}, h, w).transpose(1, 2).reshape(n, c, h, w)".format(b * b)
    forth = "x = x.reshape(n, {0}, c // {0}, h, w).transpose(1, 2).reshape(n, c, h, w)".format(b * b)
    if mine.kind == "depth_to_space":
        fix = f"{forth if orders[0] == 'block-major' else back} before `{theirs.name}`"
    else:
        fix = f"{back if orders[0] == 'block-major' else forth} after `{theirs.name}`"
    says = f"with the channels of a block ordered {orders[0]}"
    yield change(theirs, "pixel-shuffle-order", says, fix, {"order": orders[0]})


def _shuffled_by_hand(scene: Scene) -> Iterator[Remedy]:
    """The other order of a block's channels, where one side, or both, reshapes and transposes by itself."""
    moved = [op for op in scene.tensorflow_ops if op.kind in ("permute", *SHUFFLES)]
    if not moved:
        return
    shuffled = [op for op in scene.torch_ops if op.kind in SHUFFLES]
    for theirs in shuffled if moved[-1].kind not in SHUFFLES else ():
        major = theirs.config.get("order") or "block-major"
        other = "channel-major" if major == "block-major" else "block-major"
        mine = dataclasses.replace(theirs, name=moved[-1].name, config={**theirs.config, "order": other})
        yield from (called(one, mine.name, theirs.name) for one in _shuffle(mine, theirs))
    reshapes = [op for op in scene.torch_ops if op.kind == "reshape" and not shuffled]
    for first, last in combinations(reshapes, 2):
        given, made = scene.shapes.get(first.inputs[0], ()), scene.shapes.get(last.outputs[0], ())
        if len(given) == len(made) == IMAGE_AXES and made[2] > given[2]:
            yield from _channels_turned(moved[-1], first, last, made[2] // given[2], given[1], forth=True)
        elif len(given) == len(made) == IMAGE_AXES and made[2] < given[2]:
            yield from _channels_turned(moved[-1], first, last, given[2] // made[2], made[1], forth=False)


def _channels_turned(mine: Op, first: Op, last: Op, block: int, channels: int, forth: bool) -> Iterator[Remedy]:
    """The channels of a block in the other order before torch's first step, or behind its last one, either way."""
    tensor, where = (first.inputs[0], f"before `{first.name}`") if forth else (last.outputs[0], f"after `{last.name}`")
    each, many = np.arange(channels), channels // (block * block)
    ways = (((many, block * block), (0, 1)), ((block * block, many), (0, 1)), ((block, block, many), (0, 1)),
            ((many, block, block), (1, 2)))  # fmt: skip
    for sizes, turned in ways if channels % (block * block) == 0 else ():
        order = [int(n) for n in each.reshape(sizes).swapaxes(*turned).reshape(-1)]
        axes = f"{turned[0] + 1}, {turned[1] + 1}"
        text = f"x.reshape(n, {', '.join(map(str, sizes))}, h, w).transpose({axes}).reshape(x.shape)"
        says, fix = "with the channels of a block in the other order", f"x = {text} {where}"
        given = {"axis": 1, "indices": order}
        one = insert(tensor, "pixel-shuffle-order", says, fix, "gather", given, order=first.index)
        yield called(one, mine.name, last.name)


def axis(scene: Scene, mine: Op, theirs: Op, trap: str) -> Iterator[Remedy]:
    """Yield the remedy for an operation that works along another axis than TensorFlow's, in torch's numbers."""
    key = "axes" if "axes" in mine.config or "axes" in theirs.config else "axis"
    given, held = mine.config.get(key, mine.config.get("axis")), theirs.config.get(key)
    if given is None:
        return
    others = [value for value in axes_there(scene, mine, theirs, given) if not same(value, held)]
    for number, value in enumerate(others, start=1):
        shown, instead = (numbers(one) if isinstance(one, list) else str(one) for one in (value, held))
        fix = f"dim={shown} in `{theirs.name}`"
        says, cost = f"along dim {shown} instead of {instead}", 1.0 + 0.1 * number
        yield change(theirs, trap, says, fix, {key: value}, cost=cost)
        if mine.config.get("keepdims") and not theirs.config.get("keepdims", True):
            # One number of the whole batch fits whatever reads it; one of each sample needs its axes.
            fix = f"dim={shown}, keepdim=True in `{theirs.name}`"
            yield change(theirs, trap, f"{says}, which is kept", fix, {key: value, "keepdims": True}, cost=cost + 0.05)


def axes_there(scene: Scene, mine: Op, theirs: Op, given: Any) -> list[Any]:
    """Return what an axis of TensorFlow's, or several, may be in torch's numbers, the likeliest first."""
    found: list[Any] = []
    for places in scene.axis_maps(mine, theirs):
        value = _mapped(given, places)
        if value is not None and value not in found:
            found.append(value)
    return found


def _reductions(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A mean or maximum over all axes of an image or a sequence, which torch takes over other axes."""
    functions = [POOLED.get(op.kind, str(op.config.get("function", ""))) for op in (mine, theirs)]
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ())) if mine.inputs else 0
    held, given = _reduced(theirs, range(2, rank), rank), _reduced(mine, range(1, rank - 1), rank)
    if functions[0] != functions[1] or held is None or given is None:
        return
    for places in scene.axis_maps(mine, theirs):
        wanted = _mapped(given, places)
        if wanted is None or wanted == held:
            continue
        config = {"function": functions[0], "axes": wanted, "keepdims": bool(theirs.config.get("keepdims", False))}
        says = f"along dim {numbers(wanted)} instead of {numbers(held)}"
        fix = f"dim={numbers(wanted)} in `{theirs.name}`"
        yield replace(theirs, "axis-mismatch", says, fix, "reduce", config)


def _reduced(op: Op, whole: Sequence[int], rank: int) -> list[int] | None:
    """Return over which axes an operation goes that is a reduction, or a global pooling over `whole`."""
    if op.kind in POOLED:
        return list(whole)
    axes = op.config.get("axes")
    return None if op.kind != "reduce" or axes is None or not rank else sorted(int(one) % rank for one in axes)


def _mapped(value: Any, places: Sequence[int]) -> Any:
    """Return an axis or several in torch's numbers; None where there is no such axis."""
    if isinstance(value, (list, tuple)):
        found = [_mapped(one, places) for one in value]
        return None if None in found else sorted(found)
    number = int(value)
    return places[number] if -len(places) <= number < len(places) else None
