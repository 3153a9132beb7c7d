"""Normalisations that somebody wrote out step by step, seen as the one operation that they are.

One side calls a layer; the other takes the mean, subtracts it, squares, divides by the root and multiplies by a scale
of its own. Steps that lead from one tensor to one result, and that nothing else reads, are taken together: the whole is
paired, its scale and shift are carried, and it is judged as a layer is, by running the steps as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isclose, prod
from typing import Any

from parity.model.trace import MOVES, OVER, SPREAD, Op, Trace
from parity.pairing import affine, moving
from parity.pairing.families import family, main_size, weight_shapes
from parity.pairing.moving import SHAPING as SHAPING
from parity.pairing.references import Shape, shape_of, shapes_of
from parity.pairing.whole import Whole

_AFFINE = {"multiply": "gamma", "divide": "gamma", "add": "beta", "subtract": "beta"}
_AVERAGES = frozenset({"reduce", "global_avg_pool", "op:var_mean", "op:std_mean", "op:norm", "op:linalg_vector_norm"})
_STEPS = _AVERAGES | {*_AFFINE, "divide", "rescale", "power", "squared_difference", "op:weight"}
_ROOTS = frozenset({"sqrt", "rsqrt"})
_FUNCTIONS = _ROOTS | {"square", "abs", "clamp"}
_ROOTED = frozenset({"std", "norm"})  # reductions with a root in them
_LENGTHS = frozenset({"op:norm", "op:linalg_vector_norm"})
_MOST = 48  # steps of one normalisation


@dataclass(frozen=True)
class _Written:
    """The steps of one normalisation in order, the tensor that they start from, and its weights by role."""

    steps: tuple[Op, ...]
    entry: int
    weights: Mapping[str, str]
    updates: tuple[Op, ...] = ()  # steps that keep statistics, beside those that lead to the result

    @property
    def last(self) -> Op:
        return self.steps[-1]


@dataclass(frozen=True)
class _Graph:
    """A trace with what looking for steps needs."""

    trace: Trace
    makers: Mapping[int, Op]
    readers: Mapping[int, Sequence[Op]]
    held: Mapping[int, str]  # tensors that are one weight, in another shape or changed
    plain: frozenset[int]  # those of them that are nothing but its numbers
    sizes: Mapping[str, Shape]
    channels_last: bool
    beside: tuple[Op, ...] = ()  # operations that no output depends on

    def weight_of(self, op: Op) -> str | None:
        """Return the one weight that an operation multiplies by, adds, or divides."""
        if op.kind not in _AFFINE or (op.kind == "divide" and not self.divides_weight(op)):
            return None
        if op.weights:
            return next(iter(op.weights.values())) if len(op.weights) == len(op.inputs) == 1 else None
        found = [self.held[tensor] for tensor in op.inputs if tensor in self.held]
        return found[0] if len(found) == 1 and len(op.inputs) == 2 else None

    def divides_weight(self, op: Op) -> bool:
        """Return whether an operation divides a weight by another tensor: a scale and a root in one step."""
        if op.weights:
            return bool(op.config.get("reversed"))
        return len(op.inputs) == 2 and op.inputs[0] in self.held

    def size(self, reference: str) -> int:
        """Return how many numbers a weight has."""
        return prod(shape_of(reference, self.sizes) or ())


def norms_as_one(tensorflow: Trace, torch: Trace, apart: Container[str] = ()) -> tuple[Whole, Whole]:
    """Return both traces with every written normalisation as one operation that the other side may have a partner for.

    One of which the other side has none of its size stays as it is written, and so does one with a step that has one
    of the names in `apart`.
    """
    graphs = _graph(tensorflow, True), _graph(torch, False)
    found = [
        [one for one in _all(graph, other) if not any(step.name in apart for step in one[1])]
        for graph, other in zip(graphs, reversed(graphs), strict=True)
    ]
    sizes = [{_size(graph, op) for op, _ in some} | _layers(graph) for graph, some in zip(graphs, found, strict=True)]
    first, second = (
        Whole(graph.trace).together([one for one in some if _size(graph, one[0]) in others])
        for graph, some, others in zip(graphs, found, reversed(sizes), strict=True)
    )
    return first, second


def _all(graph: _Graph, other: _Graph) -> Iterator[tuple[Op, tuple[Op, ...]]]:
    """Yield every written normalisation as one operation, and its steps."""
    for one in _written(graph):
        yield _as_one(one, graph), (*one.updates, *one.steps)
    for same in moving.kept(graph.trace):
        name = _name(same.steps, graph)
        yield same.as_one(name, graph.channels_last), same.steps
    names = partial(_scale_and_shift, graph)
    behind = [*affine.scaled_behind(graph, names)]
    if any(op.kind == "rms_norm" for op in other.trace.ops):
        behind += affine.lengths_as_roots(graph, names)
    for norm, steps in behind:
        yield replace(norm, name=_layer(steps, graph) or norm.name), steps


def _graph(trace: Trace, channels_last: bool) -> _Graph:
    held: dict[int, str] = {}
    plain: set[int] = set()
    for op in trace.ops:
        names = list(op.weights.values())
        if op.kind == "op:weight" and len(names) == 1 and not op.inputs:
            held |= dict.fromkeys(op.outputs, names[0])
            plain.update(op.outputs if op.config.get("function") in SHAPING else ())
        elif op.effect == MOVES and len(op.inputs) == 1 and op.inputs[0] in held:
            held |= dict.fromkeys(op.outputs, held[op.inputs[0]])
            plain.update(op.outputs if op.inputs[0] in plain else ())
    sizes = shapes_of(trace)
    makers = trace.producers()
    needed, open_ = set(trace.outputs), list(trace.outputs)
    while open_:
        maker = makers.get(open_.pop())
        new = [tensor for tensor in maker.inputs if tensor not in needed] if maker is not None else []
        needed.update(new)
        open_ += new
    beside = tuple(op for op in trace.ops if not needed & set(op.outputs))
    return _Graph(trace, makers, trace.consumers(), held, frozenset(plain), sizes, channels_last, beside)


def _layers(graph: _Graph) -> set[int]:
    """Return the sizes of the weights of the normalisations that are layers."""
    norms = (op for op in graph.trace.ops if op.weights and family(op) == "norm")
    return {main_size(weight_shapes(op, graph.sizes)) for op in norms}


def _size(graph: _Graph, one: _Written | Op) -> int:
    return max(map(graph.size, one.weights.values()))


# Which steps belong together.


def _written(graph: _Graph) -> Iterator[_Written]:
    taken: set[int] = set()
    for op in reversed(graph.trace.ops):
        if op.index in taken or not _may_be_last(op, graph):
            continue
        one = _ending_with(op, graph)
        if one is not None and (not _adds_a_shift(op, graph) or _form(one, graph) is not None):
            taken.update(step.index for step in one.steps)
            yield one


def _may_be_last(op: Op, graph: _Graph) -> bool:
    """Return whether an operation scales or shifts by a weight, or goes on with what was scaled or shifted by one."""
    if graph.weight_of(op) is not None or _adds_a_shift(op, graph):
        return True
    before = {"add": "subtract", "divide": "multiply"}.get(op.kind)  # what was scaled may be divided last
    makers = [graph.makers.get(tensor) for tensor in op.inputs] if before else []
    return any(one is not None and one.kind == before and graph.weight_of(one) is not None for one in makers)


def _adds_a_shift(op: Op, graph: _Graph) -> bool:
    """Return whether an operation adds what a weight was added to: `x * inverse + (-mean * inverse + beta)`, perhaps.

    A residual connection around a norm adds so, too: what it ends must be seen to be a norm.
    """
    if op.kind != "add" or op.weights or len(op.inputs) != 2:
        return False
    makers = [graph.makers.get(tensor) for tensor in op.inputs]
    adding = [one for one in makers if one is not None and one.kind == "add" and graph.weight_of(one) is not None]
    return len(adding) == 1 and any(one is not None and one.kind == "multiply" for one in makers)


def _ending_with(last: Op, graph: _Graph) -> _Written | None:
    """Return the normalisation whose last step is a given one; None if it is part of something else."""
    steps, ends = {last.index: last}, set(last.inputs)
    while len(ends) != 1 or not _is_complete(steps.values(), *ends):
        if not _back(steps, ends, graph):
            return None
    _take_centre(steps, ends, graph)
    entry = next(iter(ends))
    shapes = graph.trace.shapes
    while shapes.get(entry) != shapes.get(last.outputs[0]):  # the channels were parted into groups before
        maker = graph.makers.get(entry)
        if maker is None or maker.effect != MOVES or not _back(steps, ends, graph):
            return None
        entry = next(iter(ends))
    weights = _weights(steps.values(), graph)
    updates = _updates(steps, entry, graph)
    if weights is None or not _by_itself({**steps, **updates}, last.outputs[0], graph):
        return None
    own, beside = (tuple(some[index] for index in sorted(some)) for some in (steps, updates))
    return _Written(own, entry, weights, beside)


def _updates(steps: Mapping[int, Op], entry: int, graph: _Graph) -> dict[int, Op]:
    """Return the operations beside some steps, of the same numbers, that write statistics which are kept."""
    known = {entry, *(tensor for op in steps.values() for tensor in op.outputs)}
    found: dict[int, Op] = {}
    for op in graph.beside:
        if op.index not in steps and (set(op.inputs) <= known or not op.inputs):
            found[op.index] = op
            known.update(op.outputs)
    needed: dict[int, Op] = {}
    for op in sorted(found.values(), key=lambda op: -op.index):
        read = {tensor for one in needed.values() for tensor in one.inputs}
        if ("updates" in op.config and op.inputs) or read & set(op.outputs):
            needed[op.index] = op
    return needed


def _back(steps: dict[int, Op], ends: set[int], graph: _Graph) -> bool:
    """Take, in place, the step that made the latest of the tensors that the others start from."""
    makers = [maker for tensor in ends if (maker := graph.makers.get(tensor)) is not None]
    # Weights first: they may have been brought into shape long before.
    latest = max(makers, key=lambda op: (op.outputs[0] in graph.held, op.index), default=None)
    if latest is None or not _may_be_step(latest) or len(steps) >= _MOST:
        return False
    steps[latest.index] = latest
    ends.difference_update(latest.outputs)
    ends.update(latest.inputs)
    return bool(ends)


def _may_be_step(op: Op) -> bool:
    if op.kind == "activation":
        return op.config.get("function") in _FUNCTIONS
    return op.kind in _STEPS or op.effect == MOVES


def _is_complete(steps: Iterable[Op], entry: int) -> bool:
    """Return whether there is an average and a root, and what they are made of is divided by them, too."""
    found = list(steps)
    if sum(entry in op.inputs for op in found) < 2:
        return False
    averages = [op for op in found if op.kind in _AVERAGES]
    rooted = any(op.kind in ("op:std_mean", "op:norm", "op:linalg_vector_norm") for op in averages)
    rooted |= any(op.config.get("function") in _ROOTED for op in averages)
    return bool(averages) and (rooted or any(_root(op) is not None for op in found))


def _root(op: Op) -> str | None:
    """Return `sqrt` or `rsqrt` of what takes a root."""
    if op.kind == "activation" and op.config.get("function") in _ROOTS:
        return str(op.config["function"])
    return {0.5: "sqrt", -0.5: "rsqrt"}.get(float(op.config["exponent"])) if op.kind == "power" else None


def _take_centre(steps: dict[int, Op], ends: set[int], graph: _Graph) -> None:
    """Take, in place, the subtraction of the mean too, where what is centred is the one thing that the steps read."""
    more, further = dict(steps), set(ends)
    while _back(more, further, graph) and len(more) < len(steps) + 5:
        if len(further) == 1:
            break
    own = [op for index, op in more.items() if index not in steps]
    centred = any(op.kind == "subtract" for op in own) and any(op.kind in _AVERAGES for op in own)
    if len(further) == 1 and centred and all(op.kind == "subtract" or _tells_mean(op) for op in own):
        steps.update(more)
        ends.clear()
        ends.update(further)


def _tells_mean(op: Op) -> bool:
    return op.effect == MOVES or _averages(op)


def _averages(op: Op) -> bool:
    return op.kind == "global_avg_pool" or (op.kind == "reduce" and op.config.get("function") == "mean")


def _weights(steps: Iterable[Op], graph: _Graph) -> dict[str, str] | None:
    """Return scale and shift; None if there are several of one, or a weight that is neither."""
    found: dict[str, str] = {}
    for op in steps:
        reference = graph.weight_of(op)
        if reference is not None:
            if found.setdefault(_AFFINE[op.kind], reference) != reference:
                return None
        elif op.kind == "op:weight":
            if not set(op.outputs) <= set(graph.held):  # made of several
                return None
        elif op.weights or (op.kind in _AFFINE and set(op.inputs) & set(graph.held)):
            return None
    return found or None


def _by_itself(steps: Mapping[int, Op], result: int, graph: _Graph) -> bool:
    """Return whether nothing else reads what the steps make, but for their result."""
    made = {tensor for op in steps.values() for tensor in op.outputs} - {result}
    read = {op.index for tensor in made for op in graph.readers.get(tensor, ())}
    return read <= set(steps) and not made & set(graph.trace.outputs)


# What stands for them.


def _as_one(one: _Written, graph: _Graph) -> Op:
    kind, config = _form(one, graph) or ("norm", {})
    names = _scale_and_shift(graph, kind)
    config |= {"center": "beta" in one.weights, "scale": "gamma" in one.weights}
    weights = {names[role]: one.weights[role] for role in ("gamma", "beta") if role in one.weights}
    if kind == "batch_norm":
        weights |= _kept(one)
        config["momentum"] = next((1.0 - op.config["arg2"] for op in one.updates if _goes_part_of_the_way(op)), None)
    name = _name(one.steps, graph)
    return Op(one.last.index, name, kind, (one.entry,), one.last.outputs, config, weights)


def _scale_and_shift(graph: _Graph, kind: str) -> dict[str, str]:
    """Return what the framework of a trace calls the scale and the shift of a kind of norm."""
    if not graph.channels_last:
        return {"gamma": "weight", "beta": "bias"}
    return {"gamma": "scale" if kind == "rms_norm" else "gamma", "beta": "beta"}


def _kept(one: _Written) -> dict[str, str]:
    """Return the statistics that the steps write, by torch's roles: those made of the mean, and of a variance."""
    of: dict[int, str] = {}
    found: dict[str, str] = {}
    for op in sorted((*one.steps, *one.updates), key=lambda op: op.index):
        read = {of[tensor] for tensor in op.inputs if tensor in of}
        if op.inputs == (one.entry,) and _averages(op):
            read = {"running_mean"}
        elif op.inputs == (one.entry,) and op.kind == "reduce" and op.config.get("function") == "var":
            read = {"running_var"}
        if len(read) == 1:
            of |= dict.fromkeys(op.outputs, next(iter(read)))
            if "updates" in op.config:
                found[next(iter(read))] = str(op.config["updates"])
    return found


