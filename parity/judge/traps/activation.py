"""Activations: another one, another number in it, one that is missing or one too many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.judge.traps.remedy import Remedy, called, change, insert, number, replace, skip, together
from parity.judge.traps.scene import Scene, axis_maps, same
from parity.model.trace import MOVES, Op

IDS = (
    "gelu-approximation", "leaky-slope", "elu-selu-alpha", "softplus-threshold", "hard-sigmoid-slope", "relu6-missing",
    "prelu-sharing", "activation-missing", "activation-extra",
)  # fmt: skip
FUNCTIONS = ("activation", "softmax")
# What a port writes out: the functions that it bends numbers with then, and the trap that other numbers are.
WRITTEN_OUT: Mapping[str, tuple[frozenset[str], str]] = {
    **dict.fromkeys(("hard_silu", "hard_sigmoid"), (frozenset({"hard_tanh", "clamp", "relu6"}), "hard-sigmoid-slope")),
    **dict.fromkeys(("gelu", "gelu_tanh"), (frozenset({"tanh", "erf", "sigmoid"}), "gelu-approximation")),
}
# By what they are scaled below zero, what that is unless it is told, and the trap.
SLOPED = {"leaky_relu": ("slope", 0.2, "leaky-slope"), "elu": ("alpha", 1.0, "elu-selu-alpha")}
ALIKE = (("gelu", "gelu_tanh"), ("sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"), ("relu", "relu6"))
# What TensorFlow's side may have written out.
SPELT = ("silu", "hard_silu", "gelu", "gelu_tanh", "mish", "hard_sigmoid", "hard_sigmoid_keras2", "softsign",
         "log_sigmoid", "tanh_shrink", "squareplus", "softplus", "relu6", "relu")  # fmt: skip
ARITHMETIC = ("rescale", "multiply", "divide", "add", "subtract", "power")
PARAMETERS = ("slope", "alpha", "beta", "threshold", "min", "max", "max_value", "negative_slope", "offset")
# What torch calls them, as a user writes it.
WRITTEN: Mapping[str, str] = {
    "relu": "F.relu(x)", "relu6": "F.relu6(x)", "gelu": "F.gelu(x)", "gelu_tanh": 'F.gelu(x, approximate="tanh")',
    "silu": "F.silu(x)", "mish": "F.mish(x)", "selu": "F.selu(x)", "softsign": "F.softsign(x)",
    "sigmoid": "torch.sigmoid(x)", "log_sigmoid": "F.logsigmoid(x)", "hard_sigmoid": "F.hardsigmoid(x)",
    "hard_silu": "F.hardswish(x)", "tanh": "torch.tanh(x)", "hard_tanh": "F.hardtanh(x)",
    "tanh_shrink": "F.tanhshrink(x)", "exponential": "torch.exp(x)", "softplus": "F.softplus(x)",
    "hard_sigmoid_keras2": "torch.clamp(0.2 * x + 0.5, 0, 1)", "linear": "x",
    "squareplus": "(x + torch.sqrt(x * x + 4)) / 2", "erf": "torch.erf(x)",
}  # fmt: skip


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind == "activation":
            yield from _function(_in_torch(mine), theirs)
            yield from _written_out(scene, mine, theirs)
        elif mine.kind in FUNCTIONS and theirs.kind in FUNCTIONS:
            yield from _other(scene, mine, theirs)
        elif "prelu" in (mine.kind, theirs.kind) and {mine.kind, theirs.kind} <= {"prelu", "activation"}:
            yield from _prelu(scene, mine, theirs)
    yield from _all_written_out(scene)
    yield from _written_slope(scene)
    yield from _written_out_there(scene)
    yield from _alone(scene)


def written(op: Op) -> str:
    """Return how a user writes an activation in torch, as a function of x."""
    config, function = op.config, str(op.config.get("function", ""))
    if op.kind == "softmax":
        return f"F.{'log_softmax' if config.get('log') else 'softmax'}(x, {config.get('axis', 'dim')})"
    if function == "leaky_relu":
        return f"F.leaky_relu(x, {number(config.get('slope', 0.2))})"
    if function in ("elu", "celu"):
        return f"F.{function}(x, {number(config.get('alpha', 1.0))})"
    if function == "relu":
        return _written_relu(config)
    return WRITTEN.get(function, f"{function}(x)")


def _written_relu(config: Mapping[str, Any]) -> str:
    slope, threshold, top = (config.get(key) or 0.0 for key in ("negative_slope", "threshold", "max_value"))
    text = f"F.leaky_relu(x, {number(slope)})" if slope else "F.relu(x)"
    if threshold:
        text = f"torch.where(x >= {number(threshold)}, x, {number(slope)} * (x - {number(threshold)}))"
    return f"{text}.clamp(max={number(top)})" if top else text


def _in_torch(op: Op) -> Op:
    """Return Keras's ReLU as torch knows it: with a slope below zero it is a leaky one."""
    slope, others = op.config.get("negative_slope"), (op.config.get("threshold"), op.config.get("max_value"))
    if op.config.get("function") != "relu" or not slope or any(others):
        return op
    return dataclasses.replace(op, config={"function": "leaky_relu", "slope": slope})


