"""What is done to numbers before a layer: scaling, the order of colours, dropout that was left on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from typing import Any

import numpy as np

from parity.judge.traps.activation import place
from parity.judge.traps.lengths import is_length
from parity.judge.traps.remedy import Remedy, called, insert, number, replace, skip, together
from parity.judge.traps.scene import PRODUCTS, SELECTS, Scene, exact_numbers, leading_to, same
from parity.model.draws import NOTE
from parity.model.trace import MOVES, Op, Trace, read_first

IDS = ("input-scale", "channel-order", "residual-scale", "dropout-active")
REORDERS = SELECTS | {"roll"}  # what may give the numbers of an axis another order
SCALES = ("rescale", "standardize")
LARGEST_EPS = 0.01
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
ARITHMETIC = tuple(SIGNS)
FACTORS = ("rescale", "multiply", "divide")
CUTS = ("relu6", "hard_tanh", "clamp")  # what cuts a number off below and above
SEQUENCE = 3  # axes of a batch of sequences
LAST = ("softmax", "activation")  # what makes shares or probabilities of scores
COLOURS = (3, 4)  # that a picture has, maybe with its opacity
BESIDE = frozenset({"attention-scale-or-heads", "input-scale"})  # told at the layer of TensorFlow's that does the like
AT_RANDOM = {"op:dropout": "numbers dropped", "op:noise": "noise"}  # what only training should do
A_FEW = 16  # numbers of a constant that a line of code can show
# What people do to pixels: (scale, offset, as it is written).
HABITS: tuple[tuple[float, float, str], ...] = (
    (1.0 / 255.0, 0.0, "x / 255"),
    (255.0, 0.0, "x * 255"),
    (1.0 / 127.5, -1.0, "x / 127.5 - 1"),
    (127.5, 127.5, "(x + 1) * 127.5"),
    (2.0, -1.0, "2 * x - 1"),
    (0.5, 0.5, "(x + 1) / 2"),
)
# ImageNet's, as torchvision and keras.applications write them (modes "torch" and "caffe").
IMAGENET: tuple[tuple[dict[str, Any], str], ...] = (
    ({"mean": [0.485, 0.456, 0.406], "variance": [0.229**2, 0.224**2, 0.225**2]},
     "(x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"),
    ({"mean": [123.68, 116.779, 103.939], "variance": [1.0, 1.0, 1.0]}, "x - [123.68, 116.779, 103.939]"),
    ({"mean": [103.939, 116.779, 123.68], "variance": [1.0, 1.0, 1.0]}, "x - [103.939, 116.779, 123.68]"),
)  # fmt: skip


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind in SCALES and theirs.kind in SCALES:
            yield from _other(scene, mine, theirs)
    yield from _other_numbers(scene)
    yield from _alone(scene)
    yield from _dropout(scene)
    for tensor in scene.fed:
        if scene.is_model_input(tensor):
            yield from _habits(scene, tensor)


def written(config: Mapping[str, Any]) -> str:
    """Return a scaling as a user writes it, as a function of x."""
    if "constant" in config:
        sign, shown = SIGNS[str(config["kind"])], f"[{', '.join(number(float(one)) for one in config['constant'])}]"
        return f"{shown} {sign} x" if config.get("reversed") else f"x {sign} {shown}"
    if "mean" in config:
        mean, variance = (np.asarray(config[key], np.float64).reshape(-1) for key in ("mean", "variance"))
        if not 0 < mean.size == variance.size <= A_FEW:
            return "(x - mean) / torch.sqrt(variance)"
        means, roots = (", ".join(number(float(one)) for one in values) for values in (mean, np.sqrt(variance)))
        return f"(x - [{means}]) / [{roots}]"
    scale, offset = float(config.get("scale", 1.0)), float(config.get("offset", 0.0))
    for known, shift, text in HABITS:
        if same(known, scale) and same(shift, offset):
            return text
    whole = 1.0 / scale if scale else 0.0
    inverse = 0.0 < abs(scale) < 1.0 and same(whole, float(round(whole)))
    product = "x" if scale == 1.0 else f"x / {round(whole)}" if inverse else f"x * {_in_full(scale)}"
    return product if not offset else f"{product} {'+' if offset > 0 else '-'} {number(abs(offset))}"


def _in_full(value: float) -> str:
    """Return a factor as a line of code has it: no digit less than makes the same function."""
    turns = value / math.pi
    if turns == round(turns) != 0:
        return "math.pi" if turns == 1.0 else f"{round(turns)} * math.pi"
    return number(value) if same(float(number(value)), value) else str(value)


def is_scaling(op: Op) -> bool:
    """Return whether an operation scales or shifts a single tensor by numbers that it does not share with others."""
    return op.kind in SCALES or (op.kind in ARITHMETIC and len(op.inputs) == 1)


def told(op: Op) -> str:
    """Return what a scaling does, in words of code."""
    return written(op.config) if op.kind in SCALES else f"{op.kind} by a constant"


def _trap(scene: Scene, tensor: int | None, op: Op | None = None) -> str:
    """Return which trap a scaling of a tensor is, by where it stands; `op` is TensorFlow's, if only it has one."""
    if scene.is_model_input(tensor):
        return "input-scale"
    if op is not None and op.kind in FACTORS and _of_scores(scene, op):
        return "attention-scale-or-heads"
    if is_length(scene.torch_trace, tensor) and _may_be_eps(scene, tensor, op):
        return "l2-normalize-eps"
    if op is not None and of_hard_sigmoid(scene.tensorflow_trace, op):
        return "hard-sigmoid-slope"
    neighbours = {op.kind for op in scene.torch_trace.ops if tensor in op.inputs or tensor in op.outputs}
    for op in scene.torch_trace.ops:
        if op.inputs and op.inputs[0] == tensor:
            neighbours |= {reader.kind for reader in scene.torch_trace.ops if set(op.outputs) & set(reader.inputs)}
    products = {"matmul", "einsum", "sdpa", "op:bmm", "op:baddbmm"}
    return "attention-scale-or-heads" if neighbours & products else "residual-scale"