def _goes_part_of_the_way(op: Op) -> bool:
    return op.kind == "op:lerp" and "updates" in op.config and isinstance(op.config.get("arg2"), float)


def _name(steps: Sequence[Op], graph: _Graph) -> str:
    """Return the name of the layer that has just these steps, else that of the last one."""
    return _layer(steps, graph) or steps[-1].name


def _layer(steps: Sequence[Op], graph: _Graph) -> str | None:
    """Return the name of the layer that has just these steps, if there is one."""
    separator = "/" if graph.channels_last else "."
    parents = {op.name.rpartition(separator)[0] for op in steps}
    parent = next(iter(parents))
    own = {op.index for op in steps}
    others = [op for op in graph.trace.ops if op.index not in own and op.name.startswith(f"{parent}{separator}")]
    return parent if len(parents) == 1 and parent and not others else None


# Which normalisation the steps are, as far as its settings can be told.

_OF_ONE: Mapping[str, Mapping[str, str]] = {
    "average": {"x": "mean", "centred squared": "variance", "x squared": "square"},
    "sum": {"x squared": "sum of squares"},
    "length": {"x": "length"},
    "over the size": {"sum of squares": "square"},
    "over the root of the size": {"length": "bare root"},
    "least": {"bare root": "root"},
    "variance": {"x": "variance"},
    "deviation": {"x": "bare deviation"},
    "square": {"centred": "centred squared", "x": "x squared", "mean": "mean squared"},
    "eps": {
        "variance": "variance + eps",
        "square": "square + eps",
        "bare deviation": "deviation",
        "bare root": "root",
    },
    "sqrt": {
        "variance + eps": "deviation",
        "square + eps": "root",
        "variance": "bare deviation",
        "square": "bare root",
    },
    "rsqrt": {"variance + eps": "1 / deviation", "square + eps": "1 / root"},
    "reciprocal": {"deviation": "1 / deviation", "root": "1 / root"},
    "scale": {one: one for one in ("x", "centred", "1 / deviation", "1 / root", "normal")},
    "shift": {"normal": "shifted", "-mean / deviation": "shift"},
    "negative": {"mean": "-mean", "mean / deviation": "-mean / deviation"},
    "shift by": {"mean / deviation": "shift"},
}
_OF_TWO: Mapping[tuple[str, str, str], str] = {
    ("subtract", "x", "mean"): "centred",
    ("subtract", "square", "mean squared"): "variance",
    ("subtract", "x / deviation", "mean / deviation"): "normal",
    ("squared_difference", "x", "mean"): "centred squared",
    ("squared_difference", "mean", "x"): "centred squared",
    ("divide", "centred", "deviation"): "normal",
    ("divide", "x", "root"): "normal",
    **{
        (kind, *pair): result
        for kind, one, two, result in (
            ("multiply", "centred", "1 / deviation", "normal"),
            ("multiply", "x", "1 / root", "normal"),
            ("multiply", "x", "1 / deviation", "x / deviation"),
            ("multiply", "mean", "1 / deviation", "mean / deviation"),
            ("multiply", "-mean", "1 / deviation", "-mean / deviation"),
            ("add", "x / deviation", "shift", "shifted"),
        )
        for pair in ((one, two), (two, one))
    },
}


