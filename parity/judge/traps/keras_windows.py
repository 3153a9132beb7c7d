"""Padding, strides, windows and crops as Keras's and TensorFlow's code have them, of a layer that is to be torch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any

from parity.judge.traps.geometry import Pads, around, padding_before, pads_of, per_axis
from parity.judge.traps.keras_words import arguments, exact, is_layer, layer_class, named, of_layers
from parity.judge.traps.scene import Scene, same
from parity.model.trace import Op, read_first

CONVOLUTIONS = ("conv", "depthwise_conv")
POOLS = ("max_pool", "avg_pool")
IN_LAYERS = {"strides": "strides", "dilation": "dilation_rate", "groups": "groups", "pool": "pool_size",
             "kernel": "kernel_size"}  # fmt: skip
IN_FUNCTIONS = {**IN_LAYERS, "dilation": "dilations", "pool": "ksize"}
EXPLICIT = ("conv2d", "depthwise_conv2d", "max_pool2d", "Conv2D")  # functions of TensorFlow that take any padding
SPELT = {"wrap": "circular", "edge": "replicate"}
MODES = {"reflect": "reflect", "symmetric": "symmetric"}


def line(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that gives a convolution or a pooling of Keras's torch's window."""
    if theirs.kind == "avg_pool" and _uneven(theirs):
        return _average(scene, mine, theirs)
    words, padded = _words(mine, theirs), _padding(scene, mine, theirs)
    if padded is None or (mine.kind == "depthwise_conv") != (theirs.kind == "depthwise_conv"):
        return None
    own, before, without = padded
    text = ", ".join(one for one in (words, own) if one)
    tail = f", and without {' and '.join(without)}" if without else ""
    if before and text:
        return f"{before} before {named(mine)}, and {text} there{tail}"
    if before:
        return f"{before} before {named(mine)}{tail}"
    return (
        f"{text} in {named(mine)}{tail}" if text else tail.removeprefix(", and ").replace("without", "remove") or None
    )


def _names(mine: Op) -> Mapping[str, str]:
    return IN_LAYERS if "keras" in mine.made_by else IN_FUNCTIONS


def _words(mine: Op, theirs: Op) -> str:
    """Return the arguments, but for the padding, that are other ones in torch."""
    rank = len(mine.config.get("kernel") or mine.config.get("pool") or [])
    keys = ["pool", "strides"] if mine.kind in POOLS else ["kernel", "strides", "dilation"]
    keys += ["groups"] if mine.kind == "conv" else []
    found: dict[str, Any] = {}
    for key in keys:
        wanted, held = (per_axis(op.config, key, 1 if key == "groups" else rank) for op in (theirs, mine))
        if wanted != held:
            found[_names(mine)[key]] = wanted
    return arguments(found)


def _size(scene: Scene, mine: Op, layers: Sequence[Op]) -> list[int]:
    """Return the size of what a window reads, without what layers that are to go have padded."""
    rank = len(mine.config.get("kernel") or mine.config.get("pool") or [])
    read = read_first(layers[0] if layers else mine)
    return [int(n) for n in scene.tensorflow_trace.shapes.get(read, ())[1 : 1 + rank]]