def _may_be_eps(scene: Scene, tensor: int | None, op: Op | None) -> bool:
    """Return whether none of the shifts beside a length is as large as those of formulas are, as in 1 + |x|^2."""
    beside = [one for one in scene.torch_ops if tensor in (*one.inputs, *one.outputs)]
    shifts = [
        one.config.get("offset", 0.0) for one in (*beside, *([op] if op is not None else [])) if one.kind in SCALES
    ]
    return all(abs(float(shift or 0.0)) <= LARGEST_EPS for shift in shifts)


def of_hard_sigmoid(trace: Trace, op: Op) -> bool:
    """Return whether a scaling is part of a hard sigmoid that is written out: shifted, cut off and scaled."""
    makers, readers = trace.producers(), trace.consumers()
    shifts = op.kind == "rescale" and float(op.config.get("offset") or 0.0) != 0.0
    if shifts and any(_cuts(reader) for tensor in op.outputs for reader in readers.get(tensor, ())):
        return True
    before = [makers[tensor] for tensor in op.inputs if tensor in makers]
    before += [makers[tensor] for one in before if one.kind == "multiply" for tensor in one.inputs if tensor in makers]
    shifted = [makers.get(one.inputs[0]) for one in before if _cuts(one) and one.inputs]
    return any(one is not None and one.kind == "rescale" and one.config.get("offset") for one in shifted)


def _cuts(op: Op) -> bool:
    return op.kind == "activation" and op.config.get("function") in CUTS


def _of_scores(scene: Scene, op: Op) -> bool:
    """Return whether an operation of TensorFlow's stands between a product and the softmax behind it, or before it."""
    for shares in (one for one in scene.tensorflow_ops if one.kind == "softmax"):
        before = leading_to(scene.tensorflow_ops, shares.inputs)
        for product_ in (one for one in before if one.kind in PRODUCTS and len(one.inputs) > 1):
            around = (leading_to(before, product_.inputs), op), (leading_to(before, op.inputs), product_)
            if op in before and any(one in those for those, one in around):
                return True
    return False


def _in_torch(scene: Scene, mine: Op, theirs: Op | None) -> Iterator[dict[str, Any]]:
    """Yield TensorFlow's scaling in torch's axes; a constant that its float32 trace rounded, also as it was meant."""
    config = dict(mine.config)
    if mine.kind in ARITHMETIC:
        yield from _constants(scene, mine, theirs)
        return
    axes = config.get("axis")
    if isinstance(axes, (list, tuple)) and len(axes) == 1:
        config["axis"] = axes[0]
    if mine.kind == "standardize" and isinstance(config.get("axis"), int):
        shape = scene.tensorflow_trace.shapes.get(read_first(mine), ())
        fed = scene.shapes.get(read_first(theirs), ()) if theirs is not None else ()
        last = int(config["axis"]) % max(len(shape), 1) == len(shape) - 1
        moved = len(shape) > 3 or (len(fed) == len(shape) == 3 and fed[1] == shape[-1] != fed[-1])
        config["axis"] = 1 if last and moved else config["axis"]
    if mine.kind != "rescale":
        yield config
        return
    scales, offsets = (exact_numbers(float(config.get(key, usual))) for key, usual in (("scale", 1.0), ("offset", 0.0)))
    for scale, offset in islice(product(scales, offsets), 6):
        yield {**config, "scale": scale, "offset": offset}