def _form(one: _Written, graph: _Graph) -> tuple[str, dict[str, Any]] | None:
    """Return kind and configuration of the layer that computes the same, or the axes where no layer has weights so.

    None for any other form.
    """
    known = {one.entry: "x"}
    averaged: set[tuple[Shape, tuple[int, ...]]] = set()
    eps = 0.0
    for op in one.steps:
        read = [known.get(tensor, "?") for tensor in op.inputs if tensor not in graph.held]
        what = _what(op, graph)
        if what in ("average", "variance", "deviation", "sum", "length"):
            averaged.add((graph.trace.shapes.get(op.inputs[0], ()), _axes(op, graph)))
        if what == "rescaled":
            what = _over(op, averaged)
        if what in ("eps", "least"):
            eps = float(op.config["offset" if what == "eps" else "min"])
        if op.effect == MOVES:
            made = read[0] if read else None
        elif what is not None:
            made = _OF_ONE.get(what, {}).get(read[0]) if len(set(read)) == 1 else None
        else:
            made = _OF_TWO.get((op.kind, read[0], read[1])) if len(read) == 2 else None
        known |= dict.fromkeys(op.outputs[:1], made or "?")
    if known[one.last.outputs[0]] not in ("normal", "shifted") or len(averaged) != 1:
        return None
    shape, axes = next(iter(averaged))
    found = _settings(one, graph, shape, axes, "centred squared" in known.values() or "mean" in known.values())
    if found is None:
        return "norm", {OVER: list(axes)}
    spread = _spread(one, known)
    return found[0], {"eps": eps, **found[1], **({SPREAD: spread} if spread else {})}


