"""The last resort: an operation of another kind, or set in another way, that has no id of its own but can be proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.judge.traps.activation import FUNCTIONS, place, translated
from parity.judge.traps.geometry import AXIS_KINDS, POOLED, padding_layers
from parity.judge.traps.inputs import SCALES
from parity.judge.traps.remedy import UNKNOWN, Remedy, called, change, insert, number, numbers, replace
from parity.judge.traps.scene import SELECTS, Scene, same
from parity.model.layout import Array
from parity.model.trace import MOVES, OVER, Op, read_first

IDS = ("output-permutation",)
NEARLY = 1e-6  # of the largest number: constants of the two models may have been rounded to float32
LIMIT = 4096  # classes or channels among which an order is looked for
# Where one kind's configuration says all that its result depends on, and its weights, if any, mean the same.
EXCHANGEABLE = frozenset({
    "max_pool", "avg_pool", "global_avg_pool", "global_max_pool", "adaptive_avg_pool", "adaptive_max_pool", "add",
    "subtract", "multiply", "divide", "maximum", "minimum", "average", "concat", "layer_norm", "rms_norm",
    "group_norm", "instance_norm", "softmax", "activation", "l2_normalize", "reduce", "depth_to_space", "resize",
    "cropping", "zero_pad",
})  # fmt: skip
INSERTABLE = EXCHANGEABLE - {"add", "subtract", "multiply", "divide", "concat"} - frozenset(FUNCTIONS)
# What never changes a result, or is another family's.
IGNORED = frozenset({
    "padding", "pads", "strides", "dilation", "groups", "crops", "bias", "eps", "momentum", "axis", "axes", "rank",
    "training", "frozen", "units", "filters", "kernel", "pool", "ceil", "count_include_pad", "center", "scale",
    "offset", "function", "slope", "alpha", "threshold", "beta", "order", "block", "mode", "pad_mode", "method",
    "antialias", "align_corners", "half_pixel", "exact", "size", "factor", "reset_after", "activation",
    "recurrent_activation", "go_backwards", "heads", "key_dim", "value_dim", "causal", "has_mask", "multiplier",
    "tokens", "mask_zero", "padding_index", "sequences", "cell", "bidirectional", "mean", "variance", "shared",
    "shared_axes", "form", "keepdims", "log", "min", "max", "max_value", "negative_slope",
})  # fmt: skip

SIGNS: Mapping[str, str] = {
    "add": "x + y", "subtract": "x - y", "multiply": "x * y", "divide": "x / y", "maximum": "torch.maximum(x, y)",
    "minimum": "torch.minimum(x, y)",
}  # fmt: skip
WINDOWS: Mapping[str, str] = {"global_avg_pool": "avg_pool", "global_max_pool": "max_pool"}  # of one whole window
REDUCES: Mapping[str, str] = {"mean": "mean", "sum": "sum", "max": "amax", "min": "amin", "prod": "prod"}
OWN = {"reduce": ("function",), "cropping": ("crops",), "power": ("exponent",)}


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    yield from _permuted(scene)
    for mine, theirs in scene.pairs():
        if mine.kind != theirs.kind:
            yield from _other_kind(scene, mine, theirs)
        else:
            yield from _other_setting(mine, theirs)
    for op in scene.extra_tensorflow:
        if op.kind in INSERTABLE and not op.weights:
            yield from _missing(scene, op)
    yield from _one_of_many(scene)


def _one_of_many(scene: Scene) -> Iterator[Remedy]:
    """A mean, or another reduction, over what torch's code takes one step or token of."""
    reduced = [op for op in scene.extra_tensorflow if op.kind in (*POOLED, "reduce")]
    taken = [op for op in scene.extra_torch if op.kind.removeprefix("op:") in SELECTS and len(op.inputs) == 1]
    if len(reduced) != 1 or len(taken) != 1:
        return
    mine, theirs = reduced[0], taken[0]
    function = POOLED.get(mine.kind, str(mine.config.get("function")))
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    over = range(1, rank - 1) if mine.kind in POOLED else [int(axis) % rank for axis in mine.config.get("axes") or ()]
    if len(scene.shapes.get(read_first(theirs), ())) != rank or not over or function not in REDUCES:
        return
    for places in scene.axis_maps(mine, theirs):
        axes = sorted(places[axis] for axis in over)
        config = {"function": function, "axes": axes, "keepdims": False}
        says = f"with the {function} over dim {_dims(axes)} instead of one place of it"
        fix = f"x.{REDUCES[function]}({numbers(axes)}) in place of `{theirs.name}`"
        one = replace(theirs, UNKNOWN, says, fix, "reduce", config, cost=4.8)
        yield called(one, mine.name, theirs.name)