def _constants(scene: Scene, mine: Op, theirs: Op | None) -> Iterator[dict[str, Any]]:
    """Yield arithmetic with a constant in torch's axes, with its numbers as float32 has them and as written."""
    values = [float(one) for one in mine.config["constant"]]
    shape = [int(one) for one in mine.config["constant_shape"]]
    rank = len(scene.tensorflow_trace.shapes.get(read_first(mine), ()))
    fed = scene.shapes.get(read_first(theirs), ()) if theirs is not None and theirs.inputs else ()
    whole = [1] * (rank - len(shape)) + shape
    if rank > 3 or (len(fed) == rank == 3 and fed[1] == whole[-1] != fed[-1]):
        if math.prod(whole[:-1]) != 1:
            return  # more than one number for each channel
        whole = [1, whole[-1], *whole[1:-1]]
    for numbers in (values, [float(str(np.float32(one))) for one in values]):
        yield {**mine.config, "kind": mine.kind, "constant": numbers, "constant_shape": whole}


def _other(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    keys = ("scale", "offset", "mean", "variance")
    if mine.kind == theirs.kind and all(same(mine.config.get(k), theirs.config.get(k)) for k in keys):
        return
    trap = _trap(scene, theirs.outputs[0])
    trap = _trap(scene, read_first(theirs)) if trap == "residual-scale" else trap
    gate = of_hard_sigmoid(scene.tensorflow_trace, mine) or of_hard_sigmoid(scene.torch_trace, theirs)
    trap = "hard-sigmoid-slope" if trap == "residual-scale" and gate else trap
    for config in _in_torch(scene, mine, theirs):
        text = written(config)
        yield replace(theirs, trap, f"with {text} instead of {written(theirs.config)}",
                      f"{text} in place of `{theirs.name}`", mine.kind, config)  # fmt: skip


def _other_numbers(scene: Scene) -> Iterator[Remedy]:
    """Arithmetic with other numbers: the means of another data set, or the right ones for colours read backwards."""
    first, second = (
        [op for op in ops if op.kind in ARITHMETIC and len(op.inputs) == 1]
        for ops in (scene.tensorflow_ops, scene.torch_ops)
    )
    for theirs in second:
        yield from _turned_numbers(scene, theirs)
    for mine, theirs in product(first, second):
        if mine.kind != theirs.kind or not 0 < len(mine.config.get("constant") or ()) <= A_FEW:
            continue
        trap = _trap(scene, read_first(theirs))
        for config in _constants(scene, mine, theirs):
            numbers = config["constant"]
            if theirs.config.get("constant") != numbers:
                says = f"with {written(config)} instead of torch's {told(theirs)}"
                yield called(_with_numbers(theirs, trap, says, config), mine.name, theirs.name)
            if len(numbers) in COLOURS and trap == "input-scale":
                turned = {**config, "constant": [*numbers[2::-1], *numbers[3:]]}
                says = f"with {written(turned)}, in the order of the colours there"
                yield called(_with_numbers(theirs, "channel-order", says, turned, 1.5), mine.name, theirs.name)


def _turned_numbers(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    """A number for each colour, whose colours are read in the other order, where TensorFlow has each by itself."""
    held = theirs.config.get("constant")
    if "other" in theirs.weights:
        buffer = scene.buffers.get(theirs.weights["other"])
        held = None if buffer is None else buffer.reshape(-1).tolist()
    if held is None or len(held) not in COLOURS or _trap(scene, read_first(theirs)) != "input-scale":
        return
    beside = next((op.name for op in scene.tensorflow_ops if is_scaling(op)), scene.neighbour(theirs))
    rank = len(scene.shapes.get(theirs.outputs[0], ()))
    shape = theirs.config.get("constant_shape") or [1, len(held), *[1] * (rank - 2)]
    for numbers in (held, [float(str(np.float32(one))) for one in held]):
        config = {"kind": theirs.kind, "constant": [*numbers[2::-1], *numbers[3:]], "constant_shape": shape}
        says = f"with {written(config)}, in the order of the colours there"
        one = _with_numbers(theirs, "channel-order", says, {**theirs.config, **config}, 1.5)
        yield one if theirs is scene.torch else called(one, beside, theirs.name)


def _with_numbers(theirs: Op, trap: str, says: str, config: Mapping[str, Any], cost: float = 1.0) -> Remedy:
    """Return the remedy that computes with these numbers in the place of torch's constant, or of its buffer."""
    fix = f"{written(config)} in place of `{theirs.name}`"
    if "other" not in theirs.weights:
        return replace(theirs, trap, says, fix, str(config["kind"]), config, cost=cost)
    held = np.asarray(config["constant"]).reshape([int(size) for size in config["constant_shape"]])
    plain = {key: value for key, value in config.items() if not key.startswith("constant")}
    return replace(theirs, trap, says, fix, str(config["kind"]), plain, {"other": held}, cost)


def _alone(scene: Scene) -> Iterator[Remedy]:
    """Scalings, and choices of channels, that only one side has; also all of them together, as a whole pipeline."""
    skipped, inserted = list[Remedy](), list[Remedy]()
    for op in scene.extra_torch:
        name = op.kind.removeprefix("op:")
        if is_scaling(op):
            trap = "dropout-active" if _is_noise(scene, op) else _trap(scene, op.inputs[0] if op.inputs else None)
            if op.kind in ("add", "subtract") and trap == "attention-scale-or-heads":
                trap = "residual-scale"  # scores are scaled by factors alone
            if trap == "residual-scale" and of_hard_sigmoid(scene.torch_trace, op):
                trap = "hard-sigmoid-slope"
            one = skip(op, trap, f"without torch's {told(op)}", f"remove `{op.name}` ({told(op)})")
            layers = [mine.name for mine in scene.tensorflow_ops if mine.kind.lower().endswith("attention")]
            if trap == "input-scale":  # TensorFlow's own scaling of the input, if there is one, is what it is beside
                layers = [mine.name for mine in scene.tensorflow_ops if is_scaling(mine)]
            beside = layers[0] if layers and trap in BESIDE else scene.neighbour(op)
            if trap == "residual-scale":
                beside = _sum_there(scene, op) or beside
            skipped.append(called(one, beside, op.name))
        elif name in REORDERS and scene.shapes.get(read_first(op)) == scene.shapes.get(op.outputs[0]):
            steps = len(scene.shapes.get(read_first(op), ())) == SEQUENCE  # such as (n, steps, features): no colours
            trap = "output-permutation" if _of_results(scene, op) else "operand-order" if steps else "channel-order"
            one = skip(op, trap, "without torch's reordering", f"remove `{op.name}`", cost=1.5)
            yield called(one, scene.neighbour(op), op.name)
    for op in scene.extra_tensorflow:
        few = op.kind in ARITHMETIC and len(op.inputs) == 1 and 0 < len(op.config.get("constant") or ()) <= A_FEW
        where = place(scene, op) if op.kind in SCALES or few else None
        for config in _in_torch(scene, op, scene.torch) if where is not None else ():
            text = written(config)
            assert where is not None
            if text == "x":  # nothing at all, such as a factor of one
                continue
            trap = _trap(scene, where[0], op)
            one = insert(where[0], trap, f"with {text} {where[1]}", f"x = {text} {where[1]}", op.kind, config,
                         order=op.index)  # fmt: skip
            inserted.append(called(one, op.name, scene.maker(where[0])))
    yield from (*skipped, *inserted)
    first = {remedy.keys: remedy for remedy in reversed(inserted)}  # of one place, the constants as they stand
    parts = [*skipped, *reversed(first.values())]
    if len(parts) > 1:
        whole = together(parts)
        says, fix = _in_place(scene, skipped, parts[len(skipped) :]) or (whole.says, whole.fix)
        one = Remedy(parts[-1].trap, whole.edits, says, fix, 1.5, whole.keys)
        yield called(one, (parts[-1].named or (None, None))[0], (parts[0].named or (None, None))[1])


def _in_place(scene: Scene, skipped: Sequence[Remedy], inserted: Sequence[Remedy]) -> tuple[str, str] | None:
    """Return how all of TensorFlow's numbers are told in place of torch's, where those follow one another."""
    ops = {op.index: op for op in scene.torch_ops}
    gone = [ops[edit["op"]] for remedy in skipped for edit in remedy.edits if edit.get("op") in ops]
    added = [edit for remedy in inserted for edit in remedy.edits]
    if not gone or not added or any(two.inputs[:1] != one.outputs[:1] for one, two in pairwise(gone)):
        return None
    if not {edit.get("insert") for edit in added} <= {*gone[0].inputs[:1], *(op.outputs[0] for op in gone)}:
        return None
    text = ", then ".join(written(edit["config"]) for edit in added)
    held = ", then ".join(said for op in gone if (said := told(op)) != "x") or "numbers"
    return (
        f"with {text} in place of torch's {held}",
        f"{text} in place of {' and '.join(f'`{op.name}`' for op in gone)}",
    )


def _sum_there(scene: Scene, op: Op) -> str | None:
    """Return the name of TensorFlow's sum, if torch scales what is added there as it is; an embedding is its own."""
    there, here = op.outputs[0], scene.counterpart(scene.origin(op, "torch"))
    maker = scene.tensorflow_trace.producers().get(here)
    sums = _sum_behind(scene.torch_trace, there), _sum_behind(scene.tensorflow_trace, here)
    own = maker is not None and maker.kind == "embedding"
    return None if own or sums[0] is None or sums[1] is None else sums[1].name


def _sum_behind(trace: Trace, tensor: int) -> Op | None:
    """Return the one sum that reads a tensor, at once or moved."""
    readers = trace.consumers().get(tensor, ())
    sums = [one for one in readers if one.kind == "add"]
    if len(sums) == 1:
        return sums[0]
    moved = readers[0] if len(readers) == 1 and readers[0].effect == MOVES else None
    return None if moved is None else _sum_behind(trace, moved.outputs[0])


def _is_noise(scene: Scene, op: Op) -> bool:
    """Return whether torch computes with a random number for each number of each example, as only training should."""
    trace, shape = scene.torch_trace, scene.shapes.get(op.outputs[0], ())
    drawn = any(note.startswith(NOTE) for note in trace.notes)
    return drawn and tuple(op.config.get("constant_shape") or ()) == shape


def _of_results(scene: Scene, op: Op) -> bool:
    """Return whether what torch puts into another order are its results, such as the scores of classes."""
    if scene.is_model_input(read_first(op)):
        return False
    readers = scene.torch_trace.consumers()
    while op.outputs[0] not in scene.torch_trace.outputs:
        following = readers.get(op.outputs[0], ())
        if len(following) != 1 or not (following[0].effect == MOVES or following[0].kind in LAST):
            return False
        op = following[0]
    return True


def _dropout(scene: Scene) -> Iterator[Remedy]:
    """A dropout that works in evaluation, such as `F.dropout` without `training=self.training`."""
    if scene.training:
        return
    for op in scene.torch_ops:
        if "dropout" in op.kind and float(op.config.get("rate") or op.config.get("p") or 0.5) > 0.0:
            fix = f"`{op.name}`: F.dropout(x, p, training=self.training), and .eval() before inference"
            yield called(skip(op, "dropout-active", "without torch's dropout", fix), scene.neighbour(op), op.name)
    for op in scene.extra_tensorflow:
        where = place(scene, op) if op.kind in AT_RANDOM else None
        if where is not None:
            says = f"with the same {AT_RANDOM[op.kind]} {where[1]}"
            fix = f"training=False in TensorFlow's `{op.name}`, or the same in torch {where[1]}"
            one = insert(where[0], "dropout-active", says, fix, op.kind, op.config, order=op.index)
            yield called(one, op.name, scene.maker(where[0]))


def _habits(scene: Scene, tensor: int) -> Iterator[Remedy]:
    """What may have been done to a model input outside of one of the models."""
    shape = scene.shapes.get(tensor, ())
    main = next((op for op in scene.torch_ops if tensor in op.inputs), None)
    at = f"before `{main.name}`" if main is not None else "on the input"
    if "int" in str(scene.torch_trace.dtypes.get(tensor, "")):
        return
    for count, (scale, offset, text) in enumerate(HABITS):
        yield insert(
            tensor,
            "input-scale",
            f"with {text} {at}",
            f"x = {text} {at}",
            "rescale",
            {"scale": scale, "offset": offset},
            cost=4.0 + 0.1 * count,
            order=-2,
        )
    if len(shape) < 4:
        return
    axis = 1 if shape[1] in (3, 4) or shape[-1] not in (3, 4) else len(shape) - 1
    flipped = list(reversed(range(3))) + list(range(3, shape[axis])) if shape[axis] in (3, 4) else []
    if flipped:
        text = f"x[:, {flipped}]" if axis == 1 else f"x[..., {flipped}]"
        yield insert(
            tensor,
            "channel-order",
            f"with the channels in the order {flipped}",
            f"x = {text} {at}",
            "gather",
            {"axis": axis, "indices": flipped},
            cost=4.0,
            order=-1,
        )
    for config, text in IMAGENET if shape[axis] == 3 else ():
        yield insert(
            tensor,
            "input-scale",
            f"with {text} {at}",
            f"x = {text} {at}",
            "standardize",
            {**config, "axis": axis},
            cost=4.8,
            order=-2,
        )