def _spread(one: _Written, known: Mapping[int, str]) -> str:
    """Return by what else than the root of the variance and its eps some steps divide; nothing where by that."""
    outside = not {"bare deviation", "bare root"}.isdisjoint(known.values())
    told = ["its root, to which the eps is added"] if outside else []
    if outside and any(op.config.get("function") == "clamp" for op in one.steps):
        told = ["its root, of which the eps is the least"]
    parts = [op for op in one.steps if op.config.get("function") in ("var", "std")]
    told += ["a variance over N - 1"] if any(op.config.get("correction", 1) for op in parts) else []
    return " and ".join(told)


def _over(op: Op, averaged: Collection[tuple[Shape, tuple[int, ...]]]) -> str | None:
    """Return whether a factor makes an average of a sum over some axes, or of the length of a vector its root."""
    sizes = {prod(shape[axis] for axis in axes) for shape, axes in averaged}
    factor = float(op.config.get("scale", 1.0))
    for power, what in ((-1.0, "over the size"), (-0.5, "over the root of the size")):
        if len(sizes) == 1 and isclose(factor, next(iter(sizes)) ** power, rel_tol=1e-6):
            return what
    return None


def _what(op: Op, graph: _Graph) -> str | None:
    """Return what an operation does with the one tensor that it reads; None for one that reads two, or others."""
    config = op.config
    if _averages(op):
        return "average"
    if op.kind == "reduce" and config.get("function") in ("var", "std") and config.get("correction", 1) in (0, 1):
        return "variance" if config["function"] == "var" else "deviation"
    if op.kind == "reduce" and config.get("function") == "sum":
        return "sum"
    if op.kind in _LENGTHS or (op.kind == "reduce" and config.get("function") == "norm"):
        return "length" if config.get("p", config.get("ord", 2)) in (2, "fro", None) else None
    if op.kind == "rescale":
        if config.get("offset"):
            return "eps" if config.get("scale") == 1.0 else None
        return "eps" if config.get("scale") == 1.0 else "negative" if config.get("scale") == -1.0 else "rescaled"
    if op.kind == "activation" and config.get("function") == "clamp":
        return "least" if config.get("min") is not None and config.get("max") is None else None
    if graph.weight_of(op) is not None:
        held = [tensor for tensor in op.inputs if tensor in graph.held]
        if not set(held) <= graph.plain or "alpha" in config:
            return None
        if op.kind == "divide":
            return "reciprocal"
        backwards = op.kind == "subtract"
        return "scale" if op.kind == "multiply" else "shift by" if backwards else "shift"
    if op.kind == "multiply" and len(set(op.inputs)) == 1 and "constant" not in config and not op.weights:
        return "square"
    if op.kind == "activation" and config.get("function") == "square":
        return "square"
    if op.kind == "power" and config.get("exponent") in (2.0, -1.0):
        return "square" if config["exponent"] == 2.0 else "reciprocal"
    if op.kind == "divide" and config.get("reversed") and config.get("constant") == [1.0]:
        return "reciprocal"
    return _root(op)