def _other_kind(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    if mine.kind not in EXCHANGEABLE or (FUNCTIONS[0] == mine.kind == theirs.kind):
        return
    if mine.kind in POOLED and theirs.kind == "reduce":  # over torch's own axes, which need not be an image's
        config = {**theirs.config, "function": POOLED[mine.kind]}
        said = f"with {POOLED[mine.kind]} instead of {theirs.config.get('function')}"
        fix = f"{_told(scene, dataclasses.replace(mine, kind='reduce'), theirs, config)} in place of `{theirs.name}`"
        yield change(theirs, UNKNOWN, said, fix, config, cost=4.9)
    window = WINDOWS.get(mine.kind)
    if window and theirs.kind in WINDOWS.values() and theirs.kind != window:  # whatever drops the axes stands behind
        sizes = numbers(theirs.config.get("pool") or [])
        fix = f"F.{window}{theirs.config.get('rank', 2)}d(x, {sizes}) in place of `{theirs.name}`"
        yield replace(theirs, UNKNOWN, f"with {window} instead of {theirs.kind}", fix, window, theirs.config, cost=4.9)
    kept = {"keepdims": theirs.config["keepdims"]} if {*mine.config} & {*theirs.config} & {"keepdims"} else {}
    for config in ({**one, **kept} for one in in_torch(scene, mine, theirs)):
        yield _exchanged(scene, mine, theirs, config)


def _exchanged(scene: Scene, mine: Op, theirs: Op, config: Mapping[str, Any]) -> Remedy:
    axes = config.get("axes")
    over = theirs.config.get(OVER, axes)  # of a normalisation that is written out
    if axes is None or over == axes:
        trap = UNKNOWN if over is None or over == axes else "norm-axes"
        says, fix = f"with {mine.kind} instead of {theirs.kind}", _told(scene, mine, theirs, config)
        return replace(theirs, trap, says, f"{fix} in place of `{theirs.name}`", mine.kind, config, cost=5.0)
    says = f"with its statistics over dim {_dims(axes)} instead of {_dims(over)}"
    fix = f"statistics over dim {_dims(axes)}, not {_dims(over)}, in the steps up to `{theirs.name}`"
    fix += f", with eps {number(config['eps'])}" if "eps" in config else ""
    return replace(theirs, "norm-axes", says, fix, mine.kind, config, cost=5.0)


def _dims(axes: Sequence[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else numbers(axes)


def _told(scene: Scene, mine: Op, theirs: Op, config: Mapping[str, Any]) -> str:
    """Return what a porter writes in torch for an operation; TensorFlow's name of it where that is a layer."""
    functions = {"global_avg_pool": "mean", "global_max_pool": "max", "reduce": str(config.get("function"))}
    function = REDUCES.get(functions.get(mine.kind, ""))
    rank = len(scene.shapes.get(read_first(theirs), ()))
    axes = range(2, rank) if mine.kind in POOLED else config.get("axes")
    if function is None or not axes:
        return SIGNS.get(mine.kind, f"TensorFlow's {mine.made_by or mine.kind}")
    return f"x.{function}({numbers(axes)}{', keepdim=True' if config.get('keepdims') else ''})"


def in_torch(scene: Scene, mine: Op, theirs: Op | None) -> Iterator[dict[str, Any]]:
    """Yield TensorFlow's configuration with axes in torch's numbers, the likeliest first."""
    if mine.kind in (*AXIS_KINDS, "layer_norm", "rms_norm") and "axes" in mine.config and theirs is not None:
        for places in scene.axis_maps(mine, theirs):
            yield {**mine.config, "axes": sorted(places[int(a) % len(places)] for a in mine.config["axes"])}
        return
    yield from translated(scene, mine, theirs)


def _other_setting(mine: Op, theirs: Op) -> Iterator[Remedy]:
    for key, wanted in mine.config.items():
        if (
            (key not in IGNORED or key in OWN.get(mine.kind, ()))
            and key[0] != "_"
            and key in theirs.config
            and not same(wanted, theirs.config[key])
        ):
            said = f"{key}={number(wanted)}"
            yield change(theirs, UNKNOWN, f"with {said}", f"{said} in `{theirs.name}`", {key: wanted}, cost=5.5)


def _missing(scene: Scene, op: Op) -> Iterator[Remedy]:
    """An operation that only TensorFlow has."""
    if (
        padding_layers([op], len(op.config.get("pads") or []))
        and scene.torch is not None
        and "pads" in scene.torch.config
    ):
        trap = "same-padding-stride"
    elif op.kind in SCALES or op.effect == MOVES:
        return
    else:
        trap = UNKNOWN
    where = place(scene, op)
    if where is None:
        return
    for config in in_torch(scene, op, scene.torch):
        remedy = insert(
            where[0],
            trap,
            f"with TensorFlow's {op.kind} {where[1]}",
            f"TensorFlow's {op.made_by or op.kind} `{op.name}` is missing {where[1]}",
            op.kind,
            config,
            cost=2.5,
            order=op.index,
        )
        yield called(remedy, op.name, scene.maker(where[0]))


def _permuted(scene: Scene) -> Iterator[Remedy]:
    """Outputs that are the same but for their order along one axis: the order is found by their values."""
    want = scene.wanted
    if want is None or scene.got.shape != scene.expected.shape or scene.got.ndim < 2:
        return
    for axis in dict.fromkeys((1, scene.got.ndim - 1)):
        order = matching_order(np.moveaxis(scene.got, axis, 0), np.moveaxis(scene.expected, axis, 0), NEARLY)
        if order is not None:
            colours = scene.got.ndim > 3 and len(order) in (3, 4) and scene.is_model_input(want)
            name = scene.torch.name if scene.torch is not None else "the output"
            shown = str(order) if len(order) <= 12 else f"[{', '.join(map(str, order[:8]))}, ...]"
            text = f"y[:, {shown}]" if axis == 1 else f"y[..., {shown}]"
            yield insert(
                want,
                "channel-order" if colours else "output-permutation",
                f"with the outputs in the order {shown}",
                f"y = {text} after `{name}`",
                "gather",
                {"axis": axis, "indices": order},
                cost=3.5,
                order=10**9,
            )


def matching_order(held: Array, wanted: Array, tolerance: float = 1e-9) -> list[int] | None:
    """Return which slice of `held` is each slice of `wanted`; None where there is no reordering, or none is needed."""
    count = len(held)
    if held.shape != wanted.shape or not 2 <= count <= LIMIT or np.iscomplexobj(held) or np.iscomplexobj(wanted):
        return None
    a, b = (np.asarray(x, dtype=np.float64).reshape(count, -1) for x in (held, wanted))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    keys = np.random.default_rng(0).uniform(0.5, 1.5, a.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):  # masks as low as floats go
        first, second = np.argsort(a @ keys, kind="stable"), np.argsort(b @ keys, kind="stable")
    order = np.empty(count, dtype=np.int64)
    order[second] = first
    if (order == np.arange(count)).all() or np.abs(a[order] - b).max() > tolerance * (np.abs(b).max() or 1.0):
        return None
    return [int(i) for i in order]