def _same(n: Sequence[int], op: Op) -> Pads:
    """Return what SAME pads for torch's window."""
    rank = len(n)
    kernel = op.config.get("kernel") or op.config.get("pool") or [1] * rank
    found = []
    for size, k, s, d in zip(n, kernel, _steps(op, rank), per_axis(op.config, "dilation", rank), strict=True):
        total = max((ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        found.append([total // 2, total - total // 2])
    return found


def _steps(op: Op, rank: int) -> list[int]:
    steps = per_axis(op.config, "strides", rank)
    return steps if any(steps) else per_axis(op.config, "pool", rank)


def _pads(scene: Scene, theirs: Op, n: Sequence[int]) -> Pads:
    """Return what torch pads around; where it rounds the size of its result up, as far as its last window reaches."""
    held = pads_of(theirs) if theirs.kind == "max_pool" else around(scene, theirs, "torch")
    for op in scene.extra_torch:
        if _mirrors(op, theirs) and (op.config.get("mode") or "constant") != "constant":
            held = [[a + lo, b + hi] for (a, b), (lo, hi) in zip(held, pads_of(op), strict=True)]
    if not theirs.config.get("ceil"):
        return held
    pool, found = theirs.config.get("pool") or [], []
    for size, k, s, (lo, hi) in zip(n, (int(one) for one in pool), _steps(theirs, len(n)), held, strict=True):
        count = ceil((size + lo + hi - k) / s) + 1
        count -= (count - 1) * s >= size + lo
        found.append([lo, max((count - 1) * s + k - size - lo, 0)])
    return found


def _padding(scene: Scene, mine: Op, theirs: Op) -> tuple[str, str, list[str]] | None:
    """Return what to set in Keras's layer, what to put before it, and which layers are to go."""
    layers = padding_before(scene, mine, "tensorflow")
    layers += [op for op in scene.extra_tensorflow if _mirrors(op, theirs) and op not in layers]
    n = _size(scene, mine, layers)
    if len(n) != len(pads_of(theirs)):
        return None
    pads, mode = _pads(scene, theirs, n), _mode(scene, theirs)
    names = [named(op) for op in layers]
    own = [op for op in scene.extra_torch if _mirrors(op, theirs)]
    if theirs.kind == "max_pool" and own:
        return _before_maximum(mine, theirs, own, names)
    counts = theirs.kind == "avg_pool" and any(map(any, pads))  # what Keras pads itself, it does not count
    moves = mine.config.get("padding") != "valid" and bool(_words(mine, theirs))  # another stride, another SAME
    if mode == "zeros" and pads == _as_is(scene, mine) and not (layers or counts or moves):
        return "", "", []
    word = "" if counts else _word(n, theirs, pads, mode)
    upper = not is_layer(mine) and "keras" not in mine.made_by
    if word:
        told = "" if mine.config.get("padding") == word else f'padding="{word.upper() if upper else word}"'
        return told, "", names
    if upper and mode == "zeros" and layer_class(mine) in EXPLICIT:
        return f"padding={[[0, 0], *pads, [0, 0]]}", "", names
    valid = "" if mine.config.get("padding") == "valid" else f'padding="{"VALID" if upper else "valid"}"'
    text = _put(scene, theirs, pads, mode, n)
    return None if text is None else (valid, text, names)


def _before_maximum(mine: Op, theirs: Op, own: Sequence[Op], names: list[str]) -> tuple[str, str, list[str]] | None:
    """Return the same for a maximum that torch pads in an operation of its own, with zeros or another number."""
    if len(own) > 1 or any(map(any, pads_of(theirs))) or (own[0].config.get("mode") or "constant") != "constant":
        return None
    pads, value = pads_of(own[0]), float(own[0].config.get("value") or 0.0)
    valid = "" if mine.config.get("padding") == "valid" else 'padding="valid"'
    if not value:
        return valid, zeros(pads), names
    shown = "-math.inf" if value == -inf else exact(value)
    return valid, f"x = keras.ops.pad(x, {_tuples(pads)}, constant_values={shown})", names


def _tuples(pads: Pads) -> str:
    return "(" + ", ".join(str(tuple(pair)) for pair in [[0, 0], *pads, [0, 0]]) + ")"


def _as_is(scene: Scene, mine: Op) -> Pads:
    return pads_of(mine) if mine.kind == "max_pool" else around(scene, mine, "tensorflow")


def _mirrors(op: Op, theirs: Op) -> bool:
    """Return whether an operation pads an image of the rank of torch's window, with whatever numbers."""
    return op.kind == "zero_pad" and len(op.config.get("pads") or []) == len(pads_of(theirs))


def _mode(scene: Scene, theirs: Op) -> str:
    """Return with what torch pads: by its convolution, or before it."""
    own = str(theirs.config.get("pad_mode") or "zeros")
    before = [op for op in scene.extra_torch if _mirrors(op, theirs)]
    modes = {str(op.config.get("mode") or "constant") for op in before}
    mode = own if own != "zeros" or not modes or modes == {"constant"} else modes.pop()
    return SPELT.get(mode, mode)


def _word(n: Sequence[int], theirs: Op, pads: Pads, mode: str) -> str:
    """Return the word by which Keras pads so; SAME only where it does so for every size, or as torch rounds up."""
    if not any(map(any, pads)):
        return "valid"
    rank, steps = len(n), _steps(theirs, len(n))
    kernel, dilation = theirs.config.get("kernel") or [], per_axis(theirs.config, "dilation", len(n))
    if mode == "zeros" and rank == 1 and kernel and pads == [[(kernel[0] - 1) * dilation[0], 0]]:
        return "causal"
    sure = set(steps) == {1} or bool(theirs.config.get("ceil"))
    return "same" if mode == "zeros" and sure and pads == _same(n, theirs) else ""


def _put(scene: Scene, theirs: Op, pads: Pads, mode: str, n: Sequence[int]) -> str | None:
    """Return what pads before a layer: a layer where it is zeros, else code."""
    whole = [[0, 0], *pads, [0, 0]]
    tuples = _tuples(pads)
    if theirs.kind == "max_pool":
        return f"x = keras.ops.pad(x, {tuples}, constant_values=-math.inf)"
    if mode == "zeros":
        return zeros(pads) if of_layers(scene) else f"x = tf.pad(x, {whole})"
    if mode in MODES or (mode == "replicate" and max(map(max, pads)) == 1):  # of one row these two are the same
        return f'x = keras.ops.pad(x, {tuples}, mode="{MODES.get(mode, "symmetric")}")'
    picked = {"replicate": "np.clip(np.arange({lo}, {hi}), 0, {last})", "circular": "np.arange({lo}, {hi}) % {size}"}
    if mode not in picked:
        return None
    text = "x"
    for axis, (size, (lo, hi)) in enumerate(zip(n, pads, strict=True), start=1):
        places = picked[mode].format(lo=-lo, hi=size + hi, last=size - 1, size=size)
        text = f"keras.ops.take({text}, {places}, axis={axis})"
    return f"x = {text}"


def zeros(pads: Pads) -> str:
    """Return the layer of Keras that pads so."""
    pairs = [tuple(pair) for pair in pads]
    return f"layers.ZeroPadding{len(pads)}D({exact(pairs[0] if len(pairs) == 1 else pairs)})"


def _uneven(theirs: Op) -> bool:
    """Return whether torch's average reaches into padding of its own that it does not count."""
    own = any(map(any, pads_of(theirs)))
    return (own and not theirs.config.get("count_include_pad", True)) or bool(theirs.config.get("ceil"))


def _average(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line of an average that does not count its padding: Keras's does so where it pads SAME."""
    layers = padding_before(scene, mine, "tensorflow")
    n, words = _size(scene, mine, layers), _words(mine, theirs)
    if len(n) != len(pads_of(theirs)) or (any(map(any, pads_of(theirs))) and theirs.config.get("ceil")):
        return None
    pads = _pads(scene, theirs, n)
    if pads == _same(n, theirs):
        told = "" if mine.config.get("padding") == "same" else 'padding="same"'
        tail = f", and without {' and '.join(named(op) for op in layers)}" if layers else ""
        text = ", ".join(one for one in (words, told) if one)
        return f"{text} in {named(mine)}{tail}" if text else None
    if words or not is_layer(mine):
        return None
    valid = [f'padding="valid" in {named(mine)}'] if mine.config.get("padding") != "valid" else []
    before = f"{zeros(pads)} before {named(mine)}"
    if layers:
        before = f"padding={exact([tuple(pair) for pair in pads])} in {named(layers[0])}"
    behind = f"x / ({named(mine)} of ones that are padded likewise) after it"
    return ", and ".join([before, *valid, behind])


def crops(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that gives a transposed convolution torch's crops, strides and dilation."""
    rank = len(pads_of(theirs, "crops"))
    wanted, kernel = pads_of(theirs, "crops"), [int(k) for k in theirs.config.get("kernel") or []]
    words, steps = _words(mine, theirs), per_axis(theirs.config, "strides", rank)
    if not is_layer(mine) or len(kernel) != rank or set(per_axis(theirs.config, "dilation", rank)) != {1}:
        return None
    cut = [op for op in scene.extra_tensorflow if op.kind in ("cropping", "slice")]
    tail = f", and without {' and '.join(map(named, cut))}" if cut else ""
    lead = f"{words}, " if words else ""
    if all(k % 2 and lo == hi == k // 2 for k, (lo, hi) in zip(kernel, wanted, strict=True)):
        return f'{lead}padding="same", output_padding=0 in {named(mine)}{tail}'
    grown = [max(-hi, 0) for _, hi in wanted]
    spare = [max(s - k, 0) for k, s in zip(kernel, steps, strict=True)]  # what VALID gives beyond the last window
    more = [max(g - e, 0) if any(grown) else 0 for g, e in zip(grown, spare, strict=True)]
    off = [(lo, hi + e + m) for (lo, hi), e, m in zip(wanted, spare, more, strict=True)]
    output = f", output_padding={exact(tuple(more))}" if any(more) else ""
    if any(more) and any(e for e in spare):
        return None
    held = "" if mine.config.get("padding") == "valid" else 'padding="valid"'
    text = f"{lead}{held}{output}".strip(", ")
    own = f"{text} in {named(mine)}" if text else ""
    if any(map(any, off)):
        crop = f"layers.Cropping{rank}D({exact(off[0] if rank == 1 else off)})"
        own = f"{own}, and {crop} after it" if own else f"{crop} after {named(mine)}"
    return f"{own}{tail}" if own else tail.removeprefix(", and ").replace("without", "remove") or None


def of_padding(mine: Op, theirs: Op) -> str | None:
    """Return the line of a layer that pads, which torch has as well."""
    wanted, held = ([list(p) for p in op.config.get("pads") or []] for op in (theirs, mine))
    modes = [str(op.config.get("mode") or "constant") for op in (theirs, mine)]
    if same(modes[0], modes[1]) and modes[0] == "constant" and is_layer(mine) and wanted != held:
        pairs = [tuple(pair) for pair in wanted]
        return f"padding={exact(pairs[0] if len(pairs) == 1 else pairs)} in {named(mine)}"
    whole = _tuples(wanted)
    if modes[0] == "constant":
        return f"x = keras.ops.pad(x, {whole}) in place of {named(mine)}"
    if modes[0] in MODES or (modes[0] == "replicate" and max(map(max, wanted)) == 1):
        return f'x = keras.ops.pad(x, {whole}, mode="{MODES.get(modes[0], "symmetric")}") in place of {named(mine)}'
    return None