def _axes(op: Op, graph: _Graph) -> tuple[int, ...]:
    rank = len(graph.trace.shapes.get(op.inputs[0], ()))
    if op.kind == "global_avg_pool":
        return tuple(range(1, rank - 1) if graph.channels_last else range(2, rank))
    given = op.config.get("axes", op.config.get("dim", ()))
    return tuple(sorted(int(axis) % max(rank, 1) for axis in ([given] if isinstance(given, int) else given or ())))


def _settings(
    one: _Written, graph: _Graph, shape: Shape, axes: tuple[int, ...], centred: bool
) -> tuple[str, dict[str, Any]] | None:
    """Return the layer whose statistics are over these axes of such a tensor, and whose weights are of that size."""
    whole = graph.trace.shapes.get(one.entry, ())
    rank, size = len(shape), _size(graph, one)
    if rank < 2 or not axes:
        return None
    channel = len(whole) - 1 if graph.channels_last else 1
    if 0 in axes:
        usual = centred and shape == whole and axes == tuple(axis for axis in range(rank) if axis != channel)
        config = {"axis": channel, "momentum": None, "frozen": False, "training": True}
        return ("batch_norm", config) if usual and size == shape[channel] else None
    if shape != whole:
        grouped = rank - 2 if graph.channels_last else 1
        usual = axes == tuple(axis for axis in range(1, rank) if axis != grouped)
        found = ("group_norm", {"groups": shape[grouped], "axis": channel})
        return found if centred and usual and size == whole[channel] else None
    spatial = tuple(axis for axis in range(1, rank) if axis != channel)
    of_channels = centred and rank > 2 and size == shape[channel]
    if of_channels and axes == spatial and rank > 3:
        return "instance_norm", {"axis": channel, "training": True}
    if size == prod(shape[axis] for axis in axes):
        return "layer_norm" if centred else "rms_norm", {"axes": list(axes)}
    if of_channels and axes == spatial:
        return "instance_norm", {"axis": channel, "training": True}
    if of_channels and axes == tuple(range(1, rank)):
        return "group_norm", {"groups": 1, "axis": channel}
    return None