def _parameters(op: Op) -> dict[str, Any]:
    return {key: op.config[key] for key in PARAMETERS if op.config.get(key) is not None}


def trap_of(mine: str, theirs: str) -> str:
    """Return the trap that two different settings of these functions are."""
    pair = {mine, theirs}
    families = {
        "gelu-approximation": {"gelu", "gelu_tanh"},
        "elu-selu-alpha": {"elu", "selu", "celu"},
        "softplus-threshold": {"softplus"},
        "hard-sigmoid-slope": {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"},
        "relu6-missing": {"relu", "relu6"},
        "leaky-slope": {"leaky_relu", "relu"},  # a ReLU is a leaky one of slope 0
    }
    return next((trap for trap, functions in families.items() if pair <= functions), "activation-missing")


def _function(mine: Op, theirs: Op) -> Iterator[Remedy]:
    wanted, held = str(mine.config.get("function")), str(theirs.config.get("function"))
    trap = trap_of(wanted, held) if wanted != "linear" else "activation-extra"
    if wanted != held:
        says = f"with {wanted} instead of {held}"
        fix = f"{written(mine)} in place of `{theirs.name}`"
        yield replace(theirs, trap, says, fix, "activation", dict(mine.config))
        return
    ours, given = _parameters(mine), _parameters(theirs)
    if wanted == "softplus":
        # Keras's has no threshold; beyond 40 the identity is exact in double precision.
        ours, given = {"threshold": 40.0, "beta": 1.0, **ours}, {"threshold": 20.0, "beta": 1.0, **given}
    if wanted == "relu" and ours.get("max_value") == 6.0:
        trap = "relu6-missing"
    if wanted == "relu" and not same(ours.get("negative_slope", 0.0), given.get("negative_slope", 0.0)):
        trap = "leaky-slope"
    changed = {key: value for key, value in ours.items() if not same(value, given.get(key))}
    removed = {key: None for key in given if key not in ours}
    if changed or removed:
        said = ", ".join(f"{key} {number(value)}" for key, value in changed.items()) or f"no {', '.join(removed)}"
        fix = (
            f"{written(mine)} in place of `{theirs.name}`"
            if wanted in ("leaky_relu", "elu", "celu", "relu")
            else (f"{said} in `{theirs.name}`")
        )
        yield change(theirs, trap, f"with {said}", fix, {**changed, **removed})


def _written_out(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A hard sigmoid that a port wrote out: scaled, shifted and cut off, with other numbers."""
    wanted, held = str(mine.config.get("function")), str(theirs.config.get("function"))
    steps = [op for op in scene.extra_torch if op.kind == "rescale"]
    if not wanted.startswith("hard_sigmoid") or held not in ("hard_tanh", "clamp", "relu6") or not steps:
        return
    places = [word for word, found in (("before", any(op.index < theirs.index for op in steps)),
                                       ("behind", any(op.index > theirs.index for op in steps))) if found]  # fmt: skip
    fix = f"{written(mine)} in place of `{theirs.name}` and what scales {' and '.join(places)} it"
    one = replace(theirs, "hard-sigmoid-slope", f"with {wanted} instead of what is written out", fix, "activation",
                  dict(mine.config), cost=0.9)  # fmt: skip
    yield called(
        together([one, *(skip(op, "hard-sigmoid-slope", "", "") for op in steps)], one), mine.name, theirs.name
    )


def _written_slope(scene: Scene) -> Iterator[Remedy]:
    """A leaky ReLU or an ELU that a port wrote out, whose negative part is scaled by another number."""
    alone = [scene.tensorflow, *scene.extra_tensorflow]
    mine = next((op for op in alone if op is not None and op.config.get("function") in SLOPED), None)
    if mine is None or any(op.config.get("function") == mine.config["function"] for op in scene.torch_ops):
        return
    key, usual, trap = SLOPED[str(mine.config["function"])]
    wanted = float(mine.config.get(key, usual))
    for op in scene.torch_ops:
        held = op.config.get("scale")
        if op.kind == "rescale" and isinstance(held, float) and not op.config.get("offset"):
            scale = wanted if held > 0 else -wanted
            says = f"with {number(scale)} instead of {number(held)} where it is written out"
            one = change(op, trap, says, f"{number(scale)} in place of {number(held)} in `{op.name}`", {"scale": scale},
                         cost=0.8)  # fmt: skip
            yield called(one, mine.name, op.name)


def _all_written_out(scene: Scene) -> Iterator[Remedy]:
    """What a port wrote out with no part as a pair: with other numbers, another function, or where there is none."""
    alone = [op for op in (scene.tensorflow, *scene.extra_tensorflow) if op is not None and op.kind == "activation"]
    alone = [op for op in alone if op.config.get("function") != "linear"]
    mine = next((op for op in alone if op.config.get("function") in WRITTEN_OUT), alone[0] if alone else None)
    steps = [op for op in scene.extra_torch if op.effect != MOVES and _on_one_side(scene, mine, op)]
    names = {str(op.config.get("function")) for op in steps if op.kind == "activation"}
    made = {tensor for op in steps for tensor in op.outputs}
    read = {tensor for op in steps for tensor in op.inputs} - made
    if not names or len(steps) < 2 or len(read) != 1:
        return
    if any(op.weights or op.kind not in ("activation", *ARITHMETIC) for op in steps):
        return
    span = f"`{steps[0].name}` to `{steps[-1].name}`"
    bends, trap = WRITTEN_OUT.get(str(mine.config["function"]) if mine else "", (frozenset[str](), ""))
    meant = len(steps) > 2 and len(names) == 1 and names <= bends
    if not meant and sum(len(read & set(op.inputs)) for op in steps) < 2:
        return  # one after another, each may be a fault of its own
    if mine is None:
        says, fix = f"without what torch's {span} write out", f"remove {span}"
        last = skip(steps[-1], "activation-extra", says, fix)
        beside = scene.neighbour(steps[0])
    else:
        says = f"with {mine.config['function']} instead of what is written out"
        fix = f"{written(mine)} in place of {span}"
        last = replace(steps[-1], trap if meant else "activation-missing", says, fix, "activation", dict(mine.config),
                       cost=0.9 if meant else 1.5)  # fmt: skip
        beside = mine.name
    rest = (skip(op, last.trap, "", "") for op in steps[:-1])
    yield called(together([last, *rest], last), beside, steps[-1].name)


def _on_one_side(scene: Scene, mine: Op | None, theirs: Op) -> bool:
    """Return whether both stand before the main layers of a scene, or both behind; a bias may be added there."""
    if mine is None or scene.tensorflow is None or scene.torch is None or mine is scene.tensorflow:
        return True
    return (mine.index < scene.tensorflow.index) == (theirs.index < scene.torch.index)


def _written_out_there(scene: Scene) -> Iterator[Remedy]:
    """Another function than TensorFlow's side has written out, such as x * sigmoid(x) or GPT-2's GELU, or none."""
    steps = [op for op in scene.tensorflow_ops if op.kind in ("activation", *ARITHMETIC) and not op.weights]
    named = {str(op.config.get("function")) for op in steps}
    held = [op for op in scene.torch_ops if op.kind == "activation"]
    if len(steps) < 2:
        return
    for other in SPELT:
        alike = next((some for some in ALIKE if other in some), (other,))
        if named & set(alike):
            continue
        made = Op(steps[0].index, steps[-1].name, "activation", steps[0].inputs, steps[-1].outputs, {"function": other})
        for theirs in (op for op in held if op.config.get("function") != other):
            function = str(theirs.config.get("function"))
            says, fix = f"with {other} instead of {function}", f"{written(made)} in place of `{theirs.name}`"
            cost = 1.0 if function in alike else 1.5
            one = replace(theirs, trap_of(other, function), says, fix, "activation", dict(made.config), cost=cost)
            yield called(one, made.name, theirs.name)
        if not held:
            yield from _missing(scene, made)


def _other(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    """A softmax against another activation, or against the logarithm of one."""
    names = [
        str(op.config.get("function", "log_softmax" if op.config.get("log") else "softmax")) for op in (mine, theirs)
    ]
    if names[0] == names[1]:
        return  # the same function along another axis is another family's
    for config in translated(scene, mine, theirs):
        fix = f"{written(dataclasses.replace(mine, config=config))} in place of `{theirs.name}`"
        yield replace(theirs, "activation-missing", f"with {names[0]} instead of {names[1]}", fix, mine.kind, config)


def translated(scene: Scene, mine: Op, theirs: Op | None, into: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield a configuration with its axis in torch's numbers, the likeliest first.

    Where torch has no operation to compare with, it is the tensor `into` which it goes, else the one that is compared,
    which tells how its axes stand.
    """
    if "axis" not in mine.config:
        yield dict(mine.config)
        return
    axis = mine.config["axis"]
    for places in scene.axis_maps(mine, theirs) if theirs is not None else _maps_of_result(scene, mine, into):
        if isinstance(axis, int) and -len(places) <= axis < len(places):
            yield {**mine.config, "axis": places[axis]}


def _maps_of_result(scene: Scene, mine: Op, into: int | None) -> list[tuple[int, ...]]:
    tensor = scene.wanted if into is None else into
    held = scene.shapes.get(tensor, ()) if tensor is not None else ()
    return axis_maps(scene.tensorflow_trace.shapes.get(mine.outputs[0], ()), held)


def _prelu(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    alpha = scene.carried.get("weight")
    if alpha is None and "alpha" in scene.tensorflow_weights:
        given = scene.tensorflow_weights["alpha"]
        alpha = np.moveaxis(given, -1, 0) if given.size > given.shape[-1] else given.reshape(-1)
    if mine.kind == "prelu" and alpha is not None and theirs is scene.torch:
        held = scene.torch_weights.get("weight")
        if held is not None and held.shape == alpha.shape:
            return  # a matter of weights
        many = "one per element" if alpha.ndim > 1 else f"{alpha.size}"
        fix = f"torch.where(x > 0, x, alpha * x) with alpha of shape {alpha.shape} in place of `{theirs.name}`"
        if alpha.ndim == 1:
            fix = f"nn.PReLU(num_parameters={alpha.size}) for `{theirs.name}`"
        fed = scene.shapes.get(theirs.inputs[0], ()) if theirs.inputs else ()
        flat = alpha.ndim > 1 and len(fed) == 2  # flattened before, in either order of axes
        for axis in (0, -1) if flat else (0,):
            slopes = np.moveaxis(alpha, 0, axis).reshape(-1) if flat else alpha
            yield replace(theirs, "prelu-sharing", f"with {many} slopes", fix, "prelu", {}, {"weight": slopes})
    elif theirs.kind == "prelu":
        fix = f"{written(mine)} in place of `{theirs.name}`"
        says = f"with {mine.config.get('function')} instead of prelu"
        yield replace(theirs, "activation-missing", says, fix, mine.kind, dict(mine.config))


def _alone(scene: Scene) -> Iterator[Remedy]:
    """Activations that only one side has."""
    for op in scene.extra_torch:
        name = op.config.get("function", "softmax")
        if op.kind in FUNCTIONS and name != "linear":
            remedy = skip(op, "activation-extra", f"without torch's {name}", f"remove `{op.name}` ({name})")
            yield called(remedy, scene.neighbour(op), op.name)
    for op in scene.extra_tensorflow:
        if op.kind in FUNCTIONS and op.config.get("function") != "linear":
            yield from _missing(scene, op)


def place(scene: Scene, op: Op) -> tuple[int, str] | None:
    """Return the torch tensor through which an operation that only TensorFlow has would go, and where that is."""
    beside = _beside(scene, op)
    if beside is not None:
        return beside.outputs[0], f"after `{beside.name}`"
    tensor = scene.origin(op, "tensorflow")
    if tensor is None:
        return None
    main = scene.torch
    if tensor in scene.fed_tensorflow:
        found = scene.partner(tensor)
        if found is None:
            return None
        maker = scene.torch_trace.producers().get(found)
        if maker is not None:
            return found, f"after `{maker.name}`"
        return found, f"before `{main.name}`" if main is not None else "on the input"
    if main is None:
        return None
    return main.outputs[0], f"after `{main.name}`"


def _beside(scene: Scene, op: Op) -> Op | None:
    """Return torch's partner of the operation that one reads, where that is not the main one; moves lie in between."""
    makers = {tensor: one for one in scene.tensorflow_ops for tensor in one.outputs}
    read = makers.get(op.inputs[0]) if op.inputs else None
    while read is not None and read.effect == MOVES and read.inputs:
        read = makers.get(read.inputs[0])
    pairs = [(mine, theirs) for mine, theirs in scene.pairs() if theirs is not scene.torch]
    return next((theirs for mine, theirs in pairs if read is not None and mine.index == read.index), None)


def _missing(scene: Scene, op: Op) -> Iterator[Remedy]:
    where = place(scene, op)
    if where is None:
        return
    name = op.config.get("function", "log_softmax" if op.config.get("log") else "softmax")
    for config in translated(scene, op, scene.torch, where[0]):
        line = f"x = {written(dataclasses.replace(op, config=config))} {where[1]}"
        remedy = insert(
            where[0], "activation-missing", f"with a {name} {where[1]}", line, op.kind, config, order=op.index
        )
        yield called(remedy, op.name, scene.maker(where[0]))
