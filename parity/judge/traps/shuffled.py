"""Channels that code puts into another order, by reshapes around a transpose or by a choice of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.judge.traps.activation import place
from parity.judge.traps.remedy import Remedy, called, insert, replace, skip, together
from parity.judge.traps.scene import SELECTS, Scene
from parity.model.trace import MOVES, Op, Trace, read_first

IDS = ()
CHANNELS = "channel-order"
SHUFFLES = "channel_shuffle"
REPEATS = {"op:repeat": "repeat_interleave", "op:repeat_interleave": "repeat"}  # what a port may have meant instead
SHOWN = 12  # places of an order that a line shows
# What treats each channel by itself, so that an order behind it is one before it.
THROUGH = frozenset({"activation", "batch_norm", "prelu", "rescale", "dropout", "identity", "max_pool", "avg_pool"})
IMAGE_RANK = 3
SHORTEST, LONGEST = 2, 6  # steps that give a tensor its own shape again


@dataclass(frozen=True)
class Run:
    """Steps that only move numbers, and leave a tensor its shape: the first reads what the last one's result is of."""

    steps: tuple[Op, ...]

    @property
    def name(self) -> str:
        """What a message calls them: their last one."""
        return self.steps[-1].name


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    runs = list(_runs(scene.torch_ops, scene.torch_trace))
    theirs = [_without(scene, run) for run in runs]
    mine = [one for run in _runs(scene.tensorflow_ops, scene.tensorflow_trace) for one in _with(scene, run)]
    # One choice alone is told elsewhere.
    chosen = [len(run.steps) == 1 and run.steps[0].kind.removeprefix("op:") in SELECTS for run in runs]
    found = [one for one, told in zip(theirs, chosen, strict=True) if one.trap != CHANNELS or not told]
    yield from (*found, *mine, *_repeated(scene))
    for given in mine:
        for taken in theirs:  # both put channels into an order, each into another one
            one = together([given, taken], given)
            yield called(one, (given.named or (None, None))[0], (taken.named or (None, None))[1])


def _repeated(scene: Scene) -> Iterator[Remedy]:
    """Yield repeats of an axis one by one where torch repeats it as a whole, and the other way round."""
    for op in scene.torch_ops:
        given, made = (scene.torch_trace.shapes.get(tensor, ()) for tensor in (read_first(op), op.outputs[0]))
        grown = [axis for axis, sizes in enumerate(zip(given, made, strict=False)) if sizes[0] != sizes[1]]
        if op.kind not in REPEATS or len(given) != len(made) or len(grown) != 1:
            continue
        axis, size = grown[0], given[grown[0]]
        count, meant = made[axis] // size, REPEATS[op.kind]
        whole = meant == "repeat"
        indices = np.tile(np.arange(size), count) if whole else np.repeat(np.arange(size), count)
        counts = ", ".join(str(count if at == axis else 1) for at in range(len(given)))
        text = f"x.repeat({counts})" if whole else f"x.repeat_interleave({count}, {axis})"
        says = f"repeated {'as a whole' if whole else 'one by one'}, as {text}"
        config = {"axis": axis, "indices": [int(one) for one in indices]}
        one = replace(op, "output-permutation", says, f"{text} in place of `{op.name}`", "gather", config, cost=1.2)
        yield _as_channels(scene, op, one, axis)


def _as_channels(scene: Scene, op: Op, remedy: Remedy, axis: int) -> Remedy:
    """Return a remedy of repeated channels with what must come out: the images are no longer in another order."""
    want, made = scene.expected_tensorflow, scene.torch_trace.shapes[op.outputs[0]]
    if want is None or scene.wanted not in op.outputs or not scene.tensorflow_ops or axis != 1:
        return remedy
    if want.ndim != IMAGE_RANK + 1 or made[1:] != (want.shape[-1], *want.shape[1:-1]):
        return remedy
    at = scene.tensorflow_ops[-1].outputs[0], scene.wanted, "channels"
    return dataclasses.replace(remedy, expects=np.moveaxis(want, -1, 1), settles=(at,))


def _without(scene: Scene, run: Run) -> Remedy:
    trap, maker = _of(scene.torch_trace, run)
    fix = f"remove {', '.join(f'`{op.name}`' for op in run.steps)}: TensorFlow's channels stay as they are"
    parts = [skip(op, trap, "without torch's reordering of channels", fix, 1.2) for op in run.steps]
    partner = scene.neighbour(run.steps[0]) if maker is not None else None
    whole, want = together(parts, parts[0]), scene.expected_tensorflow
    if want is not None and want.ndim > IMAGE_RANK and scene.wanted is not None and scene.tensorflow_ops:
        # No longer in the order of torch's steps.
        at = scene.tensorflow_ops[-1].outputs[0], scene.wanted, "channels"
        whole = dataclasses.replace(whole, expects=np.moveaxis(want, -1, 1), settles=(at,))
    return called(whole, partner, run.name)


def _with(scene: Scene, run: Run) -> Iterator[Remedy]:
    order, where = _order(scene.tensorflow_trace, run), place(scene, run.steps[0])
    if order is None or where is None:
        return
    trap, _ = _of(scene.tensorflow_trace, run)
    rank = len(scene.shapes.get(where[0], ()))
    shown = str(order) if len(order) <= SHOWN else f"[{', '.join(map(str, order[:8]))}, ...]"
    text, axis = (f"x[:, {shown}]", 1) if rank > IMAGE_RANK else (f"x[..., {shown}]", rank - 1)
    says = f"with the channels in the order {shown} {where[1]}"
    config = {"axis": axis, "indices": order}
    one = insert(where[0], trap, says, f"x = {text} {where[1]}", "gather", config, 1.2, run.steps[0].index)
    yield called(one, run.name, scene.maker(where[0]))


def _runs(ops: Sequence[Op], trace: Trace) -> Iterator[Run]:
    readers = {tensor: [op for op in ops if tensor in op.inputs] for op in ops for tensor in (*op.inputs, *op.outputs)}
    for first in ops:
        shape = trace.shapes.get(first.inputs[0], ()) if first.inputs else ()
        if len(shape) < IMAGE_RANK:
            continue
        steps = [first]
        if first.kind.removeprefix("op:") in (SHUFFLES, *SELECTS):
            if trace.shapes.get(first.outputs[0]) == shape and len(first.inputs) == 1:
                yield Run((first,))
            continue
        while steps[-1].effect == MOVES and len(steps) <= LONGEST:
            if len(steps) >= SHORTEST and trace.shapes.get(steps[-1].outputs[0]) == shape:
                if any(op.kind == "permute" for op in steps) and any(op.kind == "reshape" for op in steps):
                    yield Run(tuple(steps))
                break
            following = readers.get(steps[-1].outputs[0], [])
            if len(following) != 1:
                break
            steps.append(following[0])


def _of(trace: Trace, run: Run) -> tuple[str, Op | None]:
    """Return the trap that an order of channels is, by what made them."""
    makers = trace.producers()
    maker = makers.get(run.steps[0].inputs[0])
    while maker is not None and maker.kind in THROUGH and maker.inputs:
        maker = makers.get(maker.inputs[0])
    if maker is not None and maker.kind == "depthwise_conv":
        return "depthwise-channel-order", maker
    beside = {op.kind for op in trace.ops if set(run.steps[-1].outputs) & set(op.inputs)}
    if "depth_to_space" in beside or (maker is not None and maker.kind == "space_to_depth"):
        return "pixel-shuffle-order", maker
    return CHANNELS, maker


def _order(trace: Trace, run: Run) -> list[int] | None:
    """Return which channel stands at each place behind steps of TensorFlow's, if they move nothing else."""
    shape = trace.shapes.get(run.steps[0].inputs[0], ())
    held = np.arange(int(np.prod(shape[1:]))).reshape(1, *shape[1:])
    try:
        for op in run.steps:
            held = _moved(held, op.kind, op.config)
    except (ValueError, KeyError, TypeError):  # not what these steps are known to do
        return None
    if held.shape != (1, *shape[1:]):
        return None
    order = held.reshape(-1, shape[-1])[0]
    whole = np.arange(held.size).reshape(-1, shape[-1])
    if sorted(order) != list(range(shape[-1])) or not (held.reshape(-1, shape[-1]) == whole[:, order]).all():
        return None
    return None if (order == np.arange(shape[-1])).all() else [int(one) for one in order]


def _moved(held: np.ndarray, kind: str, config: Mapping[str, object]) -> np.ndarray:
    if kind == "reshape":
        shape = config["shape"]
        assert isinstance(shape, list)
        return held.reshape(1, *shape)
    if kind == "permute":
        order = config["order"]
        assert isinstance(order, list)
        return np.transpose(held, order)
    if kind in ("identity", "dropout", "cast"):
        return held
    raise KeyError(kind)
